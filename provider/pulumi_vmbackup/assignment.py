"""The resource VmBackupLocationAssignment and its dynamic provider."""

from __future__ import annotations

import functools
import logging
import os
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from inspect import isawaitable
from types import NoneType
from typing import Any, TypeVar

import pulumi
from pulumi import dynamic
from pulumi.output import Unknown
from pulumi.runtime import rpc

from .catalog import Catalog
from .client import Client
from .declared import DeclaredPairs, PairsOfServer, Run, declared_twice, excluded
from .errors import ArgumentError, SettingsError, VmBackupError, explained
from .lifecycle import AssignmentLifecycle, age_seconds, now
from .models import (
    ID_HINTS,
    Assignment,
    BackupLocation,
    Pair,
    VirtualMachine,
    assignable,
    is_guid,
    normalize_guid,
    shown,
)
from .program import (
    AssignmentOutputs,
    end_idle_sessions,
    once_per_program,
    program_settings,
    refuse_no_name,
    refuse_other_server,
    refuse_swapped,
    shown_without_traceback,
    worded,
)
from .settings import Settings, read_settings
from .states import (
    HOW_TO_CORRECT,
    connection_is_needed,
    kind_of,
    pair_of_id,
    text_of,
    time_of,
    vm_is_gone,
    vm_is_not_listed,
)

_log = logging.getLogger(__name__)

_Handler = TypeVar("_Handler", bound=Callable[..., Any])

# The inputs that hold names, by the id that they belong to and by the input with the id of the
# object that told them. What a program ignores or transforms may be another id. The CLI shows no
# inputs whose names begin with two underscores.
_NAMES = {
    ("vm_ref", "__vm_name_of"): ("vm_name",),
    ("backup_location_id", "__location_names_of"): ("location_path", "kind"),
}


class VmBackupLocationAssignment(
    AssignmentOutputs, dynamic.Resource, module="vmbackup", name="VmBackupLocationAssignment"
):
    """Assigns a virtual machine to a backup location of VM Backup.

    Create assigns the VM, and delete un-assigns it. If an id changes, Pulumi first assigns the new
    pair, and then un-assigns the old one. An existing assignment is adopted. The VM must be
    configured in VM Backup. The id of the resource is ``<vmRef>/<backupLocationId>``.

    If the arguments are a VM and a location from look-ups, a preview shows their names. If a
    program declares a pair twice, the preview fails.

    Args:
        name: the resource's name in the program.
        vm_ref: the VM that get_virtual_machine() returns, or its AltaroVirtualMachineRef, a GUID in
            upper or lower case, with or without braces.
        backup_location_id: the location that get_backup_location() returns, or its
            BackupLocationId, a GUID in the same forms.
        connection: the name of the connection in ``vmbackup:connections``; None for the unnamed
            one. If it becomes the name of another server, Pulumi assigns the VM there, and then
            un-assigns it here. Another name for the same server changes nothing on the server.
        opts: the options of any Pulumi resource.

    Raises:
        ArgumentError: the VM is not configured in VM Backup, the arguments are swapped, one of them
            is from another server, or the options ask for an import.
        SettingsError: a setting of ``vmbackup:...`` or ``VMBACKUP_...`` is wrong.
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
            _refuse_import(opts)
            refuse_no_name(connection, type(self).__name__)
            settings = program_settings(connection)  # a wrong setting fails the preview too
            properties = {
                **_parts(vm_ref, partial(_parts_of_vm, settings=settings)),
                **_parts(backup_location_id, partial(_parts_of_location, settings=settings)),
                "connection": connection,
                "assigned_at": None,
            }
        end_idle_sessions()
        super().__init__(VmBackupLocationAssignmentProvider(), name, properties, opts)
        _refuse_same_pair_twice(self, settings.server)

    def _output(self, name: str) -> pulumi.Output[Any]:
        output: pulumi.Output[Any] = self.__dict__[name]
        return output


def _refuse_import(opts: pulumi.ResourceOptions | None) -> None:
    """Refuse what Pulumi cannot do with a dynamic resource.

    Raises:
        ArgumentError: the options ask for an import.
    """
    if opts is not None and opts.import_ is not None:
        raise ArgumentError(
            "Pulumi cannot import a dynamic resource: leave out the option import_, and `pulumi "
            "up` adopts the assignment; or use "
            "pulumi_vmbackup.plugin.VmBackupLocationAssignment, which can be imported."
        )


def _parts(value: Any, parts: Callable[[Any], dict[str, str | None]]) -> dict[str, Any]:
    """The properties of an argument, which is an id, an object, or an output of either."""

    def of_known(known: Any) -> dict[str, str | None]:
        with shown_without_traceback():
            return parts(known)

    if isinstance(value, pulumi.Output) or isawaitable(value):
        known = pulumi.Output.from_input(value).apply(of_known)
        return {key: known[key] for key in parts("")}  # the keys do not depend on the value
    return dict(parts(value))


def _parts_of_vm(vm: str | VirtualMachine, settings: Settings) -> dict[str, str | None]:
    refuse_swapped("vm_ref", vm, VirtualMachine)
    refuse_other_server("vm_ref", vm, settings)
    if isinstance(vm, VirtualMachine):
        ref = assignable(vm).ref
        return {"vm_ref": ref, "vm_name": vm.name, "__vm_name_of": ref}
    return {"vm_ref": vm, "vm_name": None, "__vm_name_of": None}


def _parts_of_location(location: Any, settings: Settings) -> dict[str, str | None]:
    refuse_swapped("backup_location_id", location, BackupLocation)
    refuse_other_server("backup_location_id", location, settings)
    found = location if isinstance(location, BackupLocation) else None
    return {
        "backup_location_id": found.id if found else location,
        "location_path": found.path if found else None,
        "kind": found.kind if found else None,
        "__location_names_of": found.id if found else None,
    }


@once_per_program
def _urns() -> dict[tuple[str, Pair], str]:
    """The URN of the resource that declares a pair, by server and pair."""
    return {}


def _refuse_same_pair_twice(resource: VmBackupLocationAssignment, server: str) -> None:
    """Fail the program, in a preview too, if another resource declares the same pair."""
    urns = _urns()

    def refuse(urn: str, vm_ref: str, backup_location_id: str) -> None:
        first = urns.setdefault((server, (vm_ref, backup_location_id)), urn)
        if first != urn:
            with shown_without_traceback():
                raise ArgumentError(declared_twice((vm_ref, backup_location_id), first, urn))

    def of_vm(urn: str, vm_ref: str) -> pulumi.Output[None]:
        return resource.backup_location_id.apply(partial(refuse, urn, vm_ref))

    def of_resource(urn: str) -> pulumi.Output[None]:
        return resource.vm_ref.apply(partial(of_vm, urn))

    # A transformation may have changed the arguments, so the outputs decide. The applies are nested
    # because pulumi.Output.all makes twice as many asyncio tasks, which makes the preview of 300
    # resources 3 % slower.
    resource.urn.apply(of_resource)  # type: ignore[arg-type]  # mypy infers Never


def _sentence_first(handler: _Handler) -> _Handler:
    """Make Pulumi print a handler's error as a sentence, before the traceback.

    The provider host prints whole tracebacks, in which Python puts the cause of an exception first.
    A cause that was never raised has no traceback, so Python prints its message alone.
    """

    @functools.wraps(handler)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        try:
            return handler(*args, **kwargs)
        except VmBackupError as error:
            sentence = worded(error)
            raise error.reworded(sentence) from error.reworded(sentence)

    return wrapper  # type: ignore[return-value]  # the signature is the handler's own


class ProviderProcess:
    """What all providers and threads of one provider process share.

    There is one per process: the host makes a provider for each serialized form in the state, and
    Python versions serialize it differently.

    Args:
        arguments: the arguments of the process; the last is the address of Pulumi's engine.

    Attributes:
        declared: the pairs that the program declares, as far as check has seen them.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        self._run = Run(arguments)
        self.declared = DeclaredPairs(self._run)
        self._lock = threading.Lock()
        self._clients: dict[Settings, Client] = {}
        self._lifecycles: dict[Settings, AssignmentLifecycle] = {}
        self._servers: dict[str, Settings] = {}

    def declare(self, settings: Settings | None, pair: Pair) -> PairsOfServer:
        """Remember a pair that the program declares.

        Args:
            settings: those of its connection; None if they cannot be read.
            pair: the pair.
        """
        if settings:
            self._servers.setdefault(settings.server, settings)
        declared = self.declared.on(settings.server if settings else None)
        declared.add([pair])
        return declared

    def assign_elsewhere(self, pair: Pair, server: str) -> None:
        """Assign a pair that was un-assigned here on the other servers that it is declared on.

        Two addresses may lead to one server: the pair is then un-assigned there as well.
        """
        for other, settings in list(self._servers.items()):
            if other != server and pair in self.declared.on(other):
                with explained(f"assign VM {pair[0]} to backup location {pair[1]} on {other}"):
                    self.lifecycle(settings).ensure(*pair, assigned=True)

    def lifecycle(self, settings: Settings) -> AssignmentLifecycle:
        """The one lifecycle, and so the one session, for these settings.

        The name of the connection does not count.
        """
        key = replace(settings, connection=None)
        with self._lock:
            if key not in self._lifecycles:
                self._clients[key] = client = Client(settings)
                self._lifecycles[key] = AssignmentLifecycle(
                    client,
                    Catalog(settings, client=client),
                    settle_seconds=settings.settle_seconds,
                    declared=self.declared.on(settings.server),
                    is_over=self._run.is_over,
                )
            return self._lifecycles[key]

    def end(self) -> None:
        """End all sessions and forget everything. For tests, which are many processes in one."""
        with self._lock:
            clients = list(self._clients.values())
            self._clients.clear()
            self._lifecycles.clear()
            self._servers.clear()
        self.declared.clear()
        for client in clients:
            client.close()


process = ProviderProcess(sys.argv[1:])


def _configured_settings(config: dynamic.Config, connection: str | None) -> Settings:
    """The settings of a connection, from the stack configuration and the environment."""

    def get_config(key: str) -> object:
        return config.get(f"vmbackup:{key}")

    return read_settings(get_config, os.environ, connection)


def _not_configured(_connection: str | None) -> Settings:
    raise SettingsError("The provider has not been configured.")


class VmBackupLocationAssignmentProvider(dynamic.ResourceProvider):
    """The handlers behind VmBackupLocationAssignment, called by Pulumi's dynamic provider host.

    Users' state files hold the module and the name of this class: neither may change. Instances
    have no attributes when they are stored.
    """

    serialize_as_secret_always = False
    _read_settings: Callable[[str | None], Settings] = staticmethod(_not_configured)

    def configure(self, req: dynamic.ConfigureRequest) -> None:
        self._read_settings = functools.cache(partial(_configured_settings, req.config))

    @_sentence_first
    def check(self, _olds: dict[str, Any], news: dict[str, Any]) -> dynamic.CheckResult:
        inputs = _with_own_names(_olds, news)
        failures = []
        for key, hint in ID_HINTS.items():
            value = news.get(key)
            if _is_unknown(value):
                continue
            try:
                inputs[key] = normalize_guid(value, hint)
            except ArgumentError as error:
                failures.append(dynamic.CheckFailure(key, worded(error)))
        if not failures and not any(_is_unknown(inputs[key]) for key in ID_HINTS):
            pair = (inputs["vm_ref"], inputs["backup_location_id"])
            declared = process.declare(self._settings_or_none(inputs.get("connection")), pair)
            failures += [
                dynamic.CheckFailure("", excluded(each, "a set of the program", "this resource"))
                for each in declared.excluded_by_others([pair])
            ]
        return dynamic.CheckResult(inputs, failures)

    @_sentence_first
    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> dynamic.DiffResult:
        # An id that is not known yet may change, so a preview shows a replacement.
        replaces = [
            key
            for key in ID_HINTS
            if _is_unknown(_news.get(key)) or _news.get(key) != _olds.get(key)
        ]
        connection, was = _news.get("connection"), _olds.get("connection")
        changes = bool(replaces) or connection != was
        server = self._server(connection)
        # A server that is not known may be another one.
        if connection != was and (not server or self._settings_of_state(was).server != server):
            replaces.append("connection")
        if not changes:
            pair = (_news["vm_ref"], _news["backup_location_id"])
            changes = pair in process.declared.on(server).unassigned()
        return dynamic.DiffResult(changes, replaces, delete_before_replace=False)

    @_sentence_first
    def create(self, props: dict[str, Any]) -> dynamic.CreateResult:
        connection = props.get("connection")
        made = process.lifecycle(self._settings(connection)).assign(
            _known((props["vm_ref"], props["backup_location_id"]), props)
        )
        return dynamic.CreateResult(
            f"{made.vm_ref}/{made.backup_location_id}",
            {**asdict(made), "connection": connection, "assigned_at": now()},
        )

    @_sentence_first
    def read(self, id_: str, props: dict[str, Any]) -> dynamic.ReadResult:
        known, assigned_at = _known(pair_of_id(id_), props), time_of(props.get("assigned_at"))
        connection = props.get("connection")
        lifecycle = process.lifecycle(self._settings_of_state(connection))
        found = lifecycle.find(known, age_seconds=age_seconds(assigned_at))
        if found is None:
            if lifecycle.locations_of(known.vm_ref) is None:
                _log.warning("%s", vm_is_gone(known))
            return dynamic.ReadResult("", {})
        inputs = {key: getattr(found, key) for key in ID_HINTS}
        if connection:
            inputs["connection"] = connection
        return dynamic.ReadResult(
            id_, {**asdict(found), "connection": connection, "assigned_at": assigned_at}, inputs
        )

    @_sentence_first
    def update(
        self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]
    ) -> dynamic.UpdateResult:
        # The connection has changed, which changes nothing on the server, or another process has
        # un-assigned the pair before the program declared it here.
        connection, pair = _news.get("connection"), pair_of_id(_id)
        outputs = {**_olds, "connection": connection}
        if pair in process.declared.on(self._server(connection)).unassigned():
            lifecycle = process.lifecycle(self._settings(connection))
            made = lifecycle.assign_again(_known(pair, _olds))
            outputs |= {**asdict(made), "assigned_at": now()}
        return dynamic.UpdateResult(outputs)

    @_sentence_first
    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        pair, connection = pair_of_id(_id), _props.get("connection")
        # Pulumi turns a renamed resource into a create and a delete of the same pair, maybe in a
        # later run. A pair that the program declares stays assigned. That needs no settings: the
        # old connection's may be gone.
        declared = process.declared.on(self._server(connection))
        if pair not in declared:
            settings = self._settings_of_state(connection)
            age = age_seconds(time_of(_props.get("assigned_at")))
            if process.lifecycle(settings).unassign(*pair, age_seconds=age):
                process.assign_elsewhere(pair, settings.server)
            else:
                _log.warning("%s", vm_is_not_listed(_known(pair, _props)))

    def _server(self, connection: object) -> str | None:
        """The server of a connection; None if its settings cannot be read."""
        settings = self._settings_or_none(connection)
        return settings.server if settings else None

    def _settings_or_none(self, connection: object) -> Settings | None:
        try:
            return self._settings(connection)
        except SettingsError:
            return None

    def _settings(self, connection: object) -> Settings:
        if not isinstance(connection, (str, NoneType)):
            raise SettingsError(
                f"The property connection of the state is {shown(connection)}, and not text. "
                f"{HOW_TO_CORRECT}"
            )
        return self._read_settings(connection)

    def _settings_of_state(self, connection: object) -> Settings:
        try:
            return self._settings(connection)
        except SettingsError as error:
            if not isinstance(connection, str):
                raise
            raise error.reworded(connection_is_needed(error, connection)) from None


def _known(pair: Pair, props: dict[str, Any]) -> Assignment:
    """The assignment of a pair, with the names from its properties."""
    return Assignment(
        *pair,
        vm_name=text_of(props.get("vm_name")),
        location_path=text_of(props.get("location_path")),
        kind=kind_of(props.get("kind")),
    )


def _with_own_names(olds: dict[str, Any], news: dict[str, Any]) -> dict[str, Any]:
    """The inputs without names that belong to another id than the one that is to be assigned."""
    inputs = dict(news)
    for (id_key, names_of), names in _NAMES.items():
        if names_of in inputs and not _is_same_id(inputs.pop(names_of), inputs.get(id_key)):
            is_old = _is_same_id(olds.get(id_key), inputs.get(id_key))
            for name in names:
                inputs.pop(name, None)
                if is_old and name in olds:
                    inputs[name] = olds[name]
    return inputs


def _is_same_id(first: object, second: object) -> bool:
    if _is_unknown(first) or _is_unknown(second):
        return _is_unknown(first) and _is_unknown(second)
    return is_guid(first) and is_guid(second) and normalize_guid(first) == normalize_guid(second)


def _is_unknown(value: object) -> bool:
    return isinstance(value, Unknown) or value == rpc.UNKNOWN
