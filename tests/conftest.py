"""What all tests share: a clean environment, short pauses and a simulator over real HTTP."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pulumi
import pytest
from programs import Recorder, SetConfig
from pulumi.runtime.mocks import set_mocks
from sample import PASSWORD

from pulumi_vmbackup import assignment, session, transport
from pulumi_vmbackup.client import Client
from pulumi_vmbackup.settings import Settings
from pulumi_vmbackup.simulator import TOKEN_PREFIX, Simulator, serve

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As in a background job of a shell; the processes that tests start and stop inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_xdist_auto_num_workers() -> int:
    """How many processes `-n auto` means: the tests wait for others about half of their time."""
    return 2 * (os.cpu_count() or 1)


@pytest.fixture(scope="session", autouse=True)
def no_secret_in_any_output_state_or_log(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[None]:
    """Search all that the tests of this process wrote for the simulators' tokens and password.

    That is what Pulumi keeps in its folders, and every log record of whatever logger, to which the
    tests that run commands add their output.
    """
    folder = tmp_path_factory.getbasetemp()
    handler = logging.FileHandler(folder / "debug.log", encoding="utf-8")
    root = logging.getLogger()
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    yield
    root.removeHandler(handler)
    handler.close()
    secrets = (f"{TOKEN_PREFIX}-".encode(), PASSWORD.encode())
    files = [file for file in folder.rglob("*") if file.is_file() and not file.is_symlink()]
    leaks = [file for file in files if any(secret in file.read_bytes() for secret in secrets)]
    assert not leaks, f"{len(leaks)} of {len(files)} files hold a token or the password: {leaks}"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in os.environ:
        if variable.upper().startswith(("VMBACKUP_", "PULUMI_")) or variable.upper().endswith(
            "_PROXY"
        ):
            monkeypatch.delenv(variable)
    # With it, each process that a test starts compiles the package anew.
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)


@pytest.fixture(autouse=True)
def no_state_of_other_tests() -> Iterator[None]:
    yield
    assignment.process.end()
    transport.forget_secrets()
    session.forget_logins()


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pulumi_vmbackup.client.FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr("pulumi_vmbackup.session.BUSY_POLL_SECONDS", 0.01)
    monkeypatch.setattr("pulumi_vmbackup.session.UNEXPLAINED_LOGIN_PAUSES", (0.01, 0.01))
    monkeypatch.setattr("pulumi_vmbackup.lifecycle.LISTING_POLL_SECONDS", 0.01)
    monkeypatch.setattr("pulumi_vmbackup.plugin.set_handler.SECONDS_TO_DECLARE", 1)


@pytest.fixture
def simulator() -> Simulator:
    return Simulator(password=PASSWORD)


@pytest.fixture
def base_url(simulator: Simulator) -> Iterator[str]:
    with serve(simulator) as base_url:
        yield base_url


@pytest.fixture
def site_b() -> Simulator:
    """Another server, with the same VMs and locations."""
    return Simulator(password=PASSWORD)


@pytest.fixture
def url_b(site_b: Simulator) -> Iterator[str]:
    with serve(site_b) as base_url:
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
    loops: list[asyncio.AbstractEventLoop] = []

    def set_loop() -> None:
        loops.append(asyncio.new_event_loop())
        asyncio.set_event_loop(loops[-1])

    set_loop()
    (loop,) = loops
    # Pulumi's mocks make a loop for each thread that has none, and never close it.
    threads = ThreadPoolExecutor(initializer=set_loop)
    loop.set_default_executor(threads)
    recorder = Recorder()
    try:
        set_mocks(recorder)
        yield recorder
    finally:
        pulumi.runtime.settings.reset_options()
        left = asyncio.all_tasks(loop)  # of a program that failed
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        threads.shutdown()
        asyncio.set_event_loop(None)
        for each in loops:
            each.close()
        pulumi.runtime.settings.SETTINGS.outputs.clear()  # which reset_options leaves
        # The tasks that failed say so when they are collected: now, and not within another test,
        # whose parsing of source that can break (CPython issue 106905).
        gc.collect()


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
