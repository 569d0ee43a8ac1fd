"""README.md: its commands and its program, in the order in which they stand there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from e2e.stack import MakeStack
from e2e.test_guides import blocks, commands, run

from pulumi_vmbackup.simulator import Simulator, serve

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
# test_wheel.py installs the package, and test_environment.py runs the quickstart.
NOT_RUN = ("make ", "python3 -m venv ", ". ", "pip install ")
ASKS_FOR_PASSWORD = "pulumi config set --secret vmbackup:password"


def test_what_the_readme_shows_works_from_the_first_look_to_a_change(make_stack: MakeStack) -> None:
    simulator = Simulator()  # with the account that the README gives
    with serve(simulator) as base_url:
        stack = make_stack(
            init=False,
            VMBACKUP_BASE_URL=base_url,
            VMBACKUP_USERNAME="",
            VMBACKUP_PASSWORD="simulator",  # instead of the prompt
        )
        program = stack.folder / "__main__.py"
        program.unlink()
        ran = []
        for language, block in blocks(README):
            if language == "yaml":
                (stack.folder / "Pulumi.yaml").write_text(block)
            elif language == "python":
                program.write_text(f"{program.read_text('utf-8')}\n{block}", "utf-8")
            elif language == "console":
                for line, shown in commands(block):
                    if line.startswith(NOT_RUN):
                        continue
                    if line.startswith("vmbackup doctor"):
                        before = dict(simulator.inventory.assignments)
                    if line.startswith("pulumi up"):
                        assert simulator.inventory.assignments == before
                    # Pulumi asks for the password, and from here on it is the stack's.
                    asks = line == ASKS_FOR_PASSWORD
                    run(stack, f"{line} simulator" if asks else line, shown)
                    if asks:
                        del stack.environment["VMBACKUP_PASSWORD"]
                    ran.append(line.split()[:2])
    assert len(ran) == 10
    assert ran[0] == ["vmbackup", "doctor"]
    assert ran[-1] == ["pulumi", "up"]
    assert len(simulator.inventory.assignments) == 2
    assert {call.method for call in simulator.calls if "/vms/" in call.path} == {"GET", "POST"}


def test_the_readme_is_short_and_says_at_once_what_it_is_tested_with() -> None:
    lines = README.splitlines()
    assert len(lines) <= 150
    assert "tested against a simulator of the API, not against a real server" in "\n".join(
        lines[:8]
    )


@pytest.mark.parametrize("word", ["quickstart", "test"])
def test_each_make_target_in_the_readme_is_one(word: str) -> None:
    assert f"make {word}" in README
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert re.search(rf"^{word}:", makefile, re.MULTILINE)


def test_each_make_target_in_contributing_is_one() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = re.findall(r"`make ([a-z-]+)", (ROOT / "CONTRIBUTING.md").read_text("utf-8"))
    assert {"quickstart", "test", "check", "docs", "bench", "bench-quick"} <= set(targets)
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("file", ["README.md", "CONTRIBUTING.md"])
def test_each_script_that_is_run_without_make_is_the_one_of_its_target(file: str) -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    named = re.findall(r"`?py scripts\\(\S+\.py)(?: (--\w+))?", (ROOT / file).read_text("utf-8"))
    assert len(named) >= 2
    for script, option in named:
        assert re.search(rf"scripts/{script}{option and f' {option}'}\b", makefile), script
