"""The things that VM Backup knows, as plain values."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from .errors import ArgumentError

Kind = Literal["primary", "offsite"]
KINDS: tuple[Kind, ...] = ("primary", "offsite")

_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True)
class BackupLocation:
    """A place that VM Backup writes backups to.

    Attributes:
        id: the BackupLocationId, a GUID in lower case.
        path: the LocationPath as VM Backup shows it; None when the server names none.
        kind: ``"primary"``, ``"offsite"``, or None where it was not asked for.
    """

    id: str
    path: str | None
    kind: Kind | None


@dataclass(frozen=True)
class VirtualMachine:
    """A virtual machine that VM Backup sees.

    Attributes:
        ref: the AltaroVirtualMachineRef, a GUID in lower case.
        name: the VM's name on its hypervisor; None when the server names none.
        configured: False when the VM is known but not configured in VM Backup, so that nothing of
            it is backed up; None when the server does not say.
    """

    ref: str
    name: str | None
    configured: bool | None


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


def normalize_guid(value: object) -> str:
    """Bring a GUID to the one form that this package uses: lower case, no braces.

    Args:
        value: a GUID such as ``ba2e9cdc-0d85-48e6-8db7-a45c5a40819e``, in any case, with or
            without braces.

    Raises:
        ArgumentError: the value is anything else.
    """
    text = value.lower() if isinstance(value, str) else ""
    if text.startswith("{") and text.endswith("}"):
        text = text[1:-1]
    if not _GUID.fullmatch(text):
        raise ArgumentError(
            f"{value!r} is not a GUID; expected 32 hexadecimal digits like "
            "ba2e9cdc-0d85-48e6-8db7-a45c5a40819e, with or without braces."
        )
    return text
