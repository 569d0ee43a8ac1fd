"""Runs that are killed, at exchanges of each kind with the server, and the run after them."""

from __future__ import annotations

from pathlib import Path

import psutil
from e2e.stack import Stack, assigned, kill, met, pairs, wait_until
from sample import EXCH01, FILE01, NAS01, OFFSITE01, SQL01

from pulumi_vmbackup.simulator import Behavior, Fault, Simulator

Declared = dict[str, tuple[str, str]]

A, B, C = (SQL01, NAS01), (FILE01, OFFSITE01), (EXCH01, OFFSITE01)


def ids(declared: Declared) -> dict[str, str]:
    return {name: "/".join(pair) for name, pair in declared.items()}


# Of a run that gives one VM another location, each kind of exchange, and a write before and after
# the server has acted. tests/reliability kills at all exchanges of all kinds of runs.
EXCHANGES = {
    "session start": Fault("stall", "POST /sessions/start"),
    "before POST": Fault("stall", "POST /vms", acted=False),
    "after POST": Fault("stall", "POST /vms"),
    "names": Fault("stall", "GET"),
    "before DELETE": Fault("stall", "DELETE", acted=False),
    "after DELETE": Fault("stall", "DELETE"),
}
BEFORE: Declared = {"a": A, "b": B}
AFTER: Declared = {"a": (SQL01, OFFSITE01), "b": B}

# The session of a killed run keeps the next one out for so long: on a real server, five minutes.
SESSION_SECONDS = 5
# A host that goes on has its session beside that of the next run.
SEVERAL_SESSIONS = Behavior(second_session="accept")


def test_after_a_kill_at_an_exchange_the_next_run_makes_everything_right(
    stack: Stack, simulator: Simulator, tmp_path: Path
) -> None:
    simulator.session_seconds = SESSION_SECONDS
    stack.assignments(**BEFORE)
    stack.up()
    stack.keep(tmp_path / "before")
    held = dict(simulator.inventory.assignments)
    stack.assignments(**AFTER)
    for at, killed_at in EXCHANGES.items():
        stack.restore(tmp_path / "before")
        simulator.inventory.assignments = dict(held)
        simulator.sessions.clear()
        simulator.calls.clear()
        simulator.faults = [killed_at]
        # One after the other, so that the CLI is not writing the state at that moment: such a
        # kill can leave a file that no CLI reads, whatever the provider does.
        with stack.start_up("--parallel", "1") as run:
            run.until(met(killed_at))
            run.kill()
        simulator.faults.clear()
        unassigned = pairs(simulator, "DELETE")
        simulator.calls.clear()

        recorded = stack.recorded()
        stack.pulumi("cancel", "--yes")
        stack.up()
        assert stack.ids() == ids(AFTER), at
        assert len(stack.recorded()) == len(AFTER), at
        assert assigned(simulator) == set(ids(AFTER).values()), at
        assert "/".join(B) not in unassigned + pairs(simulator, "DELETE"), at
        # What the state knows of is not assigned again, and everything else once.
        missing = [id_ for name, id_ in ids(AFTER).items() if (name, id_) not in recorded]
        assert sorted(pairs(simulator, "POST")) == sorted(missing), at
        assert len(simulator.sessions) <= 1, at  # of the run that was killed


def test_after_a_kill_with_several_in_flight_pulumi_warns_and_needs_no_option(
    stack: Stack, simulator: Simulator
) -> None:
    simulator.session_seconds = SESSION_SECONDS
    for method, declared in (("POST", {"a": A, "b": B, "c": C}), ("DELETE", {})):
        stack.assignments(**declared)
        in_flight = Fault("stall", f"{method} /vms/backuplocations", times=None)
        simulator.faults = [in_flight]
        with stack.start_up() as run:
            run.until(met(in_flight, 3))
            run.kill()
        simulator.faults.clear()
        stack.pulumi("cancel", "--yes")
        assert "with 3 pending operations from previous deployment" in stack.up()
        assert stack.ids() == ids(declared)
        assert assigned(simulator) == set(ids(declared).values())
        # Pulumi keeps creates in mind until it is told otherwise, as docs/reliability.md shows.
        left = stack.state().get("pending_operations", [])
        assert len(left) == (3 if method == "POST" else 0)
        if left:
            stack.refresh("--clear-pending-creates")


def test_a_kill_of_the_cli_alone_leaves_a_host_that_ends_its_session_and_does_no_harm(
    stack: Stack, simulator: Simulator
) -> None:
    simulator.behavior = SEVERAL_SESSIONS
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
        simulator.faults.clear()  # now the answers are lost that the host has waited for
        wait_until(lambda: not simulator.sessions)
        # Pulumi's own host waits for the CLI for good; without a session it holds nothing.
        assert any("pulumi.dynamic" in process.cmdline() for process in left)
        assert stack.ids() == ids({"a": A, "b": B, "c": C})
        assert assigned(simulator) == set(stack.ids().values())
        assert pairs(simulator, "DELETE") == []
    finally:
        kill(left)


def test_a_host_whose_cli_was_killed_does_not_unassign_what_is_declared_again(
    stack: Stack, simulator: Simulator
) -> None:
    simulator.behavior = SEVERAL_SESSIONS
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
        simulator.faults.clear()  # now the host learns that its DELETE was lost
        wait_until(lambda: not simulator.sessions)
    finally:
        kill(left)
    assert assigned(simulator) == set(stack.ids().values())
