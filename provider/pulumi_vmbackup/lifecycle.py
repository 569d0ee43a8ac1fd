"""Assign a VM to a backup location or un-assign it, and find out whether it is assigned.

Nothing here knows of Pulumi. The rules:

* Only a definite listing of the right server proves that an assignment does not exist. A refusal, a
  lost answer or an unreadable answer never does.
* A VM counts as gone only on a server that knows the VM or the location of the pair. All sites
  answer at localhost, so a tunnel to the wrong one is the usual mistake.
* If the outcome of a write is unknown, a listing of the VM's locations decides whether to send it
  again.
* A listing may lag behind a write for ``settle_seconds`` (unknown; public scripts wait some seconds
  between the two). Until then it is no proof against that write.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timezone

from .catalog import Catalog
from .client import Client, pauses
from .declared import DeclaredPairs, PairsOfServer, Run
from .errors import (
    Advice,
    ArgumentError,
    Hint,
    LostAnswerError,
    RefusedError,
    StoppedError,
    UnreachableError,
    VmBackupError,
    WrongServerError,
    explained,
)
from .models import Assignment, BackupLocation, Pair

LISTING_POLL_SECONDS = 2.0


@dataclass
class _Proof:
    """The times from which a listing is proof about one pair.

    A listing shows the pair or lacks it, and it may be older than the last write:

    | written   | the listing shows the pair               | the listing lacks the pair        |
    |-----------|------------------------------------------|-----------------------------------|
    | assign    | proof, unless this run un-assigned the   | proof; after a POST that may have |
    |           | pair less than ``settle_seconds`` ago    | arrived, ``settle_seconds`` later |
    | un-assign | proof; after a DELETE that may have      | proof, unless the pair was        |
    |           | arrived, or another write to this VM,    | assigned less than                |
    |           | ``settle_seconds`` later                 | ``settle_seconds`` ago            |

    A VM that a server does not manage has no assignments there: that is always proof, if it is the
    right server.

    Attributes:
        present_from: the time from which a listing proves that the pair is assigned.
        absent_from: the time from which a listing proves that it is not assigned.
    """

    present_from: float
    absent_from: float

    def holds(self, *, is_listed: bool) -> bool:
        """Whether a listing made now is proof of what it says about the pair."""
        return self.seconds_until(is_listed=is_listed) <= 0

    def seconds_until(self, *, is_listed: bool) -> float:
        """In how many seconds such a listing is proof."""
        return (self.present_from if is_listed else self.absent_from) - time.monotonic()

    def write_may_arrive_late(self, *, assigned: bool, settle_seconds: float) -> None:
        """A failed write may have arrived: from now on, listings may lag behind it."""
        settled_at = time.monotonic() + settle_seconds
        if assigned:
            self.absent_from = settled_at
        else:
            self.present_from = settled_at


class AssignmentLifecycle:
    """Assigns VMs to backup locations through one client; for any number of threads.

    Args:
        client: sends the calls.
        catalog: the names of that server's VMs and locations.
        settle_seconds: how long a new assignment may be missing from listings.
        declared: the pairs that the program declares on this server; they are not un-assigned. None
            if no program declares any.
        is_over: returns True when the engine is gone. Writes are then not retried: a newer run may
            have changed the same pair.
    """

    def __init__(
        self,
        client: Client,
        catalog: Catalog,
        *,
        settle_seconds: float,
        declared: PairsOfServer | None = None,
        is_over: Callable[[], bool] = lambda: False,
    ) -> None:
        self._client = client
        self._catalog = catalog
        self._settle_seconds = settle_seconds
        self._declared = declared or DeclaredPairs(Run(())).on(None)
        self._is_over = is_over
        self._listings: dict[str, list[BackupLocation] | None] = {}
        self._listing_locks: dict[str, threading.Lock] = defaultdict(threading.Lock)
        # How many writes to a VM have begun, and have ended: a listing that overlaps with one is
        # not kept.
        self._writes_begun: Counter[str] = Counter()
        self._writes_ended: Counter[str] = Counter()
        self._lock = threading.Lock()
        # When this process last wrote to a VM, and when it un-assigned a pair.
        self._written_at: dict[str, float] = {}
        self._unassigned_at: dict[Pair, float] = {}

    def assign(self, wanted: Assignment) -> Assignment:
        """Assign a VM to a backup location; an existing assignment is adopted.

        Costs one POST. If that is refused or its answer is lost, the VM's locations are listed too.

        Args:
            wanted: the pair, with its names as far as they are known.

        Returns:
            The assignment, with the names that the server gives.

        Raises:
            VmBackupError: the VM is not assigned, or whether it is could not be found out.
        """
        vm_ref, backup_location_id = wanted.vm_ref, wanted.backup_location_id
        with explained(f"assign VM {vm_ref} to backup location {backup_location_id}"):
            self.ensure(vm_ref, backup_location_id, assigned=True)
        return self._catalog.complete(wanted)

    def assign_again(self, known: Assignment) -> Assignment:
        """:meth:`assign` for a pair of the state that this run has un-assigned.

        Raises:
            VmBackupError: as for :meth:`assign`; only a refresh can correct the state then.
        """
        pair = (known.vm_ref, known.backup_location_id)
        with (
            explained(f"assign VM {pair[0]} to backup location {pair[1]}"),
            self._declared.lock(pair),
        ):
            self._assign_again(pair)
        return self._catalog.complete(known)

    def find(self, known: Assignment, *, age_seconds: float | None = None) -> Assignment | None:
        """Look up an assignment on the server; a VM's locations are listed once per process.

        Args:
            known: the assignment, with its names as far as they are known.
            age_seconds: how long ago it was made; None if unknown.

        Returns:
            The assignment with its location's present path; None if it is definitely gone.

        Raises:
            VmBackupError: the server gave no definite answer.
        """
        with explained(
            f"read whether VM {known.vm_ref} is assigned to backup location "
            f"{known.backup_location_id}"
        ):
            locations = self.locations_of(known.vm_ref, [known.backup_location_id])
        location = _location(locations, known.backup_location_id)
        if location:
            path = location.path or known.location_path
            return self._catalog.complete(replace(known, location_path=path))
        if locations is not None and self.may_be_missing(age_seconds):
            return known
        return None

    def locations_of(
        self, vm_ref: str, expected: Collection[str] = ()
    ) -> list[BackupLocation] | None:
        """A VM's locations, listed once per process, and again after a write to the VM.

        Args:
            vm_ref: the VM.
            expected: the ids of locations that it was assigned to.

        Returns:
            The locations; None if VM Backup definitely does not manage the VM.

        Raises:
            WrongServerError: the server knows neither the VM nor one of the expected locations.
            VmBackupError: the server gave no definite answer.
        """
        with self._listing_locks[vm_ref]:
            if vm_ref in self._listings:
                locations = self._listings[vm_ref]
            else:
                ended = self._writes_ended[vm_ref]
                locations = self._confirmed(vm_ref, self._list(vm_ref))
                with self._lock:
                    if self._writes_begun[vm_ref] == ended:
                        self._listings[vm_ref] = locations
        if locations is None and expected:
            self.refuse_wrong_server(vm_ref, *expected)
        return locations

    def may_be_missing(self, age_seconds: float | None) -> bool:
        """Whether an assignment of this age may exist although listings lack it."""
        return self._unsettled_seconds(age_seconds) > 0

    def unassign(
        self, vm_ref: str, backup_location_id: str, *, age_seconds: float | None = None
    ) -> bool:
        """Un-assign a VM from a backup location; succeeds if the VM is not assigned to it.

        Costs one DELETE. If that is refused or its answer is lost, the VM's locations are listed
        too. If the program declares other pairs, the VMs are listed once per process: a VM that the
        server does not list stays assigned, since its host may be off.

        Args:
            vm_ref: the VM.
            backup_location_id: the location.
            age_seconds: how long ago it was assigned; None if unknown.

        Returns:
            Whether it is un-assigned; False if the server does not list the VM.

        Raises:
            VmBackupError: the VM is still assigned, or whether it is could not be found out; or
                this process has un-assigned too much, see PairsOfServer.refuse_mass_removal().
        """
        pair, settings = (vm_ref, backup_location_id), self._client.settings
        with explained(f"un-assign VM {vm_ref} from backup location {backup_location_id}"):
            if self._declared.is_update and not settings.allow_mass_removal:
                if not self._is_listed(vm_ref):
                    self.refuse_wrong_server(*pair)
                    return False
                remedy = settings.to_set(
                    "allowMassRemoval", "true for one run", purpose="If it is meant"
                )
                self._declared.refuse_mass_removal(pair, remedy)
            self.ensure(*pair, assigned=False, age_seconds=age_seconds)
        return True

    def ensure(
        self,
        vm_ref: str,
        backup_location_id: str,
        *,
        assigned: bool,
        age_seconds: float | None = None,
        expected: Collection[str] = (),
        when_waiting: Callable[[float], None] = lambda _: None,
    ) -> None:
        """:meth:`assign` or :meth:`unassign`, without names.

        A pair that the program declares is not un-assigned.

        Args:
            vm_ref: the VM.
            backup_location_id: the location.
            assigned: True to assign, False to un-assign.
            age_seconds: how long ago it was assigned; None if unknown.
            expected: the ids of other locations that the right server knows.
            when_waiting: called if the server refuses to un-assign and its listing may be out of
                date, with how many seconds it is asked again at most.

        Raises:
            VmBackupError: as for those two, but the message is only the reason.
        """
        pair = (vm_ref, backup_location_id)
        with self._declared.lock(pair):
            if assigned:
                self._assign(pair, age_seconds)
            elif pair not in self._declared:
                self._unassign(pair, age_seconds, expected, when_waiting)

    def _assign(self, pair: Pair, age_seconds: float | None = None) -> None:
        with self._writing(pair[0]):
            self._send_until_known(pair, assigned=True, age_seconds=age_seconds)
        self._written_at[pair[0]] = time.monotonic()
        self._declared.was_assigned(pair)

    def _unassign(
        self,
        pair: Pair,
        age_seconds: float | None,
        expected: Collection[str],
        when_waiting: Callable[[float], None],
    ) -> None:
        """Un-assign a pair, and assign it again if the program declares it meanwhile."""
        self._declared.begin_to_unassign(pair)
        try:
            with self._writing(pair[0]):
                self._send_until_known(
                    pair,
                    assigned=False,
                    age_seconds=age_seconds,
                    expected=expected,
                    when_waiting=when_waiting,
                )
        except VmBackupError:
            if pair not in self._declared:
                raise
        finally:
            self._unassigned_at[pair] = time.monotonic()
        self._written_at[pair[0]] = self._unassigned_at[pair]
        if pair in self._declared:
            self._assign_again(pair)

    def _assign_again(self, pair: Pair) -> None:
        try:
            self._assign(pair)
        except VmBackupError as error:
            failure = error.reworded(
                "this run has un-assigned it, the program declares it, and it could not be "
                f"assigned again: {error}"
            )
            failure.advice += (Hint.REFRESH,)
            raise failure from None

    def _unsettled_seconds(self, age_seconds: float | None) -> float:
        """For how many more seconds listings may lack an assignment of this age."""
        if age_seconds is None:
            return 0
        return max(0, self._settle_seconds - abs(age_seconds))  # clocks may differ a little

    @contextmanager
    def _writing(self, vm_ref: str) -> Iterator[None]:
        """The time of a write to a VM: no listing of it that was made until its end is kept."""
        with self._lock:
            self._writes_begun[vm_ref] += 1
            self._listings.pop(vm_ref, None)
        try:
            yield
        finally:
            with self._lock:
                self._writes_ended[vm_ref] += 1

    def _send_until_known(
        self,
        pair: Pair,
        *,
        assigned: bool,
        age_seconds: float | None,
        expected: Collection[str] = (),
        when_waiting: Callable[[float], None] = lambda _: None,
    ) -> None:
        """Send a write until it is known whether the pair is assigned."""
        write = self._client.assign if assigned else self._client.unassign
        # An assignment to another location may move the VM away from this one (unknown).
        removed_at = self._unassigned_at.get(pair) if assigned else self._written_at.get(pair[0])
        proof = _Proof(
            present_from=0 if removed_at is None else removed_at + self._settle_seconds,
            absent_from=time.monotonic() + self._unsettled_seconds(age_seconds),
        )
        retry_pauses = pauses()
        while True:
            failure: VmBackupError
            try:
                return write(*pair)
            except UnreachableError as error:
                failure = error  # nothing was sent, so there is nothing to look up
            except (RefusedError, LostAnswerError) as error:
                failure = error
                if assigned and removed_at is None and pair in self._declared.unassigned():
                    # By another process of the run, maybe just now.
                    proof.present_from = time.monotonic() + self._settle_seconds
                if self._is_done(failure, pair, assigned, proof, expected, when_waiting):
                    return None
                proof.write_may_arrive_late(assigned=assigned, settle_seconds=self._settle_seconds)
            pause = next(retry_pauses, None)
            if pause is None:
                raise failure
            self._pause(pause, failure)
            if self._is_over() or (not assigned and pair in self._declared):
                raise failure

    def _pause(self, seconds: float, failure: VmBackupError) -> None:
        """Wait before another try; if the run is interrupted meanwhile, the failure is raised."""
        try:
            self._client.pause(seconds)
        except StoppedError:
            raise failure from None

    def _is_done(
        self,
        failure: RefusedError | LostAnswerError,
        pair: Pair,
        assigned: bool,
        proof: _Proof,
        expected: Collection[str],
        when_waiting: Callable[[float], None],
    ) -> bool:
        """Whether a failed write took effect anyway; raises a refusal that is proven.

        Args:
            failure: how the write failed.
            pair: the pair.
            assigned: whether it was to be assigned.
            proof: the times from which a listing is proof.
            expected: the ids of other locations that the right server knows.
            when_waiting: called before the first wait, with how many seconds all may take.
        """
        vm_ref, backup_location_id = pair
        poll_seconds = LISTING_POLL_SECONDS
        is_first, is_waiting = True, False
        while True:
            try:
                locations = self._list(vm_ref, after_stop=True)
                if not assigned and proof.holds(is_listed=False):
                    locations = self._confirmed(vm_ref, locations)
            except VmBackupError:
                raise failure from None
            is_listed = _location(locations, backup_location_id) is not None
            is_proof = locations is None or proof.holds(is_listed=is_listed)
            if locations is None:
                self.refuse_wrong_server(*pair, *expected, failure=failure, is_new=assigned)
            if is_proof and is_listed is assigned:
                return True
            if isinstance(failure, LostAnswerError) or failure.is_server_error:
                return False
            if is_first and failure.session != self._client.session:
                return False  # it may have been refused because its session was over
            is_first = False
            if is_proof:
                raise self._refused(failure, locations, pair) if assigned else failure
            wait_seconds = proof.seconds_until(is_listed=is_listed)
            if not is_waiting:
                when_waiting(wait_seconds)
            is_waiting = True
            self._pause(max(0, min(poll_seconds, wait_seconds)), failure)
            poll_seconds *= 4

    def _refused(
        self, refusal: VmBackupError, locations: list[BackupLocation] | None, pair: Pair
    ) -> VmBackupError:
        """A refusal to assign a pair, with what the server has for the VM and the location."""
        if locations is None:
            return refusal.reworded(
                f"{refusal} VM Backup manages no VM with this ref: check the ref, or add the VM to "
                "VM Backup."
            )
        present = ", ".join(location.label for location in locations)
        says = f"{refusal} The VM has {present or 'no backup location'} at present."
        known = self._catalog.known_locations()
        wanted = known.get(pair[1])
        if known and wanted is None and not locations:
            self.refuse_wrong_server(*pair, failure=refusal, is_new=True)
        advice: tuple[Advice, ...] = ()
        if wanted is None and known:
            paths = ", ".join(f"{each.path or '?'} ({each.id})" for each in known.values())
            says += f" This server has no such backup location; it has {paths}."
        elif not locations:
            says += " Check that the VM is configured in VM Backup."
        elif wanted and wanted.kind == "primary":
            advice = (Hint.DELETE_FIRST,)
        explained_refusal = refusal.reworded(says)
        explained_refusal.advice += advice
        return explained_refusal

    def _list(self, vm_ref: str, *, after_stop: bool = False) -> list[BackupLocation] | None:
        """The VM's locations; None if VM Backup definitely does not manage the VM."""
        try:
            return self._client.vm_backup_locations(vm_ref, after_stop=after_stop)
        except RefusedError:
            # How the server refuses an unknown VM is unknown, so the list of VMs decides.
            if self._manages(vm_ref):
                raise
            return None

    def _confirmed(
        self, vm_ref: str, locations: list[BackupLocation] | None
    ) -> list[BackupLocation] | None:
        """The locations; None if there are none because VM Backup does not manage the VM.

        A server may answer with an empty list for a VM that it does not know (unknown).
        """
        return locations if locations or self._manages(vm_ref) else None

    def _manages(self, vm_ref: str) -> bool:
        return any(vm.ref == vm_ref and vm.is_assignable for vm in self._catalog.virtual_machines())

    def _is_listed(self, vm_ref: str) -> bool:
        return any(vm.ref == vm_ref for vm in self._catalog.virtual_machines())

    def refuse_wrong_server(
        self,
        vm_ref: str,
        *expected: str,
        failure: VmBackupError | None = None,
        is_new: bool = False,
    ) -> None:
        """Refuse to take a VM for gone on a server that knows neither it nor its locations.

        Args:
            vm_ref: the VM, which the server does not manage.
            expected: the ids of its locations.
            failure: why a write failed; its words come first.
            is_new: whether it was to be assigned, so that no state holds it.

        Raises:
            ArgumentError: the ref is the id of a location.
            WrongServerError: the server knows neither.
            VmBackupError: the server gave no definite answer.
        """
        if self._is_listed(vm_ref):
            return
        location_ids = self._catalog.location_ids()
        if vm_ref in location_ids:
            raise ArgumentError(
                f"{failure or ''} {vm_ref} is a backup location, and not a VM: are the two ids "
                "swapped?".lstrip()
            )
        if location_ids.isdisjoint(expected):
            settings = self._client.settings
            location_id, *others = dict.fromkeys(expected)
            more = f" nor {len(others):,} others" if others else ""
            raise WrongServerError(
                f"{failure or ''} The server at {settings.base_url} knows neither VM {vm_ref} nor "
                f"backup location {location_id}{more}: is it the right server? A tunnel may lead "
                "to another site.".lstrip(),
                settings.to_check("baseUrl"),
                *([] if is_new else [Hint.REMOVE_FROM_STATE]),
            )


def now() -> str:
    """The present time in the form that states hold: ISO 8601 in UTC."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def age_seconds(assigned_at: str | None) -> float | None:
    """How many seconds ago something was assigned; None if the state holds no time."""
    if not assigned_at:
        return None
    return (datetime.now(timezone.utc) - datetime.fromisoformat(assigned_at)).total_seconds()


def _location(
    locations: list[BackupLocation] | None, backup_location_id: str
) -> BackupLocation | None:
    return next((each for each in locations or () if each.id == backup_location_id), None)
