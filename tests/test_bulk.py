"""bulk.py: many writes over real HTTP, and what becomes of the rest when some fail."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from contract.plugin import many_vms, pairs
from sample import NAS01, NOWHERE

from pulumi_vmbackup.bulk import UNANSWERED_IN_A_ROW, Outcome, ensure_all, map_in_parallel
from pulumi_vmbackup.client import Client
from pulumi_vmbackup.errors import (
    BusyError,
    LoginError,
    NoAnswerError,
    RefusedError,
    SettingsError,
    StoppedError,
)
from pulumi_vmbackup.lifecycle import AssignmentLifecycle
from pulumi_vmbackup.models import Pair
from pulumi_vmbackup.simulator import Fault, Simulator


@pytest.fixture
def todo(simulator: Simulator) -> list[Pair]:
    return [(ref, NAS01) for ref in many_vms(simulator, 40)]


class Once(AssignmentLifecycle):
    """One that sends each write once, or does what it is given instead."""

    def __init__(self, write: Callable[[str, str], None]) -> None:
        self._write = write

    def ensure(self, vm_ref: str, backup_location_id: str, **_: Any) -> None:
        self._write(vm_ref, backup_location_id)


@pytest.fixture
def once(client: Client) -> Once:
    return Once(client.assign)


def test_all_are_written(once: Once, todo: list[Pair], simulator: Simulator) -> None:
    told: list[tuple[int, int]] = []
    outcome = ensure_all(
        once, iter(todo), assigned=True, threads=4, progress=lambda *counts: told.append(counts)
    )
    assert outcome == Outcome(done={*todo})
    assert (told[0], told[-1]) == ((0, 40), (40, 40))
    assert len(pairs(simulator, "POST")) == 40


def test_what_is_refused_holds_up_nothing_and_is_told_in_order(
    once: Once, todo: list[Pair]
) -> None:
    strangers = [(NOWHERE[:-1] + str(number), NAS01) for number in range(10)]
    told: list[tuple[int, int]] = []
    outcome = ensure_all(
        once,
        [*strangers, *todo],
        assigned=True,
        threads=4,
        progress=lambda *counts: told.append(counts),
    )
    assert told[-1] == (40, 50)  # those that were refused are not told as done
    assert outcome.done == {*todo}
    assert list(outcome.failures) == strangers
    assert {type(error) for error in outcome.failures.values()} == {RefusedError}
    assert not outcome.untried


@pytest.mark.parametrize("threads", [1, 4])
def test_a_server_that_does_not_answer_any_more_is_given_up(
    threads: int, once: Once, todo: list[Pair], simulator: Simulator
) -> None:
    simulator.faults.append(Fault("reset", "POST /vms", skip=10, times=None, acted=False))
    outcome = ensure_all(once, todo, assigned=True, threads=threads)
    assert len(outcome.done) == 10
    # One that was written may be counted after some that were not.
    assert UNANSWERED_IN_A_ROW <= len(outcome.failures) < UNANSWERED_IN_A_ROW + 2 * threads
    assert all(isinstance(error, NoAnswerError) for error in outcome.failures.values())
    assert outcome.untried == {*todo} - outcome.done - outcome.failures.keys()
    assert {ref for ref, _ in outcome.done} < {ref for ref, _ in simulator.inventory.assignments}


def test_one_that_answers_now_and_then_is_not(
    once: Once, todo: list[Pair], simulator: Simulator
) -> None:
    for number in range(10):
        fault = Fault("reset", "POST /vms", skip=number * 4, times=2, acted=False)
        simulator.faults.append(fault)
    outcome = ensure_all(once, todo, assigned=True, threads=1)
    assert len(outcome.failures) > UNANSWERED_IN_A_ROW
    assert not outcome.untried


@pytest.mark.parametrize("kind", [SettingsError, LoginError, BusyError, StoppedError])
def test_without_a_session_nothing_else_is_tried(kind: Any, todo: list[Pair]) -> None:
    tried: list[Pair] = []

    def write(*pair: str) -> None:
        tried.append((pair[0], pair[1]))
        raise kind("No session.")

    outcome = ensure_all(Once(write), todo, assigned=True, threads=1)
    assert tried == todo[:1]
    assert outcome.untried == {*todo[1:]}


def test_when_cancelled_what_is_under_way_ends_and_counts(
    once: Once, todo: list[Pair], simulator: Simulator
) -> None:
    outcome = ensure_all(
        once,
        todo,
        assigned=True,
        threads=4,
        is_cancelled=lambda: len(pairs(simulator, "POST")) >= 10,
    )
    assert 10 <= len(outcome.done) < 14
    assert not outcome.failures
    assert len(outcome.untried) == 40 - len(outcome.done)
    assert len(pairs(simulator, "POST")) == len(outcome.done)


# map_in_parallel


def test_answers_come_in_the_order_of_the_items() -> None:
    def slowest_first(number: int) -> int:
        time.sleep(0.02 if number == 0 else 0)
        return number * number

    assert map_in_parallel(slowest_first, iter(range(20)), threads=4) == [n * n for n in range(20)]


@pytest.mark.parametrize("answer", [None, False, 0])
def test_any_item_and_any_answer_will_do(answer: object) -> None:
    assert map_in_parallel(lambda _: answer, [None, None], threads=8) == [answer, answer]


def test_nothing_to_do_is_done() -> None:
    told: list[tuple[int, int]] = []
    assert (
        map_in_parallel(
            lambda _: 1 / 0, [], threads=4, progress=lambda *counts: told.append(counts)
        )
        == []
    )
    assert told == [(0, 0)]


def test_as_many_calls_as_threads_are_under_way() -> None:
    all_there = threading.Barrier(3)
    lock, under_way, most = threading.Lock(), 0, 0

    def call(_: int) -> None:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)
        all_there.wait(10)
        with lock:
            under_way -= 1

    map_in_parallel(call, range(9), threads=3)
    assert most == 3


def test_progress_is_told_on_the_callers_thread_from_none_to_the_last() -> None:
    begun: list[int] = []
    told: list[tuple[int, int]] = []

    def progress(done: int, of: int) -> None:
        assert threading.current_thread() is threading.main_thread()
        assert told or not begun
        told.append((done, of))

    map_in_parallel(begun.append, range(50), threads=4, progress=progress)
    assert told[0] == (0, 50)
    assert told[-1] == (50, 50)
    assert told == sorted(set(told))


def test_the_first_error_stops_all_and_waits_for_what_is_under_way() -> None:
    begun: list[int] = []
    ended: list[int] = []
    raised = threading.Event()

    def call(number: int) -> None:
        begun.append(number)
        if number == 3:
            raised.set()
            raise ValueError("the third")
        assert raised.wait(20)
        time.sleep(0.2)  # and a while longer
        ended.append(number)

    with pytest.raises(ValueError, match="the third"):
        map_in_parallel(call, range(1000), threads=4)
    assert sorted(ended) == sorted({*begun} - {3})
    assert len(begun) < 12
    time.sleep(0.1)
    assert len(begun) - 1 == len(ended)


def test_a_call_that_does_not_end_is_waited_for_no_longer_than_that() -> None:
    forever = threading.Event()
    ended: list[int] = []

    def call(number: int) -> None:
        if number:
            raise ValueError
        forever.wait(20)
        ended.append(number)

    with pytest.raises(ValueError):  # noqa: PT011  # of this test
        map_in_parallel(call, range(2), threads=2, finish_seconds=0.1)
    assert not ended
    forever.set()


def test_an_error_of_the_progress_stops_all() -> None:
    called: list[int] = []
    told = threading.Event()

    def call(number: int) -> None:
        called.append(number)
        if number:  # the others last until the first one is told of, and a while longer
            assert told.wait(10)
            time.sleep(0.2)

    def progress(done: int, _of: int) -> None:
        if done:
            told.set()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        map_in_parallel(call, range(1000), threads=2, progress=progress)
    assert len(called) < 10
