from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from contract.host import Host
from sample import PASSWORD


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Host]:
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path / "home"))
    host = Host()
    yield host
    host.stop()


@pytest.fixture
def configured_host(host: Host, base_url: str) -> Host:
    host.configure(baseUrl=base_url, username="Administrator", password=PASSWORD, settleSeconds="0")
    return host
