"""The benchmark: that it runs, and that what is published is what was measured."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from benchmark.cases import BARE_LOOP, FLEET, FLEET_ON_ONE_SERVER, Group
from benchmark.measure import measure
from benchmark.plots import write_plots
from benchmark.results import Results
from environment import ROOT

PUBLISHED = ROOT / "docs" / "performance"


def test_a_small_benchmark_runs() -> None:
    results = Results("a machine")
    compressed = "set PULUMI_DIY_BACKEND_GZIP=true"
    sides = ("floor", "naive", "dynamic", "plugin", "floor_set", compressed)
    measure([Group(4, sides, commands=("up",))], results)
    cases = {case.side: case for case in results.cases.values()}
    assert {side: case.calls for side, case in cases.items()} == {
        "floor": {"up": 0},
        "naive": {"up": 12},
        "dynamic": {"up": 9},
        BARE_LOOP: {"up": 9},
        "plugin": {"up": 9},
        "floor_set": {"up": 0},
        compressed: {"up": 6},
    }
    for side, case in cases.items():
        assert (case.provider_mb > 0) == (case.state_kb > 0) == (side != BARE_LOOP), case
    assert cases[compressed].state_kb < cases["floor_set"].state_kb
    assert Results.from_json(results.to_json()) == results


def test_each_command_is_run_once_a_round() -> None:
    results = Results("a machine")
    measure([Group(1, ("set",), 50, ("up", "destroy"), rounds=2)], results)
    (case,) = results.cases.values()  # a bare loop is of a server that answers at once
    assert case.calls == {"up": 3, "destroy": 3}
    assert [len(case.seconds[command]) for command in ("up", "destroy")] == [2, 2]


def test_a_small_fleet_has_one_session_a_server() -> None:
    results = Results("a machine")
    group = Group(4, (FLEET_ON_ONE_SERVER, FLEET), commands=("up",), servers=2)
    measure([group], results)
    on_one, fleet = results.cases.values()
    assert (on_one.calls, fleet.calls) == ({"up": 6}, {"up": 8})  # two more for a session
    assert on_one.sessions == fleet.sessions == 1
    assert fleet.all_mb > fleet.provider_mb > 0


# The table


@pytest.fixture
def measured() -> Results:
    results = Results("a machine")
    for seconds in (2.0, 1.9, 2.3):
        results.case(0, 300, "floor").add("up", seconds, calls=0)
    results.case(0, 300, BARE_LOOP).add("up", 0.5, calls=305)
    return results


def row(results: Results, side: str) -> str:
    found = [line for line in results.to_markdown().splitlines() if f"| {side} |" in line]
    (line,) = found
    return line


def test_a_cell_is_the_median_with_the_least_and_the_most(measured: Results) -> None:
    assert " | 2.00 (1.90-2.30) | " in row(measured, "floor")
    assert " | 0.50 | " in row(measured, BARE_LOOP)


def test_a_fleet_is_compared_with_the_same_sets_on_one_server(measured: Results) -> None:
    for side, seconds in ((FLEET_ON_ONE_SERVER, 2.0), (FLEET, 2.8)):
        case = measured.case(0, 1000, side)
        case.add("up", seconds, calls=1002)
        case.provider_mb, case.all_mb = 60, 300
    assert " | 2.80 **1.40x** | " in row(measured, FLEET)
    assert " | 300 | " in row(measured, FLEET)


@pytest.mark.parametrize(
    ("side", "seconds", "cell"),
    [
        ("dynamic", 2.85, "2.85 1.14x"),
        ("plugin", 2.95, "2.95 **1.18x**"),
        ("naive", 5.0, "5.00 2.00x"),
        ("plugin PULUMI_PARALLEL=1", 5.0, "5.00"),
    ],
)
def test_a_side_is_compared_with_floor_and_bare_loop(
    measured: Results, side: str, seconds: float, cell: str
) -> None:
    measured.case(0, 300, side).add("up", seconds, calls=305)
    assert f" | {cell} | " in row(measured, side)


def test_a_command_that_sends_nothing_is_compared_with_the_floor(measured: Results) -> None:
    measured.case(0, 300, "floor").add("preview", 1.0, calls=0)
    measured.case(0, 300, "dynamic").add("preview", 1.04, calls=0)
    assert " | 1.04 1.04x | " in row(measured, "dynamic")


def test_a_set_is_compared_with_its_own_floor_where_there_is_one(measured: Results) -> None:
    measured.case(0, 300, "set").add("up", 1.3, calls=302)
    assert " | 1.30 | " in row(measured, "set")
    measured.case(0, 300, "floor_set").add("up", 0.5, calls=0)
    assert " | 1.30 1.30x | " in row(measured, "set")


# What is published


@pytest.fixture
def published() -> Results:
    return Results.from_json((PUBLISHED / "results.json").read_text("utf-8"))


def test_the_published_table_and_plots_are_what_was_measured(
    published: Results, tmp_path: Path
) -> None:
    assert (PUBLISHED / "results.md").read_text("utf-8") == published.to_markdown()
    write_plots(published, tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    for plot in tmp_path.iterdir():
        assert (PUBLISHED / plot.name).read_text("utf-8") == plot.read_text("utf-8")


def test_the_published_results_are_small() -> None:
    assert sum(file.stat().st_size for file in PUBLISHED.iterdir()) < 60_000


def test_the_table_of_the_guide_is_what_was_measured(published: Results) -> None:
    guide = (ROOT / "docs" / "performance.md").read_text("utf-8")
    rows = re.findall(r"^\| ([\d,]+) \| (.+) \|$", guide, re.MULTILINE)
    assert [row[0] for row in rows] == ["10", "100", "300", "1,000", "10,000"]
    for count, cells in rows:
        sides = ("floor", "naive", "dynamic", "plugin", "set")
        for side, cell in zip(sides, cells.split(" | "), strict=True):
            seconds = published.seconds(0, int(count.replace(",", "")), side, "up")
            if seconds is None:
                assert cell == "not measured"
            else:
                assert cell == (f"{seconds:.1f}" if seconds < 10 else f"{seconds:.0f}")
