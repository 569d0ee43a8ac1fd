"""The full plugin, as a user of the Pulumi CLI sees it from a program in Python."""

from __future__ import annotations

import json
import re
import sys
import uuid
from typing import Any

import pytest
from e2e.stack import MakeStack, Stack, assigned, met, pairs, wait_until
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
)

from pulumi_vmbackup.simulator import Behavior, Fault, Inventory, Simulator, serve

ON_POSIX = pytest.mark.skipif(
    sys.platform == "win32", reason="processes are not stopped like this on Windows"
)
PROGRAM = """\
import json
import pathlib

import pulumi

import pulumi_vmbackup
from pulumi_vmbackup import plugin

wanted = json.loads(pathlib.Path("wanted.json").read_text())
providers = {
    name: plugin.Provider(name, **inputs) for name, inputs in wanted["providers"].items()
}


def options(name):
    return pulumi.ResourceOptions(provider=providers.get(wanted["provider_of"].get(name)))


for name, (vm_ref, location_id) in wanted["singles"].items():
    plugin.VmBackupLocationAssignment(
        name, vm_ref=vm_ref, backup_location_id=location_id, opts=options(name)
    )
for name, (vm_ref, location_id) in wanted["dynamic"].items():
    pulumi_vmbackup.VmBackupLocationAssignment(
        name, vm_ref=vm_ref, backup_location_id=location_id
    )
for name, assignments in wanted["sets"].items():
    plugin.VmBackupLocationAssignmentSet(
        name,
        assignments=assignments,
        exclusive=name in wanted["exclusive"],
        opts=options(name),
    )
"""


def want(stack: Stack, *, exclusive: tuple[str, ...] = (), **resources: Any) -> None:
    """What the program declares from now on: singles, dynamic and sets, each by its name."""
    kinds = ("singles", "dynamic", "sets", "providers", "provider_of")
    wanted = {kind: resources.get(kind, {}) for kind in kinds}
    stack.program(PROGRAM)
    (stack.folder / "wanted.json").write_text(json.dumps({**wanted, "exclusive": exclusive}))


def resource(stack: Stack, name: str) -> dict[str, Any]:
    (found,) = [
        each for each in stack.state()["resources"] if each["urn"].rpartition("::")[2] == name
    ]
    return dict(found)


def ids_of(stack: Stack, name: str) -> dict[str, set[str]]:
    """What the state says that a set assigns: the ids of the locations by the VM's ref."""
    return {
        vm["vmRef"]: set(vm["backupLocationIds"].values())
        for vm in resource(stack, name)["outputs"]["assignments"].values()
    }


def errors(output: str) -> list[str]:
    """The errors that Pulumi printed at the end, but for its own."""
    diagnostics = output.partition("\nDiagnostics:\n")[2]
    return [
        line
        for line in re.findall(r"^ +error: (.*)$", diagnostics, re.MULTILINE)
        if line != "update failed"
    ]


def test_a_whole_life_of_a_single_and_of_a_set(make_stack: MakeStack, simulator: Simulator) -> None:
    stack = make_stack(VMBACKUP_PASSWORD="")
    stack.pulumi("config", "set", "--secret", "vmbackup:password", PASSWORD)
    singles = {"sql01": (SQL01, OFFSITE01)}
    want(stack, singles=singles, sets={"rest": {FILE01: [OFFSITE01], EXCH01: [NAS01, OFFSITE01]}})
    stack.pulumi("preview")
    assert not simulator.calls
    stack.up()
    assert assigned(simulator) == {
        f"{SQL01}/{OFFSITE01}",
        f"{FILE01}/{OFFSITE01}",
        f"{EXCH01}/{NAS01}",
        f"{EXCH01}/{OFFSITE01}",
    }
    assert len(simulator.tokens) == 1
    assert len(pairs(simulator, "POST")) == 4
    outputs = resource(stack, "sql01")["outputs"]
    assert outputs["vmName"] == "SQL01"
    assert outputs["locationPath"] == r"\\OFFSITE01\VMBackups"
    assert outputs["kind"] == "offsite"
    simulator.calls.clear()
    stack.up("--expect-no-changes")
    assert not simulator.calls

    # Drift: a refresh shows it, and the next run makes it right.
    del simulator.inventory.assignments[SQL01, OFFSITE01]
    del simulator.inventory.assignments[EXCH01, NAS01]
    simulator.inventory.assignments[FILE01, ROTATING] = None  # somebody else's
    stack.refresh()
    assert ids_of(stack, "rest") == {FILE01: {OFFSITE01}, EXCH01: {OFFSITE01}}
    simulator.calls.clear()
    stack.up()
    assert sorted(pairs(simulator, "POST")) == sorted([f"{SQL01}/{OFFSITE01}", f"{EXCH01}/{NAS01}"])

    want(stack, singles=singles, sets={"rest": {FILE01: [ROTATING], SQL02: [NAS01]}})
    simulator.calls.clear()
    stack.up()
    written = [call.method for call in simulator.calls if call.method in ("POST", "DELETE")]
    assert written == ["POST"] * 3 + ["DELETE"] * 3 + ["POST"]  # with those of the session
    stack.pulumi("destroy", "--yes", "--skip-preview")
    assert not assigned(simulator)
    assert not simulator.sessions


def test_a_preview_of_a_large_set_shows_what_changes_and_nothing_else(
    make_stack: MakeStack,
) -> None:
    inventory = Inventory.sample()
    vm = inventory.virtual_machines[SQL01]
    refs = [str(uuid.uuid4()) for _ in range(300)]
    inventory.virtual_machines = {ref: {**vm, "AltaroVirtualMachineRef": ref} for ref in refs}
    inventory.assignments.clear()
    simulator = Simulator(inventory, password=PASSWORD)
    with serve(simulator) as base_url:
        stack = make_stack(VMBACKUP_BASE_URL=base_url, VMBACKUP_PARALLEL_REQUESTS="8")
        vms = {ref: [OFFSITE01] for ref in refs}
        want(stack, sets={"site": vms})
        shown = stack.up()
        assert "300 of 300 assigned" in shown
        assert shown.count("of 300 assigned") < 20
        assert len(pairs(simulator, "POST")) == 300
        assert simulator.connections <= 8
        vms[refs[7]] = [OFFSITE01, ROTATING]
        want(stack, sets={"site": vms})
        preview = stack.pulumi("preview", "--diff")
        assert refs[7] in preview
        assert [ref for ref in refs if ref != refs[7] and ref in preview] == []
        simulator.calls.clear()
        stack.up()
        assert pairs(simulator, "POST") == [f"{refs[7]}/{ROTATING}"]
        simulator.calls.clear()
        stack.refresh()
        assert sorted(pairs(simulator, "GET")) == sorted(refs)
    assert len(simulator.tokens) == 3


def test_an_exclusive_set_unassigns_strangers_and_says_so_before(
    stack: Stack, simulator: Simulator
) -> None:
    want(stack, sets={"dc01": {DC01: [OFFSITE01]}}, exclusive=("dc01",))
    warning = r"The set is exclusive, so `pulumi up` will un-assign"
    assert rf"{warning} {DC01} from E:\VMBackups." in stack.pulumi("preview")
    stack.up()
    assert simulator.inventory.locations_of(DC01) == [OFFSITE01]
    simulator.inventory.assignments[DC01, ROTATING] = None
    stack.refresh()
    want(stack, sets={"dc01": {DC01: [OFFSITE01]}}, exclusive=("dc01",))
    assert "Rotating disks" in stack.pulumi("preview", "--diff")
    stack.up()
    assert simulator.inventory.locations_of(DC01) == [OFFSITE01]


# A refactoring never un-assigns


A, B = (SQL01, NAS01), (FILE01, OFFSITE01)
AS_SET = {SQL01: [NAS01], FILE01: [OFFSITE01]}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"singles": {"a": A, "b": B}}, {"singles": {"b": A, "c": B}}),
        ({"dynamic": {"a": A, "b": B}}, {"singles": {"a": A, "b": B}}),
        ({"singles": {"a": A, "b": B}}, {"dynamic": {"a": A, "b": B}}),
        ({"singles": {"a": A, "b": B}}, {"sets": {"all": AS_SET}}),
        ({"sets": {"all": AS_SET}}, {"sets": {"renamed": AS_SET}}),
    ],
    ids=["renamed", "dynamic to plugin", "plugin to dynamic", "singles to a set", "renamed set"],
)
def test_no_refactor_unassigns(
    before: dict[str, Any], after: dict[str, Any], stack: Stack, simulator: Simulator
) -> None:
    want(stack, **before)
    stack.up()
    want(stack, **after)
    stack.up()
    assert pairs(simulator, "DELETE") == []
    assert assigned(simulator) == {"/".join(A), "/".join(B)}
    stack.refresh("--expect-no-changes")
    want(stack)
    stack.up()
    assert not assigned(simulator)


def test_what_leaves_a_set_for_a_resource_of_its_own_is_assigned_at_the_end(
    stack: Stack, simulator: Simulator
) -> None:
    want(stack, sets={"all": AS_SET})
    stack.up()
    want(stack, sets={"all": {SQL01: [NAS01]}}, singles={"b": B})
    stack.up()
    assert assigned(simulator) == {"/".join(A), "/".join(B)}


def test_another_provider_resource_for_the_same_server_does_not_unassign(
    make_stack: MakeStack, simulator: Simulator, base_url: str
) -> None:
    stack = make_stack(VMBACKUP_BASE_URL="", VMBACKUP_USERNAME="")
    account = {"base_url": base_url, "username": "Administrator"}
    providers = {"one": account, "two": account}
    want(stack, singles={"a": A}, providers=providers, provider_of={"a": "one"})
    stack.up()
    want(stack, singles={"a": A}, providers=providers, provider_of={"a": "two"})
    stack.up()
    assert pairs(simulator, "DELETE") == []
    assert assigned(simulator) == {"/".join(A)}


def test_one_pair_in_two_resources_fails_the_preview(stack: Stack, simulator: Simulator) -> None:
    want(stack, singles={"a": A}, sets={"all": AS_SET})
    output = stack.pulumi("preview", fails=True)
    assert "VmBackupLocationAssignment::a and urn:" in output
    assert f"both assign VM {SQL01} to backup location {NAS01}: remove one of them." in output
    assert "Traceback" not in output
    assert not simulator.calls


# Settings


def test_each_provider_resource_has_its_server_and_its_secrets(
    make_stack: MakeStack, simulator: Simulator, base_url: str
) -> None:
    other = Simulator(username="backup", password="Pa55-of-site-b")
    with serve(other) as url_of_other:
        stack = make_stack(VMBACKUP_BASE_URL=base_url)
        inputs = {"base_url": url_of_other, "username": "backup", "password": "Pa55-of-site-b"}
        want(
            stack,
            singles={"a": A, "b": B},
            providers={"site-b": inputs},
            provider_of={"b": "site-b"},
        )
        stack.up()
        stack.refresh("--expect-no-changes")
        assert assigned(simulator) == {"/".join(A)}
        assert assigned(other) == {"/".join(B)}
        stack.pulumi("destroy", "--yes", "--skip-preview")
        assert not assigned(simulator)
        assert not assigned(other)
    assert not other.sessions
    assert "Pa55-of-site-b" not in stack.output + json.dumps(stack.state())


def test_a_password_that_changed_after_up_is_taken_at_once(
    make_stack: MakeStack, simulator: Simulator
) -> None:
    stack = make_stack(VMBACKUP_PASSWORD="")
    stack.pulumi("config", "set", "--secret", "vmbackup:password", PASSWORD)
    want(stack, singles={"a": A})
    stack.up()
    simulator.password = "Pa55-of-next-month"
    stack.pulumi("config", "set", "--secret", "vmbackup:password", "Pa55-of-next-month")
    stack.refresh("--expect-no-changes")
    stack.pulumi("destroy", "--yes", "--skip-preview")
    assert not assigned(simulator)


def test_a_setting_that_there_is_none_of_fails_the_preview(stack: Stack) -> None:
    want(stack, singles={"a": A})
    stack.pulumi("config", "set", "vmbackup:usrname", "x")
    output = stack.pulumi("preview", fails=True)
    assert "'usrname' is not a setting of vmbackup: use 'username'" in output
    assert "Traceback" not in output


# Errors, and what is left of a run that fails


def test_an_error_is_a_sentence_without_a_traceback(stack: Stack, simulator: Simulator) -> None:
    want(stack, singles={"a": (NOWHERE, NAS01)})
    output = stack.up(fails=True)
    assert errors(output) == [
        f"Could not assign VM {NOWHERE} to backup location {NAS01}: the server says "
        '"InvalidParameter / The virtual machine was not found". VM Backup manages no VM with '
        "this ref: check the ref, or add the VM to VM Backup."
    ]
    assert "Traceback" not in output
    assert not simulator.sessions


def test_what_failed_of_a_set_is_all_that_the_next_run_sends(
    stack: Stack, simulator: Simulator
) -> None:
    vm = simulator.inventory.virtual_machines[SQL01]
    vms = {str(uuid.uuid4()): [OFFSITE01] for _ in range(49)}
    simulator.inventory.virtual_machines |= {
        ref: {**vm, "AltaroVirtualMachineRef": ref} for ref in vms
    }
    want(stack, sets={"all": {**vms, NOWHERE: [OFFSITE01]}})
    output = stack.up(fails=True)
    assert (
        f'Could not assign 1 of 50: {NOWHERE} to {OFFSITE01}: the server says "InvalidParameter / '
        'The virtual machine was not found".' in output
    )
    assert "Traceback" not in output
    assert len(assigned(simulator)) == 49
    assert ids_of(stack, "all") == {NOWHERE: set(), **{ref: {OFFSITE01} for ref in vms}}
    simulator.calls.clear()
    want(stack, sets={"all": vms})
    stack.up()
    assert not simulator.calls
    want(stack, sets={"all": {**vms, SQL02: [NAS01]}})
    stack.up()
    assert pairs(simulator, "POST") == [f"{SQL02}/{NAS01}"]


def test_a_set_on_a_server_that_refuses_a_second_primary_location_keeps_the_old_one(
    stack: Stack, simulator: Simulator
) -> None:
    simulator.behavior = Behavior(second_primary="refuse")
    want(stack, sets={"all": {SQL01: [NAS01], FILE01: [NAS01]}})
    stack.up()
    want(stack, sets={"all": {SQL01: [DISK_E], FILE01: [OFFSITE01]}})
    output = stack.up(fails=True)
    assert simulator.inventory.locations_of(SQL01) == [NAS01]
    assert simulator.inventory.locations_of(FILE01) == [OFFSITE01]
    assert "in one `pulumi up`" in output
    assert ids_of(stack, "all") == {SQL01: {NAS01}, FILE01: {OFFSITE01}}
    want(stack, sets={"all": {SQL01: [], FILE01: [OFFSITE01]}})
    stack.up()
    want(stack, sets={"all": {SQL01: [DISK_E], FILE01: [OFFSITE01]}})
    stack.up()
    assert simulator.inventory.locations_of(SQL01) == [DISK_E]


def test_a_server_that_stops_answering_ends_a_set_after_a_few_failures(
    make_stack: MakeStack, simulator: Simulator
) -> None:
    stack = make_stack(VMBACKUP_TIMEOUT_SECONDS="5")
    vms = list(simulator.inventory.virtual_machines)[:7]
    want(stack, sets={"all": {vm: [OFFSITE01, ROTATING] for vm in vms}})
    simulator.faults.append(Fault("error", "POST /vms", skip=2, times=None, acted=False))
    output = stack.up(fails=True)
    assert re.search(r"Could not assign 12 of 14:.* \d were not tried\.", output)
    assert len(assigned(simulator)) >= 2
    simulator.faults.clear()
    stack.up()
    assert len(assigned(simulator)) == 14


@ON_POSIX
@pytest.mark.parametrize("group", [False, True], ids=["the CLI", "the foreground job"])
def test_an_interrupted_set_leaves_the_state_that_the_server_has_and_no_session(
    group: bool, stack: Stack, simulator: Simulator
) -> None:
    vms = list(simulator.inventory.virtual_machines)[:7]
    want(stack, sets={"all": {vm: [OFFSITE01, ROTATING] for vm in vms}})
    simulator.answer_seconds = 0.1
    reached = Fault("session over", "POST /vms", skip=3)  # which is survived
    simulator.faults.append(reached)
    with stack.start_up() as run:
        run.until(met(reached))
        run.interrupt(group=group)
        run.end(fails=True)
    assert 3 < len(assigned(simulator)) < 14
    held = {f"{ref}/{id_}" for ref, ids in ids_of(stack, "all").items() for id_ in ids}
    assert held == assigned(simulator)
    assert not simulator.sessions
    simulator.answer_seconds = 0
    simulator.calls.clear()
    stack.up()
    assert len(pairs(simulator, "POST")) == 14 - len(held)


@ON_POSIX
def test_after_a_kill_in_the_middle_of_a_set_the_next_run_makes_everything_right(
    stack: Stack, simulator: Simulator
) -> None:
    vms = list(simulator.inventory.virtual_machines)[:7]
    want(stack, sets={"all": {vm: [OFFSITE01, ROTATING] for vm in vms}})
    hangs = Fault("stall", "POST /vms", skip=5, times=None)
    simulator.faults.append(hangs)
    with stack.start_up() as run:
        run.until(met(hangs))
        run.kill()
    simulator.faults.clear()
    stack.pulumi("cancel", "--yes")
    stack.up()
    assert len(assigned(simulator)) == 14


@ON_POSIX
def test_a_plugin_whose_cli_was_killed_ends_by_itself(stack: Stack, simulator: Simulator) -> None:
    want(stack, singles={"a": A})
    hangs = Fault("stall", "POST /vms")
    simulator.faults.append(hangs)
    with stack.start_up() as run:
        run.until(met(hangs))
        plugin = [
            each for each in run.processes() if "resource-vmbackup" in " ".join(each.cmdline())
        ]
        run.kill_cli()
    assert plugin
    simulator.faults.clear()
    wait_until(lambda: not any(each.is_running() for each in plugin))
    assert not simulator.sessions
