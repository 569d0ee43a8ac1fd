"""Hornetsecurity (formerly Altaro) VM Backup for Pulumi: which VM goes to which backup location."""

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
    UnreachableError,
    VmBackupError,
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
    "UnreachableError",
    "VirtualMachine",
    "VmBackupError",
    "VmBackupLocationAssignment",
    "get_backup_location",
    "get_backup_location_output",
    "get_backup_locations",
    "get_backup_locations_output",
    "get_virtual_machine",
    "get_virtual_machine_output",
    "get_virtual_machines",
    "get_virtual_machines_output",
]
