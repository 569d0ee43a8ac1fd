from __future__ import annotations

from collections.abc import Iterator

import pytest
from contract.host import Host
from sample import PASSWORD


@pytest.fixture
def host() -> Iterator[Host]:
    host = Host()
    yield host
    host.stop()


@pytest.fixture
def configured_host(host: Host, base_url: str) -> Host:
    host.configure(baseUrl=base_url, username="Administrator", password=PASSWORD, settleSeconds="0")
    return host
