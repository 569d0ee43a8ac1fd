"""A program and a state of an earlier version of this package, with the present one.

earlier/state.json was written by `pulumi up` of earlier/program.py with the version before the
package was laid out anew. Neither may ever change.
"""

from __future__ import annotations

import json
from pathlib import Path

from e2e.stack import Stack

from pulumi_vmbackup.simulator import Inventory, Simulator

EARLIER = Path(__file__).with_name("earlier")


def test_an_earlier_state_is_previewed_refreshed_and_destroyed(
    stack: Stack, simulator: Simulator
) -> None:
    stack.program((EARLIER / "program.py").read_text("utf-8"))
    stack.pulumi("stack", "import", "--file", str(EARLIER / "state.json"))
    ids = set(stack.ids().values()) - {"set"}
    assert len(ids) == 3
    site = stack.resources()["set"]["outputs"]["assignments"]
    ids |= {
        f"{vm['vmRef']}/{id_}" for vm in site.values() for id_ in vm["backupLocationIds"].values()
    }
    for vm_ref, location_id in (each.split("/") for each in ids):
        simulator.inventory.assignments[vm_ref, location_id] = None

    stack.pulumi("preview", "--expect-no-changes")
    stack.refresh("--expect-no-changes")
    before = json.loads((EARLIER / "state.json").read_text("utf-8"))["deployment"]["resources"]
    outputs = {each["urn"]: each.get("outputs") for each in before}
    for each in stack.state()["resources"]:
        if "VmBackup" in each["urn"]:
            assert each["outputs"] == outputs[each["urn"]]
    stack.destroy()
    assert simulator.inventory.assignments == Inventory.sample().assignments
