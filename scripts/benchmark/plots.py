"""The seconds over the number of assignments, both in logarithmic scales, as SVG."""

from __future__ import annotations

from math import log10
from pathlib import Path

from .results import Results

_COMMANDS = ("up", "unchanged up", "refresh")
_COUNTS = (10, 100, 300, 1000, 10_000)
# The label, color and dashes of each line; the last ones are drawn above the others.
_LINES = {
    "naive": ("naive style", "#d62728", "none"),
    "dynamic": ("dynamic resources", "#1f77b4", "none"),
    "plugin": ("plugin's resources", "#2ca02c", "none"),
    "set": ("set", "#9467bd", "none"),
    "set VMBACKUP_PARALLEL_REQUESTS=8": ("set, 8 calls at a time", "#e377c2", "none"),
    "floor": ("floor", "#000", "4 4"),
}
_WIDTH, _HEIGHT = 210, 240  # of the part for one command
_STYLE = "text { font: 12px sans-serif } path { fill: none; stroke-width: 1.5 }"


def write_plots(results: Results, folder: Path) -> None:
    """Write a file for each time that the server took for an answer."""
    (folder / "at-once.svg").write_text(_plot(results, 0), "utf-8")
    (folder / "50-ms.svg").write_text(_plot(results, 50), "utf-8")


def _plot(results: Results, answer_ms: int) -> str:
    shapes = ['<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 960 310">']
    shapes += [f'<style>{_STYLE}</style><rect width="960" height="310" fill="#fff"/>']
    drawn = set()
    for number, command in enumerate(_COMMANDS):
        shapes += [f'<g transform="translate({45 + number * (_WIDTH + 40)} 30)">']
        shapes += [_text(_WIDTH / 2, -10, command, "middle")]
        shapes += [_text(_WIDTH / 2, _HEIGHT + 34, "assignments", "middle")]
        for seconds in (0.5, 1, 2, 5, 10, 20, 50, 100):
            shapes += [_path([(0, _y(seconds)), (_WIDTH, _y(seconds))], "#ddd")]
            shapes += [_text(-6, _y(seconds) + 4, f"{seconds} s", "end")]
        for count in _COUNTS:
            shapes += [_path([(_x(count), 0), (_x(count), _HEIGHT)], "#ddd")]
            shapes += [_text(_x(count), _HEIGHT + 17, f"{count:,}", "middle")]
        for side, (_, color, dashes) in _LINES.items():
            # The floor calls no server, so a slow one makes no difference to it.
            of_side = 0 if side == "floor" else answer_ms
            measured = [(each, results.seconds(of_side, each, side, command)) for each in _COUNTS]
            points = [(_x(count), _y(seconds)) for count, seconds in measured if seconds]
            if points:
                drawn.add(side)
                shapes += [_path(points, color, dashes)]
                shapes += [f'<circle cx="{x}" cy="{y}" r="3" fill="{color}"/>' for x, y in points]
        shapes += ["</g>"]
    for number, side in enumerate(side for side in _LINES if side in drawn):
        label, color, dashes = _LINES[side]
        y = 60 + 22 * number
        shapes += [_path([(785, y), (815, y)], color, dashes), _text(822, y + 4, label)]
    return "\n".join([*shapes, "</svg>\n"])


def _x(count: float) -> float:
    return round(_WIDTH * log10(count / 10) / 3, 1)


def _y(seconds: float) -> float:
    return round(_HEIGHT * log10(150 / seconds) / log10(150 / 0.5), 1)


def _path(points: list[tuple[float, float]], color: str, dashes: str = "none") -> str:
    way = " ".join(f"{x},{y}" for x, y in points)
    return f'<path d="M{way}" stroke="{color}" stroke-dasharray="{dashes}"/>'


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}">{text}</text>'
