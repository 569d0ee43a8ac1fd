"""The questions that assign one VM and un-assign it, and how its locations are restored.

The VM's locations at the start are written to a file, the journal, before the first change. All
changes are made in one thread, which ends with restoring them: signals and the end of the process
wait for that. If the process is killed, the journal is left, and :func:`restore` works from it.

Nobody knows how long a server works on a change that it has answered, or not answered. So a list
of the VM's locations is proof only if it is made ``settleSeconds`` after the last change.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from ..client import Client
from ..errors import ArgumentError, StoppedError, VmBackupError
from ..facts import FACTS, rounded
from ..files import patiently, reason_of, text_of
from ..models import BackupLocation, VirtualMachine, normalize_guid
from ..session import at_process_end, not_at_process_end
from ..settings import Settings
from .calls import Calls, Found, Reply, made_up_guid
from .reads import LISTED

POLL_SECONDS = 0.2
# How long a new assignment may be missing from the listing, if settleSeconds is not longer.
LONGEST_LAG_SECONDS = 60.0
# How long the server is asked again and again while the VM is restored.
RESTORE_SECONDS = 90.0
PAUSE_SECONDS = 2.0
# A change is waited for so many times as long as one took to show.
_MARGIN = 3
_FOUND_BY_WRITES = [key for key, fact in FACTS.items() if fact.step == "writes"]
_FOUND_WITH_SECOND = [key for key, fact in FACTS.items() if fact.step == "second location"]


# The journal


@dataclass
class Journal:
    """A VM's locations before the first change, as they must be in the end.

    Attributes:
        written_at: when it was written, as UTC.
        vm_ref, vm_name: the VM.
        assigned: the labels of the locations that it was assigned to, by id.
        touched: the labels of the locations that the probe may assign it to, by id.
    """

    written_at: str
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
            journal = cls(**json.loads(text_of(file.read_bytes())))
            for each in (journal.vm_ref, *journal.assigned.keys(), *journal.touched.keys()):
                normalize_guid(each)
        except OSError as error:
            raise ArgumentError(f"{file} cannot be read: {reason_of(error, file)}.") from None
        except (ValueError, TypeError, AttributeError):
            raise ArgumentError(
                f"{file} does not hold the locations of a VM: look at the VM of the last probe in "
                "the Management Console, and delete the file."
            ) from None
        return journal

    def create(self, file: Path) -> None:
        """Write the file, which must not exist.

        Raises:
            ArgumentError: it exists, or cannot be written.
        """
        refuse_left_journal(file)
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("x", encoding="utf-8") as opened:
                opened.write(json.dumps(asdict(self), indent=2) + "\n")
                opened.flush()
                os.fsync(opened.fileno())
        except OSError as error:
            raise ArgumentError(
                f"{file}, which must hold the locations of the VM before it is changed, cannot be "
                f"written: {reason_of(error, file)}. Nothing was changed. Set PULUMI_HOME to a "
                "folder that you may write to."
            ) from None


def journal_file(settings: Settings) -> Path:
    """The journal of a server: one for each user, in Pulumi's folder."""
    home = os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi"
    server = re.sub(r"[^\w.-]+", "-", settings.server)
    return Path(home) / "vmbackup" / f"probe-{server}.json"


def refuse_left_journal(file: Path) -> None:
    """Refuse to change a VM while another one is not restored.

    Raises:
        ArgumentError: the journal exists.
    """
    if file.exists():
        raise ArgumentError(
            f"Another probe of this server has not ended, or it was killed and its VM is not "
            f"restored. Wait for its end, or run `vmbackup probe --restore`. ({file} holds the "
            "locations of that VM.)"
        )


@dataclass
class Restored:
    """What became of the VM's locations.

    Attributes:
        missing: the labels of locations that it had and that it is not assigned to.
        extra: the labels of locations that the probe assigned it to, and that it still has.
        error: why that is so, or why it is not known; None if the VM is restored.
    """

    missing: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    error: VmBackupError | None = None

    @property
    def is_done(self) -> bool:
        """Whether a listing shows the VM's locations as they were."""
        return not (self.missing or self.extra or self.error)


# The probe


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
        say: is told what is done next, in another thread.
        tell: is told what became of the VM's locations, in that thread.

    Raises:
        ArgumentError: the VM has such a location, or it has no primary one beside the second.
        VmBackupError: the server could not be asked.
    """

    def __init__(
        self,
        client: Client,
        vm: VirtualMachine,
        location: BackupLocation,
        second: BackupLocation | None,
        found: Found,
        say: Callable[[str], None],
        tell: Callable[[Restored], None],
    ) -> None:
        self._client = client
        self._calls = Calls(client)
        self._vm, self._location, self._second = vm, location, second
        self._vm_ref = vm.ref or ""
        self._found = found
        self._say, self._tell = say, tell
        self._is_interrupted = threading.Event()
        self._is_done = threading.Event()
        self._signal = 0
        self._written_at = 0.0  # the time of the last change, by time.monotonic()
        self._unclear: set[str] = set()  # the locations that a POST may have assigned
        self._is_never_listed = False
        self._error: BaseException | None = None
        self.restored = Restored()
        self._unknown_location = made_up_guid()
        self.journal = self._looked()
        primary = {each.id for each in client.backup_locations("primary")}
        self._primary = [label for each, label in self.journal.assigned.items() if each in primary]
        if second and not self._primary and location.kind != "primary":
            raise ArgumentError(
                f"{second.label} would be the first primary location of {vm.name}, not a second "
                "one: give a primary location as --location, or a VM that has one."
            )

    def _looked(self) -> Journal:
        """The VM's locations now."""
        assigned = {each.id: each.label for each in self._client.vm_backup_locations(self._vm_ref)}
        chosen = {each.id: each.label for each in (self._location, self._second) if each}
        for each, label in chosen.items():
            if each in assigned:
                raise ArgumentError(
                    f"{self._vm.name} is assigned to {label} already: choose a location that it "
                    "does not have, so that nothing of its backups is changed."
                )
        return Journal(
            f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC",
            self._vm_ref,
            self._vm.name or self._vm_ref,
            assigned,
            {**chosen, self._unknown_location: "a location that does not exist"},
        )

    @property
    def plan(self) -> str:
        """What it changes, as sentences."""
        chosen = " and ".join(each.label for each in (self._location, self._second) if each)
        sentences = [f"{self._vm.name} is assigned to {chosen} for about a minute."]
        if self._primary and (self._second or self._location.kind == "primary"):
            sentences.append(
                "On some servers, a second primary location un-assigns the first one "
                f"({', '.join(self._primary)}) meanwhile."
            )
        sentences.append("In the end, the VM has the locations that it has now.")
        return " ".join(sentences)

    def run(self) -> None:
        """Run it; also after signals and errors, it returns when the VM is restored, or cannot be.

        Raises:
            VmBackupError: the server could not be asked.
            KeyboardInterrupt, SystemExit: the probe was interrupted.
        """
        self._calls.learn_refusals(self._found)
        thread = threading.Thread(target=self._work)
        with _signals_to(self._interrupt):
            self.journal = self._looked()  # once more: the question may have waited for its answer
            self.journal.create(journal_file(self._client.settings))
            at_process_end(self._end, before_sessions_end=True)
            thread.start()
            while not self._is_done.wait(0.2):  # Windows delivers signals between waits
                pass
            thread.join()
            not_at_process_end(self._end)
        if self._signal == signal.SIGINT:
            raise KeyboardInterrupt
        if self._signal:
            raise SystemExit(128 + self._signal)
        if self._error:
            raise self._error

    def _interrupt(self, number: int) -> None:
        self._signal = self._signal or number
        self._is_interrupted.set()

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
            self._say(f"restoring the locations of {self._vm.name}; Ctrl-C has to wait for that")
            try:
                self.restored = self._restored()
            except BaseException as error:  # noqa: BLE001  # raised again in run()
                self._error = error
                self.restored = Restored(error=VmBackupError(f"{type(error).__name__}: {error}"))
            if self.restored.is_done:
                remove_journal(journal_file(self._client.settings), self._say)
            self._tell(self.restored)
        finally:
            self._is_done.set()

    def _restored(self) -> Restored:
        patience = self._patience()
        restored = restore(
            self._client,
            self.journal,
            self._unclear,
            self._written_at + patience,
            patience,
            self._say,
        )
        if restored.is_done and self._is_never_listed:
            restored.error = VmBackupError(
                f"The server accepted the assignment to {self._location.label}, and no listing "
                "showed it, so it may still appear."
            )
        return restored

    def _patience(self) -> float:
        """How many seconds after a change a listing is proof."""
        lags = [self._found.seconds(key) for key in ("appearSeconds", "disappearSeconds")]
        return max(self._client.settings.settle_seconds, *(_MARGIN * each for each in lags))

    # What is found out

    def _find_out(self) -> None:
        location, found = self._location, self._found
        self._say(f"assigning {self._vm.name} to {location.label}")
        first = self._write("POST", self._vm_ref, location.id)
        is_second_primary = location.kind == "primary" and bool(self._primary)
        if is_second_primary:
            found.add("secondPrimaryAnswer", first.answer)
        if not first.answer.is_accepted:
            if is_second_primary:
                found.add("secondPrimary", "is refused")
            why = f"the assignment was not accepted: {first.answer}"
            found.miss(why, *_FOUND_BY_WRITES, *_FOUND_WITH_SECOND)
            return
        found.add("writeSeconds", rounded(first.seconds))
        if not self._find_lag("appearSeconds", first, location.id, is_listed=True):
            self._is_never_listed = True
            return
        if is_second_primary and self._see_what_moved({*self.journal.assigned}, first):
            why = "this server moves a VM that has a primary location: give an offsite --location"
            found.miss(why, *_FOUND_BY_WRITES)
            return
        self._say("assigning it once more")
        found.add("secondAssign", self._write("POST", self._vm_ref, location.id).answer)
        if self._second:
            self._try_second(self._second)
        self._say("un-assigning it")
        first = self._write("DELETE", self._vm_ref, location.id)
        if not first.answer.is_accepted:
            found.miss(f"un-assigning was not accepted: {first.answer}", *_FOUND_BY_WRITES)
            return
        if not self._find_lag("disappearSeconds", first, location.id, is_listed=False):
            return
        self._say("un-assigning it once more")
        found.add("secondUnassign", self._write("DELETE", self._vm_ref, location.id).answer)
        self._try_unknown()

    def _find_lag(self, key: str, write: Reply, location_id: str, *, is_listed: bool) -> bool:
        """Measure how long a listing lags behind a write; whether that was seen."""
        patience = max(self._client.settings.settle_seconds, LONGEST_LAG_SECONDS)
        while time.monotonic() < write.heard_at + patience:
            reply = self._listed()
            if reply is not None and (location_id in _ids(reply)) == is_listed:
                self._found.add(key, rounded(reply.heard_at - write.heard_at))
                return True
            self._pause(POLL_SECONDS)
        why = f"no listing showed the change within {patience:g} s"
        self._found.miss(why, *_FOUND_BY_WRITES, *_FOUND_WITH_SECOND)
        return False

    def _try_second(self, second: BackupLocation) -> None:
        self._say(f"assigning it to {second.label} too")
        written = self._write("POST", self._vm_ref, second.id)
        self._found.add("secondPrimaryAnswer", written.answer)
        if not written.answer.is_accepted:
            self._found.add("secondPrimary", "is refused")
            return
        self._see_what_moved({*self.journal.assigned, self._location.id}, written)
        self._write("DELETE", self._vm_ref, second.id)
        self._wait_until(lambda listed: second.id not in listed)

    def _see_what_moved(self, before: set[str], write: Reply) -> bool:
        """See whether a second primary location un-assigns the first one; assign that again."""
        patience = self._patience()
        self._say(f"looking for {patience:g} s whether the other locations stay")
        while before <= self._listed_ids() and time.monotonic() < write.heard_at + patience:
            self._pause(POLL_SECONDS)
        gone = before - self._listed_ids()
        self._found.add("secondPrimary", "moves the VM" if gone else "is allowed")
        for each in sorted(gone):
            self._write("POST", self._vm_ref, each)
        self._wait_until(lambda listed: gone <= listed)
        return bool(gone)

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

    # Calls

    def _write(self, method: str, vm_ref: str, location_id: str) -> Reply:
        self._check_interruption()
        if method == "POST" and vm_ref == self._vm_ref:
            self._unclear.add(location_id)
        try:
            reply = self._calls.write(method, vm_ref, location_id)
        finally:
            self._written_at = time.monotonic()
        if method == "DELETE" and reply.answer.is_accepted:
            self._unclear.discard(location_id)
        return reply

    def _listed(self) -> Reply | None:
        """The VM's locations; None if no list came."""
        self._check_interruption()
        reply = self._calls.ask("GET", "vms/backuplocations", self._vm_ref, "1", "1", wanted=LISTED)
        return reply if reply.answer.is_accepted else None

    def _listed_ids(self) -> set[str]:
        """The ids of the VM's locations; asks again while no list comes."""
        give_up_at = time.monotonic() + LONGEST_LAG_SECONDS
        while time.monotonic() < give_up_at:
            reply = self._listed()
            if reply is not None:
                return _ids(reply)
            self._pause(POLL_SECONDS)
        raise VmBackupError(f"No list of the locations of {self._vm.name} came any more.")

    def _wait_until(self, is_as_wanted: Callable[[set[str]], bool]) -> None:
        """Wait until a list of the VM's locations shows a change; for ever would be too long."""
        give_up_at = time.monotonic() + LONGEST_LAG_SECONDS
        while not is_as_wanted(self._listed_ids()):
            if time.monotonic() > give_up_at:
                raise VmBackupError(
                    f"No list of the locations of {self._vm.name} showed the last change within "
                    f"{LONGEST_LAG_SECONDS:g} s, so the probe stops."
                )
            self._pause(POLL_SECONDS)

    def _pause(self, seconds: float) -> None:
        self._is_interrupted.wait(seconds)
        self._check_interruption()

    def _check_interruption(self) -> None:
        if self._is_interrupted.is_set():
            raise _InterruptedError


_ENDING_SIGNALS = [signal.SIGINT, signal.SIGTERM]
if sys.platform != "win32":
    _ENDING_SIGNALS.append(signal.SIGHUP)


@contextmanager
def _signals_to(handle: Callable[[int], None]) -> Iterator[None]:
    """Give signals that end a program to a function, so that they interrupt nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {
        number: signal.signal(number, lambda number, _: handle(number))
        for number in _ENDING_SIGNALS
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def remove_journal(file: Path, say: Callable[[str], None]) -> None:
    """Remove the journal of a VM that is restored."""
    try:
        patiently(lambda: file.unlink(missing_ok=True))
    except OSError as error:
        say(f"delete {file}, which cannot be deleted now ({reason_of(error, file)})")


# How it is restored


def to_restore(listed: Collection[str], journal: Journal) -> tuple[list[str], list[str]]:
    """The ids of the locations to assign, and of those to un-assign.

    Args:
        listed: the ids of the VM's locations now.
        journal: its locations before the probe.
    """
    missing = [each for each in journal.assigned if each not in listed]
    extra = [each for each in journal.touched if each in listed and each not in journal.assigned]
    return missing, extra


def restore(
    client: Client,
    journal: Journal,
    unclear: Collection[str],
    proof_at: float,
    patience: float,
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
        patience: how many seconds after another change a listing is proof.
        say: is told what is done.
    """
    give_up_at = max(time.monotonic(), proof_at) + RESTORE_SECONDS + 3 * patience
    unclear = {each for each in unclear if each not in journal.assigned}
    not_before: dict[str, float] = {}  # when a location is assigned or un-assigned once more
    problem = ""
    is_looking = False
    while True:
        restored = Restored()
        asked_at = time.monotonic()
        try:
            listed = {each.id for each in client.vm_backup_locations(journal.vm_ref)}
        except VmBackupError as error:
            restored.error = error
        else:
            missing, extra = to_restore(listed, journal)
            restored.missing = [journal.assigned[each] for each in missing]
            restored.extra = [journal.touched[each] for each in extra]
            if not (missing or extra or unclear) and asked_at >= proof_at:
                return restored
            changes = dict.fromkeys(missing, client.assign)
            changes |= dict.fromkeys((*extra, *sorted(unclear)), client.unassign)
            for each, change in changes.items():
                if asked_at < not_before.get(each, 0.0):
                    continue
                wait = patience  # not again while the listing may lag behind it
                try:
                    change(journal.vm_ref, each)
                except VmBackupError as error:
                    wait = patience / 6
                    if each in missing or each in extra:
                        restored.error = error
                not_before[each] = time.monotonic() + wait
                unclear.discard(each)
                proof_at = time.monotonic() + patience
        if time.monotonic() > give_up_at or isinstance(restored.error, StoppedError):
            return restored
        if restored.error:
            if str(restored.error) != problem:
                problem = str(restored.error)
                say(f"trying for {give_up_at - time.monotonic():.0f} s: {problem}")
        elif not is_looking:
            is_looking = True
            wait = max(0.0, proof_at - time.monotonic())
            say(f"looking for {wait:.0f} s whether anything changes after that")
        time.sleep(PAUSE_SECONDS if restored.error else max(POLL_SECONDS, patience / 30))


def _ids(reply: Reply) -> set[str]:
    return {normalize_guid(each.get("BackupLocationId")) for each in reply.items(LISTED)}
