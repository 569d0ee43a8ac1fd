"""The virtual environment .venv, with the package and its development tools. Each chore starts so:

    from environment import use_environment

    if __name__ == "__main__":
        use_environment()

What stands above that runs on the machine's Python, with only the standard library.
"""

import io
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import NoReturn

if sys.version_info < (3, 10):  # noqa: UP036  # before what older ones do not understand
    sys.exit(
        f"Python 3.10 or later is needed, and {sys.executable} is {sys.version.split()[0]}: choose "
        "a later one, for example with `py -3.13` on Windows, or with `make PYTHON=python3.13`."
    )

ROOT = Path(__file__).absolute().parent.parent  # not resolved: that is long for a Windows share
ENVIRONMENT = ROOT / ".venv"
BIN = ENVIRONMENT / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
READY = ENVIRONMENT / "ready"
PARTS = (PYTHON, ENVIRONMENT / "pyvenv.cfg", READY)
MADE_FROM = (ROOT / "pyproject.toml", ROOT / "scripts" / "environment.py")
LONGEST_NAME = 150  # of a file in .venv, with its folders; it is one of debugpy's


def use_environment() -> None:
    """Go on in the clone's folder, in the Python of .venv; make .venv if it is missing or old."""
    sys.excepthook = without_traceback_of_ctrl_c
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # paths may not fit the code page
    script = Path(sys.argv[0]).absolute()
    os.chdir(ROOT)
    in_it = ENVIRONMENT.exists() and ENVIRONMENT.samefile(sys.prefix)
    if not is_ready():
        try:
            make_environment(new=not in_it)
        except KeyboardInterrupt:
            sys.exit("Stopped. Run the same command again: it starts from the beginning.")
    if not in_it:
        hand_over([str(PYTHON), str(script), *sys.argv[1:]])


def hand_over(command: list[str]) -> NoReturn:
    """Run a command in place of this process, which ends with the command's exit code."""
    if os.name != "nt":
        os.execv(command[0], command)  # noqa: S606  # there is no shell, as is wanted
    process = subprocess.Popen(command)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the command too, which ends
    sys.exit(process.wait())


def is_ready() -> bool:
    if not all(part.exists() for part in PARTS):
        return False
    return all(file.stat().st_mtime <= READY.stat().st_mtime for file in MADE_FROM)


def make_environment(*, new: bool) -> None:
    """Make .venv anew, or, where its own Python runs this, install what is missing in it."""
    print("Making the Python environment .venv. This takes a minute or two.", flush=True)
    if new:
        check_length_of_paths()
        command = [sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)]
        done = subprocess.run(command, capture_output=True, errors="replace", check=False)
        if done.returncode != 0:
            sys.exit(
                f"{done.stdout}{done.stderr}\nThe virtual environment .venv could not be made; the "
                "message above says why. On Debian and Ubuntu, install python3-venv. On Windows, "
                "close what uses .venv."
            )
    pip = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "--no-input"]
    command = [*pip, "install", "--quiet", "--editable", ".[dev]"]
    if subprocess.run(command, check=False).returncode != 0:
        sys.exit("The packages could not be installed; pip's messages above say why.")
    # Before 3.13, Python reads these files in the code page of Windows, and the build writes UTF-8.
    # A path from here, instead of the clone's own, has no letters that differ.
    for file in ENVIRONMENT.rglob("_pulumi_vmbackup.pth"):
        file.write_text(os.path.relpath(ROOT / "provider", file.parent), "utf-8")
    READY.touch()


def check_length_of_paths() -> None:
    """Find out before pip does whether this machine bears the paths that .venv will have."""
    try:
        (ENVIRONMENT / ("x" * LONGEST_NAME)).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        sys.exit(
            f".venv cannot be made in {ROOT} ({error.strerror}). If this path is too long, move "
            "the clone to a shorter one, or allow long paths in Windows."
        )


def without_traceback_of_ctrl_c(
    kind: type[BaseException], error: BaseException, traceback: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        print("Stopped.", file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, traceback)
