"""Makes the archive of the plugin for this machine, as `pulumi plugin install` takes it.

    python scripts/archive.py FOLDER

The archive holds the executable `pulumi-resource-vmbackup` with a Python of its own, so the machine
that it is installed on needs none. PyInstaller packs the Python that runs this script and the
installed package with what it requires. Whatever else is installed stays out.
"""

import platform
import re
import shutil
import sys
import sysconfig
import tarfile
import tempfile
from collections.abc import Iterable
from importlib.metadata import distribution, packages_distributions
from pathlib import Path

from environment import ROOT

from pulumi_vmbackup.plugin.schema import PACKAGE, VERSION

DISTRIBUTION = "pulumi-vmbackup"
EXECUTABLE = f"pulumi-resource-{PACKAGE}"
ENTRY = "from pulumi_vmbackup.plugin.server import main\n\nmain()\n"
SYSTEMS = {"linux": "linux", "darwin": "darwin", "win32": "windows"}
MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}

# Pulumi's SDK requires it to debug programs. What the SDK requires for tracing has to stay: it is
# imported in the plugin too if the CLI traces.
NOT_NEEDED = {"debugpy"}
EXCLUDED = [
    # Of this package, what the plugin never imports.
    *("pulumi_vmbackup.command", "pulumi_vmbackup.policy", "pulumi_vmbackup.simulator"),
    # Of Python, what only its tools, consoles and tests need, with the libraries that they bring.
    *("bdb", "curses", "doctest", "ensurepip", "idlelib", "lib2to3", "pdb", "pydoc", "pydoc_data"),
    *("readline", "sqlite3", "test", "tkinter", "turtle", "unittest", "venv"),
    # urllib3 uses it instead of Python's ssl if it is there, which it need not be.
    *("OpenSSL", "cryptography", "urllib3.contrib.pyopenssl"),
]


def archive_name(version: str, system: str, machine: str) -> str:
    """The name under which Pulumi looks for the plugin among the files of a release.

    Args:
        version: the semantic version.
        system: as `sys.platform` has it.
        machine: as `platform.machine()` has it.
    """
    if system not in SYSTEMS or machine.lower() not in MACHINES:
        sys.exit(f"Pulumi knows no plugins for {system} on {machine}.")
    return f"{EXECUTABLE}-v{version}-{SYSTEMS[system]}-{MACHINES[machine.lower()]}.tar.gz"


def archive_name_here() -> str:
    return archive_name(VERSION, sys.platform, platform.machine())


def make_archive(folder: Path) -> Path:
    """Make the archive in a folder; its path."""
    archive = folder / archive_name_here()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        packed = pack(Path(temporary))
        # Pulumi refuses an archive with links, so what they lead to is in it once more.
        with tarfile.open(archive, "w:gz", dereference=True) as file:
            for each in sorted(packed.iterdir()):
                file.add(each, each.name, filter=without_owner)
            file.add(ROOT / "LICENSE", "LICENSE", filter=without_owner)
            file.add(license_of_python(), "LICENSE-Python.txt", filter=without_owner)
    return archive


def license_of_python() -> Path:
    """The license of the Python that is packed; on Windows, also those of its libraries."""
    for folder in (sysconfig.get_path("stdlib"), sys.base_prefix):
        file = Path(folder, "LICENSE.txt")
        if file.exists():
            return file
    sys.exit(f"There is no LICENSE.txt of Python in {sys.base_prefix}, and the archive needs it.")


def pack(folder: Path) -> Path:
    """Run PyInstaller; the folder with the executable and all that it needs."""
    try:
        from PyInstaller.__main__ import run
        from PyInstaller.exceptions import PythonLibraryNotFoundError
    except ModuleNotFoundError:
        sys.exit(f'PyInstaller is missing: run `pip install "{DISTRIBUTION}[release]"`.')
    entry = folder / f"{EXECUTABLE}.py"
    entry.write_text(ENTRY, "utf-8")
    kept = required(DISTRIBUTION)
    options = {
        "name": [EXECUTABLE],
        "distpath": [str(folder / "dist")],
        "workpath": [str(folder / "build")],
        "specpath": [str(folder)],
        "log-level": ["WARN"],
        "copy-metadata": sorted(kept),  # with their licenses; the plugin reads its own version
        "collect-submodules": ["pulumi.runtime.proto"],  # imported by name
        "exclude-module": [*EXCLUDED, *modules_of_others(kept)],
    }
    given = [f"--{option}={value}" for option, values in options.items() for value in values]
    if sys.platform == "linux" and shutil.which("strip"):
        given.append("--strip")  # a third of the size is symbols
    # A folder: one file would unpack itself at each start, and leave that behind if it is killed.
    try:
        run([*given, "--onedir", "--noconfirm", str(entry)])
    except PythonLibraryNotFoundError:
        sys.exit(
            f"PyInstaller needs a Python with a shared library, and {sys.executable} has none: "
            "take one that was built with --enable-shared."
        )
    return folder / "dist" / EXECUTABLE


def required(name: str) -> set[str]:
    """The names of a distribution and of what it requires, without what is not needed here."""
    found: set[str] = set()
    wanted = {normalized(name)}
    while wanted:
        one = wanted.pop()
        found.add(one)
        wanted |= requirements(one) - found - NOT_NEEDED
    return found


def requirements(name: str) -> set[str]:
    """What an installed distribution requires here, without its extras."""
    from packaging.requirements import Requirement

    lines = map(Requirement, distribution(name).requires or ())
    return {
        normalized(line.name)
        for line in lines
        if line.marker is None or line.marker.evaluate({"extra": ""})
    }


def modules_of_others(kept: set[str]) -> Iterable[str]:
    """The modules of distributions that are installed here for other reasons."""
    for module, distributions in packages_distributions().items():
        if module.isidentifier() and not kept & set(map(normalized, distributions)):
            yield module


def normalized(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def without_owner(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


if __name__ == "__main__":
    print(make_archive(Path(sys.argv[1])))
