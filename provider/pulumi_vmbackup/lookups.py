"""The data functions: how a program asks the VM Backup server.

They run in the program's own process, in previews too: a dynamic provider has no functions. The
first look-up of a program asks for the VMs and the locations of both kinds. Later look-ups are
answered from that. All look-ups of a program share one session for each server.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from functools import partial
from inspect import isawaitable
from types import NoneType
from typing import Any, NamedTuple, TypeVar

import pulumi
from pulumi.runtime import rpc

from .catalog import Catalog, impatient
from .errors import Advice, ArgumentError, VmBackupError
from .models import BackupLocation, Kind, VirtualMachine
from .program import (
    end_idle_sessions,
    once_per_program,
    program_settings,
    refuse_connection_and_provider,
    refuse_no_name,
    refuse_other_server,
    refuse_swapped,
    refuse_unfit,
    shared_client,
    shown_without_traceback,
    worded,
)
from .settings import Settings

_T = TypeVar("_T")
_Options = pulumi.InvokeOptions | pulumi.InvokeOutputOptions | None


def get_virtual_machines(
    *, configured: bool | None = None, connection: str | None = None
) -> list[VirtualMachine]:
    """List the virtual machines that the server sees.

    Args:
        configured: True for VMs that are configured in VM Backup and can be assigned, False for the
            others, None for all.
        connection: the name of the connection in ``vmbackup:connections``; None for the unnamed
            one.

    Raises:
        VmBackupError: a setting is wrong, or the server refuses or does not answer.

    The call is seen in public clients.
    """
    return _look_up(Catalog.get_virtual_machines, connection, configured=configured)


def get_virtual_machine(
    *,
    name: str | None = None,
    host: str | None = None,
    ref: str | None = None,
    connection: str | None = None,
) -> VirtualMachine:
    """Find one virtual machine by name or ref, for an assignment.

    Args:
        name: the VM's name, in upper or lower case.
        host: the name of its hypervisor host, if several VMs have the name.
        ref: its AltaroVirtualMachineRef (a GUID), instead of the name or beside it.
        connection: the name of the connection; None for the unnamed one.

    Raises:
        ArgumentError: there is no such VM, there are several, or it is not configured in VM Backup
            and so cannot be assigned.
        VmBackupError: a setting is wrong, or the server refuses or does not answer.
    """
    return _look_up(Catalog.get_virtual_machine, connection, name=name, host=host, ref=ref)


def get_backup_location(
    *,
    path: str | None = None,
    id: str | None = None,  # the name of the field
    kind: Kind | None = None,
    connection: str | None = None,
) -> BackupLocation:
    """Find one backup location by path, id or kind.

    Args:
        path: the LocationPath as VM Backup shows it, in upper or lower case.
        id: its BackupLocationId (a GUID), instead of the path or beside it.
        kind: ``"primary"`` or ``"offsite"``, if several locations match without it.
        connection: the name of the connection; None for the unnamed one.

    Raises:
        ArgumentError: there is no such location, or there are several.
        VmBackupError: a setting is wrong, or the server refuses or does not answer.
    """
    return _look_up(Catalog.get_backup_location, connection, path=path, id=id, kind=kind)


def get_backup_locations(
    *,
    primary: bool = True,
    offsite: bool = True,
    vm_ref: str | VirtualMachine | None = None,
    connection: str | None = None,
) -> list[BackupLocation]:
    """List the backup locations of the server, or those that one VM is assigned to.

    The server does not tell the kind of a location, so the function asks for each kind. With
    ``vm_ref``, it asks the server on each call.

    Args:
        primary: include the primary locations.
        offsite: include the offsite locations.
        vm_ref: the VM whose locations to list, as its AltaroVirtualMachineRef (a GUID) or as
            get_virtual_machine() returns it; None for all locations.
        connection: the name of the connection; None for the unnamed one.

    Raises:
        ArgumentError: both flags are False, or ``vm_ref`` is not a GUID or was looked up on another
            server; nothing was sent.
        VmBackupError: a setting is wrong, or the server refuses or does not answer.

    The calls are documented by the vendor, except the path of the per-VM list, which is seen in
    public clients.
    """
    return _look_up(
        Catalog.get_backup_locations, connection, primary=primary, offsite=offsite, vm_ref=vm_ref
    )


def get_virtual_machines_output(
    *,
    configured: pulumi.Input[bool | None] = None,
    connection: str | None = None,
    opts: pulumi.InvokeOptions | pulumi.InvokeOutputOptions | None = None,
) -> pulumi.Output[list[VirtualMachine]]:
    """:func:`get_virtual_machines` for arguments that may be outputs, and with options.

    The options mean what they mean for Pulumi's own functions. The look-up waits for the resources
    that its arguments come from and for those in ``depends_on``. While a preview does not know them
    yet, nothing is asked and the result is unknown. A ``provider`` of ``pulumi_vmbackup.plugin``,
    given or inherited from ``parent``, tells the server if there is no ``connection``.
    """
    return _output(Catalog.get_virtual_machines, connection, opts, configured=configured)


def get_virtual_machine_output(
    *,
    name: pulumi.Input[str | None] = None,
    host: pulumi.Input[str | None] = None,
    ref: pulumi.Input[str | None] = None,
    connection: str | None = None,
    opts: pulumi.InvokeOptions | pulumi.InvokeOutputOptions | None = None,
) -> pulumi.Output[VirtualMachine]:
    """:func:`get_virtual_machine` for arguments that may be outputs, and with options.

    The options are those of :func:`get_virtual_machines_output`.
    """
    return _output(Catalog.get_virtual_machine, connection, opts, name=name, host=host, ref=ref)


def get_backup_location_output(
    *,
    path: pulumi.Input[str | None] = None,
    id: pulumi.Input[str | None] = None,  # the name of the field
    kind: pulumi.Input[Kind | None] = None,
    connection: str | None = None,
    opts: pulumi.InvokeOptions | pulumi.InvokeOutputOptions | None = None,
) -> pulumi.Output[BackupLocation]:
    """:func:`get_backup_location` for arguments that may be outputs, and with options.

    The options are those of :func:`get_virtual_machines_output`.
    """
    return _output(Catalog.get_backup_location, connection, opts, path=path, id=id, kind=kind)


def get_backup_locations_output(
    *,
    primary: pulumi.Input[bool] = True,
    offsite: pulumi.Input[bool] = True,
    vm_ref: pulumi.Input[str | VirtualMachine | None] = None,
    connection: str | None = None,
    opts: pulumi.InvokeOptions | pulumi.InvokeOutputOptions | None = None,
) -> pulumi.Output[list[BackupLocation]]:
    """:func:`get_backup_locations` for arguments that may be outputs, and with options.

    The options are those of :func:`get_virtual_machines_output`.
    """
    return _output(
        Catalog.get_backup_locations,
        connection,
        opts,
        primary=primary,
        offsite=offsite,
        vm_ref=vm_ref,
    )


# How a server is asked


class _Server(NamedTuple):
    """What the look-ups of a program know of a server.

    Attributes:
        catalog: its VMs and locations.
        limit: of look-ups that run at a time.
    """

    catalog: Catalog
    limit: asyncio.Semaphore


def _server(settings: Settings) -> _Server:
    servers = _servers()
    if settings not in servers:
        may_read_snapshot = pulumi.runtime.is_dry_run() and settings.inventory_file is not None
        servers[settings] = _Server(
            Catalog(
                settings,
                client=shared_client(impatient(settings) if may_read_snapshot else settings),
                may_read_snapshot=may_read_snapshot,
                warn=_warn,
            ),
            asyncio.Semaphore(settings.parallel_requests),
        )
    return servers[settings]


@once_per_program
def _servers() -> dict[Settings, _Server]:
    return {}


# The event loop of the program, on a thread that makes a look-up for it.
_loop: ContextVar[asyncio.AbstractEventLoop] = ContextVar("_loop")


def _warn(message: str, *advice: Advice) -> None:
    warn = partial(pulumi.log.warn, worded(VmBackupError(message, *advice)))
    loop = _loop.get(None)
    if loop:
        loop.call_soon_threadsafe(warn)
    else:
        warn()


def _look_up(query: Callable[..., _T], connection: str | None, **arguments: object) -> _T:
    """Answer a query of the catalog now."""
    function = query.__name__
    with _shown_as(function):
        refuse_no_name(connection, function)
        settings = program_settings(connection)
        _check(function, f"use {function}_output", settings, arguments)
        return query(_server(settings).catalog, **arguments)


def _output(
    query: Callable[..., _T], connection: str | None, opts: _Options, **arguments: Any
) -> pulumi.Output[_T]:
    """Answer a query of the catalog when its arguments and what it depends on are known."""
    function = f"{query.__name__}_output"
    lists_all = query in (Catalog.get_virtual_machines, Catalog.get_backup_locations)
    with shown_without_traceback():
        refuse_no_name(connection, function)
        settings = _settings(function, connection, opts)

    async def look_up(known: dict[str, Any]) -> _T:
        with _shown_as(function):
            settings, arguments = known["settings"], known["arguments"]
            _check(function, "give a plain value", settings, arguments)
            server = _server(settings)
            if lists_all and getattr(opts, "depends_on", None):
                # What it waited for may have changed what the server lists.
                server.catalog.ask_again()
            under_way, this = _under_way(), object()
            under_way.add(this)
            try:
                async with server.limit:
                    return await _on_a_thread(partial(query, server.catalog, **arguments))
            finally:
                under_way.discard(this)
                if not under_way:
                    # What needs the result may fail, and Pulumi then kills the program at once.
                    await _on_a_thread(end_idle_sessions)

    given = pulumi.Output.all(settings=settings, arguments=arguments)
    depends_on = pulumi.Output.from_input(getattr(opts, "depends_on", None) or [])
    made: pulumi.Output[list[str]] = pulumi.Output.from_input(_ids(given, depends_on))
    return pulumi.Output.all(given, made).apply(lambda known: look_up(known[0]))


@once_per_program
def _under_way() -> set[object]:
    """The look-ups of the ``_output`` forms that are under way."""
    return set()


async def _on_a_thread(ask: Callable[[], _T]) -> _T:
    """Run a function beside the program's event loop.

    Not on a thread of an executor: Pulumi's own register the resources that a look-up may have to
    wait for, and the process of a program that was interrupted would wait for any other.
    """
    done: Future[_T] = Future()
    context = copy_context()
    context.run(_loop.set, asyncio.get_running_loop())

    def run() -> None:
        try:
            done.set_result(context.run(ask))
        except Exception as error:  # noqa: BLE001  # is raised where the result is waited for
            done.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return await asyncio.wrap_future(done)


async def _ids(given: pulumi.Output[Any], depends_on: pulumi.Output[Any]) -> list[Any]:
    """The ids of the resources to wait for, which are known when these exist.

    As for Pulumi's own functions: the resources that arguments come from, those that are named, and
    instead of a component its children.
    """
    named = await depends_on.future() or []
    resources = {*(named if isinstance(named, Sequence) else [named])}
    resources |= await given.resources() | await depends_on.resources()
    expanded = await rpc._expand_dependencies(resources, None)
    # A reference to a resource of another process has no id.
    return [each.__dict__["id"] for each in expanded.values() if each.__dict__.get("id")]


def _settings(
    function: str, connection: str | None, opts: _Options
) -> Settings | pulumi.Output[Settings]:
    """The settings of the server to ask."""
    if opts is None or (connection is not None and opts.provider is None):
        return program_settings(connection)
    from .plugin.resources import Provider, settings_of
    from .plugin.schema import ASSIGNMENT

    provider = opts.provider or (opts.parent and opts.parent.get_provider(ASSIGNMENT))
    if not provider:
        return program_settings(connection)
    if connection is not None:
        refuse_connection_and_provider(function, connection, provider)
    if not isinstance(provider, Provider):
        raise ArgumentError(
            f"The provider of {function} is not a Provider of pulumi_vmbackup.plugin, so its "
            "server is unknown: give one of that class, or a connection."
        )
    return settings_of(provider)


@contextmanager
def _shown_as(function: str) -> Iterator[None]:
    """Name the function in errors of its arguments, and show errors without a traceback."""
    with shown_without_traceback():
        try:
            yield
        except ArgumentError as error:
            if error.argument:
                raise error.reworded(f"{error.argument} of {function}: {error}") from None
            raise


_TYPES: dict[str, tuple[tuple[type, ...], str]] = {
    "configured": ((bool, NoneType), "give True or False, or leave it out"),
    "primary": ((bool,), "give True or False"),
    "offsite": ((bool,), "give True or False"),
    "vm_ref": ((str, VirtualMachine, NoneType), "give a VM or its ref, or leave it out"),
}
_TEXT = ((str, NoneType), "give text, or leave it out")


def _check(
    function: str, use_output: str, settings: Settings, arguments: dict[str, object]
) -> None:
    """Check the types of arguments: a wrong one would find nothing."""
    for key, value in arguments.items():
        types, remedy = _TYPES.get(key, _TEXT)
        if isinstance(value, pulumi.Output) or isawaitable(value):
            remedy = use_output
        refuse_swapped(key, value, VirtualMachine)
        refuse_unfit(key, function, value, types, remedy)
        refuse_other_server(
            f"{key} of {function}", value, settings, "look it up over the same connection"
        )
