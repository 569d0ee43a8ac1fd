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
from environment import ROOT
from pulumi_cli import TOOLS

EXAMPLE = ROOT / "examples" / "typescript"
OLDEST = (20, 17)


def node_modules() -> Path:
    """The folder with the npm packages that the example's lock file names, installed if need be."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        unavailable("Node.js and npm are not on PATH: the tests of TypeScript programs need them.")
    version = _output(node, "--version").strip()
    if tuple(map(int, re.findall(r"\d+", version)[:2])) < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        unavailable(f"Node.js {version} is too old for TypeScript programs: {oldest} is needed.")
    files = [EXAMPLE / "package.json", EXAMPLE / "package-lock.json"]
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    installed = TOOLS.parent / "node" / digest[:16] / "node_modules"
    if not installed.exists():
        _install(npm, files, installed)
    return installed


def _install(npm: str, files: Sequence[Path], target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    # Whole or not at all, also when two processes of the tests do it at a time.
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        for file in files:
            shutil.copy(file, folder)
        _output(npm, "ci", "--include=dev", "--ignore-scripts", "--no-audit", folder=folder)
        try:
            (Path(folder) / target.name).rename(target)
        except OSError:
            if not target.exists():
                raise


def _output(*command: str, folder: str | None = None) -> str:
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
