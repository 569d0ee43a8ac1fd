"""The pairs that a program declares, shared by all provider processes of one Pulumi run.

Pulumi may check a resource in one process and delete its predecessor in another: after the provider
was replaced or configured anew, or when the resource moves to another provider or type. No process
un-assigns a pair that the program declares in another one.

Each process writes its pairs to a file of its own, in Pulumi's folder of the user. It holds a lock
on the file while it lives, so a file without a lock is stale. The processes of a run have the same
engine address.
"""

from __future__ import annotations

import os
import re
import socket
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, NamedTuple

from .errors import SettingsError
from .models import Pair
from .session import at_process_end

_POLL_SECONDS = 2.0
_SUFFIX = ".declared"  # other files in the folder are not ours

# Windows takes two seconds to report a refused connection.
_CONNECT_SECONDS = 5.0

if sys.platform == "win32":
    import msvcrt

    def _lock(file: IO[str]) -> None:
        file.seek(2**30)  # beyond the text: others cannot read what is locked
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
else:
    import fcntl

    def _lock(file: IO[str]) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


class Run:
    """One run of Pulumi, identified by the address of its engine.

    Args:
        arguments: the arguments of this process. If Pulumi started it, the last one is the address;
            ``--logflow`` and ``--tracing`` put others before it.

    Attributes:
        engine_address: that address; None if Pulumi did not start this process.
        id: the same for all processes of the run; None if Pulumi did not start this one.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        address = arguments[-1] if arguments else ""
        found = re.fullmatch(r"\[?([0-9A-Za-z.:-]+?)\]?:([0-9]{1,5})", address)
        self.engine_address = address if found else None
        self._engine = (found[1], int(found[2])) if found else None
        self.id = re.sub(r"[^0-9A-Za-z]+", "-", address) if found else None

    def is_over(self) -> bool:
        """Whether the engine is gone, for example because it was killed."""
        if self._engine is None:
            return False
        try:
            socket.create_connection(self._engine, _CONNECT_SECONDS).close()
        except ConnectionRefusedError:
            return True
        except OSError:  # it may be busy
            return False
        return False


class DeclaredPairs:
    """The pairs of VM ref and location id that the program of a run declares.

    Args:
        run: the run; if Pulumi did not start this process, no other process is told.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._lock = threading.Lock()
        self._pairs: set[Pair] = set()
        self._file: IO[str] | None = None
        self._read: dict[Path, _Told] = {}

    def add(self, *pairs: Pair) -> None:
        """Record that the program declares some pairs.

        Raises:
            SettingsError: the other processes of the run cannot be told.
        """
        with self._lock:
            new = [pair for pair in pairs if pair not in self._pairs]
            if self._run.id and new:
                try:
                    self._file = self._file or self._opened()
                    self._file.writelines("/".join(pair) + "\n" for pair in new)
                    self._file.flush()
                except OSError as error:
                    raise SettingsError(
                        f"The folder {_folder()} cannot be written to ({error.strerror}). The "
                        "provider's processes share there what the program declares: set "
                        "PULUMI_HOME to a folder that can be written to."
                    ) from None
            self._pairs.update(new)

    def __contains__(self, pair: object) -> bool:
        if pair in self._pairs:
            return True
        with self._lock:
            return any(pair in told.pairs for told in self._of_other_processes())

    def clear(self) -> None:
        """Forget all pairs, as when the process ends."""
        self._pairs.clear()
        self._withdraw()

    def _withdraw(self) -> None:
        """Remove the file that tells other processes."""
        with self._lock:
            if self._file:
                self._file.close()
                _remove(Path(self._file.name))
                self._file = None

    def _opened(self) -> IO[str]:
        folder = _folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = (folder / f"{self._run.id}-{os.getpid()}{_SUFFIX}").open("w", encoding="ascii")
        _lock(file)
        at_process_end(self._withdraw)
        threading.Thread(target=self._withdraw_when_over, daemon=True).start()
        return file

    def _withdraw_when_over(self) -> None:
        """Remove the file when the engine is gone: a later engine may have the same address.

        Pulumi's provider host outlives an engine that was killed.
        """
        while not self._run.is_over():
            time.sleep(_POLL_SECONDS)
        self._withdraw()

    def _of_other_processes(self) -> list[_Told]:
        others: list[_Told] = []
        if not self._run.id:
            return others
        own = Path(self._file.name) if self._file else None
        for path in _folder().glob(f"*{_SUFFIX}"):
            # Its process may have just ended, or belong to another user and so to another run.
            with suppress(FileNotFoundError, PermissionError):
                if path == own or path.stat().st_size == 0:  # an empty one is about to be locked
                    continue
                with path.open("r+", encoding="ascii") as file:
                    is_locked = _is_locked(file)
                    if is_locked and path.name.startswith(f"{self._run.id}-"):
                        self._read[path] = _read_on(file, self._read.get(path))
                        others.append(self._read[path])
                if not is_locked:
                    _remove(path)
        return others


class _Told(NamedTuple):
    """What was read so far from the file of another process.

    Files only grow, so each line is read once.
    """

    file_id: int
    size: int
    pairs: set[Pair]


def _read_on(file: IO[str], told: _Told | None) -> _Told:
    stat = os.fstat(file.fileno())
    if told is None or told.file_id != stat.st_ino or told.size > stat.st_size:
        told = _Told(stat.st_ino, 0, set())
    file.seek(told.size)
    lines = file.read().rpartition("\n")[0]
    for line in lines.split():
        vm_ref, _, backup_location_id = line.partition("/")
        told.pairs.add((vm_ref, backup_location_id))
    return told._replace(size=told.size + len(lines) + 1 if lines else told.size)


def _is_locked(file: IO[str]) -> bool:
    try:
        _lock(file)
    except OSError:
        return True
    return False


def _remove(path: Path) -> None:
    # Windows refuses while another process reads it. That process, or the next, removes it.
    with suppress(FileNotFoundError, PermissionError):
        path.unlink()


def declared_twice(pair: Pair, urn: str, other_urn: str) -> str:
    """The message about two resources that declare the same pair."""
    first, second = sorted((urn, other_urn))
    return (
        f"The resources {first} and {second} both assign VM {pair[0]} to backup location "
        f"{pair[1]}: remove one of them."
    )


def _folder() -> Path:
    home = os.environ.get("PULUMI_HOME")
    return (Path(home) if home else Path.home() / ".pulumi") / "vmbackup"
