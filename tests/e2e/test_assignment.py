"""The life of assignments, as a user of the Pulumi CLI sees it."""

from __future__ import annotations

import uuid

import pytest
from e2e.stack import MakeStack, Stack, pairs
from sample import DC01, DISK_E, FILE01, NAS01, OFFSITE01, PASSWORD, SQL01

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


def test_what_is_assigned_already_is_adopted(stack: Stack, simulator: Simulator) -> None:
    simulator.behavior = Behavior(second_post="refuse")
    stack.assignments(dc01=(DC01, DISK_E))
    stack.up()
    assert stack.resources()["dc01"]["outputs"]["vm_name"] == "DC01"
    assert pairs(simulator, "GET") == [DC01]


@pytest.mark.parametrize("written", [SQL01.upper(), f"{{{SQL01.upper()}}}"], ids=str)
def test_an_id_in_another_form_is_no_difference(written: str, stack: Stack) -> None:
    stack.assignments(sql01=(SQL01, NAS01))
    stack.up()
    stack.assignments(sql01=(written, NAS01.upper()))
    stack.pulumi("preview", "--expect-no-changes")
    stack.up("--expect-no-changes")
    assert stack.resources()["sql01"]["inputs"]["vm_ref"] == SQL01
