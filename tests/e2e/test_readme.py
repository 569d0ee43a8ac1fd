"""README.md: its commands and its programs, word for word."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from e2e.stack import MakeStack

import pulumi_vmbackup
from pulumi_vmbackup.simulator import Fault, Inventory, Simulator, serve

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")


def blocks(language: str, section: str) -> list[str]:
    text = README.partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def commands(section: str) -> Iterator[tuple[str, str]]:
    """Each command of a section's consoles, and the output that stands below it."""
    for block in blocks("console", section):
        for command in block.split("$ ")[1:]:
            line, _, output = command.partition("\n")
            yield line, output


def without_times(output: str) -> list[str]:
    """The lines of an output, without progress, empty lines and how long it took.

    And without the warning that the plugin is on PATH: pulumi-plugin.json keeps Pulumi from looking
    for it, and is not found where the package is installed from its sources, as here.
    """
    output = re.sub(r" *warning: using pulumi-resource-vmbackup .*| \(\d[\d.]*s\)", "", output)
    lines = [re.sub(r" \d warnings?$", "", line.rstrip()) for line in output.splitlines()]
    around_it = ("@", "Duration", "Diagnostics:", "  pulumi:", "    pulumi:")
    return [line for line in lines if line and not line.startswith(around_it)]


def test_the_program_prints_what_the_readme_shows(make_stack: MakeStack) -> None:
    simulator = Simulator()  # with the account that the README gives
    with serve(simulator) as base_url:
        stack = make_stack(
            init=False, VMBACKUP_BASE_URL=base_url, VMBACKUP_USERNAME="", VMBACKUP_PASSWORD=""
        )
        stack.program(blocks("python", "Use it")[0])
        (stack.folder / "Pulumi.yaml").write_text(blocks("yaml", "Use it")[0])
        shown = 0
        for command, output in commands("Use it"):
            program, *arguments = shlex.split(command)
            if program != "pulumi":
                assert command == 'pip install ".[simulator]"'  # test_wheel.py installs it
                continue
            printed = stack.pulumi(*arguments)
            if output:
                shown += 1
                assert sorted(without_times(printed)) == sorted(without_times(output))
    assert shown == 2
    assert len(simulator.inventory.assignments) == 2


def test_the_simulator_in_tests_is_as_the_readme_shows(tmp_path: Path) -> None:
    tests = blocks("python", "The simulator")
    for number, test in enumerate(tests):
        (tmp_path / f"test_{number}_of_a_user.py").write_text(test)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", tmp_path],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert len(tests) == 2
    assert "2 passed" in done.stdout, done.stdout


def test_the_inventory_in_the_readme_is_one() -> None:
    (text,) = blocks("json", "The simulator")
    inventory = Inventory.parse(text, "the README")
    assert len(inventory.assignments) == 1
    assert inventory.dump() == text


def test_each_error_in_the_readme_can_be_caught() -> None:
    section = README.partition("\n## Errors\n")[2].partition("\n## ")[0]
    names = re.findall(r"`(\w+Error)`", section)
    assert len(names) == 9
    assert set(names) <= set(pulumi_vmbackup.__all__)


def test_each_option_of_the_simulator_in_the_readme_is_one() -> None:
    help_, *_ = commands("The simulator")
    done = subprocess.run(
        [sys.executable, *shlex.split(help_[0])[1:]], capture_output=True, text=True, check=True
    )
    section = README.partition("\n## The simulator\n")[2].partition("\n## ")[0]
    options = set(re.findall(r"--[a-z][a-z-]+", section))
    assert {"--second-session", "--fault"} <= options
    assert options <= set(re.findall(r"--[a-z-]+", done.stdout))


def test_the_simulator_is_changed_by_the_requests_that_the_readme_shows() -> None:
    simulator = Simulator()
    (start,) = (line for line, _ in commands("The simulator") if "--fault" in line)
    simulator.faults.append(Fault.parse(shlex.split(start)[-1]))
    tell, change = (shlex.split(line) for line, _ in commands("The simulator") if "curl" in line)
    with serve(simulator) as base_url, requests.Session() as http:
        http.headers["Host"] = "localhost"
        url = f"http://{urlsplit(base_url).netloc}{urlsplit(tell[1]).path}"
        assert http.get(url, timeout=600).json()["faults"][0]["skip"] == 1
        assert change[:4] == ["curl", "-X", "PATCH", tell[1]]
        changed = http.patch(url, data=change[-1], timeout=600)
    assert changed.status_code == 200, changed.text
    assert simulator.console_connected
    assert not simulator.faults


@pytest.mark.parametrize("word", ["quickstart", "test", "check", "bench", "bench-quick"])
def test_each_make_target_in_the_readme_is_one(word: str) -> None:
    assert f"make {word}" in README
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert re.search(rf"^{word}:", makefile, re.MULTILINE)


@pytest.mark.parametrize("file", ["README.md", "CONTRIBUTING.md"])
def test_each_script_that_is_run_without_make_is_the_one_of_its_target(file: str) -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    named = re.findall(r"`?py scripts\\(\S+\.py)(?: (--\w+))?", (ROOT / file).read_text("utf-8"))
    assert len(named) >= 2
    for script, option in named:
        assert re.search(rf"scripts/{script}{option and f' {option}'}\b", makefile), script
