"""A review as one HTML page, which asks nothing of any other place."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable
from datetime import datetime
from functools import partial
from importlib.resources import files
from itertools import groupby
from typing import Any, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from ..coverage import Coverage, VmCoverage
from ..models import BackupLocation
from ..sentences import judged, meant
from .report import Review, source_of
from .wording import printable


class _Cell(NamedTuple):
    """What a VM has at a location: a class of the page's style, and words; both may be empty."""

    state: str
    words: str


class _Vm(NamedTuple):
    label: str
    cells: list[_Cell]
    without_offsite: bool
    last_backup: str
    last_offsite_copy: str
    meaning: str


def page(review: Review) -> str:
    """The page: the summary, the rules, and each VM with what it has, gains and loses.

    Names of the server are escaped, and the page allows no script but its own.
    """
    environment = Environment(
        loader=PackageLoader(__package__, "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        finalize=_finalized,
    )
    environment.filters["with_commands"] = _with_commands
    style, script = (_file(name) for name in ("page.css", "page.js"))
    hosts = {each.vm.host for coverage in review.coverages for each in coverage.vms}
    return environment.get_template("page.html.jinja").render(
        review=review,
        judged=judged,
        style=Markup(style),  # noqa: S704  # of this package
        style_hash=_hash(style),
        script=Markup(script),  # noqa: S704  # of this package
        script_hash=_hash(script),
        hosts=sorted(filter(None, hosts), key=str.casefold),
        servers=[_server(review, coverage) for coverage in review.coverages],
    )


def _finalized(value: object) -> object:
    if value is None:
        return ""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _with_commands(text: str) -> Markup:
    """A sentence, escaped, with its commands as code."""
    escaped = str(escape(printable(text)))
    return Markup(re.sub("`(pulumi .*?)`", r"<code>\1</code>", escaped))  # noqa: S704


def _file(name: str) -> str:
    return files(__package__).joinpath(name).read_text("utf-8")


def _hash(text: str) -> str:
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"


def _server(review: Review, coverage: Coverage) -> dict[str, Any]:
    labels = coverage.labels
    locations = sorted(labels, key=lambda each: (each.kind != "primary", labels[each].casefold()))
    times = [(each.vm.last_backup_time, each.vm.last_offsite_copy_time) for each in coverage.vms]
    has_times = any(time for both in times for time in both)
    row = partial(_vm, coverage=coverage, locations=locations)
    vms = sorted(coverage.vms, key=lambda each: (each.vm.host or "").casefold())
    by_host = groupby(vms, key=lambda each: each.vm.host or "")
    return {
        "name": coverage.server,
        "source": source_of(coverage),
        "notes": list(review.notes(coverage)),
        "locations": [{"label": labels[each], "kind": each.kind} for each in locations],
        "has_times": has_times,
        "columns": 1 + len(locations) + 2 * has_times + review.is_preview,
        "hosts": [(host, list(map(row, its))) for host, its in by_host],
    }


def _vm(each: VmCoverage, *, coverage: Coverage, locations: Iterable[BackupLocation]) -> _Vm:
    vm = each.vm
    return _Vm(
        label=each.label,
        cells=[_cell(coverage, each, location) for location in locations],
        without_offsite=vm.is_assignable and each.has("offsite") is False,
        last_backup=_time(vm.last_backup_time, vm.last_backup_result, coverage.taken_at),
        last_offsite_copy=_time(
            vm.last_offsite_copy_time, vm.last_offsite_copy_result, coverage.taken_at
        ),
        meaning=meant(*each.meanings),
    )


def _cell(coverage: Coverage, vm: VmCoverage, location: BackupLocation) -> _Cell:
    if location in vm.missing:
        return _Cell("missing", "missing")
    if location in vm.lost:
        return _Cell("lost", "lost")
    if location not in vm.after:
        return _Cell("", "")
    state = words = "gained" if location in vm.gained else "assigned"
    if location in vm.may_lose:
        state, words = "may-be-lost", "may be lost"
    if coverage.is_declared and location in vm.unmanaged:
        words += ", in no resource"
    return _Cell(state, words)


def _time(time: datetime | None, result: str | None, now: datetime) -> str:
    """When something was made, how long ago, and how it ended."""
    if time is None:
        return result or ""
    # The server's time has no zone; days are exact enough.
    days = (now.astimezone().date() - time.date()).days
    ago = "today" if days < 1 else "yesterday" if days == 1 else f"{days:,} days ago"
    return ", ".join(filter(None, [f"{time:%Y-%m-%d} ({ago})", result]))
