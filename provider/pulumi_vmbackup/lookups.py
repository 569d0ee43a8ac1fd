"""The data functions: how a program asks the VM Backup server.

They run in the program's own process, in previews too: a dynamic provider has no functions. The
first lookup of a program asks for the VMs and the locations of both kinds in one session, and ends
the session before it returns. Later lookups are answered from that.
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
        configured: True for VMs that are configured in VM Backup, and so can be assigned; False for
            the others; None for all.
        connection: the name of the connection in ``vmbackup:connections``; None for the unnamed
            one.

    Raises:
        VmBackupError: a setting is wrong, or the server refuses or does not answer.

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
    """Find one virtual machine by name or ref, for an assignment.

    Args:
        name: the VM's name, in any case.
        host: the name of its hypervisor host, in any case, if several VMs have the name.
        ref: its AltaroVirtualMachineRef (a GUID), with or without the name.
        connection: the name of the connection; None for the unnamed one.

    Raises:
        ArgumentError: there is no such VM, there are several, or it is not configured in VM Backup
            and so cannot be assigned.
        VmBackupError: a setting is wrong, or the server refuses or does not answer.
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
    """Find one backup location by path, id or kind.

    Args:
        path: the LocationPath as VM Backup shows it, in any case.
        id: its BackupLocationId (a GUID), with or without the path.
        kind: ``"primary"`` or ``"offsite"``, if several locations match without it.
        connection: the name of the connection; None for the unnamed one.

    Raises:
        ArgumentError: there is no such location, or there are several.
        VmBackupError: a setting is wrong, or the server refuses or does not answer.
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

    Each kind is asked for separately, because the server does not tell a location's kind. The
    locations of one VM are asked for on each call, in a session that ends before the function
    returns.

    Args:
        primary: include the primary locations.
        offsite: include the offsite locations.
        vm_ref: the VM whose locations to list, as its AltaroVirtualMachineRef (a GUID) or as
            get_virtual_machine() returns it; None for all locations.
        connection: the name of the connection; None for the unnamed one.

    Raises:
        ArgumentError: both flags are False, or ``vm_ref`` is not a GUID; nothing was sent.
        VmBackupError: a setting is wrong, or the server refuses or does not answer.

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

    If a preview does not know an argument yet, nothing is asked and the result is unknown too.
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
    """Refuse arguments that are outputs, and show errors without a traceback."""
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
