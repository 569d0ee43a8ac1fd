"""What the processes of one Pulumi run tell each other, so that none un-assigns a declared pair.

Pulumi may check a resource in one process and delete its predecessor in another: after the provider
was replaced or configured anew, or when the resource moves to another provider or type. No process
un-assigns a pair that the program declares in another one.

Each process appends to a file of its own which pairs the program declares, and which ones it
un-assigns. The name of the file begins with the address of the engine, which the processes of a run
have in common. Only files of live processes count. On Windows the file is removed with its process,
however that ends. On POSIX the process holds a lock on it, and whoever looks removes what killed
processes have left.

Two processes may come to the same pair at the same time. So each one first writes and then reads:

* Before a process sends a DELETE, it writes that it un-assigns the pair. After the answer it reads
  whether the pair is declared by now. If so, it assigns the pair again.
* When a process checks a resource, it writes that the pair is declared. If the resource has no
  change, it then reads whether another process un-assigns the pair. If so, it assigns it again.

Whichever process writes first, the other one reads it.

A pair belongs to a server: the same ids on two servers are two assignments. A pair is kept with its
server, in the form of ``Settings.server``. A process that cannot read its settings does not know
the server. What it declares then counts on all servers.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import socket
import stat
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import IO

from .errors import Advice, Hint, SettingsError, VmBackupError
from .files import patiently, reason_of
from .models import Pair
from .session import at_process_end

_log = logging.getLogger(__name__)

_POLL_SECONDS = 2.0
_SUFFIX = ".declared"  # other files in the folder are not ours
_UNKNOWN_SERVER = "?"  # no server's name has this character

FEW_PAIRS = 10
"""So many pairs may be un-assigned at a time, whatever else the program declares."""

# Windows takes two seconds to report a refused connection.
_CONNECT_SECONDS = 5.0

if sys.platform == "win32":
    import ctypes
    import msvcrt
    from ctypes import wintypes

    _USER = 0  # what Windows tells of each file
    _FLAGS = os.O_TEMPORARY  # Windows removes the file when its process ends or is killed
    _READ, _SHARE_ALL, _OPEN_EXISTING = 0x80000000, 7, 3
    _kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
    _kernel32.CreateFileW.restype = wintypes.HANDLE

    def _hold(file: IO[str]) -> None:
        """Show that this process is alive: for that, the open file is enough."""

    def _remove_if_left(path: Path) -> None:
        """Remove a file that no process holds, as after a power cut."""
        path.open().close()  # refused while its process has it open
        path.unlink()

    def open_shared(path: Path) -> IO[str]:
        """Open the file of another process; Python's own open() is refused."""
        handle = _kernel32.CreateFileW(
            str(path), wintypes.DWORD(_READ), _SHARE_ALL, None, _OPEN_EXISTING, 0, None
        )
        if handle == wintypes.HANDLE(-1).value:
            raise ctypes.WinError(ctypes.get_last_error())
        return os.fdopen(msvcrt.open_osfhandle(handle, os.O_RDONLY), encoding="ascii")
else:
    import fcntl

    _USER = os.getuid()
    _FLAGS = 0

    def _hold(file: IO[str]) -> None:
        """Show that this process is alive."""
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _remove_if_left(path: Path) -> None:
        """Remove a file that no process holds."""
        with path.open("r+", encoding="ascii") as file:  # NFS locks no file that is only read
            _hold(file)
            path.unlink()

    def open_shared(path: Path) -> IO[str]:
        """Open the file of another process."""
        return path.open(encoding="ascii")


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


@dataclass
class _Told:
    """What a process has told.

    Attributes:
        declared: the pairs that the program declares, by server.
        unassigned: the pairs that the process un-assigns or has un-assigned, by server.
        exclusive: the locations of each VM of an exclusive set, by server and VM.
        size: the size of the file that says so, in bytes.
    """

    declared: dict[str, set[Pair]] = field(default_factory=lambda: defaultdict(set))
    unassigned: dict[str, set[Pair]] = field(default_factory=lambda: defaultdict(set))
    exclusive: dict[str, dict[str, set[str]]] = field(default_factory=lambda: defaultdict(dict))
    size: int = 0

    def add(self, event: str, server: str, vm_ref: str, ids: str) -> None:
        pair = (vm_ref, ids)
        if event == "exclusive":
            self.exclusive[server][vm_ref] = {*ids.split(",")} - {""}
        elif event == "declared":
            self.declared[server].add(pair)
        elif event == "unassigned":
            self.unassigned[server].add(pair)
        else:
            self.unassigned[server].discard(pair)


class DeclaredPairs:
    """The pairs of VM ref and location id that the program of a run declares, by server.

    It also knows the pairs that the run has un-assigned.

    Args:
        run: the run; if Pulumi did not start this process, no other process is told.
        warn: shows a warning to the user.
    """

    def __init__(self, run: Run, warn: Callable[[str], None] = _log.warning) -> None:
        self._run = run
        self._warn = warn
        self._problem = ""  # why no other process can be told
        self._has_warned = False
        self._lock = threading.Lock()
        self._own = _Told()
        self._others: dict[Path, _Told] = {}
        self._file: IO[str] | None = None
        # The pairs of resources that were deleted, by server.
        self._removed: dict[str, set[Pair]] = defaultdict(set)
        # Two resources may have the same pair: one un-assigns it while the other one adopts it.
        self._pair_locks: dict[tuple[str, Pair], threading.Lock] = defaultdict(threading.Lock)

    def on(self, server: str | None) -> PairsOfServer:
        """The pairs of one server.

        Args:
            server: the server, as ``Settings.server``. None if it is unknown: the pairs of all
                servers count then.
        """
        return PairsOfServer(self, server or _UNKNOWN_SERVER)

    def clear(self) -> None:
        """Forget all pairs, as when the process ends."""
        self._own = _Told()
        self._others.clear()
        self._removed.clear()
        self._withdraw()

    def _tell(self, event: str, server: str, pairs: Sequence[Pair]) -> None:
        if self._run.id and pairs:
            try:
                self._file = self._file or self._opened()
                self._file.writelines(f"{event} {server} {'/'.join(pair)}\n" for pair in pairs)
                self._file.flush()
            except OSError as error:
                self._problem = reason_of(error, _folders()[0])
            if self._problem:
                self._bear_problem(event)
        for pair in pairs:
            self._own.add(event, server, *pair)

    def _opened(self) -> IO[str]:
        """The file of this process, in the first folder that can be locked, or else written to."""
        name = f"{self._run.id}-{os.getpid()}{_SUFFIX}"
        failures = []
        for hold in (_hold, None):
            for folder in _folders():
                try:
                    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
                    if not _is_own(folder):
                        raise PermissionError(errno.EPERM, "it belongs to another user")
                    _of_live_processes(folder)  # removes the others
                    file = _created(folder / name, hold)
                except OSError as error:
                    failures.append(error)
                    continue
                home = _folders()[0]
                self._problem = "" if hold else reason_of(failures[0], home)
                if hold and failures:
                    self._warn(
                        f"{home} cannot be written to or locked ({reason_of(failures[0], home)}). "
                        f"The provider uses {folder} instead."
                    )
                at_process_end(self._withdraw)
                threading.Thread(target=self._withdraw_when_over, daemon=True).start()
                return file
        raise failures[0]

    def _bear_problem(self, event: str) -> None:
        """Warn that other processes cannot be told; fail if that may un-assign a declared pair."""
        message = (
            "The provider's processes cannot tell each other what the program declares: "
            f"{' and '.join(map(str, _folders()))} cannot be written to or locked "
            f"({self._problem}). Set PULUMI_HOME to a folder on a local disk that you may write to."
        )
        # Without a file in any folder, it may be that other processes cannot be seen either.
        is_blind = self._file is None and event == "unassigned"
        if is_blind or any(True for _ in self._told_by_others()):
            raise SettingsError(message)
        if not self._has_warned:
            self._has_warned = True
            self._warn(message)

    def _told_by_others(self) -> Iterator[_Told]:
        """What the other processes of the run have told."""
        if not self._run.id:
            return
        own = Path(self._file.name) if self._file else None
        for folder in _folders():
            try:
                alive = _of_live_processes(folder) if _is_own(folder) else []
            except OSError as error:
                raise _unreadable(folder, error) from None
            for path in alive:
                if path != own and path.name.startswith(f"{self._run.id}-"):
                    yield from self._read(path)

    def _read(self, path: Path) -> Iterator[_Told]:
        """What a process has told; nothing if it has just ended."""
        try:
            with patiently(partial(open_shared, path)) as file:
                told = _Told(size=os.fstat(file.fileno()).st_size)
                if path not in self._others or self._others[path].size != told.size:
                    for line in file.read().rpartition("\n")[0].splitlines():
                        event, server, ids = line.split(" ")
                        told.add(event, server, *ids.split("/"))
                    self._others[path] = told
        except FileNotFoundError:
            return
        except OSError as error:
            raise _unreadable(path, error) from None
        yield self._others[path]

    def _withdraw(self) -> None:
        """Remove the file that tells other processes."""
        with self._lock:
            file, self._file = self._file, None
            if file:
                with suppress(OSError):  # the disk is full
                    file.close()
                with suppress(OSError):
                    patiently(partial(Path(file.name).unlink, missing_ok=True))

    def _withdraw_when_over(self) -> None:
        """Remove the file when the engine is gone: a later engine may have the same address.

        Pulumi's provider host outlives an engine that was killed.
        """
        while not self._run.is_over():
            time.sleep(_POLL_SECONDS)
        self._withdraw()


class PairsOfServer:
    """The pairs that the program declares on one server; see :meth:`DeclaredPairs.on`.

    Raises:
        SettingsError: by all methods but ``lock``: another process of the run is at work, and the
            two cannot tell each other anything.
    """

    def __init__(self, all_pairs: DeclaredPairs, server: str) -> None:
        self._all = all_pairs
        self._server = server

    def add(self, pairs: Iterable[Pair]) -> None:
        """Record that the program declares some pairs."""
        with self._all._lock:
            declared = self._all._own.declared[self._server]
            new = [pair for pair in pairs if pair not in declared]
            self._all._tell("declared", self._server, new)

    def __contains__(self, pair: object) -> bool:
        own = self._all._own.declared
        if any(pair in pairs for pairs in self._that_count(own)):
            return True
        with self._all._lock:
            return any(
                pair in pairs
                for told in self._all._told_by_others()
                for pairs in self._that_count(told.declared)
            )

    def all_declared(self) -> set[Pair]:
        """All pairs that the program declares, as far as this run has seen it."""
        return self._all_of(lambda told: told.declared)

    def begin_to_unassign(self, pair: Pair) -> None:
        """Record that a pair is about to be un-assigned."""
        with self._all._lock:
            self._all._tell("unassigned", self._server, [pair])

    def was_assigned(self, pair: Pair) -> None:
        """Record that a pair is assigned, maybe again."""
        with self._all._lock:
            if pair in self._all._own.unassigned[self._server]:
                self._all._tell("assigned", self._server, [pair])

    def unassigned(self) -> set[Pair]:
        """The pairs that the run has un-assigned, or is about to."""
        return self._all_of(lambda told: told.unassigned)

    def lock(self, pair: Pair) -> threading.Lock:
        """The one lock of this process for a pair."""
        return self._all._pair_locks[self._server, pair]

    @property
    def is_update(self) -> bool:
        """Whether the run has checked a resource of the program; to destroy needs no check."""
        with self._all._lock:
            told = (self._all._own, *self._all._told_by_others())
            return any(any(each.declared.values()) for each in told)

    def refuse_mass_removal(self, pair: Pair, remedy: Advice) -> None:
        """Refuse to un-assign the pair of a resource that is no longer in the program.

        That is, if this process has un-assigned more than ten such pairs with this one, and more
        than the program declares.

        Raises:
            VmBackupError: it is refused.
        """
        with self._all._lock:
            own, removed = self._all._own.declared, self._all._removed[self._server]
            count = len(removed) + (pair not in removed)
            declared = len(set().union(*self._that_count(own)))
            if count > max(FEW_PAIRS, declared):
                raise VmBackupError(
                    f"This run has un-assigned {count - 1:,} pairs of resources that are no longer "
                    f"in the program, and the program declares {declared:,} on this server. So "
                    "many at once may be a mistake, such as a look-up that found too little.",
                    remedy,
                    Hint.CORRECT_PROGRAM,
                )
            removed.add(pair)

    def declared_elsewhere(self, pairs: Iterable[Pair]) -> dict[str, set[Pair]]:
        """Those of some pairs that the program declares on other servers alone, by server."""
        pairs = {*pairs} - self.all_declared()
        found: dict[str, set[Pair]] = defaultdict(set)
        with self._all._lock:
            for told in (self._all._own, *self._all._told_by_others()):
                for server, declared in told.declared.items():
                    if server not in (self._server, _UNKNOWN_SERVER):
                        found[server] |= pairs & declared
        return {server: same for server, same in found.items() if same}

    # Exclusive sets

    def add_exclusive(self, vms: Mapping[str, Collection[str]]) -> None:
        """Record the VMs of an exclusive set, with the ids of their locations."""
        with self._all._lock:
            told = self._all._own.exclusive[self._server]
            new = [(vm_ref, ",".join(ids)) for vm_ref, ids in vms.items() if vm_ref not in told]
            self._all._tell("exclusive", self._server, new)

    def excluded_by_others(self, pairs: Iterable[Pair]) -> list[Pair]:
        """Those of the pairs that an exclusive set of another process un-assigns.

        It lists the VM without the location.
        """
        with self._all._lock:
            sets = [told.exclusive.get(self._server, {}) for told in self._all._told_by_others()]
        return [
            (vm_ref, location_id)
            for vm_ref, location_id in pairs
            if any(vm_ref in vms and location_id not in vms[vm_ref] for vms in sets)
        ]

    def declared_by_others(self, vms: Mapping[str, Collection[str]]) -> list[Pair]:
        """The pairs of some VMs that other processes declare, without the given locations."""
        with self._all._lock:
            return [
                (vm_ref, location_id)
                for told in self._all._told_by_others()
                for vm_ref, location_id in told.declared.get(self._server, ())
                if vm_ref in vms and location_id not in vms[vm_ref]
            ]

    def _all_of(self, which: Callable[[_Told], dict[str, set[Pair]]]) -> set[Pair]:
        with self._all._lock:
            told = [self._all._own, *self._all._told_by_others()]
            return set().union(*(pairs for each in told for pairs in self._that_count(which(each))))

    def _that_count(self, by_server: dict[str, set[Pair]]) -> list[set[Pair]]:
        """The sets of pairs that count on this server."""
        if self._server == _UNKNOWN_SERVER:
            return list(by_server.values())
        found = (by_server.get(server) for server in (self._server, _UNKNOWN_SERVER))
        return [pairs for pairs in found if pairs]


def _folders() -> list[Path]:
    """Where the files are: in Pulumi's folder of the user, or else in that of temporary files."""
    folders = [Path(tempfile.gettempdir()) / f"pulumi-vmbackup-{_USER}"]
    with suppress(RuntimeError):  # this user has no home folder
        home = os.environ.get("PULUMI_HOME") or Path.home() / ".pulumi"
        folders.insert(0, Path(home) / "vmbackup")
    return folders


def _is_own(folder: Path) -> bool:
    """Whether a folder is there, and belongs to this user; a link does not count."""
    with suppress(FileNotFoundError, NotADirectoryError):
        found = folder.lstat()
        return stat.S_ISDIR(found.st_mode) and found.st_uid == _USER
    return False


def _created(path: Path, hold: Callable[[IO[str]], None] | None) -> IO[str]:
    """Create a file, and hold it if that is wanted."""
    while True:
        file = open(path, "x", encoding="ascii", newline="\n", opener=_opener)  # noqa: SIM115
        try:
            if hold:
                hold(file)
            path.stat()
        except OSError as error:
            file.close()
            path.unlink(missing_ok=True)
            # Before it is held, another process may take it for one that was left, and remove it.
            if not isinstance(error, (BlockingIOError, FileNotFoundError)):
                raise
        else:
            return file


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags | _FLAGS, 0o600)


def _of_live_processes(folder: Path) -> list[Path]:
    """The files of live processes in a folder; those of killed ones are removed."""
    with os.scandir(folder) as entries:  # not glob(), which hides errors
        files = [Path(entry) for entry in entries if entry.name.endswith(_SUFFIX)]
    alive = []
    for path in files:
        try:
            _remove_if_left(path)
        except FileNotFoundError:
            pass  # its process has just ended
        except OSError:
            alive.append(path)
    return alive


def _unreadable(path: Path, error: OSError) -> SettingsError:
    return SettingsError(
        f"{path} cannot be read ({reason_of(error, path)}). Another process of this run may say "
        "there what the program declares. Set PULUMI_HOME to a folder on a local disk."
    )


def declared_twice(pair: Pair, urn: str, other_urn: str) -> str:
    """The message about two resources that declare the same pair."""
    first, second = sorted((urn, other_urn))
    return (
        f"The resources {first} and {second} both assign VM {pair[0]} to backup location "
        f"{pair[1]}: remove one of them."
    )


def excluded(pair: Pair, set_: str, other: str, vm_name: str | None = None) -> str:
    """The message about an exclusive set and another resource that gives its VM a location."""
    vm = f"{vm_name} ({pair[0]})" if vm_name not in (None, pair[0]) else pair[0]
    return (
        f"{set_[0].upper()}{set_[1:]} is exclusive and lists VM {vm} without backup location "
        f"{pair[1]}, but {other} assigns the VM to it: give the location to the set, or remove one "
        "of the two resources, or remove exclusive."
    )
