"""Programs that tests need and that Debian has as packages: Wine, and a browser."""

import os
import shutil
import subprocess
import sys

from environment import ROOT

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "msedge")


def install(packages: list[str], needed_for: str) -> None:
    """Install packages, or end with a sentence that says how."""
    command = ["apt-get", "install", "--yes", "--no-install-recommends", *packages]
    if not can_install():
        sys.exit(f"{needed_for}: run sudo apt-get update && sudo {' '.join(command)}")
    call("apt-get", "update", "--quiet=2")
    call(*command, "--quiet=2")


def can_install() -> bool:
    return sys.platform != "win32" and os.geteuid() == 0 and bool(shutil.which("apt-get"))


def install_browser() -> None:
    """Install Chromium if there is no browser like it; without CI, a machine may have none."""
    if sys.platform == "win32" or any(map(shutil.which, BROWSERS)):
        return
    if can_install() or os.environ.get("CI"):
        print("Installing Chromium, in which the tests look at the page of `vmbackup review`.")
        install(["chromium"], "The tests of the page need Chromium or Chrome")
    else:
        print("There is no Chromium or Chrome, so the tests of the page are skipped.")


def call(*command: str, env: dict[str, str] | None = None) -> None:
    """Run a command without its output, unless it fails."""
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=env,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if done.returncode != 0:
        print(done.stdout.decode(errors="replace").rstrip(), flush=True)
        sys.exit(f"{' '.join(command)} failed; its messages above say why.")
