"""lifecycle.py: what is certain after a write or a read, whatever the server answers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple, replace
from itertools import product
from typing import Any

import pytest
import requests
import responses
from lifecycles import make_lifecycle
from sample import DC01, DISK_E, FILE01, NAS01, NOWHERE, OFFSITE01, ROTATING, SQL01, SQL02, TEST01

from pulumi_vmbackup import (
    BusyError,
    LoginError,
    LostAnswerError,
    RefusedError,
    UnreachableError,
    VmBackupError,
)
from pulumi_vmbackup.client import Client
from pulumi_vmbackup.declared import DeclaredPairs, PairsOfServer, Run
from pulumi_vmbackup.errors import Hint
from pulumi_vmbackup.lifecycle import AssignmentLifecycle
from pulumi_vmbackup.models import Assignment
from pulumi_vmbackup.program import worded
from pulumi_vmbackup.settings import Settings
from pulumi_vmbackup.simulator import Behavior, Fault, Simulator
from pulumi_vmbackup.simulator.behavior import behavior_choices

BASE = "http://localhost:36013/api/rest"
TOKEN = "e65aedeb-a0e7-440c-8309-1cc0bcd920db"
PAIR_URL = f"{BASE}/vms/backuplocations/{TOKEN}/{SQL01}/{NAS01}"
VM_URL = f"{BASE}/vms/backuplocations/{TOKEN}/{SQL01}/1/1"
VMS_URL = f"{BASE}/vms/list/{TOKEN}"
PRIMARY_URL = f"{BASE}/backuplocations/{TOKEN}/1/0"
OFFSITE_URL = f"{BASE}/backuplocations/{TOKEN}/0/1"
REFUSED = {"Success": False, "ErrorMessage": "Not now"}
PAIR = Assignment(SQL01, NAS01)
KNOWN = Assignment(SQL01, NAS01, "SQL01", r"\\NAS01\VMBackups", "primary")


def locations(*ids: str) -> dict[str, Any]:
    items = [{"BackupLocationId": each, "LocationPath": f"path of {each[:8]}"} for each in ids]
    return {"Success": True, "BackupLocations": items}


def vms(ref: str = SQL01, *, configured: bool = True) -> dict[str, Any]:
    vm = {
        "AltaroVirtualMachineRef": ref,
        "VirtualMachineName": "SQL01",
        "Configured": configured,
    }
    return {"Success": True, "VirtualMachines": [vm]}


@pytest.fixture
def api() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock() as mock:
        yield mock


@pytest.fixture
def lifecycle() -> Iterator[AssignmentLifecycle]:
    """One in a session that somebody else started, against the answers of `api`."""
    with Client(Settings(base_url=BASE, session_token=TOKEN)) as client:
        yield make_lifecycle(client, settle_seconds=30)


@pytest.fixture
def on_simulator(client: Client) -> AssignmentLifecycle:
    return make_lifecycle(client, settle_seconds=0)


def knows_no_names(api: responses.RequestsMock) -> None:
    for url in (VMS_URL, PRIMARY_URL):
        api.get(url, json=REFUSED)


def knows_locations(api: responses.RequestsMock, *ids: str) -> None:
    api.get(PRIMARY_URL, json=locations(*ids))
    api.get(OFFSITE_URL, json=locations(OFFSITE01))


def methods(api: responses.RequestsMock) -> str:
    """The calls so far: POST and DELETE of the pair, GET for each listing."""
    return " ".join(str(call.request.method) for call in api.calls)


# Assign


def test_assigning_is_one_post_and_at_most_three_gets_a_process(
    simulator: Simulator, on_simulator: AssignmentLifecycle
) -> None:
    made = on_simulator.assign(PAIR)
    assert made == KNOWN
    assert on_simulator.assign(Assignment(FILE01, OFFSITE01)) == Assignment(
        FILE01, OFFSITE01, "FILE01", r"\\OFFSITE01\VMBackups", "offsite"
    )
    assert [call.method for call in simulator.calls] == [
        "POST",  # of the session
        "POST",
        "GET",
        "GET",
        "GET",
        "POST",
    ]
    assert simulator.inventory.locations_of(SQL01) == [NAS01]


@pytest.mark.parametrize(
    ("vms_list", "primary", "offsite", "made"),
    [
        (REFUSED, REFUSED, None, PAIR),
        (vms(), REFUSED, None, replace(PAIR, vm_name="SQL01")),
        (
            REFUSED,
            locations(NAS01),
            locations(),
            replace(PAIR, location_path=f"path of {NAS01[:8]}", kind="primary"),
        ),
        (
            vms(),
            locations(NAS01),
            locations(NAS01),
            replace(PAIR, vm_name="SQL01", location_path=f"path of {NAS01[:8]}"),
        ),
        ("<html>", None, None, PAIR),
    ],
    ids=["none", "VMs only", "locations only", "of both kinds", "no answer"],
)
def test_names_that_cannot_be_learnt_fail_nothing(
    vms_list: Any,
    primary: Any,
    offsite: Any,
    made: Assignment,
    api: responses.RequestsMock,
    lifecycle: AssignmentLifecycle,
) -> None:
    api.post(PAIR_URL, json={"Success": True})
    for url, answer in ((VMS_URL, vms_list), (PRIMARY_URL, primary), (OFFSITE_URL, offsite)):
        if answer == "<html>":
            api.get(url, body=answer)
        elif answer:
            api.get(url, json=answer)
    assert lifecycle.assign(PAIR) == made
    asked = len(api.calls)
    assert lifecycle.assign(PAIR) == made
    assert len(api.calls) == asked + 1  # the names are not asked for again


@pytest.mark.parametrize(
    "answer",
    [
        {"json": REFUSED},
        {"body": "<html>busy</html>", "status": 502},
        {"body": requests.ConnectionError("reset")},
        {"body": requests.ReadTimeout()},
    ],
    ids=["refused", "foreign", "reset", "timeout"],
)
def test_an_assignment_that_stands_after_a_failed_post_is_adopted(
    answer: dict[str, Any], api: responses.RequestsMock, lifecycle: AssignmentLifecycle
) -> None:
    api.post(PAIR_URL, **answer)
    api.get(VM_URL, json=locations(OFFSITE01, NAS01.upper()))
    knows_no_names(api)
    assert lifecycle.assign(PAIR) == PAIR
    assert methods(api).startswith("POST GET")
    assert methods(api).count("POST") == 1


def test_a_lost_post_that_did_nothing_is_sent_again(
    api: responses.RequestsMock, lifecycle: AssignmentLifecycle
) -> None:
    api.post(PAIR_URL, status=500)
    api.get(VM_URL, json=locations())
    api.post(PAIR_URL, json={"Success": True})
    knows_no_names(api)
    assert lifecycle.assign(PAIR) == PAIR
    assert methods(api).startswith("POST GET POST")


def test_a_refusal_by_an_error_inside_the_server_may_pass(
    api: responses.RequestsMock, lifecycle: AssignmentLifecycle
) -> None:
    api.post(PAIR_URL, json=REFUSED, status=500)
    api.get(VM_URL, json=locations())
    api.post(PAIR_URL, json={"Success": True})
    knows_no_names(api)
    assert lifecycle.assign(PAIR) == PAIR
    assert methods(api).startswith("POST GET POST")


def test_a_lost_session_start_is_no_lost_post(
    simulator: Simulator, on_simulator: AssignmentLifecycle
) -> None:
    simulator.faults = [Fault("reset", "POST /sessions/start", acted=False)]
    on_simulator.assign(KNOWN)
    assert [call.method for call in simulator.calls] == ["POST", "POST", "POST"]


def test_nothing_is_sent_again_when_nobody_wants_it_any_more(
    api: responses.RequestsMock,
) -> None:
    api.post(PAIR_URL, status=500)
    api.get(VM_URL, json=locations())
    with Client(Settings(base_url=BASE, session_token=TOKEN)) as client:
        lifecycle = make_lifecycle(client, settle_seconds=0, is_over=lambda: True)
        with pytest.raises(LostAnswerError):
            lifecycle.assign(PAIR)
    assert methods(api) == "POST GET"


def test_a_post_that_is_lost_again_and_again_is_an_error(
    api: responses.RequestsMock, lifecycle: AssignmentLifecycle
) -> None:
    api.post(PAIR_URL, status=500)
    api.get(VM_URL, json=locations())
    with pytest.raises(LostAnswerError) as raised:
        lifecycle.assign(PAIR)
    assert str(raised.value).startswith(
        f"Could not assign VM {SQL01} to backup location {NAS01}: {BASE} gave an answer that is "
        "not the VM Backup API's (HTTP 500, 0 bytes)"
    )
    assert methods(api) == "POST GET POST GET POST GET"


@pytest.mark.parametrize(
    "listing", [{"json": REFUSED}, {"status": 500}, {"json": {"Success": True}}], ids=str
)
def test_a_failed_post_whose_outcome_cannot_be_seen_is_an_error(
    listing: dict[str, Any], api: responses.RequestsMock, lifecycle: AssignmentLifecycle
) -> None:
    api.post(PAIR_URL, json={"Success": False, "ErrorMessage": "Cannot be assigned"})
    api.get(VM_URL, **listing)
    if listing == {"json": REFUSED}:
        api.get(VMS_URL, json=vms())
    with pytest.raises(RefusedError, match='the server says "Cannot be assigned"'):
        lifecycle.assign(PAIR)
    assert methods(api).count("POST") == 1


def test_a_refused_offsite_location_is_not_advised_to_be_replaced(
    api: responses.RequestsMock, lifecycle: AssignmentLifecycle
) -> None:
    api.post(PAIR_URL, json=REFUSED)
    api.get(VM_URL, json=locations(OFFSITE01))
    api.get(VMS_URL, json=vms())
    api.get(PRIMARY_URL, json=locations())
    api.get(OFFSITE_URL, json=locations(NAS01))
    with pytest.raises(RefusedError) as raised:
        lifecycle.assign(PAIR)
    assert str(raised.value).endswith(
        f'the server says "Not now". The VM has path of {OFFSITE01[:8]} at present.'
    )


def test_a_server_that_cannot_be_reached_is_asked_three_times_and_nothing_is_looked_up(
    api: responses.RequestsMock, lifecycle: AssignmentLifecycle
) -> None:
    api.post(PAIR_URL, body=requests.ConnectTimeout())
    with pytest.raises(UnreachableError, match="start the Windows services of VM B"):
        lifecycle.assign(PAIR)
    assert methods(api) == "POST POST POST"


@pytest.mark.parametrize(
    ("vm_ref", "location", "says"),
    [
        (
            NOWHERE,
            NAS01,
            '"InvalidParameter / The virtual machine was not found". VM Backup manages no VM with '
            "this ref: check the ref, or add the VM to VM Backup.",
        ),
        (
            TEST01,
            NAS01,
            '"InvalidParameter / The virtual machine is not configured". The VM has no backup '
            "location at present. Check that the VM is configured in VM Backup.",
        ),
        (
            SQL01,
            NOWHERE,
            '"InvalidParameter / The backup location was not found". The VM has no backup location '
            "at present. This server has no such backup location; it has "
            rf"\\NAS01\VMBackups ({NAS01}), E:\VMBackups ({DISK_E}), "
            rf"\\OFFSITE01\VMBackups ({OFFSITE01}), Rotating disks ({ROTATING}).",
        ),
        (
            DC01,
            NAS01,
            '"PrimaryLocationExists / The virtual machine has a location". The VM has '
            r"E:\VMBackups at present. If the server allows one primary location only, un-assign "
            "the old one first with ResourceOptions(delete_before_replace=True), and aliases= if "
            "the resource was renamed.",
        ),
    ],
    ids=["unknown VM", "VM that is not configured", "unknown location", "second primary"],
)
def test_a_refused_assignment_is_a_sentence_with_both_ids_the_servers_words_and_advice(
    vm_ref: str, location: str, says: str, simulator: Simulator, on_simulator: AssignmentLifecycle
) -> None:
    simulator.behavior = Behavior(second_primary="refuse")
    before = dict(simulator.inventory.assignments)
    with pytest.raises(RefusedError) as raised:
        on_simulator.assign(Assignment(vm_ref, location))
    assert worded(raised.value) == (
        f"Could not assign VM {vm_ref} to backup location {location}: the server says {says}"
    )
    assert simulator.inventory.assignments == before


def test_a_refused_login_is_said_for_the_pair(settings: Settings) -> None:
    with Client(replace(settings, password="wrong")) as client:
        lifecycle = make_lifecycle(client, settle_seconds=0)
        with pytest.raises(LoginError, match=f"Could not assign VM {SQL01} to .* refused the log"):
            lifecycle.assign(PAIR)


# Find


def test_a_vm_is_listed_once_however_many_assignments_and_threads_there_are(
    simulator: Simulator, on_simulator: AssignmentLifecycle
) -> None:
    simulator.inventory.assignments.update({(SQL01, NAS01): None, (SQL01, OFFSITE01): None})
    wanted = [replace(KNOWN, backup_location_id=each) for each in (NAS01, OFFSITE01, ROTATING)]
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(on_simulator.find, wanted * 4))
    assert [each and each.backup_location_id for each in found] == [NAS01, OFFSITE01, None] * 4
    assert [call.method for call in simulator.calls] == ["POST", "GET"]


def test_what_is_found_has_the_locations_present_path(
    api: responses.RequestsMock, lifecycle: AssignmentLifecycle
) -> None:
    api.get(VM_URL, json=locations(NAS01))
    assert lifecycle.find(KNOWN) == replace(KNOWN, location_path=f"path of {NAS01[:8]}")


def test_missing_names_are_learnt_when_an_assignment_is_found(
    simulator: Simulator, on_simulator: AssignmentLifecycle
) -> None:
    simulator.inventory.assignments[SQL01, NAS01] = None
    assert on_simulator.find(PAIR) == KNOWN
    assert len(simulator.calls) == 1 + 1 + 3


@pytest.mark.parametrize("unknown_vm", ["refuse", "empty"])
@pytest.mark.parametrize("vm_ref", [SQL01, NOWHERE], ids=["removed assignment", "removed VM"])
def test_what_a_definite_listing_lacks_is_gone(
    vm_ref: str, unknown_vm: Any, simulator: Simulator, on_simulator: AssignmentLifecycle
) -> None:
    simulator.behavior = Behavior(unknown_vm=unknown_vm)
    assert on_simulator.find(replace(KNOWN, vm_ref=vm_ref)) is None


@pytest.mark.parametrize(
    ("vms_list", "gone"),
    [
        (vms(SQL02), True),
        (vms(configured=False), True),
        (vms(), False),
        (REFUSED, False),
        ({"Success": True, "VirtualMachines": None}, False),
        ({"Success": True, "VirtualMachines": []}, False),
    ],
    ids=["no such VM", "not configured", "VM is there", "refused", "no list", "no VM at all"],
)
def test_a_refused_listing_means_gone_only_when_the_vm_is(
    vms_list: dict[str, Any],
    gone: bool,
    api: responses.RequestsMock,
    lifecycle: AssignmentLifecycle,
) -> None:
    api.get(VM_URL, json=REFUSED)
    api.get(VMS_URL, json=vms_list)
    if gone and vms_list["VirtualMachines"][0]["AltaroVirtualMachineRef"] != SQL01:
        knows_locations(api, NAS01)
    if gone:
        assert lifecycle.find(KNOWN) is None
    else:
        with pytest.raises(VmBackupError, match=f"Could not read whether VM {SQL01} is assigned"):
            lifecycle.find(KNOWN)


@pytest.mark.parametrize(
    "answer",
    [
        {"status": 500},
        {"body": "<html>Sign in</html>"},
        {"body": requests.ReadTimeout()},
        {"body": requests.ConnectionError("reset")},
        {"json": {"Success": True}},
        {"json": {"Success": True, "BackupLocations": [{}]}},
    ],
    ids=["HTTP 500", "HTML", "timeout", "reset", "no list", "no id"],
)
def test_without_a_definite_listing_nothing_is_gone(
    answer: dict[str, Any], api: responses.RequestsMock, lifecycle: AssignmentLifecycle
) -> None:
    api.get(VM_URL, **answer)
    with pytest.raises(LostAnswerError, match=f"Could not read whether VM {SQL01} is assigned to"):
        lifecycle.find(KNOWN)


def test_a_server_that_takes_no_session_makes_nothing_gone(api: responses.RequestsMock) -> None:
    busy = {"Success": False, "ErrorAdditionalDetails": "AnotherConsoleIsRegistered"}
    api.post(f"{BASE}/sessions/start", json=busy)
    settings = Settings(base_url=BASE, username="u", password="p4ss", session_wait_seconds=0)
    with (
        Client(settings) as client,
        pytest.raises(BusyError, match="Management Console that is logged in"),
    ):
        make_lifecycle(client, settle_seconds=0).find(KNOWN)


@pytest.mark.parametrize(
    ("age_seconds", "gone"),
    [(0, False), (29, False), (31, True), (-1, False), (-31, True), (None, True)],
)
def test_a_fresh_assignment_may_be_missing_from_listings_for_a_while(
    age_seconds: float | None,
    gone: bool,
    api: responses.RequestsMock,
    lifecycle: AssignmentLifecycle,
) -> None:
    api.get(VM_URL, json=locations(OFFSITE01))
    assert lifecycle.find(KNOWN, age_seconds=age_seconds) == (None if gone else KNOWN)


def test_a_fresh_assignment_of_a_removed_vm_is_gone(
    api: responses.RequestsMock, lifecycle: AssignmentLifecycle
) -> None:
    api.get(VM_URL, json=REFUSED)
    api.get(VMS_URL, json=vms(SQL02))
    knows_locations(api, NAS01)
    assert lifecycle.find(KNOWN, age_seconds=1) is None


def test_after_a_write_the_vm_is_listed_anew(on_simulator: AssignmentLifecycle) -> None:
    assert on_simulator.find(KNOWN) is None
    on_simulator.assign(PAIR)
    assert on_simulator.find(KNOWN) == KNOWN
    on_simulator.unassign(SQL01, NAS01)
    assert on_simulator.find(KNOWN) is None


# Un-assign


def test_unassigning_is_one_delete(simulator: Simulator, on_simulator: AssignmentLifecycle) -> None:
    on_simulator.unassign(DC01, DISK_E)
    assert [call.method for call in simulator.calls] == ["POST", "DELETE"]
    assert not simulator.inventory.locations_of(DC01)


@pytest.mark.parametrize(
    "answer", [{"json": REFUSED}, {"status": 500}, {"body": requests.ReadTimeout()}], ids=str
)
@pytest.mark.parametrize("vm_is_gone", [False, True], ids=["VM is there", "VM is gone"])
def test_what_is_not_assigned_after_a_failed_delete_is_unassigned(
    vm_is_gone: bool,
    answer: dict[str, Any],
    api: responses.RequestsMock,
    lifecycle: AssignmentLifecycle,
) -> None:
    api.delete(PAIR_URL, **answer)
    if vm_is_gone:
        api.get(VM_URL, json=REFUSED)
        api.get(VMS_URL, json=vms(SQL02))
        knows_locations(api, NAS01)
    else:
        api.get(VM_URL, json=locations(OFFSITE01))
    lifecycle.unassign(SQL01, NAS01)
    assert methods(api).count("DELETE") == 1


def test_a_refused_delete_of_what_stands_is_an_error_in_the_servers_words(
    api: responses.RequestsMock, lifecycle: AssignmentLifecycle
) -> None:
    api.delete(PAIR_URL, json=REFUSED)
    api.get(VM_URL, json=locations(NAS01))
    with pytest.raises(RefusedError) as raised:
        lifecycle.unassign(SQL01, NAS01)
    assert str(raised.value) == (
        f'Could not un-assign VM {SQL01} from backup location {NAS01}: the server says "Not now".'
    )


def test_a_lost_delete_that_did_nothing_is_sent_again(
    api: responses.RequestsMock, lifecycle: AssignmentLifecycle
) -> None:
    api.delete(PAIR_URL, status=500)
    api.get(VM_URL, json=locations(NAS01))
    api.delete(PAIR_URL, json={"Success": True})
    lifecycle.unassign(SQL01, NAS01)
    assert methods(api) == "DELETE GET DELETE"


def test_a_failed_delete_whose_outcome_cannot_be_seen_is_an_error(
    api: responses.RequestsMock, lifecycle: AssignmentLifecycle
) -> None:
    api.delete(PAIR_URL, status=500)
    api.get(VM_URL, status=500)
    with pytest.raises(LostAnswerError, match=f"Could not un-assign VM {SQL01} from"):
        lifecycle.unassign(SQL01, NAS01)
    assert methods(api).count("DELETE") == 1


# Listings that lag behind writes


@pytest.fixture
def settling() -> Iterator[AssignmentLifecycle]:
    with Client(Settings(base_url=BASE, session_token=TOKEN)) as client:
        yield make_lifecycle(client, settle_seconds=20)


def test_a_lost_post_that_is_refused_the_second_time_waits_for_the_listing(
    api: responses.RequestsMock, settling: AssignmentLifecycle
) -> None:
    api.post(PAIR_URL, status=500)
    api.post(PAIR_URL, json={"Success": False, "ErrorMessage": "Assigned already"})
    for _ in range(3):
        api.get(VM_URL, json=locations())
    api.get(VM_URL, json=locations(NAS01))
    knows_no_names(api)
    assert settling.assign(PAIR) == PAIR
    assert methods(api).startswith("POST GET POST GET GET GET")


def test_a_lost_delete_that_is_refused_the_second_time_waits_for_the_listing(
    api: responses.RequestsMock, settling: AssignmentLifecycle
) -> None:
    api.delete(PAIR_URL, status=500)
    api.delete(PAIR_URL, json={"Success": False, "ErrorMessage": "Not assigned"})
    for _ in range(3):
        api.get(VM_URL, json=locations(NAS01))
    api.get(VM_URL, json=locations())
    api.get(VMS_URL, json=vms())  # the VM is known, so the empty list is its own
    settling.unassign(SQL01, NAS01)
    assert methods(api) == "DELETE GET DELETE GET GET GET GET"


def test_a_lost_post_of_what_was_just_taken_back_is_not_taken_for_done_while_listings_may_lag(
    simulator: Simulator, client: Client
) -> None:
    lifecycle = make_lifecycle(client, settle_seconds=1)
    lifecycle.assign(PAIR)
    simulator.behavior = Behavior(lag_seconds=0.8)
    lifecycle.unassign(SQL01, NAS01)
    simulator.faults = [Fault("reset", "POST /vms/backuplocations", acted=False)]
    lifecycle.assign(PAIR)
    assert simulator.inventory.locations_of(SQL01) == [NAS01]


def test_a_create_that_is_refused_after_lost_answers_makes_fewer_than_twenty_calls(
    simulator: Simulator, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    # All a thirtieth of what they are, so that the session ends between the looks at the listing.
    monkeypatch.setattr("pulumi_vmbackup.session.IDLE_SECONDS", 2 / 30)
    monkeypatch.setattr("pulumi_vmbackup.lifecycle.LISTING_POLL_SECONDS", 2 / 30)
    simulator.faults = [Fault("reset", "POST /vms/backuplocations", acted=False, times=2)]
    with pytest.raises(RefusedError):
        make_lifecycle(client, settle_seconds=1).assign(Assignment(SQL01, NOWHERE))
    assert len(simulator.calls) < 20


def test_a_refused_delete_of_a_fresh_pair_is_not_taken_for_done_while_listings_may_lag(
    api: responses.RequestsMock, settling: AssignmentLifecycle
) -> None:
    api.delete(PAIR_URL, json={"Success": False, "ErrorMessage": "Backup in progress"})
    for _ in range(2):
        api.get(VM_URL, json=locations())
    api.get(VM_URL, json=locations(NAS01))
    with pytest.raises(RefusedError, match="Backup in progress"):
        settling.unassign(SQL01, NAS01, age_seconds=0)


def test_a_refused_delete_of_a_fresh_pair_is_done_when_listings_lack_it_for_long(
    api: responses.RequestsMock, settling: AssignmentLifecycle
) -> None:
    api.delete(PAIR_URL, json={"Success": False, "ErrorMessage": "Not assigned"})
    api.get(VM_URL, json=locations())
    api.get(VMS_URL, json=vms())
    settling.unassign(SQL01, NAS01, age_seconds=19.5)
    assert methods(api).count("GET") > 2
    assert methods(api).count("DELETE") == 1


def test_a_session_that_ends_while_it_is_waited_for_is_no_reason_to_send_a_delete_again(
    simulator: Simulator, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pulumi_vmbackup.session.IDLE_SECONDS", 0.01)
    monkeypatch.setattr("pulumi_vmbackup.lifecycle.LISTING_POLL_SECONDS", 0.2)
    lifecycle = make_lifecycle(client, settle_seconds=30)
    lifecycle.unassign(SQL01, NAS01, age_seconds=29.4)  # somebody has removed it meanwhile
    assert [call.method for call in simulator.calls].count("DELETE") == 1
    assert len(simulator.tokens) > 1


@pytest.mark.parametrize("vm_is_known", [True, False])
def test_swapped_ids_are_said_to_be_swapped(
    vm_is_known: bool, on_simulator: AssignmentLifecycle
) -> None:
    swapped = Assignment(OFFSITE01, SQL01 if vm_is_known else NOWHERE)
    with pytest.raises(VmBackupError, match=f"{OFFSITE01} is a backup location, and not a VM: are"):
        on_simulator.assign(swapped)


def test_a_pair_that_a_write_of_the_same_run_unassigned_may_still_be_listed(
    simulator: Simulator, client: Client
) -> None:
    simulator.behavior = Behavior(second_primary="move", lag_seconds=0.1)
    lifecycle = make_lifecycle(client, settle_seconds=2)
    lifecycle.assign(Assignment(DC01, NAS01))  # with which the server moves the VM
    lifecycle.unassign(DC01, DISK_E)
    lifecycle.unassign(DC01, NAS01)
    lifecycle.unassign(DC01, NAS01)  # of another resource of the same pair
    assert not simulator.inventory.locations_of(DC01)


def test_a_refusal_at_once_is_not_waited_for(api: responses.RequestsMock) -> None:
    api.post(PAIR_URL, json=REFUSED)
    api.get(VM_URL, json=locations())
    knows_no_names(api)
    with Client(Settings(base_url=BASE, session_token=TOKEN)) as client:
        lifecycle = make_lifecycle(client, settle_seconds=3600)
        with pytest.raises(RefusedError):
            lifecycle.assign(PAIR)
    assert methods(api) == "POST GET GET GET"  # the last two for the advice


# Where nobody knows what the real server answers


ODD_CALLS = ("second_post", "unassigned_delete", "unknown_vm", "second_primary", "second_session")
CHOICES: Any = [behavior_choices()[each] for each in ODD_CALLS]
BEHAVIORS = [Behavior(*chosen) for chosen in product(*CHOICES)]


@pytest.mark.parametrize(
    "behavior", BEHAVIORS, ids=lambda behavior: "-".join(astuple(behavior)[: len(ODD_CALLS)])
)
def test_the_outcome_is_the_same_however_odd_calls_are_answered(
    behavior: Behavior, simulator: Simulator, client: Client
) -> None:
    simulator.behavior = behavior
    removed = Assignment(NOWHERE, NAS01, "gone", "x", "primary")

    def in_a_new_process() -> AssignmentLifecycle:
        return make_lifecycle(client, settle_seconds=0)

    for _ in range(2):
        assert in_a_new_process().assign(PAIR) == KNOWN
        assert simulator.inventory.locations_of(SQL01) == [NAS01]
    assert in_a_new_process().find(KNOWN) == KNOWN
    for _ in range(2):
        in_a_new_process().unassign(SQL01, NAS01)
        assert simulator.inventory.locations_of(SQL01) == []
    assert in_a_new_process().find(KNOWN) is None
    assert in_a_new_process().find(removed) is None
    in_a_new_process().unassign(NOWHERE, NAS01)

    replacing = in_a_new_process()
    if behavior.second_primary == "refuse":
        with pytest.raises(RefusedError) as refused:
            replacing.assign(Assignment(DC01, NAS01))
        assert Hint.DELETE_FIRST in refused.value.advice
        assert simulator.inventory.locations_of(DC01) == [DISK_E]
    else:
        replacing.assign(Assignment(DC01, NAS01))
        replacing.unassign(DC01, DISK_E)
        assert simulator.inventory.locations_of(DC01) == [NAS01]


def test_a_server_that_cannot_be_reached_makes_nothing_gone(
    api: responses.RequestsMock, lifecycle: AssignmentLifecycle
) -> None:
    api.get(VM_URL, body=requests.ConnectTimeout())
    with pytest.raises(UnreachableError, match=f"Could not read whether VM {SQL01} is assigned to"):
        lifecycle.find(KNOWN)


def test_a_create_waits_for_the_delete_of_its_pair_that_is_under_way(
    simulator: Simulator, settings: Settings
) -> None:
    simulator.inventory.assignments[SQL01, NAS01] = None
    lost = Fault("stall", "DELETE", acted=False)
    simulator.faults = [lost]
    with (
        Client(replace(settings, timeout_seconds=0.5)) as client,
        ThreadPoolExecutor(1) as threads,
    ):
        lifecycle = make_lifecycle(client, settle_seconds=0)
        deleted = threads.submit(lifecycle.unassign, SQL01, NAS01)
        while not lost.hits:
            time.sleep(0.005)
        lifecycle.assign(PAIR)
        deleted.result()
    assert simulator.inventory.locations_of(SQL01) == [NAS01]


def declared_during_the_delete(
    simulator: Simulator, client: Client, delete: Fault
) -> tuple[PairsOfServer, BaseException | None]:
    """What an un-assignment ends with whose pair the program declares while its call waits."""
    declared = DeclaredPairs(Run(())).on("a:1")
    lifecycle = make_lifecycle(client, settle_seconds=0, declared=declared)
    simulator.inventory.assignments[SQL01, NAS01] = None
    simulator.faults.append(delete)
    with ThreadPoolExecutor(1) as pool:
        unassigned = pool.submit(lifecycle.unassign, SQL01, NAS01)
        while not delete.hits:
            time.sleep(0.005)
        declared.add([(SQL01, NAS01)])
        simulator.faults.remove(delete)
        return declared, unassigned.exception()


def test_a_pair_that_cannot_be_assigned_again_after_it_was_unassigned_is_an_error_with_a_remedy(
    client: Client, simulator: Simulator
) -> None:
    simulator.faults.append(Fault("error", "POST /vms", times=None, acted=False))
    _, error = declared_during_the_delete(simulator, client, Fault("hold", "DELETE"))
    assert isinstance(error, VmBackupError)
    says = worded(error)
    assert says.startswith(
        f"Could not un-assign VM {SQL01} from backup location {NAS01}: this run has un-assigned "
        "it, the program declares it, and it could not be assigned again: "
    )
    assert says.endswith("Run `pulumi refresh` and then `pulumi up`.")


def test_a_delete_is_not_sent_again_once_the_program_declares_the_pair(
    client: Client, simulator: Simulator
) -> None:
    lost = Fault("stall", "DELETE", acted=False)
    declared, error = declared_during_the_delete(simulator, client, lost)
    assert error is None
    assert [call.method for call in simulator.calls].count("DELETE") == 1
    assert (SQL01, NAS01) in simulator.inventory.assignments
    assert declared.unassigned() == set()
