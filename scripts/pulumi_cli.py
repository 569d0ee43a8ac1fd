"""Gets the Pulumi CLI on a machine that has none.

    python scripts/pulumi_cli.py                 say which CLI is used, getting one if need be
    python scripts/pulumi_cli.py COMMAND …       run a command with that CLI and .venv on PATH

In this order: `pulumi` on PATH, the copy in .tools/bin, the vendor's installer, and a build from
the Go modules that the vendor publishes. The first and the third come with all of Pulumi's language
hosts; of the others, programs that are not in Python need theirs only, so the tests get them.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / ".tools" / "bin"
ENVIRONMENT = ROOT / ".venv" / ("Scripts" if os.name == "nt" else "bin")
SUFFIX = ".exe" if os.name == "nt" else ""

VERSION = "3.259.0"
# Newer modules have no language hosts for Python and Node.js any more; those of this one work with
# the CLI above.
LANGUAGE_HOST_VERSION = "3.68.0"
YAML_HOST_VERSION = "1.25.0"
INSTALLER = "https://get.pulumi.com/" + ("install.ps1" if os.name == "nt" else "install.sh")
INSTALLER_CONNECT_SECONDS = 5
INSTALLER_SECONDS = 600

CLI = f"pulumi{SUFFIX}"
PYTHON_HOST = f"pulumi-language-python{SUFFIX}"
NODE_HOST = f"pulumi-language-nodejs{SUFFIX}"
YAML_HOST = f"pulumi-language-yaml{SUFFIX}"
FOR_PYTHON = (PYTHON_HOST, CLI)
FOR_ALL_LANGUAGES = (NODE_HOST, YAML_HOST, *FOR_PYTHON)


def main() -> None:
    path = path_with_cli(FOR_ALL_LANGUAGES)
    if len(sys.argv) == 1:
        print(f"Pulumi CLI: {shutil.which('pulumi', path=path)}")
        return
    command = [shutil.which(sys.argv[1]) or sys.argv[1], *sys.argv[2:]]
    sys.exit(subprocess.run(command, env={**os.environ, "PATH": path}, check=False).returncode)


def path_with_cli(tools: Sequence[str] = FOR_PYTHON) -> str:
    """The PATH on which `pulumi` and this project's Python are found; gets the CLI if need be."""
    path = os.environ.get("PATH", "")
    if not shutil.which("pulumi"):
        missing = [tool for tool in tools if not (TOOLS / tool).exists()]
        if missing:
            get_cli(missing)
        path = os.pathsep.join((str(TOOLS), path))
    # Pulumi takes python3 from PATH, and that has to be the one of .venv.
    return os.pathsep.join((str(ENVIRONMENT), path))


def isolated_environment(folder: Path) -> dict[str, str]:
    """Environment variables for `pulumi` with a local backend and all its files in one folder."""
    state = folder / "state"
    state.mkdir(parents=True, exist_ok=True)
    mine = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("PULUMI_", "VMBACKUP_"))
    }
    # Pulumi talks to its own processes by gRPC, which obeys proxy variables for 127.0.0.1 too.
    no_proxy = ",".join(filter(None, (os.environ.get("NO_PROXY"), "127.0.0.1", "localhost")))
    return {
        **mine,
        "NO_PROXY": no_proxy,
        "PATH": path_with_cli(),
        "PULUMI_BACKEND_URL": state.as_uri(),
        "PULUMI_CONFIG_PASSPHRASE": "not a secret",
        # All plugins come with the CLI; without a network, each look for others takes seconds.
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        "PULUMI_HOME": str(folder / "home"),
        "PULUMI_SKIP_UPDATE_CHECK": "true",
    }


def get_cli(missing: Sequence[str]) -> None:
    if CLI in missing:
        what = f"There is no Pulumi CLI on PATH; getting version {VERSION}"
    else:
        names = ", ".join(Path(tool).stem for tool in missing)
        what = f"The Pulumi CLI in .tools/bin has no {names} yet; getting that"
    print(f"{what} into .tools/bin:", flush=True)
    TOOLS.mkdir(parents=True, exist_ok=True)
    # Whole or not at all: a stopped build leaves no half-made CLI behind.
    with tempfile.TemporaryDirectory(dir=TOOLS.parent) as folder:
        made = Path(folder) / "bin"
        made.mkdir()
        if CLI not in missing or not install(made):
            build(made, missing)
        # What is looked for goes last, so that the rest is there when it is found.
        looked_for = [made / tool for tool in FOR_ALL_LANGUAGES]
        others = [tool for tool in made.iterdir() if tool not in looked_for]
        for tool in (*others, *filter(Path.exists, looked_for)):
            tool.replace(TOOLS / tool.name)


def install(target: Path) -> bool:
    """Run the vendor's installer; False where it cannot be reached."""
    print("  the vendor's installer …", end=" ", flush=True)
    try:
        with urllib.request.urlopen(INSTALLER, timeout=INSTALLER_CONNECT_SECONDS) as answer:
            script = answer.read()
    except OSError as error:
        print(f"cannot be reached ({error}).", flush=True)
        return False
    file = target.parent / Path(INSTALLER).name
    file.write_bytes(script)
    root = target.parent / "installed"
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
        print(f"did not end within {INSTALLER_SECONDS} seconds.", flush=True)
        return False
    tools = list((root / "bin").glob("pulumi*"))
    if done.returncode != 0 or not tools:
        print(f"failed: {done.stderr.decode(errors='replace').strip()[-500:]}", flush=True)
        return False
    for tool in tools:
        tool.replace(target / tool.name)
    print("done.", flush=True)
    return True


def build(target: Path, tools: Sequence[str]) -> None:
    """Build the CLI and language hosts from their Go modules."""
    go = shutil.which("go")
    if not go:
        missing = " and no ".join(Path(tool).stem for tool in tools)
        sys.exit(
            f"There is no {missing}: install the Pulumi CLI "
            "(https://www.pulumi.com/docs/install/) and put it on PATH, or install Go 1.25 or "
            "later, from which it can be built here."
        )
    time_it_takes = "about 7 minutes on 2 cores the first time" if CLI in tools else "some minutes"
    print(f"  a build from its Go modules, {time_it_takes}:", flush=True)
    pulumi = "github.com/pulumi/pulumi"
    sources = {
        CLI: (f"{pulumi}/pkg/v3", VERSION, "cmd/pulumi"),
        PYTHON_HOST: (
            f"{pulumi}/sdk/v3",
            LANGUAGE_HOST_VERSION,
            "python/cmd/pulumi-language-python",
        ),
        NODE_HOST: (f"{pulumi}/sdk/v3", LANGUAGE_HOST_VERSION, "nodejs/cmd/pulumi-language-nodejs"),
        YAML_HOST: (f"{pulumi}-yaml", YAML_HOST_VERSION, "cmd/pulumi-language-yaml"),
    }
    for tool in tools:
        build_program(go, target.parent / f"build-{tool}", *sources[tool], target / tool)
    if PYTHON_HOST in tools:
        copy_python_scripts(go, target)


def copy_python_scripts(go: str, target: Path) -> None:
    """The Python language host runs these; that of Node.js runs what npm packages bring."""
    module = "github.com/pulumi/pulumi/sdk/v3"
    folder = target.parent / "sdk"
    write_module(folder, module, VERSION)
    run([go, "mod", "download", module], folder, "fetching the Python SDK's module")
    where = [go, "list", "-m", "-f", "{{.Dir}}", module]
    python = Path(run(where, folder, "finding that module").strip()) / "python"
    scripts = [python / "cmd" / "pulumi-language-python-exec"]
    scripts += (python / "dist").glob("pulumi-resource-pulumi-python*")
    for script in scripts:
        copy = target / script.name
        copy.write_bytes(script.read_bytes())
        copy.chmod(0o755)


def build_program(
    go: str, folder: Path, module: str, version: str, package: str, target: Path
) -> None:
    write_module(folder, module, version)
    # `go install package@version` refuses modules with replace lines, so a module of our own asks
    # for the package.
    source = f'//go:build tools\n\npackage tools\n\nimport _ "{module}/{package}"\n'
    (folder / "tools.go").write_text(source, "utf-8")
    run([go, "mod", "tidy", "-e"], folder, f"fetching the modules of {target.stem}")
    flag = f"-X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version=v{version}"
    command = [go, "build", "-ldflags", flag, "-o", str(target), f"{module}/{package}"]
    run(command, folder, f"compiling {target.stem}")


def write_module(folder: Path, module: str, version: str) -> None:
    folder.mkdir()
    text = f"module tools\n\ngo 1.25\n\nrequire {module} v{version}\n"
    (folder / "go.mod").write_text(text, "utf-8")


def run(command: list[str], folder: Path, what: str) -> str:
    """Run a command quietly, with a line of progress that counts the time."""
    finished = threading.Event()
    reporter = threading.Thread(target=report, args=(what, finished))
    reporter.start()
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    finally:
        finished.set()
        reporter.join()
    if done.returncode != 0:
        sys.exit(
            f"The Pulumi CLI is incomplete and could not be built; {what} failed:\n{done.stderr}"
        )
    return done.stdout


def report(what: str, finished: threading.Event) -> None:
    started = time.monotonic()
    print(f"    {what} …", flush=True)
    while not finished.wait(30):
        print(f"    {what}: {time.monotonic() - started:.0f} seconds …", flush=True)


if __name__ == "__main__":
    main()
