from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import sdks
from archive import archive_name_here
from debian import BROWSERS
from e2e.node import need_go
from e2e.stack import MakeStack, Prepared, Stack
from environment import ROOT
from filelock import FileLock
from sample import PASSWORD

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# Without them, Chromium asks servers of its maker, and as root it starts in no sandbox.
_BROWSER_OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


@pytest.fixture(autouse=True)
def cli_is_there() -> None:
    if not shutil.which("pulumi"):
        pytest.fail("There is no Pulumi CLI on PATH: run scripts/test.py, which gets one.")


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return Prepared.by_pulumi(tmp_path_factory.mktemp("prepared"))


@pytest.fixture
def make_stack(tmp_path: Path, base_url: str, prepared: Prepared) -> MakeStack:
    def make(*, init: bool = True, **settings: str) -> Stack:
        login = {
            "VMBACKUP_BASE_URL": base_url,
            "VMBACKUP_USERNAME": "Administrator",
            "VMBACKUP_PASSWORD": PASSWORD,
            "VMBACKUP_SETTLE_SECONDS": "0",
        }
        stack = Stack(tmp_path, prepared, **{**login, **settings})
        if init:
            stack.init()
        return stack

    return make


@pytest.fixture
def stack(make_stack: MakeStack) -> Stack:
    return make_stack()


@pytest.fixture(scope="session")
def generated_sdks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the SDKs of the present schema: nodejs, go and python."""
    need_go()
    folder = tmp_path_factory.mktemp("sdk")
    sdks.generate(folder)
    return folder


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The plugin's archive for this machine. One process of the tests makes it for all of them."""
    folder = tmp_path_factory.getbasetemp()
    shared = (folder if worker_id == "master" else folder.parent) / "archive"
    with FileLock(shared.with_suffix(".lock")):
        if not shared.exists():
            made_in = tmp_path_factory.mktemp("archive")
            made = subprocess.run(
                [sys.executable, ROOT / "scripts" / "archive.py", made_in],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                check=False,
                timeout=500,
            )
            assert made.returncode == 0, made.stdout
            made_in.rename(shared)
    return shared / archive_name_here()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright

    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not program and not os.environ.get("CI"):
        pytest.skip("there is no Chromium or Chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=_BROWSER_OPTIONS)
        yield browser
        browser.close()
