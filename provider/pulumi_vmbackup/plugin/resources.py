"""The resources of the plugin, for programs in Python."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from inspect import isawaitable
from typing import Any, TypeGuard, TypeVar

import pulumi
from pulumi.output import Unknown

from ..errors import ArgumentError
from ..models import ID_HINTS, BackupLocation, VirtualMachine, assignable, normalize_guid
from ..names import location_labels, vm_labels
from ..program import (
    AssignmentOutputs,
    end_idle_sessions,
    program_settings,
    provider_settings,
    refuse_connection_and_provider,
    refuse_no_name,
    refuse_other_server,
    refuse_swapped,
    server_of,
    shown_without_traceback,
)
from ..settings import ADDRESS_SETTINGS, SETTINGS, Settings, camel_case
from .handler import input_text
from .schema import ASSIGNMENT, ASSIGNMENT_SET, PACKAGE, VERSION

_Class = TypeVar("_Class", bound="_Resource")

_ASSIGNMENT_OUTPUTS = ("vmName", "locationPath", "kind", "assignedAt")
_SET_OUTPUTS = ("otherAssignments", "assignedAt")

# The type of a mapping's keys must be met exactly, which no dict of VMs would do.
Assignments = Mapping[Any, pulumi.Input[Iterable[pulumi.Input[BackupLocation | str]]]]
"""VMs with their backup locations. A VM is a VirtualMachine, its ref, or an output of either; a
location is a BackupLocation or its id."""


class Provider(pulumi.ProviderResource):
    """The settings of one VM Backup server, for programs that use several servers.

    Args:
        name: the resource's name in the program.
        opts: the options of any Pulumi resource.

    The other arguments are the settings of docs/reference/settings.md; they may be outputs. A
    setting that is left out comes from the stack configuration (``vmbackup:...``), or else from the
    environment (``VMBACKUP_...``). But if these lead to another server, the provider does not take
    what belongs to that server, such as its password. The password and the session token are kept
    as secrets. A changed value replaces no resource, unless it leads to another server.
    """

    def __init__(
        self,
        name: str,
        *,
        api_version: pulumi.Input[str] | None = None,
        base_url: pulumi.Input[str] | None = None,
        username: pulumi.Input[str] | None = None,
        password: pulumi.Input[str] | None = None,
        domain: pulumi.Input[str] | None = None,
        session_token: pulumi.Input[str] | None = None,
        server_address: pulumi.Input[str] | None = None,
        server_port: pulumi.Input[int] | None = None,
        ca_file: pulumi.Input[str] | None = None,
        host_header: pulumi.Input[str] | None = None,
        timeout_seconds: pulumi.Input[float] | None = None,
        session_wait_seconds: pulumi.Input[float] | None = None,
        settle_seconds: pulumi.Input[float] | None = None,
        parallel_requests: pulumi.Input[int] | None = None,
        inventory_file: pulumi.Input[str] | None = None,
        allow_mass_removal: pulumi.Input[bool] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        # SETTINGS is what counts; the arguments are written out for type checkers and editors.
        given = locals()
        inputs: dict[str, Any] = {}
        for key, setting in SETTINGS.items():
            value = given[setting.name]
            is_given_secret = setting.is_secret and value is not None
            inputs[key] = pulumi.Output.secret(value) if is_given_secret else value
        self._given = {key: given[setting.name] for key, setting in SETTINGS.items()}
        super().__init__(PACKAGE, name, inputs, _of_this_version(opts))


def settings_of(
    provider: Provider, keys: Iterable[str] = SETTINGS
) -> Settings | pulumi.Output[Settings]:
    """The settings of a provider; an output if one of its arguments is an output.

    Args:
        provider: the provider.
        keys: the keys of the arguments that count.

    Raises:
        SettingsError: a value is unusable.
    """
    given = {key: provider._given[key] for key in keys if provider._given[key] is not None}

    def read(known: Mapping[str, Any]) -> Settings:
        texts = {key: input_text(value) for key, value in known.items()}
        with shown_without_traceback():
            return provider_settings(provider.pulumi_resource_name, texts)

    if not any(map(_is_output, given.values())):
        return read(given)
    # What is looked up with a password is no secret itself.
    return pulumi.Output.unsecret(pulumi.Output.all(**given)).apply(read)


class _Resource(pulumi.CustomResource):
    def __init__(
        self,
        type_: str,
        name: str,
        inputs: Mapping[str, Any],
        outputs: Iterable[str],
        opts: pulumi.ResourceOptions | None,
    ) -> None:
        end_idle_sessions()
        properties = {**inputs, **dict.fromkeys(outputs)}
        super().__init__(type_, name, properties, _of_this_version(opts))

    @property
    def connection(self) -> pulumi.Output[str | None]:
        """The name of the connection; None for the settings of the provider."""
        return self._output("connection")

    def _address(self, connection: str | None, opts: pulumi.ResourceOptions | None) -> _Address:
        """Tells the settings of the resource's server, as far as the program can.

        Raises:
            ArgumentError: there are a connection and a provider, or the connection is no text.
            SettingsError: there is no such connection, or a setting of it is unusable.
        """
        if connection is not None:
            with shown_without_traceback():
                owner = type(self).__name__
                refuse_no_name(connection, owner)
                refuse_connection_and_provider(owner, connection, _provider_of(opts))
                settings = program_settings(connection)
            return lambda: settings
        if _may_be_transformed(opts):
            # Pulumi chooses the provider in the constructor, and calls this function after it.
            return lambda: pulumi.Output.from_input(None).apply(
                lambda _: _address_of(self._provider)
            )
        return lambda: _address_of(_provider_of(opts))

    @classmethod
    def _get(
        cls: type[_Class],
        type_: str,
        name: str,
        id_: pulumi.Input[str],
        outputs: Iterable[str],
        opts: pulumi.ResourceOptions | None,
    ) -> _Class:
        found = cls.__new__(cls)
        with_id = pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(id=id_))
        _Resource.__init__(found, type_, name, {}, outputs, with_id)
        return found

    def _output(self, name: str) -> pulumi.Output[Any]:
        """An output by its Python name.

        Pulumi's own getters would also translate the keys of maps, and so the names of VMs.
        """
        output: pulumi.Output[Any] = self.__dict__[camel_case(name)]
        return output


class VmBackupLocationAssignment(AssignmentOutputs, _Resource):
    """Assigns a virtual machine to a backup location, as the dynamic resource of this name does.

    It can be imported, with the id ``<vmRef>/<backupLocationId>``.

    Args:
        name: the resource's name in the program.
        vm_ref: the VM that get_virtual_machine() returns, or its AltaroVirtualMachineRef, a GUID in
            upper or lower case, with or without braces.
        backup_location_id: the location that get_backup_location() returns, or its
            BackupLocationId, a GUID in the same forms.
        connection: the name of the connection in ``vmbackup:connections`` of the stack
            configuration; None for the settings of the provider. Another name for the same server
            changes only the state. Another server replaces the resource.
        opts: the options of any Pulumi resource.

    Raises:
        ArgumentError: the VM is not configured in VM Backup, the arguments are swapped, one was
            looked up on another server, or there are a connection and a provider.
        SettingsError: there is no such connection, or a setting of it is unusable.
    """

    def __init__(
        self,
        name: str,
        *,
        vm_ref: pulumi.Input[str | VirtualMachine],
        backup_location_id: pulumi.Input[str | BackupLocation],
        connection: str | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        address = self._address(connection, opts)
        inputs = {
            "vmRef": _apply(vm_ref, partial(_vm_ref_at, address)),
            "backupLocationId": _apply(backup_location_id, partial(_location_id_at, address)),
            "connection": connection,
        }
        super().__init__(ASSIGNMENT, name, inputs, _ASSIGNMENT_OUTPUTS, opts)

    @staticmethod
    def get(
        resource_name: str, id: pulumi.Input[str], opts: pulumi.ResourceOptions | None = None
    ) -> VmBackupLocationAssignment:
        """An assignment that exists, which the program reads but does not manage.

        Args:
            resource_name: the resource's name in the program.
            id: ``<vmRef>/<backupLocationId>``, with ``<connection>/`` before it for a connection.
            opts: the options of any Pulumi resource.
        """
        outputs = ("vmRef", "backupLocationId", "connection", *_ASSIGNMENT_OUTPUTS)
        return VmBackupLocationAssignment._get(ASSIGNMENT, resource_name, id, outputs, opts)


class VmBackupLocationAssignmentSet(_Resource):
    """Assigns many virtual machines to backup locations, as one resource.

    An update first assigns what is new, and then un-assigns the rest. Delete un-assigns only its
    own assignments. Previews show the present names of VMs and locations; the ids decide.

    Args:
        name: the resource's name in the program.
        assignments: the VMs with their backup locations; VMs and locations may be outputs.
        exclusive: whether to un-assign all other backup locations of the listed VMs. A preview
            warns of those that it finds.
        connection: the name of the connection in ``vmbackup:connections`` of the stack
            configuration; None for the settings of the provider. Another name for the same server
            changes only the state. Another server replaces the resource.
        opts: the options of any Pulumi resource.

    Raises:
        ArgumentError: a VM is given twice or is not configured in VM Backup, a VM or location was
            looked up on another server, or there are a connection and a provider.
        SettingsError: there is no such connection, or a setting of it is unusable.
    """

    @property
    def assignments(self) -> pulumi.Output[dict[str, Any]]:
        """What is assigned: ``{vm: {"vmRef": ref, "backupLocationIds": {path: id}}}``."""
        return self._output("assignments")

    @property
    def exclusive(self) -> pulumi.Output[bool]:
        """Whether all other backup locations of the listed VMs are un-assigned."""
        return self._output("exclusive")

    @property
    def other_assignments(self) -> pulumi.Output[dict[str, Any] | None]:
        """Other assignments of the VMs of an exclusive set, found by the last refresh.

        In the form of ``assignments``; None if there are none. The next update un-assigns them.
        """
        return self._output("other_assignments")

    @property
    def assigned_at(self) -> pulumi.Output[str | None]:
        """When Pulumi last assigned a part of it, as ISO 8601 in UTC; None if it never did."""
        return self._output("assigned_at")

    def __init__(
        self,
        name: str,
        *,
        assignments: pulumi.Input[Assignments],
        exclusive: pulumi.Input[bool] = False,
        connection: str | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        address = self._address(connection, opts)
        inputs = {
            "assignments": _apply(assignments, partial(_labelled_at, address)),
            "exclusive": exclusive,
            "connection": connection,
        }
        super().__init__(ASSIGNMENT_SET, name, inputs, _SET_OUTPUTS, opts)

    @staticmethod
    def get(
        resource_name: str, id: pulumi.Input[str], opts: pulumi.ResourceOptions | None = None
    ) -> VmBackupLocationAssignmentSet:
        """What some VMs are assigned to, which the program reads but does not manage.

        Args:
            resource_name: the resource's name in the program.
            id: the refs of the VMs, with commas between them, and with ``<connection>/`` before
                them for a connection.
            opts: the options of any Pulumi resource.
        """
        outputs = ("assignments", "exclusive", "connection", *_SET_OUTPUTS)
        return VmBackupLocationAssignmentSet._get(ASSIGNMENT_SET, resource_name, id, outputs, opts)


def _of_this_version(opts: pulumi.ResourceOptions | None) -> pulumi.ResourceOptions:
    merged: pulumi.ResourceOptions = pulumi.ResourceOptions.merge(
        pulumi.ResourceOptions(version=VERSION), opts
    )
    return merged


# The server of a resource


def _provider_of(opts: pulumi.ResourceOptions | None) -> pulumi.ProviderResource | None:
    """The provider that Pulumi chooses for a resource; None for the default one."""
    if opts is None:
        return None
    if opts.provider is not None and opts.provider.package == PACKAGE:
        return opts.provider
    given = opts.providers or {}
    by_package = given if isinstance(given, Mapping) else {each.package: each for each in given}
    if PACKAGE in by_package:
        return by_package[PACKAGE]
    return opts.parent.get_provider(ASSIGNMENT) if opts.parent is not None else None


def _may_be_transformed(opts: pulumi.ResourceOptions | None) -> bool:
    """Whether a transformation may give a resource another provider."""
    parent = (opts and opts.parent) or pulumi.runtime.get_root_resource()
    return bool((opts and opts.transformations) or (parent and parent._transformations))


_Settings = Settings | None
_Address = Callable[[], _Settings | pulumi.Output[_Settings]]


def _address_of(
    provider: pulumi.ProviderResource | None,
) -> _Settings | pulumi.Output[_Settings]:
    """The settings that tell a provider's server; None for a provider of another class."""
    if provider is None:
        return program_settings()
    return settings_of(provider, ADDRESS_SETTINGS) if isinstance(provider, Provider) else None


def _at_this_server(address: _Address, result: Any, objects: Iterable[tuple[str, object]]) -> Any:
    """The result, unless one of the objects was looked up on another server.

    It is known in a preview too, even if the server is not known yet.
    """
    looked_up = [(key, each) for key, each in objects if server_of(each)]
    if not looked_up:
        return result

    def refuse(settings: _Settings | Unknown) -> Any:
        with shown_without_traceback():
            for key, each in looked_up:
                if isinstance(settings, Settings):
                    remedy = "give the resource the connection or the provider of that server"
                    refuse_other_server(key, each, settings, remedy)
        return result

    settings = address()
    if isinstance(settings, pulumi.Output):
        return settings.apply(refuse, run_with_unknowns=True)
    return refuse(settings)


# Arguments


def _is_output(value: object) -> bool:
    return isinstance(value, pulumi.Output) or isawaitable(value)


def _apply(value: Any, function: Callable[[Any], Any]) -> Any:
    """The result of a function for an argument, which may be an output."""

    def of_known(known: Any) -> Any:
        with shown_without_traceback():
            return function(known)

    if isawaitable(value):
        value = pulumi.Output.from_input(value)
    return value.apply(of_known) if isinstance(value, pulumi.Output) else of_known(value)


def _vm_ref_at(address: _Address, vm: str | VirtualMachine) -> Any:
    return _at_this_server(address, _vm_ref(vm), [("vm_ref", vm)])


def _vm_ref(vm: str | VirtualMachine) -> str | None:
    refuse_swapped("vm_ref", vm, VirtualMachine)
    return assignable(vm).ref if isinstance(vm, VirtualMachine) else vm


def _location_id_at(address: _Address, location: str | BackupLocation) -> Any:
    return _at_this_server(address, _location_id(location), [("backup_location_id", location)])


def _location_id(location: str | BackupLocation) -> str:
    refuse_swapped("backup_location_id", location, BackupLocation)
    return location.id if isinstance(location, BackupLocation) else location


def _labelled_at(address: _Address, assignments: Assignments) -> Any:
    if not isinstance(assignments, Mapping):
        raise ArgumentError(f"assignments is {assignments!r}: give a dict of VMs.")
    vms = list(assignments)
    lists = [list(each) if _is_list(each) else each for each in assignments.values()]
    each_part = [*vms, *(part for each in lists for part in _parts(each))]
    if not any(map(_is_output, each_part)):
        return _labelled(address, (vms, lists))
    known = pulumi.Output.all(pulumi.Output.all(*vms), pulumi.Output.all(*lists))
    return _apply(known, partial(_labelled, address))


def _parts(locations: object) -> list[object]:
    return locations if isinstance(locations, list) else [locations]


def _is_list(value: object) -> TypeGuard[Iterable[Any]]:
    return (
        isinstance(value, Iterable)
        and not isinstance(value, (str, Mapping))
        and not _is_output(value)
    )


def _labelled(address: _Address, given: tuple[list[Any], list[Any]]) -> Any:
    """The set's input: the ids by readable labels."""
    vms, lists = given
    objects: list[tuple[str, object]] = []
    names = vm_labels(vm for vm in vms if isinstance(vm, VirtualMachine))
    labelled: dict[str, Any] = {}
    for vm, locations in zip(vms, lists, strict=True):
        ref = normalize_guid(_vm_ref(vm), ID_HINTS["vm_ref"])
        label = names.get(ref, ref)
        if label in labelled:
            raise ArgumentError(f"The VM {label} is given twice: give all its locations at once.")
        if not _is_list(locations):
            raise ArgumentError(f"The VM {label} is given {locations!r}: give a list of locations.")
        each = list(locations)
        for one in each:
            if not isinstance(one, (str, BackupLocation, VirtualMachine)):
                raise ArgumentError(
                    f"The VM {label} is given the location {one!r}: give a location or its id."
                )
        paths = location_labels(one for one in each if isinstance(one, BackupLocation))
        ids = [_location_id(one) for one in each]
        host = {"host": vm.host} if isinstance(vm, VirtualMachine) and vm.host else {}
        labelled[label] = {
            "vmRef": ref,
            "backupLocationIds": {paths.get(id_, id_): id_ for id_ in ids},
            **host,
        }
        objects += [("vm_ref", vm), *(("backup_location_id", one) for one in each)]
    return _at_this_server(address, labelled, objects)
