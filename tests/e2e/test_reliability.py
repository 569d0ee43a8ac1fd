"""One primary location, lagging listings, and refreshes that drop what is gone and nothing else."""

from __future__ import annotations

import pytest
from e2e.stack import MakeStack, Stack, assigned, pairs
from sample import DISK_E, EXCH01, FILE01, NAS01, OFFSITE01, ROTATING, SQL01

from pulumi_vmbackup.simulator import Behavior, Fault, Simulator, serve

A, B, C = (SQL01, NAS01), (FILE01, OFFSITE01), (EXCH01, OFFSITE01)


# Replacements


PROGRAM_THAT_DELETES_FIRST = """\
import os

import pulumi

from pulumi_vmbackup import VmBackupLocationAssignment

VmBackupLocationAssignment(
    "sql01",
    vm_ref=os.environ["VM_REF"],
    backup_location_id=os.environ["LOCATION_ID"],
    opts=pulumi.ResourceOptions(delete_before_replace=True),
)
"""


def test_a_second_primary_location_that_is_refused_can_be_assigned_by_deleting_first(
    make_stack: MakeStack, simulator: Simulator
) -> None:
    simulator.behavior = Behavior(second_primary="refuse")
    stack = make_stack(VM_REF=SQL01, LOCATION_ID=NAS01)
    stack.program(PROGRAM_THAT_DELETES_FIRST.replace("delete_before_replace=True", ""))
    stack.up()
    stack.environment["LOCATION_ID"] = DISK_E
    refused = stack.up(fails=True)
    assert "ResourceOptions(delete_before_replace=True)" in refused
    assert "and aliases= if the resource was renamed" in refused
    assert simulator.inventory.locations_of(SQL01) == [NAS01]
    assert stack.ids() == {"sql01": f"{SQL01}/{NAS01}"}
    assert pairs(simulator, "DELETE") == []
    # With another name at the same time, Pulumi needs to know that it is the same resource.
    renamed = PROGRAM_THAT_DELETES_FIRST.replace('"sql01"', '"renamed"')
    stack.program(renamed.replace("=True", '=True, aliases=[pulumi.Alias(name="sql01")]'))
    stack.up()
    assert simulator.inventory.locations_of(SQL01) == [DISK_E]
    assert stack.ids() == {"renamed": f"{SQL01}/{DISK_E}"}


@pytest.mark.parametrize(
    "unassigned_delete", [pytest.param("accept", marks=pytest.mark.full), "refuse"]
)
def test_a_server_that_moves_a_vm_to_its_second_primary_location_can_replace_too(
    unassigned_delete: str, stack: Stack, simulator: Simulator
) -> None:
    simulator.behavior = Behavior(
        second_primary="move",
        unassigned_delete=unassigned_delete,  # type: ignore[arg-type]  # one of its literals
    )
    stack.assignments(sql01=(SQL01, NAS01))
    stack.up()
    stack.assignments(sql01=(SQL01, DISK_E))
    stack.up()
    assert pairs(simulator, "DELETE") == [f"{SQL01}/{NAS01}"]  # of a pair that is gone already
    assert stack.recorded() == [("sql01", f"{SQL01}/{DISK_E}")]
    assert simulator.inventory.locations_of(SQL01) == [DISK_E]
    stack.refresh("--expect-no-changes")


# Listings that lag


def test_a_refresh_right_after_up_drops_nothing_while_listings_lag(
    make_stack: MakeStack, simulator: Simulator
) -> None:
    simulator.behavior = Behavior(lag_seconds=600)
    stack = make_stack(VMBACKUP_SETTLE_SECONDS="600")
    # Also when the answer to a new assignment is lost.
    lost = Fault("reset", "POST /vms/backuplocations", skip=1)
    simulator.faults.append(lost)
    stack.assignments(a=A, b=B, c=C)
    stack.up()
    assert lost.hits == 1
    simulator.calls.clear()
    stack.refresh("--expect-no-changes")
    assert len(pairs(simulator, "GET")) == 3
    assert set(stack.ids().values()) == assigned(simulator)
    assert len(stack.ids()) == 3


def remove_vm(simulator: Simulator, vm_ref: str) -> None:
    del simulator.inventory.virtual_machines[vm_ref]
    for location in simulator.inventory.locations_of(vm_ref):
        del simulator.inventory.assignments[vm_ref, location]


def test_what_is_gone_is_dropped_by_refresh_and_no_obstacle_to_replace_and_destroy(
    stack: Stack, simulator: Simulator
) -> None:
    stack.assignments(a=A, b=B, c=C)
    stack.up()
    # What was removed after it had settled, which takes no time here, and what went with its VM.
    simulator.inventory.assignments.pop(A)
    simulator.inventory.assignments[SQL01, ROTATING] = None  # somebody else's
    remove_vm(simulator, EXCH01)
    stack.refresh()
    assert stack.ids().keys() == {"b"}
    simulator.calls.clear()
    stack.assignments(a=A, b=(FILE01, NAS01))
    stack.up("--parallel", "1")
    assert stack.ids().keys() == {"a", "b"}
    assert sorted(simulator.inventory.locations_of(SQL01)) == sorted([NAS01, ROTATING])
    # Another location is assigned before the old one is taken back.
    writes = [call.method for call in simulator.calls if f"/{FILE01}/" in call.path]
    assert writes == ["POST", "DELETE"]
    assert simulator.inventory.locations_of(FILE01) == [NAS01]

    remove_vm(simulator, FILE01)
    stack.destroy()
    assert stack.ids() == {}
    assert assigned(simulator) == {f"{SQL01}/{ROTATING}"}
    assert not simulator.sessions


# Servers that give no definite answer


def outputs(stack: Stack) -> dict[str, object]:
    return {each["urn"]: each.get("outputs") for each in stack.state()["resources"]}


def test_a_server_that_gives_no_answer_drops_nothing_from_the_state(
    stack: Stack, simulator: Simulator
) -> None:
    stack.assignments(a=A)
    stack.up()
    before = outputs(stack)
    held = assigned(simulator)
    # One after the other, since a listing is asked for three times.
    faults = [Fault("error", "GET"), Fault("html", "GET"), Fault("reset", "GET")]
    simulator.faults = list(faults)
    stack.refresh(fails=True)
    assert [fault.hits for fault in faults] == [1, 1, 1]
    assert outputs(stack) == before
    # A server that has lost its database, or whose VMs are not loaded yet.
    simulator.faults = []
    vms, simulator.inventory.virtual_machines = simulator.inventory.virtual_machines, {}
    stack.refresh(fails=True)
    simulator.inventory.virtual_machines = vms
    assert outputs(stack) == before
    with serve(Simulator(password="changed since")) as refusing:
        stack.environment["VMBACKUP_BASE_URL"] = refusing
        stack.destroy(fails=True)
    assert outputs(stack) == before
    assert assigned(simulator) == held
