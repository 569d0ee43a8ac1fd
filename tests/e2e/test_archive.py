"""The plugin's archive for this machine, on a PATH with the Pulumi CLI and no Python."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from archive import EXECUTABLE, archive_name_here
from environment import ROOT
from release_check import Machine, native_machine, start, try_archive

from pulumi_vmbackup.plugin.schema import VERSION

SUFFIX = ".exe" if sys.platform == "win32" else ""


def installed(machine: Machine, folder: Path) -> bool:
    return f"vmbackup  resource  {VERSION}" in machine.run("plugin", "ls", folder=folder)


@contextmanager
def files_of(folder: Path) -> Iterator[str]:
    """Serve a folder over HTTP; its URL."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


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
    assert installed(machine, tmp_path)
    # From a server, Pulumi asks for it by the name that it has in a release.
    machine.run("plugin", "rm", "resource", "vmbackup", "--yes", folder=tmp_path)
    assert not installed(machine, tmp_path)
    with files_of(tmp_path) as url:
        install = ("plugin", "install", "resource", "vmbackup", VERSION)
        machine.run(*install, "--server", url, folder=tmp_path)
    assert installed(machine, tmp_path)

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
