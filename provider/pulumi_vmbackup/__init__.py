"""Hornetsecurity (formerly Altaro) VM Backup for Pulumi: which VM goes to which backup location.

A name is loaded on first use (PEP 562): the command and the simulator do not import Pulumi.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .assignment import VmBackupLocationAssignment
    from .errors import (
        ArgumentError,
        BusyError,
        InvalidTokenError,
        LoginError,
        LostAnswerError,
        NoAnswerError,
        RefusedError,
        SettingsError,
        StoppedError,
        UnreachableError,
        VmBackupError,
        WrongServerError,
    )
    from .lookups import (
        get_backup_location,
        get_backup_location_output,
        get_backup_locations,
        get_backup_locations_output,
        get_virtual_machine,
        get_virtual_machine_output,
        get_virtual_machines,
        get_virtual_machines_output,
    )
    from .models import BackupLocation, VirtualMachine
    from .program import ProgramError

__all__ = [
    "ArgumentError",
    "BackupLocation",
    "BusyError",
    "InvalidTokenError",
    "LoginError",
    "LostAnswerError",
    "NoAnswerError",
    "ProgramError",
    "RefusedError",
    "SettingsError",
    "StoppedError",
    "UnreachableError",
    "VirtualMachine",
    "VmBackupError",
    "VmBackupLocationAssignment",
    "WrongServerError",
    "get_backup_location",
    "get_backup_location_output",
    "get_backup_locations",
    "get_backup_locations_output",
    "get_virtual_machine",
    "get_virtual_machine_output",
    "get_virtual_machines",
    "get_virtual_machines_output",
]

_MODULES = ("errors", "models", "program", "lookups", "assignment")


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return import_module(f".{name}", __name__)
    if name in __all__:
        for module in _MODULES:
            found = getattr(import_module(f".{module}", __name__), name, None)
            if found is not None:
                globals()[name] = found
                return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
