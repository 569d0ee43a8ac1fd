"""The resources of the plugin, for programs in Python."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from inspect import isawaitable
from typing import Any, TypeGuard

import pulumi

from ..errors import ArgumentError
from ..models import ID_HINTS, BackupLocation, VirtualMachine, assignable, normalize_guid
from ..names import location_labels, vm_labels
from ..program import (
    AssignmentOutputs,
    refuse_other_connection,
    refuse_swapped,
    shown_without_traceback,
)
from ..settings import SETTINGS, camel_case
from .schema import ASSIGNMENT, ASSIGNMENT_SET, PACKAGE, VERSION

Assignments = Mapping[
    VirtualMachine | str, pulumi.Input[Iterable[pulumi.Input[BackupLocation | str]]]
]
"""VMs with their backup locations. A VM is a VirtualMachine or its ref; a location is a
BackupLocation or its id."""


class Provider(pulumi.ProviderResource):
    """The settings of one VM Backup server, for programs that use several servers.

    Args:
        name: the resource's name in the program.
        opts: the options of any Pulumi resource.

    The other arguments are the settings of the README's table; they may be outputs. A setting that
    is left out comes from the stack configuration (``vmbackup:...``), else from the environment
    (``VMBACKUP_...``). The password and the session token are kept as secrets. A changed value
    replaces no resource.
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
        super().__init__(PACKAGE, name, inputs, _of_this_version(opts))


class _Resource(pulumi.CustomResource):
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
            any case, with or without braces.
        backup_location_id: the location that get_backup_location() returns, or its
            BackupLocationId, a GUID in the same forms.
        opts: the options of any Pulumi resource.

    Raises:
        ArgumentError: the VM is not configured in VM Backup, the arguments are swapped, or one was
            looked up over another connection.
    """

    def __init__(
        self,
        name: str,
        *,
        vm_ref: pulumi.Input[str | VirtualMachine],
        backup_location_id: pulumi.Input[str | BackupLocation],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        has_provider = _has_provider(opts)
        inputs = {
            "vmRef": _apply(vm_ref, partial(_vm_ref, has_provider=has_provider)),
            "backupLocationId": _apply(
                backup_location_id, partial(_location_id, has_provider=has_provider)
            ),
            **dict.fromkeys(("vmName", "locationPath", "kind", "assignedAt")),
        }
        super().__init__(ASSIGNMENT, name, inputs, _of_this_version(opts))


class VmBackupLocationAssignmentSet(_Resource):
    """Assigns many virtual machines to backup locations, as one resource.

    An update first assigns what is new, and then un-assigns the rest. Delete un-assigns only its
    own assignments. Previews show the present names of VMs and locations; the ids decide.

    Args:
        name: the resource's name in the program.
        assignments: the VMs with their backup locations; the locations may be outputs.
        exclusive: whether to un-assign all other backup locations of the listed VMs. A preview
            warns of those that it finds.
        opts: the options of any Pulumi resource.

    Raises:
        ArgumentError: a VM is given twice or is not configured in VM Backup, or a VM or location
            was looked up over another connection.
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
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        inputs = {
            "assignments": _apply(
                _with_outputs_known(assignments),
                partial(_labelled, has_provider=_has_provider(opts)),
            ),
            "exclusive": exclusive,
            **dict.fromkeys(("otherAssignments", "assignedAt")),
        }
        super().__init__(ASSIGNMENT_SET, name, inputs, _of_this_version(opts))


def _of_this_version(opts: pulumi.ResourceOptions | None) -> pulumi.ResourceOptions:
    merged: pulumi.ResourceOptions = pulumi.ResourceOptions.merge(
        pulumi.ResourceOptions(version=VERSION), opts
    )
    return merged


def _apply(value: Any, function: Callable[[Any], Any]) -> Any:
    """The result of a function for an argument, which may be an output."""
    if isinstance(value, pulumi.Output):
        return value.apply(function)
    if isawaitable(value):
        return pulumi.Output.from_input(value).apply(function)
    with shown_without_traceback():
        return function(value)


def _with_outputs_known(assignments: Any) -> Any:
    """The assignments; as one output if locations are outputs."""
    if not isinstance(assignments, Mapping):
        return assignments
    lists = [list(each) if _is_list(each) else each for each in assignments.values()]
    if not any(isinstance(part, pulumi.Output) for each in lists for part in _parts(each)):
        return dict(zip(assignments, lists, strict=True))
    return pulumi.Output.all(*lists).apply(
        lambda known: dict(zip(assignments, known, strict=True)),
    )


def _parts(locations: object) -> list[object]:
    return locations if isinstance(locations, list) else [locations]


def _is_list(value: object) -> TypeGuard[Iterable[Any]]:
    return isinstance(value, Iterable) and not isinstance(value, (str, Mapping, pulumi.Output))


def _vm_ref(vm: str | VirtualMachine, has_provider: bool) -> str | None:
    _refuse_unfit("vm_ref", vm, VirtualMachine, has_provider)
    return assignable(vm).ref if isinstance(vm, VirtualMachine) else vm


def _location_id(location: str | BackupLocation, has_provider: bool) -> str:
    _refuse_unfit("backup_location_id", location, BackupLocation, has_provider)
    return location.id if isinstance(location, BackupLocation) else location


def _refuse_unfit(key: str, value: object, expected: type, has_provider: bool) -> None:
    refuse_swapped(key, value, expected)
    if not has_provider:  # the server of an explicit provider is unknown here
        refuse_other_connection(key, value, None, "give the resource the provider of that server")


def _has_provider(opts: pulumi.ResourceOptions | None) -> bool:
    """Whether a resource may have another provider than the default one."""
    return opts is not None and any((opts.provider, opts.providers, opts.parent))


def _labelled(assignments: Assignments, has_provider: bool) -> dict[str, Any]:
    """The set's input: the ids by readable labels."""
    if not isinstance(assignments, Mapping):
        raise ArgumentError(f"assignments is {assignments!r}: give a dict of VMs.")
    names = vm_labels(vm for vm in assignments if isinstance(vm, VirtualMachine))
    labelled: dict[str, Any] = {}
    for vm, locations in assignments.items():
        ref = normalize_guid(_vm_ref(vm, has_provider), ID_HINTS["vm_ref"])
        label = names.get(ref, ref)
        if label in labelled:
            raise ArgumentError(f"The VM {label} is given twice: give all its locations at once.")
        if not _is_list(locations):
            raise ArgumentError(f"The VM {label} is given {locations!r}: give a list of locations.")
        each = list(locations)
        paths = location_labels(one for one in each if isinstance(one, BackupLocation))
        ids = [_location_id(one, has_provider) for one in each]
        host = {"host": vm.host} if isinstance(vm, VirtualMachine) and vm.host else {}
        labelled[label] = {
            "vmRef": ref,
            "backupLocationIds": {paths.get(id_, id_): id_ for id_ in ids},
            **host,
        }
    return labelled
