"""A refactor never un-assigns: Pulumi makes it a create and a delete of one and the same pair."""

from __future__ import annotations

import json
import re
from itertools import product
from typing import Any

import pytest
from e2e.stack import ENCRYPTED, MakeStack, Stack, assigned, met, pairs
from sample import DISK_E, EXCH01, FILE01, NAS01, OFFSITE01, PASSWORD, ROTATING, SQL01, SQL02

from pulumi_vmbackup.simulator import Behavior, Fault, Simulator

A, B = (SQL01, NAS01), (EXCH01, NAS01)
URN = "urn:pulumi:test::backup::pulumi-python:dynamic/vmbackup:VmBackupLocationAssignment::"


def ids(**declared: tuple[str, str]) -> dict[str, str]:
    return {name: "/".join(pair) for name, pair in declared.items()}


def targets(*names: str) -> list[str]:
    return [option for name in names for option in ("--target", URN + name)]


# What the program declares next, the options of that `pulumi up`, and whether it leaves the old
# names in the state.
REFACTORS: list[tuple[dict[str, tuple[str, str]], list[str], bool]] = [
    ({"a": B, "b": A}, [], False),
    ({"a": A, "b": B}, ["--replace", f"{URN}*"], False),
    # Pulumi's own provider too, so that another process deletes than the one that has checked;
    # two of these options are handed on to it beside the engine's address.
    (
        {"a": B, "b": A},
        ["--replace", "**", "--logflow", "-v=1", "--tracing", "file:trace.json"],
        False,
    ),
    ({"a": B, "c": A}, ["--refresh"], False),
    ({"d": B, "c": A}, [*targets("a", "d"), "--target-dependents"], False),
    ({"a": A, "b": B}, targets("a", "b"), True),
    ({"a": A, "b": B}, ["--parallel", "1", "--continue-on-error"], False),
]


def test_no_refactor_ever_unassigns(stack: Stack, simulator: Simulator) -> None:
    stack.assignments(a=A, b=B)
    stack.up()
    for declared, options, leaves_old_names in REFACTORS:
        stack.assignments(**declared)
        stack.up(*options)
        state = stack.ids()
        step = f"{declared} {options}"
        assert pairs(simulator, "DELETE") == [], step
        assert ids(**declared).items() <= state.items(), step
        assert (state != ids(**declared)) is leaves_old_names, step
    assert assigned(simulator) == {"/".join(A), "/".join(B)}
    # What is declared no longer is still un-assigned, in the run of a refactor too: this one moves
    # the other into a component without an alias.
    stack.program(PROGRAM_WITH_A_COMPONENT)
    stack.up()
    assert pairs(simulator, "DELETE") == ["/".join(B)]
    (resource,) = stack.resources().values()
    assert "backup:index:Protected$" in resource["urn"]
    assert resource["id"] == "/".join(A)


def test_after_too_many_removals_the_corrected_program_assigns_all_again(
    stack: Stack, simulator: Simulator
) -> None:
    everywhere = {
        f"r{number}": pair
        for number, pair in enumerate(
            product((SQL01, SQL02, FILE01), (NAS01, DISK_E, OFFSITE01, ROTATING))
        )
    }
    stack.assignments(**everywhere)
    stack.up()
    before = assigned(simulator)
    stack.assignments(r0=everywhere["r0"])
    said = " ".join(stack.up(fails=True).split())
    assert (
        "This run has un-assigned 10 pairs of resources that are no longer in the program" in said
    )
    assert "correct the program and run `pulumi up`, which assigns them again." in said
    assert len(before - assigned(simulator)) == 10
    stack.assignments(**everywhere)
    stack.up()
    assert assigned(simulator) == before
    assert stack.ids() == ids(**everywhere)


@pytest.mark.full
@pytest.mark.xfail(
    reason="Pulumi tells a provider nothing of resources that a run leaves out", strict=True
)
def test_a_run_that_leaves_the_new_name_out_does_not_unassign(
    stack: Stack, simulator: Simulator
) -> None:
    stack.assignments(old=A)
    stack.up()
    stack.assignments(new=A)
    stack.up(*targets("old"))
    assert pairs(simulator, "DELETE") == []


def test_a_rename_and_new_settings_in_one_run_do_not_unassign(
    make_stack: MakeStack, simulator: Simulator
) -> None:
    stack = make_stack(VMBACKUP_PASSWORD="", VMBACKUP_SETTLE_SECONDS="")
    stack.config({"vmbackup:password": ENCRYPTED, "vmbackup:settleSeconds": "0"})
    stack.assignments(old=A, gone=B)
    stack.up()
    simulator.password = "Pa55-of-next-month"
    stack.pulumi("config", "set", "--secret", "vmbackup:password", simulator.password)
    # What runs without the program has the password of the last `up`, and says what to do.
    assert "unless they are given `--run-program`" in stack.destroy(fails=True)
    stack.config({"vmbackup:settleSeconds": "1"})
    simulator.tokens.clear()
    stack.assignments(new=A)
    stack.up()
    # The old name's delete comes to the process that has checked the new one.
    assert pairs(simulator, "DELETE") == ["/".join(B)]
    assert stack.ids() == ids(new=A)
    assert assigned(simulator) == {"/".join(A)}
    simulator.password = PASSWORD
    stack.config({"vmbackup:password": ENCRYPTED})
    stack.destroy("--run-program")
    assert not assigned(simulator)


PROGRAM_WITH_A_COMPONENT = f"""\
import pulumi

from pulumi_vmbackup import VmBackupLocationAssignment


class Protected(pulumi.ComponentResource):
    def __init__(self, name):
        super().__init__("backup:index:Protected", name)
        VmBackupLocationAssignment(
            "a",
            vm_ref="{SQL01}",
            backup_location_id="{NAS01}",
            opts=pulumi.ResourceOptions(parent=self),
        )


Protected("sql01")
"""


def test_a_rename_whose_create_fails_leaves_the_server_alone_and_is_adopted_later(
    stack: Stack, simulator: Simulator
) -> None:
    stack.assignments(old=A)
    stack.up()
    stack.assignments(new=A)
    broken = [Fault("error", call, times=None) for call in ("POST /vms", "GET /vms")]
    simulator.faults += broken
    stack.up("--continue-on-error", fails=True)
    simulator.faults.clear()
    simulator.behavior = Behavior(second_post="refuse")
    stack.up()
    assert pairs(simulator, "DELETE") == []
    assert stack.ids() == ids(new=A)


def test_a_rename_that_was_interrupted_does_not_unassign_in_the_next_run(
    stack: Stack, simulator: Simulator
) -> None:
    stack.assignments(old=A)
    stack.up()
    state = stack.state()
    old = next(each for each in state["resources"] if each["urn"].endswith("::old"))
    state["resources"].append({**old, "urn": old["urn"].removesuffix("old") + "new"})
    interrupted = json.dumps({"version": 3, "deployment": state})
    (stack.folder / "interrupted.json").write_text(interrupted)
    stack.pulumi("stack", "import", "--file", "interrupted.json")

    stack.assignments(new=A)
    stack.up()
    assert stack.resources().keys() == {"new"}
    assert pairs(simulator, "DELETE") == []
    assert assigned(simulator) == {"/".join(A)}

    # What the program declares no longer is un-assigned, also when `destroy` runs the program.
    stack.destroy("--run-program")
    assert pairs(simulator, "DELETE") == ["/".join(A)]
    assert not assigned(simulator)


# One pair that moves between two processes

PROGRAM_WITH_TWO_PROCESSES = f"""\
import asyncio
import json
import pathlib

import pulumi_vmbackup
from pulumi_vmbackup import plugin

wanted = json.loads(pathlib.Path("wanted.json").read_text())


async def sql01():
    while not pathlib.Path("go-on").exists():
        await asyncio.sleep(0.02)
    return "{SQL01}"


plugin.VmBackupLocationAssignmentSet("set", assignments={{"{SQL01}": wanted["set"]}})
if wanted["dynamic"]:
    pulumi_vmbackup.VmBackupLocationAssignment(
        "dynamic", vm_ref=sql01(), backup_location_id="{NAS01}"
    )
"""


@pytest.mark.parametrize("is_held", [False, True], ids=["new", "held"])
def test_a_pair_that_a_set_unassigns_while_a_dynamic_resource_declares_it_is_assigned(
    is_held: bool, stack: Stack, simulator: Simulator
) -> None:
    def want(*of_set: str, dynamic: bool) -> None:
        wanted = {"set": of_set, "dynamic": dynamic}
        (stack.folder / "wanted.json").write_text(json.dumps(wanted))

    # On a server that allows one session, the calls of the two processes do not meet.
    simulator.behavior = Behavior(second_session="accept")
    go_on = stack.folder / "go-on"
    stack.program(PROGRAM_WITH_TWO_PROCESSES)
    go_on.touch()
    want(NAS01, OFFSITE01, dynamic=is_held)
    stack.up()
    go_on.unlink()
    want(OFFSITE01, dynamic=True)
    simulator.answer_seconds = 1
    delete = Fault("hold", "DELETE", acted=False)
    simulator.faults.append(delete)
    with stack.start_up() as run:
        run.until(met(delete))
        go_on.touch()
        if is_held:
            says = rf"^declared \S+ {'/'.join(A)}$"
            run.until(lambda: re.search(says, stack.declared(), re.MULTILINE))
        else:
            run.until(lambda: pairs(simulator, "POST")[2:])
        simulator.faults.remove(delete)
        run.end()
    assert pairs(simulator, "DELETE") == ["/".join(A)]
    assert assigned(simulator) == {"/".join(A), f"{SQL01}/{OFFSITE01}"}
    assert stack.ids()["dynamic"] == "/".join(A)
    assert not stack.declared_files()
    simulator.calls.clear()
    simulator.answer_seconds = 0
    assert "unchanged" in stack.up()
    assert not pairs(simulator, "POST")


# One pair, declared twice


def test_one_pair_in_two_resources_fails_the_preview(stack: Stack) -> None:
    stack.assignments(a=A, b=(f"{{{SQL01.upper()}}}", NAS01))
    output = stack.pulumi("preview", fails=True)
    assert (
        f"error: The resources {URN}a and {URN}b both assign VM {SQL01} to backup location "
        f"{NAS01}: remove one of them.\n" in output
    )


PROGRAM_THAT_COMPUTES_THE_SAME_PAIR = f"""\
from pulumi_vmbackup import VmBackupLocationAssignment

first = VmBackupLocationAssignment("first", vm_ref="{SQL01}", backup_location_id="{NAS01}")
same_vm = first.id.apply(lambda pair: pair.partition("/")[0])
VmBackupLocationAssignment("second", vm_ref=same_vm, backup_location_id="{NAS01}")
VmBackupLocationAssignment("file01", vm_ref="{FILE01}", backup_location_id="{OFFSITE01}")
"""


@pytest.mark.parametrize(
    ("kept", "second_post"),
    [pytest.param("first", "accept", marks=pytest.mark.full), ("second", "refuse")],
    ids=["first", "second"],
)
def test_one_pair_that_turns_out_to_be_declared_twice_fails_the_run_and_nothing_is_lost(
    kept: str, second_post: Any, stack: Stack, simulator: Simulator
) -> None:
    simulator.behavior = Behavior(second_post=second_post)
    stack.program(PROGRAM_THAT_COMPUTES_THE_SAME_PAIR)
    says = f"The resources {URN}first and {URN}second both assign VM {SQL01} to backup location"
    assert says in stack.up(fails=True)
    assert assigned(simulator) == {"/".join(A), f"{FILE01}/{OFFSITE01}"}

    one_of_them = f'"{kept}", vm_ref="{SQL01}", backup_location_id="{NAS01}"'
    stack.program(
        "from pulumi_vmbackup import VmBackupLocationAssignment\n\n"
        f"VmBackupLocationAssignment({one_of_them})\n"
    )
    stack.up()
    assert stack.ids() == {kept: "/".join(A)}
    assert assigned(simulator) == {"/".join(A)}
    assert pairs(simulator, "DELETE") == [f"{FILE01}/{OFFSITE01}"]
