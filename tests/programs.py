"""Runs Pulumi programs in the process of the tests, with an engine that records."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pulumi
from pulumi.runtime.mocks import MockCallArgs, MockResourceArgs, Mocks

SetConfig = Callable[..., None]


class Recorder(Mocks):
    """An engine that registers whatever it is given, and keeps what that was."""

    def __init__(self) -> None:
        self.registered: list[MockResourceArgs] = []

    def new_resource(self, args: MockResourceArgs) -> tuple[str | None, dict[Any, Any]]:
        self.registered.append(args)
        return f"{args.name}-id", {**args.inputs, "vm_name": "SQL01"}

    def call(self, args: MockCallArgs) -> tuple[dict[Any, Any], list[tuple[str, str]] | None]:
        raise AssertionError(f"{args.token} was called")


def run_program(program: Callable[[], object]) -> None:
    """Run a program, and wait for all of its outputs."""
    pulumi.runtime.test(program)()  # type: ignore[no-untyped-call]
