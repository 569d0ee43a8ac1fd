"""spelling.py: the same facts in another spelling, over real HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from sample import DC01, DISK_E, NAS01, NOWHERE, PASSWORD, SQL01, TEST01, with_replica
from simulator.caller import LOGIN, Caller

from pulumi_vmbackup.simulator import TOKEN_PREFIX, Behavior, Inventory, Simulator, serve
from pulumi_vmbackup.simulator.spelling import plain_guid

GUIDS = {"AltaroVirtualMachineRef", "HypervisorVirtualMachineUuid", "AltaroHypervisorRef"}
OTHER = Behavior(spelling="other")


@pytest.fixture
def simulator() -> Simulator:
    return Simulator(with_replica(), password=PASSWORD, behavior=OTHER)


@pytest.fixture
def api(base_url: str) -> Iterator[Caller]:
    with Caller(base_url) as api:
        yield api.log_in()


def vms(api: Caller) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = api("GET /vms/list/[token]")["VirtualMachines"]
    return listed


def test_a_token_is_in_upper_case_and_understood_in_any_spelling(
    simulator: Simulator, api: Caller
) -> None:
    (kept,) = simulator.tokens
    assert api.token == kept.upper() != kept
    assert api.token.startswith(TOKEN_PREFIX)  # which holds no letter
    for spelled in (kept, f"{{{kept}}}", kept.replace("-", ""), kept.replace("-", "").upper()):
        api.token = spelled
        assert api("GET /vms/list/[token]")["Success"]
        assert simulator.calls[-1].path == "/api/rest/vms/list/[token]"
        api.send("GET /nothing/[token]")
        assert simulator.calls[-1].path == "/api/rest/nothing/[guid]"
    assert api("POST /sessions/end/[token]")["ClosedSessions"] == [
        {
            "Tags": [],
            "SessionToken": kept.upper(),
            "Extension": {"Id": 7, "Name": None},
        }
    ]
    assert not simulator.sessions


def test_guids_are_in_upper_case_with_braces_or_without_dashes(
    simulator: Simulator, api: Caller
) -> None:
    for vm, listed in zip(simulator.inventory.virtual_machines.values(), vms(api), strict=True):
        for key in GUIDS:
            assert listed[key] == f"{{{vm[key].upper()}}}"
    for location in api("GET /backuplocations/[token]/1/1")["BackupLocations"]:
        guid = location["BackupLocationId"]
        assert len(guid) == 32
        assert guid == guid.upper()
        assert plain_guid(guid) in simulator.inventory.backup_locations


@pytest.mark.parametrize(
    "spell", [str.upper, lambda guid: f"{{{guid}}}", lambda guid: guid.replace("-", "")]
)
def test_guids_are_understood_in_any_spelling(
    spell: Any, simulator: Simulator, api: Caller
) -> None:
    of_vm = f"/vms/backuplocations/[token]/{spell(SQL01)}"
    assert api(f"POST {of_vm}/{spell(NAS01)}")["Success"]
    assert simulator.inventory.locations_of(SQL01) == [NAS01]
    (location,) = api(f"GET {of_vm}/1/1")["BackupLocations"]
    assert plain_guid(location["BackupLocationId"]) == NAS01
    found = api(f"GET /vms/hypervisor-uuid/[token]/{spell(SQL01)}")
    uuid = plain_guid(found["VirtualMachineIdentificationDetails"]["HypervisorVirtualMachineUuid"])
    assert api(f"GET /vms/altaro-ref/[token]/{spell(uuid)}")["Success"]
    assert api(f"DELETE {of_vm}/{spell(NAS01)}")["Success"]
    assert simulator.inventory.locations_of(SQL01) == []


@pytest.mark.parametrize(
    "text",
    ["", "SQL01", SQL01 + "0", SQL01[:-1], f"{{{SQL01}", f"{SQL01}}}", SQL01.replace("-", "", 1)],
)
def test_another_text_is_no_guid(text: str) -> None:
    assert plain_guid(text) is None


def test_times_are_in_iso_8601_with_the_year_1_for_never(api: Caller) -> None:
    by_ref = {plain_guid(vm["AltaroVirtualMachineRef"]): vm for vm in vms(api)}
    assert by_ref[DC01]["NextBackupTime"] == "2026-03-02T22:00:00"
    assert by_ref[DC01]["LastBackupTime"] == "2026-03-01T22:00:00.1234567"
    assert by_ref[DC01]["LastOffsiteCopyTime"] == "0001-01-01T00:00:00"
    assert by_ref[TEST01]["NextBackupTime"] == "0001-01-01T00:00:00"


def test_a_time_that_the_inventory_spells_in_its_own_way_is_sent_as_it_is(
    simulator: Simulator, api: Caller
) -> None:
    simulator.inventory.virtual_machines[DC01]["NextBackupTime"] = "tomorrow"
    assert "tomorrow" in [vm["NextBackupTime"] for vm in vms(api)]


def test_sizes_are_text_and_durations_numbers(api: Caller) -> None:
    for vm in vms(api):
        for key in vm:
            if key.endswith("Duration"):
                assert type(vm[key]) is int
            if key.endswith("ompressed"):
                assert vm[key].isdigit()


def test_fields_are_in_reverse_order_and_some_are_unknown() -> None:
    answers = {}
    for behavior in (Behavior(), OTHER):
        simulator = Simulator(password=PASSWORD, behavior=behavior)
        with serve(simulator) as base_url, Caller(base_url) as api:
            answers[behavior.spelling] = api.log_in()("GET /vms/list/[token]")
    plain, other = answers["plain"], answers["other"]
    assert [key for key in reversed(other) if key in plain] == list(plain)
    assert {"ApiVersion", "Links"} == other.keys() - plain.keys()
    plain_vm, other_vm = plain["VirtualMachines"][0], other["VirtualMachines"][0]
    assert [key for key in reversed(other_vm) if key in plain_vm] == list(plain_vm)
    assert {"Tags", "Extension"} == other_vm.keys() - plain_vm.keys()
    assert plain_vm["VirtualMachineName"] == other_vm["VirtualMachineName"]
    assert plain_vm["Configured"] is other_vm["Configured"] is True


def test_an_empty_list_is_null(api: Caller, simulator: Simulator) -> None:
    assert api(f"GET /vms/backuplocations/[token]/{SQL01}/1/1")["BackupLocations"] is None
    assert api(f"GET /vms/backuplocations/[token]/{DC01}/1/1")["BackupLocations"]
    simulator.inventory = Inventory()
    assert api("GET /vms/list/[token]")["VirtualMachines"] is None
    assert api("GET /backuplocations/[token]/1/1")["BackupLocations"] is None


def test_errors_say_the_same_and_those_that_are_not_are_empty(api: Caller) -> None:
    errors = ("ErrorCode", "ErrorMessage", "ErrorAdditionalDetails")
    answer = api("GET /vms/list/[token]")
    assert answer["Success"] is True
    assert [answer[key] for key in errors] == ["", "", ""]
    busy = api("POST /sessions/start", LOGIN)
    assert busy["Success"] is False
    assert busy["ErrorAdditionalDetails"] == "AnotherConsoleIsRegistered"
    api.token = NOWHERE
    assert api.refusal("GET /vms/list/[token]") == "Invalid Token"


def test_what_the_server_holds_stays_as_it_was(simulator: Simulator, api: Caller) -> None:
    before = simulator.inventory.dump()
    vms(api)
    api("GET /backuplocations/[token]")
    assert simulator.inventory.dump() == before
    assert simulator.inventory.locations_of(DC01) == [DISK_E]
