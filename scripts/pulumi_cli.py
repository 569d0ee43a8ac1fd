"""Gets the Pulumi CLI on a machine that has none, and shows its path.

In this order: `pulumi` on PATH, the copy in .tools/bin, the vendor's installer, and a build from
the Go modules that the vendor publishes. The first and the third come with all of Pulumi's language
hosts. A build makes the host for Python, and for the tests those for Node.js, YAML and Go. The host
for Python that can be built starts no policy packs, so the script that older CLIs used is copied.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from environment import BIN, ROOT

TOOLS = ROOT / ".tools" / "bin"

VERSION = "3.259.0"
# Newer modules have no language hosts for Python, Node.js and Go. These work with the CLI above.
LANGUAGE_HOST_VERSION = "3.68.0"
YAML_HOST_VERSION = "1.25.0"
GO_HOST_VERSION = "3.60.0"
INSTALLER = "https://get.pulumi.com/" + ("install.ps1" if os.name == "nt" else "install.sh")
INSTALLER_CONNECT_SECONDS = 5
INSTALLER_SECONDS = 600
REPORT_SECONDS = 30

CLI = "pulumi"
PYTHON_HOST = "pulumi-language-python"
NODE_HOST = "pulumi-language-nodejs"
YAML_HOST = "pulumi-language-yaml"
GO_HOST = "pulumi-language-go"
POLICY_SCRIPT = "pulumi-analyzer-policy-python"
OF_VENDOR_ONLY = "pulumi-language-java"
# The CLI goes last: without it, an incomplete set is not used.
FOR_PYTHON = (PYTHON_HOST, CLI)
FOR_POLICIES = () if os.name == "nt" else (POLICY_SCRIPT,)  # it is a shell script
FOR_ALL_LANGUAGES = (*FOR_POLICIES, NODE_HOST, YAML_HOST, GO_HOST, *FOR_PYTHON)

PULUMI = "github.com/pulumi/pulumi"
SOURCES = {  # the module, its version, and the package in it
    CLI: (f"{PULUMI}/pkg/v3", VERSION, "cmd/pulumi"),
    PYTHON_HOST: (f"{PULUMI}/sdk/v3", LANGUAGE_HOST_VERSION, "python/cmd/pulumi-language-python"),
    NODE_HOST: (f"{PULUMI}/sdk/v3", LANGUAGE_HOST_VERSION, "nodejs/cmd/pulumi-language-nodejs"),
    YAML_HOST: (f"{PULUMI}-yaml", YAML_HOST_VERSION, "cmd/pulumi-language-yaml"),
    GO_HOST: (f"{PULUMI}/sdk/v3", GO_HOST_VERSION, "go/pulumi-language-go"),
}


class Target(NamedTuple):
    """What Go builds tools for, and the folder where they go."""

    tools: Path
    suffix: str
    environment: dict[str, str]

    def file(self, tool: str) -> Path:
        return self.tools / f"{tool}{self.suffix}"

    def missing(self, tools: Sequence[str]) -> list[str]:
        absent = [tool for tool in tools if not self.file(tool).exists()]
        if self.file(OF_VENDOR_ONLY).exists():  # the vendor's hosts start policy packs themselves
            return [tool for tool in absent if tool != POLICY_SCRIPT]
        return absent


THIS_MACHINE = Target(TOOLS, ".exe" if os.name == "nt" else "", {})


def main() -> None:
    print(f"Pulumi CLI: {shutil.which('pulumi', path=path_with_cli(FOR_ALL_LANGUAGES))}")


def path_with_cli(tools: Sequence[str] = FOR_PYTHON) -> str:
    """The PATH with `pulumi` and this project's Python; gets the CLI if there is none."""
    path = os.environ.get("PATH", "")
    if not shutil.which("pulumi"):
        missing = THIS_MACHINE.missing(tools)
        if missing:
            get_cli(missing)
        path = os.pathsep.join((str(TOOLS), path))
    # Pulumi takes python3 from PATH; it must be the one of .venv.
    return os.pathsep.join((str(BIN), path))


def isolated_environment(folder: Path) -> dict[str, str]:
    """Environment variables for `pulumi` with a local backend and all its files in one folder."""
    state = folder / "state"
    state.mkdir(parents=True, exist_ok=True)
    mine = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("PULUMI_", "VMBACKUP_"))
    }
    # Pulumi talks to its processes over gRPC, which uses proxy variables for 127.0.0.1 too.
    no_proxy = ",".join(filter(None, (os.environ.get("NO_PROXY"), "127.0.0.1", "localhost")))
    return {
        **mine,
        "NO_PROXY": no_proxy,
        "PATH": path_with_cli(),
        # With as_uri()'s third slash, Pulumi does not find a path with a drive on Windows.
        "PULUMI_BACKEND_URL": f"file://{quote(state.as_posix(), safe='/:')}",
        "PULUMI_CONFIG_PASSPHRASE": "not a secret",
        # All plugins come with the CLI. Without a network, a search for others takes seconds.
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        "PULUMI_HOME": str(folder / "home"),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
    }


def get_cli(missing: Sequence[str]) -> None:
    """Get tools into .tools/bin; a tool appears there complete, and after those that it needs."""
    if CLI in missing:
        say(f"There is no Pulumi CLI on PATH. Getting version {VERSION} into .tools/bin:")
    else:
        say(f"The Pulumi CLI in .tools/bin lacks {', '.join(missing)}. Getting what is missing:")
    TOOLS.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=TOOLS.parent) as folder:
            if CLI not in missing or not install(Path(folder)):
                Build(Path(folder), missing, THIS_MACHINE).run()
    except KeyboardInterrupt:
        sys.exit("Stopped. Run the same command again to continue from here.")


def install(folder: Path) -> bool:
    """Run the vendor's installer; False if it cannot be reached or fails."""
    say("  Trying the vendor's installer.")
    try:
        with urllib.request.urlopen(INSTALLER, timeout=INSTALLER_CONNECT_SECONDS) as answer:
            script = answer.read()
    except OSError as error:
        say(f"  It cannot be reached ({error}).")
        return False
    file = folder / Path(INSTALLER).name
    file.write_bytes(script)
    root = folder / "installed"
    if os.name == "nt":
        command = ["powershell", "-ExecutionPolicy", "Bypass", "-File", str(file)]
        command += ["-Version", VERSION, "-InstallRoot", str(root), "-NoEditPath"]
    else:
        command = ["sh", str(file), "--version", VERSION]
        command += ["--install-root", str(root), "--no-edit-path"]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=INSTALLER_SECONDS,
        )
    except subprocess.TimeoutExpired:
        say(f"  It did not end within {INSTALLER_SECONDS} seconds.")
        return False
    tools = list((root / "bin").glob("pulumi*"))
    if done.returncode != 0 or not tools:
        say(f"  It failed: {done.stderr.decode(errors='replace').strip()[-500:]}")
        return False
    # The tools that path_with_cli() looks for go last, so that the rest is there by then.
    looked_for = [root / "bin" / THIS_MACHINE.file(tool).name for tool in FOR_ALL_LANGUAGES]
    others = [tool for tool in tools if tool not in looked_for]
    for tool in (*others, *filter(Path.exists, looked_for)):
        tool.replace(TOOLS / tool.name)
    say("  Done.")
    return True


class Build:
    """A build of tools from their Go modules, with lines of progress.

    A tool goes to its folder when it is built, and Go keeps compiled packages. So a build that was
    stopped continues where it was.
    """

    def __init__(self, folder: Path, tools: Sequence[str], target: Target) -> None:
        self._folder = folder
        self._tools = tools
        self._target = target
        steps = sum(1 if tool == POLICY_SCRIPT else 2 for tool in tools)
        self._go = Go(steps + (PYTHON_HOST in tools), "The Pulumi CLI is incomplete")

    def run(self) -> None:
        if not self._go.program:
            missing = " and no ".join(self._tools)
            sys.exit(
                f"There is no {missing}: install the Pulumi CLI "
                "(https://www.pulumi.com/docs/install/) and put it on PATH, or install Go 1.25 or "
                "later to build it here."
            )
        how_long = "4 to 12 minutes on 2 cores" if CLI in self._tools else "1 to 4 minutes"
        say(f"  Building {', '.join(self._tools)} from Go modules.")
        say(f"  This takes {how_long} the first time.")
        say("  If you stop it, the next run continues from there.")
        kept = [tool for tool in FOR_ALL_LANGUAGES if self._target.file(tool).exists()]
        if kept:
            say(f"  Built already: {', '.join(kept)}.")
        for tool in self._tools:
            if tool == POLICY_SCRIPT:
                self._copy_scripts(LANGUAGE_HOST_VERSION, f"dist/{POLICY_SCRIPT}", of=tool)
                continue
            if tool == PYTHON_HOST:
                self._copy_python_scripts()
            self._build_program(tool, *SOURCES[tool])
        self._go.done()

    def _copy_python_scripts(self) -> None:
        """Copy the scripts that the Python language host runs; npm packages bring Node.js's."""
        dynamic = "dist/pulumi-resource-pulumi-python*"
        self._copy_scripts(VERSION, f"cmd/{PYTHON_HOST}-exec", dynamic, of=PYTHON_HOST)

    def _copy_scripts(self, version: str, *patterns: str, of: str) -> None:
        """Copy scripts from the folder for Python of a version of the SDK's module."""
        command = ["mod", "download", "-json", f"{PULUMI}/sdk/v3@v{version}"]
        module = self._run(command, self._folder, f"fetching the scripts of {of}")
        python = Path(json.loads(module)["Dir"]) / "python"
        for script in (each for pattern in patterns for each in python.glob(pattern)):
            copy = self._folder / script.name
            copy.write_bytes(script.read_bytes())
            copy.chmod(0o755)
            copy.replace(self._target.tools / script.name)

    def _build_program(self, tool: str, module: str, version: str, package: str) -> None:
        folder = self._folder / f"build-{tool}"
        folder.mkdir()
        # `go install package@version` refuses modules with replace lines, so a module of our own
        # requires the package.
        (folder / "go.mod").write_text(
            f"module tools\n\ngo 1.25\n\nrequire {module} v{version}\n", "utf-8"
        )
        source = f'//go:build tools\n\npackage tools\n\nimport _ "{module}/{package}"\n'
        (folder / "tools.go").write_text(source, "utf-8")
        self._run(["mod", "tidy", "-e"], folder, f"fetching the modules of {tool}")
        flag = f"-X {PULUMI}/sdk/v3/go/common/version.Version=v{version}"
        built = folder / tool
        command = ["build", "-ldflags", flag, "-o", str(built), f"{module}/{package}"]
        self._run(command, folder, f"compiling {tool}")
        built.replace(self._target.file(tool))

    def _run(self, arguments: Sequence[str], folder: Path, doing: str) -> str:
        return self._go.run(arguments, folder, doing, self._target.environment)


class Go:
    """Runs go without its output, and prints lines of progress with the step and the time.

    Attributes:
        program: its path; empty if it is not on PATH.
    """

    def __init__(self, steps: int, without: str) -> None:
        """Prepare so many runs; ``without`` says what there is if one fails."""
        self.program = shutil.which("go") or ""
        self._without = without
        self._started = time.monotonic()
        self._step = 0
        self._steps = steps

    def run(
        self,
        arguments: Sequence[str],
        folder: Path,
        doing: str,
        environment: Mapping[str, str] | None = None,
    ) -> str:
        self._step += 1
        finished = threading.Event()
        reporter = threading.Thread(target=self._report, args=(doing, finished))
        reporter.start()
        try:
            done = subprocess.run(
                [self.program, *arguments],
                cwd=folder,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
            )
        finally:
            finished.set()
            reporter.join()
        if done.returncode != 0:
            say((done.stderr or done.stdout).rstrip())
            sys.exit(f"{self._without}: {doing} failed; go's messages say why.")
        return done.stdout

    def done(self) -> None:
        say(f"  Done after {elapsed(self._started)}.")

    def _report(self, doing: str, finished: threading.Event) -> None:
        say(f"  {elapsed(self._started)}  step {self._step} of {self._steps}: {doing}")
        while not finished.wait(REPORT_SECONDS):
            say(f"  {elapsed(self._started)}  still {doing}")


def elapsed(started: float) -> str:
    minutes, seconds = divmod(int(time.monotonic() - started), 60)
    return f"{minutes}:{seconds:02}"


def say(line: str) -> None:
    print(line, flush=True)


if __name__ == "__main__":
    main()
