"""Runs that are killed, at any of their exchanges with the server, and the run after them."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest
from e2e.stack import MakeStack, Stack, assigned, kill, met, pairs, wait_until
from sample import EXCH01, FILE01, NAS01, OFFSITE01, SQL01

from pulumi_vmbackup.simulator import Fault, Simulator

if sys.platform == "win32":
    pytest.skip("processes are not killed like this on Windows", allow_module_level=True)

Declared = dict[str, tuple[str, str]]

A, B, C = (SQL01, NAS01), (FILE01, OFFSITE01), (EXCH01, OFFSITE01)


def ids(declared: Declared) -> dict[str, str]:
    return {name: "/".join(pair) for name, pair in declared.items()}


@pytest.mark.parametrize(
    ("before", "after", "exchanges", "all_exchanges"),
    [
        # The session's start, three writes, three reads of names, and the session's end.
        ({}, {"a": A, "b": B, "c": C}, range(8), 8),
        # Without those that are nothing new: most reads, and the session's start and end.
        ({"a": A, "b": B}, {"a": (SQL01, OFFSITE01), "b": B}, (1, 4, 5), 7),
        ({"old": A, "b": B}, {"new": A, "b": B}, (1, 4), 6),
        ({"a": A, "b": B}, {"b": B}, (1,), 3),
    ],
    ids=["first run", "replacement", "rename", "removal"],
)
def test_after_a_kill_at_any_exchange_the_next_run_makes_everything_right(
    before: Declared,
    after: Declared,
    exchanges: Sequence[int],
    all_exchanges: int,
    stack: Stack,
    simulator: Simulator,
    tmp_path: Path,
) -> None:
    stack.assignments(**before)
    if before:
        stack.up()
    stack.keep(tmp_path / "before")
    held = dict(simulator.inventory.assignments)
    stack.assignments(**after)
    stay_assigned = set(ids(before).values()) & set(ids(after).values())

    for exchange in exchanges:
        # Whether the server acts before the kill is a difference for writes only.
        for acted in (True, False):
            stack.restore(tmp_path / "before")
            simulator.inventory.assignments = dict(held)
            simulator.sessions.clear()
            simulator.calls.clear()
            killed_at = Fault("stall", skip=exchange, acted=acted)
            simulator.faults = [killed_at]
            # One after the other, so that the CLI is not writing the state at that moment: such a
            # kill can leave a file that no CLI reads, whatever the provider does.
            with stack.start_up("--parallel", "1") as run:
                run.until(met(killed_at))
                run.kill()
            simulator.faults.clear()
            last = simulator.calls[-1]
            at = f"{'after' if acted else 'before'} {last.method} {last.path}"
            unassigned = pairs(simulator, "DELETE")
            simulator.calls.clear()

            recorded = stack.recorded()
            stack.pulumi("cancel", "--yes")
            stack.up()
            assert stack.ids() == ids(after), at
            assert len(stack.recorded()) == len(after), at
            assert assigned(simulator) == set(ids(after).values()), at
            assert not stay_assigned.intersection(unassigned, pairs(simulator, "DELETE")), at
            # What the state knows of is not assigned again, and everything else once.
            missing = [id_ for name, id_ in ids(after).items() if (name, id_) not in recorded]
            assert sorted(pairs(simulator, "POST")) == sorted(missing), at
            assert len(simulator.sessions) <= 1, at  # of the run that was killed
            if "/vms/backuplocations/" not in last.path:
                break
    # These are all.
    stack.restore(tmp_path / "before")
    simulator.inventory.assignments = dict(held)
    simulator.calls.clear()
    stack.up("--parallel", "1")
    assert len(simulator.calls) == all_exchanges


def test_after_a_kill_with_several_in_flight_pulumi_warns_and_needs_no_option(
    stack: Stack, simulator: Simulator
) -> None:
    for method, declared in (("POST", {"a": A, "b": B, "c": C}), ("DELETE", {})):
        stack.assignments(**declared)
        in_flight = Fault("stall", f"{method} /vms/backuplocations", times=None)
        simulator.faults = [in_flight]
        with stack.start_up() as run:
            run.until(met(in_flight, 3))
            run.kill()
        simulator.faults.clear()
        assert "the stack is currently locked" in stack.up(fails=True)
        stack.pulumi("cancel", "--yes")
        assert "with 3 pending operations from previous deployment" in stack.up()
        assert stack.ids() == ids(declared)
        assert assigned(simulator) == set(ids(declared).values())
        if method == "POST":
            # Pulumi keeps these in mind, and warns in each run, until it is told otherwise.
            assert len(stack.state()["pending_operations"]) == 3
            stack.refresh("--clear-pending-creates")
        assert "pending operations" not in stack.up("--expect-no-changes")


def test_a_kill_of_the_cli_alone_leaves_a_host_that_ends_its_session_and_does_no_harm(
    make_stack: MakeStack, simulator: Simulator
) -> None:
    stack = make_stack(VMBACKUP_TIMEOUT_SECONDS="1")
    stack.assignments(a=A, b=B, c=C)
    in_flight = Fault("stall", "POST /vms/backuplocations", times=3)
    simulator.faults.append(in_flight)
    left: list[psutil.Process] = []
    try:
        with stack.start_up() as run:
            run.until(met(in_flight, 3))
            left = run.kill_cli()
        stack.pulumi("cancel", "--yes")
        stack.up()
        wait_until(lambda: not simulator.sessions)
        # Pulumi's own host waits for the CLI for good; without a session it holds nothing.
        assert any("pulumi.dynamic" in process.cmdline() for process in left)
        assert len(simulator.tokens) == 2
        assert stack.ids() == ids({"a": A, "b": B, "c": C})
        assert assigned(simulator) == set(stack.ids().values())
        assert pairs(simulator, "DELETE") == []
    finally:
        kill(left)


def test_a_host_whose_cli_was_killed_does_not_unassign_what_is_declared_again(
    make_stack: MakeStack, simulator: Simulator
) -> None:
    stack = make_stack(VMBACKUP_TIMEOUT_SECONDS="2")
    stack.assignments(a=A)
    stack.up()
    stack.assignments()
    lost = Fault("stall", "DELETE", acted=False)
    simulator.faults.append(lost)
    left: list[psutil.Process] = []
    try:
        with stack.start_up() as run:
            run.until(met(lost))
            left = run.kill_cli()
        stack.assignments(a=A)
        stack.pulumi("cancel", "--yes")
        stack.up()
        assert stack.ids() == ids({"a": A})
        wait_until(lambda: not simulator.sessions)  # the host tries its DELETE again before
    finally:
        kill(left)
    assert assigned(simulator) == set(stack.ids().values())
