"""session.py: what is sent, and what is not, once a client is closed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest
from contract.plugin import many_vms, pairs
from sample import NAS01

from pulumi_vmbackup.client import Client
from pulumi_vmbackup.errors import StoppedError, VmBackupError
from pulumi_vmbackup.settings import Settings
from pulumi_vmbackup.simulator import Fault, Simulator


def in_thread(function: Callable[[], object]) -> tuple[threading.Thread, list[VmBackupError]]:
    """A thread that calls a function, and the error that it ends with."""
    errors: list[VmBackupError] = []

    def work() -> None:
        try:
            function()
        except VmBackupError as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    return thread, errors


def wait_until(condition: Callable[[], object]) -> None:
    waiting = threading.Event()
    while not condition():
        waiting.wait(0.005)


def test_after_close_nothing_is_sent_and_no_session_is_open(
    simulator: Simulator, settings: Settings
) -> None:
    refs = many_vms(simulator, 200)
    simulator.answer_seconds = 0.01
    client = Client(settings)

    def write(refs: list[str]) -> None:
        for ref in refs:
            client.assign(ref, NAS01)

    threads = [in_thread(lambda part=refs[at::8]: write(part)) for at in range(8)]  # type: ignore[misc]
    wait_until(lambda: len(pairs(simulator, "POST")) >= 20)
    client.close()
    sent = len(simulator.calls)
    for thread, errors in threads:
        thread.join()
        assert [type(error) for error in errors] == [StoppedError]
    assert len(simulator.calls) == sent
    assert len(pairs(simulator, "POST")) < len(refs)
    assert not simulator.sessions
    assert len(simulator.tokens) == 1


def test_a_closed_client_stays_closed(simulator: Simulator, client: Client) -> None:
    client.virtual_machines()
    client.close()
    simulator.calls.clear()
    with pytest.raises(StoppedError, match="closed"):
        client.virtual_machines()
    with pytest.raises(StoppedError, match="closed"):
        client.ask_protocol()
    client.close()
    assert not simulator.calls


def test_a_client_that_waits_for_a_session_is_closed_at_once(
    simulator: Simulator, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pulumi_vmbackup.session.BUSY_POLL_SECONDS", 3600)
    simulator.console_connected = True
    client = Client(replace(settings, session_wait_seconds=86400))
    waiting = [in_thread(client.virtual_machines) for _ in range(3)]
    wait_until(lambda: simulator.calls)
    client.close()
    for thread, errors in waiting:
        thread.join()
        assert [type(error) for error in errors] == [StoppedError]
    assert [call.path for call in simulator.calls] == [f"{simulator.base_path}/sessions/start"]


def test_a_session_that_is_started_while_its_client_is_closed_is_ended(
    simulator: Simulator, settings: Settings
) -> None:
    started = Fault("stall", "POST /sessions/start")
    simulator.faults = [started]
    client = Client(replace(settings, timeout_seconds=0.2))
    simulator.answer_seconds = 0.05
    thread, errors = in_thread(client.virtual_machines)
    wait_until(lambda: started.hits)
    client.close()
    thread.join()
    assert errors
    # The answer with its token was lost; no other session was started.
    assert len(simulator.tokens) == 1
    assert [call.path for call in simulator.calls if call.path.endswith("/vms/list")] == []


def test_a_session_is_not_idle_while_a_call_is_under_way(
    simulator: Simulator, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pulumi_vmbackup.session.IDLE_SECONDS", 0.01)
    stall = Fault("stall", "GET /vms/list")
    simulator.faults = [stall]
    with Client(settings) as client:
        thread, _ = in_thread(client.virtual_machines)
        wait_until(lambda: stall.hits)
        threading.Event().wait(0.2)  # in which an idle session ends
        assert simulator.sessions
        simulator.faults = []
        thread.join()


def test_a_session_whose_start_is_answered_after_close_is_ended(
    simulator: Simulator, settings: Settings
) -> None:
    simulator.answer_seconds = 0.3
    client = Client(settings)
    thread, _ = in_thread(client.virtual_machines)
    wait_until(lambda: simulator.tokens)
    client.close()
    thread.join()
    assert len(simulator.tokens) == 1
    assert not simulator.sessions
