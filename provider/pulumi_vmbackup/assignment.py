"""The resource VmBackupLocationAssignment and its dynamic provider."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any, TypeVar

import pulumi
from pulumi import dynamic
from pulumi.output import Unknown
from pulumi.runtime import rpc

from .client import Client
from .errors import ArgumentError, VmBackupError
from .lifecycle import AssignmentLifecycle
from .models import Assignment, normalize_guid
from .program import once_per_program, program_settings, shown_without_traceback
from .settings import Settings, read_settings

_WHERE_TO_FIND = {
    "vm_ref": "the VM's AltaroVirtualMachineRef, as the API's vms/list shows it",
    "backup_location_id": "a BackupLocationId, as get_backup_locations() shows it",
}
_ID_KEYS = tuple(_WHERE_TO_FIND)

_Handler = TypeVar("_Handler", bound=Callable[..., Any])


class VmBackupLocationAssignment(
    dynamic.Resource, module="vmbackup", name="VmBackupLocationAssignment"
):
    """Assigns a virtual machine to a backup location of VM Backup.

    Creating it assigns the VM, deleting it takes the assignment back; a change of either id assigns
    the new pair before the old one is taken back. An assignment that stands already is adopted. The
    VM must be configured in VM Backup (documented).

    Args:
        name: the resource's name in the program.
        vm_ref: the VM's AltaroVirtualMachineRef, a GUID in any case, with or without braces.
        backup_location_id: the BackupLocationId, a GUID likewise.
        opts: the options of any Pulumi resource.

    Raises:
        SettingsError: a setting of ``vmbackup:…`` or ``VMBACKUP_…`` cannot be used.

    A program that declares the same pair twice fails with a sentence, at preview already.

    Its id is ``<vmRef>/<backupLocationId>``.
    """

    vm_ref: pulumi.Output[str]
    """The VM's AltaroVirtualMachineRef, in lower case without braces."""

    backup_location_id: pulumi.Output[str]
    """The BackupLocationId, in lower case without braces."""

    vm_name: pulumi.Output[str | None]
    """The VM's name when it was assigned; None when the server did not tell."""

    location_path: pulumi.Output[str | None]
    """The location's LocationPath; None when the server did not tell."""

    kind: pulumi.Output[str | None]
    """``"primary"`` or ``"offsite"``; None when the server did not tell."""

    assigned_at: pulumi.Output[str | None]
    """When Pulumi assigned or adopted it, as ISO 8601 in UTC."""

    def __init__(
        self,
        name: str,
        *,
        vm_ref: pulumi.Input[str],
        backup_location_id: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        with shown_without_traceback():
            program_settings()  # so that a wrong setting fails the preview already
        super().__init__(
            VmBackupLocationAssignmentProvider(),
            name,
            {
                "vm_ref": vm_ref,
                "backup_location_id": backup_location_id,
                "vm_name": None,
                "location_path": None,
                "kind": None,
                "assigned_at": None,
            },
            opts,
        )
        _refuse_same_pair_twice(self)


@once_per_program
def _urns() -> dict[tuple[str, str], str]:
    """The resource that declares a pair, for each pair of the program."""
    return {}


def _refuse_same_pair_twice(resource: VmBackupLocationAssignment) -> None:
    """Fail the program, so a preview as well, when two of its resources are of the same pair."""
    urns = _urns()

    def refuse(outputs: list[str]) -> None:
        urn, vm_ref, backup_location_id = outputs
        first = urns.setdefault((vm_ref, backup_location_id), urn)
        if first != urn:
            with shown_without_traceback():
                first, second = sorted((first, urn))
                raise ArgumentError(
                    f"The resources {first} and {second} both assign VM {vm_ref} to backup "
                    f"location {backup_location_id}: remove one of them."
                )

    pulumi.Output.all(resource.urn, resource.vm_ref, resource.backup_location_id).apply(refuse)


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


# The pairs that the program declares, as far as check has seen them. One for the process, since the
# host keeps a provider for each way in which Python versions wrote it into the state.
_declared: set[tuple[object, ...]] = set()

_lifecycles: dict[Settings, AssignmentLifecycle] = {}
_lifecycles_lock = threading.Lock()


def _shared_lifecycle(settings: Settings) -> AssignmentLifecycle:
    """One lifecycle, and so one session, for all providers and threads of a process."""
    with _lifecycles_lock:
        if settings not in _lifecycles:
            _lifecycles[settings] = AssignmentLifecycle(
                Client(settings), settle_seconds=settings.settle_seconds
            )
        return _lifecycles[settings]


class VmBackupLocationAssignmentProvider(dynamic.ResourceProvider):
    """The handlers behind VmBackupLocationAssignment, called by Pulumi's dynamic provider host.

    Users' state files hold this class by its module and name: neither may change, and instances
    have no attributes when they are stored.
    """

    serialize_as_secret_always = False

    def configure(self, req: dynamic.ConfigureRequest) -> None:
        # Settings are read when they are needed: a preview needs none.
        self._config = req.config

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
        pair = tuple(inputs.get(key) for key in _ID_KEYS)
        if not failures and not any(map(_is_unknown, pair)):
            _declared.add(pair)
        return dynamic.CheckResult(inputs, failures)

    def diff(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> dynamic.DiffResult:
        # An id that is not known yet may change, so a preview shows the replacement.
        replaces = [
            key
            for key in _ID_KEYS
            if _is_unknown(_news.get(key)) or _news.get(key) != _olds.get(key)
        ]
        return dynamic.DiffResult(
            changes=bool(replaces), replaces=replaces, delete_before_replace=False
        )

    @_sentence_first
    def create(self, props: dict[str, Any]) -> dynamic.CreateResult:
        made = self._lifecycle().assign(*(props[key] for key in _ID_KEYS))
        now = datetime.now(timezone.utc).isoformat(timespec="seconds")
        return dynamic.CreateResult(
            f"{made.vm_ref}/{made.backup_location_id}", {**asdict(made), "assigned_at": now}
        )

    @_sentence_first
    def read(self, id_: str, props: dict[str, Any]) -> dynamic.ReadResult:
        vm_ref, backup_location_id = id_.split("/")
        known = Assignment(
            vm_ref,
            backup_location_id,
            vm_name=props.get("vm_name"),
            location_path=props.get("location_path"),
            kind=props.get("kind"),
        )
        found = self._lifecycle().find(known, age_seconds=_age_seconds(props.get("assigned_at")))
        if found is None:
            return dynamic.ReadResult("", {})
        return dynamic.ReadResult(
            id_,
            {**asdict(found), "assigned_at": props.get("assigned_at")},
            {key: getattr(found, key) for key in _ID_KEYS},
        )

    @_sentence_first
    def delete(self, _id: str, _props: dict[str, Any]) -> None:
        vm_ref, backup_location_id = _id.split("/")
        # Pulumi turns a renamed resource into a create and a delete of the same pair, the delete
        # maybe in a later run. A pair that the program still declares is left alone.
        if (vm_ref, backup_location_id) not in _declared:
            age_seconds = _age_seconds(_props.get("assigned_at"))
            self._lifecycle().unassign(vm_ref, backup_location_id, age_seconds=age_seconds)

    def _lifecycle(self) -> AssignmentLifecycle:
        settings = read_settings(lambda key: self._config.get(f"vmbackup:{key}"), os.environ)
        return _shared_lifecycle(settings)


def _is_unknown(value: object) -> bool:
    return isinstance(value, Unknown) or value == rpc.UNKNOWN


def _age_seconds(assigned_at: str | None) -> float | None:
    if not assigned_at:
        return None
    return (datetime.now(timezone.utc) - datetime.fromisoformat(assigned_at)).total_seconds()
