"""The calls of the VM Backup REST API, in the vendor's words, and how their answers are read.

Only this module knows the API's names. Grades tell how sure a fact about the API is: documented (by
the vendor), seen (public clients of the API send or read it) or unknown (neither).
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, NamedTuple

from .errors import InvalidTokenError, LostAnswerError, NoAnswerError, RefusedError
from .models import BackupLocation, Kind, VirtualMachine, is_guid, normalize_guid
from .session import Session
from .settings import Settings

FIRST_PAUSE_SECONDS = 0.5


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
    UnreachableError and LostAnswerError; StoppedError after :meth:`close`. A read is tried three
    times. A write is sent once: if its answer is lost, only a listing tells whether it arrived.

    Args:
        settings: how to reach the server.
    """

    def __init__(self, settings: Settings) -> None:
        from .transport import Transport

        self._settings = settings
        self._transport = Transport(settings)
        self._session = Session(settings, self._transport)

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
    def parallel_requests(self) -> int:
        """How many requests may run at a time; other threads wait."""
        return self._settings.parallel_requests

    def end_session(self) -> None:
        """End the session now if no call is under way; the next call starts another one."""
        self._session.end_if_idle()

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

    def vm_backup_locations(self, vm_ref: str, kind: Kind | None = None) -> list[BackupLocation]:
        """The backup locations that a VM is assigned to: all, or those of one kind."""
        segments = _guids(vm_ref) + (_flags(kind) if kind else ())
        return _read_locations(self._get("vms/backuplocations", *segments), kind)

    # Virtual machines (seen)

    def virtual_machines(self) -> list[VirtualMachine]:
        """All VMs that VM Backup sees, configured or not."""
        items = _read_items(self._get("vms/list"), "VirtualMachines")
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
        with self._session.token():
            pass

    # Calls within a session

    def _get(self, resource: str, *segments: str) -> Mapping[str, Any]:
        for pause in pauses():
            try:
                return self._call("GET", resource, segments)
            except NoAnswerError:
                pass
            except RefusedError as refusal:
                if not refusal.is_server_error:
                    raise
            time.sleep(pause)
        return self._call("GET", resource, segments)

    def _call(self, method: str, resource: str, segments: tuple[str, ...]) -> Mapping[str, Any]:
        def exchange(token: str) -> Mapping[str, Any]:
            return self._transport.exchange(method, "/".join((resource, token, *segments)))

        try:
            with self._session.token() as token:
                return exchange(token)
        except InvalidTokenError:
            self._session.forget(token)
        # The server looked only at the token, so nothing is done twice.
        with self._session.token() as token:
            return exchange(token)


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
    # A VM that VM Backup does not manage may have no ref (unknown).
    has_ref = is_guid(item.get("AltaroVirtualMachineRef"))
    return VirtualMachine(
        ref=_read_guid(item, "AltaroVirtualMachineRef") if has_ref else None,
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
    return value if isinstance(value, bool) else None


def _read_int(item: Mapping[str, Any], key: str) -> int | None:
    value = item.get(key)
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _read_time(item: Mapping[str, Any], key: str) -> datetime | None:
    try:
        return datetime.strptime(item.get(key) or "", "%Y-%m-%d-%H-%M-%S")  # seen
    except (TypeError, ValueError):
        return None
