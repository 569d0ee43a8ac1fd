"""bulk.py: many writes over real HTTP, and what becomes of the rest when some fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from contract.plugin import many_vms, pairs
from sample import NAS01, NOWHERE

from pulumi_vmbackup.bulk import UNANSWERED_IN_A_ROW, Outcome, Pair, write_pairs
from pulumi_vmbackup.client import Client
from pulumi_vmbackup.errors import BusyError, LoginError, NoAnswerError, RefusedError, SettingsError
from pulumi_vmbackup.simulator import Fault, Simulator


@pytest.fixture
def todo(simulator: Simulator) -> list[Pair]:
    return [(ref, NAS01) for ref in many_vms(simulator, 40)]


@pytest.fixture
def assign(client: Client) -> Callable[[Pair], None]:
    return lambda pair: client.assign(*pair)


def test_all_are_written(
    assign: Callable[[Pair], None], todo: list[Pair], simulator: Simulator
) -> None:
    told: list[tuple[int, int]] = []
    outcome = write_pairs(
        assign, iter(todo), threads=4, progress=lambda *counts: told.append(counts)
    )
    assert outcome == Outcome(done={*todo})
    assert (told[0], told[-1]) == ((0, 40), (40, 40))
    assert len(pairs(simulator, "POST")) == 40


def test_what_is_refused_holds_up_nothing_and_is_told_in_order(
    assign: Callable[[Pair], None], todo: list[Pair]
) -> None:
    strangers = [(NOWHERE[:-1] + str(number), NAS01) for number in range(10)]
    told: list[tuple[int, int]] = []
    outcome = write_pairs(
        assign,
        [*strangers, *todo],
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
    threads: int, assign: Callable[[Pair], None], todo: list[Pair], simulator: Simulator
) -> None:
    simulator.faults.append(Fault("reset", "POST /vms", skip=10, times=None, acted=False))
    outcome = write_pairs(assign, todo, threads=threads)
    assert len(outcome.done) == 10
    # One that was written may be counted after some that were not.
    assert UNANSWERED_IN_A_ROW <= len(outcome.failures) < UNANSWERED_IN_A_ROW + 2 * threads
    assert all(isinstance(error, NoAnswerError) for error in outcome.failures.values())
    assert outcome.untried == {*todo} - outcome.done - outcome.failures.keys()
    assert {ref for ref, _ in outcome.done} < {ref for ref, _ in simulator.inventory.assignments}


def test_one_that_answers_now_and_then_is_not(
    assign: Callable[[Pair], None], todo: list[Pair], simulator: Simulator
) -> None:
    for number in range(10):
        fault = Fault("reset", "POST /vms", skip=number * 4, times=2, acted=False)
        simulator.faults.append(fault)
    outcome = write_pairs(assign, todo, threads=1)
    assert len(outcome.failures) > UNANSWERED_IN_A_ROW
    assert not outcome.untried


@pytest.mark.parametrize("kind", [SettingsError, LoginError, BusyError])
def test_without_a_session_nothing_else_is_tried(kind: Any, todo: list[Pair]) -> None:
    tried: list[Pair] = []

    def write(pair: Pair) -> None:
        tried.append(pair)
        raise kind("No session.")

    outcome = write_pairs(write, todo, threads=1)
    assert tried == todo[:1]
    assert outcome.untried == {*todo[1:]}


def test_when_cancelled_what_is_under_way_ends_and_counts(
    assign: Callable[[Pair], None], todo: list[Pair], simulator: Simulator
) -> None:
    outcome = write_pairs(
        assign, todo, threads=4, is_cancelled=lambda: len(pairs(simulator, "POST")) >= 10
    )
    assert 10 <= len(outcome.done) < 14
    assert not outcome.failures
    assert len(outcome.untried) == 40 - len(outcome.done)
    assert len(pairs(simulator, "POST")) == len(outcome.done)
