"""A review as Markdown, for a comment on a pull request at GitHub and in Azure DevOps."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ..coverage import Coverage
from ..rules import Verdict
from ..sentences import judged
from .report import GRAVEST_FIRST, Review, source_of
from .wording import printable

LONGEST_COMMENT = 65_000
"""GitHub takes 65,536 characters. The rest is for what a workflow adds."""
_LONGEST_NAME = 100
_ROOM_FOR_COUNTS = 1_500
_ROOM_FOR_RULES = 20_000
_PLAIN = re.compile(r"[\w .,:;()/\\+-]+")
_WORDS = {Verdict.KEPT: "KEPT", Verdict.UNKNOWN: "**UNKNOWN**", Verdict.BROKEN: "**BROKEN**"}


def markdown(review: Review) -> str:
    """The comment, shorter than :data:`LONGEST_COMMENT`: the gravest first, and the rest counted.

    Names of the server stand in code, so that nothing in them is a format, a link or a mention.
    """
    gravest_first = sorted(review.judgements, key=lambda each: GRAVEST_FIRST.index(each.verdict))
    rules = _Text("#### Rules", _ROOM_FOR_RULES)
    rules.add_items(
        "", [f"- {_WORDS[each.verdict]}: {judged(each, code)}" for each in gravest_first], "rules"
    )
    text = _Text(f"### {review.title(code)}", LONGEST_COMMENT - _ROOM_FOR_COUNTS - len(str(rules)))
    text.add("", *(f"- {sentence}" for sentence in review.summary()))
    for coverage in review.coverages:
        if len(review.coverages) > 1:
            text.add("", f"#### {code(coverage.server)}")
        _add_changes(text, review, coverage)
        text.add_items("", [f"- {note}" for note in review.notes(coverage, code)], "notes")
        text.add("", source_of(coverage))
    if gravest_first:
        text.add("", str(rules).rstrip())
    for coverage in review.coverages:
        unmanaged = [
            f"- {code(vm)}: {', '.join(map(code, locations))}"
            for vm, locations in review.unmanaged(coverage)
        ]
        if unmanaged:
            at = f" at {code(coverage.server)}" if len(review.coverages) > 1 else ""
            text.add("", f"<details><summary>Assignments{at} that no resource declares</summary>")
            text.add_items("", unmanaged, "VMs")
            text.add("", "</details>")
    return str(text)


def code(name: str) -> str:
    """A name as code. Within code, GitHub makes neither links nor mentions."""
    name = printable(name).strip() or " "
    if len(name) > _LONGEST_NAME:
        name = f"{name[:_LONGEST_NAME]}..."
    if _PLAIN.fullmatch(name):
        return f"`{name}`"
    return f"<code>{_escaped(name)}</code>"


def _add_changes(text: _Text, review: Review, coverage: Coverage) -> None:
    rows = [
        f"| {code(row.vm)} | {code(row.host) if row.host else ''} | {_cell(row.now, '')} "
        f"| {_cell(row.after, row.unknown)} | {row.meaning} |"
        for row in review.rows(coverage)
    ]
    if rows:
        text.add("", "| VM | Host | Now | Afterwards | What it means |")
        text.add_items("|---|---|---|---|---|", rows, "VMs that change")


def _cell(names: Iterable[str], unknown: str) -> str:
    return "<br>".join(filter(None, [*map(code, names), unknown])) or "none"


def _escaped(text: str) -> str:
    """A text in which nothing is Markdown or HTML."""
    return "".join(c if c.isalnum() or c in " .,:;()/-+" else f"&#{ord(c)};" for c in text)


def _length(lines: Iterable[str]) -> int:
    return sum(len(line) + 1 for line in lines)


class _Text:
    """Lines, of which no more are added than there is room for."""

    def __init__(self, first: str, room: int) -> None:
        self._lines = [first]
        self._room = room - len(first)

    def __str__(self) -> str:
        return "\n".join(self._lines) + "\n"

    def add(self, *lines: str) -> None:
        self._lines += lines
        self._room -= _length(lines)

    def add_items(self, head: str, items: list[str], what: str) -> None:
        """Add a head and as many items as there is room for, and count the others."""
        if items:
            self.add(head)
        for done, item in enumerate(items):
            if self._room < len(item):
                self.add("", f"And {len(items) - done:,} more {what}.")
                return
            self.add(item)
