"""What an update means for the backups: the locations of each VM, now and afterwards.

Plain values of one server. Where a value is known only during the update, nothing is guessed: what
it may add or remove is kept apart.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from functools import cached_property
from typing import Literal

from .inventory import Snapshot
from .models import KINDS, BackupLocation, Kind, Pair, VirtualMachine, unique_locations
from .names import vm_labels

Wanted = Literal["primary", "offsite", "any"]
"""The kind of location that a VM should have; ``any`` for one of either kind."""


@dataclass(frozen=True)
class PartlyKnown:
    """An assignment that an update makes, and that is not wholly known before it.

    Attributes:
        resource: what declares it, as :attr:`ResourcePlan.resource`.
        vm_ref: the ref of its VM; None if only the update knows it.
        location_id: the id of its location; None if only the update knows it.
        is_secret: whether an id is not shown because the program marks it as secret.
    """

    resource: str
    vm_ref: str | None
    location_id: str | None
    is_secret: bool = False


@dataclass(frozen=True)
class ResourcePlan:
    """What an update means for the assignments that one resource declares.

    Attributes:
        resource: the resource, as a reader knows it.
        stack: the stack that it belongs to.
        declares: the pairs that it declares after the update.
        assigns: those of them that the update assigns, whether or not the server has them.
        unassigns: the pairs that the update un-assigns, unless the stack declares them.
        partly_known: what else it assigns.
        exclusive_vms: the VMs of which the update un-assigns all that the stack does not declare.
        may_be_exclusive_vms: the same, where it depends on a value that only the update knows.
    """

    resource: str
    stack: str
    declares: frozenset[Pair] = frozenset()
    assigns: frozenset[Pair] = frozenset()
    unassigns: frozenset[Pair] = frozenset()
    partly_known: tuple[PartlyKnown, ...] = ()
    exclusive_vms: frozenset[str] = frozenset()
    may_be_exclusive_vms: frozenset[str] = frozenset()


class Meaning(Enum):
    """What an update means for a VM, the gravest first."""

    LOSES_LAST = "loses its last backup location"
    LOSES_LAST_OFFSITE = "loses its last offsite location"
    LOSES_LAST_PRIMARY = "loses its last primary location"
    MAY_LOSE = "may lose a location: this depends on a value that only `pulumi up` knows"
    LOSES = "loses a location"
    SECOND_PRIMARY = "gets a second primary location, which the server may refuse"
    GAINS_UNKNOWN = "gets a location that only `pulumi up` knows"
    MOVES = "moves to another location"
    GAINS_FIRST = "gains its first backup location"
    GAINS_OFFSITE = "gains an offsite location"
    GAINS_PRIMARY = "gains a primary location"
    GAINS = "gains a location"


_ORDER = list(Meaning)
_LOSES_LAST: dict[Kind, Meaning] = {
    "offsite": Meaning.LOSES_LAST_OFFSITE,
    "primary": Meaning.LOSES_LAST_PRIMARY,
}


@dataclass(frozen=True)
class VmCoverage:
    """The locations of one VM, now and after the update.

    Attributes:
        vm: the VM as the server lists it.
        label: its name, with its host or ref if the name is not unique.
        now: the locations that it is assigned to.
        after: those that it is assigned to afterwards, as far as that is known.
        may_lose: those of ``after`` that it may lose; only the update knows.
        both: those that the server lists as primary and as offsite. Of another location without a
            kind, it is not known which one it is.
        gains_unknown: how many other locations the update assigns that only the update knows.
        missing: locations that a resource declares, that the server does not have, and that the
            update does not assign: somebody has un-assigned the VM.
        declared_by: the resources that declare a location of the VM after the update, by its id.
    """

    vm: VirtualMachine
    label: str
    now: tuple[BackupLocation, ...]
    after: tuple[BackupLocation, ...]
    may_lose: tuple[BackupLocation, ...]
    both: tuple[BackupLocation, ...]
    gains_unknown: int
    missing: tuple[BackupLocation, ...]
    declared_by: dict[str, tuple[str, ...]]

    @property
    def gained(self) -> tuple[BackupLocation, ...]:
        """The locations that the update assigns and the server does not have now."""
        return tuple(each for each in self.after if each not in self.now)

    @property
    def lost(self) -> tuple[BackupLocation, ...]:
        """The locations that the update un-assigns for sure."""
        return tuple(each for each in self.now if each not in self.after)

    @property
    def unmanaged(self) -> tuple[BackupLocation, ...]:
        """The locations that it has afterwards, and that no resource declares."""
        return tuple(each for each in self.after if each.id not in self.declared_by)

    def has(self, wanted: Wanted) -> bool | None:
        """Whether it has a location of a kind after the update; None if that is not known."""
        certain = {*self.after} - {*self.may_lose}
        if any(wanted == "any" or each.kind == wanted or each in self.both for each in certain):
            return True
        may = any(wanted in ("any", each.kind) or each.kind is None for each in self.after)
        return None if may or self.gains_unknown else False

    def had(self, wanted: Wanted) -> bool:
        """Whether it has a location of a kind now, as far as that is known."""
        return _any(self.now, wanted)

    @property
    def waits_for_update(self) -> bool:
        """Whether some of its locations depend on a value that only the update knows."""
        return bool(self.gains_unknown or self.may_lose)

    @cached_property
    def meanings(self) -> tuple[Meaning, ...]:
        """What the update means for the VM, the gravest first; empty if nothing changes."""
        found: set[Meaning] = set()
        if self.lost:
            found.add(self._loss())
        if self.may_lose:
            found.add(Meaning.MAY_LOSE)
        if self.gains_unknown:
            found.add(Meaning.GAINS_UNKNOWN)
        if self.gained:
            found |= self._gains() or (set() if Meaning.MOVES in found else {Meaning.GAINS})
        return tuple(sorted(found, key=_ORDER.index))

    def _loss(self) -> Meaning:
        if not self.gains_unknown:
            if not self.after:
                return Meaning.LOSES_LAST
            for kind, meaning in _LOSES_LAST.items():
                if self.had(kind) and not _any(self.after, kind):
                    return meaning
        kinds = {each.kind for each in self.gained}
        return Meaning.MOVES if all(each.kind in kinds for each in self.lost) else Meaning.LOSES

    def _gains(self) -> set[Meaning]:
        found: set[Meaning] = set()
        if not self.now:
            found.add(Meaning.GAINS_FIRST)
        if _any(self.gained, "offsite") and not self.had("offsite"):
            found.add(Meaning.GAINS_OFFSITE)
        if _any(self.gained, "primary"):
            if not self.had("primary"):
                found.add(Meaning.GAINS_PRIMARY)
            if sum(each.kind == "primary" for each in self.after) > 1:
                found.add(Meaning.SECOND_PRIMARY)
        return found


@dataclass(frozen=True)
class Coverage:
    """The VMs of one server with their locations, now and after an update.

    Attributes:
        server: what a reader calls the server.
        taken_at: when the inventory was read from the server.
        vms: the VMs that can be assigned or have locations, by name.
        unlisted: pairs that resources declare, of which the server does not list the VM or the
            location, each with the resources.
        of_unknown_vm: other assignments that are partly known, mostly because only the update knows
            the VM.
        adopted: how many pairs the update assigns that the server has already and that nothing
            declared before.
        is_declared: whether the resources are known. If not, nothing can be called unmanaged.
    """

    server: str
    taken_at: datetime
    vms: tuple[VmCoverage, ...]
    unlisted: tuple[tuple[Pair, tuple[str, ...]], ...]
    of_unknown_vm: tuple[PartlyKnown, ...]
    adopted: int
    is_declared: bool

    @property
    def changed(self) -> list[VmCoverage]:
        """The VMs for which the update means something, those with the gravest meaning first."""
        changed = [each for each in self.vms if each.meanings]
        return sorted(changed, key=lambda each: _ORDER.index(each.meanings[0]))

    @property
    def configured(self) -> list[VmCoverage]:
        """The VMs that VM Backup backs up."""
        return [each for each in self.vms if each.vm.is_assignable]


def cover(
    server: str, inventory: Snapshot, plans: Iterable[ResourcePlan], *, is_declared: bool = True
) -> Coverage:
    """What some resources mean for the VMs of a server.

    Args:
        server: what a reader calls the server.
        inventory: what the server holds.
        plans: the resources of all stacks that there are, for this server.
        is_declared: whether these are all that there are.
    """
    plans = list(plans)
    held: set[Pair] = {(each.vm_ref, each.backup_location_id) for each in inventory.assignments}
    declared_by: dict[Pair, list[str]] = {}
    for plan in plans:
        for pair in plan.declares:
            declared_by.setdefault(pair, []).append(plan.resource)
    assigned = {pair for plan in plans for pair in plan.assigns}
    lost, may_lose = _unassigned(plans, held)
    # Two stacks do not know of each other, so it depends on which of them is updated first.
    may_lose |= lost & assigned
    lost -= may_lose
    partly_known = [each for plan in plans for each in plan.partly_known]
    gains = Counter(each.vm_ref for each in partly_known if each.vm_ref)

    vms = {vm.ref: vm for vm in reversed(inventory.virtual_machines) if vm.ref}
    locations = unique_locations(inventory.backup_locations)
    unlisted = {
        pair: tuple(resources)
        for pair, resources in sorted(declared_by.items())
        if pair not in held and (pair[0] not in vms or pair[1] not in locations)
    }
    after = (held - lost) | (assigned - unlisted.keys())
    missing = declared_by.keys() - after - unlisted.keys()
    now, then, uncertain = map(_by_vm, (held, after, may_lose))
    absent, declared = map(_by_vm, (missing, declared_by))
    labels = vm_labels(vms.values())

    def located(ids: Iterable[str]) -> tuple[BackupLocation, ...]:
        found = [locations.get(each) or BackupLocation(each, None, None) for each in ids]
        return tuple(sorted(found, key=_location_order))

    covered = [
        VmCoverage(
            vm=vm,
            label=labels.get(ref) or vm.name or ref,
            now=located(now[ref]),
            after=located(then[ref]),
            may_lose=located(uncertain[ref]),
            both=located(
                each for each in then[ref] if each in locations and not locations[each].kind
            ),
            gains_unknown=gains[ref],
            missing=located(absent[ref]),
            declared_by={each: tuple(declared_by[ref, each]) for each in declared[ref]},
        )
        for ref, vm in vms.items()
        if vm.is_assignable or gains[ref] or now[ref] or then[ref] or declared[ref]
    ]
    before = {pair for plan in plans for pair in (plan.declares - plan.assigns) | plan.unassigns}
    return Coverage(
        server=server,
        taken_at=inventory.taken_at,
        vms=tuple(sorted(covered, key=lambda each: (each.label.casefold(), each.vm.ref))),
        unlisted=tuple(unlisted.items()),
        of_unknown_vm=tuple(each for each in partly_known if each.vm_ref not in vms),
        adopted=len((assigned & held) - before),
        is_declared=is_declared,
    )


def _unassigned(plans: list[ResourcePlan], held: set[Pair]) -> tuple[set[Pair], set[Pair]]:
    """The pairs on the server that the update un-assigns, and those that it may un-assign."""
    lost: set[Pair] = set()
    may_lose: set[Pair] = set()
    for stack in {plan.stack for plan in plans}:
        own = [plan for plan in plans if plan.stack == stack]
        exclusive = {ref for plan in own for ref in plan.exclusive_vms}
        may_be_exclusive = {ref for plan in own for ref in plan.may_be_exclusive_vms}
        unwanted = {pair for plan in own for pair in plan.unassigns}
        unwanted |= {pair for pair in held if pair[0] in exclusive}
        uncertain = {pair for pair in held if pair[0] in may_be_exclusive}
        declared = {pair for plan in own for pair in plan.declares}
        partly_known = {
            (each.vm_ref, each.location_id) for plan in own for each in plan.partly_known
        }
        # One that turns out to be declared stays.
        uncertain -= unwanted
        uncertain |= {pair for pair in unwanted if not partly_known.isdisjoint(_forms(pair))}
        lost |= (unwanted - uncertain - declared) & held
        may_lose |= (uncertain - declared) & held
    return lost, may_lose


def _forms(pair: Pair) -> list[tuple[str | None, str | None]]:
    """The partly known assignments that may turn out to be a pair."""
    vm_ref, location_id = pair
    return [pair, (vm_ref, None), (None, location_id), (None, None)]


def _by_vm(pairs: Iterable[Pair]) -> defaultdict[str, list[str]]:
    locations: defaultdict[str, list[str]] = defaultdict(list)
    for vm_ref, location_id in pairs:
        locations[vm_ref].append(location_id)
    return locations


def _any(locations: Iterable[BackupLocation], wanted: Wanted) -> bool:
    """Whether one is of a kind, or may be: the server does not tell the kind of each."""
    return any(wanted in ("any", each.kind) or each.kind is None for each in locations)


def _location_order(location: BackupLocation) -> tuple[int, str, str]:
    kind = KINDS.index(location.kind) if location.kind else len(KINDS)
    return kind, location.label.casefold(), location.id
