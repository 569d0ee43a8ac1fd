"""The plugin's archive for this machine, on a PATH with the Pulumi CLI and no Python."""

from __future__ import annotations

import sys
import tarfile
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import pytest
from archive import EXECUTABLE
from e2e.node import link_packages, node_modules
from environment import ROOT
from http_servers import serving
from pulumi_cli import NODE_HOST, YAML_HOST
from release_check import (
    TYPESCRIPT,
    YAML,
    Machine,
    copied,
    install_archive,
    native_machine,
    start,
    try_program,
)

from pulumi_vmbackup.plugin.schema import VERSION

SUFFIX = ".exe" if sys.platform == "win32" else ""


def installed(machine: Machine, folder: Path) -> bool:
    return f"vmbackup  resource  {VERSION}" in machine.run("plugin", "ls", folder=folder)


def tools_of(machine: Machine) -> set[str]:
    """What a machine has on PATH, without the ending of programs on Windows."""
    return {each.name.removesuffix(SUFFIX) for each in Path(machine.environment["PATH"]).iterdir()}


def test_an_archive_runs_programs_without_a_python_on_the_machine(
    archive: Path, tmp_path: Path
) -> None:
    machine = native_machine(tmp_path, YAML_HOST)
    assert tools_of(machine) == {"pulumi", "pulumi-language-yaml"}
    plugin = install_archive(archive, machine, tmp_path)
    try_program(machine, copied(YAML, tmp_path))
    assert installed(machine, tmp_path)
    # If the CLI traces, Pulumi's SDK imports in the plugin what it does not import otherwise.
    tracing = {
        "TRACEPARENT": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "PULUMI_OTEL_EXPORTER_OTLP_ENDPOINT": "127.0.0.1:9",
    }
    assert start([str(plugin)], {**machine.environment, **tracing}) < 60
    # From a server, Pulumi asks for it by the name that it has in a release.
    machine.run("plugin", "rm", "resource", "vmbackup", "--yes", folder=tmp_path)
    assert not installed(machine, tmp_path)
    handler = partial(SimpleHTTPRequestHandler, directory=str(archive.parent))
    with serving(handler) as host:
        install = ("plugin", "install", "resource", "vmbackup", VERSION)
        machine.run(*install, "--server", f"http://{host}", folder=tmp_path)
    assert installed(machine, tmp_path)


def test_a_program_in_typescript_works_with_it_too(archive: Path, tmp_path: Path) -> None:
    packages = node_modules()
    machine = native_machine(tmp_path, NODE_HOST, "node")
    assert tools_of(machine) == {"pulumi", "pulumi-language-nodejs", "node"}
    program = copied(TYPESCRIPT, tmp_path)
    link_packages(program, packages)
    install_archive(archive, machine, tmp_path)
    # The types are checked by other tests.
    compiled = {**machine.environment, "PULUMI_NODEJS_TRANSPILE_ONLY": "true"}
    try_program(Machine(machine.pulumi, compiled), program)


def test_an_archive_holds_files_alone_and_none_that_the_plugin_does_not_need(archive: Path) -> None:
    with tarfile.open(archive) as file:
        members = file.getmembers()
    assert all(each.isfile() or each.isdir() for each in members)
    names = {each.name for each in members}
    assert {f"{EXECUTABLE}{SUFFIX}", "LICENSE", "LICENSE-Python.txt", "_internal"} <= names
    not_needed = ("click", "debugpy", "pip", "setuptools", "werkzeug", "cryptography", "psutil")
    assert not [
        each for each in names if each.startswith(tuple(f"_internal/{m}" for m in not_needed))
    ]


def test_an_archive_with_another_executable_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "other.tar.gz"
    with tarfile.open(archive, "w:gz") as file:
        file.add(ROOT / "LICENSE", "LICENSE")
    machine = native_machine(tmp_path)
    with pytest.raises(SystemExit, match=f"has no {EXECUTABLE} at its root"):
        install_archive(archive, machine, tmp_path)
