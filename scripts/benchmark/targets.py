"""The figures that are to be reached, each beside what was measured."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from typing import NamedTuple

from .measurement import Results, bare_loop_of, median_and_spread
from .plan import EIGHT_AT_A_TIME, ONE_AT_A_TIME


class Target(NamedTuple):
    """A figure to reach.

    Attributes:
        work: what is measured.
        limit: what is to be reached, in words.
        figure: what was measured, in the words of the limit.
        is_met: whether it was reached.
    """

    work: str
    limit: str
    figure: str
    is_met: bool


def targets(results: Results) -> list[Target]:
    """The targets whose cases were measured."""
    each = (
        *_singles(results),
        *_refresh(results),
        *_set_of_1000(results),
        *_set_of_10_000(results),
        *_parallel_set(results),
        *_imports(results),
        *_lookups(results),
    )
    return list(each)


def _singles(results: Results) -> Iterator[Target]:
    for program in ("dynamic", "plugin"):
        for command in ("up", "destroy"):
            bare = results.seconds(bare_loop_of("dynamic"), 300, command)
            times = _times(results, program, command, bare)
            if times:
                yield Target(
                    f"300 single resources, {program}: {command}",
                    "≤ 1.15 × floor + bare loop",
                    f"{median_and_spread(times)} × floor + bare loop",
                    median(times) <= 1.15,
                )
        for command in ("unchanged up", "preview"):
            times = _times(results, program, command, 0)
            if times:
                yield Target(
                    f"300 single resources, {program}: {command}",
                    "≤ 1.05 × floor",
                    f"{median_and_spread(times)} × floor",
                    median(times) <= 1.05,
                )


def _refresh(results: Results) -> Iterator[Target]:
    for program in ("dynamic", "plugin"):
        bare = results.seconds(bare_loop_of("dynamic"), 300, "refresh", vms=100)
        times = _times(results, program, "refresh", bare, vms=100)
        if times:
            measured = results.of(program, 300, "refresh", vms=100)
            gets = {each.calls - 2 for each in measured}  # but for the session's start and end
            yield Target(
                f"refresh of 300 assignments on 100 VMs, {program}",
                "100 GETs, ≤ 1.3 × floor + bare loop",
                f"{', '.join(map(str, gets))} GETs, {median_and_spread(times)} × floor + bare loop",
                gets == {100} and median(times) <= 1.3,
            )


def _times(
    results: Results, program: str, command: str, bare: float | None, vms: int = 300
) -> list[float]:
    """How many times the floor each run of 300 took, beyond the bare loop; none if unknown."""
    floor = results.seconds("floor", 300, command, vms=vms)
    if floor is None or bare is None:
        return []
    return [(each.seconds - bare) / floor for each in results.of(program, 300, command, vms=vms)]


def _set_of_1000(results: Results) -> Iterator[Target]:
    ours = results.seconds("set", 1000, "up")
    fixed = results.seconds("floor", 10, "up")
    bare = results.seconds(bare_loop_of("set"), 1000, "up")
    if ours and fixed and bare:
        yield Target(
            "set of 1,000: up",
            "≤ 3 × bare loop + the engine's time for 10 resources",
            f"{(ours - fixed) / bare:.2f} × bare loop + the engine's time for 10 resources",
            ours <= 3 * bare + fixed,
        )
    for program in ("dynamic", "plugin"):
        singles = results.seconds(program, 1000, "up")
        if ours and singles:
            yield Target(
                f"set of 1,000: up, beside 1,000 single resources, {program}",
                "≥ 15 × faster",
                f"{singles / ours:.0f} × faster",
                singles >= 15 * ours,
            )


def _set_of_10_000(results: Results) -> Iterator[Target]:
    for command, limit in (("up", 30), ("preview of one change", 6), ("refresh", 30)):
        ours = results.seconds("set", 10_000, command)
        if ours:
            yield Target(f"set of 10,000: {command}", f"< {limit} s", f"{ours:.1f} s", ours < limit)
    memory = [
        each.provider_mb
        for each in results.measurements
        if (each.side, each.count) == ("set", 10_000) and each.provider_mb
    ]
    if memory:
        yield Target(
            "set of 10,000: the provider's memory",
            "< 500 MiB",
            f"{max(memory):.0f} MiB",
            max(memory) < 500,
        )


def _parallel_set(results: Results) -> Iterator[Target]:
    eight = results.seconds("set", 1000, "up", answer_ms=50, setting=EIGHT_AT_A_TIME)
    one = results.seconds("set", 1000, "up", answer_ms=50, setting=ONE_AT_A_TIME)
    if eight and one:
        yield Target(
            "set of 1,000, 50 ms an answer: up with 8 requests at a time",
            "≥ 6 × faster than one at a time",
            f"{one / eight:.1f} × faster",
            one >= 6 * eight,
        )


def _imports(results: Results) -> Iterator[Target]:
    for module, times in results.import_ms.items():
        if module != "pulumi":
            yield Target(
                f"import {module}",
                "Pulumi's own time + < 100 ms",
                f"Pulumi's {median(results.import_ms['pulumi']):.0f} ms + {median(times):.0f} ms",
                median(times) < 100,
            )


def _lookups(results: Results) -> Iterator[Target]:
    for each in results.of("lookups", 300, "up"):
        yield Target(
            "look-ups of 300 VMs and 4 locations in a program",
            "1 session, ≤ 5 calls",
            f"{each.sessions} session, {each.calls} calls",
            each.sessions == 1 and each.calls <= 5,
        )
