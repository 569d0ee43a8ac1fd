"""parallel.py: many calls, a few at a time."""

from __future__ import annotations

import threading
import time

import pytest

from pulumi_vmbackup.parallel import map_in_parallel


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

    def call(number: int) -> None:
        begun.append(number)
        if number == 3:
            raise ValueError("the third")
        time.sleep(0.05)
        ended.append(number)

    with pytest.raises(ValueError, match="the third"):
        map_in_parallel(call, range(1000), threads=4)
    assert sorted(ended) == sorted({*begun} - {3})
    assert len(begun) < 12
    time.sleep(0.1)
    assert len(begun) - 1 == len(ended)


def test_a_call_that_does_not_end_is_waited_for_no_longer_than_that() -> None:
    forever = threading.Event()

    def call(number: int) -> None:
        if number:
            raise ValueError
        forever.wait(20)

    begun = time.monotonic()
    with pytest.raises(ValueError):  # noqa: PT011  # of this test
        map_in_parallel(call, range(2), threads=2, finish_seconds=0.1)
    assert time.monotonic() - begun < 5
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
