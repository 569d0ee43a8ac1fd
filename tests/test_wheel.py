"""The wheel: what is in it, and that it works in an environment that has nothing else."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT)
    (wheel,) = folder.glob("*.whl")
    return wheel


def run(*command: str | Path) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_holds_the_package_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    package = ROOT / "provider" / "pulumi_vmbackup"
    files = {
        f"pulumi_vmbackup/{file.relative_to(package).as_posix()}"
        for file in package.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts
    }
    # The second keeps Pulumi from looking for a plugin that a program may not use.
    assert {"pulumi_vmbackup/py.typed", "pulumi_vmbackup/pulumi-plugin.json"} <= files
    assert {"pulumi_vmbackup/py.typed", "pulumi_vmbackup/simulator/inventory.json"} <= files
    metadata = {name for name in names if ".dist-info/" in name}
    assert names - metadata == files
    assert any(name.endswith("licenses/LICENSE") for name in metadata)


def test_it_works_without_the_extras(wheel: Path, tmp_path: Path) -> None:
    pytest.importorskip("venv", reason="Python for embedding, as under Wine, has no venv")
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path)
    scripts = tmp_path / ("Scripts" if sys.platform == "win32" else "bin")
    python = scripts / "python"
    # The pip of the tests, since one of its own takes seconds to install.
    pip = (sys.executable, "-m", "pip", "--python", python)
    run(*pip, "install", "--quiet", "--no-compile", wheel)
    run(python, "-W", "error", "-c", "from pulumi_vmbackup import *; VmBackupLocationAssignment")
    done = subprocess.run(
        [python, "-m", "pulumi_vmbackup.simulator"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "ModuleNotFoundError: The simulator needs packages that are not installed (werkzeug): run "
        '`pip install "pulumi-vmbackup[simulator]"`.'
    )
    done = subprocess.run([scripts / "vmbackup"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        "The vmbackup command needs packages that are not installed (click): run "
        '`pip install "pulumi-vmbackup[cli]"`.\n'
    )
