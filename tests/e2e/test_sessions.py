"""Sessions: renewed, waited for, never left open, and never those of somebody else."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import pytest
import requests
from e2e.stack import MakeStack, Stack, assigned, met, pairs, wait_until
from sample import EXCH01, FILE01, NAS01, NOWHERE, OFFSITE01, PASSWORD, SQL01, SQL02

from pulumi_vmbackup.simulator import Behavior, Fault, Simulator

PAIR = f"{SQL01}/{NAS01}"
CANCELLING = "^C received; cancelling"
BUSY = "AnotherConsoleIsRegistered"
THREE = {"a": (SQL01, NAS01), "b": (FILE01, OFFSITE01), "c": (EXCH01, OFFSITE01)}


@pytest.fixture
def session_of_somebody_else(simulator: Simulator, base_url: str) -> Iterator[str]:
    """One that stays open during the run, which only a server with several sessions allows."""
    simulator.behavior = Behavior(second_session="accept")
    login = {"ServerPort": "36014", "Username": "Administrator", "Password": PASSWORD}
    answer = requests.post(
        f"{base_url}/sessions/start", json=login, headers={"Host": "localhost"}, timeout=600
    )
    token = str(answer.json()["Data"])
    simulator.calls.clear()
    simulator.tokens.clear()
    yield token
    assert list(simulator.sessions) == [token]


def session_calls(simulator: Simulator) -> list[str]:
    """The calls about sessions: ``"start"``, ``"end"`` and whatever is none of them."""
    paths = [call.path.partition("/sessions/")[2] for call in simulator.calls]
    return [path.removesuffix("/[token]") for path in paths if path]


def no_session_is_left(simulator: Simulator) -> None:
    """All that were started were ended; the fixture looks after that of somebody else.

    How many there were depends on the machine: a process ends one that is idle for two seconds.
    """
    calls = session_calls(simulator)
    assert calls.count("start") == calls.count("end") >= 1
    assert set(calls) == {"start", "end"}


# Given, renewed, waited for


def test_a_given_session_is_neither_started_nor_ended(
    make_stack: MakeStack, simulator: Simulator, session_of_somebody_else: str
) -> None:
    token = session_of_somebody_else
    stack = make_stack(VMBACKUP_PASSWORD="")
    stack.pulumi("config", "set", "--secret", "vmbackup:sessionToken", token)
    stack.assignments(sql01=(SQL01, NAS01))
    stack.up()
    assert token not in json.dumps(stack.state())
    stack.destroy()
    assert pairs(simulator, "POST") == pairs(simulator, "DELETE") == [PAIR]
    assert session_calls(simulator) == []
    assert token not in stack.output


def test_a_session_that_dies_in_the_middle_is_renewed(stack: Stack, simulator: Simulator) -> None:
    stack.assignments(**THREE)
    over = Fault("session over", "POST /vms/backuplocations", skip=1)
    simulator.faults.append(over)
    stack.up()
    assert over.hits == 1
    calls = session_calls(simulator)
    assert calls.count("start") == calls.count("end") + 1
    assert assigned(simulator) == set(stack.ids().values())
    assert len(stack.ids()) == len(THREE)
    assert not simulator.sessions


def test_a_busy_server_is_waited_for(stack: Stack, simulator: Simulator) -> None:
    stack.assignments(**THREE)
    simulator.console_connected = True
    with stack.start_up() as run:
        run.until(lambda: session_calls(simulator))
        simulator.console_connected = False
        run.end()
    assert session_calls(simulator)[:2] == ["start", "start"]
    assert assigned(simulator) == set(stack.ids().values())
    assert not simulator.sessions


def test_a_server_that_stays_busy_is_an_error_that_says_what_to_close(
    make_stack: MakeStack, simulator: Simulator
) -> None:
    stack = make_stack(VMBACKUP_SESSION_WAIT_SECONDS="0")
    stack.assignments(**THREE)
    simulator.console_connected = True
    output = stack.up(fails=True)
    advice = "Something else holds the API: a VM Backup Management Console that is logged in"
    assert output.count(f'"SessionRefused / Another session is open / {BUSY}". {advice}') >= 3
    # Not more than once each: threads that come later ask again, but do not wait again.
    assert set(session_calls(simulator)) == {"start"}
    assert len(session_calls(simulator)) <= len(THREE)
    assert stack.ids() == {}


# Look-ups beside resources, on a server that allows one session


PROGRAM_WITH_LOOKUPS = f"""\
import pulumi

from pulumi_vmbackup import (
    VmBackupLocationAssignment,
    get_backup_locations,
    get_backup_locations_output,
)


def vm_of(assignment):  # not known before it is assigned
    return assignment.id.apply(lambda pair: pair.partition("/")[0])


def paths_of(vm_ref):
    return get_backup_locations_output(vm_ref=vm_ref).apply(
        lambda locations: sorted(f"{{each.kind}} {{each.path}}" for each in locations)
    )


offsite = get_backup_locations(primary=False)[0]
first = VmBackupLocationAssignment("first", vm_ref="{SQL01}", backup_location_id=offsite.id)
others = [
    VmBackupLocationAssignment(name, vm_ref=ref, backup_location_id=offsite.id)
    for name, ref in (("file01", "{FILE01}"), ("exch01", "{EXCH01}"), ("sql02", "{SQL02}"))
]
paths_before = paths_of(vm_of(first))
second = VmBackupLocationAssignment(
    "second",
    vm_ref=vm_of(first),
    backup_location_id=paths_before.apply(lambda paths: "{NAS01}" if len(paths) == 1 else ""),
)
pulumi.export("paths", [paths_before, paths_of(vm_of(second)), *map(paths_of, map(vm_of, others))])
"""


def test_a_program_can_look_up_what_it_assigns_on_a_server_that_allows_one_session(
    stack: Stack, simulator: Simulator
) -> None:
    simulator.behavior = Behavior(second_session="refuse")
    stack.program(PROGRAM_WITH_LOOKUPS)
    stack.up()
    assert simulator.inventory.locations_of(SQL01) == [NAS01, OFFSITE01]
    assert assigned(simulator) == set(stack.ids().values())
    offsite, primary = r"offsite \\OFFSITE01\VMBackups", r"primary \\NAS01\VMBackups"
    of_others = [[offsite]] * 3
    assert stack.outputs()["paths"] == [[offsite], [offsite, primary], *of_others]
    assert not simulator.sessions


# No session is left open


PROGRAM_THAT_CRASHES = f"""\
import os
import pathlib
import signal
import sys

from pulumi_vmbackup import VmBackupLocationAssignment, get_backup_locations

offsite = get_backup_locations(primary=False)[0]


def crash(_):
    pathlib.Path("crashing").touch()
    {{crash}}


for name, ref in (("a", "{SQL01}"), ("b", "{FILE01}")):
    VmBackupLocationAssignment(name, vm_ref=ref, backup_location_id=offsite.id).id.apply(crash)
"""
CRASHES = [
    pytest.param("sys.exit(3)", marks=pytest.mark.full),
    "1 / 0",
    pytest.param("os._exit(1)", marks=() if sys.platform == "win32" else pytest.mark.full),
]
if sys.platform != "win32":
    CRASHES.append("os.kill(os.getpid(), signal.SIGKILL)")


@pytest.mark.parametrize("crash", CRASHES)
@pytest.mark.usefixtures("session_of_somebody_else")
def test_a_program_that_crashes_while_its_resources_are_in_flight_leaves_no_session_open(
    crash: str, stack: Stack, simulator: Simulator
) -> None:
    # The first one that is assigned crashes the program, while the other gets no answer.
    in_flight = Fault("stall", "POST /vms/backuplocations", skip=1)
    simulator.faults = [in_flight]
    stack.program(PROGRAM_THAT_CRASHES.format(crash=crash))
    with stack.start_up() as run:
        run.until(met(in_flight))
        run.until((stack.folder / "crashing").exists)
        simulator.faults.clear()
        run.end(fails=True)
    no_session_is_left(simulator)
    # Pulumi waits for what is in flight, so the state holds what the server holds.
    assert set(stack.ids().values()) == assigned(simulator)
    assert len(stack.ids()) == 2


@pytest.mark.usefixtures("session_of_somebody_else")
def test_a_run_that_fails_leaves_no_session_open(stack: Stack, simulator: Simulator) -> None:
    stack.assignments(**THREE, refused=(SQL02, NOWHERE))
    stack.up(fails=True)
    no_session_is_left(simulator)
    assert set(stack.ids().values()) == assigned(simulator)


# Ctrl-C


@pytest.mark.usefixtures("session_of_somebody_else")
def test_an_interrupted_run_ends_with_the_state_that_the_server_has(
    stack: Stack, simulator: Simulator
) -> None:
    # To the CLI alone, and to all of the foreground job.
    for method, declared, group in (("POST", THREE, False), ("DELETE", {}, True)):
        stack.assignments(**declared)
        simulator.calls.clear()
        in_flight = Fault("stall", f"{method} /vms/backuplocations", skip=1)
        simulator.faults = [in_flight]
        with stack.start_up("--parallel", "1") as run:
            run.until(met(in_flight))
            run.interrupt(group=group)
            run.until(lambda: CANCELLING in run.output())
            simulator.faults.clear()
            run.end(fails=True)
        # The one in flight is finished, and the third one is not begun.
        assert len(pairs(simulator, method)) == 2
        no_session_is_left(simulator)
        state = stack.resources().values()
        assert {each["id"] for each in state} == assigned(simulator)
        assert len(state) == (2 if method == "POST" else 1)
        assert "pending_operations" not in stack.state()
        assert not stack.declared_files()
        stack.up()
        assert set(stack.ids().values()) == assigned(simulator)
        assert len(stack.ids()) == len(declared)


def test_a_run_that_is_interrupted_twice_leaves_no_session_open(
    stack: Stack, simulator: Simulator
) -> None:
    stack.assignments(**THREE)
    in_flight = Fault("stall", "POST /vms/backuplocations", skip=1)
    simulator.faults.append(in_flight)
    with stack.start_up("--parallel", "1") as run:
        run.until(met(in_flight))
        run.interrupt(group=True)
        run.until(lambda: CANCELLING in run.output())
        run.interrupt(group=True)
        simulator.faults.clear()
        run.end(fails=True)
    wait_until(lambda: not simulator.sessions)
    stack.pulumi("cancel", "--yes")
    stack.up()
    assert set(stack.ids().values()) == assigned(simulator)
    assert len(stack.ids()) == 3
