from __future__ import annotations

from pathlib import Path

import pytest
from e2e.stack import MakeStack, Stack
from pulumi_cli import isolated_environment
from sample import PASSWORD


@pytest.fixture
def make_stack(tmp_path: Path, base_url: str, monkeypatch: pytest.MonkeyPatch) -> MakeStack:
    monkeypatch.setenv("PATH", isolated_environment(tmp_path / "pulumi")["PATH"])

    def make(**settings: str) -> Stack:
        login = {
            "VMBACKUP_BASE_URL": base_url,
            "VMBACKUP_USERNAME": "Administrator",
            "VMBACKUP_PASSWORD": PASSWORD,
            "VMBACKUP_SETTLE_SECONDS": "0",
        }
        return Stack(tmp_path, **{**login, **settings})

    return make


@pytest.fixture
def stack(make_stack: MakeStack) -> Stack:
    return make_stack()
