"""scripts/environment.py and the chores that start with it: which Python runs them, and with what.

They run in a clone whose path has a space and letters beyond ASCII. Stand-ins log what pip and the
other tools are asked for; the environments are real ones, but without pip.
"""

from __future__ import annotations

import ast
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import environment
import pytest

SCRIPTS = environment.ROOT / "scripts"
CHORES = ["quickstart.py", "test.py", "check.py", "breaks.py", "bench.py"]
START = """\
from environment import use_environment

if __name__ == "__main__":
    use_environment()

import pulumi_vmbackup

"""
STAND_IN = """\
import os
import pathlib
import shutil
import subprocess
import sys
import time

name = pathlib.Path(__file__).stem
with open(os.environ["LOG"], "a", encoding="utf-8") as log:
    print(name, *sys.argv[1:], file=log)
if name == os.environ["FAILS"]:
    sys.exit(3)
if name == os.environ["WAITS"]:
    time.sleep(600)
if name == "venv" and pathlib.Path(os.__file__).with_name("venv").exists():
    subprocess.run([sys.executable, "-I", "-m", "venv", "--without-pip", *sys.argv[1:]], check=True)
elif name == "venv":  # the Python under Wine is one for embedding, which has no venv
    made, python = pathlib.Path(sys.argv[-1]), pathlib.Path(sys.executable).parent
    shutil.rmtree(made)
    for folder in ("Scripts", "Lib/site-packages"):
        (made / folder).mkdir(parents=True)
    for file in (*python.glob("python*.???"), *python.glob("vcruntime*")):
        shutil.copy(file, made / "Scripts")
    (made / "pyvenv.cfg").write_text(f"home = {python}", "utf-8")
elif name == "pip":  # an editable installation, as the build makes it
    packages = next(each for each in sys.path if each.endswith("site-packages"))
    folder = pathlib.Path("provider").absolute()
    pathlib.Path(packages, "_pulumi_vmbackup.pth").write_text(str(folder), "utf-8")
elif name == "chore":
    print("in", sys.prefix, "at", os.getcwd())
"""
MAKING = "Making the Python environment .venv. This takes a minute or two."
PIP = "pip --disable-pip-version-check --no-input install --quiet --editable .[dev]"


class Clone:
    """A clone of the repository, on a machine that has the Python of these tests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "clone of Zoë"
        self.environment = self.folder / ".venv"
        self.scripts = self.folder / "scripts"
        self.in_environment = f"in {self.environment} at {self.folder}"
        self.new_venv = f"venv --clear {self.environment}"
        self.encoding = "utf-8"  # of what is printed to a pipe
        self._log = folder / "log.txt"
        self._stand_ins = folder / "stand-ins"
        shutil.copytree(SCRIPTS, self.scripts, ignore=shutil.ignore_patterns("__pycache__"))
        (self.scripts / "chore.py").write_text(START + STAND_IN)
        (self.scripts / "actionlint.py").write_text(STAND_IN)
        (self.folder / "pyproject.toml").touch()
        package = self.folder / "provider" / "pulumi_vmbackup"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        self._stand_ins.mkdir()
        for name in ("venv", "pip", "pytest", "ruff", "mypy", "check_jsonschema"):
            (self._stand_ins / f"{name}.py").write_text(STAND_IN)
        for name in ("pulumi", "pulumi.exe"):
            (self._stand_ins / name).touch(mode=0o755)

    def start(
        self, *arguments: str, python: str = sys.executable, fails: str = "", waits: str = ""
    ) -> subprocess.Popen[str]:
        """Start a script, or Python with other arguments, as the foreground job of a terminal."""
        self._log.write_text("")
        return subprocess.Popen(
            [python, *arguments],
            cwd=self.scripts,
            env={
                **os.environ,
                "FAILS": fails,
                "WAITS": waits,
                "LOG": str(self._log),
                "PATH": os.pathsep.join((str(self._stand_ins), os.environ["PATH"])),
                "PYTHONPATH": str(self._stand_ins),
                "PYTHONIOENCODING": self.encoding,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            start_new_session=True,
        )

    def run(
        self, *arguments: str, python: str = sys.executable, fails: str = "", code: int = 0
    ) -> tuple[list[str], str]:
        """Run it to its end: what it printed, and what went wrong."""
        process = self.start(*arguments, python=python, fails=fails)
        printed, errors = process.communicate(timeout=600)
        assert process.returncode == code, printed + errors
        return printed.splitlines(), errors.strip()

    def asked(self) -> list[str]:
        """What the last run asked the stand-ins for."""
        return self._log.read_text("utf-8").splitlines()

    def change(self, changed: str) -> None:
        """Change a file after the environment was made."""
        made = time.time() - 100
        os.utime(self.environment / "ready", (made, made))
        for file in ("pyproject.toml", "scripts/environment.py"):
            when = made + 1 if file == changed else made - 1
            os.utime(self.folder / file, (when, when))


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    return Clone(tmp_path)


def test_a_chore_makes_the_environment_once_and_runs_in_it(clone: Clone) -> None:
    assert clone.run("chore.py", "a word", "*") == ([MAKING, clone.in_environment], "")
    assert clone.asked() == [clone.new_venv, PIP, "chore a word *"]
    assert clone.run("chore.py") == ([clone.in_environment], "")
    assert clone.asked() == ["chore"]


def test_the_exit_code_of_a_chore_is_passed_on(clone: Clone) -> None:
    clone.run("chore.py", fails="chore", code=3)


def test_a_command_is_run_in_place_of_a_chore(clone: Clone) -> None:
    command = [sys.executable, "-c", "print('it runs'); raise SystemExit(4)"]
    chore = f"from environment import hand_over; hand_over({command})"
    assert clone.run("-c", chore, code=4) == (["it runs"], "")


@pytest.mark.parametrize("file", ["pyproject.toml", "scripts/environment.py"])
def test_an_environment_older_than_what_it_is_made_from_is_made_anew(
    file: str, clone: Clone
) -> None:
    clone.run("chore.py")
    clone.change(file)
    clone.run("chore.py")
    assert clone.asked() == [clone.new_venv, PIP, "chore"]
    clone.run("chore.py")
    assert clone.asked() == ["chore"]


@pytest.mark.parametrize("part", environment.PARTS)
def test_an_environment_that_lacks_a_part_is_made_anew(part: Path, clone: Clone) -> None:
    clone.run("chore.py")
    (clone.folder / part.relative_to(environment.ROOT)).unlink()
    clone.run("chore.py")
    assert clone.asked() == [clone.new_venv, PIP, "chore"]


def test_the_environments_own_python_does_not_start_again(clone: Clone) -> None:
    clone.run("chore.py")
    own = str(clone.folder / environment.PYTHON.relative_to(environment.ROOT))
    assert clone.run("chore.py", python=own) == ([clone.in_environment], "")
    assert clone.asked() == ["chore"]
    clone.change("pyproject.toml")
    assert clone.run("chore.py", python=own) == ([MAKING, clone.in_environment], "")
    assert clone.asked() == [PIP, "chore"]  # Windows does not let a Python that runs be replaced


def test_a_path_may_have_letters_that_the_code_page_lacks(clone: Clone) -> None:
    clone.encoding = "ascii"
    printed, _ = clone.run("chore.py")
    assert printed[-1].endswith(r"clone of Zo\xeb")


def test_the_package_is_found_whatever_the_code_page_of_windows_is(clone: Clone) -> None:
    clone.run("chore.py")
    (file,) = clone.environment.rglob("_pulumi_vmbackup.pth")
    assert file.read_bytes().isascii()


@pytest.mark.parametrize(
    ("fails", "says"),
    [
        ("venv", "The virtual environment .venv could not be made; the message above says why. "),
        ("pip", "The packages could not be installed; pip's messages above say why."),
    ],
)
def test_an_environment_that_cannot_be_made_is_a_sentence_and_tried_again(
    fails: str, says: str, clone: Clone
) -> None:
    printed, error = clone.run("chore.py", fails=fails, code=1)
    assert error.startswith(says)
    assert printed == [MAKING]
    clone.run("chore.py")
    assert clone.asked() == [clone.new_venv, PIP, "chore"]


def test_a_path_that_is_too_long_is_a_sentence(clone: Clone) -> None:
    file = clone.scripts / "environment.py"
    text = file.read_text("utf-8")
    file.write_text(text.replace("LONGEST_NAME = 150", "LONGEST_NAME = 15_000"), "utf-8")
    _, error = clone.run("chore.py", code=1)
    assert error.startswith(f".venv cannot be made in {clone.folder} (")
    assert error.endswith("move the clone to a shorter one, or allow long paths in Windows.")
    assert clone.asked() == []


@pytest.mark.parametrize("chore", CHORES)
def test_an_old_python_is_a_sentence(chore: str, clone: Clone) -> None:
    for script in (chore, "environment.py"):
        ast.parse((SCRIPTS / script).read_text("utf-8"), feature_version=(3, 6))
    as_old = "import runpy, sys; sys.path.insert(0, '.'); sys.version_info = (3, 6, 15)"
    _, error = clone.run("-c", f"{as_old}; runpy.run_path({chore!r}, {{}}, '__main__')", code=1)
    assert error.startswith(f"Python 3.10 or later is needed, and {sys.executable} is 3.")
    assert clone.asked() == []


@pytest.mark.parametrize(
    ("waits", "says"),
    [
        ("venv", "Stopped. Run the same command again: it starts from the beginning."),
        ("chore", "Stopped."),
    ],
)
def test_ctrl_c_is_a_sentence(waits: str, says: str, clone: Clone) -> None:
    if sys.platform == "win32":
        pytest.skip("there, Ctrl-C goes to all processes of a console, these tests included")
    process = clone.start("chore.py", waits=waits)
    while not [line for line in clone.asked() if line.startswith(waits)]:
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    assert process.communicate(timeout=600)[1] == f"{says}\n"
    assert process.returncode != 0


FAST = "--ignore=tests/e2e --ignore=tests/reliability"


@pytest.mark.parametrize(
    ("option", "options"),
    [
        ([], ""),
        (["--all"], " -m "),
        (["--fast"], f" {FAST}"),
        (["--coverage"], f" {FAST} --cov --cov-report=term:skip-covered"),
    ],
)
def test_an_option_chooses_the_tests(option: list[str], options: str, clone: Clone) -> None:
    clone.run("test.py", *option, "-k", "fast or all", fails="pytest", code=3)
    assert clone.asked()[2:] == [f"pytest -n auto --dist worksteal{options} -k fast or all"]


def test_the_checks_stop_at_the_first_that_fails(clone: Clone) -> None:
    for name in ("one", "two"):
        program = clone.folder / "examples" / name / "__main__.py"
        program.parent.mkdir(parents=True)
        program.touch()
    (clone.folder / "examples" / "two" / "azure-pipelines.yml").touch()
    clone.run("check.py")
    examples = [f"mypy {Path('examples', name)}" for name in ("one", "two")]
    types = ["mypy", "mypy --platform win32", *examples]
    *others, on_github, in_azure = clone.asked()[2:]
    assert others == ["ruff format --check .", "ruff check .", *types, "actionlint"]
    assert on_github == "check_jsonschema --builtin-schema vendor.github-workflows"
    assert in_azure.startswith("check_jsonschema --builtin-schema vendor.azure-pipelines ")
    assert in_azure.endswith(f" {Path('examples', 'two', 'azure-pipelines.yml')}")
    clone.run("check.py", "types", "lint", fails="mypy", code=3)
    assert clone.asked() == ["mypy"]
    _, error = clone.run("check.py", "tpyes", code=1)
    assert error == "tpyes is none of the checks format, lint, types, workflows."
