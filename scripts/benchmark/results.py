"""What was measured, and the table of it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from statistics import median

from .cases import BARE_LOOP, COMMANDS, FLEET, FLEET_ON_ONE_SERVER

# What a command may take, in times of floor + bare loop: of single resources, and of a set.
LIMITS = {
    "preview": (1.05, 1.25),
    "up": (1.15, 1.5),
    "unchanged up": (1.05, 1.25),
    "preview of one change": (1.05, 1.25),
    "refresh": (1.3, 1.5),
    "destroy": (1.15, 1.5),
}
# A fleet may take, in times of the same sets on one server.
FLEET_LIMIT = 1.3
_FLOORS = {"naive": "floor", "dynamic": "floor", "plugin": "floor", "set": "floor_set"}
_LEGEND = """\
# What was measured

{machine}.

Times are in seconds: the median of the runs, and in brackets the shortest and the longest run.
`1.10x` means 1.10 times the floor plus the bare loop; for `fleet`, 1.10 times the same sets on one
server. It is **bold** if it is above its limit. "calls" is the number of HTTP calls of `up` /
`refresh` / `destroy`; the other commands send nothing. "MiB" is the most memory of the provider's
process; for `fleet`, of all processes, with the CLI. The page for maintainers explains the sides
(the programs that were compared) and the limits: [how it is
measured](../maintainers/performance.md).

"""


@dataclass
class Case:
    """What one side took for one number of assignments.

    Attributes:
        answer_ms: the time that the server took for an answer; 0 for at once.
        count: the number of assignments.
        side: a program, with the environment variables that it ran with; or BARE_LOOP.
        seconds: the wall times of each command, one for each run.
        calls: the HTTP calls of each command.
        provider_mb: the most memory that the provider's process held, in MiB.
        all_mb: the most memory that all processes held, the CLI's included, in MiB.
        sessions: the most sessions that a command started on one server.
        state_kb: the size of the state.
    """

    answer_ms: int
    count: int
    side: str
    seconds: dict[str, list[float]] = field(default_factory=dict)
    calls: dict[str, int] = field(default_factory=dict)
    provider_mb: int = 0
    all_mb: int = 0
    sessions: int = 0
    state_kb: int = 0

    def add(self, command: str, seconds: float, calls: int) -> None:
        self.seconds.setdefault(command, []).append(round(seconds, 3))
        self.calls[command] = max(calls, self.calls.get(command, 0))


@dataclass
class Results:
    """What a run of the benchmark has measured, and on which machine."""

    machine: str
    cases: dict[tuple[int, int, str], Case] = field(default_factory=dict)

    def case(self, answer_ms: int, count: int, side: str) -> Case:
        """The case of a side; a new one where there is none yet."""
        key = (answer_ms, count, side)
        return self.cases.setdefault(key, Case(*key))

    def seconds(self, answer_ms: int, count: int, side: str, command: str) -> float | None:
        """The median of the wall times; None when it was not measured."""
        case = self.cases.get((answer_ms, count, side))
        return median(case.seconds[command]) if case and command in case.seconds else None

    def ratio(self, case: Case, command: str) -> float | None:
        """The median in times of floor + bare loop; None when one of them was not measured."""
        sides = [_FLOORS.get(case.side, ""), *([BARE_LOOP] if case.calls[command] else [])]
        if case.side == FLEET:
            sides = [FLEET_ON_ONE_SERVER]
        base = [self.seconds(case.answer_ms, case.count, side, command) for side in sides]
        if None in base:
            return None
        return median(case.seconds[command]) / sum(filter(None, base))

    def to_json(self) -> str:
        """All of it, with one line for each case."""
        cases = ",\n".join(json.dumps(asdict(case)) for case in self.cases.values())
        return f'{{"machine": {json.dumps(self.machine)}, "cases": [\n{cases}\n]}}\n'

    @classmethod
    def from_json(cls, text: str) -> Results:
        data = json.loads(text)
        cases = [Case(**case) for case in data["cases"]]
        return cls(data["machine"], {(c.answer_ms, c.count, c.side): c for c in cases})

    def to_markdown(self) -> str:
        """The table, with one row for each case."""
        columns = ("answers", "assignments", "side", *COMMANDS, "calls", "MiB", "state, kB")
        rows = [columns, ("---",) * len(columns)]
        for case in sorted(self.cases.values(), key=lambda case: (case.answer_ms, case.count)):
            calls = [case.calls.get(command) for command in ("up", "refresh", "destroy")]
            row = (
                f"after {case.answer_ms} ms" if case.answer_ms else "at once",
                f"{case.count:,}",
                case.side,
                *(self._cell(case, command) for command in COMMANDS),
                " / ".join(f"{number:,}" for number in calls if number is not None),
                f"{(case.all_mb if case.side.startswith('fleet') else case.provider_mb) or ''}",
                f"{case.state_kb:,}" if case.state_kb else "",
            )
            rows.append(row)
        table = "\n".join(f"| {' | '.join(row)} |" for row in rows)
        return f"{_LEGEND.format(machine=self.machine)}{table}\n"

    def _cell(self, case: Case, command: str) -> str:
        seconds = case.seconds.get(command)
        if not seconds:
            return ""
        cell = f"{median(seconds):.2f}"
        if len(seconds) > 1:
            cell += f" ({min(seconds):.2f}-{max(seconds):.2f})"
        ratio = self.ratio(case, command)
        if ratio is None:
            return cell
        limit = FLEET_LIMIT if case.side == FLEET else LIMITS[command][case.side == "set"]
        mark = "**" if round(ratio, 2) > limit and case.side != "naive" else ""
        return f"{cell} {mark}{ratio:.2f}x{mark}"
