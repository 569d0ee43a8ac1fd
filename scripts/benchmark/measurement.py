"""What was measured, as the JSON file of the results keeps it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

COMMANDS = ("preview", "up", "unchanged up", "preview of one change", "refresh", "destroy")


@dataclass(frozen=True)
class Measurement:
    """What one command took.

    Attributes:
        side: what was measured: a program below programs/, or the bare loop of one.
        count: how many assignments.
        vms: on how many VMs.
        answer_ms: how long the server took for each answer, in milliseconds; 0 for at once.
        setting: what was not as by default, mostly an environment variable as ``NAME=value``.
        command: one of COMMANDS.
        seconds: wall time.
        calls: how many HTTP calls the server saw.
        connections: how many TCP connections it accepted.
        sessions: how many sessions it started.
        provider_mb: the most memory that the provider's process held, in MiB; None for no process.
        program_mb: likewise of the program's process.
        state_bytes: the size of the state afterwards; None for no state.
    """

    side: str
    count: int
    vms: int
    answer_ms: int
    setting: str
    command: str
    seconds: float
    calls: int
    connections: int
    sessions: int
    provider_mb: float | None = None
    program_mb: float | None = None
    state_bytes: int | None = None


@dataclass
class Results:
    """What a run of the benchmark has measured.

    Attributes:
        machine: what it ran on.
        measurements: in the order in which they were made.
        import_ms: how long imports took, each time: of Pulumi, and of this package's modules
            beyond Pulumi.
        minutes: how long the run took.
    """

    machine: dict[str, str]
    measurements: list[Measurement] = field(default_factory=list)
    import_ms: dict[str, list[float]] = field(default_factory=dict)
    minutes: float = 0

    def of(
        self,
        side: str,
        count: int,
        command: str,
        *,
        vms: int | None = None,
        answer_ms: int = 0,
        setting: str = "",
    ) -> list[Measurement]:
        """The measurements of one case; each assignment is of a VM of its own by default."""
        case = (side, count, command, vms or count, answer_ms, setting)
        return [
            each
            for each in self.measurements
            if case == (each.side, each.count, each.command, each.vms, each.answer_ms, each.setting)
        ]

    def seconds(self, side: str, count: int, command: str, **case: Any) -> float | None:
        """The median of a case's wall times; None when it was not measured."""
        found = [each.seconds for each in self.of(side, count, command, **case)]
        return median(found) if found else None

    def to_json(self) -> str:
        data = asdict(self)
        lines = ",\n".join(f"    {json.dumps(each)}" for each in data.pop("measurements"))
        head = json.dumps(data, indent=2).removesuffix("\n}")
        return f'{head},\n  "measurements": [\n{lines}\n  ]\n}}\n'

    @classmethod
    def from_json(cls, text: str) -> Results:
        data = json.loads(text)
        measurements = [Measurement(**each) for each in data.pop("measurements")]
        return cls(measurements=measurements, **data)


def median_and_spread(values: list[float]) -> str:
    """The median, with the least and the most where there are several."""
    spread = f" ({min(values):.2f}–{max(values):.2f})" if len(values) > 1 else ""
    return f"{median(values):.2f}{spread}"


def bare_loop_of(program: str) -> str:
    """The side that makes the HTTP calls of a program in a bare loop."""
    return f"bare loop of {program}"
