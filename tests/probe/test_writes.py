"""The VM of a probe has the locations that it had, whatever happens meanwhile."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from probe.servers import PRIMARY, Writes, settings_for
from sample import DC01, DISK_E, NAS01, NOWHERE, OFFSITE01, PASSWORD, SQL01
from simulator.caller import wait_for

from pulumi_vmbackup.client import Client
from pulumi_vmbackup.errors import ArgumentError, VmBackupError
from pulumi_vmbackup.facts import Answer
from pulumi_vmbackup.models import BackupLocation
from pulumi_vmbackup.probe import writes as probe_writes
from pulumi_vmbackup.probe.writes import Journal, Restored, restore
from pulumi_vmbackup.session import end_process
from pulumi_vmbackup.simulator import Behavior, Fault, Inventory, Simulator, serve
from pulumi_vmbackup.simulator.api import _RefusedCallError as RefusedCallError

DISK = BackupLocation(DISK_E, r"E:\VMBackups", "primary")
OFFSITE = BackupLocation(OFFSITE01, r"\\OFFSITE01\VMBackups", "offsite")
# Each behavior that changes what is left to be restored.
SERVERS: dict[str, dict[str, Any]] = {
    "allows a second primary location": {},
    "refuses a second primary location": {"second_primary": "refuse", "has_primary": True},
    "moves the VM": {"second_primary": "move"},
    "moves the VM from its location": {"second_primary": "move", "has_primary": True},
    "lags": {"lag_seconds": 0.3},
    "accepts what makes no sense": {
        "unassigned_delete": "accept",
        "facts": {
            each: {"form": "accepted"}
            for each in ("unknownLocationAssign", "unknownVmAssign", "unknownVmUnassign")
        },
    },
}
MOST_EXCHANGES = 36  # and some more, which are listings


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_writes, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(probe_writes, "PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(probe_writes, "LONGEST_LAG_SECONDS", 1.0)
    monkeypatch.setattr(probe_writes, "RESTORE_SECONDS", 3.0)


def server(*, has_primary: bool = False, **behavior: Any) -> Simulator:
    """A server whose SQL01 has an offsite location, and perhaps a primary one."""
    inventory = Inventory.sample()
    inventory.assignments[SQL01, OFFSITE01] = None
    if has_primary:
        inventory.assignments[SQL01, DISK_E] = None
    return Simulator(inventory, password=PASSWORD, behavior=Behavior(**behavior))


def probed(simulator: Simulator, fault: Fault | None = None) -> Writes:
    """Probe a server whose faults begin with the listing before the first change."""
    has_disk = (SQL01, DISK_E) in simulator.inventory.assignments
    second = None if has_disk else DISK
    with serve(simulator) as base_url, Client(settings_for(base_url)) as client:
        writes = Writes(client, PRIMARY, second)
        simulator.faults = [fault] if fault else []
        try:
            writes.probe.run()
        except VmBackupError as error:
            writes.said.append(str(error))
        simulator.faults = []
    return writes


@pytest.mark.parametrize("behavior", SERVERS.values(), ids=SERVERS)
def test_without_trouble_each_fact_is_found(behavior: dict[str, Any]) -> None:
    simulator = server(**behavior)
    before = dict(simulator.inventory.assignments)
    writes = probed(simulator)
    assert writes.restored == Restored()
    assert simulator.inventory.assignments == before
    assert not writes.file.exists()
    is_short = behavior.get("has_primary")
    expected = {None: 11, "refuse": 2, "move": 4}
    assert len(writes.found.values) == expected[behavior["second_primary"] if is_short else None]


def _in_full(name: str) -> Any:
    """A server, whose test only the full run has unless it moves the VM."""
    marks = [] if name == "moves the VM" else [pytest.mark.full]
    return pytest.param(SERVERS[name], id=name, marks=marks)


@pytest.mark.parametrize("skip", range(MOST_EXCHANGES))
@pytest.mark.parametrize("behavior", [_in_full(name) for name in SERVERS])
@pytest.mark.parametrize("fault", ["reset", "reset before", "session over", "error"])
def test_one_exchange_that_fails(fault: str, behavior: dict[str, Any], skip: int) -> None:
    simulator = server(**behavior)
    before = dict(simulator.inventory.assignments)
    writes = probed(simulator, Fault.parse(f"{fault} skip={skip}"))
    assert simulator.inventory.assignments == before
    assert writes.restored == Restored()
    assert not writes.file.exists()
    assert not simulator.sessions


@pytest.mark.parametrize("skip", range(0, MOST_EXCHANGES, 3))
def test_a_server_that_is_gone_for_a_while(skip: int) -> None:
    simulator = server()
    before = dict(simulator.inventory.assignments)
    fault = Fault("reset", skip=skip, times=None)
    threading.Thread(target=_remove_when_met, args=(simulator, fault)).start()
    writes = probed(simulator, fault)
    assert simulator.inventory.assignments == before
    assert writes.restored == (Restored() if skip else None)  # nothing was changed yet
    assert not writes.file.exists()


def _remove_when_met(simulator: Simulator, fault: Fault) -> None:
    give_up = threading.Event()
    for _ in range(500):
        if fault.hits > 5:
            break
        give_up.wait(0.01)
    simulator.faults = []


def test_a_server_that_is_gone_for_good_leaves_the_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(probe_writes, "RESTORE_SECONDS", 0.3)
    simulator = server()
    before = dict(simulator.inventory.assignments)
    writes = probed(simulator, Fault("reset", "", skip=5, times=None))
    assert simulator.inventory.assignments != before
    assert writes.restored
    assert writes.restored.error
    journal = Journal.load(writes.file)
    assert journal.assigned == {OFFSITE01: r"\\OFFSITE01\VMBackups"}
    with serve(simulator) as base_url, Client(settings_for(base_url)) as client:
        assert restore(client, journal, (), 0.0, 0.1, print).is_done
    assert simulator.inventory.assignments == before


def test_a_change_that_the_server_makes_after_its_answer_was_lost_is_noticed() -> None:
    simulator = server()
    before = dict(simulator.inventory.assignments)
    late = Fault("hold", "POST /vms/backuplocations", acted=False)
    with serve(simulator) as base_url:
        settings = settings_for(base_url, timeout_seconds=0.3, settle_seconds=2.0)
        with Client(settings) as client:
            writes = Writes(client)
            simulator.faults = [late]
            thread = threading.Thread(target=_run, args=(writes,))
            thread.start()
            wait_for(lambda: any("restoring" in each for each in writes.said))
            thread.join(0.7)  # as long as settleSeconds, the server may still do it
            simulator.inventory.assignments = {**before, (SQL01, NAS01): None}
            simulator.faults = []
            thread.join()
    assert simulator.inventory.assignments == before
    assert writes.restored == Restored()


def _run(writes: Writes) -> None:
    with pytest.raises(VmBackupError):
        writes.probe.run()


@pytest.mark.parametrize("skip", range(1, MOST_EXCHANGES, 2))
def test_the_end_of_the_process_waits_until_the_vm_is_restored(skip: int) -> None:
    # As on Windows, when the console is closed.
    simulator = server()
    before = dict(simulator.inventory.assignments)
    held = Fault("hold", skip=skip)
    with serve(simulator) as base_url, Client(settings_for(base_url)) as client:
        writes = Writes(client, PRIMARY, DISK)
        simulator.faults = [held]
        thread = threading.Thread(target=writes.probe.run)
        thread.start()
        wait_for(lambda: bool(held.hits) or not thread.is_alive())
        ending = threading.Thread(target=end_process)
        ending.start()
        simulator.faults = []
        ending.join()
        assert writes.restored == Restored()
        assert simulator.inventory.assignments == before
        assert not simulator.sessions
        thread.join()


@pytest.mark.parametrize("before", [[OFFSITE01], [OFFSITE01, DISK_E], []])
def test_what_somebody_else_changes_meanwhile_stays(before: list[str]) -> None:
    simulator = Simulator(password=PASSWORD)
    simulator.inventory.assignments |= {(SQL01, each): None for each in before}
    held = Fault("hold", "DELETE")
    with serve(simulator) as base_url, Client(settings_for(base_url)) as client:
        writes = Writes(client)
        simulator.faults = [held]
        thread = threading.Thread(target=writes.probe.run)
        thread.start()
        wait_for(lambda: bool(held.hits))
        other = {(SQL01, "b339a476-9ddc-46f8-afb6-fbfe8de4ab47"): None}
        simulator.inventory.assignments = {**simulator.inventory.assignments, **other}
        simulator.faults = []
        thread.join()
    assert writes.restored == Restored()
    assert set(simulator.inventory.locations_of(SQL01)) == {*before, *(each for _, each in other)}


@pytest.mark.parametrize("second", [None, OFFSITE])
def test_a_location_that_the_vm_has_is_refused_before_anything_is_sent(
    second: BackupLocation | None,
) -> None:
    simulator = server()
    with serve(simulator) as base_url, Client(settings_for(base_url)) as client:
        says = "SQL01 is assigned to .+OFFSITE01.+ already: choose"
        with pytest.raises(ArgumentError, match=says):
            Writes(client, OFFSITE if second is None else PRIMARY, second)
    assert not any(call.method in ("POST", "DELETE") for call in simulator.calls[1:-1])


def test_what_was_assigned_while_the_question_waited_is_refused() -> None:
    simulator = server()
    with serve(simulator) as base_url, Client(settings_for(base_url)) as client:
        writes = Writes(client)
        simulator.inventory.assignments = {(SQL01, NAS01): None}
        with pytest.raises(ArgumentError, match=r"SQL01 is assigned to .+NAS01.+ already: choose"):
            writes.probe.run()
    assert simulator.inventory.locations_of(SQL01) == [NAS01]
    assert not writes.file.exists()


def test_a_second_location_needs_a_first_one() -> None:
    simulator = Simulator(password=PASSWORD)
    with serve(simulator) as base_url, Client(settings_for(base_url)) as client:
        with pytest.raises(
            ArgumentError, match=r"would be the first primary location of SQL01, not a second"
        ):
            Writes(client, OFFSITE, DISK)
        Writes(client, PRIMARY, DISK)


def test_an_error_of_the_probe_itself_does_not_keep_it_from_restoring(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    simulator = server()
    before = dict(simulator.inventory.assignments)

    def fails(seconds: float) -> float:
        raise ZeroDivisionError(seconds)

    monkeypatch.setattr(probe_writes, "rounded", fails)
    with serve(simulator) as base_url, Client(settings_for(base_url)) as client:
        writes = Writes(client)
        with pytest.raises(ZeroDivisionError):
            writes.probe.run()
    assert simulator.inventory.assignments == before
    assert writes.restored == Restored()


def test_two_probes_of_a_server_are_not_at_work_at_once(tmp_path: Path) -> None:
    simulator = server(second_session="accept")
    before = dict(simulator.inventory.assignments)
    held = Fault("hold", "DELETE")
    with serve(simulator) as base_url, Client(settings_for(base_url)) as client:
        first, second = Writes(client), Writes(client)
        simulator.faults = [held]
        thread = threading.Thread(target=first.probe.run)
        thread.start()
        wait_for(lambda: bool(held.hits))
        with pytest.raises(ArgumentError, match="Another probe of this server has not ended"):
            second.probe.run()
        assert first.file.exists()
        simulator.faults = []
        thread.join()
    assert simulator.inventory.assignments == before
    assert not list((tmp_path / "vmbackup").iterdir())


def test_a_journal_that_cannot_be_written_stops_it_before_anything_is_changed(
    tmp_path: Path,
) -> None:
    simulator = server()
    (tmp_path / "vmbackup").write_text("a file")
    with (
        serve(simulator) as base_url,
        Client(settings_for(base_url)) as client,
        pytest.raises(
            ArgumentError, match=r"cannot be written: .* Nothing was changed. Set PULUMI_HOME"
        ),
    ):
        Writes(client).probe.run()
    assert not any(call.method == "POST" for call in simulator.calls[1:-1])


class Odd(Simulator):
    """A server that un-assigns, assigns or refuses otherwise than it answers.

    Attributes:
        odd: what is odd about it.
    """

    odd = ""

    def _assign(self, token: str, vm_ref: str, location_id: str) -> Mapping[str, Any]:
        before = dict(self.inventory.assignments)
        answer = super()._assign(token, vm_ref, location_id)
        if self.odd == "moves the VM after a while":
            for pair in before:
                if pair != (DC01, DISK_E):
                    self._later(0.5, pair)
        if self.odd == "refuses what it does":
            raise RefusedCallError("Timeout", "The operation did not complete in time")
        if self.odd == "assigns much later":
            self.inventory.assignments = before
            self._later(1.6, (vm_ref, location_id))
        return answer

    def _unassign(self, token: str, vm_ref: str, location_id: str) -> Mapping[str, Any]:
        answer = super()._unassign(token, vm_ref, location_id)
        if self.odd == "assigns again what it un-assigns":
            self.odd = ""
            self._later(0.5, (vm_ref, location_id))
        return answer

    def _later(self, seconds: float, pair: tuple[str, str]) -> None:
        """Assign a pair, or un-assign it if it is assigned."""

        def change() -> None:
            with self._lock:
                assignments = dict(self.inventory.assignments)
                if assignments.pop(pair, 0) == 0:
                    assignments[pair] = None
                self.inventory.assignments = assignments

        threading.Timer(seconds, change).start()


def odd(what: str, **behavior: Any) -> Odd:
    inventory = Inventory.sample()
    inventory.assignments[SQL01, DISK_E] = None
    simulator = Odd(inventory, password=PASSWORD, behavior=Behavior(**behavior))
    simulator.odd = what
    return simulator


def probed_patiently(simulator: Simulator, second: BackupLocation | None = None) -> Writes:
    with serve(simulator) as base_url:
        settings = settings_for(base_url, settle_seconds=1.0)
        with Client(settings) as client:
            writes = Writes(client, PRIMARY, second)
            try:
                writes.probe.run()
            except VmBackupError as error:
                writes.said.append(str(error))
    return writes


def test_a_server_that_drops_the_first_location_after_a_while_is_seen_and_restored() -> None:
    simulator = odd("moves the VM after a while")
    before = dict(simulator.inventory.assignments)
    writes = probed_patiently(simulator)
    assert writes.restored == Restored()
    assert writes.found.values["secondPrimary"] == "moves the VM"
    time.sleep(0.7)  # nothing is left that changes it
    assert simulator.inventory.assignments == before


@pytest.mark.parametrize("lag_seconds", [0.5, 10])  # within the time that is waited, and after it
def test_a_server_that_does_what_it_refuses_is_restored(lag_seconds: float) -> None:
    simulator = odd("refuses what it does", lag_seconds=lag_seconds)
    before = dict(simulator.inventory.assignments)
    writes = probed_patiently(simulator)
    assert writes.restored == Restored()
    assert simulator.inventory.assignments == before


def test_what_comes_back_after_it_was_restored_is_restored_again() -> None:
    simulator = odd("assigns again what it un-assigns")
    before = dict(simulator.inventory.assignments)
    simulator.inventory.assignments = {**before, (SQL01, NAS01): None}
    journal = Journal("2026", SQL01, "SQL01", {DISK_E: "E:"}, {NAS01: "NAS"})
    with serve(simulator) as base_url, Client(settings_for(base_url)) as client:
        assert restore(client, journal, (), 0.0, 1.0, print) == Restored()
    time.sleep(0.7)  # nothing is left that changes it
    assert simulator.inventory.assignments == before


@pytest.mark.parametrize("method", ["DELETE", "POST"])
def test_a_change_that_is_refused_while_a_second_location_is_tried_ends_the_probe(
    method: str,
) -> None:
    behavior: dict[str, Any] = {"second_primary": "move"} if method == "POST" else {}
    simulator = server(**behavior)
    before = dict(simulator.inventory.assignments)
    # The third POST assigns the first location again, the first DELETE un-assigns the second one.
    skip = 3 if method == "POST" else 0
    refused = Fault("refused", f"{method} /vms/backuplocations", skip=skip, times=1)
    with serve(simulator) as base_url, Client(settings_for(base_url)) as client:
        writes = Writes(client, PRIMARY, DISK)
        simulator.faults = [refused]
        with pytest.raises(VmBackupError, match=r"showed the last change within 1 s, so the probe"):
            writes.probe.run()
    assert refused.hits == 1
    assert writes.restored == Restored()
    assert simulator.inventory.assignments == before


def test_an_assignment_that_is_accepted_and_never_listed_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(probe_writes, "LONGEST_LAG_SECONDS", 0.3)
    writes = probed_patiently(odd("assigns much later", unassigned_delete="accept"))
    assert writes.restored
    assert "accepted the assignment" in str(writes.restored.error)
    assert writes.file.exists()


@pytest.mark.parametrize("dead_token", ["envelope", "other words", "unauthorized", "page"])
@pytest.mark.parametrize("fault", ["error", "error before", "session over", "reset"])
@pytest.mark.parametrize("method", ["POST", "DELETE"])
def test_a_change_whose_answer_looks_like_that_to_a_dead_token(
    method: str, fault: str, dead_token: str
) -> None:
    simulator = server(
        invalid_token=dead_token, second_post="refuse", second_primary="move", lag_seconds=0.4
    )
    before = dict(simulator.inventory.assignments)
    with serve(simulator) as base_url:
        settings = settings_for(base_url, settle_seconds=0.6)
        with Client(settings) as client:
            writes = Writes(client)
            told = {"envelope": "refused", "page": "page"}.get(dead_token, "empty")
            status = {"page": 500, "unauthorized": 401}.get(dead_token, 200)
            if dead_token != "other words":
                writes.found.add("unknownToken", Answer(told, status))  # type: ignore[arg-type]
            simulator.faults = [Fault.parse(f"{fault} {method} /vms/backuplocations")]
            try:
                writes.probe.run()
            except VmBackupError as error:
                writes.said.append(str(error))
            simulator.faults = []
    assert simulator.inventory.assignments == before
    assert writes.restored == Restored()
    posts = [call for call in simulator.calls if call.method == method and NAS01 in call.path]
    assert len(posts) < 9
    if (method, fault, dead_token) == ("POST", "error", "page"):  # the server may have done it
        assert len(posts) == 1


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"server": 1}', "\xff", json.dumps({"vm_ref": 1, "assigned": []})],
)
def test_a_file_that_is_no_journal_is_one_sentence(content: str, tmp_path: Path) -> None:
    file = tmp_path / "probe.json"
    file.write_text(content, "latin-1")
    with pytest.raises(ArgumentError, match=r"does not hold the locations of a VM: look at"):
        Journal.load(file)


def test_a_journal_is_read_as_it_was_written(tmp_path: Path) -> None:
    journal = Journal("2026", SQL01, "SQL01", {NAS01: "a"}, {OFFSITE01: "b"})
    journal.create(tmp_path / "probe.json")
    assert Journal.load(tmp_path / "probe.json") == journal


def test_a_vm_that_cannot_be_restored_is_told() -> None:
    simulator = server()
    journal = Journal("2026", SQL01, "SQL01", {NOWHERE: "GONE"}, {NAS01: "NAS"})
    with serve(simulator) as base_url, Client(settings_for(base_url)) as client:
        restored = restore(client, journal, (), 0.0, 0.1, lambda _: None)
    assert restored.missing == ["GONE"]
    assert "not found" in str(restored.error)
    assert replace(restored, error=None) == Restored(missing=["GONE"])
