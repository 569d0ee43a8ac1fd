"""VMs, backup locations and assignments as plain values."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from .errors import Advice, ArgumentError, Hint

Kind = Literal["primary", "offsite"]
KINDS: tuple[Kind, ...] = ("primary", "offsite")
Pair = tuple[str, str]
"""A VM's ref and a location's id, both as :func:`normalize_guid` writes them."""

ID_HINTS = {"vm_ref": Hint.FIND_VM_REF, "backup_location_id": Hint.FIND_LOCATION_ID}
"""The two ids of an assignment, each with the hint where to find it."""

_GUID = re.compile(r"([0-9a-f]{8})(-?)([0-9a-f]{4})\2([0-9a-f]{4})\2([0-9a-f]{4})\2([0-9a-f]{12})")
NO_GUID = "00000000-0000-0000-0000-000000000000"
"""What a replica may have for a ref: it has none (seen)."""
_BRACKETS = {"{": "}", "(": ")"}


VM_FIELDS = (
    "VirtualMachineName",
    "HostName",
    "AltaroVirtualMachineRef",
    "HypervisorVirtualMachineUuid",
    "AltaroHypervisorRef",
    "Configured",
    "NextBackupTime",
    "NextOffsiteCopyTime",
    "LastBackupTime",
    "LastBackupResult",
    "LastBackupDuration",
    "LastBackupTransferSizeCompressed",
    "LastBackupTransferSizeUncompressed",
    "LastOffsiteCopyTime",
    "LastOffsiteCopyResult",
    "LastOffsiteCopyDuration",
    "LastOffsiteCopyTransferSizeCompressed",
    "LastOffsiteCopyTransferSizeUncompressed",
)
"""The fields of a VM that public clients read (seen)."""
LOCATION_FIELDS = ("BackupLocationId", "LocationPath")
"""The fields of a backup location that public clients read (seen)."""


@dataclass(frozen=True)
class BackupLocation:
    """A place that VM Backup writes backups to.

    Attributes:
        id: the BackupLocationId, a GUID in lower case.
        path: the LocationPath as VM Backup shows it; None if the server gives none.
        kind: ``"primary"`` or ``"offsite"``; None if it was not asked for.
        connection: the connection that it was looked up over; None for the unnamed one.
        server: the server that it was looked up on, as ``Settings.server``; None if unknown.
    """

    id: str
    path: str | None
    kind: Kind | None
    connection: str | None = field(default=None, compare=False, repr=False)
    server: str | None = field(default=None, compare=False, repr=False)

    @property
    def label(self) -> str:
        """What people call it: its path, or its id where the server names no path."""
        return self.path or self.id


@dataclass(frozen=True)
class VirtualMachine:
    """A virtual machine that VM Backup sees.

    What the server does not tell is None. Times are the server's own, without a time zone. The
    units of durations and sizes are not documented; the numbers are the server's.

    Attributes:
        ref: the AltaroVirtualMachineRef, a GUID in lower case; None if VM Backup has none for it.
        name: the VM's name on its hypervisor; None if the server gives none.
        host: the name of its hypervisor host.
        configured: False if the VM is not configured in VM Backup, and so not backed up.
        hypervisor_uuid: the HypervisorVirtualMachineUuid, as the server writes it.
        next_backup_time, next_offsite_copy_time: when the next one is due.
        last_backup_time, last_offsite_copy_time: when the last one was made.
        last_backup_result, last_offsite_copy_result: how it ended, in the server's words.
        last_backup_duration, last_offsite_copy_duration: how long it took.
        last_backup_transfer_size_compressed, last_backup_transfer_size_uncompressed,
        last_offsite_copy_transfer_size_compressed, last_offsite_copy_transfer_size_uncompressed:
            how much was transferred.
        connection: the connection that it was looked up over; None for the unnamed one.
        server: the server that it was looked up on, as ``Settings.server``; None if unknown.
    """

    ref: str | None
    name: str | None
    host: str | None = None
    configured: bool | None = None
    hypervisor_uuid: str | None = None
    next_backup_time: datetime | None = None
    next_offsite_copy_time: datetime | None = None
    last_backup_time: datetime | None = None
    last_backup_result: str | None = None
    last_backup_duration: int | None = None
    last_backup_transfer_size_compressed: int | None = None
    last_backup_transfer_size_uncompressed: int | None = None
    last_offsite_copy_time: datetime | None = None
    last_offsite_copy_result: str | None = None
    last_offsite_copy_duration: int | None = None
    last_offsite_copy_transfer_size_compressed: int | None = None
    last_offsite_copy_transfer_size_uncompressed: int | None = None
    connection: str | None = field(default=None, compare=False, repr=False)
    server: str | None = field(default=None, compare=False, repr=False)

    @property
    def is_assignable(self) -> bool:
        """Whether it is configured in VM Backup, as far as the server tells."""
        return self.ref is not None and self.configured is not False


@dataclass(frozen=True)
class Assignment:
    """A virtual machine that is assigned to a backup location.

    Attributes:
        vm_ref: the VM's AltaroVirtualMachineRef, a GUID in lower case.
        backup_location_id: the BackupLocationId, a GUID in lower case.
        vm_name: the VM's name, when known.
        location_path: the location's path, when known.
        kind: ``"primary"`` or ``"offsite"``, when known.
    """

    vm_ref: str
    backup_location_id: str
    vm_name: str | None = None
    location_path: str | None = None
    kind: Kind | None = None


PROGRAM_FIELDS = ("connection", "server")
"""The fields of VMs and locations that are only for Pulumi programs; the server tells the rest."""


def told_by_server(found: VirtualMachine | BackupLocation) -> dict[str, Any]:
    """The fields of a VM or a location that the server tells, by name."""
    return {key: value for key, value in asdict(found).items() if key not in PROGRAM_FIELDS}


def assignable(vm: VirtualMachine) -> VirtualMachine:
    """The same VM, if it can be assigned.

    Raises:
        ArgumentError: it is not configured in VM Backup.
    """
    if not vm.is_assignable:
        raise ArgumentError(not_assignable(vm))
    return vm


def not_assignable(vm: VirtualMachine) -> str:
    """The sentence about a VM that cannot be assigned."""
    return (
        f"The VM {vm.name!r} on host {vm.host} is not configured in VM Backup, so it cannot be "
        "assigned: add it to VM Backup first."
    )


def is_guid(value: object) -> bool:
    """Whether :func:`normalize_guid` accepts a value."""
    try:
        normalize_guid(value)
    except ArgumentError:
        return False
    return True


def vm_ref(value: object) -> str | None:
    """The ref of a VM as :func:`normalize_guid` writes it; None for a replica, which has none.

    A replica has no ref, or a GUID of zeros (seen).
    """
    ref = normalize_guid(value) if is_guid(value) else NO_GUID
    return None if ref == NO_GUID else ref


def unique_locations(listed: Iterable[BackupLocation]) -> dict[str, BackupLocation]:
    """The locations of one or more lists, by id, without repeats.

    The server may list a location as primary and as offsite (unknown). Its kind is then None.
    """
    unique: dict[str, BackupLocation] = {}
    for location in listed:
        first = unique.setdefault(location.id, location)
        if first.kind != location.kind:
            unique[location.id] = replace(first, kind=None)
    return unique


def shown(value: object) -> str:
    """A value as an error shows it, to readers of any language."""
    return repr(value) if isinstance(value, str) else json.dumps(value, default=repr)


def normalize_guid(value: object, *advice: Advice) -> str:
    """The one form of a GUID that this package uses: lower case, with dashes, no braces.

    Args:
        value: a GUID such as ``ba2e9cdc-0d85-48e6-8db7-a45c5a40819e``, in any case, with or
            without braces or dashes.
        advice: what may help if it is not a GUID.

    Raises:
        ArgumentError: the value is not a GUID.
    """
    text = value.lower() if isinstance(value, str) else ""
    if len(text) > 1 and _BRACKETS.get(text[0]) == text[-1]:
        text = text[1:-1]
    found = _GUID.fullmatch(text)
    if not found:
        if value is None:
            raise ArgumentError("A GUID is missing.", *advice)
        raise ArgumentError(
            f"{shown(value)} is not a GUID; expected 32 hexadecimal digits like "
            "ba2e9cdc-0d85-48e6-8db7-a45c5a40819e, with or without braces.",
            *advice,
        )
    return "-".join(found.group(1, 3, 4, 5, 6))
