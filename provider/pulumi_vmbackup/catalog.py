"""The VMs and locations of one VM Backup server, and how to find them by name.

Only this module asks for the server's three lists and keeps them: a process sends each request
once. Lookups, lifecycle and plugin are given a catalog. Nothing here knows of Pulumi.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Collection, Iterable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from difflib import get_close_matches
from typing import Any, Literal, TypeVar

from .bulk import map_in_parallel
from .client import Client
from .errors import (
    Advice,
    ArgumentError,
    BusyError,
    LostAnswerError,
    NoAnswerError,
    RefusedError,
    SettingsError,
    VmBackupError,
    explained,
)
from .files import path_of
from .inventory import Snapshot, read_snapshot
from .models import (
    KINDS,
    Assignment,
    BackupLocation,
    Kind,
    VirtualMachine,
    assignable,
    normalize_guid,
    not_assignable,
    unique_locations,
)
from .settings import Settings, did_you_mean

_T = TypeVar("_T")
_Item = TypeVar("_Item", VirtualMachine, BackupLocation)

# A preview that can read the snapshot does not wait long for a server.
_LONGEST_PREVIEW_SECONDS = 10
# How long to wait, after an error or Ctrl-C, for calls that are under way.
_SECONDS_TO_FINISH_CALLS = 5.0

# How similar a name must be to be proposed, from 0 to 1.
_SIMILAR = 0.65

_ListName = Literal["virtual machines", "primary", "offsite"]
_LIST_NAMES: tuple[_ListName, ...] = ("virtual machines", *KINDS)


class Lists:
    """The three lists of one server: all VMs, and the locations of both kinds.

    Each list is asked for once. For any number of threads.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._answers: dict[_ListName, list[Any] | RefusedError] = {}
        self._sessions: dict[_ListName, int] = {}

    def get(self, name: _ListName, client: Client, *, of_this_session: bool = False) -> list[Any]:
        """One of the lists; ``client`` asks for it the first time.

        Args:
            name: the list.
            client: asks the server.
            of_this_session: whether to ask again if the session is another one by now: a tunnel may
                lead to another site since then.

        Raises:
            RefusedError: the server refuses the list; it is not asked again.
            VmBackupError: another failure, or the list of VMs is empty; the next call asks again.
        """
        with self._lock:
            if of_this_session and self._sessions.get(name) != client.session:
                self._answers.pop(name, None)
            if name not in self._answers:
                try:
                    self._answers[name] = (
                        client.virtual_machines()
                        if name == "virtual machines"
                        else client.backup_locations(name)
                    )
                except RefusedError as error:
                    if error.is_server_error:  # may pass
                        raise
                    self._answers[name] = copy.copy(error)
                if name == "virtual machines" and not self._answers[name]:
                    del self._answers[name]
                    raise _nothing_listed("virtual machines")
                self._sessions[name] = client.session
            return self.items([name])

    def forget(self) -> None:
        """Ask for each list once more."""
        with self._lock:
            self._answers.clear()

    @property
    def is_complete(self) -> bool:
        """Whether the server was asked for all three lists."""
        return len(self._answers) == len(_LIST_NAMES)

    def items(self, names: Iterable[_ListName]) -> list[Any]:
        """The items of lists that the server was asked for.

        Raises:
            RefusedError: the server refused one of them.
        """
        found: list[Any] = []
        for name in names:
            answer = self._answers[name]
            if isinstance(answer, RefusedError):
                raise copy.copy(answer)
            found += answer
        return found

    def get_all(self, client: Client) -> None:
        """Ask for all lists that are not known yet; one that cannot be had is left out."""
        for name in _LIST_NAMES:
            with suppress(RefusedError, NothingListedError):
                self.get(name, client)


class NothingListedError(LostAnswerError):
    """The server lists nothing at all, which is no proof that it holds nothing."""


def _nothing_listed(what: str) -> NothingListedError:
    return NothingListedError(
        f"The server lists no {what} at all. It may have been restarted a moment ago: wait until "
        "the VM Backup Management Console shows them, and try again."
    )


def refuse_no_locations(locations: Collection[BackupLocation]) -> None:
    """Refuse an empty list of the locations of both kinds.

    Raises:
        NothingListedError: it is empty.
    """
    if not locations:
        raise _nothing_listed("backup locations")


class Catalog:
    """The VMs and backup locations of one server. For any number of threads.

    Args:
        settings: how to reach the server.
        client: the client to use. None: open a session per query and close it.
        may_read_snapshot: whether to read ``vmbackup:inventoryFile`` if the server cannot be asked,
            as in a preview.
        warn: called with a message, and perhaps advice, when the snapshot is read.

    All lookups raise ArgumentError if no item or more than one matches, and VmBackupError if a
    setting is wrong, or the server refuses or does not answer.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        client: Client | None = None,
        may_read_snapshot: bool = False,
        warn: Callable[..., None] = lambda _message, *_advice: None,
    ) -> None:
        self._settings = settings
        self._may_read_snapshot = may_read_snapshot and settings.inventory_file is not None
        self._warn = warn
        self._client = client
        self._lists = Lists()
        self._lock = threading.RLock()
        self._has_learnt_names = False
        self._vm_names: dict[str, str | None] = {}
        self._locations: dict[str, BackupLocation] = {}
        self._snapshot: Snapshot | None = None
        self._failure: VmBackupError | None = None

    # For lifecycle: from the server only, never from a snapshot

    def virtual_machines(self) -> list[VirtualMachine]:
        """All VMs that the server lists.

        Raises:
            VmBackupError: the server refuses or does not answer.
        """
        with self._asking() as client:
            return self._lists.get("virtual machines", client, of_this_session=True)

    def location_ids(self) -> set[str]:
        """The ids of all locations that the server lists.

        Raises:
            VmBackupError: the server refuses or does not answer.
        """
        with self._asking() as client:
            return {
                each.id
                for kind in KINDS
                for each in self._lists.get(kind, client, of_this_session=True)
            }

    def complete(self, assignment: Assignment) -> Assignment:
        """The assignment with its missing names and kind added.

        They stay None if the server does not give them; that is no error.
        """
        if assignment.vm_name and assignment.location_path and assignment.kind:
            return assignment
        location = self.known_locations().get(assignment.backup_location_id)
        return replace(
            assignment,
            vm_name=assignment.vm_name or self._vm_names.get(assignment.vm_ref),
            location_path=assignment.location_path or (location.path if location else None),
            kind=assignment.kind or (location.kind if location else None),
        )

    def known_locations(self) -> dict[str, BackupLocation]:
        """The server's locations by id; empty if the server does not give them."""
        with self._lock:
            if not self._has_learnt_names:
                self._has_learnt_names = True
                with suppress(VmBackupError), self._asking() as client:
                    self._learn_names(client)
            return self._locations

    def _learn_names(self, client: Client) -> None:
        # A refused list is left out. A server that does not answer is not asked again.
        with suppress(RefusedError, NothingListedError):
            vms: list[VirtualMachine] = self._lists.get("virtual machines", client)
            self._vm_names = {vm.ref: vm.name for vm in vms if vm.ref}
        # Both lists or none: one list alone does not tell the kind of a location.
        with suppress(RefusedError):
            listed = [each for kind in KINDS for each in self._lists.get(kind, client)]
            self._locations = unique_locations(listed)

    # Lookups

    def get_virtual_machines(self, *, configured: bool | None = None) -> list[VirtualMachine]:
        """All VMs, or only those that can (True) or cannot (False) be assigned."""
        return [
            vm
            for vm in self._virtual_machines()
            if configured is None or vm.is_assignable is configured
        ]

    def get_virtual_machine(
        self, *, name: str | None = None, host: str | None = None, ref: str | None = None
    ) -> VirtualMachine:
        """The one VM with a name, a name and a host, or a ref; it can be assigned."""
        _check_texts(name=name, host=host, ref=ref)
        if name is None and ref is None:
            raise ArgumentError("A VM is found by its name or its ref: give one of them.")
        wanted_ref = None if ref is None else _guid("ref", ref)
        what = _described(name=name, host=host, ref=wanted_ref)

        def find() -> VirtualMachine:
            vms = self._virtual_machines()
            found = [
                vm
                for vm in vms
                if _is_same(name, vm.name)
                and _is_same(host, vm.host)
                and (wanted_ref is None or vm.ref == wanted_ref)
            ]
            if not found:
                raise ArgumentError(_no_vm(what, name, wanted_ref, vms, self._where_it_looked(vms)))
            # A VM that replicates is listed once per host; only one of them is configured (seen).
            assignable_vms = list({vm.ref: vm for vm in found if vm.is_assignable}.values())
            if len(assignable_vms) > 1:
                each = " and ".join(f"on host {vm.host} (ref {vm.ref})" for vm in assignable_vms)
                raise ArgumentError(
                    f"There are {len(assignable_vms)} VMs {what}: {each}. Add ref, which stays the "
                    "same when a VM moves, or host."
                )
            if not assignable_vms:
                raise ArgumentError(_not_configured(found[0], vms))
            return assignable_vms[0]

        return self._found(find)

    def get_backup_location(
        self, *, path: str | None = None, id: str | None = None, kind: Kind | None = None
    ) -> BackupLocation:
        """The one location with a path, an id or a kind."""
        _check_texts(path=path, id=id, kind=kind)
        if path is None and id is None and kind is None:
            raise ArgumentError(
                "A backup location is found by its path, its id or its kind: give one of them."
            )
        if kind is not None and kind not in KINDS:
            raise ArgumentError(
                f"{kind!r} is not a kind of location: use {' or '.join(map(repr, KINDS))}.",
                argument="kind",
            )
        wanted_id = None if id is None else _guid("id", id)
        what = _described(path=path, id=wanted_id, kind=kind)

        def find() -> BackupLocation:
            locations = self._backup_locations()
            found = [
                location
                for location in locations
                if _is_same(path, location.path)
                and (wanted_id is None or location.id == wanted_id)
                and (kind is None or location.kind == kind)
            ]
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

        return self._found(find)

    def get_backup_locations(
        self,
        *,
        primary: bool = True,
        offsite: bool = True,
        vm_ref: str | VirtualMachine | None = None,
    ) -> list[BackupLocation]:
        """All locations, or those of one VM, which are asked for on each call."""
        kinds = [kind for kind, asked in zip(KINDS, (primary, offsite), strict=True) if asked]
        if not kinds:
            raise ArgumentError(
                "primary and offsite are both false, which asks for no location: leave out one of "
                "the two."
            )
        if isinstance(vm_ref, VirtualMachine):
            vm_ref = assignable(vm_ref).ref
        if vm_ref is None:
            return self._backup_locations(kinds)
        return self._vm_backup_locations(_guid("vm_ref", vm_ref), kinds)

    def _where_it_looked(self, vms: list[VirtualMachine]) -> str:
        """Where a VM was looked for, and what to do, as a part of a sentence."""
        if self._snapshot:
            age = _age(datetime.now(timezone.utc) - self._snapshot.taken_at)
            return (
                f"in the inventory file {self._settings.inventory_file}, which is {age} old and "
                f"lists {len(vms):,}: check the name or ref, or write the file again with "
                "`vmbackup snapshot`"
            )
        return (
            f"at {self._settings.base_url}, which lists {len(vms):,}: check the name or ref, "
            "whether its host is off, and whether this is the right server"
        )

    def ask_again(self) -> None:
        """Let the next look-up ask the server anew: something has changed there."""
        with self._lock:
            self._lists.forget()

    def _found(self, find: Callable[[], _Item]) -> _Item:
        """What is found; if it is not in the lists that are kept, the server is asked once more."""
        are_kept = self._lists.is_complete
        try:
            return find()
        except ArgumentError:
            if not are_kept:
                raise
        self.ask_again()
        return find()

    def _virtual_machines(self) -> list[VirtualMachine]:
        with explained("list the virtual machines"):
            found: list[VirtualMachine] = self._listed(["virtual machines"])
            return self._over_its_connection(found)

    def _backup_locations(self, kinds: Iterable[Kind] = KINDS) -> list[BackupLocation]:
        with explained("list the backup locations"):
            found = self._listed(kinds)
            # A server may have no offsite location, but not no location at all.
            if not found:
                refuse_no_locations(self._listed(KINDS))
            return self._over_its_connection(_of_one_kind(found))

    def _vm_backup_locations(self, ref: str, kinds: list[Kind]) -> list[BackupLocation]:
        def ask(client: Client) -> list[BackupLocation]:
            return [each for kind in kinds for each in client.vm_backup_locations(ref, kind)]

        def read(snapshot: Snapshot) -> list[BackupLocation]:
            return [each for each in snapshot.vm_backup_locations(ref) if each.kind in kinds]

        with explained(f"list the backup locations of VM {ref}"):
            try:
                found = _of_one_kind(self._ask(ask, read))
            except RefusedError as error:
                raise error.reworded(f"{error} Check that this server manages the VM.") from None
            if not found and not any(vm.ref == ref for vm in self._virtual_machines()):
                raise ArgumentError(
                    f"This server lists no VM with the ref {ref}: check the ref, and whether this "
                    "is the server that manages the VM.",
                    argument="vm_ref",
                )
            return self._over_its_connection(found)

    def _over_its_connection(self, items: list[_Item]) -> list[_Item]:
        """The items, marked with the connection and the server that they were found over."""
        settings = self._settings
        return [
            replace(each, connection=settings.connection, server=settings.server) for each in items
        ]

    def _listed(self, names: Iterable[_ListName]) -> list[Any]:
        """The items of some lists."""

        def ask(client: Client) -> list[Any]:
            self._lists.get_all(client)  # in one session
            return [each for name in names for each in self._lists.get(name, client)]

        def read(snapshot: Snapshot) -> list[Any]:
            return [each for name in names for each in snapshot.listed(name)]

        with self._lock:  # so that many threads need one session
            return self._lists.items(names) if self._lists.is_complete else self._ask(ask, read)

    def _ask(self, ask: Callable[[Client], _T], read: Callable[[Snapshot], _T]) -> _T:
        """Ask the server; if a preview cannot reach it, read the snapshot."""
        if self._failure:
            raise copy.copy(self._failure)
        if self._snapshot is None:
            at = f" for connection {self._settings.connection!r}"
            reason = "no credentials are configured" + at * bool(self._settings.connection)
            advice: tuple[Advice, ...] = ()
            if self._settings.has_credentials or not self._may_read_snapshot:
                try:
                    with self._asking() as client:
                        return ask(client)
                except RefusedError:
                    raise
                except (NoAnswerError, BusyError) as error:
                    if not self._may_read_snapshot:
                        self._failure = copy.copy(error)
                        raise
                    reason, advice = f"the server cannot be asked: {error}", error.advice
                except VmBackupError as error:
                    # Kept, so that a refused password is sent once: Windows locks accounts.
                    self._failure = copy.copy(error)
                    raise
            with self._lock:
                if self._snapshot is None:
                    self._snapshot = self._read_snapshot(reason, advice)
        return read(self._snapshot)

    def _asking(self) -> AbstractContextManager[Client]:
        if self._client:
            return nullcontext(self._client)
        return Client(impatient(self._settings) if self._may_read_snapshot else self._settings)

    def _read_snapshot(self, reason: str, advice: tuple[Advice, ...]) -> Snapshot:
        path = path_of(self._settings.inventory_file or "")
        try:
            snapshot = read_snapshot(path)
        except SettingsError as error:
            raise error.reworded(f"{error} It is needed because {reason.rstrip('.')}.") from None
        age = _age(datetime.now(timezone.utc) - snapshot.taken_at)
        self._warn(
            f"This preview takes VMs and backup locations from the inventory file {path}, which is "
            f"{age} old, because {reason.rstrip('.')}.",
            *advice,
        )
        return snapshot


def gather(client: Client, progress: Callable[[int, int], None] | None = None) -> Snapshot:
    """Read everything from a server: three lists, then the locations of each configured VM.

    Args:
        client: asks the server; the caller closes it.
        progress: called on this thread with the number of VMs done, and of all.

    Raises:
        VmBackupError: the server refuses or does not answer.
    """
    taken_at = datetime.now(timezone.utc)
    lists = Lists()
    with explained("list the virtual machines"):
        vms: list[VirtualMachine] = lists.get("virtual machines", client)
    with explained("list the backup locations"):
        locations = [each for kind in KINDS for each in lists.get(kind, client)]
    known = unique_locations(locations)

    def ask(vm: VirtualMachine) -> list[Assignment]:
        ref = vm.ref or ""
        with explained(f"list the backup locations of VM {vm.name} ({ref})"):
            assigned = client.vm_backup_locations(ref)
        return [
            Assignment(
                ref,
                each.id,
                vm_name=vm.name,
                location_path=each.path or (known[each.id].path if each.id in known else None),
                kind=known[each.id].kind if each.id in known else None,
            )
            for each in assigned
        ]

    answers = map_in_parallel(
        ask,
        # By ref: a VM that is moving may be listed on both hosts (unknown).
        {vm.ref: vm for vm in vms if vm.is_assignable}.values(),
        threads=client.parallel_requests,
        progress=progress,
        finish_seconds=_SECONDS_TO_FINISH_CALLS,
    )
    return Snapshot(
        virtual_machines=tuple(vms),
        backup_locations=tuple(locations),
        assignments=tuple(assignment for answer in answers for assignment in answer),
        taken_at=taken_at,
    )


def impatient(settings: Settings) -> Settings:
    """The settings for a preview that can read a snapshot: short waits."""
    timeout = min(settings.timeout_seconds, _LONGEST_PREVIEW_SECONDS)
    return replace(settings, timeout_seconds=timeout, session_wait_seconds=0)


def _of_one_kind(listed: list[BackupLocation]) -> list[BackupLocation]:
    """The locations; an error if one of them is listed as primary and as offsite."""
    locations = unique_locations(listed)
    for location in locations.values():
        if location.kind is None:
            raise LostAnswerError(
                f"The server lists {location.id} ({location.path}) as a primary and as an offsite "
                "location, so its kind is unknown."
            )
    return list(locations.values())


def _check_texts(**arguments: object) -> None:
    for key, value in arguments.items():
        if value is not None and (not isinstance(value, str) or not value):
            problem = "empty" if value == "" else "not text"
            raise ArgumentError(
                f"{value!r} is {problem}: give text, or leave it out.", argument=key
            )


def _guid(argument: str, value: str) -> str:
    try:
        return normalize_guid(value)
    except ArgumentError as error:
        raise ArgumentError(str(error), argument=argument) from None


def _is_same(wanted: str | None, name: str | None) -> bool:
    return wanted is None or (name is not None and wanted.casefold() == name.casefold())


def _described(**wanted: str | None) -> str:
    return "with " + ", ".join(f"{key} '{value}'" for key, value in wanted.items() if value)


def _no_vm(
    what: str, name: str | None, ref: str | None, vms: list[VirtualMachine], where: str
) -> str:
    of_name = [vm for vm in vms if name and _is_same(name, vm.name)]
    elsewhere = [vm for vm in of_name if vm.is_assignable] or of_name
    if elsewhere and ref:
        refs = " and ".join(str(vm.ref) for vm in elsewhere)
        return (
            f"There is no VM {what}; the VM of that name has the ref {refs}. It may have been "
            "removed from VM Backup and added again: correct the ref, or leave it out."
        )
    if elsewhere:
        hosts = " and ".join(str(vm.host) for vm in elsewhere)
        return f"There is no VM {what}; it is on {hosts}: correct the host, or leave it out."
    names = {vm.name.casefold(): vm.name for vm in vms if vm.name}
    if name and (close := get_close_matches(name.casefold(), names, cutoff=_SIMILAR)):
        quoted_names = " or ".join(f"'{names[each]}'" for each in close)
        return f"There is no VM {what}: did you mean {quoted_names}?"
    return f"There is no VM {what} {where}."


def _not_configured(vm: VirtualMachine, vms: list[VirtualMachine]) -> str:
    others = [each for each in vms if each.is_assignable and _is_same(vm.name, each.name)]
    if others:
        return (
            f"The VM {vm.name!r} on host {vm.host} is not configured in VM Backup, maybe since it "
            f"is a replica; the one on {' and '.join(str(each.host) for each in others)} is: "
            "correct the host, or leave it out."
        )
    return not_assignable(vm)


def _age(age: timedelta) -> str:
    minutes = max(0, int(age.total_seconds()) // 60)
    if minutes < 120:
        return f"{minutes} minutes"
    return f"{minutes // 60} hours" if minutes < 2880 else f"{minutes // 1440} days"
