"""The questions that assign one VM and un-assign it, and how its locations are restored.

The VM's locations at the start are written to a file before the first change. All changes are made
in one thread, which ends with restoring them: whoever interrupts the probe waits for that. If the
process is killed, the file is left, and :func:`restore` does the same from it.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..client import Client
from ..errors import ArgumentError, RefusedError, StoppedError, VmBackupError
from ..facts import rounded
from ..files import reason_of, text_of, write_whole
from ..models import BackupLocation, VirtualMachine, normalize_guid
from ..session import at_process_end, not_at_process_end
from .calls import Calls, Found, Heard, made_up_guid
from .reads import LISTED

POLL_SECONDS = 0.2
# How long a listing may lag behind a change at most, if settleSeconds is not longer.
LONGEST_LAG_SECONDS = 60.0
# How long the server is asked again and again, if it cannot be reached while the VM is restored.
RESTORE_SECONDS = 90.0
_PAUSE_SECONDS = 2.0
_LOCATION_FACTS = (
    "writeSeconds",
    "appearSeconds",
    "secondAssign",
    "disappearSeconds",
    "secondUnassign",
    "unknownLocationAssign",
    "unknownVmAssign",
    "unknownLocationUnassign",
    "unknownVmUnassign",
)
_SECOND_FACTS = ("secondPrimary", "secondPrimaryAnswer")


@dataclass
class Journal:
    """The VM's locations before the first change, as they must be in the end.

    Attributes:
        server: the server, as ``Settings.server``.
        vm_ref, vm_name: the VM.
        assigned: the labels of the locations that it was assigned to, by id.
        touched: the labels of the locations that the probe may assign it to, by id.
    """

    server: str
    vm_ref: str
    vm_name: str
    assigned: dict[str, str]
    touched: dict[str, str]

    @classmethod
    def load(cls, file: Path) -> Journal:
        """Read the file.

        Raises:
            ArgumentError: it cannot be read, or is no such file.
        """
        try:
            data = json.loads(text_of(file.read_bytes()))
            journal = cls(**data)
            for ids in (journal.assigned, journal.touched):
                for each in ids:
                    normalize_guid(each)
            normalize_guid(journal.vm_ref)
        except OSError as error:
            raise ArgumentError(f"{file} cannot be read: {reason_of(error, file)}.") from None
        except (ValueError, TypeError, AttributeError):
            raise ArgumentError(
                f"{file} does not hold the locations of a VM: give the file that `vmbackup probe` "
                "names."
            ) from None
        return journal

    def save(self, file: Path) -> None:
        """Write the file.

        Raises:
            ArgumentError: it cannot be written.
        """
        try:
            write_whole(file, json.dumps(asdict(self), indent=2) + "\n")
        except OSError as error:
            raise ArgumentError(
                f"{file}, which must hold the locations of the VM before it is changed, cannot be "
                f"written: {reason_of(error, file)}. Nothing was changed."
            ) from None


@dataclass
class Restored:
    """What became of the VM's locations.

    Attributes:
        missing: the labels of locations that it had and that it is not assigned to.
        extra: the labels of locations that the probe assigned it to, and that it still has.
        error: why the server could not be asked; None if it was.
    """

    missing: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    error: VmBackupError | None = None

    @property
    def is_done(self) -> bool:
        """Whether a listing shows the VM's locations as they were."""
        return not (self.missing or self.extra or self.error)


class _InterruptedError(Exception):
    pass


class WritingProbe:
    """Finds out what needs changes, on one VM, and restores it.

    Args:
        client: the client.
        vm: the VM. It must not be assigned to the locations.
        location: the location that it is assigned to and un-assigned from.
        second: another primary location, to see what a second one does; None for none.
        found: gets the facts.
        journal_file: the file for the VM's locations; it must not exist.
        say: is told what is done next, in another thread.
        tell: is told what became of the VM's locations, in that thread.

    Raises:
        ArgumentError: the VM has such a location, or the journal exists already.
        VmBackupError: the server could not be asked.
    """

    def __init__(
        self,
        client: Client,
        vm: VirtualMachine,
        location: BackupLocation,
        second: BackupLocation | None,
        found: Found,
        journal_file: Path,
        say: Callable[[str], None],
        tell: Callable[[Restored], None],
    ) -> None:
        if journal_file.exists():
            raise ArgumentError(
                f"{journal_file} holds the locations of a VM that an earlier probe did not "
                f"restore: run `vmbackup probe --restore {journal_file}` first."
            )
        self._client = client
        self._calls = Calls(client)
        self._vm, self._location, self._second = vm, location, second
        self._vm_ref = vm.ref or ""
        self._found = found
        self._file = journal_file
        self._say, self._tell = say, tell
        self._is_interrupted = threading.Event()
        self._is_done = threading.Event()
        self._proof_at = 0.0  # when a listing shows all that was changed
        self._unclear: set[str] = set()  # the locations that a POST may have assigned, for ever
        self._error: BaseException | None = None
        self.restored = Restored()
        self._unknown_location = made_up_guid()
        self.journal = self._looked()
        primary = {each.id for each in client.backup_locations("primary")}
        self._has_primary = not primary.isdisjoint(self.journal.assigned)
        if second and not self._has_primary and location.kind != "primary":
            raise ArgumentError(
                f"The VM {vm.name} has no primary location, and {location.label} is none, so "
                f"{second.label} would be its first: choose a primary location for --location."
            )

    def _looked(self) -> Journal:
        """The VM's locations now."""
        assigned = {each.id: each.label for each in self._client.vm_backup_locations(self._vm_ref)}
        chosen = {each.id: each.label for each in (self._location, self._second) if each}
        for each, label in chosen.items():
            if each in assigned:
                raise ArgumentError(
                    f"The VM {self._vm.name} is assigned to {label} already: choose a location "
                    "that it does not have, so that nothing of its backups is changed."
                )
        return Journal(
            self._client.settings.server,
            self._vm_ref,
            self._vm.name or self._vm_ref,
            assigned,
            {**chosen, self._unknown_location: "an unknown id"},
        )

    @property
    def plan(self) -> str:
        """What it changes, as sentences."""
        too = f" and to {self._second.label}" if self._second else ""
        return (
            f"{self._vm.name} is assigned to {self._location.label}{too}, un-assigned again, and "
            "ends with the locations that it has now. Choose a VM that is not being backed up."
        )

    def run(self) -> None:
        """Run it; also after Ctrl-C and errors, it returns when the VM is restored, or cannot be.

        Raises:
            VmBackupError: the server could not be asked.
            KeyboardInterrupt, SystemExit: the probe was interrupted.
        """
        self._calls.invalid_token = self._found.answer("unknownToken")
        self.journal = self._looked()  # once more: the question may have waited for its answer
        self.journal.save(self._file)
        thread = threading.Thread(target=self._work)
        at_process_end(self._end, before_sessions_end=True)
        interruption: BaseException | None = None
        thread.start()
        while not self._is_done.is_set():
            try:
                self._is_done.wait(0.2)  # in slices: Windows delivers signals between waits
            except (KeyboardInterrupt, SystemExit) as error:
                interruption = interruption or error
                self._is_interrupted.set()
        thread.join()
        not_at_process_end(self._end)
        if interruption:
            raise interruption
        if self._error:
            raise self._error

    def _end(self) -> None:
        """Interrupt the probe, and wait until the VM is restored."""
        self._is_interrupted.set()
        self._is_done.wait()

    def _work(self) -> None:
        try:
            try:
                self._find_out()
            except _InterruptedError:
                self._say("interrupted")
            except BaseException as error:  # noqa: BLE001  # raised again in run()
                self._error = error
            self._say(f"restoring the locations of {self._vm.name}, please wait")
            try:
                self.restored = restore(
                    self._client, self.journal, self._unclear, self._proof_at, self._say
                )
                if self.restored.is_done:
                    self._file.unlink(missing_ok=True)
            except BaseException as error:  # noqa: BLE001  # raised again in run()
                self._error = error
                self.restored = Restored(error=VmBackupError(f"{type(error).__name__}: {error}"))
            self._tell(self.restored)
        finally:
            self._is_done.set()

    # What is found out

    def _find_out(self) -> None:
        location, found = self._location, self._found
        self._say(f"assigning {self._vm.name} to {location.label}")
        first = self._write("POST", self._vm_ref, location.id)
        is_second_primary = location.kind == "primary" and self._has_primary
        if is_second_primary:
            found.add("secondPrimaryAnswer", first.answer)
        if not first.answer.is_accepted:
            if is_second_primary:
                found.add("secondPrimary", "is refused")
            found.miss(f"the assignment was not accepted: {first.answer}", *_LOCATION_FACTS)
            found.miss(f"the assignment was not accepted: {first.answer}", *_SECOND_FACTS)
            return
        found.add("writeSeconds", rounded(first.seconds))
        if not self._find_lag("appearSeconds", first, location.id, is_listed=True):
            return
        if is_second_primary:
            self._see_what_moved({*self.journal.assigned})
        self._say("assigning it once more")
        found.add("secondAssign", self._write("POST", self._vm_ref, location.id).answer)
        if self._second:
            self._try_second(self._second)
        else:
            found.miss("not tried: it needs --second-location", *_SECOND_FACTS)
        self._say("un-assigning it")
        first = self._write("DELETE", self._vm_ref, location.id)
        if not first.answer.is_accepted:
            found.miss(f"un-assigning was not accepted: {first.answer}", *_LOCATION_FACTS)
            return
        if not self._find_lag("disappearSeconds", first, location.id, is_listed=False):
            return
        self._say("un-assigning it once more")
        found.add("secondUnassign", self._write("DELETE", self._vm_ref, location.id).answer)
        self._try_unknown()

    def _find_lag(self, key: str, write: Heard, location_id: str, *, is_listed: bool) -> bool:
        """Measure how long a listing lags behind a write; whether that was seen."""
        patience = max(self._client.settings.settle_seconds, LONGEST_LAG_SECONDS)
        while time.monotonic() < write.heard_at + patience:
            heard = self._listed()
            if heard is not None and (location_id in _ids(heard)) == is_listed:
                seconds = heard.heard_at - write.heard_at
                self._found.add(key, rounded(seconds))
                self._proof_at = time.monotonic() + 2 * seconds + POLL_SECONDS
                return True
            self._pause(POLL_SECONDS)
        self._found.miss(f"no listing shows the change within {patience:g} s", *_LOCATION_FACTS)
        return False

    def _try_second(self, second: BackupLocation) -> None:
        self._say(f"assigning it to {second.label} too")
        before = {*self.journal.assigned, self._location.id}
        written = self._write("POST", self._vm_ref, second.id)
        self._found.add("secondPrimaryAnswer", written.answer)
        if not written.answer.is_accepted:
            self._found.add("secondPrimary", "is refused")
            return
        self._wait_for(second.id, is_listed=True)
        self._see_what_moved(before)
        self._write("DELETE", self._vm_ref, second.id)
        self._wait_for(second.id, is_listed=False)
        if self._found.values.get("secondPrimary") == "moves the VM":
            self._write("POST", self._vm_ref, self._location.id)
            self._wait_for(self._location.id, is_listed=True)

    def _see_what_moved(self, before: set[str]) -> None:
        """See whether the locations before a write are still listed."""
        give_up_at = time.monotonic() + LONGEST_LAG_SECONDS
        while (now := time.monotonic()) < give_up_at:
            heard = self._listed() if now >= self._proof_at else None
            if heard is not None:
                is_moved = not before <= _ids(heard)
                self._found.add("secondPrimary", "moves the VM" if is_moved else "is allowed")
                return
            self._pause(POLL_SECONDS)
        self._found.miss("no listing came", "secondPrimary")

    def _try_unknown(self) -> None:
        for what, words, vm_ref, location_id in (
            ("Location", "location", self._vm_ref, self._unknown_location),
            ("Vm", "VM", made_up_guid(), self._location.id),
        ):
            self._say(f"assigning with a {words} that does not exist")
            answer = self._write("POST", vm_ref, location_id).answer
            self._found.add(f"unknown{what}Assign", answer)
            answer = self._write("DELETE", vm_ref, location_id).answer
            self._found.add(f"unknown{what}Unassign", answer)

    def _wait_for(self, location_id: str, *, is_listed: bool) -> None:
        give_up_at = time.monotonic() + LONGEST_LAG_SECONDS
        while time.monotonic() < give_up_at:
            heard = self._listed()
            if heard is not None and (location_id in _ids(heard)) == is_listed:
                return
            self._pause(POLL_SECONDS)

    # Calls

    def _write(self, method: str, vm_ref: str, location_id: str) -> Heard:
        self._check_interruption()
        is_of_vm = vm_ref == self._vm_ref
        is_first = location_id not in self._unclear
        if is_of_vm and method == "POST":
            self._unclear.add(location_id)
        lag = settle = self._client.settings.settle_seconds
        try:
            heard = self._calls.ask(method, "vms/backuplocations", vm_ref, location_id)
            if heard.answer.form == "none":
                raise LostWriteError(
                    f"No answer came to the {method} of {self._vm.name}, so the probe stops. "
                    "`vmbackup doctor` checks the connection."
                )
            is_refused = heard.answer.form == "refused" and heard.answer.status < 500
            lag = 0.0 if is_refused else min(settle, self._lag())
            is_clear = is_first and is_refused if method == "POST" else heard.answer.is_accepted
            if is_of_vm and is_clear:
                self._unclear.discard(location_id)
            return heard
        finally:
            self._proof_at = max(self._proof_at, time.monotonic() + lag)

    def _lag(self) -> float:
        """How long a listing may lag behind a write, as far as that is known."""
        seconds = [
            float(self._found.values[key])  # type: ignore[arg-type]  # seconds
            for key in ("appearSeconds", "disappearSeconds")
            if key in self._found.values
        ]
        return 2 * max(seconds) + 2 * POLL_SECONDS if seconds else float("inf")

    def _listed(self) -> Heard | None:
        """The VM's locations; None if no list came."""
        self._check_interruption()
        heard = self._calls.ask("GET", "vms/backuplocations", self._vm_ref, "1", "1", wanted=LISTED)
        return heard if heard.answer.is_accepted else None

    def _pause(self, seconds: float) -> None:
        self._is_interrupted.wait(seconds)
        self._check_interruption()

    def _check_interruption(self) -> None:
        if self._is_interrupted.is_set():
            raise _InterruptedError


class LostWriteError(VmBackupError):
    """The answer to a change was lost; what the server did is found out when it is restored."""


def restore(
    client: Client,
    journal: Journal,
    unclear: Collection[str],
    proof_at: float,
    say: Callable[[str], None],
) -> Restored:
    """Make a VM's locations what they were, and check that by listing.

    Only what the probe may have changed is changed: the locations that it has tried, and those that
    the VM had and lost.

    Args:
        client: the client.
        journal: the VM's locations before the probe.
        unclear: the ids of the locations that the VM may be assigned to though no listing shows
            it. It is un-assigned from those that it was not assigned to before.
        proof_at: the time, by time.monotonic(), from which a listing shows all changes so far.
        say: is told what is done.
    """
    give_up_at = max(time.monotonic(), proof_at) + RESTORE_SECONDS
    unclear = {each for each in unclear if each not in journal.assigned}
    if (wait := proof_at - time.monotonic()) > 1:
        say(f"for {wait:.0f} s, the server may still change what was sent to it")
    not_before: dict[str, float] = {}  # when a location is assigned or un-assigned once more
    while True:
        restored = Restored()
        try:
            asked_at = time.monotonic()
            listed = {each.id for each in client.vm_backup_locations(journal.vm_ref)}
        except VmBackupError as error:
            restored.error = error
        else:
            missing = [each for each in journal.assigned if each not in listed]
            extra = [
                each for each in journal.touched if each in listed and each not in journal.assigned
            ]
            restored.missing = [journal.assigned[each] for each in missing]
            restored.extra = [journal.touched[each] for each in extra]
            if not (missing or extra or unclear) and asked_at >= proof_at:
                return restored
            for write, ids in (
                (client.assign, missing),
                (client.unassign, [*extra, *(unclear - {*extra})]),
            ):
                for each in ids:
                    if asked_at < not_before.get(each, 0.0):
                        continue
                    try:
                        write(journal.vm_ref, each)
                        # Not again while the listing may lag behind it.
                        not_before[each] = time.monotonic() + client.settings.settle_seconds
                    except RefusedError as error:
                        if each in missing or each in extra:
                            restored.error = error
                        unclear.discard(each)
                    except VmBackupError as error:
                        restored.error = error
                    else:
                        unclear.discard(each)
        if time.monotonic() > give_up_at or isinstance(restored.error, StoppedError):
            return restored
        if restored.error:
            say(f"trying again: {restored.error}")
        time.sleep(_PAUSE_SECONDS if restored.error else POLL_SECONDS)


def _ids(heard: Heard) -> set[str]:
    return {normalize_guid(each.get("BackupLocationId")) for each in heard.items(LISTED)}
