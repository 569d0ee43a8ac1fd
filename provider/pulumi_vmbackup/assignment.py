"""The resource VmBackupLocationAssignment and its dynamic provider."""

from __future__ import annotations

import functools
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from inspect import isawaitable
from typing import Any, TypeVar

import pulumi
from pulumi import dynamic
from pulumi.output import Unknown
from pulumi.runtime import rpc

from .declared import DeclaredPairs
from .errors import ArgumentError, SettingsError, VmBackupError
from .lifecycle import AssignmentLifecycle, age_seconds, now
from .models import Assignment, BackupLocation, VirtualMachine, assignable, normalize_guid
from .outputs import AssignmentOutputs
from .program import once_per_program, program_settings, shown_without_traceback
from .run import Run
from .settings import Settings, read_settings

_WHERE_TO_FIND = {
    "vm_ref": "get_virtual_machine(name=…), or a VM's ref as `vmbackup vms` shows it",
    "backup_location_id": "get_backup_location(path=…), or an id as `vmbackup locations` shows it",
}
_ID_KEYS = tuple(_WHERE_TO_FIND)

_Handler = TypeVar("_Handler", bound=Callable[..., Any])


class VmBackupLocationAssignment(
    AssignmentOutputs, dynamic.Resource, module="vmbackup", name="VmBackupLocationAssignment"
):
    """Assigns a virtual machine to a backup location of VM Backup.

    Creating it assigns the VM, deleting it takes the assignment back; a change of either id assigns
    the new pair before the old one is taken back. An assignment that stands already is adopted. The
    VM must be configured in VM Backup (documented).

    Args:
        name: the resource's name in the program.
        vm_ref: the VM, as get_virtual_machine() gives it, or its AltaroVirtualMachineRef, a GUID in
            any case, with or without braces.
        backup_location_id: the location, as get_backup_location() gives it, or its
            BackupLocationId, a GUID likewise.
        connection: the name of the connection in ``vmbackup:connections``, None for the unnamed
            one. It is the way to the server and not a part of the resource's identity: another name
            changes the state and leaves the server alone.
        opts: the options of any Pulumi resource.

    Given a VM or a location rather than an id, a preview shows its name beside the id.

    Raises:
        ArgumentError: the VM is not configured in VM Backup.
        SettingsError: a setting of ``vmbackup:…`` or ``VMBACKUP_…`` cannot be used.

    A program that declares the same pair twice fails with a sentence, at preview already.

    Its id is ``<vmRef>/<backupLocationId>``.
    """

    @property
    def connection(self) -> pulumi.Output[str | None]:
        """The name of the connection; None for the unnamed one."""
        return self._output("connection")

    def __init__(
        self,
        name: str,
        *,
        vm_ref: pulumi.Input[str | VirtualMachine],
        backup_location_id: pulumi.Input[str | BackupLocation],
        connection: str | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        with shown_without_traceback():
            program_settings(connection)  # so that a wrong setting fails the preview already
            properties = {
                **_parts(vm_ref, partial(_parts_of_vm, connection=connection)),
                **_parts(backup_location_id, partial(_parts_of_location, connection=connection)),
                "connection": connection,
                "assigned_at": None,
            }
        super().__init__(VmBackupLocationAssignmentProvider(), name, properties, opts)
        _refuse_same_pair_twice(self)

    def _output(self, name: str) -> pulumi.Output[Any]:
        output: pulumi.Output[Any] = self.__dict__[name]
        return output


def _parts(value: Any, parts: Callable[[Any], dict[str, str | None]]) -> dict[str, Any]:
    """The properties that an argument stands for: an id, an object, or an output of one of them."""
    if isinstance(value, pulumi.Output) or isawaitable(value):
        known = pulumi.Output.from_input(value).apply(parts)
        return {key: known[key] for key in parts("")}  # whatever it is, the keys are the same
    return dict(parts(value))


def _parts_of_vm(vm: str | VirtualMachine, connection: str | None) -> dict[str, str | None]:
    if isinstance(vm, VirtualMachine):
        _refuse_other_connection("vm_ref", vm, connection)
        return {"vm_ref": assignable(vm).ref, "vm_name": vm.name}
    _refuse_other_object("vm_ref", vm)
    return {"vm_ref": vm, "vm_name": None}


def _parts_of_location(
    location: str | BackupLocation, connection: str | None
) -> dict[str, str | None]:
    if isinstance(location, BackupLocation):
        _refuse_other_connection("backup_location_id", location, connection)
        return {
            "backup_location_id": location.id,
            "location_path": location.path,
            "kind": location.kind,
        }
    _refuse_other_object("backup_location_id", location)
    return {"backup_location_id": location, "location_path": None, "kind": None}


def _refuse_other_connection(
    key: str, found: VirtualMachine | BackupLocation, connection: str | None
) -> None:
    if found.connection != connection:
        raise ArgumentError(
            f"{key} was looked up over {_named(found.connection)}, and the resource goes over "
            f"{_named(connection)}: give both the same connection."
        )


def _named(connection: str | None) -> str:
    return f"the connection {connection!r}" if connection else "the unnamed connection"


def _refuse_other_object(key: str, value: object) -> None:
    if isinstance(value, (VirtualMachine, BackupLocation)):
        raise ArgumentError(f"{key} is a {type(value).__name__}: are two arguments swapped?")


@once_per_program
def _urns() -> dict[tuple[str, str], str]:
    """The resource that declares a pair, for each pair of the program."""
    return {}


def _refuse_same_pair_twice(resource: VmBackupLocationAssignment) -> None:
    """Fail the program, so a preview as well, when two of its resources are of the same pair."""
    urns = _urns()

    def refuse(urn: str, vm_ref: str, backup_location_id: str) -> None:
        first = urns.setdefault((vm_ref, backup_location_id), urn)
        if first != urn:
            with shown_without_traceback():
                first, second = sorted((first, urn))
                raise ArgumentError(
                    f"The resources {first} and {second} both assign VM {vm_ref} to backup "
                    f"location {backup_location_id}: remove one of them."
                )

    def of_vm(urn: str, vm_ref: str) -> pulumi.Output[None]:
        return resource.backup_location_id.apply(partial(refuse, urn, vm_ref))

    def of_resource(urn: str) -> pulumi.Output[None]:
        return resource.vm_ref.apply(partial(of_vm, urn))

    # What the resource was given may have been changed by a transformation, so its outputs decide.
    # One after the other: pulumi.Output.all would make twice as many tasks of asyncio.
    resource.urn.apply(of_resource)  # type: ignore[arg-type]  # what nobody uses is a Never to mypy


def _sentence_first(handler: _Handler) -> _Handler:
    """Make Pulumi print a handler's error as a sentence, and the traceback after it.

    The provider host prints whole tracebacks, and Python prints an exception's cause first. A cause
    that was never raised has no traceback, so it is the sentence alone.
    """

    @functools.wraps(handler)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return handler(*args, **kwargs)
        except VmBackupError as error:
            raise error.with_traceback(None) from type(error)(str(error))

    return wrapper  # type: ignore[return-value]  # the signature is the handler's own


# As far as check has seen them. One for the process, since the host keeps a provider for each way
# in which Python versions wrote it into the state.
_run = Run(sys.argv[1:])
_declared = DeclaredPairs(_run)

_lifecycles: dict[Settings, AssignmentLifecycle] = {}
_lifecycles_lock = threading.Lock()


def _shared_lifecycle(settings: Settings) -> AssignmentLifecycle:
    """One lifecycle, and so one session, for all providers and threads of a process."""
    with _lifecycles_lock:
        if settings not in _lifecycles:
            from .client import Client

            _lifecycles[settings] = AssignmentLifecycle(
                Client(settings), settle_seconds=settings.settle_seconds, is_over=_run.is_over
            )
        return _lifecycles[settings]


def _configured_lifecycle(config: dynamic.Config, connection: str | None) -> AssignmentLifecycle:
    """The lifecycle of a connection, by the stack's configuration and the environment."""

    def get_config(key: str) -> object:
        return config.get(f"vmbackup:{key}")

    return _shared_lifecycle(read_settings(get_config, os.environ, connection))


class VmBackupLocationAssignmentProvider(dynamic.ResourceProvider):
    """The handlers behind VmBackupLocationAssignment, called by Pulumi's dynamic provider host.

    Users' state files hold this class by its module and name: neither may change, and instances
    have no attributes when they are stored.
    """

    serialize_as_secret_always = False

    def configure(self, req: dynamic.ConfigureRequest) -> None:
        # Settings are read when they are needed, and once: a preview needs none.
        self._lifecycle = functools.cache(partial(_configured_lifecycle, req.config))

    @_sentence_first
    def check(self, _olds: dict[str, Any], news: dict[str, Any]) -> dynamic.CheckResult:
        inputs = dict(news)
        failures = []
        for key, where_to_find in _WHERE_TO_FIND.items():
            value = news.get(key)
            if _is_unknown(value):
                continue
            try:
                inputs[key] = normalize_guid(value)
            except ArgumentError as error:
                failures.append(dynamic.CheckFailure(key, f"{error} Use {where_to_find}."))
        if not failures and not any(_is_unknown(inputs[key]) for key in _ID_KEYS):
            _declared.add((inputs["vm_ref"], inputs["backup_location_id"]))
        return dynamic.CheckResult(inputs, failures)

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> dynamic.DiffResult:
        # An id that is not known yet may change, so a preview shows the replacement.
        replaces = [
            key
            for key in _ID_KEYS
            if _is_unknown(_news.get(key)) or _news.get(key) != _olds.get(key)
        ]
        changes = bool(replaces) or _news.get("connection") != _olds.get("connection")
        return dynamic.DiffResult(changes, replaces, delete_before_replace=False)

    @_sentence_first
    def create(self, props: dict[str, Any]) -> dynamic.CreateResult:
        connection = props.get("connection")
        made = self._lifecycle(connection).assign(
            _known("/".join(props[key] for key in _ID_KEYS), props)
        )
        return dynamic.CreateResult(
            f"{made.vm_ref}/{made.backup_location_id}",
            {**asdict(made), "connection": connection, "assigned_at": now()},
        )

    @_sentence_first
    def read(self, id_: str, props: dict[str, Any]) -> dynamic.ReadResult:
        connection, assigned_at = props.get("connection"), props.get("assigned_at")
        found = self._lifecycle_of_state(connection).find(
            _known(id_, props), age_seconds=age_seconds(assigned_at)
        )
        if found is None:
            return dynamic.ReadResult("", {})
        inputs = {key: getattr(found, key) for key in _ID_KEYS}
        if connection:
            inputs["connection"] = connection
        return dynamic.ReadResult(
            id_, {**asdict(found), "connection": connection, "assigned_at": assigned_at}, inputs
        )

    def update(
        self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]
    ) -> dynamic.UpdateResult:
        # The connection alone has changed, which is nothing to the server.
        return dynamic.UpdateResult({**_olds, "connection": _news.get("connection")})

    @_sentence_first
    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        vm_ref, backup_location_id = _id.split("/")
        # Pulumi turns a renamed resource into a create and a delete of the same pair, the delete
        # maybe in a later run. A pair that the program still declares is left alone.
        if (vm_ref, backup_location_id) not in _declared:
            age = age_seconds(_props.get("assigned_at"))
            lifecycle = self._lifecycle_of_state(_props.get("connection"))
            lifecycle.unassign(vm_ref, backup_location_id, age_seconds=age)

    def _lifecycle_of_state(self, connection: str | None) -> AssignmentLifecycle:
        try:
            return self._lifecycle(connection)
        except SettingsError as error:
            if connection is None:
                raise
            raise SettingsError(
                f"{error} The state reaches an assignment over {connection!r}: keep that "
                "connection in the configuration until a `pulumi up` with another one has "
                "succeeded."
            ) from None


def _known(id_: str, props: dict[str, Any]) -> Assignment:
    """The assignment of an id, with the names that its properties tell."""
    vm_ref, backup_location_id = id_.split("/")
    return Assignment(
        vm_ref,
        backup_location_id,
        vm_name=props.get("vm_name"),
        location_path=props.get("location_path"),
        kind=props.get("kind"),
    )


def _is_unknown(value: object) -> bool:
    return isinstance(value, Unknown) or value == rpc.UNKNOWN
