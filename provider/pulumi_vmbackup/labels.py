"""What people call VMs and backup locations where a name has to be the only one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from .models import BackupLocation, VirtualMachine


def vm_labels(vms: Iterable[VirtualMachine]) -> dict[str, str]:
    """A label for each VM, by its ref: its name, with its host where two share it, or its ref."""
    known = [vm for vm in vms if vm.ref]
    names = Counter(vm.name for vm in known)
    labels: dict[str, str] = {}
    for vm in known:
        label = vm.name or vm.ref or ""
        if names[vm.name] > 1 and vm.name:
            label = f"{vm.name} ({vm.host or vm.ref})"
        labels[vm.ref or ""] = label
    return _unique(labels)


def location_labels(locations: Iterable[BackupLocation]) -> dict[str, str]:
    """A label for each location, by its id: its path, or its id where it has none of its own."""
    return _unique({location.id: location.path or location.id for location in locations})


def _unique(labels: dict[str, str]) -> dict[str, str]:
    counts = Counter(labels.values())
    return {
        id_: label if counts[label] == 1 else f"{label} ({id_})" for id_, label in labels.items()
    }
