"""session.py: what is sent, and what is not, once a client is closed."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, get_args, get_type_hints

import pytest
from contract.plugin import many_vms, pairs
from lifecycles import make_lifecycle
from sample import DC01, NAS01, NOWHERE, OFFSITE01, SQL01

from pulumi_vmbackup import RefusedError, session
from pulumi_vmbackup.bulk import ensure_all
from pulumi_vmbackup.client import Client
from pulumi_vmbackup.errors import StoppedError, VmBackupError
from pulumi_vmbackup.settings import Settings
from pulumi_vmbackup.simulator import Behavior, Fault, Simulator


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
    give_up_at = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < give_up_at, "it was waited for in vain"
        time.sleep(0.005)


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
    simulator.answer_seconds = 0.5
    client = Client(settings)
    thread, errors = in_thread(client.virtual_machines)
    wait_until(lambda: simulator.tokens)  # it was started, and the answer is on its way
    client.close()
    thread.join()
    assert [type(error) for error in errors] == [StoppedError]
    assert [call.path.partition("/sessions/")[2] for call in simulator.calls] == [
        "start",
        "end/[token]",
    ]
    assert not simulator.sessions


def test_a_call_under_way_is_answered_before_its_session_is_ended(
    simulator: Simulator, settings: Settings
) -> None:
    simulator.answer_seconds = 0.3
    client = Client(settings)
    client.log_in()
    thread, errors = in_thread(lambda: client.assign(SQL01, NAS01))
    wait_until(lambda: (SQL01, NAS01) in simulator.inventory.assignments)
    client.close()
    thread.join()
    assert not errors
    assert [call.method for call in simulator.calls[1:]] == ["POST", "POST"]
    assert simulator.calls[-1].path.endswith("/sessions/end/[token]")


def test_calls_that_wait_for_their_turn_are_not_sent_after_close(
    simulator: Simulator, settings: Settings
) -> None:
    client = Client(replace(settings, parallel_requests=1))
    client.log_in()
    stalled = Fault("stall", "POST /vms/backuplocations")
    simulator.faults = [stalled]
    threads = [in_thread(lambda to=to: client.assign(SQL01, to)) for to in (NAS01, OFFSITE01)]  # type: ignore[misc]
    wait_until(lambda: stalled.hits)
    client.close()
    assert not simulator.sessions  # though the only turn is taken
    simulator.faults.clear()
    for thread, _ in threads:
        thread.join()
    assert len(pairs(simulator, "POST")) == 1


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


def test_a_session_whose_start_outlasts_the_end_of_its_client_is_ended(
    simulator: Simulator, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LAST_CALLS_SECONDS", "END_SECONDS"):
        monkeypatch.setattr(f"pulumi_vmbackup.session.{name}", 0.01)
    simulator.answer_seconds = 0.5
    client = Client(settings)
    thread, errors = in_thread(client.virtual_machines)
    wait_until(lambda: simulator.tokens)
    client.close()
    assert simulator.sessions  # it could not be waited for
    thread.join()
    assert [type(error) for error in errors] == [StoppedError]
    wait_until(lambda: not simulator.sessions)


CONSOLE_EVENTS = {"Ctrl-C": 0, "Ctrl-Break": 1, "window closed": 2, "logoff": 5, "shutdown": 6}


@pytest.mark.skipif(sys.platform != "win32", reason="only consoles of Windows tell such events")
@pytest.mark.parametrize("event", CONSOLE_EVENTS)
def test_events_of_the_console_that_end_the_process_end_the_session(
    event: str, simulator: Simulator, client: Client
) -> None:
    client.virtual_machines()
    if sys.platform == "win32":
        # False lets Windows, or Python's own handler, do the rest.
        assert not session._at_console_event(CONSOLE_EVENTS[event])
    # Python handles Ctrl-C, and a service goes on when somebody logs off.
    assert bool(simulator.sessions) is (event in ("Ctrl-C", "logoff"))


# Sessions that are over


DEATHS = get_args(get_type_hints(Behavior)["invalid_token"])


@pytest.mark.parametrize("death", DEATHS)
def test_a_session_that_dies_is_renewed_once_whatever_its_answer_looks_like(
    death: Any, simulator: Simulator, client: Client
) -> None:
    simulator.behavior = Behavior(invalid_token=death, second_post="refuse")
    refs = many_vms(simulator, 20)
    simulator.faults.append(Fault("session over", "POST /vms", skip=5))
    lifecycle = make_lifecycle(client, settle_seconds=0)
    for ref in refs:
        lifecycle.ensure(ref, NAS01, assigned=True)
    assert all(simulator.inventory.locations_of(ref) == [NAS01] for ref in refs)
    assert len(simulator.tokens) == 2


@pytest.mark.parametrize("death", DEATHS)
def test_threads_that_lose_their_session_share_the_new_one(
    death: Any, simulator: Simulator, client: Client
) -> None:
    simulator.behavior = Behavior(invalid_token=death)
    simulator.answer_seconds = 0.01
    refs = many_vms(simulator, 80)
    lifecycle = make_lifecycle(client, settle_seconds=0)
    simulator.faults.append(Fault("session over", "POST /vms", skip=9))
    # Long after the first, which an error page tells late: two at a time may be too many.
    simulator.faults.append(Fault("session over", "POST /vms", skip=70))
    outcome = ensure_all(lifecycle, [(ref, NAS01) for ref in refs], assigned=True, threads=8)
    assert not outcome.failures
    assert all(simulator.inventory.locations_of(ref) == [NAS01] for ref in refs)
    assert len(simulator.tokens) <= 4


@pytest.mark.parametrize("death", DEATHS)
@pytest.mark.parametrize("call", ["vms/list", "vms/backuplocations", "backuplocations"])
def test_a_read_in_a_dead_session_is_tried_once_more_in_a_new_one(
    call: str, death: Any, simulator: Simulator, client: Client
) -> None:
    simulator.behavior = Behavior(invalid_token=death)
    simulator.faults.append(Fault("session over", f"GET /{call}/"))
    reads: dict[str, Callable[[], Sequence[object]]] = {
        "vms/list": client.virtual_machines,
        "vms/backuplocations": lambda: client.vm_backup_locations(DC01),
        "backuplocations": lambda: client.backup_locations("offsite"),
    }
    client.log_in()
    assert reads[call]()
    assert len(simulator.tokens) == 2


@pytest.mark.parametrize("end", [Client.close, Client.end_session])
def test_a_session_that_was_given_up_because_reads_are_refused_is_ended_too(
    end: Callable[[Client], object], simulator: Simulator, client: Client
) -> None:
    client.backup_locations("offsite")
    simulator.faults.append(Fault("refused", "GET", times=None))
    with pytest.raises(RefusedError):
        client.virtual_machines()
    end(client)
    assert not simulator.sessions


def test_a_genuine_refusal_costs_one_more_read_in_a_process_and_no_session(
    simulator: Simulator, client: Client
) -> None:
    for _ in range(3):
        with pytest.raises(RefusedError, match="not found"):
            client.vm_backup_locations(NOWHERE)
    assert len(simulator.tokens) == 1
    assert [call.method for call in simulator.calls] == ["POST", "GET", "GET", "GET", "GET"]


def test_a_tool_that_ends_all_sessions_again_and_again_fails_no_run(
    simulator: Simulator, client: Client
) -> None:
    refs = many_vms(simulator, 60)
    # Two in a row, so that some calls meet it that are sent again.
    simulator.faults += [
        Fault("session over", "POST /vms", skip=skip, times=2) for skip in range(0, 60, 10)
    ]
    lifecycle = make_lifecycle(client, settle_seconds=0)
    outcome = ensure_all(lifecycle, [(ref, NAS01) for ref in refs], assigned=True, threads=4)
    assert not outcome.failures
    assert len(outcome.done) == 60
    assert len(simulator.tokens) > 6


def test_a_listing_that_was_in_flight_during_a_write_is_not_kept(
    simulator: Simulator, client: Client
) -> None:
    lifecycle = make_lifecycle(client, settle_seconds=0)
    old_listing = Fault("hold", "GET /vms/backuplocations")
    simulator.faults.append(old_listing)
    thread, errors = in_thread(lambda: lifecycle.locations_of(SQL01))
    wait_until(lambda: old_listing.hits)
    lifecycle.ensure(SQL01, NAS01, assigned=True)
    simulator.faults.clear()
    thread.join()
    assert not errors
    assert [each.id for each in lifecycle.locations_of(SQL01) or ()] == [NAS01]


def test_a_stopped_client_begins_nothing_and_wakes_up_what_waits(
    simulator: Simulator, settings: Settings
) -> None:
    refs = many_vms(simulator, 200)
    simulator.answer_seconds = 0.3
    with Client(settings) as client:
        threads = [in_thread(lambda ref=ref: client.assign(ref, NAS01)) for ref in refs]  # type: ignore[misc]
        wait_until(lambda: len(pairs(simulator, "POST")) >= 4)
        client.stop()
        sent = len(pairs(simulator, "POST"))
        stopped_at = time.monotonic()
        for thread, _ in threads:
            thread.join(60)
        assert time.monotonic() - stopped_at < 30  # no thread waits for its turn
    assert len(pairs(simulator, "POST")) <= sent + 4
    assert sum(bool(errors) for _, errors in threads) >= 200 - sent - 4
    assert not simulator.sessions


def test_a_call_that_waits_for_its_turn_is_not_overtaken(
    simulator: Simulator, settings: Settings
) -> None:
    simulator.answer_seconds = 0.005
    refs = many_vms(simulator, 90)
    with Client(replace(settings, parallel_requests=1)) as client:

        def write(refs: list[str]) -> None:
            for ref in refs:
                client.assign(ref, NAS01)

        threads = [in_thread(lambda part=refs[at::3]: write(part)) for at in range(3)]  # type: ignore[misc]
        wait_until(lambda: len(pairs(simulator, "POST")) >= 10)
        before = len(simulator.calls)
        client.vm_backup_locations(DC01)
        after = [call.method for call in simulator.calls[before:]].index("GET")
        for thread, errors in threads:
            thread.join()
            assert not errors
    assert after <= 6  # those before it in the queue, and what came while this thread started


def test_what_a_write_did_that_was_under_way_is_found_out_after_the_stop(
    simulator: Simulator, client: Client
) -> None:
    lost = Fault("stall", "POST /vms")
    simulator.faults.append(lost)
    lifecycle = make_lifecycle(client, settle_seconds=0)
    thread, errors = in_thread(lambda: lifecycle.ensure(SQL01, NAS01, assigned=True))
    wait_until(lambda: lost.hits)
    client.stop()
    simulator.faults.clear()  # which resets the connection
    thread.join()
    assert not errors
    with pytest.raises(StoppedError):
        client.vm_backup_locations(SQL01)
    assert simulator.inventory.locations_of(SQL01) == [NAS01]
