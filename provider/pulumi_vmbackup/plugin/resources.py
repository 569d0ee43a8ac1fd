"""The resources of the plugin, for programs in Python."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from inspect import isawaitable
from typing import Any, TypeGuard

import pulumi

from ..errors import ArgumentError
from ..labels import location_labels, vm_labels
from ..models import BackupLocation, VirtualMachine, assignable, normalize_guid
from ..outputs import AssignmentOutputs
from ..program import shown_without_traceback
from .names import ASSIGNMENT, ASSIGNMENT_SET, PACKAGE, VERSION, camel_case

Assignments = Mapping[
    VirtualMachine | str, pulumi.Input[Iterable[pulumi.Input[BackupLocation | str]]]
]
"""VMs, as get_virtual_machine() gives them or as refs, each with its backup locations, as
get_backup_location() gives them or as ids."""


class Provider(pulumi.ProviderResource):
    """The way to one VM Backup server, for programs that have several.

    Each argument is a setting, as in the README's table; what is left out is taken from the stack's
    configuration (``vmbackup:…``), then from the environment (``VMBACKUP_…``). The password and the
    session token are kept as secrets. Another value replaces no resource.

    Args:
        name: the resource's name in the program.
        opts: the options of any Pulumi resource.
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
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        inputs = {
            "apiVersion": api_version,
            "baseUrl": base_url,
            "username": username,
            "password": None if password is None else pulumi.Output.secret(password),
            "domain": domain,
            "sessionToken": None if session_token is None else pulumi.Output.secret(session_token),
            "serverAddress": server_address,
            "serverPort": server_port,
            "caFile": ca_file,
            "hostHeader": host_header,
            "timeoutSeconds": timeout_seconds,
            "sessionWaitSeconds": session_wait_seconds,
            "settleSeconds": settle_seconds,
            "parallelRequests": parallel_requests,
            "inventoryFile": inventory_file,
        }
        super().__init__(PACKAGE, name, inputs, _of_this_version(opts))


class _Resource(pulumi.CustomResource):
    def _output(self, name: str) -> pulumi.Output[Any]:
        """An output by the name that it has in Python.

        Pulumi's own getters would translate all keys of a map too, and so the names of VMs.
        """
        output: pulumi.Output[Any] = self.__dict__[camel_case(name)]
        return output


class VmBackupLocationAssignment(AssignmentOutputs, _Resource):
    """Assigns a virtual machine to a backup location, as the dynamic resource of this name does.

    It can be imported, with the id ``<vmRef>/<backupLocationId>``.

    Args:
        name: the resource's name in the program.
        vm_ref: the VM, as get_virtual_machine() gives it, or its AltaroVirtualMachineRef, a GUID in
            any case, with or without braces.
        backup_location_id: the location, as get_backup_location() gives it, or its
            BackupLocationId, a GUID likewise.
        opts: the options of any Pulumi resource.

    Raises:
        ArgumentError: the VM is not configured in VM Backup.
    """

    def __init__(
        self,
        name: str,
        *,
        vm_ref: pulumi.Input[str | VirtualMachine],
        backup_location_id: pulumi.Input[str | BackupLocation],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        inputs = {
            "vmRef": _apply(vm_ref, _vm_ref),
            "backupLocationId": _apply(backup_location_id, _location_id),
            **dict.fromkeys(("vmName", "locationPath", "kind", "assignedAt")),
        }
        super().__init__(ASSIGNMENT, name, inputs, _of_this_version(opts))


class VmBackupLocationAssignmentSet(_Resource):
    """Assigns many virtual machines to backup locations, as one resource.

    What is new is assigned before anything is taken back. Deleting it takes back its own
    assignments only. Its VMs and locations are named in previews by what they are called at the
    time; the ids decide.

    Args:
        name: the resource's name in the program.
        assignments: the VMs, each with its backup locations, any of which may be outputs.
        exclusive: whether the listed VMs have no other backup locations: others are un-assigned.
            A preview warns of those that it finds.
        opts: the options of any Pulumi resource.

    Raises:
        ArgumentError: a VM is given twice, or is not configured in VM Backup.
    """

    @property
    def assignments(self) -> pulumi.Output[dict[str, Any]]:
        """What is assigned: ``{vm: {"vmRef": ref, "backupLocationIds": {path: id}}}``."""
        return self._output("assignments")

    @property
    def exclusive(self) -> pulumi.Output[bool]:
        """Whether the listed VMs have no other backup locations."""
        return self._output("exclusive")

    @property
    def other_assignments(self) -> pulumi.Output[dict[str, Any] | None]:
        """What the VMs of an exclusive set have besides, as the last refresh found it.

        In the form of ``assignments``; None when there is nothing. The next update un-assigns it.
        """
        return self._output("other_assignments")

    @property
    def assigned_at(self) -> pulumi.Output[str | None]:
        """When Pulumi last assigned something of it, as ISO 8601 in UTC; None when it never did."""
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
            "assignments": _apply(_with_outputs_known(assignments), _labelled),
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
    """What a function makes of an argument, which may be an output."""
    if isinstance(value, pulumi.Output):
        return value.apply(function)
    if isawaitable(value):
        return pulumi.Output.from_input(value).apply(function)
    with shown_without_traceback():
        return function(value)


def _with_outputs_known(assignments: Any) -> Any:
    """The assignments, as an output where locations are outputs."""
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


def _vm_ref(vm: str | VirtualMachine) -> str | None:
    if isinstance(vm, BackupLocation):
        raise ArgumentError("vm_ref is a BackupLocation: are two arguments swapped?")
    return assignable(vm).ref if isinstance(vm, VirtualMachine) else vm


def _location_id(location: str | BackupLocation) -> str:
    if isinstance(location, VirtualMachine):
        raise ArgumentError("backup_location_id is a VirtualMachine: are two arguments swapped?")
    return location.id if isinstance(location, BackupLocation) else location


def _labelled(assignments: Assignments) -> dict[str, Any]:
    """The set's input: labels that people read, for the ids that decide."""
    if not isinstance(assignments, Mapping):
        raise ArgumentError(f"assignments is {assignments!r}: give a dict of VMs.")
    names = vm_labels(vm for vm in assignments if isinstance(vm, VirtualMachine))
    labelled: dict[str, Any] = {}
    for vm, locations in assignments.items():
        ref = normalize_guid(_vm_ref(vm))
        label = names.get(ref, ref)
        if label in labelled:
            raise ArgumentError(f"The VM {label} is given twice: give all its locations at once.")
        if not _is_list(locations):
            raise ArgumentError(f"The VM {label} is given {locations!r}: give a list of locations.")
        each = list(locations)
        paths = location_labels(one for one in each if isinstance(one, BackupLocation))
        ids = map(_location_id, each)
        labelled[label] = {
            "vmRef": ref,
            "backupLocationIds": {paths.get(id_, id_): id_ for id_ in ids},
        }
    return labelled
