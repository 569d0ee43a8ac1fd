"""scripts/promises.py: the list of breaks still fits the code. `make breaks` runs it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from promises import PROMISES, Break

ROOT = Path(__file__).parent.parent
BREAKS = [each for breaks in PROMISES.values() for each in breaks]


@pytest.mark.parametrize("broken", BREAKS, ids=lambda broken: broken.words)
def test_each_break_can_be_made_and_names_tests_that_there_are(broken: Break) -> None:
    file = ROOT / "provider" / "pulumi_vmbackup" / broken.file
    code = file.read_text("utf-8")
    assert code.count(broken.old) == 1
    assert broken.old != broken.new
    compile(code.replace(broken.old, broken.new), broken.file, "exec")
    for test in broken.tests.split():
        path, _, name = test.partition("::")
        assert f"def {name}" in (ROOT / "tests" / path).read_text("utf-8")


def test_each_break_is_on_the_maintainers_page_with_a_test_that_there_is() -> None:
    page = (ROOT / "docs" / "maintainers" / "breaks.md").read_text("utf-8")
    assert page.count("\n## ") == len(PROMISES)
    assert [each.words for each in BREAKS if f"| {each.words} |" not in page] == []
    for path, name in re.findall(r"`([\w/]+\.py)::(\w+)`", page):
        assert f"def {name}(" in (ROOT / "tests" / path).read_text("utf-8")
