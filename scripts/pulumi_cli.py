"""Gets the Pulumi CLI on a machine that has none.

    python scripts/pulumi_cli.py                 say which CLI is used, getting one if need be
    python scripts/pulumi_cli.py COMMAND …       run a command with that CLI and .venv on PATH

In this order: `pulumi` on PATH, the copy in .tools/bin, the vendor's installer, and a build from
the Go modules that the vendor publishes.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / ".tools" / "bin"
ENVIRONMENT = ROOT / ".venv" / ("Scripts" if os.name == "nt" else "bin")
SUFFIX = ".exe" if os.name == "nt" else ""

VERSION = "3.259.0"
# Newer modules have no Python language host any more; this one works with the CLI above.
LANGUAGE_HOST_VERSION = "3.68.0"
INSTALLER = "https://get.pulumi.com/" + ("install.ps1" if os.name == "nt" else "install.sh")
INSTALLER_CONNECT_SECONDS = 5
INSTALLER_SECONDS = 600


def main() -> None:
    path = path_with_cli()
    if len(sys.argv) == 1:
        print(f"Pulumi CLI: {shutil.which('pulumi', path=path)}")
        return
    command = [shutil.which(sys.argv[1]) or sys.argv[1], *sys.argv[2:]]
    sys.exit(subprocess.run(command, env={**os.environ, "PATH": path}, check=False).returncode)


def path_with_cli() -> str:
    """The PATH on which `pulumi` and this project's Python are found; gets the CLI if need be."""
    path = os.environ.get("PATH", "")
    if not shutil.which("pulumi"):
        if not (TOOLS / f"pulumi{SUFFIX}").exists():
            get_cli()
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


def get_cli() -> None:
    print(f"There is no Pulumi CLI on PATH; getting version {VERSION} into .tools/bin:", flush=True)
    TOOLS.mkdir(parents=True, exist_ok=True)
    # Whole or not at all: a stopped build leaves no half-made CLI behind.
    with tempfile.TemporaryDirectory(dir=TOOLS.parent) as folder:
        made = Path(folder) / "bin"
        made.mkdir()
        if not install(made):
            build(made)
        for tool in sorted(made.iterdir(), key=lambda tool: tool.stem == "pulumi"):
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


def build(target: Path) -> None:
    """Build the CLI and the Python language host from their Go modules."""
    go = shutil.which("go")
    if not go:
        sys.exit(
            "The Pulumi CLI is missing: install it (https://www.pulumi.com/docs/install/) and put "
            "it on PATH, or install Go 1.25 or later, from which it can be built here."
        )
    print("  a build from its Go modules, about 7 minutes on 2 cores the first time:", flush=True)
    work = target.parent
    module = "github.com/pulumi/pulumi"
    build_program(
        go, work / "cli", f"{module}/pkg/v3", VERSION, "cmd/pulumi", target / f"pulumi{SUFFIX}"
    )
    build_program(
        go,
        work / "language",
        f"{module}/sdk/v3",
        LANGUAGE_HOST_VERSION,
        "python/cmd/pulumi-language-python",
        target / f"pulumi-language-python{SUFFIX}",
    )
    sdk = work / "sdk"
    write_module(sdk, f"{module}/sdk/v3", VERSION)
    run([go, "mod", "download", f"{module}/sdk/v3"], sdk, "fetching the Python SDK's module")
    where = [go, "list", "-m", "-f", "{{.Dir}}", f"{module}/sdk/v3"]
    python = Path(run(where, sdk, "finding that module").strip()) / "python"
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
        sys.exit(f"The Pulumi CLI is missing and could not be built; {what} failed:\n{done.stderr}")
    return done.stdout


def report(what: str, finished: threading.Event) -> None:
    started = time.monotonic()
    print(f"    {what} …", flush=True)
    while not finished.wait(30):
        print(f"    {what}: {time.monotonic() - started:.0f} seconds …", flush=True)


if __name__ == "__main__":
    main()
