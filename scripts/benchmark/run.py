"""Runs a plan."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from .bare_loop import seconds_of_bare_loop
from .measurement import Measurement, Results, bare_loop_of
from .plan import NO_LOG, Group, Side
from .server import Server, pairs_of
from .stack import Cost, Stack

_YES = ("--yes", "--skip-preview")
_ARGUMENTS = {
    "preview": ("preview",),
    "up": ("up", *_YES),
    "unchanged up": ("up", *_YES),
    "preview of one change": ("preview",),
    "refresh": ("refresh", *_YES),
    "destroy": ("destroy", *_YES),
}
_IMPORTS = 7


def run_plan(
    plan: Sequence[Group], server: Server, results: Results, repeat_seconds: float
) -> None:
    """Measure what a plan says, and how long imports take.

    Args:
        plan: all groups are measured in one round, then one group after the other in its others.
        server: what is called.
        results: what is measured is added to it.
        repeat_seconds: no round but a group's first begins later than this after the start.
    """
    last_repeat = time.monotonic() + repeat_seconds
    for module in ("pulumi_vmbackup", "pulumi_vmbackup.plugin"):
        for _ in range(_IMPORTS):
            pulumi, ours = _import_ms(module)
            results.import_ms.setdefault("pulumi", []).append(pulumi)
            results.import_ms.setdefault(module, []).append(ours)
    once = [(group, 0) for group in plan]
    repeats = [(group, number) for group in plan for number in range(1, group.rounds)]
    for group, number in (*once, *repeats):
        if number and time.monotonic() > last_repeat:
            break
        sides = [each for each in group.sides if each.rounds is None or number < each.rounds]
        _Round(group, sides, server, results.measurements.append).run()


class _Round:
    """One round of a group, with a new stack for each side."""

    def __init__(
        self,
        group: Group,
        sides: list[Side],
        server: Server,
        keep: Callable[[Measurement], None],
    ) -> None:
        self._group = group
        self._sides = sides
        self._server = server
        self._keep = keep
        location_ids = server.location_ids[: group.locations]
        self._vms = group.count // group.locations
        self._pairs = pairs_of(self._vms, location_ids)
        # One VM is gone, and another one is new.
        self._changed = pairs_of(self._vms + 1, location_ids)[group.locations :]

    def run(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            stacks = [
                Stack(
                    Path(folder) / str(number),
                    side.program,
                    self._server.base_url,
                    dict([side.setting.split("=")]) if "=" in side.setting else {},
                )
                for number, side in enumerate(self._sides)
            ]
            turns = list(zip(self._sides, stacks, strict=True))
            for command, times in self._group.commands.items():
                for _ in range(times):
                    for side, stack in turns:
                        if side.only is None or command in side.only:
                            self._measure(side, stack, command)
                    turns = [*turns[1:], turns[0]]

    def _measure(self, side: Side, stack: Stack, command: str) -> None:
        is_changed = command == "preview of one change"
        stack.declare(self._changed if is_changed else self._pairs)
        if side.setting == NO_LOG:
            stack.forbid_log()
        self._prepare(side, command)
        cost = stack.run(*_ARGUMENTS[command])
        calls = self._record(side.program, side, command, cost, stack.state_bytes())
        if side.has_limit and calls:
            self._prepare(side, command)
            seconds = seconds_of_bare_loop(self._server.base_url, calls)
            self._record(bare_loop_of(side.program), side, command, Cost(seconds, {}), None)

    def _prepare(self, side: Side, command: str) -> None:
        """Have the server hold what it would if this side were the only one."""
        self._server.hold(self._pairs, assigned=command not in ("preview", "up"))
        self._server.answer_after(side.answer_ms / 1000)
        self._server.traffic()

    def _record(
        self, name: str, side: Side, command: str, cost: Cost, state_bytes: int | None
    ) -> list[tuple[str, str]]:
        traffic = self._server.traffic()
        measurement = Measurement(
            side=name,
            count=self._group.count,
            vms=self._vms,
            answer_ms=side.answer_ms,
            setting=side.setting,
            command=command,
            seconds=round(cost.seconds, 3),
            calls=len(traffic.calls),
            connections=traffic.connections,
            sessions=traffic.sessions,
            provider_mb=cost.peak_mb.get("provider"),
            program_mb=cost.peak_mb.get("program"),
            state_bytes=state_bytes,
        )
        self._keep(measurement)
        slow = f" at {side.answer_ms} ms an answer" if side.answer_ms else ""
        print(
            f"{name:20} {measurement.count:6} {command:22} {cost.seconds:7.2f} s{slow} "
            f"{side.setting}".rstrip(),
            flush=True,
        )
        return traffic.calls


def _import_ms(module: str) -> tuple[float, float]:
    """How long Pulumi takes to import, and what a module takes beyond that."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", f"import {module}"],
        capture_output=True,
        text=True,
        check=True,
    )
    cumulative: dict[str, float] = {}
    for line in done.stderr.splitlines():
        _, microseconds, name = line.split("|")
        if microseconds.strip().isdigit():
            cumulative[name.strip()] = int(microseconds) / 1000
    return cumulative["pulumi"], cumulative[module] - cumulative["pulumi"]
