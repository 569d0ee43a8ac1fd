"""The difference between a set's state and its program, as property paths for Pulumi's diff."""

from __future__ import annotations

from collections.abc import Container, Mapping

from ..models import Pair
from .handler import Change, Difference
from .set_values import SetValues, property_path


def set_difference(old: SetValues, new: SetValues, unassigned: Container[Pair]) -> Difference:
    """How the program differs from the state: ids are compared, and labels name the paths.

    Args:
        old: the state.
        new: the program.
        unassigned: the pairs that this run has un-assigned.
    """
    difference = Difference()
    if new.exclusive != old.exclusive:
        difference.paths["exclusive"] = "update"
    if new.declared is None:
        difference.paths["assignments"] = "update"
    else:
        difference.paths |= _changed_paths(old, new)
        for vm_ref, vm in new.vms.items():
            held = old.vms[vm_ref].locations if vm_ref in old.vms else {}
            difference.paths |= {
                property_path(_locations("assignments", vm.label), label): "update"
                for id_, label in vm.locations.items()
                if id_ in held and (vm_ref, id_) in unassigned
            }
        if new.exclusive is not False:  # or not known yet
            difference.paths |= _paths_of_others(old, new)
    return difference


def _changed(old: Mapping[str, str], new: Mapping[str, str | None]) -> dict[str, Change]:
    """The changes between two maps from labels to ids, by label: ids that are new or gone."""
    before, after = {*old.values()}, {*new.values()}
    changes: dict[str, Change] = {}
    for label, id_ in new.items():
        if id_ not in before:
            changes[label] = "update" if label in old else "add"
    for label, id_ in old.items():
        if id_ not in after:
            changes[label] = "update" if label in new else "delete"
    return changes


def _changed_paths(old: SetValues, new: SetValues) -> dict[str, Change]:
    """The property paths where ids differ: of VMs, or of a VM's locations."""
    declared = new.declared or {}
    changes = _changed(
        {vm.label: ref for ref, vm in old.vms.items()},
        {label: vm.ref if vm else None for label, vm in declared.items()},
    )
    paths: dict[str, Change] = {}
    for label, change in changes.items():
        is_new_ref = change == "update" and declared.get(label) is not None
        paths |= _marked("assignments", label, change, ".vmRef" if is_new_ref else "")
    by_label = {vm.label: vm for vm in old.vms.values()}
    for label, vm in declared.items():
        if vm is None or changes.get(label) == "add":
            continue
        before = old.vms[vm.ref] if vm.ref in old.vms else by_label.get(label)
        there = _locations("assignments", label)
        if vm.locations is None:
            paths[there] = "update"
        elif before:
            was_there = _locations("assignments", before.label)
            ids = {each: id_ for id_, each in before.locations.items()}
            for key, change in _changed(ids, vm.locations).items():
                paths |= _marked(was_there if change == "delete" else there, key, change)
    return paths


def _paths_of_others(old: SetValues, new: SetValues) -> dict[str, Change]:
    """The paths of the other locations that an exclusive set will un-assign."""
    paths: dict[str, Change] = {}
    for vm_ref, vm in old.others.items():
        if vm_ref in new.vms:
            there = _locations("otherAssignments", vm.label)
            for location_id, label in vm.locations.items():
                if location_id not in new.vms[vm_ref].locations:
                    paths |= _marked(there, label, "delete")
    return paths


def _locations(parent: str, label: str) -> str:
    return f"{property_path(parent, label)}.backupLocationIds"


def _marked(parent: str, key: str, change: Change, suffix: str = "") -> dict[str, Change]:
    """A changed entry of a map; the map itself if the engine cannot read the entry's path."""
    path = property_path(parent, key)
    return {parent: "update"} if path == parent else {path + suffix: change}
