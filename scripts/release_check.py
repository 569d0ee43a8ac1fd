"""Makes all that a release publishes, in dist/, installs it, and runs programs with it.

    python scripts/release_check.py            on Linux, with the Windows archive, under Wine
    python scripts/release_check.py --native   the packages for Python and this machine's archive
    python scripts/release_check.py --sdks     the SDKs, with the archive that is in dist/

Each file goes into an empty place: the sdist and the wheel into a virtual environment, an archive
into an empty PULUMI_HOME, the package for npm and the module for Go into a program's folder. Then
the real Pulumi CLI runs a program with it against the simulator: up, refresh, destroy. The program
of an archive or of an SDK runs with a PATH that has no Python.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from environment import BIN, ROOT, use_environment

if __name__ == "__main__":
    use_environment()

import go_tag
import sdks
from archive import EXECUTABLE, archive_name, archive_name_here
from pulumi_cli import (
    CLI,
    FOR_ALL_LANGUAGES,
    GO_HOST,
    NODE_HOST,
    YAML_HOST,
    isolated_environment,
    path_with_cli,
    say,
)
from release import CHANGELOG, TAG, UNRELEASED, notes, section

from pulumi_vmbackup.plugin.schema import PACKAGE, REPOSITORY, VERSION
from pulumi_vmbackup.simulator import Simulator, serve

DIST = ROOT / "dist"
QUICKSTART = ROOT / "examples" / "quickstart"
YAML = ROOT / "examples" / "yaml"
TYPESCRIPT = ROOT / "examples" / "typescript"
GO = ROOT / "examples" / "go"
GO_MODULE = f"{REPOSITORY}/{go_tag.MODULE}"
WINE = (sys.executable, str(ROOT / "scripts" / "wine.py"))
START_PLUGIN = "from pulumi_vmbackup.plugin.server import main; main()"
STARTS = 8
COMMAND_SECONDS = 600


class Row(NamedTuple):
    """What the table says of a file."""

    file: Path
    unpacked_bytes: int | None = None
    start_seconds: float | None = None


@dataclass(frozen=True)
class Machine:
    """Where the CLI runs.

    Attributes:
        pulumi: the command that starts the CLI.
        environment: its variables, with a backend and a PULUMI_HOME of its own.
    """

    pulumi: Sequence[str]
    environment: Mapping[str, str]

    def run(self, *arguments: str, folder: Path) -> str:
        command = [*self.pulumi, *arguments, "--non-interactive", "--color", "never"]
        return call(*command, cwd=folder, env=self.environment)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--native", action="store_true", help="no SDKs, and no Windows archive")
    which.add_argument("--sdks", action="store_true", help="the SDKs alone")
    chosen = parser.parse_args()
    native = chosen.native or sys.platform == "win32"
    rows = []
    # On Windows, what still ends keeps its files.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        folder = Path(temporary)
        if not chosen.sdks:
            shutil.rmtree(DIST, ignore_errors=True)
            rows += check_packages(folder)
        if not native:
            rows.append(check_sdks(DIST / archive_name_here(), folder / "sdks"))
        if not native and not chosen.sdks:
            rows.append(check_windows_archive(folder / "windows"))
    write_notes()
    write_checksums()
    say("")
    for line in table(rows):
        say(line)
    say(f"\nAll of them work. They are in {DIST.name}/, with the notes and SHA256SUMS.")


def check_packages(folder: Path) -> list[Row]:
    """Make, install and try the sdist, the wheel, and the archive that is made of the wheel."""
    say("Making the sdist and the wheel.")
    build = ("-m", "build", "--no-isolation", "--outdir", str(DIST), str(ROOT))
    call(sys.executable, *build)
    (sdist,), (wheel,) = DIST.glob("*.tar.gz"), DIST.glob("*.whl")

    say(f"Installing {sdist.name}, and running the quickstart's program with it.")
    try_package(installed(folder / "sdist", sdist), folder / "sdist")

    say(f"Installing {wheel.name}, and running the quickstart's program with it.")
    python = installed(folder / "wheel", wheel)
    sbom = DIST / archive_name_here().replace(".tar.gz", ".cdx.json")
    write_sbom(python, sbom)
    try_package(python, folder / "wheel")
    plugin = python.with_name(f"{EXECUTABLE}{python.suffix}")
    from_wheel = seconds_until_port([str(plugin)], os.environ)

    say("Making the plugin's archive from the wheel.")
    install(python, f"{wheel}[release]")
    call(str(python), str(ROOT / "scripts" / "archive.py"), str(DIST))
    archive = DIST / archive_name_here()
    say(f"Installing {archive.name}, and running the program in YAML without a Python.")
    machine = native_machine(folder / "archive", YAML_HOST)
    executable = install_archive(archive, machine, folder / "archive")
    try_program(machine, copied(YAML, folder / "archive"))
    start = seconds_until_port([str(executable)], machine.environment)
    row = Row(archive, size_of(executable.parent), start)
    return [Row(sdist), Row(wheel, start_seconds=from_wheel), Row(sbom), row]


def installed(folder: Path, package: Path) -> Path:
    """Install a package into an empty virtual environment; its Python."""
    environment = folder / "environment"
    call(sys.executable, "-m", "venv", "--without-pip", str(environment))
    python = environment / BIN.name / ("python.exe" if os.name == "nt" else "python")
    install(python, str(package))
    return python


def install(python: Path, *requirements: str) -> None:
    pip = ("-m", "pip", "--python", str(python), "--disable-pip-version-check", "--no-input")
    call(sys.executable, *pip, "install", "--quiet", *requirements)


def write_sbom(python: Path, file: Path) -> None:
    """List what is installed, as CycloneDX has it."""
    # pip has noted the wheel's path on this machine, which would be in the list.
    for noted in python.parent.parent.rglob("pulumi_vmbackup-*.dist-info/direct_url.json"):
        noted.unlink()
    tool = ("-m", "cyclonedx_py", "environment", "--output-reproducible")
    project = ("--pyproject", str(ROOT / "pyproject.toml"), "--mc-type", "library")
    call(sys.executable, *tool, *project, "--output-file", str(file), str(python))


def try_package(python: Path, folder: Path) -> None:
    """Run the quickstart's program in a virtual environment."""
    install(python, "pip")  # Pulumi's language host asks it for the installed packages
    environment = isolated_environment(folder)
    tools = environment["PATH"].removeprefix(f"{BIN}{os.pathsep}")
    environment["PATH"] = os.pathsep.join((str(python.parent), tools))
    # The program has only dynamic resources, which need no plugin.
    environment["PULUMI_IGNORE_AMBIENT_PLUGINS"] = "true"
    pulumi = shutil.which(CLI, path=environment["PATH"]) or CLI
    try_program(Machine([pulumi], environment), copied(QUICKSTART, folder))


def native_machine(folder: Path, *tools: str) -> Machine:
    """This machine, with nothing on PATH but the CLI and the tools that a program needs."""
    environment = isolated_environment(folder)
    only = folder / "bin"
    only.mkdir()
    for tool in (CLI, *tools):
        put(on_path(tool), only)
    pulumi = only / (f"{CLI}.exe" if os.name == "nt" else CLI)
    return Machine([str(pulumi)], {**environment, "PATH": str(only)})


def on_path(tool: str) -> Path:
    found = shutil.which(tool, path=path_with_cli(FOR_ALL_LANGUAGES))
    if not found:
        sys.exit(f"There is no {tool} on PATH: install it, since a program here needs it.")
    return Path(found)


def put(tool: Path, folder: Path) -> None:
    if os.name == "nt":
        shutil.copy(tool, folder)  # links need a privilege there
    else:
        (folder / tool.name).symlink_to(tool.resolve())


def check_sdks(archive: Path, folder: Path) -> Row:
    """Make the SDKs for TypeScript and Go, install each, and run a program with it."""
    if not archive.exists():
        sys.exit(f"There is no {archive.name} in {DIST.name}/, and the programs need the plugin.")
    sdks.main()
    package = check_typescript(archive, folder / "typescript")
    check_go(archive, folder / "go")
    return Row(package)


def check_typescript(archive: Path, folder: Path) -> Path:
    """Pack the SDK for npm, and try it; the package."""
    npm = str(on_path("npm"))
    call(npm, "pack", str(sdks.FOLDER / "nodejs" / "bin"), "--pack-destination", str(DIST))
    (package,) = DIST.glob(f"*-{VERSION}.tgz")
    say(f"Asking npm whether it would publish {package.name}.")
    call(npm, "publish", "--dry-run", "--tag", "next", str(package))
    machine = native_machine(folder, NODE_HOST, "node")
    program = copied(TYPESCRIPT, folder)
    say(f"Installing {package.name}, and running the program in TypeScript without a Python.")
    install = ("install", "--ignore-scripts", "--no-audit", "--no-fund")
    call(npm, *install, str(package), cwd=program)
    install_archive(archive, machine, folder)
    try_program(machine, program)
    return package


def check_go(archive: Path, folder: Path) -> None:
    """Tag the SDK for Go in a repository as a release does, and try it from there."""
    go = str(on_path("go"))
    machine = native_machine(folder, GO_HOST, "go")
    environment = {**machine.environment, **tagged(sdks.FOLDER / "go", folder)}
    program = copied(GO, folder)
    say(f"Getting {GO_MODULE}@{TAG}, and running the program in Go without a Python.")
    with_git = {**environment, "PATH": os.environ["PATH"]}
    # The example takes the SDK from the clone; a user's program does not have it yet.
    without = (f"-droprequire={GO_MODULE}", f"-dropreplace={GO_MODULE}")
    call(go, "mod", "edit", *without, cwd=program, env=with_git)
    call(go, "get", f"{GO_MODULE}@{TAG}", cwd=program, env=with_git)
    machine = Machine(machine.pulumi, environment)
    install_archive(archive, machine, folder)
    try_program(machine, program)


def tagged(sdk: Path, folder: Path) -> dict[str, str]:
    """Push the SDK for Go to a repository on this disk; the variables with which Go gets it there.

    They name a folder of their own for modules: this version of the SDK may never be published as
    it is here. Other modules come from where Go keeps them.
    """
    clone, remote, modules = (folder / each for each in ("clone", "repository.git", "modules"))
    shutil.copytree(sdk, clone / go_tag.MODULE)
    shutil.copy(ROOT / "LICENSE", clone)
    mine = ("user.name=Release", "user.email=release@localhost")
    unsigned = ("commit.gpgsign=false", "tag.gpgsign=false")
    settings = [part for each in (*mine, *unsigned) for part in ("-c", each)]
    for command in (
        ("init", "--quiet", "--bare", str(remote)),
        ("init", "--quiet"),
        ("remote", "add", go_tag.REMOTE, str(remote)),
        ("add", "LICENSE"),
        ("commit", "--quiet", "--message", "Release"),
        ("tag", TAG),
        ("push", "--quiet", go_tag.REMOTE, TAG),
    ):
        call("git", *settings, *command, cwd=clone)
    go_tag.main(TAG, clone)
    kept, proxy, flags = call("go", "env", "GOMODCACHE", "GOPROXY", "GOFLAGS").splitlines()
    return {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{remote.as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": f"https://{REPOSITORY}",
        # Without the first, the folder cannot be removed. With the second, Go compiles the modules
        # once, wherever they are.
        "GOFLAGS": f"{flags} -modcacherw -trimpath".strip(),
        "GOMODCACHE": str(modules),
        "GOPRIVATE": REPOSITORY,
        "GOPROXY": f"{(Path(kept) / 'cache' / 'download').as_uri()},{proxy}",
    }


def check_windows_archive(folder: Path) -> Row:
    """Make, install and try the archive for Windows, under Wine."""
    if sys.platform == "win32":
        sys.exit("Windows needs no Wine.")
    import fcntl

    import wine

    wine.set_up()
    say("Making the plugin's archive for Windows, under Wine.")
    call(*WINE, "python", "scripts/archive.py", DIST.name)
    archive = DIST / archive_name(VERSION, "win32", "amd64")
    environment = isolated_environment(folder)
    only = folder / "bin"
    only.mkdir()
    for tool in (CLI, YAML_HOST):
        put(wine.TOOLS.file(tool), only)
    under_wine = {
        **environment,
        "PULUMI_BACKEND_URL": f"file://Z:{quote(str(folder / 'state'))}",
        "PULUMI_HOME": wine.windows_path(folder / "home"),
        "WINEPATH": wine.windows_path(only),
    }
    say(f"Installing {archive.name}, and running the program in YAML without a Python.")
    machine = Machine([*WINE, CLI], under_wine)
    file = wine.windows_path(archive)
    executable = install_archive(archive, machine, folder, file)
    try_program(machine, copied(YAML, folder))
    with wine.locked(fcntl.LOCK_EX):  # no other run's processes are ended
        try:
            start = seconds_until_port(["wine", str(executable)], wine.environment())
            python = ["wine", "python", "-c", START_PLUGIN]
            of_package = seconds_until_port(python, wine.environment())
        finally:
            wine.end_processes()
    say(f"Under Wine, the installed package starts its plugin after {of_package:.2f} s.")
    return Row(archive, size_of(executable.parent), start)


def install_archive(archive: Path, machine: Machine, folder: Path, file: str = "") -> Path:
    """Install an archive into the machine's empty PULUMI_HOME; the path of the executable.

    ``file`` is the archive's path as the machine has it, if that is another one.
    """
    install = ("plugin", "install", "resource", PACKAGE, VERSION)
    machine.run(*install, "--file", file or str(archive), folder=folder)
    plugin = folder / "home" / "plugins" / f"resource-{PACKAGE}-v{VERSION}"
    found = [each for each in plugin.glob(f"{EXECUTABLE}*") if each.stem == EXECUTABLE]
    if not found:
        sys.exit(f"{archive.name} has no {EXECUTABLE} at its root.")
    return found[0]


def copied(program: Path, folder: Path) -> Path:
    """A copy of an example in a folder, without what a clone may have beside it."""
    not_of_it = shutil.ignore_patterns("Pulumi.*.yaml", "__pycache__", "node_modules")
    return Path(shutil.copytree(program, folder / "program", ignore=not_of_it))


def try_program(machine: Machine, program: Path) -> None:
    """Run up, refresh and destroy; end with a sentence if the server is not as it should be."""
    simulator = Simulator()
    before = set(simulator.inventory.assignments)
    with serve(simulator) as base_url:
        settings = {
            "VMBACKUP_BASE_URL": base_url,
            "VMBACKUP_USERNAME": "Administrator",
            "VMBACKUP_PASSWORD": "simulator",
            "VMBACKUP_SETTLE_SECONDS": "0",
        }
        here = Machine(machine.pulumi, {**machine.environment, **settings})
        here.run("stack", "init", "check", folder=program)
        here.run("up", "--yes", "--skip-preview", folder=program)
        assigned = set(simulator.inventory.assignments)
        if not assigned > before:
            sys.exit(f"The program in {program} assigned nothing.")
        here.run("refresh", "--yes", "--skip-preview", "--expect-no-changes", folder=program)
        here.run("destroy", "--yes", "--skip-preview", folder=program)
    if set(simulator.inventory.assignments) != before:
        sys.exit(
            f"The program in {program} did not un-assign what it had assigned, or not only that."
        )


def seconds_until_port(command: Sequence[str], environment: Mapping[str, str]) -> float:
    """The time from the start of a plugin to the port that it prints: the fastest of some starts.

    What else the machine does can only add to it.
    """
    return min(start(command, environment) for _ in range(STARTS))


def start(command: Sequence[str], environment: Mapping[str, str]) -> float:
    before = time.perf_counter()
    with subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,  # with a file, Python does not start under Wine
    ) as process:
        port = process.stdout.readline() if process.stdout else b""
        seconds = time.perf_counter() - before
        process.kill()
        messages = process.stderr.read() if process.stderr else b""
    if not port.strip().isdigit():
        say(messages.decode(errors="replace").rstrip())
        sys.exit(f"{command[-1]} printed no port; its messages above say why.")
    return seconds


def size_of(folder: Path) -> int:
    return sum(each.stat().st_size for each in folder.rglob("*") if each.is_file())


def write_notes() -> None:
    text = CHANGELOG.read_text("utf-8")
    if not section(text, VERSION):
        say(f"CHANGELOG.md has no section {VERSION} yet, so the notes are those of {UNRELEASED}.")
        text = text.replace(f"## {UNRELEASED}", f"## {VERSION}")
    (DIST / "notes.md").write_text(notes(text, VERSION), "utf-8")


def write_checksums() -> None:
    """Write the file that `sha256sum --check` takes."""
    lines = [
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n"
        for file in sorted(DIST.iterdir())
        if file.name not in ("notes.md", "SHA256SUMS")
    ]
    (DIST / "SHA256SUMS").write_bytes("".join(lines).encode())


def table(rows: Sequence[Row]) -> list[str]:
    """The rows as lines of text."""
    cells = [("file", "size", "unpacked", "plugin starts in")]
    for file, unpacked, seconds in rows:
        size = megabytes(file.stat().st_size)
        started = "" if seconds is None else f"{seconds:.2f} s"
        cells.append((file.name, size, "" if unpacked is None else megabytes(unpacked), started))
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]


def megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"


def call(*command: str, cwd: Path = ROOT, env: Mapping[str, str] | None = None) -> str:
    """Run a command and keep its output; show that and end if it fails."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        check=False,
        timeout=COMMAND_SECONDS,
    )
    if done.returncode != 0:
        say(done.stdout.rstrip())
        sys.exit(f"`{' '.join(command)}` failed; its messages above say why.")
    return done.stdout


if __name__ == "__main__":
    main()
