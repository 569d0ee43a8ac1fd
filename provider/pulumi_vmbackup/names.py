"""Unique, readable labels for VMs and locations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from .models import BackupLocation, VirtualMachine


def vm_labels(vms: Iterable[VirtualMachine]) -> dict[str, str]:
    """A label for each VM, by its ref: its name, with its host where two share it, or its ref."""

    def candidates(ref: str, vm: VirtualMachine) -> list[str]:
        if not vm.name:
            return [ref]
        with_host = f"{vm.name} ({vm.host or ref})"
        return [vm.name, with_host, f"{with_host} ({ref})"]

    return unique({vm.ref: candidates(vm.ref, vm) for vm in vms if vm.ref})


def location_labels(locations: Iterable[BackupLocation]) -> dict[str, str]:
    """A label for each location, by its id: its path, with its id where two share it, or its id."""
    return unique(
        {
            location.id: [location.path, f"{location.path} ({location.id})"]
            if location.path
            else [location.id]
            for location in locations
        }
    )


def unique(
    candidates: Mapping[str, Sequence[str]], *, same: Callable[[str], str] = str
) -> dict[str, str]:
    """One of its candidates for each key, the first that no other key has as well.

    Args:
        candidates: the labels that each key may have, the best first. The last one has to be
            different from all others of its kind.
        same: two labels are the same when this is.
    """
    level = dict.fromkeys(candidates, 0)
    while True:
        chosen = {key: labels[level[key]] for key, labels in candidates.items()}
        counts = Counter(map(same, chosen.values()))
        shared = [
            key
            for key, label in chosen.items()
            if counts[same(label)] > 1 and level[key] < len(candidates[key]) - 1
        ]
        if not shared:
            return chosen
        for key in shared:
            level[key] += 1
