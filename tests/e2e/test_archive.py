"""The plugin's archive for this machine, on a PATH with the Pulumi CLI and no Python."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from archive import EXECUTABLE
from environment import ROOT
from release_check import archive_name_here, native_machine, start, try_archive

from pulumi_vmbackup.plugin.schema import VERSION

SUFFIX = ".exe" if sys.platform == "win32" else ""


def test_an_archive_runs_programs_without_a_python_on_the_machine(tmp_path: Path) -> None:
    made = subprocess.run(
        [sys.executable, ROOT / "scripts" / "archive.py", tmp_path],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=500,
    )
    assert made.returncode == 0, made.stdout
    archive = tmp_path / archive_name_here()

    machine = native_machine(tmp_path / "machine")
    path = machine.environment["PATH"]
    assert {each.name for each in Path(path).iterdir()} == {
        f"pulumi{SUFFIX}",
        f"pulumi-language-yaml{SUFFIX}",
    }
    try_archive(archive, machine, tmp_path / "machine")
    installed = machine.run("plugin", "ls", folder=tmp_path)
    assert f"vmbackup  resource  {VERSION}" in installed

    with tarfile.open(archive) as file:
        members = file.getmembers()
    assert all(each.isfile() or each.isdir() for each in members)
    names = {each.name for each in members}
    assert {f"{EXECUTABLE}{SUFFIX}", "LICENSE", "_internal"} <= names
    not_needed = ("click", "debugpy", "pip", "setuptools", "werkzeug", "cryptography", "psutil")
    assert not [
        each for each in names if each.startswith(tuple(f"_internal/{m}" for m in not_needed))
    ]

    # If the CLI traces, Pulumi's SDK imports in the plugin what it does not import otherwise.
    (plugin,) = (tmp_path / "machine" / "home" / "plugins").glob(f"*/{EXECUTABLE}{SUFFIX}")
    tracing = {
        "TRACEPARENT": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "PULUMI_OTEL_EXPORTER_OTLP_ENDPOINT": "127.0.0.1:9",
    }
    assert start([str(plugin)], {**machine.environment, **tracing}) < 60


def test_an_archive_with_another_executable_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "other.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(ROOT / "LICENSE", "LICENSE")
    machine = native_machine(tmp_path / "machine")
    with pytest.raises(SystemExit, match=f"has no {EXECUTABLE} at its root"):
        try_archive(archive, machine, tmp_path / "machine")
    assert shutil.which("python3", path=machine.environment["PATH"]) is None
