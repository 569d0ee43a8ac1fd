"""The data functions: what a program can ask the VM Backup server for.

They run in the program's own process, in previews as well: the dynamic provider has no functions.
"""

from __future__ import annotations

import pulumi

from .client import Client
from .errors import ArgumentError, LoginError, LostAnswerError, RefusedError, explained
from .models import KINDS, BackupLocation, Kind, normalize_guid
from .program import once_per_program, program_settings, shown_without_traceback
from .settings import Settings


def get_backup_locations(
    *, primary: bool = True, offsite: bool = True, vm_ref: str | None = None
) -> list[BackupLocation]:
    """List the backup locations of the server, or those that one VM is assigned to.

    Each kind is asked for by itself, since only that tells which location is of which kind: one
    HTTP call a kind, in one session, which is ended before the function returns.

    Args:
        primary: include the primary locations.
        offsite: include the offsite locations.
        vm_ref: the AltaroVirtualMachineRef (a GUID) of the VM whose locations to list; None for
            all locations.

    Raises:
        ArgumentError: both flags are False, or ``vm_ref`` is no GUID; nothing was sent.
        VmBackupError: a setting is wrong, or the server refused or did not answer.

    The calls are documented by the vendor, except the path of the per-VM list, which is seen in
    public clients.
    """
    with shown_without_traceback():
        kinds: list[Kind] = [
            kind for kind, asked in zip(KINDS, (primary, offsite), strict=True) if asked
        ]
        if not kinds:
            raise ArgumentError(
                "get_backup_locations(primary=False, offsite=False) asks for no location: leave "
                "out one of the two."
            )
        ref = None if vm_ref is None else _vm_ref(vm_ref)
        of_vm = f" of VM {ref}" if ref else ""
        with explained(f"list the backup locations{of_vm}"):
            return _listed(program_settings(), kinds, ref)


def get_backup_locations_output(
    *,
    primary: pulumi.Input[bool] = True,
    offsite: pulumi.Input[bool] = True,
    vm_ref: pulumi.Input[str | None] = None,
) -> pulumi.Output[list[BackupLocation]]:
    """:func:`get_backup_locations` for arguments that may be outputs of other resources.

    In a preview in which an argument is not known yet, nothing is asked and the result is unknown
    as well.
    """
    return pulumi.Output.all(primary=primary, offsite=offsite, vm_ref=vm_ref).apply(
        lambda arguments: get_backup_locations(**arguments)
    )


def _vm_ref(value: str) -> str:
    try:
        return normalize_guid(value)
    except ArgumentError as error:
        raise ArgumentError(f"vm_ref of get_backup_locations: {error}") from None


def _listed(settings: Settings, kinds: list[Kind], ref: str | None) -> list[BackupLocation]:
    refused_logins = _refused_logins()
    if settings in refused_logins:
        raise LoginError(refused_logins[settings])
    found: dict[str, BackupLocation] = {}
    try:
        with Client(settings) as client:
            for kind in kinds:
                locations = (
                    client.vm_backup_locations(ref, kind) if ref else client.backup_locations(kind)
                )
                for location in locations:
                    if found.setdefault(location.id, location).kind != kind:
                        raise LostAnswerError(
                            f"The server lists {location.id} ({location.path}) as a primary and as "
                            "an offsite location; ask for one kind only, with primary=False or "
                            "offsite=False."
                        )
    except LoginError as error:
        refused_logins[settings] = str(error)
        raise
    except RefusedError as error:
        advice = " Check that vm_ref is a VM of this server." if ref else ""
        raise RefusedError(f"{error}{advice}") from None
    return list(found.values())


@once_per_program
def _refused_logins() -> dict[Settings, str]:
    """Logins that are not sent again, since Windows locks accounts after a few."""
    return {}
