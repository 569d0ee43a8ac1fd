"""Assign and un-assign many pairs, a few at a time: what fails does not hold up the rest."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from .errors import BusyError, LoginError, NoAnswerError, SettingsError, VmBackupError
from .parallel import map_in_parallel

Pair = tuple[str, str]
"""A VM's ref and a location's id."""

# So many unanswered in a row, and the server is given up: each has been tried several times.
UNANSWERED_IN_A_ROW = 5


@dataclass
class Outcome:
    """What became of many writes.

    Attributes:
        done: the pairs that were written.
        failures: the pairs that were not, in their order, each with its reason.
        untried: the pairs that were not tried any more.
    """

    done: set[Pair] = field(default_factory=set)
    failures: dict[Pair, VmBackupError] = field(default_factory=dict)
    untried: set[Pair] = field(default_factory=set)


class _GivenUpError(Exception):
    pass


def write_pairs(
    write: Callable[[Pair], None],
    pairs: Iterable[Pair],
    *,
    threads: int,
    progress: Callable[[int, int], None] | None = None,
    is_cancelled: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Write all pairs that can be written.

    It ends early when no session can be had, when the server has not answered several times in a
    row, or when it is cancelled.

    Args:
        write: writes one pair, or raises VmBackupError.
        pairs: what to write, in this order.
        threads: how many writes may be under way at a time.
        progress: is called with the number of pairs that were written, and of all.
        is_cancelled: tells whether no other pair is to be begun.
    """
    todo = list(pairs)
    outcome = Outcome()
    lock = threading.Lock()
    unanswered = 0

    def write_one(pair: Pair) -> None:
        nonlocal unanswered
        if is_cancelled():
            raise _GivenUpError
        try:
            write(pair)
        except VmBackupError as error:
            with lock:
                outcome.failures[pair] = error
                unanswered = unanswered + 1 if isinstance(error, NoAnswerError) else 0
                no_session = isinstance(error, (SettingsError, LoginError, BusyError))
                if no_session or unanswered >= UNANSWERED_IN_A_ROW:
                    raise _GivenUpError from None
        else:
            with lock:
                outcome.done.add(pair)
                unanswered = 0

    def show(_tried: int, of: int) -> None:
        if progress:
            progress(len(outcome.done), of)

    try:
        map_in_parallel(write_one, todo, threads=threads, progress=show)
    except _GivenUpError:
        outcome.untried = {*todo} - outcome.done - outcome.failures.keys()
    failures = outcome.failures
    outcome.failures = {pair: failures[pair] for pair in todo if pair in failures}
    return outcome
