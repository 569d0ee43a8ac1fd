"""The results as Markdown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from math import log

from .measurement import COMMANDS, Measurement, Results, median_and_spread
from .plan import NO_SETTING, SETTINGS
from .targets import targets

_LEGEND = """\
`floor` is a provider that does nothing, `floor_outputs` the same with as many outputs as an
assignment has, `floor_set` the same with one resource that holds a set's map. All three are dynamic
providers, so that a plugin may take less. `naive` is the style of Pulumi's documentation, `dynamic`
and `plugin` are this package's single resources, `set` is its set. A `bare loop` makes the HTTP
calls of another side over one connection, one after the other.

Seconds are the median of the runs, with the least and the most of them where there are several.
Memory is sampled ten times a second.
"""


def report(results: Results) -> str:
    """The whole report, without the parts that nothing was measured for."""
    parts = {"Targets": _targets(results)}
    answers = sorted({each.answer_ms for each in results.measurements})
    for answer_ms in answers:
        parts[f"Seconds, {_answering(answer_ms)}"] = _table(results, answer_ms, _seconds)
    for answer_ms in answers:
        title = f"HTTP calls / connections / sessions, {_answering(answer_ms)}"
        parts[title] = _table(results, answer_ms, _traffic)
    parts["Memory and state, the most that was seen"] = _memory(results)
    parts["Settings of Pulumi"] = _settings(results)
    parts["Growth, by which power of the number of assignments"] = _growth(results)
    head = f"# What was measured\n\n{_LEGEND}\n{_machine(results)}"
    return "\n".join((head, *(f"## {title}\n\n{table}" for title, table in parts.items() if table)))


def _answering(answer_ms: int) -> str:
    return f"with answers after {answer_ms} ms" if answer_ms else "with answers at once"


def _machine(results: Results) -> str:
    rows = [*results.machine.items(), ("minutes that it took", f"{results.minutes}")]
    return _markdown(("machine", ""), rows)


def _targets(results: Results) -> str:
    rows = [
        (each.work, each.limit, each.figure, "reached" if each.is_met else "**missed**")
        for each in targets(results)
    ]
    return _markdown(("work", "to reach", "measured", ""), rows)


def _cases(
    measurements: Iterable[Measurement],
) -> dict[tuple[int, int, str, str], list[Measurement]]:
    """The measurements of each case, whatever the command."""
    cases: dict[tuple[int, int, str, str], list[Measurement]] = {}
    for each in measurements:
        cases.setdefault((each.count, each.vms, each.side, each.setting), []).append(each)
    return dict(sorted(cases.items(), key=lambda case: case[0][:2]))


def _table(results: Results, answer_ms: int, cell: Callable[[list[Measurement]], str]) -> str:
    measurements = [each for each in results.measurements if each.answer_ms == answer_ms]
    commands = [each for each in COMMANDS if any(each == one.command for one in measurements)]
    rows = []
    for (count, vms, side, setting), of_case in _cases(measurements).items():
        cells = [cell([one for one in of_case if one.command == each]) for each in commands]
        rows.append((_count(count, vms), f"{side} {_code(setting)}".strip(), *cells))
    return _markdown(("assignments", "side", *commands), rows)


def _count(count: int, vms: int) -> str:
    return f"{count:,}" if count == vms else f"{count:,} on {vms:,} VMs"


def _seconds(measurements: list[Measurement]) -> str:
    seconds = [each.seconds for each in measurements]
    return median_and_spread(seconds) if seconds else ""


def _traffic(measurements: list[Measurement]) -> str:
    seen = {(each.calls, each.connections, each.sessions): None for each in measurements}
    return ", ".join(" / ".join(f"{number:,}" for number in each) for each in seen)


def _memory(results: Results) -> str:
    rows = []
    measured = [each for each in results.measurements if each.provider_mb and not each.setting]
    for (count, vms, side, _), of_case in _cases(measured).items():
        programs = [each.program_mb for each in of_case if each.program_mb]
        states = [each.state_bytes for each in of_case if each.state_bytes and each.command == "up"]
        rows.append(
            (
                _count(count, vms),
                side,
                f"{max(each.provider_mb or 0 for each in of_case):.0f}",
                f"{max(programs):.0f}" if programs else "",
                f"{max(states) / 1000:,.1f}" if states else "",
            )
        )
    columns = ("assignments", "side", "provider, MiB", "program, MiB", "state, kB")
    return _markdown(columns, rows)


def _settings(results: Results) -> str:
    rows = [
        (_code(setting), _seconds(measured))
        for setting in (NO_SETTING, *SETTINGS)
        if (measured := results.of("plugin", 300, "up", setting=setting))
    ]
    return _markdown(("setting", "`up` of 300 single resources, plugin, seconds"), rows)


def _growth(results: Results) -> str:
    """By which power of the number the time grows, from each count to the next."""
    rows = []
    for side in ("floor", "naive", "dynamic", "plugin", "set"):
        counts = sorted({each.count for each in results.measurements if each.side == side})
        for fewer, more in pairwise(counts):
            cells = []
            for command in COMMANDS:
                before, after = (results.seconds(side, each, command) for each in (fewer, more))
                power = log(after / before) / log(more / fewer) if before and after else None
                cells.append("" if power is None else f"{power:.2f}")
            rows.append((side, f"{fewer:,} → {more:,}", *cells))
    return _markdown(("side", "assignments", *COMMANDS), rows)


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _markdown(columns: Iterable[str], rows: Sequence[Iterable[str]]) -> str:
    """A table; nothing when it has no rows."""
    if not rows:
        return ""
    lines = [tuple(columns), *map(tuple, rows)]
    lines.insert(1, ("---",) * len(lines[0]))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
