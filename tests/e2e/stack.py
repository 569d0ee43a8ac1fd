"""The real Pulumi CLI, with a stack of its own for each test."""

from __future__ import annotations

import json
import logging
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pulumi_cli import isolated_environment

log = logging.getLogger(__name__)

PROGRAM = """\
import json
import pathlib

import pulumi

from pulumi_vmbackup import VmBackupLocationAssignment

for name, pair in json.loads(pathlib.Path("assignments.json").read_text()).items():
    VmBackupLocationAssignment(name, vm_ref=pair[0], backup_location_id=pair[1])
"""


class Stack:
    """A Pulumi project with one stack, and the commands that are run in it."""

    def __init__(self, folder: Path, *, init: bool = True, **settings: str) -> None:
        self.folder = folder / "program"
        self.folder.mkdir()
        self.environment = {**isolated_environment(folder / "pulumi"), **settings}
        self.output = ""
        (self.folder / "Pulumi.yaml").write_text("name: backup\nruntime: python\n")
        self.program(PROGRAM)
        if init:
            self.pulumi("stack", "init", "test")

    def program(self, text: str) -> None:
        (self.folder / "__main__.py").write_text(text, "utf-8")

    def assignments(self, **pairs: tuple[str, str]) -> None:
        """What the program assigns from now on: VM and location by the resource's name."""
        (self.folder / "assignments.json").write_text(json.dumps(pairs))

    def pulumi(self, *arguments: str, fails: bool = False) -> str:
        """Run the CLI; its output, which is also kept in ``output`` with that of all commands."""
        done = subprocess.run(
            ["pulumi", *arguments, "--non-interactive", "--color", "never"],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            timeout=120,
        )
        output = done.stdout.decode("utf-8")
        log.debug("%s", output)
        self.output += output
        assert (done.returncode != 0) is fails, output
        return output

    def up(self, *arguments: str, fails: bool = False) -> str:
        return self.pulumi("up", "--yes", "--skip-preview", *arguments, fails=fails)

    def resources(self) -> dict[str, dict[str, Any]]:
        """The outputs of the stack's assignments, by the resource's name."""
        state = json.loads(self.pulumi("stack", "export"))
        return {
            resource["urn"].rpartition("::")[2]: resource
            for resource in state["deployment"].get("resources", ())
            if "VmBackupLocationAssignment" in resource["type"]
        }


MakeStack = Callable[..., Stack]
