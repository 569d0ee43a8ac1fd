"""Assign and un-assign many pairs, a few at a time: one that fails does not hold up the rest."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from .errors import (
    BusyError,
    LoginError,
    NoAnswerError,
    SettingsError,
    StoppedError,
    VmBackupError,
)
from .models import Pair

if TYPE_CHECKING:
    from .lifecycle import AssignmentLifecycle

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")

# After so many unanswered calls in a row the server is given up; each was tried several times.
UNANSWERED_IN_A_ROW = 5


@dataclass
class Outcome:
    """What became of many pairs.

    Attributes:
        done: the pairs that are as they should be.
        failures: the pairs that are not, in their order, each with its reason.
        untried: the pairs that were not tried any more.
    """

    done: set[Pair] = field(default_factory=set)
    failures: dict[Pair, VmBackupError] = field(default_factory=dict)
    untried: set[Pair] = field(default_factory=set)


class _GivenUpError(Exception):
    pass


def ensure_all(
    lifecycle: AssignmentLifecycle,
    pairs: Iterable[Pair],
    *,
    assigned: bool,
    age_seconds: float | None = None,
    threads: int,
    progress: Callable[[int, int], None] = lambda _done, _of: None,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Make all pairs be assigned, or not be, as far as that can be done.

    It ends early when no session can be had, when the server has not answered several times in a
    row, or when it is cancelled.

    Args:
        lifecycle: does it for one pair.
        pairs: in this order.
        assigned: whether they should be assigned.
        age_seconds: how long ago they were assigned, if known.
        threads: how many pairs may be under way at a time.
        progress: is called with the number of pairs that are done, and of all.
        is_cancelled: tells whether no other pair is to be begun.
    """
    todo = list(pairs)
    outcome = Outcome()
    lock = threading.Lock()
    unanswered = 0

    def ensure(pair: Pair) -> None:
        nonlocal unanswered
        if is_cancelled():
            raise _GivenUpError
        try:
            lifecycle.ensure(*pair, assigned=assigned, age_seconds=age_seconds)
        except VmBackupError as error:
            with lock:
                outcome.failures[pair] = error
                unanswered = unanswered + 1 if isinstance(error, NoAnswerError) else 0
                no_session = (SettingsError, LoginError, BusyError, StoppedError)
                if isinstance(error, no_session) or unanswered >= UNANSWERED_IN_A_ROW:
                    raise _GivenUpError from None
        else:
            with lock:
                outcome.done.add(pair)
                unanswered = 0

    try:
        map_in_parallel(
            ensure,
            todo,
            threads=threads,
            progress=lambda _tried, of: progress(len(outcome.done), of),
        )
    except _GivenUpError:
        outcome.untried = {*todo} - outcome.done - outcome.failures.keys()
    failures = outcome.failures
    outcome.failures = {pair: failures[pair] for pair in todo if pair in failures}
    return outcome


def map_in_parallel(
    function: Callable[[_Item], _Answer],
    items: Iterable[_Item],
    *,
    threads: int,
    progress: Callable[[int, int], None] | None = None,
    finish_seconds: float | None = None,
) -> list[_Answer]:
    """Call a function for all items, and return its answers in their order.

    Not a ThreadPoolExecutor: the process would wait for its threads after Ctrl-C, and so for a
    server that does not answer.

    Args:
        function: is called on the threads. After its first error no other call is begun, and that
            error is raised.
        items: what to call it with.
        threads: how many calls may be under way at a time.
        progress: is called on this thread with the number of items that are done, and of all.
        finish_seconds: how long to wait, after an error or Ctrl-C, for calls that are under way;
            None for until they end.
    """
    todo = list(items)
    answers: dict[int, _Answer] = {}
    left = iter(enumerate(todo))
    lock = threading.Condition()
    is_stopped = False
    failure: Exception | None = None

    def work() -> None:
        nonlocal failure
        while True:
            with lock:
                number, item = next(left, (-1, None))
                if number < 0 or is_stopped or failure:
                    return
            try:
                answer = function(item)  # type: ignore[arg-type]  # None comes with -1 alone
            except Exception as error:  # noqa: BLE001  # is raised on the thread of the caller
                with lock:
                    failure = failure or error
                    lock.notify_all()
                return
            with lock:
                answers[number] = answer
                lock.notify_all()

    workers = [threading.Thread(target=work, daemon=True) for _ in range(min(threads, len(todo)))]
    report = progress or (lambda *_: None)
    try:
        shown = 0
        report(0, len(todo))
        for worker in workers:
            worker.start()
        while shown < len(todo) and not failure:
            with lock:
                # In slices: Windows delivers Ctrl-C between waits only.
                if len(answers) == shown and not failure:
                    lock.wait(0.5)
                now = len(answers)
            if now > shown:
                shown = now
                report(shown, len(todo))
    finally:
        is_stopped = True
        give_up_at = None if finish_seconds is None else time.monotonic() + finish_seconds
        for worker in workers:
            if worker.ident is not None:
                worker.join(give_up_at and max(0, give_up_at - time.monotonic()))
    if failure:
        raise failure
    return [answers[number] for number in range(len(todo))]
