"""What is no longer in a program: much at once, and VMs that the server does not list."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from contract.host import Host
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
    urn,
)
from sample import DC01, DISK_E, FILE01, NAS01, NOWHERE, OFFSITE01, SQL01, SQL02

from pulumi_vmbackup.simulator import Simulator

StartPlugin = Callable[..., Plugin]
URN = urn(SET)


def vms(refs: list[str]) -> Properties:
    return {f"VM{number:02}": entry(ref, NAS=NAS01) for number, ref in enumerate(refs)}


def state_of(simulator: Simulator, refs: list[str]) -> Properties:
    """The state of a set of VMs that the server holds."""
    for ref in refs:
        simulator.inventory.assignments[ref, NAS01] = None
    return a_set(**vms(refs))


# Much at once


def test_a_set_that_would_lose_more_than_half_and_more_than_ten_is_refused_in_the_preview(
    simulator: Simulator, plugin: Plugin
) -> None:
    refs = many_vms(simulator, 21)
    state, news = state_of(simulator, refs), a_set(**vms(refs[:10]))
    plugin.check(URN, news)
    simulator.calls.clear()
    for call in (
        lambda: plugin.update(URN, state, news, preview=True),
        lambda: plugin.update(URN, state, news),
    ):
        failed = failure_of(call)
        named = ", ".join(f"VM{number}" for number in range(10, 20))
        assert failed.says == (
            f"The set it would un-assign 11 of its 21 pairs in this update: those of {named} and 1 "
            "more. Nothing was sent. So many at once may be a mistake, such as a look-up "
            "that found too little. If another resource of the program takes them over, it must "
            "not wait for this set: remove its depends_on. If it is meant, set allowMassRemoval of "
            "the provider 'site-b', set VMBACKUP_ALLOW_MASS_REMOVAL or run `pulumi config set "
            "vmbackup:allowMassRemoval`, to true for one run."
        )
        assert failed.state is None
    assert pairs(simulator, "DELETE") == []


@pytest.mark.parametrize(
    ("old", "new"), [(10, 0), (22, 11), (30, 15)], ids=["ten", "half", "half of many"]
)
def test_up_to_ten_pairs_or_up_to_half_of_them_may_go(
    old: int, new: int, simulator: Simulator, plugin: Plugin
) -> None:
    refs = many_vms(simulator, old)
    state, news = state_of(simulator, refs), a_set(**vms(refs[:new]))
    plugin.update(URN, state, news, preview=True)
    plugin.update(URN, state, news)
    assert len(pairs(simulator, "DELETE")) == old - new


def test_the_setting_allows_it_and_a_delete_needs_none(
    simulator: Simulator, plugin: Plugin, login: dict[str, object]
) -> None:
    refs = many_vms(simulator, 24)
    first, second = refs[:12], refs[12:]
    plugin.delete(URN, "it", state_of(simulator, first))
    plugin.configure({**login, "allowMassRemoval": True})
    state = state_of(simulator, second)
    plugin.update(URN, state, a_set(), preview=True)
    plugin.update(URN, state, a_set())
    assert len(pairs(simulator, "DELETE")) == 24


def test_what_a_preview_does_not_know_yet_is_not_refused(
    simulator: Simulator, plugin: Plugin
) -> None:
    refs = many_vms(simulator, 12)
    state = state_of(simulator, refs)
    for news in (
        {**a_set(), "assignments": UNKNOWN},
        a_set(VM00=UNKNOWN),
        a_set(other={"vmRef": UNKNOWN, "backupLocationIds": {"NAS": NAS01}}),
        a_set(**{ref: {"vmRef": ref, "backupLocationIds": UNKNOWN} for ref in refs}),
    ):
        plugin.update(URN, state, news, preview=True)


@pytest.mark.parametrize("when", ["before", "a moment later"])
def test_pairs_that_another_resource_takes_over_do_not_count(
    when: str, simulator: Simulator, plugin: Plugin, start_plugin: StartPlugin, base_url: str
) -> None:
    refs = many_vms(simulator, 20)
    state = state_of(simulator, refs)
    other = start_plugin(VMBACKUP_BASE_URL=base_url)
    other.configure({})

    def take_over() -> None:
        if when == "a moment later":
            time.sleep(0.7)
        other.check(urn(SET, "other"), a_set(**vms(refs[5:])))

    with ThreadPoolExecutor(1) as threads:
        taken = threads.submit(take_over)
        if when == "before":
            taken.result()
        plugin.update(URN, state, a_set(**vms(refs[:5])))
        taken.result()
    assert pairs(simulator, "DELETE") == []


def test_single_resources_are_refused_once_more_than_ten_and_more_than_are_declared_have_gone(
    simulator: Simulator, plugin: Plugin
) -> None:
    refs = many_vms(simulator, 12)
    state_of(simulator, refs)
    plugin.check(urn(ASSIGNMENT, "kept"), {"vmRef": SQL01, "backupLocationId": NAS01})

    def delete(ref: str) -> None:
        state = {"vmRef": ref, "backupLocationId": NAS01}
        plugin.delete(urn(ASSIGNMENT, ref), f"{ref}/{NAS01}", state)

    for ref in refs[:10]:
        delete(ref)
    says = failure_of(lambda: delete(refs[10])).says
    assert says.startswith(
        f"Could not un-assign VM {refs[10]} from backup location {NAS01}: This run has un-assigned "
        "10 pairs of resources that are no longer in the program, and the program declares 1 on"
    )
    assert says.endswith(
        "If it is not meant, correct the program and run `pulumi up`, which assigns them again."
    )
    assert len(pairs(simulator, "DELETE")) == 10


@pytest.mark.parametrize("way", ["destroy", "replace"])
def test_many_single_resources_may_be_replaced_or_destroyed(
    way: str, simulator: Simulator, plugin: Plugin
) -> None:
    refs = many_vms(simulator, 12)
    state_of(simulator, refs)
    if way == "replace":  # to destroy them, Pulumi checks none
        for ref in refs:
            inputs = {"vmRef": ref, "backupLocationId": OFFSITE01}
            plugin.check(urn(ASSIGNMENT, ref), inputs)
            plugin.create(urn(ASSIGNMENT, ref), inputs)
    for ref in refs:
        plugin.delete(urn(ASSIGNMENT, ref), f"{ref}/{NAS01}", {})
    assert len(pairs(simulator, "DELETE")) == 12


# VMs that the server does not list


def on_host(host: str, vm: Properties) -> Properties:
    return {**vm, "host": host}


BOTH = a_set(
    SQL01=on_host("HV-01", entry(SQL01, NAS=NAS01)), SQL02=on_host("HV-02", entry(SQL02, NAS=NAS01))
)
WITHOUT_SQL02 = a_set(SQL01=BOTH["assignments"]["SQL01"])
IF_GONE = (
    "If a host is gone for good, set allowMassRemoval of the provider 'site-b', set "
    "VMBACKUP_ALLOW_MASS_REMOVAL or run `pulumi config set vmbackup:allowMassRemoval`, to true for "
    "one run."
)
NOT_LISTED = (
    "The server does not list SQL02 (on host HV-02) at present: a host may be off. The set keeps "
    "these VMs, and they stay assigned. If a VM is gone for good, `pulumi refresh` drops it. "
    + IF_GONE
)


def without_time(state: Properties) -> Properties:
    return {key: value for key, value in state.items() if key != "assignedAt"}


def switch_off(simulator: Simulator, host: str) -> dict[str, Properties]:
    """Let the server list no VM of a host."""
    found = simulator.inventory.virtual_machines
    off = {ref: vm for ref, vm in found.items() if vm["HostName"] == host}
    for ref in off:
        del found[ref]
    return off


def test_a_vm_that_is_no_longer_in_the_set_and_not_listed_is_kept_with_a_warning(
    simulator: Simulator,
    plugin: Plugin,
    start_plugin: StartPlugin,
    pulumi_engine: Engine,
    login: dict[str, object],
) -> None:
    _, state = plugin.create(URN, BOTH)
    assert without_time(state) == BOTH
    off = switch_off(simulator, "HV-02")
    plugin.end()
    plugin = start_plugin()
    plugin.configure(login)
    planned = plugin.update(URN, state, WITHOUT_SQL02, preview=True)
    assert planned["assignments"] == BOTH["assignments"]
    kept = plugin.update(URN, state, WITHOUT_SQL02)
    assert without_time(kept) == BOTH
    assert pulumi_engine.warnings == [NOT_LISTED, NOT_LISTED]
    assert pairs(simulator, "DELETE") == []
    # It goes once it is listed again.
    simulator.inventory.virtual_machines.update(off)
    assert plugin.diff(URN, kept, WITHOUT_SQL02).paths == {'assignments["SQL02"]': "delete"}
    plugin.end()
    plugin = start_plugin()
    plugin.configure(login)
    assert without_time(plugin.update(URN, kept, WITHOUT_SQL02)) == WITHOUT_SQL02
    assert pairs(simulator, "DELETE") == [f"{SQL02}/{NAS01}"]


def test_a_server_that_lists_nothing_fails_the_update_before_anything_is_sent(
    simulator: Simulator, plugin: Plugin, pulumi_engine: Engine
) -> None:
    _, state = plugin.create(URN, BOTH)
    simulator.inventory.virtual_machines.clear()
    simulator.calls.clear()
    news = a_set(SQL01=entry(SQL01, OFFSITE=OFFSITE01))
    plugin.update(URN, state, news, preview=True)
    assert pulumi_engine.warnings[0].startswith(
        "Some VMs are no longer in the set. `pulumi up` un-"
    )
    failed = failure_of(lambda: plugin.update(URN, state, news))
    assert failed.says.startswith(
        "Could not list the virtual machines: The server lists no virtual machines at all."
    )
    assert not pairs(simulator, "POST")
    assert not pairs(simulator, "DELETE")


def test_a_refresh_keeps_the_vms_of_a_host_that_may_be_off_and_drops_those_that_are_gone(
    simulator: Simulator, plugin: Plugin, pulumi_engine: Engine
) -> None:
    more = {"FILE01": on_host("HV-01", entry(FILE01, NAS=NAS01)), "DC01": entry(DC01, E=DISK_E)}
    state = a_set(**BOTH["assignments"], **more)
    for ref in (SQL01, SQL02, FILE01):
        simulator.inventory.assignments[ref, NAS01] = None
    switch_off(simulator, "HV-02")
    for ref in (FILE01, DC01):
        simulator.inventory.virtual_machines.pop(ref, None)
    _, inputs, found = plugin.read(URN, "it", state, state)
    held = {label: list(vm["backupLocationIds"]) for label, vm in found["assignments"].items()}
    assert held == {"SQL01": ["NAS"], "SQL02": ["NAS"], "FILE01": [], "DC01": []}
    assert inputs["assignments"]["SQL02"] == BOTH["assignments"]["SQL02"]
    assert sorted(pulumi_engine.warnings) == [
        "The server does not list SQL02 (on host HV-02), nor any other VM of the same host: a "
        "host may be off. The state keeps the assignments. " + IF_GONE,
        "VM Backup no longer manages DC01, FILE01 (on host HV-01): the state drops the "
        "assignments.",
    ]


def test_a_refresh_of_single_resources_names_a_vm_that_is_gone(
    simulator: Simulator,
    plugin: Plugin,
    dynamic: Host,
    pulumi_engine: Engine,
) -> None:
    del simulator.inventory.virtual_machines[SQL02]
    for ref in (SQL01, SQL02):  # of SQL01, only the assignment is gone
        state = {"vmRef": ref, "backupLocationId": NAS01, "vmName": "A name"}
        assert plugin.read(urn(ASSIGNMENT), f"{ref}/{NAS01}", state)[0] == ""
        names = {"vm_name": "A name", "location_path": "the NAS"}
        pair = {"vm_ref": ref, "backup_location_id": NAS01}
        assert dynamic.read(f"{ref}/{NAS01}", **pair, **names).id == ""
    says = "VM Backup no longer manages A name ({}): the state drops its assignment to {}."
    assert pulumi_engine.warnings == [says.format(SQL02, NAS01)]
    assert dynamic.stop().strip() == says.format(SQL02, "the NAS")


@pytest.mark.parametrize("surface", ["plugin", "dynamic"])
def test_a_single_resource_of_a_vm_that_is_not_listed_leaves_the_vm_assigned_in_an_update(
    surface: str,
    simulator: Simulator,
    plugin: Plugin,
    dynamic: Host,
    pulumi_engine: Engine,
) -> None:
    id_ = f"{SQL02}/{NAS01}"
    simulator.inventory.assignments[SQL02, NAS01] = None
    simulator.hosts_off = {"HV-02"}

    def delete() -> None:
        if surface == "plugin":
            plugin.delete(urn(ASSIGNMENT, "it"), id_, {"vmName": "SQL02"})
        else:
            dynamic.delete(id_, vm_ref=SQL02, backup_location_id=NAS01, vm_name="SQL02")

    if surface == "plugin":
        plugin.check(urn(ASSIGNMENT, "kept"), {"vmRef": SQL01, "backupLocationId": NAS01})
    else:
        dynamic.check(vm_ref=SQL01, backup_location_id=NAS01)
    delete()
    assert pairs(simulator, "DELETE") == []
    says = (
        f"The server does not list SQL02 ({SQL02}) at present: its host may be off, or the VM is "
        f"gone. Nothing was sent, and the state drops its assignment to {NAS01}. If it is listed "
        "again and should not be assigned, un-assign it in the VM Backup Management Console."
    )
    assert says in (dynamic.stop() if surface == "dynamic" else pulumi_engine.warnings)


@pytest.mark.parametrize("surface", ["plugin", "dynamic"])
def test_to_destroy_a_stack_unassigns_also_what_is_not_listed(
    surface: str, simulator: Simulator, plugin: Plugin, dynamic: Host
) -> None:
    simulator.inventory.assignments[SQL02, NAS01] = None
    simulator.hosts_off = {"HV-02"}
    if surface == "plugin":
        plugin.delete(urn(ASSIGNMENT, "it"), f"{SQL02}/{NAS01}", {})
    else:
        dynamic.delete(f"{SQL02}/{NAS01}", vm_ref=SQL02, backup_location_id=NAS01)
    assert pairs(simulator, "DELETE") == [f"{SQL02}/{NAS01}"]


def test_the_host_is_no_difference(unconfigured: Plugin) -> None:
    bare = a_set(SQL01=entry(SQL01, NAS=NAS01), SQL02=entry(SQL02, NAS=NAS01))
    checked, failures = unconfigured.check(URN, BOTH)
    assert (checked, failures) == (BOTH, {})
    for olds, news in ((bare, BOTH), (BOTH, bare)):
        assert not unconfigured.diff(URN, olds, news).changes


def test_a_host_that_is_no_text_is_a_failure_of_the_check(unconfigured: Plugin) -> None:
    news = a_set(SQL01={**entry(SQL01), "host": 5})
    assert unconfigured.check(URN, news)[1] == {
        'assignments["SQL01"].host': "the host of the VM 'SQL01' is 5.0: give its name as text."
    }


def test_a_set_that_is_removed_from_a_program_leaves_vms_assigned_that_are_not_listed(
    simulator: Simulator, plugin: Plugin, pulumi_engine: Engine
) -> None:
    _, state = plugin.create(URN, BOTH)
    simulator.hosts_off = {"HV-02"}
    # As after a rename, by a program whose look-ups do not find the VM.
    plugin.check(urn(SET, "renamed"), WITHOUT_SQL02)
    plugin.delete(URN, "it", state)
    assert pairs(simulator, "DELETE") == []
    assert {(SQL01, NAS01), (SQL02, NAS01)} <= {*simulator.inventory.assignments}
    assert pulumi_engine.warnings[0].startswith(
        "The server does not list SQL02 (on host HV-02) at present: a host may be off. They stay "
        "assigned, and the state drops them together with the set. "
    )


def test_a_set_is_destroyed_with_what_is_not_listed(simulator: Simulator, plugin: Plugin) -> None:
    state = a_set(**BOTH["assignments"])
    simulator.inventory.assignments |= {(SQL01, NAS01): None, (SQL02, NAS01): None}
    simulator.hosts_off = {"HV-02"}
    plugin.delete(URN, "it", state)
    assert sorted(pairs(simulator, "DELETE")) == sorted([f"{SQL01}/{NAS01}", f"{SQL02}/{NAS01}"])


def test_a_vm_of_a_set_that_is_gone_with_its_location_is_dropped_where_the_others_are_known(
    simulator: Simulator, plugin: Plugin
) -> None:
    state = a_set(SQL01=entry(SQL01, NAS=NAS01), GONE=entry(NOWHERE, GONE=NOWHERE))
    simulator.inventory.assignments[SQL01, NAS01] = None
    _, _, found = plugin.read(URN, "it", state, state)
    held = {label: list(vm["backupLocationIds"]) for label, vm in found["assignments"].items()}
    assert held == {"SQL01": ["NAS"], "GONE": []}
    plugin.delete(URN, "it", state)
    assert (SQL01, NAS01) not in simulator.inventory.assignments
