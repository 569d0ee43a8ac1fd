"""The calls of the VM Backup REST API, in the vendor's words, and how their answers are read.

Only this module knows the API's names. Grades tell how sure a fact about the API is: documented (by
the vendor), seen (public clients of the API send or read it) or unknown (neither).
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple

from .errors import (
    BusyError,
    InvalidTokenError,
    LoginError,
    LostAnswerError,
    NoAnswerError,
    RefusedError,
    VmBackupError,
)
from .models import BackupLocation, Kind, VirtualMachine, is_guid, normalize_guid, vm_ref
from .session import Session
from .settings import Settings

FIRST_PAUSE_SECONDS = 0.5
# How many sessions one call may need: other tools end all sessions, again and again (seen).
LONGEST_ROW_OF_SESSIONS = 6
# After this many sessions of which the server has accepted none, no other one is started.
MOST_UNACCEPTED = 3


class ProtocolAnswer(NamedTuple):
    """What an address answers to ``protocol/version``.

    Attributes:
        is_api: whether a VM Backup API answered.
        version: the version of its protocol; None if the answer has none.
        refuses_host: whether the server wants another Host header.
        status: the HTTP status.
    """

    is_api: bool
    version: str | None
    refuses_host: bool
    status: int


class Client:
    """One VM Backup API, for any number of threads.

    All methods may raise SettingsError (no credentials), LoginError, BusyError, RefusedError,
    UnreachableError and LostAnswerError; StoppedError after :meth:`stop` and :meth:`close`.

    A read is tried three times, and once more in a new session if the old one may be over. A write
    is sent once: if its answer is lost, only a listing tells whether it arrived. If the server says
    that the token is not valid, it has looked at nothing else, so the call is sent again.

    Args:
        settings: how to reach the server.
        when_busy: called during a wait for another session, see :class:`.session.Session`.
    """

    def __init__(
        self, settings: Settings, when_busy: Callable[[float], None] = lambda _: None
    ) -> None:
        from .transport import Transport

        self._settings = settings
        self._transport = Transport(settings)
        self._session = Session(settings, self._transport, when_busy)
        # Refusals that are not due to the session, without their numbers.
        self._genuine_refusals: set[str] = set()
        self._is_accepted = False  # whether the server has accepted a session of this client

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def settings(self) -> Settings:
        """How the server is reached."""
        return self._settings

    @property
    def parallel_requests(self) -> int:
        """How many requests may run at a time; other threads wait."""
        return self._settings.parallel_requests

    @property
    def session(self) -> int:
        """The number of the present session, or else of the last one, from 1; 0 before."""
        return self._session.number

    def pause(self, seconds: float) -> None:
        """Wait before another try.

        Raises:
            StoppedError: the client is stopped, maybe meanwhile.
        """
        self._transport.pause(seconds)

    def end_session(self) -> bool:
        """End the session now if no call is under way; the next call starts another one.

        Returns:
            Whether no session of this client is open now.
        """
        return self._session.end_if_idle()

    def stop(self) -> None:
        """Begin no other call, and wake up those that wait. The session is ended as usual.

        What a write has done that is under way can still be found out.
        """
        self._session.stop()

    def close(self) -> None:
        """End the session, if this client started one. Nothing is sent afterwards."""
        self._session.close()

    # Backup locations and their assignments (documented)

    def assign(self, vm_ref: str, backup_location_id: str) -> None:
        """Assign a VM to a backup location."""
        self._call("POST", "vms/backuplocations", _guids(vm_ref, backup_location_id))

    def unassign(self, vm_ref: str, backup_location_id: str) -> None:
        """Un-assign a VM from a backup location."""
        self._call("DELETE", "vms/backuplocations", _guids(vm_ref, backup_location_id))

    def backup_locations(self, kind: Kind) -> list[BackupLocation]:
        """All primary or all offsite backup locations."""
        return _read_locations(self._get("backuplocations", *_flags(kind)), kind)

    def vm_backup_locations(
        self, vm_ref: str, kind: Kind | None = None, *, after_stop: bool = False
    ) -> list[BackupLocation]:
        """The backup locations that a VM is assigned to: all, or those of one kind.

        Always with both flags: no public client asks without them. ``after_stop`` is for finding
        out what a write has done that was under way at :meth:`stop`.
        """
        segments = _guids(vm_ref) + (_flags(kind) if kind else ("1", "1"))
        answer = self._get("vms/backuplocations", *segments, after_stop=after_stop)
        return _read_locations(answer, kind)

    # Virtual machines (seen)

    def virtual_machines(self) -> list[VirtualMachine]:
        """All VMs that VM Backup sees, configured or not."""
        items = _read_items(self._get("vms/list", is_slow=True), "VirtualMachines")
        return [_read_virtual_machine(item) for item in items]

    # Checks of the connection (seen)

    def ask_protocol(self) -> ProtocolAnswer:
        """Ask which API answers, once and without credentials."""
        from .transport import on_one_line, read_json, refuses_host

        status, content = self._transport.send("GET", "protocol/version")
        answer = read_json(content)
        is_api = isinstance(answer, dict) and isinstance(answer.get("Success"), bool)
        version = answer.get("Data") if is_api else None
        return ProtocolAnswer(
            is_api=is_api,
            version=on_one_line(str(version)) if version else None,
            refuses_host=not is_api and refuses_host(content),
            status=status,
        )

    def log_in(self) -> None:
        """Start the session now, not with the first call that needs it."""
        with self.session_token():
            pass

    # Questions about the server itself, for probe/

    @contextmanager
    def session_token(self) -> Iterator[str]:
        """The token of the session, for a call of :meth:`send`; starts the session."""
        with self._session.token() as (token, _):
            yield token

    def forget_session(self, token: str) -> None:
        """Let the next call start another session: this one may be over."""
        self._session.forget(token, may_live=True)

    def send(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        is_slow: bool = False,
    ) -> tuple[int, bytes]:
        """Send one call as it is, once; return the HTTP status and the content of any answer.

        A token in the path must be one of :meth:`session_token` or :meth:`hide_token`.
        """
        return self._transport.send(method, path, body, is_slow=is_slow)

    def hide_token(self, token: str) -> None:
        """Redact the token of a session that this client did not start."""
        self._transport.hide_token(token)

    # Calls within a session

    def _get(
        self, resource: str, *segments: str, is_slow: bool = False, after_stop: bool = False
    ) -> Mapping[str, Any]:
        get = partial(self._call, "GET", resource, segments, is_slow=is_slow, after_stop=after_stop)

        for failures, pause in enumerate((*pauses(), None)):
            try:
                # What fails twice may fail because of the session: the last try is in a new one.
                return get(may_end_session=failures == 1)
            except NoAnswerError as error:
                failure: VmBackupError = error
            except RefusedError as refusal:
                failure = refusal
                if not refusal.is_server_error:
                    if not self._may_be_due_to_session(refusal):
                        raise
                    continue  # a new session, and no time, is what it needs
            if pause is not None:
                self.pause(pause)
        raise failure

    def _may_be_due_to_session(self, refusal: RefusedError) -> bool:
        """Whether a read was refused because the session is over, in words that are not known.

        Another read tells: if it is refused too, the session is given up.
        """
        words = re.sub(r"[0-9A-Fa-f-]*[0-9][0-9A-Fa-f-]*", "", str(refusal))
        if self._settings.session_token or words in self._genuine_refusals:
            return False
        if self._accepts_no_session(refusal.session):
            return False
        try:
            if refusal.session == self.session:
                self._call("GET", "backuplocations", _flags("primary"), may_end_session=True)
        except (RefusedError, NoAnswerError):
            return True
        if refusal.session != self.session:  # another thread has started one meanwhile
            return True
        self._genuine_refusals.add(words)
        return False

    def _call(
        self,
        method: str,
        resource: str,
        segments: tuple[str, ...],
        *,
        is_slow: bool = False,
        after_stop: bool = False,
        may_end_session: bool = False,
    ) -> Mapping[str, Any]:
        """Send a call in the session; in a new one if the server says that the old one is over.

        Args:
            method: the HTTP method.
            resource: what comes before the token in the path.
            segments: what comes after it.
            is_slow: whether the call is known to be slow.
            after_stop: whether it may be sent after :meth:`stop`.
            may_end_session: whether to give up the session if the call is refused in any form.
        """
        over: VmBackupError
        for _ in range(LONGEST_ROW_OF_SESSIONS):
            with self._session.token(after_stop=after_stop) as (token, number):
                try:
                    path = "/".join((resource, token, *segments))
                    answer = self._transport.exchange(
                        method, path, is_slow=is_slow, after_stop=after_stop
                    )
                except InvalidTokenError as error:
                    over = error
                except RefusedError as error:
                    error.session = number
                    if may_end_session and not self._accepts_no_session(number):
                        self._session.forget(token, may_live=True)
                    raise
                except LostAnswerError as error:
                    accepts_none = self._accepts_no_session(number)
                    if error.refuses_session and accepts_none:
                        raise LoginError(
                            f"VM Backup starts sessions for {self._settings.account} and refuses "
                            f"each call: {error}",
                            self._settings.to_check("username", "domain"),
                        ) from None
                    # An answer of any kind may be due to the session; none at all is not.
                    may_end = may_end_session and error.status and not accepts_none
                    if may_end or error.refuses_session:
                        self._session.forget(token, may_live=True)
                    # A read can be sent again; what a write did, a listing has to tell.
                    if not error.refuses_session or method != "GET" or not self._is_accepted:
                        raise
                    over = error
                else:
                    self._is_accepted = True
                    return answer
            # The server looked only at the token, or it was a read: nothing is done twice.
            self._session.forget(token)
        raise BusyError(
            f"{LONGEST_ROW_OF_SESSIONS} sessions in a row were over at once: {over} Another "
            "program may end all sessions of this server again and again: find it and stop it."
        )

    def _accepts_no_session(self, number: int) -> bool:
        """Whether the server has accepted no session so far, and ``number`` were enough."""
        return not self._is_accepted and number >= MOST_UNACCEPTED


def pauses() -> Iterator[float]:
    """The seconds to wait before each of two retries; the second wait is twice as long.

    They are random, so that threads that failed together do not retry together.
    """
    for factor in (1, 2):
        yield FIRST_PAUSE_SECONDS * factor * random.uniform(0.5, 1.5)


def _guids(*values: str) -> tuple[str, ...]:
    return tuple(map(normalize_guid, values))


def _flags(kind: Kind) -> tuple[str, str]:
    return ("1", "0") if kind == "primary" else ("0", "1")


def _read_items(answer: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    items = answer.get(key)
    if items is None and key in answer:
        return []  # as .NET writes an empty list (unknown)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        # A missing list is not an empty list: assignments would look removed.
        raise LostAnswerError(f"The server's answer has no list of {key}.")
    return items


def _read_locations(answer: Mapping[str, Any], kind: Kind | None) -> list[BackupLocation]:
    return [
        BackupLocation(
            id=_read_guid(item, "BackupLocationId"),
            path=_read_text(item, "LocationPath"),
            kind=kind,
        )
        for item in _read_items(answer, "BackupLocations")
    ]


def _read_virtual_machine(item: Mapping[str, Any]) -> VirtualMachine:
    return VirtualMachine(
        ref=vm_ref(item.get("AltaroVirtualMachineRef")),
        name=_read_text(item, "VirtualMachineName"),
        host=_read_text(item, "HostName"),
        configured=_read_flag(item, "Configured"),
        hypervisor_uuid=_read_text(item, "HypervisorVirtualMachineUuid"),
        next_backup_time=_read_time(item, "NextBackupTime"),
        next_offsite_copy_time=_read_time(item, "NextOffsiteCopyTime"),
        last_backup_time=_read_time(item, "LastBackupTime"),
        last_backup_result=_read_text(item, "LastBackupResult"),
        last_backup_duration=_read_int(item, "LastBackupDuration"),
        last_backup_transfer_size_compressed=_read_int(item, "LastBackupTransferSizeCompressed"),
        last_backup_transfer_size_uncompressed=_read_int(
            item, "LastBackupTransferSizeUncompressed"
        ),
        last_offsite_copy_time=_read_time(item, "LastOffsiteCopyTime"),
        last_offsite_copy_result=_read_text(item, "LastOffsiteCopyResult"),
        last_offsite_copy_duration=_read_int(item, "LastOffsiteCopyDuration"),
        last_offsite_copy_transfer_size_compressed=_read_int(
            item, "LastOffsiteCopyTransferSizeCompressed"
        ),
        last_offsite_copy_transfer_size_uncompressed=_read_int(
            item, "LastOffsiteCopyTransferSizeUncompressed"
        ),
    )


def _read_guid(item: Mapping[str, Any], key: str) -> str:
    if not is_guid(item.get(key)):
        raise LostAnswerError(f"The server's answer has an item whose {key} is not a GUID.")
    return normalize_guid(item[key])


def _read_text(item: Mapping[str, Any], key: str) -> str | None:
    value = item.get(key)
    return value if isinstance(value, str) and value else None


def _read_flag(item: Mapping[str, Any], key: str) -> bool | None:
    value = item.get(key)
    if isinstance(value, bool):
        return value
    return {"true": True, "1": True, "false": False, "0": False}.get(str(value).lower())


def _read_int(item: Mapping[str, Any], key: str) -> int | None:
    value = item.get(key)
    if isinstance(value, int):
        return None if isinstance(value, bool) else value
    try:
        return round(float(value))  # type: ignore[arg-type]  # what is no number raises
    except (TypeError, ValueError, OverflowError):
        return None


# The first form is seen; the others are those of .NET.
_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)[-T ](\d\d)[-:](\d\d)[-:](\d\d)(?!\d)")


def _read_time(item: Mapping[str, Any], key: str) -> datetime | None:
    value = item.get(key)
    found = _TIME.match(value) if isinstance(value, str) else None
    try:
        time = datetime(*map(int, found.groups())) if found else None  # type: ignore[arg-type]
    except ValueError:
        return None
    # .NET's DateTime has no "none": it is then the year 1.
    return time if time and time.year > 1 else None
