"""scripts/pulumi_cli.py: what it builds where the Pulumi CLI, or a part of it, is missing."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pulumi_cli
import pytest

if sys.platform == "win32":
    pytest.skip("the stand-in for Go is a shell script", allow_module_level=True)

SCRIPT = Path(__file__).parents[1] / "scripts" / "pulumi_cli.py"
POLICY = "pulumi-analyzer-policy-python"
# Says yes to all that it is asked, and keeps what it was asked to compile.
GO = """\
#!/bin/sh
read -r answer && exit 1  # whoever asks a question is given no answer, and does not wait
case "$1 $2" in
build*)
    tool=$(basename "$5")
    echo "half of it" > "$5"
    echo "$tool" >> "$BUILT"
    [ "$tool" = "$FAILING" ] && echo "no such package" >&2 && exit 1
    [ "$tool" = "$HANGING" ] && exec sleep 60
    echo "built" > "$5" ;;
"mod download")
    echo "{\\"Dir\\": \\"$SDK\\"}" ;;
esac
"""
INSTALLER = """\
[ "$1 $3" = "--version --install-root" ] || exit 1
mkdir -p "$4/bin"
for tool in pulumi pulumi-language-python pulumi-language-java; do echo "$2" > "$4/bin/$tool"; done
"""


class Machine:
    """A machine on which nothing is installed but a stand-in for Go."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._script = folder / "scripts" / SCRIPT.name
        self._log = folder / "built.txt"
        self.tools = folder / ".tools" / "bin"
        self.built: list[str] = []
        self.output = ""
        for name in ("scripts", "bin", "sdk/python/cmd", "sdk/python/dist", ".tools/bin"):
            (folder / name).mkdir(parents=True)
        for tool in ("sh", "basename", "echo", "mkdir", "sleep"):
            (folder / "bin" / tool).symlink_to(shutil.which(tool) or tool)
        go = folder / "bin" / "go"
        go.write_text(GO)
        go.chmod(0o755)
        for script in (SCRIPT, SCRIPT.with_name("environment.py")):
            shutil.copy(script, folder / "scripts")
        (folder / "sdk/python/cmd/pulumi-language-python-exec").touch()
        (folder / "sdk/python/dist/pulumi-resource-pulumi-python").touch()
        (folder / "sdk/python/dist" / POLICY).touch()

    def has(self, *tools: str) -> None:
        for tool in tools:
            (self.tools / tool).write_text("old")

    def run(self, *command: str, failing: str = "", go: bool = True) -> int:
        path = str(self._folder / "bin") if go else "/nowhere"
        process = self.start(*command, PATH=path, FAILING=failing)
        self.output, _ = process.communicate(timeout=60)
        self.built = self._log.read_text().split()
        return process.returncode

    def start(self, *command: str, **environment: str) -> subprocess.Popen[str]:
        """Start the script, or Python with other arguments, as the foreground job of a shell."""
        self._log.write_text("")
        with SCRIPT.open() as something_to_read:
            return subprocess.Popen(
                [sys.executable, *(command or (str(self._script),))],
                cwd=self._folder / "scripts",
                env={
                    "PATH": str(self._folder / "bin"),
                    "BUILT": str(self._log),
                    "SDK": str(self._folder / "sdk"),
                    "https_proxy": "http://127.0.0.1:9",  # so that no installer is reached
                    **environment,
                },
                stdin=something_to_read,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                start_new_session=True,
            )

    def stop(self, process: subprocess.Popen[str], how: signal.Signals, tool: str) -> None:
        """Stop the script and what it runs while it compiles a tool."""
        while tool not in self._log.read_text().split():
            assert process.poll() is None
            time.sleep(0.01)
        os.killpg(process.pid, how)
        self.output, _ = process.communicate(timeout=60)

    def contents(self) -> dict[str, str]:
        return {tool.name: tool.read_text().strip() for tool in self.tools.iterdir()}


# In the order in which they are built.
TOOLS = [
    "pulumi-language-nodejs",
    "pulumi-language-yaml",
    "pulumi-language-go",
    "pulumi-language-python",
    "pulumi",
]
PYTHON = ("pulumi-language-python", "pulumi-language-python-exec", "pulumi-resource-pulumi-python")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_machine_with_nothing_gets_the_cli_with_all_language_hosts(machine: Machine) -> None:
    assert machine.run() == 0, machine.output
    assert machine.built == TOOLS
    assert machine.contents().keys() == {POLICY, *TOOLS, *PYTHON}
    assert machine.run() == 0
    assert machine.built == []
    assert "lacks" not in machine.output


def test_the_script_that_starts_policy_packs_comes_to_a_set_that_was_built_without_it(
    machine: Machine,
) -> None:
    machine.has(*TOOLS, *PYTHON)
    assert machine.run() == 0, machine.output
    assert machine.built == []
    assert POLICY in machine.contents()
    assert "step 1 of 1: fetching the scripts of pulumi-analyzer-policy-python" in machine.output


def test_the_cli_for_programs_in_python_waits_for_no_other_language(machine: Machine) -> None:
    assert machine.run("-c", "import pulumi_cli; pulumi_cli.path_with_cli()") == 0, machine.output
    assert machine.contents().keys() == {"pulumi", *PYTHON}


def test_only_what_is_missing_is_built(machine: Machine) -> None:
    machine.has("pulumi", POLICY, *PYTHON, "pulumi-language-yaml", "pulumi-language-go")
    assert machine.run() == 0, machine.output
    assert machine.built == ["pulumi-language-nodejs"]
    contents = machine.contents()
    assert contents.pop("pulumi-language-nodejs") == "built"
    assert set(contents.values()) == {"old"}


def test_the_installer_of_the_vendor_saves_a_build(machine: Machine, tmp_path: Path) -> None:
    installer = tmp_path / "install.sh"
    installer.write_text(INSTALLER)
    get = f"import pulumi_cli; pulumi_cli.INSTALLER = {installer.as_uri()!r}; pulumi_cli.main()"
    assert machine.run("-c", get) == 0, machine.output
    assert machine.built == []
    contents = machine.contents()
    assert contents.keys() == {"pulumi", "pulumi-language-python", "pulumi-language-java"}
    assert set(contents.values()) == {pulumi_cli.VERSION}
    machine.has("pulumi-language-nodejs", "pulumi-language-yaml", "pulumi-language-go")
    assert machine.run("-c", get) == 0  # its host for Python starts policy packs without a script
    assert "lacks" not in machine.output
    installer.write_text("echo 'no such version' >&2; exit 1")
    (machine.tools / "pulumi").unlink()
    assert machine.run("-c", get) == 0, machine.output
    assert "  It failed: no such version" in machine.output.splitlines()
    assert "pulumi" in machine.built


def test_progress_tells_the_steps_the_time_and_what_a_build_takes(machine: Machine) -> None:
    machine.has("pulumi-language-nodejs")
    assert machine.run() == 0, machine.output
    lines = machine.output.splitlines()
    assert "  This takes 4 to 12 minutes on 2 cores the first time." in lines
    assert "  Built already: pulumi-language-nodejs." in lines
    steps = [
        re.fullmatch(r"  \d+:\d\d  step (\d+) of (\d+): (.*)", line)
        for line in lines
        if "step" in line
    ]
    assert [step and step.groups() for step in steps] == [
        ("1", "10", "fetching the scripts of pulumi-analyzer-policy-python"),
        ("2", "10", "fetching the modules of pulumi-language-yaml"),
        ("3", "10", "compiling pulumi-language-yaml"),
        ("4", "10", "fetching the modules of pulumi-language-go"),
        ("5", "10", "compiling pulumi-language-go"),
        ("6", "10", "fetching the scripts of pulumi-language-python"),
        ("7", "10", "fetching the modules of pulumi-language-python"),
        ("8", "10", "compiling pulumi-language-python"),
        ("9", "10", "fetching the modules of pulumi"),
        ("10", "10", "compiling pulumi"),
    ]


def test_a_long_step_is_reported_again_and_again(machine: Machine) -> None:
    report_often = "import pulumi_cli; pulumi_cli.REPORT_SECONDS = 0.01; pulumi_cli.main()"
    process = machine.start("-c", report_often, HANGING="pulumi-language-yaml")
    assert process.stdout
    assert any("  still compiling pulumi-language-yaml" in line for line in process.stdout)
    machine.stop(process, signal.SIGINT, "pulumi-language-yaml")


@pytest.mark.parametrize(
    ("failing", "kept"),
    [
        ("pulumi-language-nodejs", {POLICY}),
        ("pulumi-language-yaml", {POLICY, "pulumi-language-nodejs"}),
        ("pulumi", {POLICY, *TOOLS[:-1], *PYTHON}),
    ],
)
def test_a_build_that_fails_keeps_what_is_whole_and_says_what_failed(
    failing: str, kept: set[str], machine: Machine
) -> None:
    assert machine.run(failing=failing) == 1
    assert machine.output.splitlines()[-2:] == [
        "no such package",
        f"The Pulumi CLI is incomplete: compiling {failing} failed; go's messages say why.",
    ]
    contents = machine.contents()
    assert contents.keys() == kept
    assert "half of it" not in contents.values()
    assert [each.name for each in machine.tools.parent.iterdir()] == ["bin"]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
@pytest.mark.parametrize("tool", ["pulumi-language-python", "pulumi"])
def test_a_build_that_is_stopped_goes_on_where_it_was(
    tool: str, how: signal.Signals, machine: Machine
) -> None:
    machine.stop(machine.start(HANGING=tool), how, tool)
    assert tool not in machine.contents()
    assert "half of it" not in machine.contents().values()
    if how is signal.SIGINT:
        assert machine.output.splitlines()[-1] == (
            "Stopped. Run the same command again to continue from here."
        )
        assert [each.name for each in machine.tools.parent.iterdir()] == ["bin"]
    assert machine.run() == 0, machine.output
    assert machine.built == TOOLS[TOOLS.index(tool) :]
    assert machine.contents().keys() == {POLICY, *TOOLS, *PYTHON}


def test_without_go_an_error_names_what_is_missing_and_what_to_do(machine: Machine) -> None:
    machine.has("pulumi", POLICY, *PYTHON)
    assert machine.run(go=False) == 1
    assert machine.output.splitlines()[-1].startswith(
        "There is no pulumi-language-nodejs and no pulumi-language-yaml and no pulumi-language-go: "
    )


def test_a_cli_on_path_comes_with_its_own_language_hosts(machine: Machine) -> None:
    cli = machine.tools.parent.parent / "bin" / "pulumi"
    cli.write_text("#!/bin/sh\n")
    cli.chmod(0o755)
    assert machine.run() == 0
    assert machine.output == f"Pulumi CLI: {cli}\n"
    assert machine.built == []
    assert machine.contents() == {}
