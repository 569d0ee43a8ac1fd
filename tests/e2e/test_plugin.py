"""The full plugin, as a user of the Pulumi CLI sees it from a program in Python."""

from __future__ import annotations

import json
import re
import sys
import uuid
from typing import Any

import pytest
from e2e.stack import ENCRYPTED, MakeStack, Stack, assigned, has_ended, kill, met, pairs, wait_until
from sample import (
    DC01,
    DISK_E,
    EXCH01,
    FILE01,
    NAS01,
    NOWHERE,
    OFFSITE01,
    ROTATING,
    SQL01,
    SQL02,
)

from pulumi_vmbackup.simulator import Behavior, Fault, Simulator, serve

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
    stack.config({"vmbackup:password": ENCRYPTED})
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
    assert len(pairs(simulator, "POST")) == 4
    outputs = resource(stack, "sql01")["outputs"]
    assert outputs["vmName"] == "SQL01"
    assert outputs["locationPath"] == r"\\OFFSITE01\VMBackups"
    assert outputs["kind"] == "offsite"
    simulator.calls.clear()
    stack.up("--expect-no-changes")
    assert not simulator.calls

    # Drift: a refresh shows it, and the next run makes it right. A password that has changed since
    # is taken at once.
    simulator.password = "Pa55-of-next-month"
    stack.pulumi("config", "set", "--secret", "vmbackup:password", simulator.password)
    del simulator.inventory.assignments[SQL01, OFFSITE01]
    del simulator.inventory.assignments[EXCH01, NAS01]
    simulator.inventory.assignments[FILE01, ROTATING] = None  # somebody else's
    stack.refresh()
    assert ids_of(stack, "rest") == {FILE01: {OFFSITE01}, EXCH01: {OFFSITE01}}
    simulator.calls.clear()
    want(stack, singles=singles, sets={"rest": {FILE01: [ROTATING], EXCH01: [NAS01]}})
    stack.up("--parallel", "1")
    of_the_set = [
        call.method
        for call in simulator.calls
        if re.search(f"/vms/backuplocations/.*/({FILE01}|{EXCH01})/", call.path)
    ]
    assert of_the_set == ["POST"] * 2 + ["DELETE"] * 2
    assert len(pairs(simulator, "POST")) == 3
    assert assigned(simulator) == {
        f"{SQL01}/{OFFSITE01}",
        f"{FILE01}/{ROTATING}",
        f"{EXCH01}/{NAS01}",
    }
    stack.destroy()
    assert not assigned(simulator)
    assert not simulator.sessions
    assert "Pa55-of-next-month" not in stack.output + json.dumps(stack.state())


def test_what_failed_of_a_large_set_is_all_that_the_next_run_sends(
    stack: Stack, simulator: Simulator
) -> None:
    vm = simulator.inventory.virtual_machines[SQL01]
    vms = {str(uuid.uuid4()): [OFFSITE01] for _ in range(49)}
    simulator.inventory.virtual_machines |= {
        ref: {**vm, "AltaroVirtualMachineRef": ref} for ref in vms
    }
    want(stack, sets={"all": {**vms, NOWHERE: [OFFSITE01]}})
    output = stack.up(fails=True)
    assert re.search(r"\d+ of 50 assigned", output)  # its progress
    assert (
        f'Could not assign 1 of 50: {NOWHERE} to {OFFSITE01}: the server says "InvalidParameter / '
        'The virtual machine was not found".' in output
    )
    assert "Traceback" not in output
    assert len(assigned(simulator)) == 49
    assert ids_of(stack, "all") == {NOWHERE: set(), **{ref: {OFFSITE01} for ref in vms}}
    # A preview shows what changes and nothing else, and that is all that is sent.
    want(stack, sets={"all": {**vms, SQL02: [NAS01]}})
    preview = stack.pulumi("preview", "--diff")
    assert SQL02 in preview
    assert [ref for ref in vms if ref in preview] == []
    simulator.calls.clear()
    stack.up()
    assert pairs(simulator, "POST") == [f"{SQL02}/{NAS01}"]


def test_an_exclusive_set_unassigns_strangers_and_says_so_before(
    stack: Stack, simulator: Simulator
) -> None:
    want(stack, sets={"dc01": {DC01: [OFFSITE01]}}, exclusive=("dc01",))
    warning = r"The set is exclusive, so `pulumi up` will un-assign"
    assert rf"{warning} {DC01} from E:\VMBackups." in stack.pulumi("preview")
    stack.up()
    assert simulator.inventory.locations_of(DC01) == [OFFSITE01]
    simulator.inventory.assignments[DC01, ROTATING] = None
    assert "Rotating disks" in stack.pulumi("preview", "--refresh", "--diff")
    stack.up("--refresh")
    assert simulator.inventory.locations_of(DC01) == [OFFSITE01]


# A refactoring never un-assigns


A, B = (SQL01, NAS01), (FILE01, OFFSITE01)
AS_SET = {SQL01: [NAS01], FILE01: [OFFSITE01]}


def test_no_refactor_unassigns(stack: Stack, simulator: Simulator, base_url: str) -> None:
    account = {"base_url": base_url, "username": "Administrator"}
    providers = {"one": account, "two": account}  # for the same server
    refactors: list[dict[str, Any]] = [
        {"singles": {"a": A, "b": B}, "providers": providers, "provider_of": {"a": "one"}},
        {"singles": {"a": A, "c": B}, "providers": providers, "provider_of": {"a": "two"}},
        {"dynamic": {"a": A, "c": B}},
        {"singles": {"a": A, "c": B}},
        {"sets": {"all": AS_SET}},
        {"sets": {"renamed": AS_SET}},
    ]
    for declared in refactors:
        want(stack, **declared)
        stack.up()
        assert pairs(simulator, "DELETE") == [], declared
        assert assigned(simulator) == {"/".join(A), "/".join(B)}, declared
    # What leaves a set for a resource of its own is assigned at the end.
    want(stack, sets={"renamed": {SQL01: [NAS01]}}, singles={"b": B})
    stack.up()
    assert assigned(simulator) == {"/".join(A), "/".join(B)}
    stack.refresh("--expect-no-changes")
    want(stack)
    stack.up()
    assert not assigned(simulator)


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
        assert assigned(simulator) == {"/".join(A)}
        assert assigned(other) == {"/".join(B)}
        stack.destroy()
        assert not assigned(simulator)
        assert not assigned(other)
    assert not other.sessions
    assert "Pa55-of-site-b" not in stack.output + json.dumps(stack.state())


def test_a_setting_that_there_is_none_of_fails_the_preview(stack: Stack) -> None:
    want(stack, singles={"a": A})
    stack.config({"vmbackup:usrname": "x"})
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


@pytest.mark.full
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


@pytest.mark.parametrize(
    "group",
    [pytest.param(False, marks=pytest.mark.full), True],
    ids=["the CLI", "the foreground job"],
)
def test_an_interrupted_set_leaves_the_state_that_the_server_has_and_no_session(
    group: bool, stack: Stack, simulator: Simulator
) -> None:
    vms = list(simulator.inventory.virtual_machines)[:7]
    want(stack, sets={"all": {vm: [OFFSITE01, ROTATING] for vm in vms}})
    hangs = Fault("stall", "POST /vms", skip=3, times=None)
    simulator.faults.append(hangs)
    with stack.start_up() as run:
        run.until(met(hangs))
        run.interrupt(group=group)
        run.until(lambda: "^C received; cancelling" in run.output())
        simulator.faults.clear()
        run.end(fails=True)
    # That no other call is begun is proven in tests/contract, where the time of it is known.
    assert len(assigned(simulator)) > 3
    held = {f"{ref}/{id_}" for ref, ids in ids_of(stack, "all").items() for id_ in ids}
    assert held == assigned(simulator)
    assert not simulator.sessions
    assert not stack.declared_files()
    simulator.calls.clear()
    stack.up()
    assert len(pairs(simulator, "POST")) == 14 - len(held)


def test_after_a_kill_in_the_middle_of_a_set_the_next_run_makes_everything_right(
    stack: Stack, simulator: Simulator
) -> None:
    simulator.session_seconds = 5  # so long the session of the killed run keeps the next one out
    vms = list(simulator.inventory.virtual_machines)[:7]
    want(stack, sets={"all": {vm: [OFFSITE01, ROTATING] for vm in vms}})
    hangs = Fault("stall", "POST /vms", skip=5, times=None)
    simulator.faults.append(hangs)
    with stack.start_up() as run:
        run.until(met(hangs))
        run.kill()
    # On Windows, the system removes it at once; elsewhere, the next run does.
    assert len(stack.declared_files()) == (0 if sys.platform == "win32" else 1)
    simulator.faults.clear()
    stack.pulumi("cancel", "--yes")
    stack.up()
    assert len(assigned(simulator)) == 14
    assert not stack.declared_files()


def test_a_plugin_whose_cli_was_killed_ends_by_itself(stack: Stack, simulator: Simulator) -> None:
    want(stack, singles={"a": A})
    hangs = Fault("stall", "POST /vms")
    simulator.faults.append(hangs)
    with stack.start_up() as run:
        run.until(met(hangs))
        plugin = [
            each for each in run.processes() if "resource-vmbackup" in " ".join(each.cmdline())
        ]
        left = run.kill_cli()
    try:
        assert plugin
        simulator.faults.clear()
        wait_until(lambda: all(map(has_ended, plugin)))
        assert not simulator.sessions
    finally:
        kill(left)
