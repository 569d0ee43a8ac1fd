"""What a review says, for each form of its output."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, NamedTuple

from ..coverage import Coverage, Meaning, VmCoverage, Wanted
from ..names import counted
from ..rules import Exemption, Judgement, Verdict
from ..sentences import LocationNames, Named, listed, meant, partly_known

GRAVEST_FIRST = (Verdict.BROKEN, Verdict.UNKNOWN, Verdict.KEPT)
EXIT_CODES = {Verdict.KEPT: 0, Verdict.UNKNOWN: 1, Verdict.BROKEN: 2}


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
        return meant(*self.meanings)


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
        return next(each for each in GRAVEST_FIRST if each in {*verdicts, Verdict.KEPT})

    def title(self, named: Named = str) -> str:
        """The heading; ``named`` is how a name is written in it."""
        of = f" of {', '.join(map(named, self.stacks))}" if self.stacks else ""
        return f"Backup review{of}" if self.is_preview else f"Backup locations{of}"

    def summary(self) -> Iterator[str]:
        """The counts as sentences."""
        if self.is_preview:
            changed = [each for coverage in self.coverages for each in coverage.changed]
            counts = Counter(meaning for each in changed for meaning in each.meanings)
            yield from (_vms_do(counts[each], meant(each)) for each in Meaning if counts[each])
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
        unlisted = sum(len(each.unlisted_vms) for each in self.coverages)
        if unlisted:
            yield _number(
                unlisted,
                "declared VM is not listed by the server",
                "declared VMs are not listed by the server",
            )
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
        names = LocationNames(coverage)
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
        names = LocationNames(coverage)
        yield from partly_known(coverage, named)
        for each in coverage.unlisted:
            what = "location" if each.lists_vm else "VM"
            then = (
                "`pulumi up` may fail"
                if each.is_assigned or each.lists_vm
                else "its host may be off"
            )
            verb = "assigns" if each.is_assigned else "declares"
            yield (
                f"{listed(map(named, each.resources))} {verb} {named(each.vm)} to "
                f"{named(each.location)}, and the inventory does not list that {what}: {then}."
            )
        for vm_name, location_name, resource in coverage.waiting:
            yield (
                f"{named(vm_name)} is still assigned to {named(location_name)}: {named(resource)} "
                "was replaced, and the next `pulumi up` un-assigns it."
            )
        for vm in coverage.vms:
            if vm.gained and not vm.vm.is_assignable:
                yield f"{named(vm.label)} is not configured in VM Backup: `pulumi up` will fail."
        for vm in coverage.vms:
            for location in vm.missing:
                yield (
                    f"{named(vm.label)} is not assigned to {named(names.of(location))}, though "
                    f"{listed(map(named, vm.declared_by[location.id]))} declares it: somebody "
                    "un-assigned it. `pulumi up --refresh --run-program` assigns it again."
                )

    def unmanaged(self, coverage: Coverage) -> Iterator[tuple[str, list[str]]]:
        """The VMs of a server with the locations that nobody declares."""
        names = LocationNames(coverage)
        for each in coverage.vms if coverage.is_declared else ():
            if each.unmanaged:
                yield each.label, list(map(names.of, each.unmanaged))

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
                    "reason": each.problem or each.reason or None,
                    "broken": [_vm_json(*found) for found in each.broken],
                    "unknown": [_vm_json(*found) for found in each.unknown],
                    "unlisted": each.unlisted,
                    "excepted": [_exempted_json(*found) for found in each.excepted],
                    "ended": [_exempted_json(*found) for found in each.ended],
                }
                for each in self.judgements
            ],
        }


_WANTED: tuple[Wanted, ...] = ("offsite", "any")


def source_of(coverage: Coverage) -> str:
    """Where the inventory of a server is from, and how old it is, as a sentence."""
    time = coverage.taken_at.astimezone(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    if not coverage.is_snapshot:
        return f"The server was asked at {time}."
    days = (datetime.now(timezone.utc) - coverage.taken_at).days
    return f"From a snapshot of {time}, {counted(days, 'day')} old."


def _vms_do(number: int, meaning: str) -> str:
    verb, _, rest = meaning.partition(" ")
    if number == 1:
        return f"1 VM {meaning}."
    return f"{number:,} VMs {verb.removesuffix('s')} {rest.replace('its ', 'their ')}."


def _number(number: int, of_one: str, of_many: str) -> str:
    return f"1 {of_one}." if number == 1 else f"{number:,} {of_many}."


def _vm_json(coverage: Coverage, vm: VmCoverage) -> dict[str, Any]:
    return {"server": coverage.server, "ref": vm.vm.ref, "name": vm.vm.name}


def _exempted_json(coverage: Coverage, vm: VmCoverage, exemption: Exemption) -> dict[str, Any]:
    until = exemption.until and exemption.until.isoformat()
    return {**_vm_json(coverage, vm), "reason": exemption.reason, "until": until}


def _server_json(coverage: Coverage, notes: list[str]) -> dict[str, Any]:
    return {
        "server": coverage.server,
        "inventory_taken_at": coverage.taken_at.isoformat(),
        "is_snapshot": coverage.is_snapshot,
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
            for location in coverage.labels
        },
        "notes": notes,
    }
