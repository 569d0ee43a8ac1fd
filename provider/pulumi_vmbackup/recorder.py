"""Records the HTTP exchanges of a process; see recording.py for what a line holds.

The processes of a run write to one file. Each line is written under a lock on the file with the
names, which each process opens anew for it: so it also holds between a process and its fork.
"""

from __future__ import annotations

import json
import logging
import os
import re
import secrets
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from .errors import SettingsError, quoted
from .files import path_of, patiently, reason_of
from .recording import Exchange, Failure, earlier_part, names_of
from .settings import RECORD, WITH_NAMES, Settings
from .standins import StandIns

_log = logging.getLogger(__name__)

LONGEST_BYTES = 32 * 2**20
"""At this size, the recording becomes its earlier part, and a new one is begun."""
_LONGEST_TEXT = 1000
_KEY_BYTES = 32
# How long to wait for another process that writes.
_PATIENCE_SECONDS = 30.0
_PAUSE_SECONDS = 0.005

if sys.platform == "win32":
    import msvcrt

    _FLAGS = os.O_BINARY | os.O_NOINHERIT
    # Windows lets nobody read what is locked, so the lock is far behind the text.
    _LOCKED_BYTE = 2**30

    def _try_lock(file: int) -> None:
        os.lseek(file, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_NBLCK, 1)

    def _unlock(file: int) -> None:
        os.lseek(file, _LOCKED_BYTE, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_UNLCK, 1)
else:
    import fcntl

    _FLAGS = os.O_CLOEXEC

    def _try_lock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _unlock(file: int) -> None:
        fcntl.flock(file, fcntl.LOCK_UN)


def _lock(file: int) -> None:
    """Lock a file; an error if another process, such as a stopped one, keeps it for too long."""
    give_up_at = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return _try_lock(file)
        except OSError:
            if time.monotonic() > give_up_at:
                raise
        time.sleep(_PAUSE_SECONDS)


class Recorder:
    """Appends exchanges to a file; for any number of threads and processes.

    Args:
        file: the recording.
        redact: replaces passwords and tokens that this process knows.
        with_names: whether names and GUIDs stay as they are.

    Raises:
        OSError: the file, or the one with the names beside it, cannot be written.
    """

    def __init__(self, file: Path, redact: Callable[[str], str], *, with_names: bool) -> None:
        self._file = file
        self._names_file = names_of(file)
        self._names_read = 0  # bytes
        self._lock = threading.Lock()
        self._is_broken = False
        with self._names() as names:
            self._stand_ins = StandIns(self._key(names), redact, with_names=with_names)
            self._exchange_names(names)
            _append(self._file, b"")

    @property
    def stand_ins(self) -> StandIns:
        """What replaces names in this recording."""
        return self._stand_ins

    def learn(self, settings: Settings) -> None:
        """Learn the names in the settings of a connection."""
        with self._lock:
            self._stand_ins.learn_settings(settings)

    def add(
        self,
        settings: Settings,
        method: str,
        path: str,
        seconds: float,
        *,
        status: int | None = None,
        content: bytes | None = None,
        failure: Failure | None = None,
    ) -> None:
        """Append an exchange that has just ended; if that fails, warn once and stop recording.

        Args:
            settings: how the server is reached.
            method: the HTTP method.
            path: the path below the base URL, with the session token.
            seconds: how long it took.
            status: the HTTP status; None if no answer came.
            content: the answer; None if no answer came.
            failure: why no answer came.
        """
        sent_at = datetime.now(timezone.utc) - timedelta(seconds=seconds)
        with self._lock:
            if self._is_broken:
                return
            try:
                with self._names() as names:
                    self._take_names(names)
                    hidden_path = self._stand_ins.path(path)
                    answer, text = self._shown(hidden_path, content)
                    exchange = Exchange(
                        time=f"{sent_at:%Y-%m-%dT%H:%M:%S}.{sent_at.microsecond // 1000:03}Z",
                        process=os.getpid(),
                        server=self._stand_ins.server(settings),
                        base_path=self._stand_ins.base_path(settings),
                        method=method,
                        path=hidden_path,
                        status=status,
                        seconds=round(seconds, 6),
                        bytes=None if content is None else len(content),
                        failure=failure,
                        answer=answer,
                        text=text,
                    )
                    self._exchange_names(names)
                    # Half of a surrogate pair has no form in UTF-8, but one in JSON.
                    line = exchange.to_line().encode("utf-8", "backslashreplace") + b"\n"
                    _append(self._file, line)
            except Exception as error:  # noqa: BLE001  # a recording must not stop a program
                self._is_broken = True
                reason = reason_of(error, self._file) if isinstance(error, OSError) else repr(error)
                _log.warning(
                    "%s cannot be written any more (%s), so this process records no other HTTP "
                    "exchange.",
                    self._file,
                    reason,
                )

    def _shown(self, path: str, content: bytes | None) -> tuple[Any, str | None]:
        """The answer as a line has it: as JSON, or else as text."""
        if content is None:
            return None, None
        try:
            answer = self._stand_ins.answer(json.loads(content), path)
        except (ValueError, RecursionError):  # ValueError: an int of thousands of digits, too
            answer = None
        return answer, (self._beginning(content) if answer is None else None)

    def _beginning(self, content: bytes) -> str:
        text = content.decode(json.detect_encoding(content), "replace")
        return self._stand_ins.text(text)[:_LONGEST_TEXT]

    # The file with the names: its first line holds the key, each other one a name

    @contextmanager
    def _names(self) -> Iterator[int]:
        names = os.open(self._names_file, os.O_RDWR | os.O_CREAT | os.O_APPEND | _FLAGS, 0o600)
        try:
            _lock(names)
            try:
                yield names
            finally:
                _unlock(names)
        finally:
            os.close(names)

    def _key(self, names: int) -> bytes:
        if lines := self._new_lines(names):
            self._names_read = 0  # the names are taken later
            return self._read_key(lines[0])
        key = secrets.token_bytes(_KEY_BYTES)
        _write(names, _json_line({"key": key.hex()}))
        self._names_read = os.fstat(names).st_size
        return key

    def _read_key(self, line: Mapping[str, str]) -> bytes:
        if not re.fullmatch(rf"[0-9a-f]{{{2 * _KEY_BYTES}}}", str(line.get("key"))):
            raise self._no_names()
        return bytes.fromhex(line["key"])

    def _no_names(self) -> OSError:
        return OSError(f"{self._names_file} holds something else than names")

    def _take_names(self, names: int) -> None:
        """Learn what other processes have told."""
        for line in self._new_lines(names):
            if "stand_in" in line:
                self._stand_ins.took_over(line["stand_in"], line["name"])

    def _exchange_names(self, names: int) -> None:
        self._take_names(names)
        new, self._stand_ins.new = self._stand_ins.new, []
        if new:
            _write(
                names,
                b"".join(_json_line({"stand_in": each, "name": name}) for each, name in new),
            )
            self._names_read = os.fstat(names).st_size

    def _new_lines(self, names: int) -> list[dict[str, str]]:
        size = _without_half_line(names)
        if size < self._names_read:
            raise OSError("another program has shortened the file with the names")
        os.lseek(names, self._names_read, os.SEEK_SET)
        content = b""
        while chunk := os.read(names, 2**20):
            content += chunk
        self._names_read = size
        try:
            lines = [dict(json.loads(line)) for line in content.splitlines()]
        except (TypeError, ValueError):
            raise self._no_names() from None
        if not all(line.keys() in ({"key"}, {"stand_in", "name"}) for line in lines):
            raise self._no_names()
        return lines


def _json_line(value: Mapping[str, str]) -> bytes:
    text = json.dumps(value, ensure_ascii=False)
    return text.encode("utf-8", "backslashreplace") + b"\n"


def _append(file: Path, line: bytes) -> None:
    """Append a line to a recording, and begin a new one if it gets too long."""
    if file.exists() and file.stat().st_size + len(line) > LONGEST_BYTES:
        patiently(lambda: file.replace(earlier_part(file)))
    recording = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND | _FLAGS, 0o600)
    try:
        _without_half_line(recording)
        _write(recording, line)
    finally:
        os.close(recording)


def _write(file: int, content: bytes) -> None:
    """Append all of it or nothing."""
    size = os.fstat(file).st_size
    written = 0
    try:
        while written < len(content):
            written += os.write(file, content[written:])
    except OSError:
        with suppress(OSError):
            os.ftruncate(file, size)
        raise


def _without_half_line(file: int) -> int:
    """Remove half a line at the end, which a killed process has left; the size in bytes then."""
    size = end = os.fstat(file).st_size
    while end:
        start = max(0, end - 2**16)
        os.lseek(file, start, os.SEEK_SET)
        found = os.read(file, end - start).rfind(b"\n")
        if found >= 0:
            end = start + found + 1
            break
        end = start
    if end != size:
        os.ftruncate(file, end)
    return end


# The one recorder of this process

_recorders: dict[tuple[Path, bool], Recorder] = {}
_making = threading.Lock()


def recorder_of_process(environment: Mapping[str, str], redact: Callable[[str], str]) -> Recorder:
    """The recorder for the file that VMBACKUP_RECORD names; the same one each time.

    Args:
        environment: the environment variables.
        redact: replaces passwords and tokens that this process knows.

    Raises:
        SettingsError: the file cannot be written, or VMBACKUP_RECORD_WITH_NAMES is unusable.
    """
    file, with_names = path_of(environment[RECORD]).absolute(), keeps_names(environment)
    with _making:
        if (file, with_names) not in _recorders:
            try:
                _recorders[file, with_names] = Recorder(file, redact, with_names=with_names)
            except OSError as error:
                raise SettingsError(
                    f"The file {quoted(environment[RECORD])} of {RECORD} or --record cannot be "
                    f"written ({reason_of(error, file)}): give the path of a file in a folder "
                    f"that you may write to, or remove {RECORD}."
                ) from None
        return _recorders[file, with_names]


def keeps_names(environment: Mapping[str, str]) -> bool:
    """Whether names and GUIDs stay as they are in what is recorded or reported.

    Raises:
        SettingsError: VMBACKUP_RECORD_WITH_NAMES is neither true nor false.
    """
    text = environment.get(WITH_NAMES) or "false"
    if text.lower() not in ("true", "false"):
        raise SettingsError(
            f"The value {quoted(text)} of {WITH_NAMES} in the environment is not a choice: use "
            "true or false."
        )
    return text.lower() == "true"
