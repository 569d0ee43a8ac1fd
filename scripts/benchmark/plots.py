"""The results as plots: time over the number of assignments, both in logarithmic scales."""

from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Literal, NamedTuple

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .measurement import Results, bare_loop_of
from .plan import EIGHT_AT_A_TIME, ONE_AT_A_TIME


class _Line(NamedTuple):
    side: str
    setting: str = ""
    color: str = ""
    style: Literal["-", "--", ":"] = "-"


_COMMANDS = ("preview", "up", "unchanged up", "refresh", "destroy")
# What the others are held against has broken lines.
_LINES = (
    _Line("floor", color="black", style="--"),
    _Line("floor_set", color="gray", style="--"),
    _Line(bare_loop_of("dynamic"), color="black", style=":"),
    _Line(bare_loop_of("set"), color="gray", style=":"),
    _Line("naive", color="tab:red"),
    _Line("dynamic", color="tab:blue"),
    _Line("plugin", color="tab:green"),
    _Line("set", color="tab:purple"),
    _Line("set", EIGHT_AT_A_TIME, color="tab:purple"),
    _Line("set", ONE_AT_A_TIME, color="tab:pink"),
)


def write_plots(results: Results, folder: Path) -> None:
    """Write one file for each time that the server took for an answer."""
    # So that the same results make the same file.
    mpl.rcParams["svg.hashsalt"] = "pulumi-vmbackup"
    for answer_ms, name in ((0, "at-once"), (50, "50-ms")):
        figure = Figure(figsize=(12, 8), layout="constrained")
        axes = figure.subplots(2, 3)
        for command, plot in zip(_COMMANDS, axes.flat, strict=False):
            _draw(results, answer_ms, command, plot)
        lines = {
            label: line
            for plot in axes.flat
            for line, label in zip(*plot.get_legend_handles_labels(), strict=True)
        }
        legend = axes.flat[-1]
        legend.axis("off")
        legend.legend(lines.values(), lines, loc="center")
        answers = f"after {answer_ms} ms" if answer_ms else "at once"
        figure.suptitle(f"Server that answers {answers}")
        figure.savefig(folder / f"{name}.svg", metadata={"Date": None})


def _draw(results: Results, answer_ms: int, command: str, plot: Axes) -> None:
    counts = sorted({each.count for each in results.measurements})
    for line in _LINES:
        points = {
            count: [each.seconds for each in measured]
            for count in counts
            if (
                measured := results.of(
                    line.side,
                    count,
                    command,
                    answer_ms=0 if line.side.startswith("floor") else answer_ms,  # it asks nothing
                    setting=line.setting,
                )
            )
        }
        medians = list(map(median, points.values()))
        spread = [
            [middle - min(each) for middle, each in zip(medians, points.values(), strict=True)],
            [max(each) - middle for middle, each in zip(medians, points.values(), strict=True)],
        ]
        if points:
            plot.errorbar(
                list(points),
                medians,
                spread,
                label=f"{line.side} {line.setting}".strip(),
                color=line.color,
                linestyle=line.style,
                marker=".",
                capsize=3,
            )
    plot.set(xscale="log", yscale="log", title=command, xlabel="assignments", ylabel="seconds")
    plot.grid(alpha=0.3)
