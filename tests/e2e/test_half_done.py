"""A set whose delete fails half-way: Pulumi keeps its old state, whatever the plugin answers."""

from __future__ import annotations

from e2e.stack import Stack, assigned
from sample import NAS01, OFFSITE01, SQL01, SQL02

from pulumi_vmbackup.simulator import Fault, Simulator

PROGRAM = f"""\
from pulumi_vmbackup.plugin import VmBackupLocationAssignmentSet

assignments = {{"{SQL01}": ["{NAS01}"], "{SQL02}": ["{NAS01}", "{OFFSITE01}"]}}
VmBackupLocationAssignmentSet("site", assignments=assignments)
"""
ALL = {f"{SQL01}/{NAS01}", f"{SQL02}/{NAS01}", f"{SQL02}/{OFFSITE01}"}
LEFT = f"{SQL01}/{NAS01}"


def test_the_error_says_what_is_left_and_refresh_up_and_destroy_do_right(
    stack: Stack, simulator: Simulator
) -> None:
    def destroy_half() -> str:
        call = f"DELETE /vms/backuplocations/[token]/{SQL01}"
        fault = Fault("error", call, times=None, acted=False)
        simulator.faults.append(fault)
        output = stack.destroy(fails=True)
        simulator.faults.remove(fault)
        assert assigned(simulator) == {LEFT}
        return output

    def held() -> set[str]:
        vms = stack.resources()["site"]["outputs"]["assignments"].values()
        return {f"{vm['vmRef']}/{id_}" for vm in vms for id_ in vm["backupLocationIds"].values()}

    stack.program(PROGRAM)
    stack.up()
    output = destroy_half()
    assert f"Could not un-assign 1 of 3: {SQL01} from {NAS01}: " in output
    assert "The others are un-assigned, but the state does not show it." in output
    assert held() == ALL
    stack.refresh()
    assert held() == {LEFT}
    stack.up()
    assert held() == assigned(simulator) == ALL
    destroy_half()
    stack.destroy()
    assert assigned(simulator) == set()
