"""Unique, readable labels for VMs and locations, and how they are counted."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from .models import BackupLocation, VirtualMachine

_UNC = re.compile(r"[\\/]{2}([^\\/]+)")


def counted(number: int, what: str) -> str:
    """A number with its noun: ``1 VM``, ``2 VMs``."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def vm_labels(vms: Iterable[VirtualMachine]) -> dict[str, str]:
    """A unique label for each VM that can be assigned, by ref.

    That is its name, with its host or ref if names repeat. A replica does not count: it shares the
    name with its VM. A label changes when a VM moves; what is compared are refs.
    """

    def candidates(ref: str, vm: VirtualMachine) -> list[str]:
        if not vm.name:
            return [ref]
        with_host = f"{vm.name} ({vm.host or ref})"
        return [vm.name, with_host, f"{with_host} ({ref})"]

    return unique({vm.ref: candidates(vm.ref, vm) for vm in vms if vm.ref and vm.is_assignable})


def location_labels(locations: Iterable[BackupLocation]) -> dict[str, str]:
    """A unique label for each location, by id: its path, with its id if paths repeat."""
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
    """The first candidate of each key that no other key has too.

    Args:
        candidates: the possible labels of each key, best first. The last one must be different from
            the last ones of all other keys.
        same: labels for which this returns the same text count as the same.
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


# Parts of the names of resources in exported programs


def vm_slugs(vms: Mapping[str, VirtualMachine]) -> dict[str, str]:
    """A part of a name for each VM, by ref: its name, with its host or ref if needed."""

    def candidates(ref: str, vm: VirtualMachine) -> list[str]:
        name, host = _slug(vm.name), _slug(vm.host)
        if not name:
            return [f"vm-{ref[:8]}", f"vm-{ref}"]
        with_host = [f"{name}-{host}"] if host else []
        return [name, *with_host, f"{name}-{ref[:8]}", f"{name}-{ref}"]

    return unique_in_any_case({ref: candidates(ref, vm) for ref, vm in vms.items()})


def location_slugs(locations: Mapping[str, BackupLocation]) -> dict[str, str]:
    """A part of a name for each location, by id: its server or its path, with its id if needed."""

    def candidates(location: BackupLocation) -> list[str]:
        path = _slug(location.path)
        if not path:
            path = location.kind or "location"
            return [f"{path}-{location.id[:8]}", f"{path}-{location.id}"]
        server = _UNC.match(location.path or "")
        short = [_slug(server[1])] if server and _slug(server[1]) else []
        return [*short, path, f"{path}-{location.id[:8]}", f"{path}-{location.id}"]

    return unique_in_any_case({id_: candidates(each) for id_, each in locations.items()})


def unique_in_any_case(candidates: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """:func:`unique`, where names that differ only in case are the same."""
    return unique(candidates, same=folded)


def folded(name: str) -> str:
    """The form in which names are compared regardless of case."""
    return unicodedata.normalize("NFKC", name.casefold())


def _slug(text: str | None) -> str:
    """A text as part of a name: letters, digits, dots and underscores, and dashes for the rest."""
    kept = (
        c if c.isalnum() or c in "._" or unicodedata.category(c).startswith("M") else "-"
        for c in unicodedata.normalize("NFKC", text or "")
    )
    return re.sub("-{2,}", "-", "".join(kept)).strip("-.")
