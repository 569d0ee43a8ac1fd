"""declared.py: what one provider process of a run is told, the others know."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sample import FILE01, NAS01, OFFSITE01, SQL01

from pulumi_vmbackup import SettingsError, VmBackupError
from pulumi_vmbackup.declared import (
    DeclaredPairs,
    PairsOfServer,
    Run,
    _created,
    open_shared,
)
from pulumi_vmbackup.errors import Hint, SetSetting
from pulumi_vmbackup.program import worded

PROCESS = f"""\
import sys

from pulumi_vmbackup.declared import DeclaredPairs
from pulumi_vmbackup.declared import Run

pair = ("{SQL01}", "{NAS01}")
all_pairs = DeclaredPairs(Run(sys.argv[1:]))
pairs = all_pairs.on("a:1")
pairs.add([pair])
print("told", flush=True)
for line in sys.stdin:
    if line == "unassign\\n":
        pairs.begin_to_unassign(pair)
    elif line == "assign\\n":
        pairs.was_assigned(pair)
    else:
        all_pairs._file.write(line.strip().replace("|", "\\n"))
        all_pairs._file.flush()
    print("told", flush=True)
"""

SERVER = "a:1"

# On Windows, the system removes the file of a process that is killed.
LEFT_BY_A_KILL = 0 if sys.platform == "win32" else 1


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "vmbackup"


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener


@pytest.fixture
def engine(listener: socket.socket) -> str:
    """The address of an engine that is there."""
    return f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def all_pairs(engine: str) -> Iterator[DeclaredPairs]:
    pairs = DeclaredPairs(Run([engine]))
    yield pairs
    pairs.clear()


@pytest.fixture
def pairs(all_pairs: DeclaredPairs) -> PairsOfServer:
    """Those of the server that the other processes speak of."""
    return all_pairs.on(SERVER)


class OtherProcess:
    """A process that has told of SQL01 and NAS01."""

    def __init__(self, *arguments: str) -> None:
        self.popen = subprocess.Popen(
            [sys.executable, "-c", PROCESS, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._wait()

    def _wait(self) -> None:
        assert self.popen.stdout
        assert self.popen.stdout.readline().strip() == b"told"

    def say(self, word: str) -> None:
        assert self.popen.stdin
        self.popen.stdin.write(f"{word}\n".encode())
        self.popen.stdin.flush()
        self._wait()

    def end(self) -> None:
        self.popen.communicate()

    def kill(self) -> None:
        self.popen.kill()
        self.popen.communicate()


def test_another_process_of_the_run_knows_until_this_one_ends(
    all_pairs: DeclaredPairs, pairs: PairsOfServer, engine: str, home: Path
) -> None:
    other = OtherProcess(engine)
    pairs.add([(FILE01, OFFSITE01)])
    assert (SQL01, NAS01) in pairs
    assert (FILE01, OFFSITE01) in pairs
    assert (SQL01, OFFSITE01) not in pairs
    other.end()
    assert (SQL01, NAS01) not in pairs
    all_pairs.clear()
    assert list(home.iterdir()) == []


def test_what_a_killed_process_left_is_not_believed_and_removed(
    pairs: PairsOfServer, engine: str, home: Path
) -> None:
    other = OtherProcess(engine)
    other.kill()
    assert len(list(home.iterdir())) == LEFT_BY_A_KILL
    assert (SQL01, NAS01) not in pairs
    assert list(home.iterdir()) == []


def test_only_files_of_such_processes_are_looked_into(pairs: PairsOfServer, home: Path) -> None:
    (home / "folder").mkdir(parents=True)
    (home / "notes.txt").write_text("somebody's \N{EURO SIGN}", "utf-8")
    assert (SQL01, NAS01) not in pairs
    assert sorted(each.name for each in home.iterdir()) == ["folder", "notes.txt"]


def test_a_process_that_begins_removes_what_killed_ones_of_other_runs_have_left(
    pairs: PairsOfServer, home: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as another:
        other = OtherProcess(f"127.0.0.1:{another.getsockname()[1]}")
        (left,) = home.iterdir()
        other.kill()
    pairs.add([(FILE01, OFFSITE01)])
    (own,) = home.iterdir()
    assert own != left


def test_files_hold_ids_only_and_stay_small(pairs: PairsOfServer, home: Path) -> None:
    pairs.add([(FILE01, OFFSITE01), (SQL01, NAS01)])
    pairs.begin_to_unassign((SQL01, OFFSITE01))
    (file,) = home.iterdir()
    with open_shared(file) as told:
        lines = told.read().splitlines()
    assert lines == [
        f"declared a:1 {FILE01}/{OFFSITE01}",
        f"declared a:1 {SQL01}/{NAS01}",
        f"unassigned a:1 {SQL01}/{OFFSITE01}",
    ]


def test_a_line_that_is_half_written_counts_when_it_is_whole(
    pairs: PairsOfServer, engine: str
) -> None:
    other = OtherProcess(engine)
    other.say(f"declared a:1 {FILE01}/{OFFSITE01}")
    assert (SQL01, NAS01) in pairs
    assert (FILE01, OFFSITE01) not in pairs
    other.say("|")
    assert (FILE01, OFFSITE01) in pairs
    other.end()


def test_what_another_process_unassigns_is_told_until_it_assigns_it_again(
    engine: str, pairs: PairsOfServer
) -> None:
    other = OtherProcess(engine)
    other.say("unassign")
    assert pairs.unassigned() == {(SQL01, NAS01)}
    other.say("assign")
    assert pairs.unassigned() == set()
    other.end()


# Servers


def test_the_same_ids_on_two_servers_are_two_pairs(
    all_pairs: DeclaredPairs, pairs: PairsOfServer, engine: str
) -> None:
    other = OtherProcess(engine)
    other.say("unassign")
    at_b = all_pairs.on("b:1/behind")
    assert (SQL01, NAS01) in pairs
    assert (SQL01, NAS01) not in at_b
    assert (pairs.unassigned(), at_b.unassigned()) == ({(SQL01, NAS01)}, set())
    at_b.add([(SQL01, NAS01)])
    assert at_b.all_declared() == {(SQL01, NAS01)}
    assert at_b.lock((SQL01, NAS01)) is all_pairs.on("b:1/behind").lock((SQL01, NAS01))
    assert at_b.lock((SQL01, NAS01)) is not pairs.lock((SQL01, NAS01))
    other.end()


def test_what_is_declared_on_an_unknown_server_counts_on_all(
    all_pairs: DeclaredPairs, pairs: PairsOfServer, engine: str
) -> None:
    all_pairs.on(None).add([(FILE01, NAS01)])
    assert (FILE01, NAS01) in pairs
    assert (FILE01, NAS01) in all_pairs.on("b:1")
    other = OtherProcess(engine)
    other.say("unassign")
    assert (SQL01, NAS01) in all_pairs.on(None)
    assert all_pairs.on(None).unassigned() == {(SQL01, NAS01)}
    other.end()


@pytest.mark.parametrize("other_run", ["another", "none"])
def test_a_process_of_another_run_or_of_none_tells_nothing(
    other_run: str, pairs: PairsOfServer, home: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as another:
        arguments = [f"127.0.0.1:{another.getsockname()[1]}"] if other_run == "another" else ["-c"]
        other = OtherProcess(*arguments)
        assert (SQL01, NAS01) not in pairs
        assert len(list(home.glob("*"))) == (1 if other_run == "another" else 0)
        other.kill()
    assert (SQL01, NAS01) not in pairs
    assert not list(home.glob("*"))


def test_a_process_that_no_engine_started_asks_nobody(engine: str) -> None:
    other = OtherProcess(engine)
    assert (SQL01, NAS01) not in DeclaredPairs(Run(["--port", "1"])).on(SERVER)
    other.end()


def test_a_process_whose_engine_was_killed_tells_nothing_any_more(
    listener: socket.socket, engine: str, home: Path
) -> None:
    other = OtherProcess(engine)
    listener.close()
    try:
        until = time.monotonic() + 20
        while list(home.iterdir()) and time.monotonic() < until:
            time.sleep(0.05)
        assert not list(home.iterdir())
    finally:
        other.end()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signal")
def test_a_process_that_pulumi_ends_leaves_nothing(engine: str, home: Path) -> None:
    other = OtherProcess(engine)
    other.popen.send_signal(signal.SIGINT)
    other.end()
    assert list(home.iterdir()) == []


def test_a_new_file_that_another_process_takes_for_one_that_was_left_is_made_again(
    home: Path,
) -> None:
    home.mkdir(parents=True)
    path = home / "127-0-0-1-7-1.declared"
    held = 0

    def hold(_file: object) -> None:
        nonlocal held
        held += 1
        if held == 1:
            path.unlink()

    if sys.platform != "win32":  # where nobody removes a file that is open
        _created(path, hold).close()
        assert held == 2
        assert path.exists()


# Mass removal


def test_more_than_ten_pairs_and_more_than_are_declared_are_refused_with_the_setting(
    all_pairs: DeclaredPairs, pairs: PairsOfServer
) -> None:
    remedy = SetSetting("allowMassRemoval", "site-b", "true", "If it is meant")
    gone = [(SQL01, str(number)) for number in range(30)]
    assert not pairs.is_update  # no resource was checked, as in `pulumi destroy`
    pairs.add([(FILE01, str(number)) for number in range(12)])
    all_pairs.on("b:1").add([(FILE01, NAS01)])  # of another server
    for pair in (*gone[:12], *gone[:12]):
        pairs.refuse_mass_removal(pair, remedy)
    assert pairs.is_update
    for pair in gone[12:14]:
        with pytest.raises(VmBackupError) as raised:
            pairs.refuse_mass_removal(pair, remedy)
    assert worded(raised.value) == (
        "This run has un-assigned 12 pairs of resources that are no longer in the program, and the "
        "program declares 12 on this server. So many at once may be a mistake, such as a look-up "
        "that found too little. If it is meant, set VMBACKUP_SITE_B_ALLOW_MASS_REMOVAL or run "
        "`pulumi config set --path vmbackup:connections.site-b.allowMassRemoval`, to true. "
        "If it is not meant, correct the program and run `pulumi up`, which assigns them again."
    )


def test_ten_pairs_may_always_be_unassigned(pairs: PairsOfServer) -> None:
    pairs.add([(FILE01, NAS01)])
    for number in range(10):
        pairs.refuse_mass_removal((SQL01, str(number)), Hint.REFRESH)
    with pytest.raises(VmBackupError, match="has un-assigned 10 pairs"):
        pairs.refuse_mass_removal((SQL01, NAS01), Hint.REFRESH)


# Folders that cannot be used


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of temporary files, also for other processes."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    for variable in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.setenv(variable, str(folder))
    return folder


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def warning_pairs(engine: str, warnings: list[str]) -> Iterator[DeclaredPairs]:
    pairs = DeclaredPairs(Run([engine]), warnings.append)
    yield pairs
    pairs.clear()


def test_where_pulumis_folder_cannot_be_written_to_that_of_temporary_files_serves(
    warning_pairs: DeclaredPairs, warnings: list[str], engine: str, home: Path, temporary: Path
) -> None:
    home.parent.mkdir()
    home.write_text("a file")
    other = OtherProcess(engine)
    pairs = warning_pairs.on(SERVER)
    pairs.add([(FILE01, OFFSITE01), (FILE01, NAS01)])
    pairs.add([(FILE01, NAS01)])
    (warning,) = warnings
    assert warning.startswith(f"{home} cannot be written to or locked (")
    assert f"The provider uses {temporary}" in warning
    assert (SQL01, NAS01) in warning_pairs.on(SERVER)
    other.end()
    warning_pairs.clear()
    assert [path for path in temporary.rglob("*") if path.is_file()] == []


@pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() != 0, reason="only root can give a folder away"
)
def test_a_folder_of_another_user_is_not_used(
    warning_pairs: DeclaredPairs, warnings: list[str], home: Path, temporary: Path
) -> None:
    home.mkdir(parents=True)
    if sys.platform != "win32":
        os.chown(home, 12345, 12345)
    warning_pairs.on(SERVER).add([(SQL01, NAS01)])
    assert "it belongs to another user" in warnings[0]
    assert not list(home.iterdir())
    assert [path for path in temporary.rglob("*") if path.is_file()]


@pytest.mark.skipif(sys.platform == "win32", reason="links need a right of their own there")
def test_a_link_for_a_folder_is_not_followed(
    warning_pairs: DeclaredPairs, warnings: list[str], home: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine.declared").touch()
    home.parent.mkdir()
    home.symlink_to(elsewhere)
    warning_pairs.on(SERVER).add([(SQL01, NAS01)])
    assert len(warnings) == 1
    assert [path.name for path in elsewhere.iterdir()] == ["mine.declared"]


@pytest.mark.usefixtures("temporary")
def test_a_folder_that_cannot_be_read_is_no_proof_that_nobody_else_is_there(
    pairs: PairsOfServer, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scandir(_folder: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    pairs.add([(FILE01, OFFSITE01)])
    monkeypatch.setattr("os.scandir", scandir)
    with pytest.raises(SettingsError, match=r"vmbackup cannot be read \(Too many open files\)"):
        assert (SQL01, NAS01) in pairs
    monkeypatch.undo()
    assert list(home.iterdir())


def test_a_process_that_can_write_nowhere_warns_once_and_unassigns_nothing(
    warning_pairs: DeclaredPairs, warnings: list[str], home: Path, temporary: Path
) -> None:
    home.parent.mkdir()
    home.write_text("a file")
    temporary.rmdir()
    temporary.write_text("a file")
    warning_pairs.on(SERVER).add([(SQL01, NAS01)])
    warning_pairs.on(SERVER).add([(SQL01, OFFSITE01)])
    (warning,) = warnings
    assert warning.startswith(
        "The provider's processes cannot tell each other what the program declares: "
        f"{home} and {temporary}"
    )
    assert warning.endswith("Set PULUMI_HOME to a folder on a local disk that you may write to.")
    assert (SQL01, NAS01) in warning_pairs.on(SERVER)
    # Another process may be as blind as this one.
    with pytest.raises(SettingsError, match="cannot tell each other what the program declares"):
        warning_pairs.on(SERVER).begin_to_unassign((FILE01, NAS01))


@pytest.mark.skipif(sys.platform == "win32", reason="Windows needs no locks")
def test_where_nothing_can_be_locked_a_process_warns_if_it_is_alone_and_fails_if_not(
    warning_pairs: DeclaredPairs,
    warnings: list[str],
    engine: str,
    home: Path,
    temporary: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def flock(_file: object, _operation: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", flock)
    warning_pairs.on(SERVER).add([(SQL01, NAS01)])
    assert "cannot be written to or locked (No locks available). Set" in warnings[0]
    assert len(list(home.iterdir())) == 1
    assert not [path for path in temporary.rglob("*") if path.is_file()]
    second = DeclaredPairs(Run([engine]))
    monkeypatch.setattr("os.getpid", lambda: 1)
    with pytest.raises(SettingsError, match=r"No locks available\). Set PULUMI_HOME to a folder"):
        second.on(SERVER).add([(FILE01, NAS01)])
    with pytest.raises(SettingsError, match="No locks available"):
        warning_pairs.on(SERVER).begin_to_unassign((SQL01, OFFSITE01))
    second.clear()
    warning_pairs.clear()
    assert list(home.iterdir()) == []


# The run


def test_a_run_is_over_when_its_engine_is_gone() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        run = Run(
            ["-v=1", "--tracing", "tcp://127.0.0.1:1", f"127.0.0.1:{listener.getsockname()[1]}"]
        )
        assert not run.is_over()
    assert run.is_over()


@pytest.mark.parametrize("arguments", [[], ["-c"], ["--port", "7"], ["tests/it.py"]], ids=str)
def test_a_process_that_pulumi_did_not_start_is_of_no_run(arguments: list[str]) -> None:
    run = Run(arguments)
    assert run.id is None
    assert not run.is_over()


def test_options_that_pulumi_passes_on_are_no_address() -> None:
    run = Run(["--logtostderr", "-v=9", "--tracing", "http://localhost:9411/api", "127.0.0.1:7"])
    assert run.engine_address == "127.0.0.1:7"


@pytest.mark.parametrize(
    ("address", "id_"),
    [("127.0.0.1:40523", "127-0-0-1-40523"), ("[::1]:7", "-1-7"), ("localhost:7", "localhost-7")],
)
def test_the_processes_of_a_run_have_its_address_in_common(address: str, id_: str) -> None:
    assert Run([address]).id == id_
