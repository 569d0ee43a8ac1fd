"""Makes the virtual environment .venv with the package and its development tools.

Runs on the Python of the machine, with only the standard library.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv"
BIN = ENVIRONMENT / ("Scripts" if os.name == "nt" else "bin")


def main() -> None:
    if sys.version_info < (3, 10):  # noqa: UP036  # this runs on the machine's Python
        version = ".".join(map(str, sys.version_info[:3]))
        sys.exit(
            f"Python 3.10 or later is needed, and {sys.executable} is {version}: "
            "choose a later one, for example with make PYTHON=python3.12."
        )
    print("Making the Python environment .venv. This takes a minute or two.", flush=True)
    step(
        [sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)],
        "The virtual environment could not be made; on Debian and Ubuntu, install python3-venv.",
    )
    pip = [str(BIN / "python"), "-m", "pip", "--disable-pip-version-check", "--no-input"]
    step(
        [*pip, "install", "--quiet", "--editable", f"{ROOT}[dev]"],
        "The packages could not be installed; pip's messages above say why.",
    )
    if os.name == "nt":  # Pulumi looks for python3, and environments on Windows have none
        (BIN / "python3.exe").write_bytes((BIN / "python.exe").read_bytes())
    (ENVIRONMENT / "ready").touch()


def step(command: list[str], what_failed: str) -> None:
    if subprocess.run(command, check=False).returncode != 0:
        sys.exit(what_failed)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("Stopped. Run the same command again: it starts from the beginning.")
