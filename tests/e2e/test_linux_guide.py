"""docs/linux.md: its program and its commands, and all that they print."""

from __future__ import annotations

import re
import shlex

from e2e.stack import MakeStack
from e2e.test_guides import blocks, commands, text

from pulumi_vmbackup.simulator import Simulator, serve

# test_wheel.py installs the package, and test_main.py starts the simulator.
NOT_RUN = ("python3 -m venv ", ". ", "pip install ", "python -m pulumi_vmbackup.simulator")


def without_times(lines: list[str]) -> list[str]:
    """The lines of an output, without progress, empty lines and how long it took.

    And without the warning that the plugin is on PATH: pulumi-plugin.json keeps Pulumi from looking
    for it, and is not found where the package is installed from its sources, as here.
    """
    output = "\n".join(lines)
    output = re.sub(r" *warning: using pulumi-resource-vmbackup .*| \(\d[\d.]*s\)", "", output)
    lines = [re.sub(r" \d warnings?$", "", line.strip()) for line in output.splitlines()]
    around_it = ("@", "Duration", "Diagnostics:", "pulumi:pulumi:Stack (", "pulumi:pulumi:Stack b")
    return [line for line in lines if line and not line.startswith(around_it)]


def test_the_program_prints_what_the_guide_shows(make_stack: MakeStack) -> None:
    simulator = Simulator()  # with the account that the guide gives
    with serve(simulator) as base_url:
        stack = make_stack(
            init=False, VMBACKUP_BASE_URL=base_url, VMBACKUP_USERNAME="", VMBACKUP_PASSWORD=""
        )
        compared = 0
        for language, block in blocks(text("linux.md")):
            if language == "python":
                stack.program(block)
            elif language == "yaml":
                (stack.folder / "Pulumi.yaml").write_text(block)
            elif language == "console":
                for line, shown in commands(block):
                    if line.startswith(NOT_RUN):
                        continue
                    program, *arguments = shlex.split(line)
                    if program == "vmbackup":
                        stack.vmbackup(*arguments)
                        continue
                    assert program == "pulumi", line
                    printed = stack.pulumi(*arguments)
                    if shown:
                        compared += 1
                        assert sorted(without_times(printed.splitlines())) == sorted(
                            without_times(shown)
                        )
    assert compared == 2
    assert len(simulator.inventory.assignments) == 2


def test_the_text_about_the_backend_names_commands_and_no_value() -> None:
    (shown,) = (block for language, block in blocks(text("linux.md")) if language == "text")
    assert [line.split()[:3] for line in shown.splitlines()] == [
        ["$", "pulumi", "login"],
        ["$", "export", 'PULUMI_CONFIG_PASSPHRASE="a'],
    ]
