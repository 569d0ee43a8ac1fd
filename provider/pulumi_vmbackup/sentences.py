"""How a review and a policy pack word what an update means and which rules it breaks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from .coverage import Coverage, Meaning, PartlyKnown, VmCoverage
from .models import BackupLocation
from .names import counted
from .rules import Judgement, Verdict

_NAMED = 10

Named = Callable[[str], str]
"""How a name is written in a sentence."""

_MEANINGS = {
    Meaning.LOSES_LAST: "loses its last backup location",
    Meaning.LOSES_LAST_OFFSITE: "loses its last offsite location",
    Meaning.LOSES_LAST_PRIMARY: "loses its last primary location",
    Meaning.MAY_LOSE: "may lose a location: this depends on a value that only `pulumi up` knows",
    Meaning.LOSES: "loses a location",
    Meaning.SECOND_PRIMARY: "gets a second primary location, which the server may refuse",
    Meaning.GAINS_UNKNOWN: "gets a location that only `pulumi up` knows",
    Meaning.MOVES: "moves to another location",
    Meaning.GAINS_FIRST: "gains its first backup location",
    Meaning.GAINS_OFFSITE: "gains an offsite location",
    Meaning.GAINS_PRIMARY: "gains a primary location",
    Meaning.GAINS: "gains a location",
}


def meant(*meanings: Meaning) -> str:
    """What an update means for a VM, in words."""
    return "; ".join(map(_MEANINGS.__getitem__, meanings))


def listed(names: Iterable[str]) -> str:
    """The first names of many, and how many more there are."""
    names = list(names)
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more:,} more" if more > 0 else "")


class LocationNames:
    """What a reader calls the locations of a server: their paths with their kinds."""

    def __init__(self, coverage: Coverage) -> None:
        self._labels = {each.id: label for each, label in coverage.labels.items()}

    def of(self, location: BackupLocation) -> str:
        label = self._labels[location.id]
        return f"{label} ({location.kind})" if location.kind else label

    def of_id(self, location_id: str) -> str:
        return self._labels.get(location_id, location_id)


def judged(judgement: Judgement, named: Named = str) -> str:
    """What became of a rule, as a sentence; ``named`` is how a name is written in it."""
    if judgement.problem:
        return judgement.problem
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
        waits = any(each.waits_for_update for _, each in judgement.unknown)
        why = "only `pulumi up` knows" if waits else "the server does not list a location's kind"
        return (
            f"{rule} may be broken by {_labels(judgement.unknown, named)}: {why}.{ended}{excepted}"
        )
    if judgement.unlisted:
        vms = counted(len(judgement.unlisted), "VM")
        return (
            f"{rule} may be broken by {vms} that the inventory does not list: "
            f"{listed(map(named, judgement.unlisted))}.{ended}{excepted}"
        )
    return f"{rule} is kept.{excepted}"


def _labels(vms: list[tuple[Coverage, VmCoverage]], named: Named) -> str:
    many = len({coverage.server for coverage, _ in vms}) > 1
    labels = listed(
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


def partly_known(coverage: Coverage, named: Named = str) -> Iterator[str]:
    """The resources of which the VM is not known, a sentence for each assignment."""
    names = LocationNames(coverage)
    for each in coverage.of_unknown_vm:
        yield f"{named(each.resource)} assigns {_partly_known(each, names, named)}."
    for each in coverage.not_shown:
        yield f"{named(each.resource)} declares {_partly_known(each, names, named)}."


def _partly_known(each: PartlyKnown, names: LocationNames, named: Named) -> str:
    that = "that is secret" if each.is_secret else "that only `pulumi up` knows"
    if each.vm_ref:
        return f"the VM {each.vm_ref} to a location {that}"
    if each.location_id:
        return f"a VM {that} to {named(names.of_id(each.location_id))}"
    return f"VMs and locations {that.replace('is secret', 'are secret')}"
