"""The page of ``vmbackup review --html`` in a real browser."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from environment import ROOT
from sample import DC01, NAS01, OFFSITE01, ROTATING, SQL01, SQL02
from test_coverage import LOCATIONS, assigning, holding, unassigning

from pulumi_vmbackup.command.page import page
from pulumi_vmbackup.command.report import Review
from pulumi_vmbackup.coverage import ResourcePlan, cover
from pulumi_vmbackup.inventory import Snapshot
from pulumi_vmbackup.models import Assignment, VirtualMachine
from pulumi_vmbackup.rules import Requirement, Rules

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

log = logging.getLogger(__name__)

pytestmark = pytest.mark.skipif(os.name == "nt", reason="the browser is driven on Linux")

EVIL = "<script>alert(1)</script>|*_\"'</script><img src=x onerror=alert(1)>"
Show = Callable[..., "Page"]


@pytest.fixture
def show(browser: Browser, tmp_path: Path) -> Iterator[Show]:
    """Opens a page; it may log no error, ask for nothing else and open no dialog."""
    problems: list[str] = []
    pages: list[Page] = []

    def show(review: Review, **options: Any) -> Page:
        file = tmp_path / "review.html"
        file.write_text(page(review), "utf-8")
        shown = browser.new_page(**options)
        pages.append(shown)
        shown.on("console", lambda message: problems.append(message.text))
        shown.on("pageerror", lambda error: problems.append(str(error)))
        shown.on("dialog", lambda dialog: problems.append(dialog.message))
        shown.on("request", lambda request: asked.append(request.url))
        shown.goto(file.as_uri())
        return shown

    asked: list[str] = []
    yield show
    for each in pages:
        each.close()
    assert problems == []
    assert all(url.startswith("file:///") and url.endswith("/review.html") for url in asked)


def reviewed(inventory: Snapshot, *plans: ResourcePlan, is_preview: bool = True) -> Review:
    coverage = cover("localhost:36013", inventory, plans)
    judgements = Rules((Requirement("offsite"),)).judge([coverage], date(2026, 11, 28))
    return Review(("backup/prod",), is_preview, (coverage,), tuple(judgements))


def changes() -> Review:
    """SQL01 gains, SQL02 loses, and DC01, on another host, keeps what it has."""
    held = holding((SQL02, OFFSITE01), (SQL02, NAS01), (DC01, NAS01))
    made = datetime(2026, 11, 26, 22, 0)
    vms = tuple(
        replace(vm, host="HV-02" if vm.name == "DC01" else "HV-01", last_backup_time=made)
        for vm in held.virtual_machines
    )
    gained, lost = assigning((SQL01, ROTATING), (DC01, NAS01)), unassigning((SQL02, OFFSITE01))
    return reviewed(replace(held, virtual_machines=vms), gained, lost)


def visible(shown: Page) -> list[str]:
    names = shown.locator("tbody th[scope=row]")
    return [each.inner_text() for each in names.all() if each.is_visible()]


def test_it_shows_what_each_vm_has_gains_and_loses(show: Show) -> None:
    shown = show(changes())
    assert shown.title() == "Backup review of backup/prod"
    assert "1 VM loses its last offsite location." in shown.locator(".summary").inner_text()
    assert "broken by 2 VMs: DC01, SQL02" in shown.locator(".rules").inner_text()
    rows = {
        row.locator("th").inner_text(): row.locator("td").all_inner_texts()
        for row in shown.locator("tbody tr:not(.host)").all()
    }
    first, loses = "gains its first backup location", "loses its last offsite location"
    backup = "2026-11-26 (2 days ago)"
    assert rows == {
        "SQL01": [f"{first}; gains an offsite location", "", "", "gained", backup, ""],
        "SQL02": [loses, "assigned, in no resource", "lost", "", backup, ""],
        "DC01": ["", "assigned", "", "", backup, ""],
    }
    hosts = shown.locator("tr.host").all_inner_texts()
    assert hosts == ["HV-01", "HV-02"]


def test_the_filter_works(show: Show) -> None:
    shown = show(changes())
    assert visible(shown) == ["SQL01", "SQL02", "DC01"]
    assert shown.locator("#shown").inner_text() == "3 of 3 VMs"
    shown.fill("#name", "sql0")
    assert visible(shown) == ["SQL01", "SQL02"]
    assert not shown.get_by_text("HV-02", exact=True).first.is_visible()
    shown.check("#without-offsite")
    assert visible(shown) == ["SQL02"]
    shown.fill("#name", "")
    assert visible(shown) == ["SQL02", "DC01"]
    shown.check("#changes")
    assert visible(shown) == ["SQL02"]
    shown.uncheck("#changes")
    shown.select_option("#host", "HV-02")
    assert visible(shown) == ["DC01"]
    assert shown.locator("#shown").inner_text() == "1 of 3 VMs"


def test_it_is_readable_without_javascript(browser: Browser, show: Show) -> None:
    assert browser.is_connected()
    shown = show(changes(), java_script_enabled=False)
    assert visible(shown) == ["SQL01", "SQL02", "DC01"]
    assert not shown.locator("#filter").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_accessible_and_has_contrast(scheme: str, show: Show) -> None:
    from axe_playwright_python.sync_playwright import Axe  # type: ignore[import-untyped]

    shown = show(changes(), color_scheme=scheme, bypass_csp=True)
    found = Axe().run(shown).response
    assert [each["id"] for each in found["violations"]] == []
    assert "color-contrast" in [each["id"] for each in found["passes"]]
    paper = shown.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") == (scheme == "light")


def test_names_are_only_text(show: Show) -> None:
    inventory = holding((SQL01, NAS01))
    vms = (replace(inventory.virtual_machines[1], name=EVIL, host=EVIL),)
    locations = (replace(LOCATIONS[0], path=EVIL), *LOCATIONS[1:])
    shown = show(reviewed(replace(inventory, virtual_machines=vms, backup_locations=locations)))
    assert visible(shown) == [EVIL]
    assert EVIL in shown.locator("thead").inner_text()
    shown.select_option("#host", EVIL)
    assert visible(shown) == [EVIL]
    assert shown.locator("img").count() == 0


def test_it_prints(show: Show) -> None:
    shown = show(changes(), color_scheme="dark")
    shown.emulate_media(media="print")
    assert not shown.locator("#filter").is_visible()
    assert visible(shown) == ["SQL01", "SQL02", "DC01"]
    assert shown.evaluate("getComputedStyle(document.querySelector('td')).color") == "rgb(0, 0, 0)"
    assert shown.pdf().startswith(b"%PDF")


def test_the_pictures_in_the_guides_are_small() -> None:
    pictures = list((ROOT / "docs" / "pictures").glob("*.png"))
    assert len(pictures) == 4
    assert sum(each.stat().st_size for each in pictures) < 350_000


def test_2_000_vms_are_shown_and_scroll(show: Show, tmp_path: Path) -> None:
    vms = tuple(
        VirtualMachine(f"{n:08x}-0000-4000-8000-000000000000", f"VM{n:04}", f"HV-{n % 40:02}", True)
        for n in range(2_000)
    )
    held = tuple(Assignment(str(vm.ref), OFFSITE01) for vm in vms[::2])
    review = reviewed(replace(holding(), virtual_machines=vms, assignments=held), is_preview=False)
    started = time.monotonic()
    shown = show(review)
    paint = shown.evaluate("performance.getEntriesByName('first-paint')[0]?.startTime")
    size = (tmp_path / "review.html").stat().st_size
    log.info(
        "%s bytes, first paint after %s ms, all in %s s", size, paint, time.monotonic() - started
    )
    assert size < 500_000
    assert shown.locator("#shown").inner_text() == "2000 of 2000 VMs"
    last = shown.get_by_text("VM1999", exact=True)
    last.scroll_into_view_if_needed()
    assert last.is_visible()
    head = shown.locator("thead th").first.bounding_box()
    row = last.bounding_box()
    assert head
    assert row
    assert head["y"] < row["y"]
    shown.check("#without-offsite")
    assert shown.locator("#shown").inner_text() == "1000 of 2000 VMs"
