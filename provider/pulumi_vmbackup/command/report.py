"""What a review says, for each form of its output."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timezone
from typing import Any, NamedTuple

from ..coverage import Coverage, Meaning, PartlyKnown, VmCoverage, Wanted
from ..models import BackupLocation
from ..names import location_labels
from ..rules import Judgement, Verdict
from .output import counted

EXIT_CODES = {Verdict.KEPT: 0, Verdict.UNKNOWN: 1, Verdict.BROKEN: 2}
_NAMED = 10

Named = Callable[[str], str]
"""How a name is written in a sentence."""


class Row(NamedTuple):
    """A VM that changes, in a reader's words.

    Attributes:
        vm: its label.
        host: the name of its host; empty if the server gives none.
        now: its locations.
        after: those that it has afterwards, as far as that is known.
        unknown: how many more of them only the update knows; empty for none.
        meanings: what the update means for it, the gravest first.
    """

    vm: str
    host: str
    now: list[str]
    after: list[str]
    unknown: str
    meanings: tuple[Meaning, ...]

    @property
    def meaning(self) -> str:
        """What the update means for it."""
        return "; ".join(each.value for each in self.meanings)


@dataclass(frozen=True)
class Review:
    """What an update, or the present state, means for the backups.

    Attributes:
        stacks: the stacks that were reviewed, with their projects.
        is_preview: whether there is an update.
        coverages: the VMs, by server.
        judgements: what became of the rules.
    """

    stacks: tuple[str, ...]
    is_preview: bool
    coverages: tuple[Coverage, ...]
    judgements: tuple[Judgement, ...]

    @property
    def verdict(self) -> Verdict:
        """That of all rules together."""
        verdicts = {each.verdict for each in self.judgements}
        return next(each for each in _GRAVEST_FIRST if each in {*verdicts, Verdict.KEPT})

    def title(self, named: Named = str) -> str:
        """The heading; ``named`` is how a name is written in it."""
        of = f" of {', '.join(map(named, self.stacks))}" if self.stacks else ""
        return f"Backup review{of}" if self.is_preview else f"Backup locations{of}"

    def summary(self) -> Iterator[str]:
        """The counts as sentences."""
        if self.is_preview:
            changed = [each for coverage in self.coverages for each in coverage.changed]
            counts = Counter(meaning for each in changed for meaning in each.meanings)
            yield from (_vms_do(counts[each], each.value) for each in Meaning if counts[each])
            if not changed and not any(each.of_unknown_vm for each in self.coverages):
                yield "No VM gains or loses a backup location."
            if adopted := sum(each.adopted for each in self.coverages):
                yield _number(
                    adopted,
                    "assignment exists already and becomes managed",
                    "assignments exist already and become managed",
                )
        vms = [each for coverage in self.coverages for each in coverage.configured]
        yield f"{'; '.join(self._have(each, vms) for each in _WANTED)}."
        missing = sum(len(each.missing) for coverage in self.coverages for each in coverage.vms)
        if missing:
            yield _number(
                missing,
                "declared assignment is not on the server",
                "declared assignments are not on the server",
            )
        unmanaged = sum(len(each.unmanaged) for each in self._declared_vms())
        if unmanaged:
            yield _number(
                unmanaged,
                "assignment is on the server and in no resource",
                "assignments are on the server and in no resource",
            )

    def _have(self, wanted: Wanted, vms: list[VmCoverage]) -> str:
        words = "an offsite location" if wanted == "offsite" else "any location"
        after = Counter(each.has(wanted) for each in vms)
        unknown = f" ({after[None]:,} not known yet)" if after[None] else ""
        if not self.is_preview:
            return f"{after[True]:,} of {len(vms):,} VMs have {words}{unknown}"
        now = sum(each.had(wanted) for each in vms)
        return f"{after[True]:,} of {len(vms):,} VMs have {words} afterwards{unknown}, {now:,} now"

    def _declared_vms(self) -> Iterator[VmCoverage]:
        for coverage in self.coverages:
            if coverage.is_declared:
                yield from coverage.vms

    def rows(self, coverage: Coverage) -> Iterator[Row]:
        """The VMs of a server that change, the gravest change first."""
        names = _Names(coverage)
        for each in coverage.changed:
            may_lose = {*each.may_lose}
            after = [
                names.of(location) + (" (may be removed)" if location in may_lose else "")
                for location in each.after
            ]
            yield Row(
                vm=each.label,
                host=each.vm.host or "",
                now=[names.of(location) for location in each.now],
                after=after,
                unknown=f"{each.gains_unknown} that only `pulumi up` knows"
                if each.gains_unknown
                else "",
                meanings=each.meanings,
            )

    def notes(self, coverage: Coverage, named: Named = str) -> Iterator[str]:
        """What else a reviewer has to know about a server, as sentences.

        Args:
            coverage: that of the server.
            named: how a name is written in a sentence.
        """
        names = _Names(coverage)
        for each in coverage.of_unknown_vm:
            yield f"{named(each.resource)} {_partly_known(each, names, named)}."
        for (vm_ref, location_id), resources in coverage.unlisted:
            yield (
                f"{_listed(map(named, resources))} assigns VM {vm_ref} to backup location "
                f"{location_id}, and the inventory does not list both: `pulumi up` may fail."
            )
        for vm in coverage.vms:
            for location in vm.missing:
                yield (
                    f"{named(vm.label)} is not assigned to {named(names.of(location))}, though "
                    f"{_listed(map(named, vm.declared_by[location.id]))} declares it: somebody "
                    "un-assigned it. `pulumi up --refresh --run-program` assigns it again."
                )

    def unmanaged(self, coverage: Coverage) -> Iterator[tuple[str, str]]:
        """The VMs of a server with the locations that nobody declares."""
        names = _Names(coverage)
        for each in coverage.vms if coverage.is_declared else ():
            if each.unmanaged:
                yield each.label, ", ".join(map(names.of, each.unmanaged))

    def json(self) -> dict[str, Any]:
        """All of it, for programs."""
        return {
            "stacks": list(self.stacks),
            "is_preview": self.is_preview,
            "verdict": self.verdict.value,
            "summary": list(self.summary()),
            "servers": [_server_json(each, list(self.notes(each))) for each in self.coverages],
            "rules": [
                {
                    "rule": each.rule,
                    "verdict": each.verdict.value,
                    "reason": each.reason or None,
                    "broken": [vm.vm.ref for _, vm in each.broken],
                    "unknown": [vm.vm.ref for _, vm in each.unknown],
                    "excepted": [
                        {"ref": vm.vm.ref, "reason": exemption.reason}
                        for _, vm, exemption in each.excepted
                    ],
                }
                for each in self.judgements
            ],
        }


_GRAVEST_FIRST = (Verdict.BROKEN, Verdict.UNKNOWN, Verdict.KEPT)
_WANTED: tuple[Wanted, ...] = ("offsite", "any")


class _Names:
    """What a reader calls the locations of a server: their paths with their kinds."""

    def __init__(self, coverage: Coverage) -> None:
        self._labels = {each.id: label for each, label in locations_of(coverage).items()}

    def of(self, location: BackupLocation) -> str:
        label = self._labels[location.id]
        return f"{label} ({location.kind})" if location.kind else label

    def of_id(self, location_id: str) -> str:
        return self._labels.get(location_id, location_id)


def locations_of(coverage: Coverage) -> dict[BackupLocation, str]:
    """The locations that VMs of a server have or should have, with their labels."""
    locations = {each.id: each for vm in coverage.vms for each in (*vm.now, *vm.after, *vm.missing)}
    labels = location_labels(locations.values())
    return {each: labels[id_] for id_, each in locations.items()}


def judged(judgement: Judgement, named: Named = str) -> str:
    """What became of a rule, as a sentence; ``named`` is how a name is written in it."""
    rule = named(judgement.rule)
    if judgement.reason:
        verb = {Verdict.KEPT: "is kept", Verdict.BROKEN: "is broken"}.get(
            judgement.verdict, "may be broken"
        )
        return f"{rule} {verb}: {judgement.reason}."
    excepted = f" {counted(len(judgement.excepted), 'VM')} excepted." if judgement.excepted else ""
    ended = _ended(judgement)
    if judgement.broken:
        return f"{rule} is broken by {_labels(judgement.broken, named)}.{ended}{excepted}"
    if judgement.unknown:
        return (
            f"{rule} may be broken by {_labels(judgement.unknown, named)}: only `pulumi "
            f"up` knows.{ended}{excepted}"
        )
    return f"{rule} is kept.{excepted}"


def _listed(names: Iterable[str]) -> str:
    """The first names of many, and how many more there are."""
    names = list(names)
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more:,} more" if more > 0 else "")


def age_of(coverage: Coverage) -> str:
    """When the inventory of a server was read."""
    return coverage.taken_at.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def _labels(vms: list[tuple[Coverage, VmCoverage]], named: Named) -> str:
    many = len({coverage.server for coverage, _ in vms}) > 1
    labels = _listed(
        f"{named(each.label)} at {named(coverage.server)}" if many else named(each.label)
        for coverage, each in vms
    )
    return f"{counted(len(vms), 'VM')}: {labels}"


def _ended(judgement: Judgement) -> str:
    ended = {exemption.line: exemption for _, _, exemption in judgement.ended}
    return "".join(
        f" The exception in line {line} held until {exemption.until}."
        for line, exemption in sorted(ended.items())
    )


def _vms_do(number: int, meaning: str) -> str:
    verb, _, rest = meaning.partition(" ")
    if number == 1:
        return f"1 VM {meaning}."
    return f"{number:,} VMs {verb.removesuffix('s')} {rest.replace('its ', 'their ')}."


def _number(number: int, of_one: str, of_many: str) -> str:
    return f"1 {of_one}." if number == 1 else f"{number:,} {of_many}."


def _partly_known(each: PartlyKnown, names: _Names, named: Named) -> str:
    why = "is a secret" if each.is_secret else "only `pulumi up` knows"
    if each.vm_ref:
        return (
            f"assigns VM {each.vm_ref}, which the inventory does not list, to a location that {why}"
        )
    if each.location_id:
        return f"assigns a VM that {why} to {named(names.of_id(each.location_id))}"
    return f"assigns VMs and locations that {why}"


def _server_json(coverage: Coverage, notes: list[str]) -> dict[str, Any]:
    return {
        "server": coverage.server,
        "inventory_taken_at": coverage.taken_at.isoformat(),
        "vms": [
            {
                "ref": each.vm.ref,
                "name": each.vm.name,
                "host": each.vm.host,
                "configured": each.vm.configured,
                "now": [location.id for location in each.now],
                "after": [location.id for location in each.after],
                "may_lose": [location.id for location in each.may_lose],
                "gains_unknown": each.gains_unknown,
                "missing": [location.id for location in each.missing],
                "unmanaged": [location.id for location in each.unmanaged]
                if coverage.is_declared
                else None,
                "declared_by": {key: list(value) for key, value in each.declared_by.items()},
                "meanings": [meaning.value for meaning in each.meanings],
            }
            for each in coverage.vms
        ],
        "backup_locations": {
            location.id: {"path": location.path, "kind": location.kind}
            for location in locations_of(coverage)
        },
        "notes": notes,
    }
