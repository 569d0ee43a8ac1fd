"""What one VM Backup server holds, to look things up in by what people call them.

What any Pulumi surface calls; plain Python that knows nothing of Pulumi. The errors name the
look-ups as Python programs do.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from .errors import (
    ArgumentError,
    BusyError,
    LostAnswerError,
    NoAnswerError,
    RefusedError,
    SettingsError,
    VmBackupError,
    explained,
)
from .inventory import Inventory, read_inventory
from .models import KINDS, BackupLocation, Kind, VirtualMachine, assignable, normalize_guid
from .settings import Settings, did_you_mean

if TYPE_CHECKING:
    from .client import Client

_T = TypeVar("_T")
_Item = TypeVar("_Item", VirtualMachine, BackupLocation)

# A preview that can read the snapshot does not wait long for a server.
_LONGEST_PREVIEW_SECONDS = 10


class Catalog:
    """The VMs and backup locations of one server, which is asked for its lists once.

    For any number of threads.

    Args:
        settings: the way to the server.
        may_read_snapshot: whether ``vmbackup:inventoryFile`` is read instead where the server
            cannot be asked, as in a preview.
        warn: is told when that is done.
        client: what asks the server; when left out, a session is started for each question, and
            ended at once.

    All look-ups raise ArgumentError for arguments that ask for nothing that there is, and
    VmBackupError when a setting is wrong, or the server refused or did not answer.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        may_read_snapshot: bool,
        warn: Callable[[str], None],
        client: Client | None = None,
    ) -> None:
        self._settings = settings
        self._may_read_snapshot = may_read_snapshot and settings.inventory_file is not None
        self._warn = warn
        self._client = client
        self._lock = threading.RLock()
        self._lists: dict[str, list[Any] | RefusedError] = {}
        self._snapshot: Inventory | None = None
        self._failure: VmBackupError | None = None

    def get_virtual_machines(self, *, configured: bool | None = None) -> list[VirtualMachine]:
        """All VMs, or those that can be assigned or that cannot."""
        return [
            vm
            for vm in self._virtual_machines()
            if configured is None or vm.is_assignable is configured
        ]

    def get_virtual_machine(
        self, *, name: str | None = None, host: str | None = None, ref: str | None = None
    ) -> VirtualMachine:
        """The one VM of a name, of a name and a host, or of a ref, which can be assigned."""
        _check_texts("get_virtual_machine", name=name, host=host, ref=ref)
        if name is None and ref is None:
            raise ArgumentError("get_virtual_machine() needs a name or a ref.")
        wanted_ref = None if ref is None else _guid("ref of get_virtual_machine", ref)
        vms = self._virtual_machines()
        found = [
            vm
            for vm in vms
            if _is_same(name, vm.name)
            and _is_same(host, vm.host)
            and (wanted_ref is None or vm.ref == wanted_ref)
        ]
        what = _described(name=name, host=host, ref=wanted_ref)
        if not found:
            raise ArgumentError(_no_vm(what, name, host, vms))
        if len(found) > 1:
            each = " and ".join(f"on host {vm.host} (ref {vm.ref})" for vm in found)
            raise ArgumentError(f"There are {len(found)} VMs {what}: {each}. Add host or ref.")
        return assignable(found[0])

    def get_backup_location(
        self, *, path: str | None = None, id: str | None = None, kind: Kind | None = None
    ) -> BackupLocation:
        """The one location of a path, of an id or of a kind."""
        _check_texts("get_backup_location", path=path, id=id, kind=kind)
        if path is None and id is None and kind is None:
            raise ArgumentError("get_backup_location() needs a path, an id or a kind.")
        if kind is not None and kind not in KINDS:
            raise ArgumentError(
                f"kind of get_backup_location is {kind!r}: use {' or '.join(map(repr, KINDS))}."
            )
        wanted_id = None if id is None else _guid("id of get_backup_location", id)
        locations = self._backup_locations()
        found = [
            location
            for location in locations
            if _is_same(path, location.path)
            and (wanted_id is None or location.id == wanted_id)
            and (kind is None or location.kind == kind)
        ]
        what = _described(path=path, id=wanted_id, kind=kind)
        if not found:
            paths = [each.path for each in locations if each.path]
            closest = f": did you mean {did_you_mean(path, paths)}?" if path and paths else "."
            raise ArgumentError(f"There is no backup location {what}{closest}")
        if len(found) > 1:
            each = " and ".join(f"{each.kind} {each.path} ({each.id})" for each in found)
            raise ArgumentError(
                f"There are {len(found)} backup locations {what}: {each}. Add path, id or kind."
            )
        return found[0]

    def get_backup_locations(
        self,
        *,
        primary: bool = True,
        offsite: bool = True,
        vm_ref: str | VirtualMachine | None = None,
    ) -> list[BackupLocation]:
        """All locations, or those of one VM, which is asked for each time."""
        kinds = [kind for kind, asked in zip(KINDS, (primary, offsite), strict=True) if asked]
        if not kinds:
            raise ArgumentError(
                "get_backup_locations(primary=False, offsite=False) asks for no location: leave "
                "out one of the two."
            )
        if isinstance(vm_ref, VirtualMachine):
            vm_ref = assignable(vm_ref).ref
        if vm_ref is None:
            return self._backup_locations(kinds)
        return self._vm_backup_locations(_guid("vm_ref of get_backup_locations", vm_ref), kinds)

    def _virtual_machines(self) -> list[VirtualMachine]:
        with explained("list the virtual machines"):
            return self._named(self._list("virtual_machines"))

    def _backup_locations(self, kinds: Iterable[Kind] = KINDS) -> list[BackupLocation]:
        with explained("list the backup locations"):
            found = [each for kind in kinds for each in self._list(kind)]
            return self._named(_of_one_kind(found))

    def _vm_backup_locations(self, ref: str, kinds: list[Kind]) -> list[BackupLocation]:
        def ask(client: Client) -> list[BackupLocation]:
            return [each for kind in kinds for each in client.vm_backup_locations(ref, kind)]

        def read(snapshot: Inventory) -> list[BackupLocation]:
            return [each for each in snapshot.vm_backup_locations(ref) if each.kind in kinds]

        with explained(f"list the backup locations of VM {ref}"):
            try:
                return self._named(_of_one_kind(self._ask(ask, read)))
            except RefusedError as error:
                raise RefusedError(f"{error} Check that vm_ref is a VM of this server.") from None

    def _named(self, items: list[_Item]) -> list[_Item]:
        """What was found, with the connection that it was found over."""
        return [replace(each, connection=self._settings.connection) for each in items]

    def _list(self, name: str) -> list[Any]:
        with self._lock:
            if not self._lists:
                self._lists = self._ask(_lists_of_server, _lists_of_snapshot)
        answer = self._lists[name]
        if isinstance(answer, RefusedError):
            raise RefusedError(str(answer))
        return answer

    def _ask(self, ask: Callable[[Client], _T], read: Callable[[Inventory], _T]) -> _T:
        """Ask the server, or in a preview that cannot, read the snapshot instead."""
        if self._failure:
            raise type(self._failure)(str(self._failure))
        if self._snapshot is None:
            at = f" for connection {self._settings.connection!r}"
            reason = "no credentials are configured" + at * bool(self._settings.connection)
            if self._settings.has_credentials or not self._may_read_snapshot:
                try:
                    with self._asking() as client:
                        return ask(client)
                except RefusedError:
                    raise
                except (NoAnswerError, BusyError) as error:
                    if not self._may_read_snapshot:
                        self._failure = error
                        raise
                    reason = f"the server cannot be asked: {error}"
                except VmBackupError as error:
                    # Kept, so that a refused password is sent once: Windows locks accounts.
                    self._failure = error
                    raise
            with self._lock:
                if self._snapshot is None:
                    self._snapshot = self._read_snapshot(reason)
        return read(self._snapshot)

    def _asking(self) -> AbstractContextManager[Client]:
        if self._client:
            return nullcontext(self._client)
        from .client import Client

        return Client(impatient(self._settings) if self._may_read_snapshot else self._settings)

    def _read_snapshot(self, reason: str) -> Inventory:
        path = Path(self._settings.inventory_file or "")
        try:
            snapshot = read_inventory(path)
        except SettingsError as error:
            raise SettingsError(f"{error} It is needed since {reason.rstrip('.')}.") from None
        age = _age(datetime.now(timezone.utc) - snapshot.taken_at)
        self._warn(
            f"This preview takes VMs and backup locations from the inventory file {path}, which is "
            f"{age} old, since {reason.rstrip('.')}."
        )
        return snapshot


def impatient(settings: Settings) -> Settings:
    """The settings for a preview that has a snapshot to read instead."""
    timeout = min(settings.timeout_seconds, _LONGEST_PREVIEW_SECONDS)
    return replace(settings, timeout_seconds=timeout, session_wait_seconds=0)


def _lists_of_server(client: Client) -> dict[str, list[Any] | RefusedError]:
    calls: dict[str, Callable[[], list[Any]]] = {
        "virtual_machines": client.virtual_machines,
        "primary": lambda: client.backup_locations("primary"),
        "offsite": lambda: client.backup_locations("offsite"),
    }
    lists: dict[str, list[Any] | RefusedError] = {}
    for name, call in calls.items():
        try:
            lists[name] = call()
        except RefusedError as error:  # fails the look-ups that need this list
            lists[name] = error
    return lists


def _lists_of_snapshot(snapshot: Inventory) -> dict[str, list[Any] | RefusedError]:
    return {
        "virtual_machines": list(snapshot.virtual_machines),
        **{
            kind: [each for each in snapshot.backup_locations if each.kind == kind]
            for kind in KINDS
        },
    }


def _of_one_kind(locations: list[BackupLocation]) -> list[BackupLocation]:
    found: dict[str, BackupLocation] = {}
    for location in locations:
        if found.setdefault(location.id, location).kind != location.kind:
            raise LostAnswerError(
                f"The server lists {location.id} ({location.path}) as a primary and as an offsite "
                "location, so it is not certain which of the two it is."
            )
    return list(found.values())


def _check_texts(function: str, **arguments: object) -> None:
    for key, value in arguments.items():
        if value is not None and (not isinstance(value, str) or not value):
            raise ArgumentError(f"{key} of {function} is {value!r}: give a text, or leave it out.")


def _guid(where: str, value: str) -> str:
    try:
        return normalize_guid(value)
    except ArgumentError as error:
        raise ArgumentError(f"{where}: {error}") from None


def _is_same(wanted: str | None, name: str | None) -> bool:
    return wanted is None or (name is not None and wanted.casefold() == name.casefold())


def _described(**wanted: str | None) -> str:
    return "with " + ", ".join(f"{key} '{value}'" for key, value in wanted.items() if value)


def _no_vm(what: str, name: str | None, host: str | None, vms: list[VirtualMachine]) -> str:
    elsewhere = [vm for vm in vms if name and host and _is_same(name, vm.name)]
    if elsewhere:
        hosts = " and ".join(str(vm.host) for vm in elsewhere)
        return f"There is no VM {what}; it is on {hosts}."
    names = [vm.name for vm in vms if vm.name]
    closest = f": did you mean {did_you_mean(name, names)}?" if name and names else "."
    return f"There is no VM {what}{closest}"


def _age(age: timedelta) -> str:
    minutes = max(0, int(age.total_seconds()) // 60)
    if minutes < 120:
        return f"{minutes} minutes"
    return f"{minutes // 60} hours" if minutes < 2880 else f"{minutes // 1440} days"
