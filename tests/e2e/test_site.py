"""The documentation as a site: it builds without a warning, and a browser shows it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from environment import ROOT
from http_servers import serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = pytest.mark.skipif(
    os.name == "nt" or sys.version_info < (3, 11),
    reason="the site is built on Linux, and Zensical needs Python 3.11",
)

CONFIGURATION = ROOT / "zensical.toml"
WIDTHS = {"wide": 1280, "narrow": 390}
# Tables whose right end is outside of the window, and that no element around them scrolls.
TOO_WIDE = """() => [...document.querySelectorAll(".md-content table")].filter(table => {
  for (let around = table; around; around = around.parentElement)
    if (["auto", "scroll"].includes(getComputedStyle(around).overflowX)) return false;
  return table.getBoundingClientRect().right > innerWidth;
}).length"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import docs

    folder = tmp_path_factory.mktemp("docs")
    docs.copy_pages(folder / docs.COPIES.name)
    shutil.copy(CONFIGURATION, folder)
    done = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict"],
        cwd=folder,
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / docs.SITE.name


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    with serving(partial(_Quiet, directory=str(site))) as host:
        yield f"http://{host}/"


def test_each_page_is_on_the_site_and_in_its_navigation(site: Path) -> None:
    from docs import OTHERS

    pages = {page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")}
    on_site = {page for page in pages if not page.startswith("registry/")} | {*OTHERS.values()}
    assert len(on_site) > 20
    navigation = re.findall(r'"([\w/.-]+\.md)"', CONFIGURATION.read_text("utf-8"))
    assert sorted(navigation) == sorted(on_site)
    for page in on_site:
        assert (site / page).with_suffix(".html").exists(), page
    assert not (site / "registry").exists()


def test_a_link_leads_to_a_page_of_the_site_or_to_the_repository() -> None:
    import docs

    repository = "https://github.com/pulumi-vmbackup/pulumi-vmbackup"
    for page, link, expected in (
        ("docs/plugin.md", "drift.md#which-command", "drift.md#which-command"),
        ("docs/plugin.md", "../README.md#safety", "index.md#safety"),
        ("docs/plugin.md", "../examples/yaml", f"{repository}/tree/main/examples/yaml"),
        ("docs/reference/a.md", "../plugin.md", "../plugin.md"),
        ("docs/reference/a.md", "../../SECURITY.md#x", "../security.md#x"),
        ("CONTRIBUTING.md", "docs/maintainers/windows.md", "windows.md"),
        ("CONTRIBUTING.md", "SECURITY.md", "../security.md"),
        ("docs/maintainers/a.md", "../../CONTRIBUTING.md#commands", "contributing.md#commands"),
        ("README.md", "docs/reference/errors.md", "reference/errors.md"),
        ("README.md", "LICENSE", f"{repository}/blob/main/LICENSE"),
        ("README.md", "#safety", "#safety"),
        ("README.md", "https://www.pulumi.com", "https://www.pulumi.com"),
    ):
        assert docs.on_site(f"[a]({link})", page) == f"[a]({expected})"


@pytest.mark.parametrize("width", WIDTHS)
def test_each_page_fits_and_asks_for_nothing_outside(
    width: str, site: Path, address: str, browser: Browser
) -> None:
    shown = browser.new_page(viewport={"width": WIDTHS[width], "height": 900})
    outside: list[str] = []
    problems: list[str] = []
    shown.on("request", lambda request: outside.append(request.url))
    shown.on("console", lambda message: problems.append(message.text))
    shown.on("pageerror", lambda error: problems.append(str(error)))
    pages = sorted(page.relative_to(site).as_posix() for page in site.rglob("*.html"))
    assert "index.html" in pages
    for page in pages:
        shown.goto(address + page)
        assert shown.evaluate("document.documentElement.scrollWidth <= innerWidth"), page
        assert shown.evaluate(TOO_WIDE) == 0, page
        for picture in shown.locator(".md-content img").all():
            assert picture.evaluate("image => image.decode().then(() => image.naturalWidth)") > 0
    shown.close()
    assert [url for url in outside if not url.startswith((address, "data:", "blob:"))] == []
    assert problems == []
