from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from contract.host import Host
from contract.plugin import Engine, Plugin
from sample import PASSWORD

StartPlugin = Callable[..., Plugin]


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


@pytest.fixture
def pulumi_engine() -> Engine:
    return Engine()


@pytest.fixture
def engine_address(pulumi_engine: Engine) -> Iterator[str]:
    with pulumi_engine.serve() as address:
        yield address


@pytest.fixture
def dynamic(
    engine_address: str, base_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Host]:
    """The host of dynamic resources, in the run of the plugin."""
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path / "home"))
    host = Host(engine_address)
    host.configure(baseUrl=base_url, username="Administrator", password=PASSWORD, settleSeconds="0")
    yield host
    host.stop()


@pytest.fixture
def start_plugin(
    engine_address: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[StartPlugin]:
    """Starts plugins of one run of Pulumi, with environment variables."""
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path / "home"))
    started: list[Plugin] = []

    def start(**environment: str) -> Plugin:
        started.append(Plugin(engine_address, **environment))
        return started[-1]

    yield start
    for plugin in started:
        plugin.end()


@pytest.fixture(scope="module")
def one_for_all(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plugin]:
    """A plugin that all tests of a file share whose calls leave nothing behind in it."""
    home = tmp_path_factory.mktemp("home")
    with Engine().serve() as address:
        plugin = Plugin(address, PULUMI_HOME=str(home))
        yield plugin
        plugin.end()


@pytest.fixture
def login(base_url: str) -> dict[str, object]:
    return {
        "baseUrl": base_url,
        "username": "Administrator",
        "password": PASSWORD,
        "settleSeconds": 0,
    }


@pytest.fixture
def unconfigured(start_plugin: StartPlugin) -> Plugin:
    """A plugin that knows no setting."""
    return start_plugin()


@pytest.fixture
def plugin(unconfigured: Plugin, login: dict[str, object]) -> Plugin:
    unconfigured.configure(login)
    return unconfigured
