"""Assign, find and un-assign one VM and one backup location, safely.

What any Pulumi surface calls; plain Python that knows nothing of Pulumi. The rules:

* Only a definite listing says that an assignment is not there. A refusal, a lost answer or an
  answer that cannot be read never does.
* A write is sent once. If its outcome is not known, the VM's locations are listed, and what they
  say decides.
* A listing may lag behind a write for ``settle_seconds`` (unknown; public scripts wait some seconds
  between the two), so until then it proves nothing against a write that may have arrived.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from .errors import LostAnswerError, RefusedError, UnreachableError, VmBackupError, explained
from .models import KINDS, Assignment, BackupLocation, VirtualMachine
from .retries import pauses

if TYPE_CHECKING:
    from .client import Client

LISTING_POLL_SECONDS = 2.0
DELETING_FIRST = (
    "un-assign the old one first with ResourceOptions(delete_before_replace=True), and aliases= "
    "when the resource has another name now."
)
"""What to do on a server with one primary location, for a resource of one assignment."""


class AssignmentLifecycle:
    """Assigns VMs to backup locations through one client; for any number of threads.

    Args:
        client: the API.
        settle_seconds: how long a fresh assignment may be missing from what the API lists.
        is_over: tells whether nobody wants the writes any more, so that none is repeated. Another
            run may have changed its mind since.
    """

    def __init__(
        self,
        client: Client,
        *,
        settle_seconds: float,
        is_over: Callable[[], bool] = lambda: False,
    ) -> None:
        self._client = client
        self._settle_seconds = settle_seconds
        self._is_over = is_over
        self._listings: dict[str, list[BackupLocation] | None] = {}
        self._listing_locks: dict[str, threading.Lock] = defaultdict(threading.Lock)
        # When this run wrote to a VM last, and when it took a pair back.
        self._written_at: dict[str, float] = {}
        self._unassigned_at: dict[tuple[str, str], float] = {}
        self._names = _Names(client, self._virtual_machines)
        self._vms: list[VirtualMachine] | None = None
        self._vms_lock = threading.Lock()

    def assign(self, wanted: Assignment) -> Assignment:
        """Assign a VM to a backup location; an assignment that stands already is adopted.

        Costs one POST. Only when that is refused or its answer is lost, the VM's locations are
        listed.

        Args:
            wanted: the pair, with the names that are known of it.

        Returns:
            The assignment, with the names that the server told.

        Raises:
            VmBackupError: the VM is not assigned, or that could not be found out.
        """
        vm_ref, backup_location_id = wanted.vm_ref, wanted.backup_location_id
        with explained(f"assign VM {vm_ref} to backup location {backup_location_id}"):
            self.ensure(vm_ref, backup_location_id, assigned=True)
        return self._names.complete(wanted)

    def find(self, known: Assignment, *, age_seconds: float | None = None) -> Assignment | None:
        """Look an assignment up on the server; a VM's locations are listed once per process.

        Args:
            known: the assignment, with the names that are known of it.
            age_seconds: how long ago it was made, if known.

        Returns:
            The assignment with its location's present path, or None when it is definitely gone.

        Raises:
            VmBackupError: the server gave no definite answer.
        """
        with explained(
            f"read whether VM {known.vm_ref} is assigned to backup location "
            f"{known.backup_location_id}"
        ):
            locations = self.locations_of(known.vm_ref)
        location = _location(locations, known.backup_location_id)
        if location:
            path = location.path or known.location_path
            return self._names.complete(replace(known, location_path=path))
        if locations is not None and self.may_be_missing(age_seconds):
            return known
        return None

    def locations_of(self, vm_ref: str) -> list[BackupLocation] | None:
        """A VM's locations, listed once per process unless the VM was written to since.

        Returns:
            The locations; None when VM Backup definitely does not manage the VM.

        Raises:
            VmBackupError: the server gave no definite answer.
        """
        with self._listing_locks[vm_ref]:
            if vm_ref not in self._listings:
                self._listings[vm_ref] = self._list(vm_ref)
            return self._listings[vm_ref]

    def may_be_missing(self, age_seconds: float | None) -> bool:
        """Whether an assignment of this age may be missing from listings and stand all the same."""
        return self._unsettled_seconds(age_seconds) > 0

    def unassign(
        self, vm_ref: str, backup_location_id: str, *, age_seconds: float | None = None
    ) -> None:
        """Take an assignment back; one that is not there any more is fine.

        Costs one DELETE. Only when that is refused or its answer is lost, the VM's locations are
        listed.

        Args:
            vm_ref: the VM.
            backup_location_id: the location.
            age_seconds: how long ago it was assigned, if known.

        Raises:
            VmBackupError: the VM is still assigned, or that could not be found out.
        """
        with explained(f"un-assign VM {vm_ref} from backup location {backup_location_id}"):
            self.ensure(vm_ref, backup_location_id, assigned=False, age_seconds=age_seconds)

    def ensure(
        self,
        vm_ref: str,
        backup_location_id: str,
        *,
        assigned: bool,
        age_seconds: float | None = None,
    ) -> None:
        """Make a pair be assigned, or not be: :meth:`assign` and :meth:`unassign` without names.

        Raises:
            VmBackupError: it is not so, or that could not be found out; the sentence is the reason
                alone.
        """
        self._send_until_known(
            vm_ref,
            backup_location_id,
            assigned=assigned,
            unsettled_seconds=self._unsettled_seconds(age_seconds),
        )
        now = time.monotonic()
        self._written_at[vm_ref] = now
        if not assigned:
            self._unassigned_at[vm_ref, backup_location_id] = now

    def _unsettled_seconds(self, age_seconds: float | None) -> float:
        """For how long still an assignment of this age may be missing from listings."""
        if age_seconds is None:
            return 0
        return max(0, self._settle_seconds - abs(age_seconds))  # clocks may differ a little

    def _send_until_known(
        self, vm_ref: str, backup_location_id: str, *, assigned: bool, unsettled_seconds: float
    ) -> None:
        """Send a write until the pair is known to be assigned, or known not to be."""
        self._listings.pop(vm_ref, None)
        write = self._client.assign if assigned else self._client.unassign
        # From when on a listing counts, for one that shows the pair and for one that lacks it.
        if assigned:
            unassigned_at = self._unassigned_at.get((vm_ref, backup_location_id))
        else:
            # Another resource of the same pair may have taken it back, or the server itself with
            # a POST that moved the VM (unknown).
            unassigned_at = self._written_at.get(vm_ref)
        counts_from = {
            True: 0.0 if unassigned_at is None else unassigned_at + self._settle_seconds,
            False: time.monotonic() + unsettled_seconds,
        }
        retry_pauses = pauses()
        while True:
            failure: VmBackupError
            try:
                return write(vm_ref, backup_location_id)
            except UnreachableError as error:
                failure = error  # nothing was sent, so there is nothing to look up
            except (RefusedError, LostAnswerError) as error:
                failure = error
                if self._is_done(failure, vm_ref, backup_location_id, assigned, counts_from):
                    return None
                counts_from[not assigned] = time.monotonic() + self._settle_seconds
            pause = next(retry_pauses, None)
            if pause is None:
                raise failure
            time.sleep(pause)
            if self._is_over():
                raise failure

    def _is_done(
        self,
        failure: RefusedError | LostAnswerError,
        vm_ref: str,
        backup_location_id: str,
        assigned: bool,
        counts_from: Mapping[bool, float],
    ) -> bool:
        """Whether a failed write did what it was to do all the same; raises a refusal to do it."""
        poll_seconds = LISTING_POLL_SECONDS
        while True:
            try:
                locations = self._list(vm_ref)
            except VmBackupError:
                raise failure from None
            shown = bool(_location(locations, backup_location_id))
            counts = locations is None or time.monotonic() >= counts_from[shown]
            if counts and shown is assigned:
                return True
            if isinstance(failure, LostAnswerError) or failure.is_server_error:
                return False
            if counts:
                advice = self._advice(locations, backup_location_id) if assigned else ""
                raise RefusedError(f"{failure}{advice}")
            time.sleep(max(0, min(poll_seconds, counts_from[shown] - time.monotonic())))
            poll_seconds *= 4

    def _advice(self, locations: list[BackupLocation] | None, backup_location_id: str) -> str:
        """What to do about an assignment that was refused."""
        if locations is None:
            return " VM Backup manages no VM of this ref: check it, and add the VM to VM Backup."
        present = ", ".join(location.path or location.id for location in locations)
        keeps = f" The VM has {present or 'no backup location'} at present."
        there_are = self._names.locations()
        wanted = there_are.get(backup_location_id)
        if wanted is None and there_are:
            paths = ", ".join(f"{each.path or '?'} ({each.id})" for each in there_are.values())
            return f"{keeps} This server has no such backup location; it has {paths}."
        if not locations:
            return f"{keeps} Check that the VM is configured in VM Backup."
        if wanted and wanted.kind == "primary":
            return f"{keeps} If the server allows one primary location only, {DELETING_FIRST}"
        return keeps

    def _list(self, vm_ref: str) -> list[BackupLocation] | None:
        """The VM's locations, or None when VM Backup definitely does not manage the VM."""
        try:
            return self._client.vm_backup_locations(vm_ref)
        except RefusedError:
            # How an unknown VM is refused is unknown, so only the list of VMs can tell; and one
            # without any VM is that of a server which is not up yet.
            vms = self._virtual_machines()
            if not vms or any(vm.ref == vm_ref and vm.is_assignable for vm in vms):
                raise
            return None

    def _virtual_machines(self) -> list[VirtualMachine]:
        with self._vms_lock:
            if self._vms is None:
                self._vms = self._client.virtual_machines()
            return self._vms


class _Names:
    """What people call the VMs and locations: three GETs in a process.

    Names are a courtesy: when they cannot be learnt they stay unknown, and nothing fails.
    """

    def __init__(
        self, client: Client, virtual_machines: Callable[[], list[VirtualMachine]]
    ) -> None:
        self._client = client
        self._virtual_machines = virtual_machines
        self._lock = threading.Lock()
        self._asked = False
        self._vm_names: dict[str, str | None] = {}
        self._locations: dict[str, BackupLocation] = {}

    def complete(self, assignment: Assignment) -> Assignment:
        """The assignment, with what is still unknown of it filled in where possible."""
        if assignment.vm_name and assignment.location_path and assignment.kind:
            return assignment
        location = self.locations().get(assignment.backup_location_id)
        return replace(
            assignment,
            vm_name=assignment.vm_name or self._vm_names.get(assignment.vm_ref),
            location_path=assignment.location_path or (location.path if location else None),
            kind=assignment.kind or (location.kind if location else None),
        )

    def locations(self) -> dict[str, BackupLocation]:
        """The server's backup locations by their ids; none when they cannot be learnt."""
        with self._lock:
            if not self._asked:
                self._asked = True
                self._ask()
            return self._locations

    def _ask(self) -> None:
        for ask in (self._ask_vm_names, self._ask_locations):
            try:
                ask()
            except RefusedError:
                continue
            except VmBackupError:
                break  # a server that does not answer is not asked again

    def _ask_vm_names(self) -> None:
        self._vm_names = {vm.ref: vm.name for vm in self._virtual_machines() if vm.ref}

    def _ask_locations(self) -> None:
        primary, offsite = map(self._client.backup_locations, KINDS)
        self._locations = {location.id: location for location in primary + offsite}
        for location in primary:
            if self._locations[location.id].kind != location.kind:  # listed as both: unknown
                self._locations[location.id] = replace(location, kind=None)


def now() -> str:
    """The present time as states keep it: ISO 8601 in UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def age_seconds(assigned_at: str | None) -> float | None:
    """How long ago something was assigned by the time that a state keeps, if it keeps one."""
    if not assigned_at:
        return None
    return (datetime.now(timezone.utc) - datetime.fromisoformat(assigned_at)).total_seconds()


def _location(
    locations: list[BackupLocation] | None, backup_location_id: str
) -> BackupLocation | None:
    return next((each for each in locations or () if each.id == backup_location_id), None)
