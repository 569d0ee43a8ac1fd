"""What an update means for the backups: the locations of each VM, now and afterwards.

Plain values of one server. Where a value is known only during the update, nothing is guessed: what
it may add or remove is kept apart.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from functools import cached_property
from typing import Literal, NamedTuple

from .inventory import Snapshot
from .models import KINDS, BackupLocation, Kind, Pair, VirtualMachine, unique_locations
from .names import location_labels, vm_labels

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
        will_unassign: of a state, the same for the next update: an earlier one could not do it.
        partly_known: what else it assigns.
        not_shown: what else it declares that Pulumi does not show, since it is secret.
        exclusive_vms: the VMs of which the update un-assigns all that the stack does not declare.
        may_be_exclusive_vms: the same, where it depends on a value that only the update knows.
        may_exclude_any_vm: whether it does so for VMs that only the update knows.
        names: what a state or a program calls VMs and locations, by their ids.
    """

    resource: str
    stack: str
    declares: frozenset[Pair] = frozenset()
    assigns: frozenset[Pair] = frozenset()
    unassigns: frozenset[Pair] = frozenset()
    will_unassign: frozenset[Pair] = frozenset()
    partly_known: tuple[PartlyKnown, ...] = ()
    not_shown: tuple[PartlyKnown, ...] = ()
    exclusive_vms: frozenset[str] = frozenset()
    may_be_exclusive_vms: frozenset[str] = frozenset()
    may_exclude_any_vm: bool = False
    names: Mapping[str, str] = field(default_factory=dict)


class Meaning(Enum):
    """What an update means for a VM, the gravest first."""

    LOSES_LAST = "loses-last-location"
    LOSES_LAST_OFFSITE = "loses-last-offsite"
    LOSES_LAST_PRIMARY = "loses-last-primary"
    MAY_LOSE = "may-lose"
    LOSES = "loses"
    SECOND_PRIMARY = "second-primary"
    GAINS_UNKNOWN = "gains-unknown"
    MOVES = "moves"
    GAINS_FIRST = "gains-first-location"
    GAINS_OFFSITE = "gains-offsite"
    GAINS_PRIMARY = "gains-primary"
    GAINS = "gains"


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


class Unlisted(NamedTuple):
    """A pair that resources declare, of which the server does not list a part.

    Attributes:
        vm: the name of its VM, or its ref.
        location: the path of its location, or its id.
        lists_vm: whether the server lists the VM, and not the location.
        is_assigned: whether the update assigns it. If not, the host of the VM may be off.
        resources: the resources that declare it.
    """

    vm: str
    location: str
    lists_vm: bool
    is_assigned: bool
    resources: tuple[str, ...]


@dataclass(frozen=True)
class Coverage:
    """The VMs of one server with their locations, now and after an update.

    Attributes:
        server: what a reader calls the server.
        taken_at: when the inventory was read from the server.
        is_snapshot: whether the inventory is of a file.
        vms: the VMs that can be assigned or have locations, by name.
        unlisted: the pairs that resources declare, of which the server does not list the VM or the
            location.
        unlisted_vms: the VMs of them that the server does not list, as far as resources name them.
        of_unknown_vm: other assignments that are partly known, mostly because only the update knows
            the VM.
        waiting: the VM, the location and the resource of what the next update un-assigns, since an
            earlier one could not.
        adopted: how many pairs the update assigns that the server has already and that nothing
            declared before.
        not_shown: what resources declare that Pulumi does not show, since it is secret.
        is_declared: whether the resources are known. If not, nothing can be called unmanaged.
    """

    server: str
    taken_at: datetime
    is_snapshot: bool
    vms: tuple[VmCoverage, ...]
    unlisted: tuple[Unlisted, ...]
    unlisted_vms: tuple[VirtualMachine, ...]
    of_unknown_vm: tuple[PartlyKnown, ...]
    waiting: tuple[tuple[str, str, str], ...]
    adopted: int
    not_shown: tuple[PartlyKnown, ...]
    is_declared: bool

    @property
    def changed(self) -> list[VmCoverage]:
        """The VMs for which the update means something, those with the gravest meaning first."""
        changed = [each for each in self.vms if each.meanings]
        return sorted(changed, key=lambda each: _ORDER.index(each.meanings[0]))

    @cached_property
    def labels(self) -> dict[BackupLocation, str]:
        """The locations that VMs have or should have, each with a unique label."""
        locations = {each.id: each for vm in self.vms for each in (*vm.now, *vm.after, *vm.missing)}
        labels = location_labels(locations.values())
        return {each: labels[id_] for id_, each in locations.items()}

    @property
    def configured(self) -> list[VmCoverage]:
        """The VMs that VM Backup backs up."""
        return [each for each in self.vms if each.vm.is_assignable]


def cover(
    server: str,
    inventory: Snapshot,
    plans: Iterable[ResourcePlan],
    *,
    is_declared: bool = True,
    is_snapshot: bool = False,
) -> Coverage:
    """What some resources mean for the VMs of a server.

    Args:
        server: what a reader calls the server.
        inventory: what the server holds.
        plans: the resources of all stacks that there are, for this server.
        is_declared: whether these are all that there are.
        is_snapshot: whether the inventory is of a file, and not of the server just now.
    """
    plans = list(plans)
    held: set[Pair] = {(each.vm_ref, each.backup_location_id) for each in inventory.assignments}
    declared_by: dict[Pair, dict[str, None]] = {}  # some are told of in three steps
    for plan in plans:
        for pair in plan.declares:
            declared_by.setdefault(pair, {})[plan.resource] = None
    waiting = {
        pair: plan.resource
        for plan in plans
        for pair in plan.will_unassign
        if pair in held and pair not in declared_by
    }
    declared_by |= {pair: {resource: None} for pair, resource in waiting.items()}
    assigned = {pair for plan in plans for pair in plan.assigns}
    lost, may_lose = _unassigned(plans, held)
    # Two stacks do not know of each other, so it depends on which of them is updated first.
    may_lose |= lost & assigned
    lost -= may_lose
    partly_known = list(dict.fromkeys(each for plan in plans for each in plan.partly_known))
    gains = Counter(each.vm_ref for each in partly_known if each.vm_ref)

    # A VM that is moving may be listed on both hosts: the configured one counts.
    listed = sorted(inventory.virtual_machines, key=lambda vm: vm.is_assignable)
    vms = {vm.ref: vm for vm in listed if vm.ref}
    locations = unique_locations(inventory.backup_locations)
    unlisted = {
        pair for pair in declared_by.keys() - held if pair[0] not in vms or pair[1] not in locations
    }
    after = (held - lost) | (assigned - unlisted)
    missing = declared_by.keys() - after - unlisted - held
    names = {id_: name for plan in plans for id_, name in plan.names.items()}
    names |= {ref: vm.name for ref, vm in vms.items() if vm.name}
    names |= {id_: location.label for id_, location in locations.items()}
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
        is_snapshot=is_snapshot,
        vms=tuple(sorted(covered, key=lambda each: (each.label.casefold(), each.vm.ref))),
        unlisted=tuple(
            Unlisted(
                vm=names.get(vm_ref, vm_ref),
                location=names.get(location_id, location_id),
                lists_vm=vm_ref in vms,
                is_assigned=(vm_ref, location_id) in assigned,
                resources=tuple(declared_by[vm_ref, location_id]),
            )
            for vm_ref, location_id in sorted(unlisted)
        ),
        unlisted_vms=tuple(
            VirtualMachine(ref, names.get(ref))
            for ref in sorted({ref for ref, _ in unlisted} - vms.keys())
        ),
        of_unknown_vm=tuple(each for each in partly_known if each.vm_ref not in vms),
        adopted=len((assigned & held) - before),
        waiting=tuple(
            (names.get(vm_ref, vm_ref), names.get(location_id, location_id), resource)
            for (vm_ref, location_id), resource in sorted(waiting.items())
        ),
        not_shown=tuple(each for plan in plans for each in plan.not_shown),
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
        may_be_any = any(plan.may_exclude_any_vm for plan in own)
        uncertain = {pair for pair in held if may_be_any or pair[0] in may_be_exclusive}
        declared = {pair for plan in own for pair in plan.declares}
        partly_known = {
            (each.vm_ref, each.location_id)
            for plan in own
            for each in (*plan.partly_known, *plan.not_shown)
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
