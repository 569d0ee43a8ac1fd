"""Calls a function for many items, a few at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import TypeVar

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")


def map_in_parallel(
    function: Callable[[_Item], _Answer],
    items: Iterable[_Item],
    *,
    threads: int,
    progress: Callable[[int, int], None] | None = None,
    finish_seconds: float | None = None,
) -> list[_Answer]:
    """The answers of a function for all items, in their order.

    Not a ThreadPoolExecutor: the process would wait for its threads after Ctrl-C, and so for a
    server that does not answer.

    Args:
        function: what is called on the threads; the first error that it raises stops all.
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
