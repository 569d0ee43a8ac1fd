"""One scenario, and everything that can go wrong at each of its HTTP exchanges.

The scenario is a stack's life in five runs, each in a provider's process of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import product

import pytest
from marks import only_full
from reliability.engine import Engine, Kill, Pair, Program
from reliability.sweep import (
    ALSO_LOST,
    CHANGES,
    DEAD_TOKENS,
    LOST,
    ODD_SERVERS,
    ONE_SESSION,
    PASSES,
    SESSION_OVER,
    Failure,
    Stack,
    assert_are_sentences,
    settings_for,
    told,
)
from reliability.watched import SEVERAL_SESSIONS, Change, Turn, WatchedSimulator
from sample import DC01, DISK_E, EXCH01, FILE01, NAS01, OFFSITE01, PASSWORD, ROTATING, SQL01, SQL02

from pulumi_vmbackup import VmBackupError
from pulumi_vmbackup.simulator import Behavior, serve

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

# What the scenario costs; a call that a change of the code adds or saves is to be seen here.
CALLS = {"start": 5, "POST": 9, "GET": 13, "DELETE": 6, "end": 5}


class LifeStack(Stack):
    """A stack of the dynamic resource."""

    engine: Engine
    runs = RUNS
    expected = CALLS

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

    def held(self) -> set[Pair]:
        """The pairs that the state holds."""
        return {each.pair for each in self.engine.state}


@contextmanager
def make_stack(behavior: Behavior = SEVERAL_SESSIONS, /, **settings: str) -> Iterator[LifeStack]:
    # How long a session that nobody ends keeps others out of a server that allows one.
    session_seconds = 0.6 if behavior == ONE_SESSION else 300
    simulator = WatchedSimulator(
        assigned={*FOREIGN, STANDING}, behavior=behavior, session_seconds=session_seconds
    )
    lags = simulator.behavior.lag_seconds
    with serve(simulator) as base_url:
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
        yield LifeStack(simulator, Engine(config, lambda: len(simulator.calls)))
        simulator.faults.clear()


# One failure


@pytest.mark.parametrize("failure", [*PASSES, *only_full(*ALSO_LOST)], ids=str)
def test_one_failure_is_survived_wherever_it_hits(failure: Failure) -> None:
    with make_stack(**settings_for(failure)) as stack:
        for case in stack.cases_of(failure):
            stack.survive(case, failure)


@pytest.mark.parametrize("server", ODD_SERVERS)
@pytest.mark.parametrize("failure", LOST, ids=str)
def test_one_lost_answer_is_survived_also_on(server: str, failure: Failure) -> None:
    with make_stack(ODD_SERVERS[server]) as stack:
        for case in stack.cases():
            stack.survive(case, failure)


@pytest.mark.parametrize("behavior", DEAD_TOKENS, ids=lambda each: each.invalid_token)
def test_the_end_of_a_session_is_survived_whatever_its_token_is_answered(
    behavior: Behavior,
) -> None:
    with make_stack(behavior) as stack:
        for case in stack.cases():
            stack.survive(case, SESSION_OVER)


@pytest.mark.parametrize(("change", "behavior"), CHANGES)
def test_a_server_that_is_another_one_for_the_rest_of_a_run_makes_nothing_lost(
    change: Change, behavior: Behavior
) -> None:
    with make_stack(behavior) as stack:
        failed = [
            stack.survive_a_change(case, Turn(change, case.exchange), (VmBackupError,))
            for case in stack.cases()
        ]
    assert any(failed) == (change != "a host is off")


def test_an_up_that_only_removes_fails_on_another_site() -> None:
    with make_stack() as stack:
        stack.engine.up(FIRST)
        held, turn = stack.held(), Turn("another site answers")
        with stack.simulator.turning(turn), pytest.raises(VmBackupError, match="knows neither"):
            stack.engine.up({"dc01": STANDING})
        assert stack.held() == held


# Failures that last


LAST = [*LOST, SESSION_OVER, Failure("refused"), Failure("not sent")]


@pytest.mark.parametrize("failure", [*LAST, *only_full(*ALSO_LOST)], ids=str)
def test_a_failure_that_lasts_fails_a_run_with_a_sentence_and_the_next_run_makes_up_for_it(
    failure: Failure,
) -> None:
    with make_stack(**settings_for(failure)) as stack:
        for case in stack.cases_of(failure):
            with told(f"{failure} from {case} on"):
                stack.begin_case(case)
                lasting = failure.mishap(skip=case.exchange, times=None)
                is_failed = False
                try:
                    with stack.meeting(lasting):
                        stack.run(case.run)
                except VmBackupError as error:
                    assert_are_sentences(error)
                    is_failed = True
                assert lasting.hits
                if is_failed:
                    stack.run(case.run)
                stack.assert_settled(case.run)
                assert is_failed == (case.call != "end")
                stack.engine.refresh()  # learns names that could not be learnt before
                assert stack.outcome() == case.outcome


LASTING = [None, *LOST, SESSION_OVER, Failure("refused for now")]

SINGLE = {"sql01": Pair(SQL01, NAS01)}
SINGLE_UP = Run("up", lambda engine: engine.up(SINGLE), {}, SINGLE)


@pytest.mark.parametrize(
    "behavior",
    [SEVERAL_SESSIONS, replace(SEVERAL_SESSIONS, second_post="refuse", lag_seconds=0.02)],
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
            failures = {"POST /vms": of_post, "GET": of_get, "POST /sessions/start": of_start}
            with told(str(failures)), ExitStack() as mishaps:
                for call, failure in failures.items():
                    if failure:
                        lasting = failure.mishap(call, skip=0, times=None)
                        mishaps.enter_context(stack.meeting(lasting))
                try:
                    stack.run(SINGLE_UP)  # which counts the calls
                except VmBackupError as error:
                    assert_are_sentences(error)
                    failed_runs += 1
                mishaps.close()
                time.sleep(behavior.lag_seconds)  # people are slower than listings
                stack.run(SINGLE_UP)
                stack.assert_settled(SINGLE_UP)
                stack.engine.destroy()
                assert simulator.assigned == FOREIGN
                time.sleep(behavior.lag_seconds)
    assert failed_runs


@pytest.mark.full
@pytest.mark.parametrize("call", ["", "POST /vms", "POST /sessions/start"])
def test_a_create_gives_up_soon_when_nothing_is_answered(call: str) -> None:
    stall = Failure("stall")
    with (
        make_stack(**settings_for(stall)) as stack,
        stack.meeting(stall.mishap(call, skip=0, times=None)),
        pytest.raises(VmBackupError) as raised,
    ):
        stack.run(SINGLE_UP)
    assert_are_sentences(raised.value)


# A process that dies


@pytest.mark.parametrize("behavior", [SEVERAL_SESSIONS, ONE_SESSION], ids=["", "one session"])
@pytest.mark.parametrize("acted", [True, False], ids=["acted", "not acted"])
def test_after_a_kill_wherever_it_hits_the_next_run_goes_on(
    acted: bool, behavior: Behavior
) -> None:
    with make_stack(behavior) as stack:
        for case in stack.cases():
            if behavior == ONE_SESSION and case.same_before:
                continue  # each waits until the session of the dead process is over
            stack.survive_a_kill(case, Kill(skip=case.exchange, acted=acted))
