"""A tunnel that leads to another site, and a server that lists nothing for a while."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from e2e.stack import Stack
from sample import DC01, FILE01, NAS01, OFFSITE01, ROTATING, SQL01, SQL02, another_site

from pulumi_vmbackup.simulator import Inventory, Simulator

PROGRAM = f"""\
from pulumi_vmbackup import VmBackupLocationAssignment
from pulumi_vmbackup.plugin import VmBackupLocationAssignment as Single
from pulumi_vmbackup.plugin import VmBackupLocationAssignmentSet as Set

VmBackupLocationAssignment("dynamic", vm_ref="{SQL01}", backup_location_id="{OFFSITE01}")
Single("single", vm_ref="{SQL01}", backup_location_id="{ROTATING}")
Set("set", assignments={{"{FILE01}": ["{OFFSITE01}"], "{SQL02}": ["{OFFSITE01}", "{NAS01}"]}})
"""
ALL = [
    (FILE01, OFFSITE01),
    (SQL01, OFFSITE01),
    (SQL01, ROTATING),
    (SQL02, NAS01),
    (SQL02, OFFSITE01),
]
IS_IT = "is it the right server? A tunnel may lead to another site."
EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("unknown_vm", ["refuse", "empty"])
def test_a_tunnel_to_another_site_empties_no_state_and_ends_no_destroy_well(
    unknown_vm: Any, stack: Stack, simulator: Simulator
) -> None:
    simulator.behavior = replace(simulator.behavior, unknown_vm=unknown_vm)
    stack.program(PROGRAM)
    stack.up()
    here = simulator.inventory
    assigned = dict(here.assignments)
    outputs = outputs_of(stack)
    simulator.inventory = there = another_site()

    for command in (stack.refresh, stack.destroy):
        said = " ".join(command(fails=True).split())
        assert f"knows neither VM {SQL01} nor backup location {OFFSITE01}: {IS_IT}" in said
        assert f"The server at {stack.environment['VMBACKUP_BASE_URL']} knows neither" in said
        assert "pulumi state delete" in said
        assert sorted(stack.ids()) == ["dynamic", "set", "single"]
    said = " ".join(
        stack.pulumi(
            "import",
            "vmbackup:index:VmBackupLocationAssignment",
            "imported",
            f"{SQL01}/{NAS01}",
            "--yes",
            "--protect=false",
            fails=True,
        ).split()
    )
    assert IS_IT in said
    assert len(there.assignments) == 1  # as from the start

    simulator.inventory = here
    stack.refresh()
    assert dict(here.assignments) == assigned
    assert outputs_of(stack) == outputs
    stack.destroy()
    assert not stack.resources()
    assert not {*ALL} & {*here.assignments}


def outputs_of(stack: Stack) -> dict[str, object]:
    return {name: resource["outputs"] for name, resource in stack.resources().items()}


@pytest.mark.parametrize("example", ["every-vm", "whole-site"])
def test_a_server_that_lists_no_vms_for_a_while_loses_no_assignment(
    example: str, stack: Stack, simulator: Simulator
) -> None:
    shutil.copy(EXAMPLES / example / "__main__.py", stack.folder)
    stack.config({"backup:offsitePath": r"\\OFFSITE01\VMBackups", "backup:exceptions": "[]"})
    stack.up()
    assigned, ids = dict(simulator.inventory.assignments), stack.ids()
    assert ids
    simulator.behavior = replace(simulator.behavior, vm_list="none")
    simulator.calls.clear()
    said = " ".join(stack.up(fails=True).split())
    assert "The server lists no virtual machines at all." in said
    assert not [call for call in simulator.calls if call.method == "DELETE"]
    assert dict(simulator.inventory.assignments) == assigned
    assert stack.ids() == ids


@pytest.mark.parametrize("example", ["every-vm", "whole-site"])
def test_a_host_that_is_off_for_a_while_loses_no_assignment(
    example: str, stack: Stack, simulator: Simulator
) -> None:
    shutil.copy(EXAMPLES / example / "__main__.py", stack.folder)
    stack.config({"backup:offsitePath": r"\\OFFSITE01\VMBackups", "backup:exceptions": "[]"})
    stack.up()
    assigned = dict(simulator.inventory.assignments)
    simulator.hosts_off = {"HV-02"}
    simulator.calls.clear()
    said = " ".join(stack.up().split())
    assert "The server does not list" in said
    assert ("host HV-02" if example == "whole-site" else f"SQL02 ({SQL02})") in said
    stack.refresh()
    assert not [call for call in simulator.calls if call.method == "DELETE"]
    assert dict(simulator.inventory.assignments) == assigned
    simulator.hosts_off = set()
    stack.up()
    assert dict(simulator.inventory.assignments) == assigned
    stack.pulumi("preview", "--expect-no-changes")


def test_a_refresh_drops_nothing_on_a_server_that_lists_nothing(
    stack: Stack, simulator: Simulator
) -> None:
    simulator.behavior = replace(simulator.behavior, unknown_vm="empty")
    stack.program(PROGRAM)
    stack.up()
    here = simulator.inventory
    simulator.inventory = Inventory()  # as long as it starts
    said = " ".join(stack.refresh(fails=True).split())
    assert said.count("The server lists no virtual machines at all.") >= 3
    assert sorted(stack.ids()) == ["dynamic", "set", "single"]
    simulator.inventory = here
    stack.refresh("--expect-no-changes")


def test_a_vm_that_is_gone_from_the_right_server_is_dropped(
    stack: Stack, simulator: Simulator
) -> None:
    stack.program(PROGRAM)
    stack.up()
    inventory = simulator.inventory
    del inventory.virtual_machines[SQL01]
    inventory.assignments = {pair: None for pair in inventory.assignments if pair[0] != SQL01}
    stack.refresh()
    assert list(stack.ids()) == ["set"]
    assert DC01 in {vm for vm, _ in inventory.assignments}
