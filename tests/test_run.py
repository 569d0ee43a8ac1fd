"""run.py: whether the run of Pulumi goes on that a process belongs to."""

from __future__ import annotations

import socket

import pytest

from pulumi_vmbackup.run import Run


def test_a_run_is_over_when_its_engine_is_gone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        run = Run(
            ["-v=1", "--tracing", "tcp://127.0.0.1:1", f"127.0.0.1:{listener.getsockname()[1]}"]
        )
        assert not run.is_over()
    assert run.is_over()


@pytest.mark.parametrize("arguments", [[], ["-c"], ["--port", "7"], ["tests/test_run.py"]], ids=str)
def test_a_process_that_pulumi_did_not_start_is_of_no_run(arguments: list[str]) -> None:
    run = Run(arguments)
    assert run.id is None
    assert not run.is_over()


def test_options_that_pulumi_passes_on_are_no_address() -> None:
    run = Run(["--logtostderr", "-v=9", "--tracing", "http://localhost:9411/api", "127.0.0.1:7"])
    assert run.engine_address == "127.0.0.1:7"


@pytest.mark.parametrize(
    ("address", "id_"),
    [("127.0.0.1:40523", "127-0-0-1-40523"), ("[::1]:7", "-1-7"), ("localhost:7", "localhost-7")],
)
def test_the_processes_of_a_run_have_its_address_in_common(address: str, id_: str) -> None:
    assert Run([address]).id == id_
