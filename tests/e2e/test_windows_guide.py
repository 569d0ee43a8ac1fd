"""docs/windows.md: its commands, in the order in which they stand there.

Those for `python`, `vmbackup` and `pulumi` run on each system, with a folder of the test in place
of the guide's. Those for PowerShell need a Windows, where PowerShell itself reads them.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from certificates import made
from e2e.stack import Prepared, assigned
from pulumi_cli import isolated_environment
from sample import OFFSITE01, PASSWORD, SQL01

from pulumi_vmbackup.simulator import Simulator, serve

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "windows.md").read_text("utf-8")
BLOCKS = re.findall(r"^ *```(\w+)\n(.*?)^ *```$", GUIDE, re.MULTILINE | re.DOTALL)
# Around a command: parentheses and what follows in a pipe, or cmd, which writes the log.
COMMAND = re.compile(r'\(?((?:\S+\\)?(?:python|vmbackup|pulumi) [^|]+)|cmd /c "(pulumi .+) > .+"')
PIP_WITHOUT_NETWORK = ["--dry-run", "--no-deps", "--no-index", "--no-build-isolation"]


class Machine:
    """A machine on which the guide is followed.

    Attributes:
        left: the lines that were not run.
    """

    def __init__(self, folder: Path, prepared: Prepared, https_url: str, http_url: str) -> None:
        self.folder = folder / "vmbackup"
        self.program = self.folder / "program"
        self.left: list[str] = []
        self._port = urlsplit(https_url).port
        self._output = ""
        self.environment = isolated_environment(folder / "pulumi")
        del self.environment["PULUMI_BACKEND_URL"], self.environment["PULUMI_CONFIG_PASSPHRASE"]
        self.environment["VMBACKUP_BASE_URL"] = http_url  # until the stack has one
        self.environment["VMBACKUP_PASSWORD"] = PASSWORD  # instead of the prompts
        if prepared.python:
            self.environment["PULUMI_PYTHON_CMD"] = str(prepared.python)
        for name in ("program", "state", "logs"):
            (self.folder / name).mkdir(parents=True)

    def here(self, text: str) -> str:
        """A text of the guide with the folders and the port of the test."""

        def path(found: re.Match[str]) -> str:
            moved = self.folder.joinpath(*re.split(r"[\\/]", found[1]))
            return moved.as_posix() if found[1].startswith("/") else str(moved)

        text = re.sub(r"C:[\\/]vmbackup((?:[\\/][\w.]+)*)", path, text)
        text = text.replace(r"C:\src\pulumi-vmbackup", str(ROOT))
        return text.replace("localhost:36013", f"localhost:{self._port}")

    def follow(self) -> None:
        for language, block in BLOCKS:
            if language == "powershell":
                for line in block.splitlines():
                    self._follow_line(line.strip())
            elif language == "text":
                self._find(block)
            else:
                name = {"yaml": "Pulumi.yaml", "python": "__main__.py"}[language]
                (self.program / name).write_text(self.here(block), "utf-8")

    def _follow_line(self, line: str) -> None:
        if found := COMMAND.match(line):
            self._run([a or b for a, b in re.findall(r'"(.+?)"|(\S+)', found[1] or found[2])])
        elif found := re.fullmatch(r'\$env:(\w+) = "([^$]+)"', line):
            self.environment[found[1]] = self.here(found[2])
        else:
            self.left.append(line)

    def _run(self, command: list[str]) -> None:
        program, *arguments = (self.here(each) for each in command)
        answer = None
        if program == "pulumi":
            program = shutil.which("pulumi", path=self.environment["PATH"]) or program
            arguments += ["--non-interactive", "--color", "never"]
            if arguments[3:4] == ["vmbackup:password"]:  # it asks for it
                answer = PASSWORD
                del self.environment["VMBACKUP_PASSWORD"]
        elif program == "vmbackup":
            answer = "y\n" if "--save-certificate" in arguments else None
            program, arguments = sys.executable, ["-m", "pulumi_vmbackup.command", *arguments]
        else:
            program = sys.executable
            arguments += PIP_WITHOUT_NETWORK if arguments[1] == "pip" else ["--help"]
        done = subprocess.run(
            [program, *arguments],
            cwd=self.program,
            env=self.environment,
            input=answer or "",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            check=False,
            timeout=600,
        )
        assert done.returncode == 0, f"{command}: {done.stdout}"
        self._output = done.stdout

    def _find(self, block: str) -> None:
        """Find what the guide shows in what the last command printed."""
        printed = [line.strip() for line in self._output.splitlines()]
        for line in block.splitlines():
            pattern = re.escape(line).replace(re.escape("..."), ".*").replace(r"\ ", " +")
            assert any(re.fullmatch(pattern, each) for each in printed), f"{line}: {printed}"


@pytest.fixture
def machine(
    simulator: Simulator, base_url: str, prepared: Prepared, tmp_path: Path
) -> Iterator[Machine]:
    with serve(simulator, certificate=made("VMBACKUP01").write_server(tmp_path)) as https_url:
        machine = Machine(tmp_path, prepared, https_url, base_url)
        (machine.folder / "passphrase.txt").write_text("in base 64\r\n")
        yield machine


def test_the_guide_leads_to_an_assignment(machine: Machine, simulator: Simulator) -> None:
    machine.follow()
    assert assigned(simulator) == {f"{SQL01}/{OFFSITE01}"}
    assert list((machine.folder / "state" / ".pulumi" / "stacks" / "backup").glob("prod.json"))
    for line in machine.left:  # there is none among them that could have been run
        assert not re.search(r"\b(python|vmbackup|pulumi) +[a-z-]", line), line


POWERSHELL = """\
$ErrorActionPreference = "Stop"
$tokens = $errors = $null
$guide = [System.Management.Automation.Language.Parser]::ParseFile(
    $args[0], [ref]$tokens, [ref]$errors)
foreach ($each in $errors) { "line $($each.Extent.StartLineNumber): $($each.Message)" }
foreach ($command in $guide.FindAll({ $args[0].GetType().Name -eq "CommandAst" }, $true)) {
    $name = $command.GetCommandName()
    if ($name -notlike "*-*") { continue }
    $found = Get-Command $name -ErrorAction SilentlyContinue
    if (-not $found) { "there is no command $name"; continue }
    foreach ($element in $command.CommandElements) {
        if ($element.GetType().Name -ne "CommandParameterAst") { continue }
        $option = $element.ParameterName
        if (-not ($found.Parameters.Keys -like "$option*")) { "$name has no -$option" }
    }
}
"read"
"""


def test_windows_powershell_knows_each_command_and_option(tmp_path: Path) -> None:
    if sys.platform != "win32":
        pytest.skip("there is no Windows PowerShell here")
    (tmp_path / "check.ps1").write_text(POWERSHELL)
    scripts = [block for language, block in BLOCKS if language == "powershell"]
    (tmp_path / "guide.ps1").write_text("\n".join(scripts), "ascii")
    command = ["powershell", "-NoProfile", "-ExecutionPolicy", "Bypass", "-File"]
    done = subprocess.run(
        [*command, str(tmp_path / "check.ps1"), str(tmp_path / "guide.ps1")],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    if not done.stdout:
        pytest.skip("the PowerShell of Wine is none")
    assert done.stdout.split("\n")[:-1] == ["read"], done.stdout + done.stderr
