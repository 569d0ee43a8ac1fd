"""The links of all pages: each leads to a file that exists, and to a heading in it."""

from __future__ import annotations

import re
from functools import cache
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

ROOT = Path(__file__).parents[1]
FOLDERS = ("docs", "examples", ".github")
SKIPPED = {"node_modules", "registry"}  # packages; and pages in the form of another site
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *(
        page
        for folder in FOLDERS
        for page in sorted((ROOT / folder).rglob("*.md"))
        if not SKIPPED & set(page.parts)
    ),
]


@cache
def tokens(page: Path) -> list[Token]:
    return MarkdownIt("commonmark").enable("table").parse(page.read_text("utf-8"))


def links(page: Path) -> list[str]:
    """Where the links and pictures of a page lead; what stands in code is no link."""
    inline = [each for token in tokens(page) for each in token.children or ()]
    found = [each.attrGet("href") or each.attrGet("src") for each in inline]
    return [str(each) for each in found if each]


@cache
def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    found: set[str] = set()
    read = tokens(page)
    for opening, heading in pairwise(read):
        if opening.type == "heading_open":
            inline = heading.children or ()
            words = "".join(each.content for each in inline if each.type in ("text", "code_inline"))
            slug = re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-")
            number = 0
            while (f"{slug}-{number}" if number else slug) in found:
                number += 1
            found.add(f"{slug}-{number}" if number else slug)
    return found


def broken(page: Path, root: Path = ROOT) -> list[str]:
    wrong = []
    for link in links(page):
        url = urlsplit(link)
        if url.scheme:
            continue
        target = (page.parent / unquote(url.path)).resolve() if url.path else page
        exists = target.exists() and target.is_relative_to(root.resolve())
        if not exists or (url.fragment and url.fragment not in anchors(target)):
            wrong.append(link)
    return wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_each_link_of_a_page_leads_somewhere(page: Path) -> None:
    assert broken(page) == []


def test_the_pages_are_all_there_and_have_links() -> None:
    names = {page.relative_to(ROOT).as_posix() for page in PAGES}
    assert {"README.md", "CHANGELOG.md", "docs/plugin.md", "examples/yaml/README.md"} <= names
    assert sum(len(links(page)) for page in PAGES) > 150


@pytest.mark.parametrize(
    "link", ["missing.md", "there.md#no-such-heading", "#no-such-heading", "../../../etc/hosts"]
)
def test_a_link_that_leads_nowhere_is_found(link: str, tmp_path: Path) -> None:
    there = tmp_path / "there.md"
    there.write_text("# There\n\n## A `code` heading, twice\n\n## A `code` heading, twice\n")
    page = tmp_path / "page.md"
    page.write_text(f"# Page\n\n[a]({link}) [b](#page) [c](there.md#there) `[d](no-link.md)`\n")
    assert broken(page, tmp_path) == [link]
    assert anchors(there) == {"there", "a-code-heading-twice", "a-code-heading-twice-1"}
