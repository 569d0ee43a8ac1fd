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
from .lookups import get_backup_locations, get_backup_locations_output
from .models import BackupLocation
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
    "VmBackupError",
    "VmBackupLocationAssignment",
    "get_backup_locations",
    "get_backup_locations_output",
]
