"""The programs in examples/, and the quickstart."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from e2e.stack import MakeStack

from pulumi_vmbackup.simulator import Inventory, Simulator

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted(path.parent.name for path in (ROOT / "examples").glob("*/Pulumi.yaml"))


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_goes_up_stays_and_comes_down(
    example: str, make_stack: MakeStack, simulator: Simulator
) -> None:
    stack = make_stack(init=False)
    shutil.copytree(ROOT / "examples" / example, stack.folder, dirs_exist_ok=True)
    stack.pulumi("stack", "init", "test")
    stack.up()
    assert len(stack.resources()) == len(simulator.inventory.assignments) - 1
    stack.up("--expect-no-changes")
    stack.pulumi("destroy", "--yes", "--skip-preview")
    assert simulator.inventory.assignments == Inventory.sample().assignments


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """What the quickstart needs of the repository, below a path with a space."""
    copy = tmp_path / "a path" / "with spaces"
    for folder in ("examples", "scripts"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "Pulumi.yaml", copy)
    return copy


def quickstart(copy: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-B", copy / "scripts" / "quickstart.py"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
        timeout=240,
    )


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if "__pycache__" not in path.parts}


def test_the_quickstart_works_twice_from_a_path_with_spaces_and_cleans_up(copy: Path) -> None:
    before = files(copy)
    for _ in range(2):
        done = quickstart(copy)
        assert done.returncode == 0, done.stdout
        assert files(copy) == before
    steps = [line for line in done.stdout.splitlines() if line.startswith("=== ")]
    assert [step[:6] for step in steps] == [f"=== {number}." for number in range(1, len(steps) + 1)]
    held = [part.splitlines()[1:] for part in done.stdout.split("=== ") if "server" in part[:60]]
    before_up, after_up = ([line.split() for line in lines] for lines in held[:2])
    assert ["SQL01", "-"] in before_up
    assert ["SQL01", r"\\OFFSITE01\VMBackups"] in after_up
    assert "+-3 to replace" in done.stdout  # the preview of the changed program
    assert "- 1 deleted" in done.stdout  # the refresh


def test_a_failing_quickstart_says_which_step_failed_and_cleans_up(copy: Path) -> None:
    (copy / "examples" / "quickstart" / "__main__.py").write_text("raise SystemExit(3)\n")
    before = files(copy)
    done = quickstart(copy)
    assert done.returncode != 0
    assert done.stdout.splitlines()[-1].startswith(
        "Step 3. Assign three VMs to an offsite location"
    )
    assert "failed: `pulumi up --yes --skip-preview` ended with exit code" in done.stdout
    assert files(copy) == before
