"""The life of assignments, as a user of the Pulumi CLI sees it."""

from __future__ import annotations

import uuid

import pytest
from e2e.stack import MakeStack, Stack, pairs
from sample import DC01, DISK_E, FILE01, NAS01, OFFSITE01, PASSWORD, ROTATING, SQL01

from pulumi_vmbackup.simulator import Behavior, Inventory, Simulator, serve

PAIR = f"{SQL01}/{NAS01}"


def test_a_whole_life_in_which_no_secret_is_shown(
    make_stack: MakeStack, simulator: Simulator
) -> None:
    stack = make_stack(VMBACKUP_PASSWORD="")
    stack.pulumi("config", "set", "--secret", "vmbackup:password", PASSWORD)
    stack.assignments(sql01=(SQL01, NAS01), file01=(FILE01, OFFSITE01))
    stack.pulumi("preview")
    assert simulator.calls == []

    stack.up()
    assert sorted(pairs(simulator, "POST")) == sorted([PAIR, f"{FILE01}/{OFFSITE01}"])
    resource = stack.resources()["sql01"]
    assert resource["id"] == PAIR
    assert resource["inputs"].keys() == {"__provider", "vm_ref", "backup_location_id"}
    outputs = resource["outputs"]
    assert outputs["vm_name"] == "SQL01"
    assert outputs["location_path"] == r"\\NAS01\VMBackups"
    assert outputs["kind"] == "primary"

    simulator.calls.clear()
    stack.up("--expect-no-changes")
    assert simulator.calls == []
    state = stack.pulumi("stack", "export")
    assert SQL01 in state
    assert PASSWORD not in state

    stack.pulumi("destroy", "--yes", "--skip-preview")
    assert len(pairs(simulator, "DELETE")) == 2
    assert list(simulator.inventory.assignments) == [(DC01, DISK_E)]  # which the stack never knew
    assert not simulator.sessions

    assert PASSWORD not in stack.output
    assert len(simulator.tokens) == 2
    assert [token for token in simulator.tokens if token in stack.output] == []


def test_sixty_assignments_cost_a_call_each_and_one_session(make_stack: MakeStack) -> None:
    inventory = Inventory.sample()
    vm = inventory.virtual_machines[SQL01]
    refs = [str(uuid.uuid4()) for _ in range(60)]
    inventory.virtual_machines = {ref: {**vm, "AltaroVirtualMachineRef": ref} for ref in refs}
    inventory.assignments.clear()
    for command, method, most_calls in (
        ("up", "POST", 68),
        ("refresh", "GET", 62),
        ("destroy", "DELETE", 68),
    ):
        simulator = Simulator(inventory, password=PASSWORD)
        with serve(simulator) as base_url:
            if command == "up":
                stack = make_stack(VMBACKUP_BASE_URL=base_url)
                stack.assignments(**{f"vm{i}": (ref, OFFSITE01) for i, ref in enumerate(refs)})
            stack.environment["VMBACKUP_BASE_URL"] = base_url
            stack.pulumi(command, "--yes", "--skip-preview")
        assert len(pairs(simulator, method)) == 60
        assert len(simulator.calls) <= most_calls
        assert len(simulator.tokens) == 1
        assert not simulator.sessions
        assert simulator.connections <= 12
    assert not inventory.assignments


def test_refresh_drops_what_somebody_removed_and_the_next_up_assigns_it_again(
    stack: Stack, simulator: Simulator
) -> None:
    stack.assignments(sql01=(SQL01, NAS01), file01=(FILE01, OFFSITE01))
    stack.up()
    simulator.inventory.assignments[SQL01, ROTATING] = None  # somebody else's
    del simulator.inventory.assignments[SQL01, NAS01]

    stack.pulumi("refresh", "--yes", "--skip-preview")
    assert stack.resources().keys() == {"file01"}
    stack.up()
    assert stack.resources().keys() == {"sql01", "file01"}
    assert sorted(simulator.inventory.locations_of(SQL01)) == sorted([NAS01, ROTATING])


def test_what_is_assigned_already_is_adopted(stack: Stack, simulator: Simulator) -> None:
    simulator.behavior = Behavior(second_post="refuse")
    stack.assignments(dc01=(DC01, DISK_E))
    stack.up()
    assert stack.resources()["dc01"]["outputs"]["vm_name"] == "DC01"
    assert pairs(simulator, "GET") == [DC01]


def test_a_server_that_gives_no_answer_drops_nothing_from_the_state(
    stack: Stack, simulator: Simulator
) -> None:
    stack.assignments(sql01=(SQL01, NAS01))
    stack.up()
    outputs = stack.resources()["sql01"]["outputs"]
    with serve(Simulator(password="changed since")) as refusing:
        stack.environment["VMBACKUP_BASE_URL"] = refusing
        stack.pulumi("refresh", "--yes", "--skip-preview", fails=True)
        stack.pulumi("destroy", "--yes", "--skip-preview", fails=True)
    stack.pulumi("refresh", "--yes", "--skip-preview", fails=True)  # nothing listens there now
    assert stack.resources()["sql01"]["outputs"] == outputs
    assert simulator.inventory.locations_of(SQL01) == [NAS01]


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


def test_another_location_is_assigned_before_the_old_one_is_taken_back(
    stack: Stack, simulator: Simulator
) -> None:
    stack.assignments(sql01=(SQL01, NAS01))
    stack.up()
    stack.assignments(sql01=(SQL01, OFFSITE01))
    simulator.calls.clear()
    stack.up()
    writes = [call.method for call in simulator.calls if "/vms/backuplocations/" in call.path]
    assert writes == ["POST", "DELETE"]
    assert simulator.inventory.locations_of(SQL01) == [OFFSITE01]


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
    assert simulator.inventory.locations_of(SQL01) == [NAS01]
    stack.program(PROGRAM_THAT_DELETES_FIRST)
    stack.up()
    assert simulator.inventory.locations_of(SQL01) == [DISK_E]


@pytest.mark.parametrize("written", [SQL01.upper(), f"{{{SQL01.upper()}}}"], ids=str)
def test_an_id_in_another_form_is_no_difference(written: str, stack: Stack) -> None:
    stack.assignments(sql01=(SQL01, NAS01))
    stack.up()
    stack.assignments(sql01=(written, NAS01.upper()))
    stack.pulumi("preview", "--expect-no-changes")
    stack.up("--expect-no-changes")
    assert stack.resources()["sql01"]["inputs"]["vm_ref"] == SQL01
