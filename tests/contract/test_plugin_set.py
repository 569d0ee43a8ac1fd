"""What the engine sees of the plugin's sets of assignments."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from contract.plugin import (
    ASSIGNMENT,
    SET,
    UNKNOWN,
    Engine,
    Plugin,
    Properties,
    a_set,
    entry,
    failure_of,
    many_vms,
    pairs,
    struct,
    urn,
)
from e2e.stack import wait_until
from marks import not_under_wine, only_full
from pulumi.runtime.proto import provider_pb2
from sample import (
    DC01,
    DISK_E,
    EXCH01,
    FILE01,
    NAS01,
    NOWHERE,
    OFFSITE01,
    PASSWORD,
    ROTATING,
    SQL01,
    SQL02,
    TEST01,
)

from pulumi_vmbackup.simulator import Behavior, Fault, Simulator

StartPlugin = Callable[..., Plugin]
Refresh = Callable[[Properties, Properties], tuple[Properties, Properties]]
URN = urn(SET)
TWO = a_set(SQL01=entry(SQL01, NAS=NAS01), SQL02=entry(SQL02, NAS=NAS01, offsite=OFFSITE01))


def create(plugin: Plugin, inputs: Properties) -> Properties:
    """The state of a set that was created."""
    id_, state = plugin.create(URN, inputs)
    assert id_ == "it"
    return state


@pytest.fixture
def refresh(start_plugin: StartPlugin, login: dict[str, object]) -> Refresh:
    """Reads a set in another process: each lists the locations of a VM once."""

    def refresh(state: Properties, inputs: Properties) -> tuple[Properties, Properties]:
        plugin = start_plugin()
        plugin.configure(login)
        id_, inputs, state = plugin.read(URN, "it", state, inputs)
        assert id_ == "it"
        plugin.end()
        return inputs, state

    return refresh


def without_time(state: Properties) -> Properties:
    return {key: value for key, value in state.items() if key != "assignedAt"}


# Check


def test_check_brings_ids_to_one_form_and_lets_unknowns_pass(unconfigured: Plugin) -> None:
    news = a_set(
        SQL01=entry(f"{{{SQL01.upper()}}}", NAS=NAS01.upper(), other=UNKNOWN, another=UNKNOWN),
        SQL02={"vmRef": UNKNOWN, "backupLocationIds": {"NAS": NAS01}},
        FILE01={"vmRef": FILE01, "backupLocationIds": UNKNOWN},
        EXCH01=UNKNOWN,
    )
    checked = {
        **news["assignments"],
        "SQL01": entry(SQL01, NAS=NAS01, other=UNKNOWN, another=UNKNOWN),
    }
    assert unconfigured.check(URN, news) == ({"assignments": checked, "exclusive": False}, {})
    for exclusive, is_so in ((None, False), (True, True), (UNKNOWN, UNKNOWN)):
        news = {"assignments": UNKNOWN, "exclusive": exclusive}
        assert unconfigured.check(URN, news) == ({**news, "exclusive": is_so}, {})


@pytest.mark.parametrize(
    ("news", "path", "says"),
    [
        ({}, "assignments", "assignments is null: give a map of VMs."),
        (
            {"assignments": [SQL01]},
            "assignments",
            f'assignments is ["{SQL01}"]: give a map of VMs.',
        ),
        (
            {"assignments": {}, "exclusive": "yes"},
            "exclusive",
            "exclusive is 'yes': use true or false.",
        ),
        ({"assignments": {}, "exclusive": 1}, "exclusive", "exclusive is 1.0: use true or false."),
        (
            a_set(a=NAS01),
            'assignments["a"]',
            "the VM 'a' is not of the form {vmRef: ..., backupLocationIds: {...}}.",
        ),
        (
            a_set(a={"vmRef": SQL01, "backupLocationIDs": {}}),
            'assignments["a"]',
            "the VM 'a' is not of the form {vmRef: ..., backupLocationIds: {...}}.",
        ),
        (
            a_set(a={"backupLocationIds": {}}),
            'assignments["a"].vmRef',
            "A GUID is missing. Use the ref that getVirtualMachine finds or `vmbackup vms` shows.",
        ),
        (
            a_set(a=entry(SQL01, **{'the "NAS"': "x"})),
            'assignments["a"].backupLocationIds["the \\"NAS\\""]',
            "'x' is not a GUID; expected 32 hexadecimal digits like ba2e9cdc-0d85-48e6-8db7-"
            "a45c5a40819e, with or without braces. Use the id that getBackupLocation finds or "
            "`vmbackup locations` shows.",
        ),
        (
            a_set(a=entry(SQL01), b=entry(SQL02), c=entry(SQL01.upper())),
            'assignments["c"].vmRef',
            f"'a' and 'c' of the set are both {SQL01}: remove one.",
        ),
        (
            a_set(a=entry(SQL01, b=NAS01, c=NAS01)),
            'assignments["a"].backupLocationIds["c"]',
            f"'b' and 'c' of the VM 'a' are both {NAS01}: remove one.",
        ),
    ],
    ids=str,
)
def test_check_names_what_is_wrong_by_its_path(
    news: Properties, path: str, says: str, one_for_all: Plugin
) -> None:
    assert one_for_all.check(URN, news)[1] == {path: says}


def test_two_wrong_refs_are_not_called_the_same_vm(unconfigured: Plugin) -> None:
    failures = unconfigured.check(URN, a_set(a=entry("x"), b=entry("x")))[1]
    assert failures.keys() == {'assignments["a"].vmRef', 'assignments["b"].vmRef'}
    assert all("is not a GUID" in each for each in failures.values())


def test_the_same_pair_of_a_set_and_another_resource_names_both(unconfigured: Plugin) -> None:
    single = urn(ASSIGNMENT, "one")
    pair = {"vmRef": SQL02, "backupLocationId": OFFSITE01}
    assert unconfigured.check(single, pair)[1] == {}
    assert unconfigured.check(URN, TWO)[1] == {
        "": f"The resources {single} and {URN} both assign VM {SQL02} to backup location "
        f"{OFFSITE01}: remove one of them."
    }


def test_of_many_same_pairs_the_first_ten_are_named(
    simulator: Simulator, unconfigured: Plugin
) -> None:
    vms = a_set(**{ref: entry(ref, NAS=NAS01) for ref in many_vms(simulator, 12)})
    assert unconfigured.check(urn(SET, "a"), vms)[1] == {}
    request = provider_pb2.CheckRequest(urn=URN, news=struct(vms))
    failures = [each.reason for each in unconfigured.stub.Check(request).failures]
    assert len(failures) == 11
    assert failures[-1] == "2 more pairs are declared twice."


# Diff


@pytest.mark.parametrize(
    ("news", "paths"),
    [
        (TWO, {}),
        (a_set(sql=entry(SQL01, nas=NAS01), b=entry(SQL02, y=OFFSITE01, x=NAS01)), {}),
        # Labels that change places.
        (
            a_set(SQL02=entry(SQL01, NAS=NAS01), SQL01=entry(SQL02, NAS=OFFSITE01, offsite=NAS01)),
            {},
        ),
        (
            a_set(**TWO["assignments"], DC01=entry(DC01, NAS=NAS01)),
            {'assignments["DC01"]': "add"},
        ),
        (a_set(SQL01=entry(SQL01, NAS=NAS01)), {'assignments["SQL02"]': "delete"}),
        (
            a_set(SQL01=entry(SQL01, NAS=NAS01, E=DISK_E), SQL02=entry(SQL02, NAS=NAS01)),
            {
                'assignments["SQL01"].backupLocationIds["E"]': "add",
                'assignments["SQL02"].backupLocationIds["offsite"]': "delete",
            },
        ),
        # A label that goes on with another id.
        (
            a_set(SQL01=entry(SQL01, NAS=DISK_E), SQL02=TWO["assignments"]["SQL02"]),
            {'assignments["SQL01"].backupLocationIds["NAS"]': "update"},
        ),
        (
            a_set(SQL01=entry(DC01, NAS=NAS01), SQL02=TWO["assignments"]["SQL02"]),
            {'assignments["SQL01"].vmRef': "update"},
        ),
        (
            a_set(SQL01=entry(DC01, E=DISK_E), SQL02=TWO["assignments"]["SQL02"]),
            {
                'assignments["SQL01"].vmRef': "update",
                'assignments["SQL01"].backupLocationIds["E"]': "add",
                'assignments["SQL01"].backupLocationIds["NAS"]': "delete",
            },
        ),
        # A label that one of the others takes over: the VM that it was of is gone all the same.
        (
            a_set(SQL01=entry(SQL02, NAS=NAS01, offsite=OFFSITE01)),
            {'assignments["SQL01"].vmRef': "update"},
        ),
        (
            a_set(SQL01=entry(SQL01, NAS=NAS01), SQL02=entry(SQL02, NAS=OFFSITE01)),
            {'assignments["SQL02"].backupLocationIds["NAS"]': "update"},
        ),
        (
            a_set(sql=entry(SQL01, E=DISK_E), SQL02=TWO["assignments"]["SQL02"]),
            {
                'assignments["sql"].backupLocationIds["E"]': "add",
                'assignments["SQL01"].backupLocationIds["NAS"]': "delete",
            },
        ),
        # What is not known yet.
        ({"assignments": UNKNOWN, "exclusive": False}, {"assignments": "update"}),
        ({**TWO, "exclusive": UNKNOWN}, {"exclusive": "update"}),
        (
            a_set(SQL01=UNKNOWN, SQL02={"vmRef": SQL02, "backupLocationIds": UNKNOWN}, new=UNKNOWN),
            {
                'assignments["SQL01"]': "update",
                'assignments["SQL02"].backupLocationIds': "update",
                'assignments["new"]': "add",
            },
        ),
        (
            a_set(SQL01=entry(UNKNOWN, NAS=NAS01), SQL02=entry(SQL02, NAS=NAS01, offsite=UNKNOWN)),
            {
                'assignments["SQL01"].vmRef': "update",
                'assignments["SQL02"].backupLocationIds["offsite"]': "update",
            },
        ),
        ({**TWO, "exclusive": True}, {"exclusive": "update"}),
    ],
)
def test_only_the_vms_and_locations_that_change_are_a_difference(
    news: Properties, paths: dict[str, str], one_for_all: Plugin
) -> None:
    diff = one_for_all.diff(URN, {**TWO, "assignedAt": "2026-03-01T23:00:00+00:00"}, news)
    assert diff.paths == paths
    assert diff.changes is bool(paths)
    assert diff.replaces == []
    assert diff.diffs == sorted({re.split(r"[\[.]", path)[0] for path in paths})


@pytest.mark.parametrize(
    ("label", "path"),
    [
        (r"\\NAS01\VMBackups", r'["\\NAS01\VMBackups"]'),
        ('the "good" one', r'["the \"good\" one"]'),
        (r"a\"b", r'["a\\"b"]'),
        ("nas01.contoso.com [old]", '["nas01.contoso.com [old]"]'),
        ("Büro 🏢", '["Büro 🏢"]'),
        ("", '[""]'),
        ("E:\\", ".E:\\"),
        ("E:\\a.b\\", ""),
    ],
    ids=str,
)
def test_paths_are_written_as_the_engine_reads_them(
    label: str, path: str, one_for_all: Plugin
) -> None:
    """Its parser knows an escaped quotation mark, and no other escape."""
    olds, news = a_set(a=entry(SQL01)), a_set(a=entry(SQL01, **{label: NAS01}))
    change = "add" if path else "update"
    diff = one_for_all.diff(URN, olds, news)
    assert diff.paths == {f'assignments["a"].backupLocationIds{path}': change}
    diff = one_for_all.diff(URN, a_set(), a_set(**{label: entry(SQL01)}))
    assert diff.paths == {f"assignments{path}": change}
    assert diff.diffs == ["assignments"]


# Previews


def test_previews_send_nothing(simulator: Simulator, plugin: Plugin) -> None:
    expected = {**TWO, "assignedAt": UNKNOWN}
    assert plugin.create(URN, TWO, preview=True) == ("", expected)
    assert plugin.update(URN, a_set(), TWO, preview=True) == expected
    assert not simulator.calls


def test_previews_of_exclusive_sets_warn_of_what_would_be_unassigned(
    simulator: Simulator, pulumi_engine: Engine, plugin: Plugin
) -> None:
    for location in (NAS01, ROTATING):
        simulator.inventory.assignments[SQL01, location] = None
    news = a_set(True, SQL01=entry(SQL01, NAS=NAS01), DC01=entry(DC01, nas=NAS01))
    plugin.create(URN, news, preview=True)
    warning = (
        "The set is exclusive, so `pulumi up` will un-assign DC01 from "
        r"E:\VMBackups; SQL01 from Rotating disks."
    )
    assert pulumi_engine.warnings == [warning]
    plugin.update(URN, {**news, "exclusive": False}, news, preview=True)
    assert pulumi_engine.warnings == [warning, warning]
    assert sorted(pairs(simulator, "GET")) == sorted([SQL01, DC01])
    # What a refresh has found is in the state, and so in the difference.
    plugin.update(URN, news, news, preview=True)
    assert len(pulumi_engine.warnings) == 2


def test_and_not_of_vms_whose_locations_are_not_known_yet(
    simulator: Simulator, pulumi_engine: Engine, plugin: Plugin
) -> None:
    plugin.create(URN, a_set(True, DC01=entry(DC01, nas=UNKNOWN)), preview=True)
    plugin.create(
        URN, a_set(True, DC01={"vmRef": DC01, "backupLocationIds": UNKNOWN}), preview=True
    )
    assert pulumi_engine.warnings == []
    assert not simulator.calls


def test_and_say_when_that_cannot_be_found_out(pulumi_engine: Engine, unconfigured: Plugin) -> None:
    unconfigured.configure({})
    unconfigured.create(URN, a_set(True, DC01=entry(DC01)), preview=True)
    (warning,) = pulumi_engine.warnings
    assert warning.startswith(
        "The set is exclusive, so `pulumi up` will un-assign the other backup locations of its "
        "VMs, and this preview cannot tell which: Could not list the backup locations of VM DC01"
    )


# Create, read, update, delete


def test_a_set_is_created_with_one_call_a_pair_and_read_with_one_a_vm(
    simulator: Simulator, plugin: Plugin
) -> None:
    state = create(plugin, TWO)
    assert without_time(state) == TWO
    assert sorted(pairs(simulator, "POST")) == sorted(
        [f"{SQL01}/{NAS01}", f"{SQL02}/{NAS01}", f"{SQL02}/{OFFSITE01}"]
    )
    assert len(simulator.calls) == 4
    assert plugin.read(URN, "it", state, TWO) == ("it", TWO, state)
    assert sorted(pairs(simulator, "GET")) == sorted([SQL01, SQL02])
    assert len(simulator.calls) == 6


def test_pairs_that_stand_already_are_adopted(simulator: Simulator, plugin: Plugin) -> None:
    simulator.behavior = Behavior(second_post="refuse")
    inputs = a_set(DC01=entry(DC01, E=DISK_E))
    assert without_time(create(plugin, inputs)) == inputs


def test_an_update_assigns_what_is_new_and_then_unassigns_what_is_not_wanted(
    simulator: Simulator, plugin: Plugin
) -> None:
    state = create(plugin, TWO)
    simulator.calls.clear()
    news = a_set(SQL01=entry(SQL01, E=DISK_E), FILE01=entry(FILE01, NAS=NAS01))
    assert without_time(plugin.update(URN, state, news)) == news
    methods = [call.method for call in simulator.calls]
    # The GET is for SQL02, which is no longer in the set: the server has to list it.
    assert methods == ["GET"] + ["POST"] * 2 + ["DELETE"] * 3
    assert sorted(pairs(simulator, "POST")) == sorted([f"{SQL01}/{DISK_E}", f"{FILE01}/{NAS01}"])
    assert {*simulator.inventory.assignments} == {
        (SQL01, DISK_E),
        (FILE01, NAS01),
        (DC01, DISK_E),
    }


def test_an_update_of_labels_alone_sends_nothing(simulator: Simulator, plugin: Plugin) -> None:
    news = a_set(sql=entry(SQL01, nas=NAS01), SQL02=TWO["assignments"]["SQL02"])
    assert plugin.update(URN, TWO, news) == news
    assert not simulator.calls


def test_a_vm_whose_new_location_is_refused_keeps_its_old_ones(
    simulator: Simulator, plugin: Plugin
) -> None:
    simulator.behavior = Behavior(second_primary="refuse")
    state = create(plugin, TWO)
    news = a_set(SQL01=entry(SQL01, E=DISK_E), SQL02=entry(SQL02, offsite=OFFSITE01))
    failed = failure_of(lambda: plugin.update(URN, state, news))
    assert failed.says == (
        'Could not assign 1 of 1: SQL01 to E: the server says "PrimaryLocationExists / The virtual '
        r'machine has a location". The VM has \\NAS01\VMBackups at present. If the server allows '
        "one primary location only, remove the old one in one `pulumi up`, and add the new one in "
        "the next."
    )
    assert failed.state
    assert without_time(failed.state) == a_set(
        SQL01=entry(SQL01, NAS=NAS01), SQL02=entry(SQL02, offsite=OFFSITE01)
    )
    assert simulator.inventory.locations_of(SQL01) == [NAS01]
    assert simulator.inventory.locations_of(SQL02) == [OFFSITE01]
    for step in (entry(SQL01), entry(SQL01, E=DISK_E)):
        failed.state.update(plugin.update(URN, failed.state, a_set(SQL01=step)))
    assert simulator.inventory.locations_of(SQL01) == [DISK_E]


def test_a_refresh_shows_what_vanished(simulator: Simulator, plugin: Plugin) -> None:
    state = create(plugin, TWO)
    del simulator.inventory.assignments[SQL02, NAS01]
    simulator.inventory.assignments[SQL02, ROTATING] = None
    relabelled = a_set(a=entry(SQL01, x=NAS01), b=entry(SQL02, y=NAS01, z=OFFSITE01))
    _, inputs, found = plugin.read(URN, "it", state, relabelled)
    assert inputs == a_set(a=entry(SQL01, x=NAS01), b=entry(SQL02, z=OFFSITE01))
    kept = a_set(SQL01=entry(SQL01, NAS=NAS01), SQL02=entry(SQL02, offsite=OFFSITE01))
    assert found == {**state, **kept}
    assert plugin.diff(URN, found, TWO).paths == {
        'assignments["SQL02"].backupLocationIds["NAS"]': "add"
    }


def test_a_refresh_keeps_what_was_assigned_just_now_though_a_list_lags(
    simulator: Simulator, unconfigured: Plugin, login: dict[str, object]
) -> None:
    unconfigured.configure({**login, "settleSeconds": 60})
    simulator.behavior = Behavior(lag_seconds=60)
    state = create(unconfigured, TWO)
    assert unconfigured.read(URN, "it", state, TWO)[2] == state


def test_an_update_says_that_it_waits_for_a_list_after_a_refusal(
    simulator: Simulator, unconfigured: Plugin, login: dict[str, object], pulumi_engine: Engine
) -> None:
    unconfigured.configure({**login, "settleSeconds": 6000})
    state = create(unconfigured, TWO)
    del simulator.inventory.assignments[SQL02, NAS01]
    fewer = a_set(SQL01=entry(SQL01, NAS=NAS01), SQL02=entry(SQL02, offsite=OFFSITE01))
    waits = "the server refuses to un-assign: waiting up to "
    with ThreadPoolExecutor(1) as threads:
        failed = threads.submit(failure_of, lambda: unconfigured.update(URN, state, fewer))
        wait_until(lambda: any(waits in each for each in pulumi_engine.progress))
        unconfigured.cancel()
        assert "Could not un-assign 1 of 1: SQL02 from NAS: " in failed.result().says
    (said,) = (each for each in pulumi_engine.progress if waits in each)
    assert re.fullmatch(r"[56]\d\d\d s whether its list changes", said.removeprefix(waits))


def test_a_vm_that_vanished_has_no_pairs(simulator: Simulator, plugin: Plugin) -> None:
    state = create(plugin, TWO)
    del simulator.inventory.virtual_machines[SQL02]
    for location in (NAS01, OFFSITE01):
        del simulator.inventory.assignments[SQL02, location]
    _, inputs, found = plugin.read(URN, "it", state, TWO)
    assert inputs == a_set(SQL01=entry(SQL01, NAS=NAS01), SQL02=entry(SQL02))
    assert without_time(found) == inputs


@pytest.mark.parametrize("kind", ["html", *only_full("error", "reset")])
def test_a_refresh_without_a_definite_answer_fails(
    kind: Any, simulator: Simulator, plugin: Plugin
) -> None:
    state = create(plugin, TWO)
    simulator.faults.append(Fault(kind, f"GET /vms/backuplocations/[token]/{SQL02}", times=None))
    failed = failure_of(lambda: plugin.read(URN, "it", state, TWO))
    assert failed.says.startswith(f"Could not list the backup locations of VM SQL02 ({SQL02}): ")
    assert failed.state is None


def test_vms_are_imported_by_their_refs(simulator: Simulator, plugin: Plugin) -> None:
    simulator.inventory.virtual_machines[SQL02]["VirtualMachineName"] = "SQL01"
    simulator.inventory.assignments[DC01, OFFSITE01] = None
    id_, inputs, state = plugin.read(URN, f"{DC01.upper()}, {SQL02}")
    assert id_ == f"{DC01.upper()}, {SQL02}"
    assert inputs == state
    assert state == {
        "assignments": {
            "DC01": {
                "vmRef": DC01,
                "backupLocationIds": {
                    r"E:\VMBackups": DISK_E,
                    r"\\OFFSITE01\VMBackups": OFFSITE01,
                },
            },
            "SQL01 (HV-02)": entry(SQL02),
        },
        "exclusive": False,
    }
    assert len([call for call in simulator.calls if call.method == "GET"]) == 3
    assert len(simulator.tokens) == 1


@pytest.mark.parametrize(
    ("id_", "says"),
    [
        (
            "DC01",
            "'DC01' is not the id of a set to import: use the refs of its VMs (GUIDs) that "
            "`vmbackup vms` shows, with commas between them, and in PowerShell in quotes.",
        ),
        (
            f"{DC01},{NOWHERE}",
            f" manages no VM {NOWHERE}: check that it is the right server, since a "
            "tunnel may lead to another site, or leave the VM out of the import.",
        ),
    ],
)
def test_an_import_of_something_else_is_a_sentence(id_: str, says: str, plugin: Plugin) -> None:
    assert failure_of(lambda: plugin.read(URN, id_)).says.endswith(says)


def test_deleting_takes_back_the_sets_own_pairs_alone(
    simulator: Simulator, plugin: Plugin, start_plugin: StartPlugin
) -> None:
    state = create(plugin, TWO)
    simulator.inventory.assignments[SQL01, ROTATING] = None
    plugin.check(urn(ASSIGNMENT), {"vmRef": SQL01, "backupLocationId": NAS01})
    other = start_plugin()
    other.check(urn(ASSIGNMENT), {"vmRef": SQL02, "backupLocationId": NAS01})
    plugin.delete(URN, "it", state)
    assert pairs(simulator, "DELETE") == [f"{SQL02}/{OFFSITE01}"]
    assert {*simulator.inventory.assignments} == {
        (DC01, DISK_E),
        (SQL01, NAS01),
        (SQL01, ROTATING),
        (SQL02, NAS01),
    }


def test_a_delete_that_fails_in_part_names_what_is_left_and_is_finished_by_the_next(
    simulator: Simulator, plugin: Plugin
) -> None:
    state = create(plugin, TWO)
    fault = Fault("error", f"DELETE /vms/backuplocations/[token]/{SQL01}", times=None, acted=False)
    simulator.faults.append(fault)
    failed = failure_of(lambda: plugin.delete(URN, "it", state))
    assert failed.says.startswith("Could not un-assign 1 of 3: SQL01 from NAS: ")
    simulator.faults.clear()
    plugin.delete(URN, "it", state)
    assert {*simulator.inventory.assignments} == {(DC01, DISK_E)}


# Exclusive sets


def test_an_exclusive_set_unassigns_strangers(simulator: Simulator, plugin: Plugin) -> None:
    simulator.inventory.assignments[SQL01, ROTATING] = None
    inputs = a_set(True, SQL01=entry(SQL01, NAS=NAS01), DC01=entry(DC01))
    state = create(plugin, inputs)
    assert without_time(state) == inputs
    assert [*simulator.inventory.assignments] == [(SQL01, NAS01)]
    assert sorted(pairs(simulator, "GET")) == sorted([SQL01, DC01])
    # They are looked for once: from then on, refreshes find them.
    simulator.calls.clear()
    news = a_set(True, SQL01=entry(SQL01, NAS=NAS01), DC01=entry(DC01, NAS=NAS01))
    plugin.update(URN, state, news)
    assert pairs(simulator, "GET") == []


@pytest.mark.parametrize("unknown_vm", ["refuse", "empty"])
def test_an_exclusive_set_fails_on_a_server_that_does_not_know_its_vm(
    unknown_vm: Any, simulator: Simulator, plugin: Plugin, pulumi_engine: Engine
) -> None:
    simulator.behavior = Behavior(unknown_vm=unknown_vm)
    inputs = a_set(True, DC01=entry(NOWHERE))
    plugin.create(URN, inputs, preview=True)
    says = f"VM Backup manages no VM DC01 ({NOWHERE}): check that the address leads to the right"
    assert says in pulumi_engine.warnings[0]
    assert says in failure_of(lambda: plugin.create(URN, inputs)).says


def test_a_refresh_shows_strangers_which_the_next_update_unassigns(
    simulator: Simulator, plugin: Plugin, refresh: Refresh
) -> None:
    inputs = {**TWO, "exclusive": True}
    state = create(plugin, inputs)
    simulator.inventory.assignments[SQL01, ROTATING] = None
    found_inputs, found = refresh(state, inputs)
    others = {
        "otherAssignments": {
            "SQL01": {"vmRef": SQL01, "backupLocationIds": {"Rotating disks": ROTATING}}
        }
    }
    assert (found_inputs, found) == (inputs, {**state, **others})
    assert plugin.diff(URN, found, inputs).paths == {
        'otherAssignments["SQL01"].backupLocationIds["Rotating disks"]': "delete"
    }
    assert plugin.diff(URN, found, TWO).paths == {"exclusive": "update"}
    simulator.calls.clear()
    assert without_time(plugin.update(URN, found, inputs)) == inputs
    assert pairs(simulator, "DELETE") == [f"{SQL01}/{ROTATING}"]
    assert len(pairs(simulator, "GET")) == 0


def test_a_stranger_that_the_program_takes_in_is_not_assigned_again(
    simulator: Simulator, plugin: Plugin, refresh: Refresh
) -> None:
    state = create(plugin, a_set(True, SQL01=entry(SQL01, NAS=NAS01)))
    simulator.inventory.assignments[SQL01, ROTATING] = None
    _, found = refresh(state, state)
    simulator.calls.clear()
    news = a_set(True, SQL01=entry(SQL01, NAS=NAS01, disks=ROTATING))
    assert without_time(plugin.update(URN, found, news)) == news
    assert not simulator.calls


@pytest.mark.parametrize("way", ["delete", "VM removed", "exclusive no more"])
def test_strangers_are_none_of_the_sets_own(
    way: str, simulator: Simulator, plugin: Plugin, refresh: Refresh
) -> None:
    inputs = {**TWO, "exclusive": True}
    state = create(plugin, inputs)
    simulator.inventory.assignments[SQL01, ROTATING] = None
    _, found = refresh(state, inputs)
    if way == "delete":
        plugin.delete(URN, "it", found)
    elif way == "VM removed":
        news = a_set(True, SQL02=TWO["assignments"]["SQL02"])
        assert without_time(plugin.update(URN, found, news)) == news
    else:
        assert without_time(plugin.update(URN, found, TWO)) == TWO
    assert ROTATING in simulator.inventory.locations_of(SQL01)


def test_strangers_that_could_not_be_looked_for_are_looked_for_by_the_next_update(
    simulator: Simulator, plugin: Plugin
) -> None:
    simulator.inventory.assignments[SQL01, ROTATING] = None
    inputs = a_set(True, SQL01=entry(SQL01, NAS=NAS01))
    fault = Fault("html", "GET /vms/backuplocations", times=None)
    simulator.faults.append(fault)
    failed = failure_of(lambda: plugin.create(URN, inputs))
    assert failed.says.startswith("Could not list the backup locations of VM SQL01")
    assert failed.state
    assert without_time(failed.state) == {**inputs, "exclusive": False}
    simulator.faults.clear()
    assert plugin.diff(URN, failed.state, inputs).paths == {"exclusive": "update"}
    plugin.update(URN, failed.state, inputs)
    assert simulator.inventory.locations_of(SQL01) == [NAS01]
    assert pairs(simulator, "POST") == [f"{SQL01}/{NAS01}"]


def test_a_stranger_that_could_not_be_unassigned_stays_in_the_state(
    simulator: Simulator, plugin: Plugin
) -> None:
    simulator.inventory.assignments[SQL01, ROTATING] = None
    inputs = a_set(True, SQL01=entry(SQL01, NAS=NAS01))
    simulator.faults.append(Fault("error", "DELETE", times=None, acted=False))
    failed = failure_of(lambda: plugin.create(URN, inputs))
    assert failed.says.startswith("Could not un-assign 1 of 1: SQL01 from Rotating disks: ")
    assert failed.state
    simulator.faults.clear()
    assert plugin.diff(URN, failed.state, inputs).changes
    assert without_time(plugin.update(URN, failed.state, inputs)) == inputs
    assert simulator.inventory.locations_of(SQL01) == [NAS01]


# What fails in part


def test_the_rest_is_carried_on_with_and_the_next_update_assigns_what_is_missing(
    simulator: Simulator, plugin: Plugin
) -> None:
    vms = {
        f"VM{number}": entry(ref, NAS=NAS01) for number, ref in enumerate(many_vms(simulator, 49))
    }
    news = a_set(VM49=entry(NOWHERE, NAS=NAS01), **vms)
    failed = failure_of(lambda: plugin.create(URN, news))
    assert failed.code is grpc.StatusCode.UNKNOWN
    assert failed.says == (
        'Could not assign 1 of 50: VM49 to NAS: the server says "InvalidParameter / The virtual '
        'machine was not found". VM Backup manages no VM with this ref: check the ref, or add '
        "the VM to VM Backup."
    )
    assert failed.id == "it"
    assert failed.state
    assert without_time(failed.state) == a_set(VM49=entry(NOWHERE), **vms)
    simulator.calls.clear()
    assert without_time(plugin.update(URN, failed.state, a_set(**vms))) == a_set(**vms)
    assert not simulator.calls
    simulator.inventory.virtual_machines[NOWHERE] = {"Configured": True}
    plugin.update(URN, failed.state, news)
    assert pairs(simulator, "POST") == [f"{NOWHERE}/{NAS01}"]


def test_the_first_ten_are_named_in_their_order_and_the_others_counted(
    simulator: Simulator, plugin: Plugin
) -> None:
    refs = many_vms(simulator, 12)
    for ref in refs:
        simulator.inventory.virtual_machines[ref]["Configured"] = False
    vms = {f"VM{number:02}": entry(ref, NAS=NAS01) for number, ref in enumerate(refs)}
    failed = failure_of(lambda: plugin.create(URN, a_set(**vms, SQL01=entry(SQL01, NAS=NAS01))))
    assert re.findall(r"(VM\d\d) to NAS: the server says", failed.says) == [
        f"VM{number:02}" for number in range(10)
    ]
    assert failed.says.startswith("Could not assign 12 of 13: ")
    assert failed.says.endswith(" And 2 more failed.")


def test_a_create_of_which_nothing_could_be_done_leaves_no_state(
    simulator: Simulator, plugin: Plugin
) -> None:
    failed = failure_of(lambda: plugin.create(URN, a_set(TEST01=entry(TEST01, NAS=NAS01))))
    assert failed.says.startswith("Could not assign 1 of 1: TEST01 to NAS: the server says")
    assert failed.state is None
    assert plugin.end() == ""
    assert simulator.tokens[0] not in failed.says
    assert PASSWORD not in failed.says


def test_what_could_not_be_unassigned_stays_in_the_state(
    simulator: Simulator, plugin: Plugin
) -> None:
    state = create(plugin, TWO)
    simulator.faults.append(Fault("error", "DELETE", times=None, acted=False))
    # Its label goes on with another VM.
    news = a_set(SQL01=entry(FILE01, NAS=NAS01), SQL02=TWO["assignments"]["SQL02"])
    failed = failure_of(lambda: plugin.update(URN, state, news))
    assert failed.says.startswith("Could not un-assign 1 of 1: SQL01 from NAS: ")
    assert failed.state
    refs = {vm["vmRef"]: vm["backupLocationIds"] for vm in failed.state["assignments"].values()}
    assert refs.keys() == {SQL01, SQL02, FILE01}
    simulator.faults.clear()
    assert plugin.diff(URN, failed.state, news).changes
    assert without_time(plugin.update(URN, failed.state, news)) == news
    assert simulator.inventory.locations_of(SQL01) == []


def test_a_server_that_stops_answering_ends_it_after_some_failures(
    simulator: Simulator, plugin: Plugin
) -> None:
    refs = many_vms(simulator, 200)
    simulator.faults += [
        Fault("reset", "POST /vms/backuplocations", skip=20, times=None),
        Fault("reset", "GET /vms/backuplocations", times=None),
    ]
    vms = {ref: entry(ref, NAS=NAS01) for ref in refs}
    failed = failure_of(lambda: plugin.create(URN, a_set(**vms)))
    assert failed.state
    assert "broke before the answer was complete" in failed.says
    assert len(failed.says) < 5000
    assert re.search(r" 17\d were not tried\.$", failed.says)
    assert len(pairs(simulator, "POST")) < 30
    simulator.faults.clear()
    held = {ref for ref, vm in failed.state["assignments"].items() if vm["backupLocationIds"]}
    assert len(held) == 20
    simulator.calls.clear()
    assert without_time(plugin.update(URN, failed.state, a_set(**vms))) == a_set(**vms)
    assert len(pairs(simulator, "POST")) == 180


def test_a_refused_password_is_sent_once_for_all_pairs(
    simulator: Simulator, unconfigured: Plugin, login: dict[str, object]
) -> None:
    unconfigured.configure({**login, "password": "wrong-one"})
    failed = failure_of(lambda: unconfigured.create(URN, TWO))
    assert "refused the login of Administrator" in failed.says
    assert "--run-program" not in failed.says
    assert "wrong-one" not in failed.says
    assert len(simulator.calls) == 1


def test_a_cancelled_set_stops_and_its_state_is_what_the_server_holds(
    simulator: Simulator, plugin: Plugin
) -> None:
    simulator.answer_seconds = 0.05
    vms = {ref: entry(ref, NAS=NAS01) for ref in many_vms(simulator, 1000)}
    with ThreadPoolExecutor(1) as threads:
        failed = threads.submit(failure_of, lambda: plugin.create(URN, a_set(**vms)))
        wait_until(lambda: len(pairs(simulator, "POST")) > 10)
        plugin.cancel()
        result = failed.result()
    held = {ref for ref, _ in simulator.inventory.assignments} - {DC01}
    assert 10 < len(held) < 1000
    rest = 1000 - len(held)
    assert result.says == f"Could not assign {rest} of 1,000: {rest} were not tried."
    assert result.state
    state = result.state["assignments"]
    assert {ref for ref, vm in state.items() if vm["backupLocationIds"]} == held


def test_a_cancelled_refresh_stops(simulator: Simulator, plugin: Plugin) -> None:
    inputs = a_set(**{ref: entry(ref, NAS=NAS01) for ref in many_vms(simulator, 1000)})
    simulator.answer_seconds = 0.05
    with ThreadPoolExecutor(1) as threads:
        failed = threads.submit(failure_of, lambda: plugin.read(URN, "it", inputs, inputs))
        wait_until(lambda: len(pairs(simulator, "GET")) > 10)
        plugin.cancel()
        assert failed.result().says == "Pulumi was interrupted."
    assert len(pairs(simulator, "GET")) < 1000


# Progress, speed


def test_progress_is_told_a_few_times_a_second(
    simulator: Simulator, pulumi_engine: Engine, plugin: Plugin
) -> None:
    simulator.answer_seconds = 0.05
    begun = time.monotonic()
    create(plugin, a_set(**{ref: entry(ref, NAS=NAS01) for ref in many_vms(simulator, 120)}))
    seconds = time.monotonic() - begun
    assert pulumi_engine.progress[-1] == "120 of 120 assigned"
    assert 3 <= len(pulumi_engine.progress) <= seconds * 2 + 3
    assert {each.urn for each in pulumi_engine.said} == {URN}


def test_an_engine_that_does_not_listen_to_progress_changes_nothing(
    simulator: Simulator, login: dict[str, object], engine: str
) -> None:
    plugin = Plugin(engine)
    plugin.configure(login)
    inputs = a_set(SQL01=entry(SQL01, NAS=NAS01))  # one pair, since it is told of for 5 seconds
    assert without_time(create(plugin, inputs)) == inputs
    plugin.end()
    assert not simulator.sessions


@pytest.mark.parametrize("requests", [1, 16])
def test_as_many_requests_as_configured_are_under_way(
    requests: int, simulator: Simulator, unconfigured: Plugin, login: dict[str, object]
) -> None:
    simulator.answer_seconds = 0.02
    unconfigured.configure({**login, "parallelRequests": requests})
    create(unconfigured, a_set(**{ref: entry(ref, NAS=NAS01) for ref in many_vms(simulator, 60)}))
    assert requests <= simulator.connections < requests + 4  # the server may drop some
    assert len(simulator.tokens) == 1


# How much more CPU time ten times as many pairs may take. Where each is compared with each other
# one it is 100 times as much.
MOST_TIMES = 16


def test_ten_times_as_many_pairs_take_ten_times_as_long_also_where_all_have_changed(
    simulator: Simulator, start_plugin: StartPlugin
) -> None:
    seconds = []
    for count in (1_000, 10_000):
        plugin = start_plugin()
        plugin.configure({})
        old, new = many_vms(simulator, count), many_vms(simulator, count)
        olds = a_set(**{f"VM{number}": entry(ref, NAS=NAS01) for number, ref in enumerate(old)})
        news = a_set(**{f"VM{number}": entry(ref, E=DISK_E) for number, ref in enumerate(new)})
        begun = plugin.cpu_seconds()
        assert plugin.check(URN, news) == (news, {})
        assert len(plugin.diff(URN, olds, news).paths) == 3 * count
        assert plugin.diff(URN, olds, olds).paths == {}
        # Nothing is sent: all that goes is declared, and nothing comes.
        assert plugin.check(urn(SET, "other"), olds)[1] == {}
        plugin.update(URN, olds, a_set())
        seconds.append(plugin.cpu_seconds() - begun)
        plugin.end()
    assert seconds[1] < MOST_TIMES * seconds[0]


def test_and_where_another_process_declares_them(
    simulator: Simulator, unconfigured: Plugin, start_plugin: StartPlugin
) -> None:
    unconfigured.configure({})
    other = start_plugin()
    seconds = []
    for count in (1_000, 10_000):
        olds = a_set(**{ref: entry(ref, NAS=NAS01) for ref in many_vms(simulator, count)})
        assert other.check(URN, olds)[1] == {}
        begun = unconfigured.cpu_seconds()
        unconfigured.update(URN, olds, a_set())
        seconds.append(unconfigured.cpu_seconds() - begun)
    assert seconds[1] < MOST_TIMES * seconds[0]


@not_under_wine("gRPC ends a process that sends megabytes, since a write takes only a part of them")
def test_the_state_of_ten_thousand_pairs_fits_into_an_error(
    simulator: Simulator, unconfigured: Plugin
) -> None:
    """The engine's gRPC takes 16 MiB of what comes with an error."""
    refs = many_vms(simulator, 10_000)
    olds = a_set(**{f"{ref} of HV-01": entry(ref, **{"x" * 60: NAS01}) for ref in refs})
    unconfigured.configure({})
    news = a_set(**olds["assignments"], SQL01=entry(EXCH01, NAS=NAS01))
    failed = failure_of(lambda: unconfigured.update(URN, olds, news))
    assert "No username for VM Backup is known" in failed.says
    assert failed.state == a_set(**olds["assignments"], SQL01=entry(EXCH01))


def test_strangers_of_a_vm_whose_location_was_refused_are_looked_for_by_the_next_update(
    simulator: Simulator, plugin: Plugin
) -> None:
    simulator.behavior = Behavior(second_primary="refuse")
    simulator.inventory.assignments[SQL01, DISK_E] = None
    inputs = a_set(True, SQL01=entry(SQL01, NAS=NAS01), FILE01=entry(FILE01, NAS=NAS01))
    failed = failure_of(lambda: plugin.create(URN, inputs))
    assert failed.state
    assert simulator.inventory.locations_of(SQL01) == [DISK_E]
    simulator.behavior = Behavior()
    assert without_time(plugin.update(URN, failed.state, inputs)) == inputs
    assert simulator.inventory.locations_of(SQL01) == [NAS01]
