"""What ``vmbackup review`` says of a preview is what ``pulumi up`` then does on the server."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pytest
from e2e.stack import Stack
from sample import DC01, DISK_E, EXCH01, FILE01, NAS01, OFFSITE01, ROTATING, SQL01, SQL02

from pulumi_vmbackup.models import Pair
from pulumi_vmbackup.simulator import Fault, Simulator

PROGRAM = f"""\
import pulumi
from pulumi import Alias, ResourceOptions as Options
from pulumi_vmbackup import VmBackupLocationAssignment as Dynamic
from pulumi_vmbackup.plugin import VmBackupLocationAssignment as Plugin
from pulumi_vmbackup.plugin import VmBackupLocationAssignmentSet as Set

DC01, EXCH01, FILE01, SQL01, SQL02 = {(DC01, EXCH01, FILE01, SQL01, SQL02)}
NAS01, DISK_E, OFFSITE01, ROTATING = {(NAS01, DISK_E, OFFSITE01, ROTATING)}


def one(cls, name, vm_ref, backup_location_id, **options):
    opts = Options(**options)
    return cls(name, vm_ref=vm_ref, backup_location_id=backup_location_id, opts=opts)


def many(assignments, exclusive=False, **options):
    return Set("s", assignments=assignments, exclusive=exclusive, opts=Options(**options))


def later(value):
    # Known only during an update that makes or replaces this resource.
    return one(Plugin, "trigger", SQL02, NAS01).assigned_at.apply(lambda _: value)


"""


class Change(NamedTuple):
    """A change of a program.

    Attributes:
        before: the program that was deployed.
        after: the program that is reviewed.
        by_hand: what somebody assigns in between.
        options: those of the preview and of the update.
    """

    before: str
    after: str
    by_hand: tuple[Pair, ...] = ()
    options: tuple[str, ...] = ()


CHANGES = {
    "an alias": Change(
        "one(Plugin, 'a', SQL01, NAS01)",
        "one(Plugin, 'b', SQL01, NAS01, aliases=[Alias(name='a')])",
    ),
    "the other resource of the same pair": Change(
        "one(Dynamic, 'a', SQL01, NAS01)\none(Plugin, 'b', SQL01, NAS01)",
        "one(Plugin, 'b', SQL01, NAS01)",
    ),
    "from single resources to a set": Change(
        "one(Dynamic, 'a', SQL01, NAS01)\none(Plugin, 'b', FILE01, NAS01)",
        "many({SQL01: [NAS01, OFFSITE01]})",
    ),
    "a retained and a deleted one": Change(
        "one(Dynamic, 'a', SQL01, NAS01, retain_on_delete=True)\none(Plugin, 'b', SQL02, NAS01)",
        "",
    ),
    "one that is deleted with a replaced one": Change(
        "a = one(Plugin, 'a', SQL01, NAS01)\none(Plugin, 'b', SQL02, NAS01, deleted_with=a)",
        "one(Plugin, 'a', SQL01, ROTATING)",
    ),
    "an exclusive set": Change(
        "many({FILE01: [NAS01]})",
        "many({FILE01: [NAS01], DC01: []}, exclusive=True)",
        by_hand=((FILE01, OFFSITE01),),
    ),
    "an exclusive set that was one already": Change(
        "many({FILE01: [NAS01]}, exclusive=True)",
        "many({FILE01: [NAS01, ROTATING]}, exclusive=True)",
        by_hand=((FILE01, OFFSITE01),),
    ),
    "an exclusive set, after a refresh": Change(
        "many({FILE01: [NAS01], DC01: []}, exclusive=True)",
        "many({FILE01: [NAS01, ROTATING], DC01: []}, exclusive=True)",
        by_hand=((FILE01, OFFSITE01), (DC01, OFFSITE01)),
        options=("--refresh", "--run-program"),
    ),
    "a replaced exclusive set": Change(
        "many({FILE01: [NAS01]}, exclusive=True)",
        "many({FILE01: [NAS01]}, exclusive=True)",
        by_hand=((FILE01, OFFSITE01),),
        options=("--replace", "**::s"),
    ),
    "a location that only the update knows": Change(
        "one(Plugin, 'a', SQL01, NAS01)",
        "one(Plugin, 'a', SQL01, later(NAS01))",
    ),
    "an exclusive set that only the update knows": Change(
        "",
        "vms = later(FILE01)\nmany({vms: [NAS01]}, exclusive=True)",
        by_hand=((FILE01, OFFSITE01), (EXCH01, OFFSITE01)),
    ),
}


def reviewed(stack: Stack, *options: str, ends: int | None = None) -> dict[str, Any]:
    """What a review of the preview says about the VMs of the one server, and its rule."""
    flags = ("--json", "--show-sames", "--show-replacement-steps")
    stack.pulumi_to_file("preview.json", "preview", *flags, *options)
    limit = ("--at-most-removed", "0")
    done = stack.vmbackup("review", "--preview", "preview.json", "--json", *limit, ends=ends)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_a_review_says_happens(change: Change, stack: Stack, simulator: Simulator) -> None:
    stack.program(PROGRAM + change.before)
    stack.up()
    simulator.inventory.assignments.update(dict.fromkeys(change.by_hand))
    stack.program(PROGRAM + change.after)

    found = reviewed(stack, *change.options)
    before = {*simulator.inventory.assignments}
    stack.up(*change.options)
    held = {*simulator.inventory.assignments}
    gained, lost = held - before, before - held

    (server,) = found["servers"]
    vms = {vm["ref"]: vm for vm in server["vms"]}
    now, after, may_lose = (
        {(ref, id_) for ref, vm in vms.items() for id_ in vm[key]}
        for key in ("now", "after", "may_lose")
    )
    assert now == before
    assert now - after <= lost <= (now - after) | may_lose
    assert after - now <= gained
    unknown = {vm["ref"] for vm in server["vms"] if vm["gains_unknown"]}
    if not any(" knows" in note for note in server["notes"]):
        assert {ref for ref, _ in gained - after} <= unknown
    if now - after:
        assert found["verdict"] == "broken"
    elif may_lose:
        assert found["verdict"] == "unknown"
    else:
        assert found["verdict"] == "kept"


def test_what_an_earlier_update_could_not_remove_is_told(
    stack: Stack, simulator: Simulator
) -> None:
    stack.program(PROGRAM + "one(Plugin, 'a', SQL01, NAS01)")
    stack.up()
    stack.program(PROGRAM + "one(Plugin, 'a', SQL01, OFFSITE01)")
    simulator.faults.append(Fault("refused", "DELETE", times=None))
    stack.up(fails=True)
    simulator.faults.clear()
    (server,) = reviewed(stack)["servers"]
    (sql01,) = (vm for vm in server["vms"] if vm["ref"] == SQL01)
    assert sql01["meanings"] == ["loses-last-primary"]

    # Without that option of the preview, the state tells it.
    stack.pulumi_to_file("preview.json", "preview", "--json", "--show-sames")
    both = ("--preview", "preview.json", "--stack", "test")
    done = stack.vmbackup("review", *both, "--json")
    assert json.loads(done.stdout)["servers"][0]["vms"] == server["vms"]
    (server,) = json.loads(stack.vmbackup("review", "--stack", "test", "--json").stdout)["servers"]
    assert server["notes"] == [
        r"SQL01 is still assigned to \\NAS01\VMBackups: a (backup/test) was replaced, and the next "
        "`pulumi up` un-assigns it."
    ]


def test_a_preview_of_a_part_is_refused(stack: Stack) -> None:
    stack.program(PROGRAM + "one(Plugin, 'a', SQL01, NAS01)\none(Plugin, 'b', SQL02, NAS01)")
    stack.up()
    flags = ("--json", "--show-sames", "--target", "**::a")
    stack.pulumi_to_file("preview.json", "preview", *flags)
    done = stack.vmbackup("review", "--preview", "preview.json", ends=1)
    assert "is of a preview with --target or --exclude" in done.stderr
