"""The benchmark itself: that it still runs, and that what is published is what it measured."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from benchmark.measurement import Results, bare_loop_of
from benchmark.plan import Group, Side
from benchmark.plots import write_plots
from benchmark.report import report
from benchmark.run import run_plan
from benchmark.server import serving
from benchmark.targets import targets
from pulumi_cli import ROOT

PUBLISHED = ROOT / "docs" / "performance"


def test_a_small_benchmark_runs_and_is_reported(tmp_path: Path) -> None:
    results = Results({"processor": "some"})
    sides = (
        Side("floor", only=("up",)),
        Side("naive", only=("up",)),
        Side("dynamic", has_limit=True),
        Side("plugin", 50, "VMBACKUP_PARALLEL_REQUESTS=1", only=("up",)),
        Side("floor_set", only=("up",)),
        Side("set", only=("up",)),
    )
    with serving() as server:
        group = Group(4, sides, locations=2, commands={"up": 1, "destroy": 1})
        run_plan([group], server, results, repeat_seconds=0)
    seen = {(each.side, each.command): (each.calls, each.sessions) for each in results.measurements}
    assert seen == {
        ("floor", "up"): (0, 0),
        ("naive", "up"): (12, 4),
        ("dynamic", "up"): (9, 1),
        (bare_loop_of("dynamic"), "up"): (9, 1),
        ("plugin", "up"): (9, 1),
        ("floor_set", "up"): (0, 0),
        ("set", "up"): (6, 1),
        ("dynamic", "destroy"): (6, 1),
        (bare_loop_of("dynamic"), "destroy"): (6, 1),
    }
    assert all(each.vms == 2 and each.seconds > 0 for each in results.measurements)
    text = report(Results.from_json(results.to_json()))
    assert text == report(results)
    assert "| 4 on 2 VMs | plugin `VMBACKUP_PARALLEL_REQUESTS=1` | 9 / 1 / 1 |" in text
    write_plots(results, tmp_path)
    assert sorted(file.name for file in tmp_path.glob("*.svg")) == ["50-ms.svg", "at-once.svg"]


def test_all_is_measured_once_and_then_repeated_while_there_is_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rounds: list[tuple[int, list[str]]] = []

    class RoundOfAMinute:
        def __init__(self, group: Group, sides: list[Side], *_: object) -> None:
            self.what = (group.count, [each.program for each in sides])

        def run(self) -> None:
            rounds.append(self.what)

    monkeypatch.setattr("benchmark.run._Round", RoundOfAMinute)
    monkeypatch.setattr("benchmark.run._import_ms", lambda _: (0, 0))
    clock = SimpleNamespace(monotonic=lambda: 60 * len(rounds))
    monkeypatch.setattr("benchmark.run.time", clock)
    plan = [
        Group(10, (Side("floor"), Side("naive", rounds=1)), rounds=3),
        Group(20, (Side("set"),), rounds=2),
    ]
    server: Any = None
    run_plan(plan, server, Results({}), repeat_seconds=200)
    assert rounds == [(10, ["floor", "naive"]), (20, ["set"]), (10, ["floor"]), (10, ["floor"])]


# What is published


@pytest.fixture
def published() -> Results:
    return Results.from_json((PUBLISHED / "results.json").read_text("utf-8"))


@pytest.fixture
def guide() -> str:
    return (ROOT / "docs" / "performance.md").read_text("utf-8")


def test_the_report_is_of_what_was_measured(published: Results) -> None:
    assert (PUBLISHED / "results.md").read_text("utf-8") == report(published)


def test_the_table_of_the_guide_is_what_was_measured(published: Results, guide: str) -> None:
    rows = re.findall(r"^\| ([\d,]+) \| (.+) \|$", guide, re.MULTILINE)
    assert [row[0] for row in rows] == ["10", "100", "300", "1,000", "10,000"]
    for count, cells in rows:
        sides = ("floor", "naive", "dynamic", "plugin", "set")
        for side, cell in zip(sides, cells.split(" | "), strict=True):
            seconds = published.seconds(side, int(count.replace(",", "")), "up")
            if seconds is None:
                assert cell == "not measured"
            else:
                assert cell == (f"{seconds:.1f}" if seconds < 10 else f"{seconds:.0f}")


def test_each_missed_target_is_explained(published: Results, guide: str) -> None:
    text = " ".join(guide.split())
    missed = [each for each in targets(published) if not each.is_met]
    assert [each for each in missed if f"**{each.work}** ({each.figure}" not in text] == []
    assert text.count(", to reach ") == len(missed)
