"""scripts/wine.py: what it sets up to run Windows programs, and when it does so again."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

if sys.platform == "win32":
    pytest.skip("Windows needs no Wine", allow_module_level=True)

import wine

ROOT = Path(__file__).parents[1]
PROGRAMS = ("wine", "wineboot", "wineserver", wine.COMPILER)
# Keeps what it is asked to do, but for the ends of processes, and does it only as far as needed.
PROGRAM = """\
#!/bin/sh
[ "${0##*/}" = wineserver ] && exit
echo "${0##*/} $1 $2" >> "$LOG"
[ "${0##*/} $1 $2" = "$FAILING" ] && echo "it is broken" >&2 && exit 3
[ "${0##*/}" = wineboot ] && mkdir -p "$WINEPREFIX"
exit 0
"""
PIP = """\
import os, pathlib, sys
target = pathlib.Path(sys.argv[sys.argv.index("--target") + 1])
target.mkdir(parents=True, exist_ok=True)
for name in ("python313._pth", "_wmi.pyd", "python.exe"):
    (target / name).touch()
"""


class Machine:
    """A machine with stand-ins for Wine, and with the Pulumi CLI for Windows."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = folder / "log.txt"
        self.output = ""
        for name in ("bin", "scripts", "pip", f".tools/windows/{wine.TOOLS.tools.name}"):
            (folder / name).mkdir(parents=True)
        for tool in wine.PULUMI:
            (folder / ".tools/windows" / wine.TOOLS.tools.name / f"{tool}.exe").touch()
        for name in ("wine.py", "wine.c", "debian.py", "pulumi_cli.py", "environment.py"):
            shutil.copy(ROOT / "scripts" / name, folder / "scripts")
        (folder / "pip" / "__main__.py").write_text(PIP)
        self.project = folder / "pyproject.toml"
        self.project.touch()
        for name in ("sh", "mkdir", "cat"):
            (folder / "bin" / name).symlink_to(shutil.which(name) or name)
        for name in PROGRAMS:
            (folder / "bin" / name).write_text(PROGRAM)
            (folder / "bin" / name).chmod(0o755)

    def remove_wine(self) -> None:
        (self._folder / "bin" / "wine").unlink()

    def run(self, *command: str, failing: str = "") -> int:
        self._log.write_text("")
        done = subprocess.run(
            [sys.executable, self._folder / "scripts" / "wine.py", *command],
            env={
                "PATH": str(self._folder / "bin"),
                "PYTHONPATH": str(self._folder),
                "LOG": str(self._log),
                "FAILING": failing,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            check=False,
            timeout=60,
        )
        self.output = done.stdout
        return done.returncode

    @property
    def calls(self) -> list[str]:
        return self._log.read_text().splitlines()


PREFIX = ["wineboot --init ", "wine winecfg /v", "wine reg add", f"{wine.COMPILER} -shared -O2"]
PYTHON = ["wine python -m"]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_it_is_set_up_once(machine: Machine) -> None:
    assert machine.run() == 0, machine.output
    assert machine.calls == PREFIX + PYTHON
    assert machine.run() == 0
    assert machine.calls == []


def test_only_what_is_made_of_something_else_is_made_again(machine: Machine) -> None:
    assert machine.run() == 0, machine.output
    machine.project.write_text("with more packages")
    assert machine.run() == 0
    assert machine.calls == PYTHON


@pytest.mark.parametrize(
    ("failing", "again"), [("wine reg add", PREFIX + PYTHON), ("wine python -m", PYTHON)]
)
def test_what_was_not_finished_is_made_from_its_beginning(
    failing: str, again: list[str], machine: Machine
) -> None:
    assert machine.run(failing=failing) == 1
    assert machine.output.splitlines()[-2] == "it is broken"
    assert machine.output.splitlines()[-1].startswith(failing)
    assert machine.run() == 0
    assert machine.calls == again


def test_a_command_is_run_with_its_exit_code(machine: Machine) -> None:
    assert machine.run() == 0, machine.output
    assert machine.run("vmbackup", "--version", failing="wine vmbackup --version") == 3
    assert machine.output == "it is broken\n"


def test_without_wine_a_sentence_says_what_to_install(machine: Machine) -> None:
    machine.remove_wine()  # and there is no apt-get
    assert machine.run() == 1
    assert machine.output.splitlines()[-1] == (
        "Windows programs need Wine and a C compiler for Windows here: run sudo apt-get update && "
        "sudo apt-get install --yes --no-install-recommends gcc-mingw-w64-x86-64 wine wine64"
    )
