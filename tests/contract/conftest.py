from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from contract.host import Host
from sample import PASSWORD


@pytest.fixture
def engine() -> Iterator[str]:
    """The address of an engine that is there, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def host(engine: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Host]:
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path / "home"))
    host = Host(engine)
    yield host
    host.stop()


@pytest.fixture
def configured_host(host: Host, base_url: str) -> Host:
    host.configure(baseUrl=base_url, username="Administrator", password=PASSWORD, settleSeconds="0")
    return host
