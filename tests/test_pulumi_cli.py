"""scripts/pulumi_cli.py: what it builds where the Pulumi CLI, or a part of it, is missing."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

if sys.platform == "win32":
    pytest.skip("the stand-in for Go is a shell script", allow_module_level=True)

SCRIPT = Path(__file__).parents[1] / "scripts" / "pulumi_cli.py"
# Says yes to all that it is asked, and keeps what it was asked to compile.
GO = """\
#!/bin/sh
case "$1" in
build)
    echo "$5" | sed 's,.*/,,' >> "$BUILT"
    [ "$(basename "$5")" = "$FAILING" ] && exit 1
    echo "built" > "$5" ;;
list)
    echo "$SDK" ;;
esac
"""


class Machine:
    """A machine on which nothing is installed but a stand-in for Go."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._script = folder / "scripts" / SCRIPT.name
        self.tools = folder / ".tools" / "bin"
        self.built: list[str] = []
        self.output = ""
        for name in ("scripts", "bin", "sdk/python/cmd", "sdk/python/dist", ".tools/bin"):
            (folder / name).mkdir(parents=True)
        for tool in ("sh", "sed", "basename", "echo"):
            (folder / "bin" / tool).symlink_to(shutil.which(tool) or tool)
        go = folder / "bin" / "go"
        go.write_text(GO)
        go.chmod(0o755)
        shutil.copy(SCRIPT, self._script)
        (folder / "sdk/python/cmd/pulumi-language-python-exec").touch()
        (folder / "sdk/python/dist/pulumi-resource-pulumi-python").touch()

    def has(self, *tools: str) -> None:
        for tool in tools:
            (self.tools / tool).write_text("old")

    def run(self, *command: str, failing: str = "", go: bool = True) -> int:
        log = self._folder / "built.txt"
        log.write_text("")
        done = subprocess.run(
            [sys.executable, *(command or (str(self._script),))],
            cwd=self._folder / "scripts",
            env={
                "PATH": str(self._folder / "bin") if go else "/nowhere",
                "BUILT": str(log),
                "FAILING": failing,
                "SDK": str(self._folder / "sdk"),
                "https_proxy": "http://127.0.0.1:9",  # so that no installer is reached
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            check=False,
            timeout=60,
        )
        self.built = log.read_text().split()
        self.output = done.stdout
        return done.returncode

    def contents(self) -> dict[str, str]:
        return {tool.name: tool.read_text().strip() for tool in self.tools.iterdir()}


PYTHON = ("pulumi-language-python", "pulumi-language-python-exec", "pulumi-resource-pulumi-python")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_machine_with_nothing_gets_the_cli_with_all_language_hosts(machine: Machine) -> None:
    assert machine.run() == 0, machine.output
    hosts = ("pulumi-language-nodejs", "pulumi-language-yaml")
    assert machine.contents().keys() == {"pulumi", *PYTHON, *hosts}
    assert machine.run() == 0
    assert machine.built == []


def test_the_cli_for_programs_in_python_waits_for_no_other_language(machine: Machine) -> None:
    assert machine.run("-c", "import pulumi_cli; pulumi_cli.path_with_cli()") == 0, machine.output
    assert machine.contents().keys() == {"pulumi", *PYTHON}


def test_only_what_is_missing_is_built(machine: Machine) -> None:
    machine.has("pulumi", *PYTHON, "pulumi-language-yaml")
    assert machine.run() == 0, machine.output
    assert machine.built == ["pulumi-language-nodejs"]
    contents = machine.contents()
    assert contents.pop("pulumi-language-nodejs") == "built"
    assert set(contents.values()) == {"old"}


@pytest.mark.parametrize("failing", ["pulumi-language-nodejs", "pulumi-language-yaml", "pulumi"])
def test_a_build_that_fails_leaves_nothing_and_says_what_failed(
    failing: str, machine: Machine
) -> None:
    assert machine.run(failing=failing) == 1
    assert f"compiling {failing} failed" in machine.output
    assert machine.contents() == {}
    assert [each.name for each in machine.tools.parent.iterdir()] == ["bin"]


def test_without_go_an_error_names_what_is_missing_and_what_to_do(machine: Machine) -> None:
    machine.has("pulumi", *PYTHON)
    assert machine.run(go=False) == 1
    assert machine.output.splitlines()[-1].startswith(
        "There is no pulumi-language-nodejs and no pulumi-language-yaml: install the Pulumi CLI "
    )


def test_a_cli_on_path_comes_with_its_own_language_hosts(machine: Machine) -> None:
    cli = machine.tools.parent.parent / "bin" / "pulumi"
    cli.write_text("#!/bin/sh\n")
    cli.chmod(0o755)
    assert machine.run() == 0
    assert machine.output == f"Pulumi CLI: {cli}\n"
    assert machine.built == []
    assert machine.contents() == {}
