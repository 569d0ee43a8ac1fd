"""One scenario, and everything that can go wrong at each of its HTTP exchanges.

The scenario is a stack's life in five runs, each in a provider's process of its own.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import product
from typing import Any

import pytest
from reliability.engine import Engine, Kill, Killed, Pair, Program
from reliability.server import WatchedSimulator
from sample import DC01, DISK_E, EXCH01, FILE01, NAS01, OFFSITE01, PASSWORD, ROTATING, SQL01, SQL02

from pulumi_vmbackup import VmBackupError
from pulumi_vmbackup.simulator import TOKEN_PREFIX, Behavior, Fault, serve

# What people assigned by hand, one of them on a VM of the program.
FOREIGN = {Pair(SQL01, ROTATING), Pair(FILE01, NAS01)}
STANDING = Pair(DC01, DISK_E)

FIRST: Program = {
    "dc01": STANDING,  # adopted
    "sql01": Pair(SQL01, NAS01),
    "sql01-offsite": Pair(SQL01, OFFSITE01),
    "sql02": Pair(SQL02, NAS01),
    "exch01": Pair(EXCH01, NAS01),
}
SECOND: Program = {
    "domain-controller": STANDING,  # renamed
    "sql01": Pair(SQL01, DISK_E),  # replaced
    "sql01-offsite": Pair(SQL02, NAS01),  # these two swap their pairs
    "sql02": Pair(SQL01, OFFSITE01),
}  # exch01 is removed


@dataclass(frozen=True)
class Run:
    """A command, and what the program declares before and after it."""

    name: str
    command: Callable[[Engine], None]
    before: Program
    after: Program


RUNS = [
    Run("up", lambda engine: engine.up(FIRST), {}, FIRST),
    Run("refresh", lambda engine: engine.refresh(), FIRST, FIRST),
    Run("up with changes", lambda engine: engine.up(SECOND), FIRST, SECOND),
    Run("refresh again", lambda engine: engine.refresh(), SECOND, SECOND),
    Run("destroy", lambda engine: engine.destroy(), SECOND, {}),
]

# The most calls that one fault costs, and the most listings that are waited for where they lag.
MOST_CALLS_OF_A_FAULT = 5
MOST_LISTINGS = 8

# What the scenario costs; a call that a change of the code adds or saves is to be seen here.
CALLS = {"start": 5, "POST": 9, "GET": 13, "DELETE": 6, "end": 5}

FAULTS: list[tuple[Any, bool]] = [
    *product(("reset", "stall", "cut short", "html", "error"), (True, False)),
    ("session over", True),
]


def name(fault: tuple[str, bool]) -> str:
    kind, acted = fault
    return f"{kind}, {'acted' if acted else 'not acted'}"


ONE_SESSION = Behavior(second_session="refuse")
ODD_SERVERS = {
    "a server that refuses what is done already": Behavior(second_post="refuse"),
    "a server that lists nothing of unknown VMs": Behavior(
        unassigned_delete="accept", unknown_vm="empty"
    ),
    "a server that moves VMs": Behavior(second_primary="move", second_post="refuse"),
    "a server whose listings lag": Behavior(lag_seconds=0.05),
    "a server that allows one session": ONE_SESSION,
}


class Stack:
    """A server, and a stack that is deployed to it."""

    def __init__(self, base_url: str, simulator: WatchedSimulator, **settings: str) -> None:
        lags = simulator.behavior.lag_seconds
        config = {
            "baseUrl": base_url,
            "username": "Administrator",
            "password": PASSWORD,
            "timeoutSeconds": "10",
            "sessionWaitSeconds": "10",
            # The state knows the second of an assignment only, hence the one more.
            "settleSeconds": str(1 + 10 * lags if lags else 0),
            **settings,
        }
        self.simulator = simulator
        self.engine = Engine(config, lambda: len(simulator.calls))

    def run(self, run: Run) -> None:
        """Run a command, and see that it leaves what it must leave, also when it fails."""
        since = len(self.simulator.history) - 1
        try:
            run.command(self.engine)
        finally:
            kept = {*FOREIGN, *(set(run.before.values()) & set(run.after.values()))}
            for assigned in self.simulator.history[since:]:
                # A create that failed in the run before may not have assigned its pair.
                assert kept & self.simulator.history[since] <= assigned
            assert self.simulator.assigned >= FOREIGN
            if self.simulator.behavior != ONE_SESSION:  # which is waited for as long as it takes
                for step in self.engine.steps:
                    assert step.calls < 20, step

    def assert_settled(self, run: Run) -> None:
        """The program, the state and the server agree."""
        resources = {name: "/".join(pair) for name, pair in run.after.items()}
        assert {each.name: each.id for each in self.engine.state} == resources
        assert len(self.engine.state) == len(resources)
        assert self.simulator.assigned == {*FOREIGN, *run.after.values()}

    def outcome(self) -> list[tuple[object, ...]]:
        """What the state holds but for times."""
        return sorted(
            (each.name, each.id, sorted(each.inputs.items()), sorted(outputs.items()))
            for each in self.engine.state
            for outputs in [{**each.outputs, "assigned_at": None}]
        )


@contextmanager
def make_stack(behavior: Behavior | None = None, /, **settings: str) -> Iterator[Stack]:
    # How long a session that nobody ends keeps others out of a server that allows one.
    session_seconds = 0.2 if behavior == ONE_SESSION else 300
    simulator = WatchedSimulator(
        assigned={*FOREIGN, STANDING}, behavior=behavior, session_seconds=session_seconds
    )
    with serve(simulator) as base_url:
        yield Stack(base_url, simulator, **settings)
        simulator.faults.clear()


@dataclass
class Faultless:
    """The scenario as it goes when nothing goes wrong.

    Attributes:
        calls: the call of each exchange: ``"start"``, ``"end"`` or its method.
        outcomes: what each run left in the state.
    """

    calls: list[str]
    outcomes: list[list[tuple[object, ...]]]


def run_without_faults(behavior: Behavior | None = None) -> Faultless:
    outcomes = []
    with make_stack(behavior) as stack:
        for run in RUNS:
            stack.run(run)
            stack.assert_settled(run)
            assert not stack.simulator.sessions
            outcomes.append(stack.outcome())
        calls = [
            call.path.split("/")[4] if "/sessions/" in call.path else call.method
            for call in stack.simulator.calls
        ]
    if behavior is None:
        assert Counter(calls) == CALLS
    return Faultless(calls, outcomes)


@contextmanager
def told(what: str) -> Iterator[None]:
    """Say at which of many cases something went wrong."""
    try:
        yield
    except Exception as error:
        raise AssertionError(f"{what}: {error!r}") from error


def settings_for(kind: str) -> dict[str, str]:
    # Far longer than an answer takes, also on a busy machine.
    return {"timeoutSeconds": "1.5"} if kind == "stall" else {}


# One fault


def assert_one_fault_is_survived_wherever_it_hits(
    kind: Any, acted: bool, behavior: Behavior | None = None
) -> None:
    faultless = run_without_faults(behavior)
    for exchange, call in enumerate(faultless.calls):
        with (
            told(f"{name((kind, acted))} at exchange {exchange}, {call}"),
            make_stack(behavior, **settings_for(kind)) as stack,
        ):
            fault = Fault(kind, skip=exchange, acted=acted)
            stack.simulator.faults.append(fault)
            for run, outcome in zip(RUNS, faultless.outcomes, strict=True):
                stack.run(run)
                stack.assert_settled(run)
                assert stack.outcome() == outcome
            assert fault.hits == 1
            # Nobody can end a session whose token was lost; the server does when it is idle.
            lost_sessions = int(call == "start" and acted and kind != "session over")
            assert len(stack.simulator.sessions) == lost_sessions
            if stack.simulator.behavior != ONE_SESSION:  # which is waited for as long as it takes
                cost = len(stack.simulator.calls) - len(faultless.calls)
                lags = bool(stack.simulator.behavior.lag_seconds)
                assert cost <= MOST_CALLS_OF_A_FAULT + MOST_LISTINGS * lags


@pytest.mark.parametrize("fault", FAULTS, ids=name)
def test_one_fault_is_survived_wherever_it_hits(fault: tuple[Any, bool]) -> None:
    assert_one_fault_is_survived_wherever_it_hits(*fault)


@pytest.mark.parametrize("server", ODD_SERVERS)
@pytest.mark.parametrize("acted", [True, False], ids=["acted", "not acted"])
def test_one_fault_is_survived_also_on(server: str, acted: bool) -> None:
    assert_one_fault_is_survived_wherever_it_hits("reset", acted, ODD_SERVERS[server])


# Faults that last


def assert_is_one_sentence(error: VmBackupError) -> None:
    text = str(error)
    assert text.startswith("Could not ")
    assert text.endswith(".")
    assert text.isprintable()
    assert PASSWORD not in text
    assert TOKEN_PREFIX not in text


@pytest.mark.parametrize("fault", FAULTS, ids=name)
def test_a_fault_that_lasts_fails_a_run_with_a_sentence_and_the_next_run_makes_up_for_it(
    fault: tuple[Any, bool],
) -> None:
    kind, acted = fault
    faultless = run_without_faults()
    for exchange, call in enumerate(faultless.calls):
        if kind == "stall" and call in faultless.calls[:exchange]:
            continue  # each takes seconds
        with (
            told(f"{name(fault)} from exchange {exchange} on, {call}"),
            make_stack(**settings_for(kind)) as stack,
        ):
            lasting = Fault(kind, skip=exchange, times=None, acted=acted)
            stack.simulator.faults.append(lasting)
            failed_runs = 0
            for run, outcome in zip(RUNS, faultless.outcomes, strict=True):
                try:
                    stack.run(run)
                except VmBackupError as error:
                    assert_is_one_sentence(error)
                    assert lasting.hits
                    failed_runs += 1
                    stack.simulator.faults.clear()
                    stack.run(run)
                stack.assert_settled(run)
                if "refresh" in run.name:  # learns names that could not be learnt before
                    assert stack.outcome() == outcome
            assert failed_runs == (exchange < len(faultless.calls) - 1)


LASTING: list[tuple[Any, bool] | None] = [
    None,
    ("reset", True),
    ("reset", False),
    ("error", True),
    ("session over", True),
]


SINGLE = {"sql01": Pair(SQL01, NAS01)}
SINGLE_UP = Run("up", lambda engine: engine.up(SINGLE), {}, SINGLE)


@pytest.mark.parametrize(
    "behavior",
    [Behavior(), Behavior(second_post="refuse", lag_seconds=0.02)],
    ids=["", "refuses what is done already, listings lag"],
)
def test_a_create_gives_up_soon_whatever_lasts(
    behavior: Behavior, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In the proportion to settleSeconds that it has where nobody shortens them.
    monkeypatch.setattr("pulumi_vmbackup.lifecycle.LISTING_POLL_SECONDS", 0.02)
    failed_runs = 0
    with make_stack(behavior, settleSeconds="0.3") as stack:
        simulator = stack.simulator
        simulator.inventory.assignments = dict.fromkeys(FOREIGN)
        for of_post, of_get, of_start in product(LASTING, repeat=3):
            faults = {"POST /vms": of_post, "GET": of_get, "POST /sessions/start": of_start}
            with told(str(faults)):
                simulator.faults += [
                    Fault(fault[0], call, times=None, acted=fault[1])
                    for call, fault in faults.items()
                    if fault
                ]
                try:
                    stack.run(SINGLE_UP)  # which counts the calls
                except VmBackupError as error:
                    assert_is_one_sentence(error)
                    failed_runs += 1
                simulator.faults.clear()
                time.sleep(behavior.lag_seconds)  # people are slower than listings
                stack.run(SINGLE_UP)
                stack.assert_settled(SINGLE_UP)
                stack.engine.destroy()
                assert simulator.assigned == FOREIGN
                time.sleep(behavior.lag_seconds)
    assert failed_runs


@pytest.mark.parametrize("call", ["", "POST /vms", "POST /sessions/start"])
def test_a_create_gives_up_soon_when_nothing_is_answered(call: str) -> None:
    with make_stack(**settings_for("stall")) as stack:
        stack.simulator.faults.append(Fault("stall", call, times=None, acted=False))
        with pytest.raises(VmBackupError) as raised:
            stack.run(SINGLE_UP)
        assert_is_one_sentence(raised.value)


# A process that dies


@pytest.mark.parametrize("behavior", [Behavior(), ONE_SESSION], ids=["", "one session"])
@pytest.mark.parametrize("acted", [True, False], ids=["acted", "not acted"])
def test_after_a_kill_wherever_it_hits_the_next_run_goes_on(
    acted: bool, behavior: Behavior
) -> None:
    faultless = run_without_faults(behavior)
    for exchange, call in enumerate(faultless.calls):
        with (
            told(f"killed at exchange {exchange}, {call}, {'' if acted else 'not '}acted"),
            make_stack(behavior) as stack,
        ):
            kill = Kill(skip=exchange, acted=acted)
            for run, outcome in zip(RUNS, faultless.outcomes, strict=True):
                with nullcontext() if kill.hits else kill.armed():
                    try:
                        stack.run(run)
                        is_killed = False
                    except Killed:
                        is_killed = True
                if is_killed:
                    assert len(stack.simulator.sessions) <= 1  # the one of the dead process
                    stack.run(run)
                stack.assert_settled(run)
                assert stack.outcome() == outcome
            assert kill.hits == 1
            ended = call == "end" and acted
            started = call != "start" or acted
            assert len(stack.simulator.sessions) == (started and not ended)
