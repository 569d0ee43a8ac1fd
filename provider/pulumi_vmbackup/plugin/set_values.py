"""The properties of a set as values, parsed once on input and rendered once on output.

A property that a preview does not know yet is None.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple

from pulumi.runtime import rpc

from ..errors import ArgumentError, Hint
from ..models import Pair, normalize_guid, shown
from ..states import HOW_TO_CORRECT, time_of
from .handler import Failure, Properties, is_unknown
from .wording import worded


class DeclaredVm(NamedTuple):
    """A VM of a set with its locations, as far as known.

    Attributes:
        ref: its ref.
        locations: the ids of its locations, by label.
        host: the name of its host, for warnings.
    """

    ref: str | None
    locations: Mapping[str, str | None] | None
    host: str | None = None


class LabelledVm(NamedTuple):
    """The label of a VM, the labels of its locations by id, and the name of its host."""

    label: str
    locations: dict[str, str]
    host: str | None = None


Vms = dict[str, LabelledVm]
"""VMs by ref."""


@dataclass(frozen=True)
class SetValues:
    """A set as its program declares it, or as its state holds it.

    Attributes:
        declared: the VMs by label; None for one of which nothing is known.
        exclusive: whether to un-assign all other locations of the VMs.
        others: in a state, the other locations that the last refresh of an exclusive set found.
        assigned_at: in a state, when something was last assigned, as ISO 8601 in UTC.
    """

    declared: Mapping[str, DeclaredVm | None] | None
    exclusive: bool | None
    others: Vms = field(default_factory=dict)
    assigned_at: str | None = None

    @cached_property
    def vms(self) -> Vms:
        """The VMs and locations that are known."""
        vms: Vms = {}
        # Sorted by label: the protocol's maps have no order.
        for label, vm in sorted((self.declared or {}).items()):
            if vm and vm.ref:
                known = {id_: each for each, id_ in sorted((vm.locations or {}).items()) if id_}
                vms[vm.ref] = LabelledVm(label, known, vm.host)
        return vms

    @cached_property
    def known_vms(self) -> Vms:
        """The VMs whose ref and locations are all known."""
        declared = (self.declared or {}).values()
        known = {
            vm.ref
            for vm in declared
            if vm and vm.locations is not None and None not in vm.locations.values()
        }
        return {vm_ref: vm for vm_ref, vm in self.vms.items() if vm_ref in known}

    @property
    def inputs(self) -> Properties:
        """The input properties of the set."""
        return {
            "assignments": rpc.UNKNOWN
            if self.declared is None
            else {label: _rendered(vm) for label, vm in self.declared.items()},
            "exclusive": rpc.UNKNOWN if self.exclusive is None else self.exclusive,
        }

    def only(self, pairs: Collection[Pair]) -> SetValues:
        """The same VMs, with only the locations that are in ``pairs``."""
        declared = {
            label: vm._replace(
                locations={
                    each: id_
                    for each, id_ in (vm.locations or {}).items()
                    if (vm.ref, id_) in pairs
                }
            )
            for label, vm in (self.declared or {}).items()
            if vm
        }
        return replace(self, declared=declared)

    def outputs_of(self, pairs: Collection[Pair], *, named: Vms | None = None) -> Properties:
        """The properties of a state in which some pairs are assigned.

        Args:
            pairs: the assigned pairs; VMs of the set without any are included too.
            named: the labels of all VMs and locations of the pairs; None for the set's own.
        """
        outputs: Properties = {
            "assignments": entries_of(named or self.vms, pairs, listed=self.vms),
            "exclusive": self.exclusive,
        }
        if others := entries_of(self.others, pairs_of(self.others)):
            outputs["otherAssignments"] = others
        if self.assigned_at:
            outputs["assignedAt"] = self.assigned_at
        return outputs


NOTHING = SetValues(declared={}, exclusive=False)


def of_state(properties: Properties) -> SetValues:
    """The values of a state, or of the inputs of a checked program.

    Raises:
        ArgumentError: somebody has edited the state, and a value in it cannot be used.
    """
    values, failures = check(properties)
    others, wrong = _checked(properties.get("otherAssignments") or {}, "otherAssignments")
    for path, reason in (*failures, *wrong):
        raise ArgumentError(f"The property {path} of the set's state: {reason} {HOW_TO_CORRECT}")
    return replace(
        values,
        others=SetValues(others, exclusive=False).vms,
        assigned_at=time_of(properties.get("assignedAt")),
    )


def _rendered(vm: DeclaredVm | None) -> Any:
    if vm is None:
        return rpc.UNKNOWN
    return _entry(
        vm.ref or rpc.UNKNOWN,
        rpc.UNKNOWN
        if vm.locations is None
        else {label: id_ or rpc.UNKNOWN for label, id_ in vm.locations.items()},
        vm.host,
    )


def _entry(ref: str, location_ids: object, host: str | None) -> Properties:
    entry = {"vmRef": ref, "backupLocationIds": location_ids}
    return {**entry, "host": host} if host else entry


def check(properties: Properties) -> tuple[SetValues, list[Failure]]:
    """The values of a program with normalized ids, and what is wrong with them."""
    failures: list[Failure] = []
    exclusive = properties.get("exclusive")
    if not isinstance(exclusive, bool) and exclusive is not None and not is_unknown(exclusive):
        failures.append(
            Failure("exclusive", f"exclusive is {shown(exclusive)}: use true or false.")
        )
    declared, wrong = _checked(properties.get("assignments"), "assignments")
    if is_unknown(exclusive):
        return SetValues(declared, None), failures + wrong
    return SetValues(declared, bool(exclusive)), failures + wrong


def _checked(value: object, name: str) -> tuple[dict[str, DeclaredVm | None] | None, list[Failure]]:
    if is_unknown(value):
        return None, []
    if not isinstance(value, dict):
        return {}, [Failure(name, f"{name} is {shown(value)}: give a map of VMs.")]
    failures: list[Failure] = []
    refs: dict[str, object] = {}
    locations: dict[str, Mapping[str, str | None] | None] = {}
    hosts: dict[str, str | None] = {}
    for label, vm in sorted(value.items()):  # the protocol's maps have no order
        if is_unknown(vm):
            continue
        of_vm = vm.get("backupLocationIds") if isinstance(vm, dict) else None
        path = property_path(name, label)
        if is_unknown(of_vm):
            locations[label] = None
        elif isinstance(of_vm, dict):
            ids, wrong = _guids(
                f"{path}.backupLocationIds", of_vm, f"the VM {label!r}", Hint.FIND_LOCATION_ID
            )
            locations[label] = ids
            failures += wrong
        else:
            shape = "{vmRef: ..., backupLocationIds: {...}}"
            failures.append(Failure(path, f"the VM {label!r} is not of the form {shape}."))
            continue
        refs[label] = vm.get("vmRef")
        hosts[label], wrong = _host(path, label, vm.get("host"))
        failures += wrong
    known, wrong = _guids(name, refs, "the set", Hint.FIND_VM_REF, ".vmRef")
    declared = {
        label: DeclaredVm(known[label], locations[label], hosts[label]) if label in known else None
        for label in sorted(value)
    }
    return declared, failures + wrong


def _host(path: str, label: str, host: object) -> tuple[str | None, list[Failure]]:
    if host is None or is_unknown(host):
        return None, []
    if isinstance(host, str):
        return host or None, []
    reason = f"the host of the VM {label!r} is {shown(host)}: give its name as text."
    return None, [Failure(f"{path}.host", reason)]


def _guids(
    parent: str, values: Mapping[str, object], of: str, hint: Hint, suffix: str = ""
) -> tuple[dict[str, str | None], list[Failure]]:
    """The GUIDs by label, and a failure for any that is invalid or repeated."""
    found: dict[str, str | None] = {}
    failures: list[Failure] = []
    labels: dict[str, str] = {}
    for label, value in sorted(values.items()):
        path = property_path(parent, label) + suffix
        found[label] = None
        if is_unknown(value):
            continue
        try:
            guid = found[label] = normalize_guid(value, hint)
        except ArgumentError as error:
            failures.append(Failure(path, worded(error)))
            continue
        first = labels.setdefault(guid, label)
        if first != label:
            reason = f"{first!r} and {label!r} of {of} are both {guid}: remove one."
            failures.append(Failure(path, reason))
    return found, failures


def pairs_of(vms: Vms) -> list[Pair]:
    """All pairs of some VMs and their locations."""
    return [(vm_ref, location_id) for vm_ref, vm in vms.items() for location_id in vm.locations]


def merged(*parts: Vms) -> Vms:
    """All VMs and locations; if labels differ, the last one wins."""
    result: Vms = {}
    for vms in parts:
        for vm_ref, vm in vms.items():
            before = result.get(vm_ref, vm)
            locations = {**before.locations, **vm.locations}
            result[vm_ref] = LabelledVm(vm.label, locations, vm.host or before.host)
    return result


def chosen(vms: Vms, pairs: Collection[Pair]) -> Vms:
    """The VMs with only the locations that are in ``pairs``; VMs without any are left out."""
    result: Vms = {}
    for vm_ref, vm in vms.items():
        locations = {id_: each for id_, each in vm.locations.items() if (vm_ref, id_) in pairs}
        if locations:
            result[vm_ref] = vm._replace(locations=locations)
    return result


def entries_of(vms: Vms, pairs: Collection[Pair], listed: Iterable[str] = ()) -> Properties:
    """The output for some pairs: the VMs that have one, and those in ``listed``."""
    entries: Properties = {}
    for vm_ref, vm in vms.items():
        ids: dict[str, str] = {}
        for id_, label in vm.locations.items():
            if (vm_ref, id_) in pairs:
                ids[label if label not in ids else id_] = id_
        if ids or vm_ref in listed:
            label = vm.label if vm.label not in entries else vm_ref
            entries[label] = _entry(vm_ref, ids, vm.host)
    return entries


def property_path(parent: str, key: str) -> str:
    """The property path of an entry; the map's path if the engine cannot read the entry's.

    Between quotation marks, the engine knows only the escape of a quotation mark, so a key cannot
    end with a backslash. Without quotation marks, a key ends at a dot or a bracket.
    """
    if not key.endswith("\\"):
        return f'{parent}["{key.replace(chr(34), chr(92) + chr(34))}"]'
    return parent if set(key) & set(".[") else f"{parent}.{key}"
