"""What all tests share: a clean environment, short pauses and a simulator over real HTTP."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pulumi
import pytest
from programs import Recorder, SetConfig
from pulumi.runtime.mocks import set_mocks
from sample import PASSWORD

from pulumi_vmbackup import assignment, program
from pulumi_vmbackup.client import Client
from pulumi_vmbackup.settings import Settings
from pulumi_vmbackup.simulator import Simulator, serve

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As in a background job of a shell; the processes that tests start and stop inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in os.environ:
        if variable.upper().startswith(("VMBACKUP_", "PULUMI_")) or variable.upper().endswith(
            "_PROXY"
        ):
            monkeypatch.delenv(variable)


@pytest.fixture(autouse=True)
def no_state_of_other_tests() -> Iterator[None]:
    yield
    program._warn_of_plain_text_secrets.cache_clear()
    for lifecycle in assignment._lifecycles.values():
        lifecycle._client.close()
    assignment._lifecycles.clear()


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pulumi_vmbackup.client.FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr("pulumi_vmbackup.client.BUSY_POLL_SECONDS", 0.01)


@pytest.fixture
def simulator() -> Simulator:
    return Simulator(password=PASSWORD)


@pytest.fixture
def base_url(simulator: Simulator) -> Iterator[str]:
    with serve(simulator) as base_url:
        yield base_url


@pytest.fixture
def settings(base_url: str) -> Settings:
    return Settings(
        base_url=base_url,
        username="Administrator",
        password=PASSWORD,
        host_header="localhost",
        settle_seconds=0,
    )


@pytest.fixture
def client(settings: Settings) -> Iterator[Client]:
    with Client(settings) as client:
        yield client


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    """The engine of the programs that run in this process."""
    recorder = Recorder()
    set_mocks(recorder)
    yield recorder
    pulumi.runtime.settings.reset_options()


@pytest.fixture
def set_config() -> Iterator[SetConfig]:
    """Sets the stack configuration of those programs, the secret keys by their names."""

    def set_config(*secret: str, **settings: str) -> None:
        pulumi.runtime.set_all_config(
            {f"vmbackup:{key}": text for key, text in settings.items()},
            [f"vmbackup:{key}" for key in secret],
        )

    yield set_config
    pulumi.runtime.set_all_config({}, [])
