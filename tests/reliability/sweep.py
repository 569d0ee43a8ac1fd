"""What the sweeps share: the classes of failure, and the exchanges at which one of them hits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, ClassVar, NamedTuple, get_args, get_type_hints

from reliability.engine import Kill, Killed, NotSent, Pair
from reliability.watched import HOST_VMS, SEVERAL_SESSIONS, Change, Refusal, Turn, WatchedSimulator
from sample import PASSWORD

from pulumi_vmbackup.simulator import TOKEN_PREFIX, Behavior, Fault

Mishap = Fault | NotSent
REFUSALS = {"refused": 200, "refused for now": 500}


class Failure(NamedTuple):
    """What goes wrong with a call.

    Attributes:
        kind: the kind of a ``Fault``; ``"refused"``; ``"refused for now"``, as an error inside the
            server; or ``"not sent"``, where no connection can be made.
        acted: whether the server does what the call asks for all the same.
    """

    kind: Any
    acted: bool = False

    def __str__(self) -> str:
        return f"{self.kind}, {'acted' if self.acted else 'not acted'}"

    def mishap(self, call: str = "", *, skip: int, times: int | None = 1) -> Mishap:
        """Have it hit after some calls that begin like this one went well."""
        if self.kind == "not sent":
            return NotSent(skip, times)
        if self.kind in REFUSALS:
            status = REFUSALS[self.kind]
            return Refusal("error", call, skip, times, self.acted, status)
        return Fault(self.kind, call, skip, times, self.acted)


# A lost answer is one error to all but the client, whatever loses it: tests/test_client.py proves
# that of each kind of fault, so all but one of them are for the full sweep.
LOST = [Failure("reset", True), Failure("reset")]
ALSO_LOST = [
    Failure(*each) for each in product(("stall", "cut short", "html", "error"), (True, False))
]
SESSION_OVER = Failure("session over", True)
# What one may survive.
NOT_DONE = [Failure("refused for now"), Failure("not sent")]
PASSES = [*LOST, SESSION_OVER, Failure("refused for now", True), *NOT_DONE]

# The most calls that one failure costs, and the most listings that are waited for where they lag.
MOST_CALLS_OF_A_FAILURE = 5
MOST_LISTINGS = 8
# To find out that a session is over which an answer does not say, and the list of VMs once more:
# what the session before was told may be of another site.
CALLS_TO_DOUBT_A_SESSION = {"other words": 3, "unauthorized": 1, "forbidden": 1, "page": 3}

ONE_SESSION = Behavior()
ODD_SERVERS = {
    "a server that refuses what is done already": replace(SEVERAL_SESSIONS, second_post="refuse"),
    "a server that lists nothing of unknown VMs": replace(
        SEVERAL_SESSIONS, unassigned_delete="accept", unknown_vm="empty"
    ),
    "a server that moves VMs": replace(
        SEVERAL_SESSIONS, second_primary="move", second_post="refuse"
    ),
    "a server whose listings lag": replace(SEVERAL_SESSIONS, lag_seconds=0.05),
    "a server that allows one session": ONE_SESSION,
    "a server that spells its answers in another way": replace(SEVERAL_SESSIONS, spelling="other"),
}
# What a call is answered within a session that is over.
DEAD_TOKENS = [
    replace(SEVERAL_SESSIONS, invalid_token=each)
    for each in get_args(get_type_hints(Behavior)["invalid_token"])
]
# What the right server answers to what only another site knows matters there.
CHANGES: list[tuple[Change, Behavior]] = [
    ("another site answers", SEVERAL_SESSIONS),
    (
        "another site answers",
        replace(SEVERAL_SESSIONS, unknown_vm="empty", invalid_token="unauthorized"),
    ),
    ("no VM is listed", SEVERAL_SESSIONS),
    ("a host is off", SEVERAL_SESSIONS),
    ("a host is off", replace(SEVERAL_SESSIONS, unknown_vm="empty")),
]


def settings_for(failure: Failure) -> dict[str, str]:
    # Far longer than an answer takes, also on a busy machine.
    return {"timeoutSeconds": "3"} if failure.kind == "stall" else {}


@dataclass(frozen=True)
class Moment:
    """What the state and the server hold between two runs."""

    state: list[Any]
    assigned: frozenset[Pair]


class Case(NamedTuple):
    """One exchange of a scenario, at which something is to go wrong.

    Attributes:
        run: the run that it belongs to.
        before: what there is when that run begins.
        previous: the run before that one, and what there is when it begins.
        exchange: how many exchanges of the run are before it.
        same_before: how many of these are the same call.
        call: ``"start"``, ``"end"`` or its method.
        calls: how many exchanges the run has.
        outcome: what the run leaves in the state when nothing goes wrong.
    """

    run: Any
    before: Moment
    previous: tuple[Any, Moment] | None
    exchange: int
    same_before: int
    call: str
    calls: int
    outcome: list[tuple[object, ...]]

    def __str__(self) -> str:
        return f"{self.run.name}, exchange {self.exchange}, {self.call}"


@dataclass
class Stack:
    """A server, and a stack that is deployed to it.

    Attributes:
        engine: the model of Pulumi's engine, with the state.
        runs: the scenario.
        expected: what that costs; a call that a change of the code adds or saves is to be seen.
    """

    simulator: WatchedSimulator
    engine: Any
    runs: ClassVar[Sequence[Any]]
    expected: ClassVar[Mapping[str, int]]

    def begin(self, run: Any) -> None:
        """Change what people change before a run."""

    def run(self, run: Any) -> None:
        """Run a command, and see that it leaves what it must leave, also when it fails."""
        raise NotImplementedError

    def assert_settled(self, run: Any) -> None:
        """The program, the state and the server agree."""
        raise NotImplementedError

    def outcome(self) -> list[tuple[object, ...]]:
        """What the state holds but for times."""
        raise NotImplementedError

    def held(self) -> set[Pair]:
        """The pairs that the state holds."""
        raise NotImplementedError

    @property
    def lags(self) -> bool:
        return self.simulator.behavior.lag_seconds > 0

    def moment(self) -> Moment:
        return Moment(list(self.engine.state), self.simulator.assigned)

    def go_back_to(self, moment: Moment) -> None:
        """Have everything as it was, and none of the traces that failures leave."""
        self.simulator.sessions.clear()
        self.engine.state = list(moment.state)
        self.simulator.assign(moment.assigned)

    def begin_case(self, case: Case) -> None:
        """Go to where the run of a case begins."""
        if self.lags and case.previous:  # whose changes are not listed yet
            run, before = case.previous
            self.go_back_to(before)
            self.begin(run)
            self.run(run)
        else:
            self.go_back_to(case.before)
        self.begin(case.run)

    def cases(self) -> list[Case]:
        """All exchanges, after the scenario went well once.

        A run that ends with the same state and the same server as this one does is gone on from
        alike, so what goes wrong in a run is followed to its end only.
        """
        found: list[Case] = []
        previous: tuple[Any, Moment] | None = None
        simulator = self.simulator
        for run in self.runs:
            before, calls_before = self.moment(), len(simulator.calls)
            with told(run.name):
                self.begin(run)
                self.run(run)
                self.assert_settled(run)
            assert not simulator.sessions
            calls = [
                call.path.split("/")[4] if "/sessions/" in call.path else call.method
                for call in simulator.calls[calls_before:]
            ]
            for exchange, call in enumerate(calls):
                same_before, outcome = calls[:exchange].count(call), self.outcome()
                found.append(
                    Case(run, before, previous, exchange, same_before, call, len(calls), outcome)
                )
            previous = run, before
        if simulator.behavior == SEVERAL_SESSIONS:
            assert Counter(case.call for case in found) == self.expected
        return found

    def cases_of(self, failure: Failure) -> list[Case]:
        """All exchanges; of one that takes seconds, the first of each kind in each run."""
        cases = self.cases()
        return [case for case in cases if failure.kind != "stall" or not case.same_before]

    @contextmanager
    def meeting(self, mishap: Mishap) -> Iterator[None]:
        """Have the calls within this block go wrong."""
        if isinstance(mishap, NotSent):
            with mishap.armed():
                yield
            return
        self.simulator.faults.append(mishap)
        try:
            yield
        finally:
            self.simulator.faults.remove(mishap)

    def survive(self, case: Case, failure: Failure, *, in_order: bool = True) -> None:
        """See that the run of a case goes as if nothing had happened.

        Args:
            case: where the failure hits.
            failure: what goes wrong, once.
            in_order: whether each exchange is the same one each time.
        """
        simulator = self.simulator
        with told(f"{failure} at {case}"):
            self.begin_case(case)
            calls_before = len(simulator.calls)
            mishap = failure.mishap(skip=case.exchange)
            with self.meeting(mishap):
                self.run(case.run)
            self.assert_settled(case.run)
            assert self.outcome() == case.outcome
            # Which listings are waited for is a matter of time where they lag.
            assert mishap.hits == 1 or self.lags
            if in_order:
                # The server ends it when it is idle: nobody else can where its token was lost, and
                # an end is tried once more only where its answer was.
                is_left = case.call == "start" and failure.acted and failure != SESSION_OVER
                is_left |= case.call == "end" and failure in NOT_DONE
                assert len(simulator.sessions) == (is_left and mishap.hits)
            if in_order and simulator.behavior != ONE_SESSION:  # which is waited for
                cost = len(simulator.calls) - calls_before - case.calls
                most = MOST_CALLS_OF_A_FAILURE + MOST_LISTINGS * self.lags
                most += CALLS_TO_DOUBT_A_SESSION.get(simulator.behavior.invalid_token, 0)
                assert cost <= most

    def survive_a_change(self, case: Case, turn: Turn, errors: tuple[type[Exception], ...]) -> bool:
        """See that a server that is another one for the rest of a run makes nothing lost.

        Args:
            case: where it changes.
            turn: how it changes.
            errors: those with which the run may fail.

        Returns:
            Whether the run failed.
        """
        simulator = self.simulator
        with told(f"{turn} from {case} on"):
            self.begin_case(case)
            held_before, failure = self.held(), None
            vm_refs = {pair.vm_ref for pair in held_before | simulator.assigned}
            try:
                with simulator.turning(turn):
                    self.run(case.run)
            except errors as error:
                assert_are_sentences(error)
                failure = error
            assert turn.hits
            left = (held_before & simulator.assigned) - self.held()
            # The state drops the pair of a single resource whose VM is not listed, and it stays.
            may_be_left = HOST_VMS if turn.change == "a host is off" else set()
            assert {pair.vm_ref for pair in left} <= may_be_left
            assert len(turn.there.history) == 1  # the other site is as it was
            assert failure or not simulator.asks_another_site(turn, vm_refs)
            if left:
                simulator.assign(simulator.assigned - left)  # by hand, as the warning says
            self.run(case.run)
            self.assert_settled(case.run)
            return failure is not None

    def survive_a_kill(self, case: Case, kill: Kill) -> None:
        """See that the next run goes on after the process of one is killed."""
        simulator = self.simulator
        with told(f"killed at {case}, {'' if kill.acted else 'not '}acted"):
            self.begin_case(case)
            with kill.armed(), suppress(Killed):
                self.run(case.run)
            assert kill.hits == 1
            # The one of the dead process.
            is_ended = case.call == "end" and kill.acted
            sessions = int((case.call != "start" or kill.acted) and not is_ended)
            assert len(simulator.sessions) == sessions
            self.run(case.run)
            self.assert_settled(case.run)
            assert self.outcome() == case.outcome
            if simulator.behavior != ONE_SESSION:  # which is waited for until that one is over
                assert len(simulator.sessions) == sessions


@contextmanager
def told(what: str) -> Iterator[None]:
    """Say at which of many cases something went wrong."""
    try:
        yield
    except Exception as error:
        raise AssertionError(f"{what}: {error!r}") from error


def assert_are_sentences(error: Exception) -> None:
    text = str(error)
    assert text.startswith("Could not ")
    assert text.endswith(".")
    assert text.isprintable()
    assert PASSWORD not in text
    assert TOKEN_PREFIX not in text
