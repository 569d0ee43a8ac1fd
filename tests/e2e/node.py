"""Node.js with the npm packages of examples/typescript, for the tests of programs in TypeScript."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import pytest
import sdks
from environment import ROOT
from pulumi_cli import TOOLS

from pulumi_vmbackup.plugin.schema import schema

EXAMPLE = ROOT / "examples" / "typescript"
OLDEST = (20, 17)


def node_modules() -> Path:
    """The folder with the npm packages that the example's lock file names, installed if need be.

    The SDK of the present schema is among them.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        unavailable("Node.js and npm are not on PATH: the tests of TypeScript programs need them.")
    version = _output(node, "--version").strip()
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        unavailable(f"Node.js {version} is too old for TypeScript programs: {oldest} is needed.")
    need_go()
    files = [EXAMPLE / name for name in (".npmrc", "package.json", "package-lock.json")]
    made_from = [*files, *sdks.SOURCES, Path(sdks.__file__)]
    content = b"".join(file.read_bytes() for file in made_from) + schema().encode()
    installed = TOOLS.parent / "node" / hashlib.sha256(content).hexdigest()[:16] / "node_modules"
    if not installed.exists():
        _install(npm, files, installed)
    return installed


def link_packages(program: Path, packages: Path) -> None:
    """Give a program the packages of :func:`node_modules`."""
    try:
        (program / "node_modules").symlink_to(packages, target_is_directory=True)
    except OSError as error:  # Windows without its developer mode
        unavailable(f"No link to the npm packages can be made: {error}")


def need_go() -> None:
    """Skip, or fail, if the SDKs cannot be generated here."""
    if not shutil.which("go"):
        unavailable("Go is not on PATH: the tests of programs with a generated SDK need it.")


def _install(npm: str, files: Sequence[Path], target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    # Whole or not at all, also when two processes of the tests do it at a time.
    with tempfile.TemporaryDirectory(dir=target.parent) as clone:
        sdk, example = Path(clone, "sdk"), Path(clone, "examples", "typescript")
        sdks.generate(sdk)
        sdks.compile_nodejs(sdk / "nodejs")
        example.mkdir(parents=True)
        for file in files:
            shutil.copy(file, example)
        _output(npm, "ci", "--include=dev", "--ignore-scripts", "--no-audit", folder=example)
        try:
            (example / target.name).rename(target)
        except OSError:
            if not target.exists():
                raise


def _output(*command: str, folder: Path | None = None) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=600,
    )
    if done.returncode != 0:
        called = " ".join((Path(command[0]).name, *command[1:]))
        unavailable(
            f"`{called}` failed, which the tests of TypeScript programs need: {done.stderr.strip()}"
        )
    return done.stdout


def unavailable(sentence: str) -> NoReturn:
    """Fail where everything has to be tested, and skip elsewhere."""
    if os.environ.get("CI"):
        pytest.fail(sentence, pytrace=False)
    pytest.skip(sentence)
