"""The scenario of a stack of the plugin, and everything that can go wrong at each HTTP exchange.

It is a stack's life in seven runs, each in a process of its own: singles beside a set that adopts,
grows, moves, shrinks, becomes exclusive, drifts and gets another name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import product

import pytest
from marks import only_full
from reliability.engine import Kill, Killed, Pair
from reliability.plugin_engine import PluginEngine, Program, Set, declared_pairs, urn
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
from pulumi_vmbackup.plugin.handler import PartlyDoneError
from pulumi_vmbackup.plugin.schema import ASSIGNMENT_SET
from pulumi_vmbackup.simulator import Behavior, serve

# What people assigned by hand: to a VM of no set, to one of a single, and to one that becomes a
# VM of an exclusive set.
FOREIGN = frozenset({Pair(FILE01, NAS01), Pair(SQL01, ROTATING)})
STRANGER = Pair(SQL02, ROTATING)
STANDING = Pair(DC01, DISK_E)
# What people change while the set is exclusive.
TAKEN_AWAY = Pair(DC01, OFFSITE01)
NEW_STRANGER = Pair(DC01, NAS01)
LONG_AGO = "2026-01-01T00:00:00+00:00"  # what is missing since is no matter of a listing that lags

FIRST: Program = {
    "sql01": Pair(SQL01, NAS01),
    "site": Set(
        {
            "DC01": (DC01, {"disk": DISK_E}),  # adopted
            "SQL02": (SQL02, {"nas": NAS01}),
            "EXCH01": (EXCH01, {"nas": NAS01, "offsite": OFFSITE01}),
        }
    ),
}
NO_VMS: Program = {"sql01": FIRST["sql01"], "site": Set({})}
SECOND: Program = {
    "sql01": Pair(SQL01, DISK_E),  # replaced
    "exch01": Pair(EXCH01, OFFSITE01),  # comes from the set
    "site": Set(
        {
            "dc": (DC01, {"disk": DISK_E, "offsite": OFFSITE01}),  # one more, and another label
            "SQL02": (SQL02, {"nas": OFFSITE01}),  # moved
        },  # EXCH01 is removed
        exclusive=True,
    ),
}
THIRD: Program = {
    "dc01-offsite": Pair(DC01, OFFSITE01),  # comes from the set
    # It comes from the set too: a single beside an exclusive set of its VM would be refused.
    "dc01": Set({"dc": (DC01, {"disk": DISK_E})}),
    "all": Set(
        {
            "SQL01": (SQL01, {"disk": DISK_E, "by hand": ROTATING}),  # one was a single's
            "SQL02": (SQL02, {"nas": OFFSITE01}),
            "EXCH01": (EXCH01, {"offsite": OFFSITE01}),  # was a single's
        },
        exclusive=True,
    ),  # renamed
}


@dataclass(frozen=True)
class Run:
    """A command, and what is so before and after it.

    Attributes:
        drift: what people assign and take away before it.
        foreign: what is assigned after it beside what the program declares.
        missing: what the program declares and is not there after it.
    """

    name: str
    command: Callable[[PluginEngine], None]
    before: Program
    after: Program
    drift: frozenset[Pair] = frozenset()
    foreign: frozenset[Pair] = FOREIGN
    missing: frozenset[Pair] = frozenset()


DRIFTED = frozenset({TAKEN_AWAY, NEW_STRANGER})
RUNS = [
    Run("up", lambda engine: engine.up(FIRST), {}, FIRST, foreign=FOREIGN | {STRANGER}),
    Run("refresh", lambda engine: engine.refresh(), FIRST, FIRST, foreign=FOREIGN | {STRANGER}),
    Run("up with changes", lambda engine: engine.up(SECOND), FIRST, SECOND),
    Run(
        "refresh after a drift",
        lambda engine: engine.refresh(),
        SECOND,
        SECOND,
        drift=DRIFTED,
        foreign=FOREIGN | {NEW_STRANGER},
        missing=frozenset({TAKEN_AWAY}),
    ),
    Run("up after a drift", lambda engine: engine.up(SECOND), SECOND, SECOND),
    Run("up with a rename", lambda engine: engine.up(THIRD), SECOND, THIRD),
    Run(
        "destroy",
        lambda engine: engine.destroy(),
        THIRD,
        {},
        foreign=FOREIGN - {Pair(SQL01, ROTATING)},  # which the set adopted
    ),
]

# What the scenario costs; a call that a change of the code adds or saves is to be seen here. One
# GET is for each VM of a set that becomes exclusive, or gets another name as an exclusive one:
# DC01 is in none of another name, since a single assigns it too.
CALLS = {"start": 7, "POST": 16, "GET": 22, "DELETE": 11, "end": 7}


class LifeStack(Stack):
    """A stack of the plugin."""

    engine: PluginEngine
    runs = RUNS
    expected = CALLS

    def begin(self, run: Run) -> None:
        """Change what people change before a run, long after the one before."""
        if run.drift:
            self.engine.state = [
                replace(each, outputs={**each.outputs, "assignedAt": LONG_AGO})
                for each in self.engine.state
            ]
            self.simulator.assign(self.simulator.assigned ^ run.drift)

    def run(self, run: Run) -> None:
        """Run a command, and see that it leaves what it must leave, also when it fails."""
        since = len(self.simulator.history) - 1
        try:
            run.command(self.engine)
        finally:
            before, after = declared_pairs(run.before), declared_pairs(run.after)
            first = self.simulator.history[since]
            untouchable = (run.foreign | before & after) & first
            # A VM that moves is never without a location of the program.
            vm_refs = {pair.vm_ref for pair in before & first} & {pair.vm_ref for pair in after}
            for assigned in self.simulator.history[since:]:
                assert untouchable <= assigned
                assert vm_refs <= {pair.vm_ref for pair in (before | after) & assigned}

    def assert_settled(self, run: Run) -> None:
        """The program, the state and the server agree."""
        pairs = declared_pairs(run.after)
        resources = {urn(*each) for each in run.after.items()}
        assert {each.urn for each in self.engine.state} == resources
        assert len(self.engine.state) == len(resources)
        held = [pair for each in self.engine.state for pair in each.pairs]
        assert sorted(held) == sorted(pairs - run.missing)
        assert self.simulator.assigned == pairs - run.missing | run.foreign

    def outcome(self) -> list[tuple[object, ...]]:
        """What the state holds but for times."""
        return sorted(
            (each.urn, each.id, str(each.inputs), str({**each.outputs, "assignedAt": None}))
            for each in self.engine.state
        )

    def held(self) -> set[Pair]:
        """The pairs that the state holds."""
        return {pair for each in self.engine.state for pair in each.pairs}


@contextmanager
def make_stack(behavior: Behavior = SEVERAL_SESSIONS, /, **settings: str) -> Iterator[LifeStack]:
    simulator = WatchedSimulator(assigned={*FOREIGN, STANDING, STRANGER}, behavior=behavior)
    lags = simulator.behavior.lag_seconds
    with serve(simulator) as base_url:
        config = {
            "baseUrl": base_url,
            "username": "Administrator",
            "password": PASSWORD,
            "timeoutSeconds": "10",
            "settleSeconds": str(1 + 10 * lags if lags else 0),
            "parallelRequests": "1",  # so that each exchange is the same one each time
            **settings,
        }
        yield LifeStack(simulator, PluginEngine(config))
        simulator.faults.clear()


# One failure


@pytest.mark.parametrize("failure", [*PASSES, *only_full(*ALSO_LOST)], ids=str)
def test_one_failure_is_survived_by_singles_and_sets_wherever_it_hits(failure: Failure) -> None:
    with make_stack(**settings_for(failure)) as stack:
        for case in stack.cases_of(failure):
            stack.survive(case, failure)


@pytest.mark.parametrize(
    "server", [each for each in ODD_SERVERS if ODD_SERVERS[each] != ONE_SESSION]
)
@pytest.mark.parametrize("failure", LOST, ids=str)
def test_one_lost_answer_is_survived_by_singles_and_sets_also_on(
    server: str, failure: Failure
) -> None:
    behavior = ODD_SERVERS[server]
    with make_stack(replace(behavior, lag_seconds=behavior.lag_seconds / 2)) as stack:
        for case in stack.cases():
            stack.survive(case, failure)


@pytest.mark.parametrize("behavior", DEAD_TOKENS, ids=lambda each: each.invalid_token)
def test_the_end_of_a_session_is_survived_by_singles_and_sets_whatever_its_token_is_answered(
    behavior: Behavior,
) -> None:
    with make_stack(behavior) as stack:
        for case in stack.cases():
            stack.survive(case, SESSION_OVER)


@pytest.mark.parametrize(("change", "behavior"), CHANGES)
def test_a_server_that_is_another_one_for_the_rest_of_a_run_makes_nothing_lost(
    change: Change, behavior: Behavior
) -> None:
    errors = (VmBackupError, PartlyDoneError)
    with make_stack(behavior) as stack:
        failed = [
            stack.survive_a_change(case, Turn(change, case.exchange), errors)
            for case in stack.cases()
        ]
    assert any(failed) == (change != "a host is off")


@pytest.mark.parametrize("failure", LOST, ids=str)
def test_one_lost_answer_is_survived_by_sets_that_send_several_requests_at_a_time(
    failure: Failure,
) -> None:
    with make_stack(parallelRequests="4") as stack:
        for case in stack.cases():
            stack.survive(case, failure, in_order=False)


@pytest.mark.parametrize("after", [{"sql01": FIRST["sql01"]}, {"site": FIRST["site"]}, NO_VMS])
def test_an_up_that_only_removes_fails_on_another_site(after: Program) -> None:
    with make_stack() as stack:
        stack.engine.up(FIRST)
        held, turn = stack.held(), Turn("another site answers")
        with stack.simulator.turning(turn), pytest.raises(VmBackupError, match="knows neither"):
            stack.engine.up(after)
        assert stack.held() == held


def test_a_refresh_by_another_site_forgets_no_other_location_of_an_exclusive_set() -> None:
    strange = Pair(SQL01, ROTATING)
    program: Program = {"all": Set({"SQL01": (SQL01, {})}, exclusive=True)}
    with make_stack() as stack:
        stack.engine.up(program)
        stack.simulator.assign({strange})
        stack.engine.refresh()
        turn = Turn("another site answers")
        with stack.simulator.turning(turn), pytest.raises(VmBackupError, match="knows neither"):
            stack.engine.refresh()
        stack.engine.up(program)
        assert strange not in stack.simulator.assigned


# Failures that last


@pytest.mark.parametrize(
    "failure",
    [*LOST, Failure("refused"), *only_full(Failure("error"), SESSION_OVER)],
    ids=str,
)
def test_a_failure_that_lasts_fails_a_run_with_sentences_and_the_next_run_makes_up_for_it(
    failure: Failure,
) -> None:
    partly_done = 0
    with make_stack() as stack:
        for case, call in product(stack.cases(), ("", "POST /vms", "DELETE")):
            if not call.startswith(case.call) and call:
                continue
            with told(f"{failure} of {call or 'all calls'} from {case} on"):
                stack.begin_case(case)
                skip = case.same_before if call else case.exchange
                lasting = failure.mishap(call, skip=skip, times=None)
                is_failed = False
                try:
                    with stack.meeting(lasting):
                        stack.run(case.run)
                except (VmBackupError, PartlyDoneError) as error:
                    assert_are_sentences(error)
                    partly_done += isinstance(error, PartlyDoneError)
                    is_failed = True
                assert lasting.hits
                if is_failed:
                    stack.run(case.run)
                else:
                    # What is done all the same is found out where listings are answered.
                    assert call or case.call == "end"
                stack.assert_settled(case.run)
                assert of_sets(stack.outcome()) == of_sets(case.outcome)
    assert partly_done


def of_sets(outcome: list[tuple[object, ...]]) -> list[tuple[object, ...]]:
    """A single may not have learnt its names."""
    return [each for each in outcome if ASSIGNMENT_SET in str(each[0])]


# A process that dies


@pytest.mark.parametrize("acted", [True, False], ids=["acted", "not acted"])
def test_after_a_kill_wherever_it_hits_the_next_run_goes_on(acted: bool) -> None:
    with make_stack() as stack:
        for case in stack.cases():
            stack.survive_a_kill(case, Kill(skip=case.exchange, acted=acted))


def test_what_a_set_lets_go_of_and_a_later_resource_holds_is_assigned_again() -> None:
    both, nas = (
        Set({"SQL01": (SQL01, ids)}) for ids in ({"a": NAS01, "b": OFFSITE01}, {"a": NAS01})
    )
    moved = {"x": Pair(SQL01, OFFSITE01), "y": Pair(SQL02, NAS01)}
    simulator = WatchedSimulator(assigned=set())
    with serve(simulator) as base_url:
        account = {"username": "Administrator", "password": PASSWORD, "settleSeconds": "0"}
        engine = PluginEngine({"baseUrl": base_url, **account})
        engine.up({"all": both})
        with Kill(5, False).armed(), suppress(Killed):
            engine.up({**moved, "all": nas})
        engine.up({"all": nas, **moved})
    assert declared_pairs({"all": nas, **moved}) <= simulator.assigned
