"""docs/simulator.md: its commands, its programs and its options."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import requests
from e2e.test_guides import blocks, commands, text

from pulumi_vmbackup.simulator import Fault, Inventory, Simulator, serve

GUIDE = text("simulator.md")


def of_language(wanted: str) -> list[str]:
    return [block for language, block in blocks(GUIDE) if language == wanted]


def all_commands() -> list[str]:
    return [line for block in of_language("console") for line, _ in commands(block)]


def test_the_simulator_in_tests_is_as_the_guide_shows(tmp_path: Path) -> None:
    tests = of_language("python")
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


def test_the_inventory_in_the_guide_is_one() -> None:
    (text,) = of_language("json")
    inventory = Inventory.parse(text, "the guide")
    assert len(inventory.assignments) == 1
    assert inventory.dump() == text


def test_each_option_of_the_simulator_in_the_guide_is_one() -> None:
    help_, *_ = all_commands()
    done = subprocess.run(
        [sys.executable, *shlex.split(help_)[1:]], capture_output=True, text=True, check=True
    )
    options = set(re.findall(r"--[a-z][a-z-]+", GUIDE))
    assert {"--second-session", "--fault"} <= options
    assert options <= set(re.findall(r"--[a-z-]+", done.stdout))


def test_the_simulator_is_changed_by_the_requests_that_the_guide_shows() -> None:
    simulator = Simulator()
    (start,) = (line for line in all_commands() if "--fault" in line)
    simulator.faults.append(Fault.parse(shlex.split(start)[-1]))
    tell, change = (shlex.split(line) for line in all_commands() if "curl" in line)
    with serve(simulator) as base_url, requests.Session() as http:
        http.headers["Host"] = "localhost"
        url = f"http://{urlsplit(base_url).netloc}{urlsplit(tell[1]).path}"
        assert http.get(url, timeout=600).json()["faults"][0]["skip"] == 1
        assert change[:4] == ["curl", "-X", "PATCH", tell[1]]
        changed = http.patch(url, data=change[-1], timeout=600)
    assert changed.status_code == 200, changed.text
    assert simulator.console_connected
    assert not simulator.faults
