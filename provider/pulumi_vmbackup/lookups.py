"""The data functions: what a program can ask the VM Backup server for.

They run in the program's own process, in previews as well: the dynamic provider has no functions.
The first look-up of a program asks for the VMs and the locations of both kinds in one session,
which is ended before it returns; later look-ups are answered from that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pulumi

from .catalog import Catalog
from .errors import Advice, ArgumentError, VmBackupError
from .models import BackupLocation, Kind, VirtualMachine
from .program import once_per_program, program_settings, shown_without_traceback, worded
from .settings import Settings

_T = TypeVar("_T")


def get_virtual_machines(
    *, configured: bool | None = None, connection: str | None = None
) -> list[VirtualMachine]:
    """List the virtual machines that the server sees.

    Args:
        configured: True for those that are configured in VM Backup, and so can be assigned; False
            for the others; None for all.
        connection: the name of the connection in ``vmbackup:connections``; None for the unnamed
            one.

    Raises:
        VmBackupError: a setting is wrong, or the server refused or did not answer.

    The call is seen in public clients.
    """
    with _look_up("get_virtual_machines"):
        return _catalog(connection).get_virtual_machines(configured=configured)


def get_virtual_machine(
    *,
    name: str | None = None,
    host: str | None = None,
    ref: str | None = None,
    connection: str | None = None,
) -> VirtualMachine:
    """Find the one virtual machine of a name, for an assignment.

    Args:
        name: the VM's name, in any case.
        host: the name of its hypervisor host, in any case, where several VMs have the name.
        ref: its AltaroVirtualMachineRef (a GUID), instead of or besides the name.
        connection: the name of the connection; None for the unnamed one.

    Raises:
        ArgumentError: there is no such VM, there are several, or it is not configured in VM Backup
            and so cannot be assigned.
        VmBackupError: a setting is wrong, or the server refused or did not answer.
    """
    with _look_up("get_virtual_machine", name=name, host=host, ref=ref):
        return _catalog(connection).get_virtual_machine(name=name, host=host, ref=ref)


def get_backup_location(
    *,
    path: str | None = None,
    id: str | None = None,  # the name of the field
    kind: Kind | None = None,
    connection: str | None = None,
) -> BackupLocation:
    """Find the one backup location of a path.

    Args:
        path: the LocationPath as VM Backup shows it, in any case.
        id: its BackupLocationId (a GUID), instead of or besides the path.
        kind: ``"primary"`` or ``"offsite"``, where that makes it the only one.
        connection: the name of the connection; None for the unnamed one.

    Raises:
        ArgumentError: there is no such location, or there are several.
        VmBackupError: a setting is wrong, or the server refused or did not answer.
    """
    with _look_up("get_backup_location", path=path, id=id, kind=kind):
        return _catalog(connection).get_backup_location(path=path, id=id, kind=kind)


def get_backup_locations(
    *,
    primary: bool = True,
    offsite: bool = True,
    vm_ref: str | VirtualMachine | None = None,
    connection: str | None = None,
) -> list[BackupLocation]:
    """List the backup locations of the server, or those that one VM is assigned to.

    Each kind is asked for by itself, since only that tells which location is of which kind. Those
    of one VM are asked for each time, in a session that is ended before the function returns.

    Args:
        primary: include the primary locations.
        offsite: include the offsite locations.
        vm_ref: the VM whose locations to list, as its AltaroVirtualMachineRef (a GUID) or as
            get_virtual_machine() gives it; None for all locations.
        connection: the name of the connection; None for the unnamed one.

    Raises:
        ArgumentError: both flags are False, or ``vm_ref`` is no GUID; nothing was sent.
        VmBackupError: a setting is wrong, or the server refused or did not answer.

    The calls are documented by the vendor, except the path of the per-VM list, which is seen in
    public clients.
    """
    with _look_up("get_backup_locations"):
        return _catalog(connection).get_backup_locations(
            primary=primary, offsite=offsite, vm_ref=vm_ref
        )


def get_virtual_machines_output(
    *, configured: pulumi.Input[bool | None] = None, connection: str | None = None
) -> pulumi.Output[list[VirtualMachine]]:
    """:func:`get_virtual_machines` for arguments that may be outputs."""
    return _output(get_virtual_machines, configured=configured, connection=connection)


def get_virtual_machine_output(
    *,
    name: pulumi.Input[str | None] = None,
    host: pulumi.Input[str | None] = None,
    ref: pulumi.Input[str | None] = None,
    connection: str | None = None,
) -> pulumi.Output[VirtualMachine]:
    """:func:`get_virtual_machine` for arguments that may be outputs."""
    return _output(get_virtual_machine, name=name, host=host, ref=ref, connection=connection)


def get_backup_location_output(
    *,
    path: pulumi.Input[str | None] = None,
    id: pulumi.Input[str | None] = None,  # the name of the field
    kind: pulumi.Input[Kind | None] = None,
    connection: str | None = None,
) -> pulumi.Output[BackupLocation]:
    """:func:`get_backup_location` for arguments that may be outputs."""
    return _output(get_backup_location, path=path, id=id, kind=kind, connection=connection)


def get_backup_locations_output(
    *,
    primary: pulumi.Input[bool] = True,
    offsite: pulumi.Input[bool] = True,
    vm_ref: pulumi.Input[str | VirtualMachine | None] = None,
    connection: str | None = None,
) -> pulumi.Output[list[BackupLocation]]:
    """:func:`get_backup_locations` for arguments that may be outputs.

    In a preview in which an argument is not known yet, nothing is asked and the result is unknown
    as well.
    """
    return _output(
        get_backup_locations,
        primary=primary,
        offsite=offsite,
        vm_ref=vm_ref,
        connection=connection,
    )


def _catalog(connection: str | None) -> Catalog:
    settings = program_settings(connection)
    catalogs = _catalogs()
    if settings not in catalogs:
        catalogs[settings] = Catalog(
            settings, may_read_snapshot=pulumi.runtime.is_dry_run(), warn=_warn
        )
    return catalogs[settings]


@once_per_program
def _catalogs() -> dict[Settings, Catalog]:
    return {}


def _warn(message: str, *advice: Advice) -> None:
    pulumi.log.warn(worded(VmBackupError(message, *advice)))


@contextmanager
def _look_up(function: str, **arguments: object) -> Iterator[None]:
    """Refuse arguments that are outputs, and show errors as a program's are shown."""
    with shown_without_traceback():
        for key, value in arguments.items():
            if isinstance(value, pulumi.Output):
                raise ArgumentError(f"{key} of {function} is an Output: use {function}_output.")
        try:
            yield
        except ArgumentError as error:
            if error.argument:
                raise error.reworded(f"{error.argument} of {function}: {error}") from None
            raise


def _output(function: Callable[..., _T], **arguments: Any) -> pulumi.Output[_T]:
    return pulumi.Output.all(**arguments).apply(lambda known: function(**known))
