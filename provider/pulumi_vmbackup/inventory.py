"""What a VM Backup server holds, and the snapshot file of it that previews can read."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from .errors import ArgumentError, SettingsError
from .files import reason_of, text_of
from .models import KINDS, NO_GUID, Assignment, BackupLocation, VirtualMachine, normalize_guid

_FORMAT = "pulumi-vmbackup inventory"
_VERSION = 1
# That of a damaged one too, as after a merge.
_BEGINNING = re.compile(rf'\s*{{\s*"format"\s*:\s*"{_FORMAT}"')
# Without the fields that a backup changes, so that the file changes only with the inventory.
_VM_KEYS = ("ref", "name", "host", "configured", "hypervisor_uuid")
_LOCATION_KEYS = ("id", "path", "kind")
_ASSIGNMENT_KEYS = ("vm_ref", "backup_location_id")


@dataclass(frozen=True)
class Snapshot:
    """The VMs, backup locations and assignments of one server at one time.

    Attributes:
        virtual_machines: all VMs that the server sees.
        backup_locations: all locations, each with its kind.
        assignments: which VM goes to which location.
        taken_at: when it was read from the server, in UTC.
    """

    virtual_machines: tuple[VirtualMachine, ...]
    backup_locations: tuple[BackupLocation, ...]
    assignments: tuple[Assignment, ...]
    taken_at: datetime

    def listed(self, name: str) -> list[Any]:
        """The items of a list: ``virtual machines``, ``primary`` or ``offsite``."""
        if name == "virtual machines":
            return list(self.virtual_machines)
        return [each for each in self.backup_locations if each.kind == name]

    def vm_backup_locations(self, vm_ref: str) -> list[BackupLocation]:
        """The locations that a VM is assigned to."""
        ids = {each.backup_location_id for each in self.assignments if each.vm_ref == vm_ref}
        return [location for location in self.backup_locations if location.id in ids]

    def missing_by_host(self, before: Snapshot) -> dict[str, int]:
        """How many VMs are missing of each host that an earlier snapshot has and this one lacks.

        A VM that has moved to another host is not missing.
        """
        hosts = {(vm.host or "").casefold() for vm in self.virtual_machines}
        refs = {vm.ref for vm in self.virtual_machines if vm.ref}
        return Counter(
            vm.host
            for vm in before.virtual_machines
            if vm.host and vm.host.casefold() not in hosts and vm.ref not in refs
        )

    def may_be_of_server(self, before: Snapshot) -> bool:
        """Whether it has a VM or a location in common with an earlier snapshot, if that has any."""
        ids = before._ids()
        return not ids or not ids.isdisjoint(self._ids())

    def _ids(self) -> set[str]:
        refs = {vm.ref for vm in self.virtual_machines if vm.ref}
        return refs | {location.id for location in self.backup_locations}

    def dump(self) -> str:
        """The text of a snapshot file: sorted, one item per line."""
        content = {
            "format": _FORMAT,
            "version": _VERSION,
            "taken_at": self.taken_at.astimezone(timezone.utc).isoformat(timespec="seconds"),
        }
        lists = {
            "virtual_machines": _lines(self.virtual_machines, _VM_KEYS, ("name", "host", "ref")),
            "backup_locations": _lines(self.backup_locations, _LOCATION_KEYS, ("kind", "path")),
            "assignments": _lines(self.assignments, _ASSIGNMENT_KEYS, _ASSIGNMENT_KEYS),
        }
        head = ",\n".join(
            f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in content.items()
        )
        body = ",\n".join(f"  {json.dumps(key)}: {lines}" for key, lines in lists.items())
        return f"{{\n{head},\n{body}\n}}\n"


def read_snapshot(path: Path, given_by: str = "vmbackup:inventoryFile") -> Snapshot:
    """Read a snapshot file, as ``vmbackup snapshot`` writes it.

    Args:
        path: the file.
        given_by: what gives its path, as an error names it.

    Raises:
        SettingsError: the file is missing, damaged, or has another format or version.
    """
    again = "write it again with `vmbackup snapshot`"
    try:
        content = json.loads(text_of(path.read_bytes()))
    except OSError as error:
        raise SettingsError(
            f"The inventory file {path.absolute()} cannot be read ({reason_of(error, path)}): "
            f"correct {given_by}, or {again}."
        ) from None
    except (ValueError, RecursionError):
        raise SettingsError(f"The inventory file {path} is not JSON: {again}.") from None
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        raise SettingsError(f"The file {path} is not an inventory of pulumi-vmbackup: {again}.")
    if content.get("version") != _VERSION:
        raise SettingsError(
            f"The inventory file {path} has the format version {content.get('version')!r}, and "
            f"this version of pulumi-vmbackup reads {_VERSION}: update the package, or {again}."
        )
    try:
        return Snapshot(
            virtual_machines=tuple(map(_virtual_machine, content["virtual_machines"])),
            backup_locations=tuple(map(_backup_location, content["backup_locations"])),
            assignments=tuple(map(_assignment, content["assignments"])),
            taken_at=_time(content["taken_at"]),
        )
    except (ArgumentError, KeyError, TypeError, ValueError) as error:
        reason = f"{error} is missing" if isinstance(error, KeyError) else str(error).rstrip(".")
        raise SettingsError(f"The inventory file {path} is damaged ({reason}): {again}.") from None


def is_snapshot(path: Path) -> bool:
    """Whether a file is a snapshot, perhaps a damaged one or one of another version."""
    try:
        text = text_of(path.read_bytes())
        if _BEGINNING.match(text):
            return True
        content = json.loads(text)  # with its keys in another order
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and content.get("format") == _FORMAT


def _lines(items: Iterable[Any], keys: tuple[str, ...], order: tuple[str, ...]) -> str:
    rows = [asdict(item) for item in items]
    rows.sort(key=lambda row: [str(row[key] or "").lower() for key in order])
    lines = [_line({key: row[key] for key in keys}) for row in rows]
    return "[\n    " + ",\n    ".join(lines) + "\n  ]" if lines else "[]"


def _line(row: dict[str, Any]) -> str:
    """JSON with escapes for invisible characters, so that a reviewer sees them."""
    text = json.dumps(row, ensure_ascii=False)
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def _virtual_machine(item: Any) -> VirtualMachine:
    ref, name, host, configured, hypervisor_uuid = (item[key] for key in _VM_KEYS)
    if configured not in (True, False, None):
        raise ValueError(f"configured is {configured!r}, not true, false or null")
    guid = None if ref is None else normalize_guid(ref)
    return VirtualMachine(
        ref=None if guid == NO_GUID else guid,
        name=_text(name),
        host=_text(host),
        configured=configured,
        hypervisor_uuid=_text(hypervisor_uuid),
    )


def _backup_location(item: Any) -> BackupLocation:
    if item["kind"] not in KINDS:
        raise ValueError(f"the kind {item['kind']!r} is neither primary nor offsite")
    return BackupLocation(normalize_guid(item["id"]), _text(item["path"]), item["kind"])


def _assignment(item: Any) -> Assignment:
    return Assignment(normalize_guid(item["vm_ref"]), normalize_guid(item["backup_location_id"]))


def _text(value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value


def _time(value: object) -> datetime:
    time = datetime.fromisoformat(str(value))
    if time.tzinfo is None:
        raise ValueError(f"the time {value!r} has no time zone")
    return time
