"""The life of assignments, as a user of the Pulumi CLI sees it."""

from __future__ import annotations

from e2e.stack import ENCRYPTED, MakeStack, pairs
from sample import DC01, DISK_E, EXCH01, FILE01, NAS01, OFFSITE01, PASSWORD, SQL01

from pulumi_vmbackup.simulator import Behavior, Simulator

PAIR = f"{SQL01}/{NAS01}"


def test_a_whole_life_in_which_no_secret_is_shown(
    make_stack: MakeStack, simulator: Simulator
) -> None:
    simulator.behavior = Behavior(second_post="refuse")
    of_somebody_else = (EXCH01, NAS01)
    simulator.inventory.assignments[of_somebody_else] = None
    stack = make_stack(VMBACKUP_PASSWORD="")
    stack.config({"vmbackup:password": ENCRYPTED})
    # The last one is there already, and is adopted.
    stack.assignments(sql01=(SQL01, NAS01), file01=(FILE01, OFFSITE01), dc01=(DC01, DISK_E))
    assert "+ 4 to create" in stack.pulumi("preview")  # with the stack
    assert simulator.calls == []

    stack.up()
    new = [PAIR, f"{FILE01}/{OFFSITE01}"]
    assert sorted(pairs(simulator, "POST")) == sorted([*new, f"{DC01}/{DISK_E}"])
    assert pairs(simulator, "GET") == [DC01]
    resource = stack.resources()["sql01"]
    assert resource["id"] == PAIR
    assert resource["inputs"].keys() == {"__provider", "vm_ref", "backup_location_id"}
    outputs = resource["outputs"]
    assert outputs["vm_name"] == "SQL01"
    assert outputs["location_path"] == r"\\NAS01\VMBackups"
    assert outputs["kind"] == "primary"
    assert stack.resources()["dc01"]["outputs"]["vm_name"] == "DC01"

    simulator.calls.clear()
    stack.assignments(
        sql01=(SQL01.upper(), NAS01.upper()),  # another form of the same id is no difference
        file01=(f"{{{FILE01.upper()}}}", OFFSITE01),
        dc01=(DC01, DISK_E),
    )
    stack.up("--expect-no-changes")
    assert simulator.calls == []
    assert stack.resources()["sql01"]["inputs"]["vm_ref"] == SQL01
    assert PASSWORD not in str(stack.state())

    del simulator.inventory.assignments[FILE01, OFFSITE01]
    assert "- 1 deleted" in stack.refresh()
    assert stack.ids().keys() == {"sql01", "dc01"}
    stack.up()
    assert pairs(simulator, "POST") == [f"{FILE01}/{OFFSITE01}"]
    assert not stack.declared_files()

    stack.destroy()
    assert len(pairs(simulator, "DELETE")) == 3
    assert list(simulator.inventory.assignments) == [of_somebody_else]
    assert not simulator.sessions

    assert PASSWORD not in stack.output
    assert simulator.tokens
    assert [token for token in simulator.tokens if token in stack.output] == []
