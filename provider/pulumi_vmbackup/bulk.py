"""Assign and un-assign many pairs in parallel; one that fails does not stop the others."""

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
    WrongServerError,
)
from .models import Pair

if TYPE_CHECKING:
    from .lifecycle import AssignmentLifecycle

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")

# After this many pairs in a row that have no answer or are not known to the server, the rest is not
# tried.
UNANSWERED_IN_A_ROW = 5


@dataclass
class Outcome:
    """The result for many pairs.

    Attributes:
        done: the pairs that are now as wanted.
        failures: the pairs that are not, in the order given, with the reasons.
        untried: the pairs that were not tried.
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
    when_waiting: Callable[[float], None] = lambda _: None,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Assign or un-assign all pairs, as far as possible.

    It stops early if no session can be started, if the server does not answer several times in a
    row, or if it is cancelled.

    Args:
        lifecycle: assigns or un-assigns one pair.
        pairs: the pairs, in the order of work.
        assigned: True to assign, False to un-assign.
        age_seconds: how long ago they were assigned; None if unknown.
        threads: how many pairs may be under way at a time.
        progress: called with the number of pairs done, and of all.
        when_waiting: see AssignmentLifecycle.ensure(); called on the threads.
        is_cancelled: returns True when no other pair is to be started.
    """
    todo = list(pairs)
    expected = {location_id for _, location_id in todo}
    outcome = Outcome()
    lock = threading.Lock()
    unanswered = 0

    def ensure(pair: Pair) -> None:
        nonlocal unanswered
        if is_cancelled():
            raise _GivenUpError
        try:
            lifecycle.ensure(
                *pair,
                assigned=assigned,
                age_seconds=age_seconds,
                expected=expected,
                when_waiting=when_waiting,
            )
        except VmBackupError as error:
            with lock:
                outcome.failures[pair] = error
                in_vain = isinstance(error, (NoAnswerError, WrongServerError))
                unanswered = unanswered + 1 if in_vain else 0
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
    """Call a function for all items in threads; return the results in the order of the items.

    Not a ThreadPoolExecutor: after Ctrl-C, the process would wait for its threads, and so for a
    server that does not answer.

    Args:
        function: called on the threads. After its first error no other call is started, and that
            error is raised.
        items: its arguments.
        threads: how many calls may be under way at a time.
        progress: called on this thread with the number of items done, and of all.
        finish_seconds: how long to wait, after an error or Ctrl-C, for calls that are under way;
            None: until they end.
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
                answer = function(item)  # type: ignore[arg-type]  # None only with -1
            except Exception as error:  # noqa: BLE001  # raised on the caller's thread
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
                # In slices: Windows delivers Ctrl-C only between waits.
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
