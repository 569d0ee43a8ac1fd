"""declared.py: what one provider process of a run is told, the others know."""

from __future__ import annotations

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

from pulumi_vmbackup import SettingsError
from pulumi_vmbackup.declared import DeclaredPairs, Run

PROCESS = f"""\
import sys

from pulumi_vmbackup.declared import DeclaredPairs
from pulumi_vmbackup.declared import Run

pairs = DeclaredPairs(Run(sys.argv[1:]))
pairs.add(("{SQL01}", "{NAS01}"))
print("told", flush=True)
sys.stdin.read()
"""


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
def pairs(engine: str) -> Iterator[DeclaredPairs]:
    pairs = DeclaredPairs(Run([engine]))
    yield pairs
    pairs.clear()


class OtherProcess:
    """A process that has told of SQL01 and NAS01."""

    def __init__(self, *arguments: str) -> None:
        self.popen = subprocess.Popen(
            [sys.executable, "-c", PROCESS, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self.popen.stdout
        assert self.popen.stdout.readline().strip() == b"told"

    def end(self) -> None:
        self.popen.communicate()

    def kill(self) -> None:
        self.popen.kill()
        self.popen.communicate()


def test_another_process_of_the_run_knows_until_this_one_ends(
    pairs: DeclaredPairs, engine: str, home: Path
) -> None:
    other = OtherProcess(engine)
    pairs.add((FILE01, OFFSITE01))
    assert (SQL01, NAS01) in pairs
    assert (FILE01, OFFSITE01) in pairs
    assert (SQL01, OFFSITE01) not in pairs
    other.end()
    assert (SQL01, NAS01) not in pairs
    pairs.clear()
    assert list(home.iterdir()) == []


def test_what_a_killed_process_left_is_not_believed_and_removed(
    pairs: DeclaredPairs, engine: str, home: Path
) -> None:
    other = OtherProcess(engine)
    other.kill()
    assert len(list(home.iterdir())) == 1
    assert (SQL01, NAS01) not in pairs
    assert list(home.iterdir()) == []


def test_only_files_of_such_processes_are_looked_into(pairs: DeclaredPairs, home: Path) -> None:
    (home / "folder").mkdir(parents=True)
    (home / "notes.txt").write_text("somebody's \N{EURO SIGN}", "utf-8")
    assert (SQL01, NAS01) not in pairs
    assert sorted(each.name for each in home.iterdir()) == ["folder", "notes.txt"]


@pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() == 0, reason="nothing is forbidden to root"
)
def test_what_another_user_left_is_no_obstacle(
    pairs: DeclaredPairs, engine: str, home: Path
) -> None:
    OtherProcess(engine).kill()
    (left,) = home.iterdir()
    left.chmod(0)
    assert (SQL01, NAS01) not in pairs


@pytest.mark.parametrize("other_run", ["another", "none"])
def test_a_process_of_another_run_or_of_none_tells_nothing(
    other_run: str, pairs: DeclaredPairs, home: Path
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
    assert (SQL01, NAS01) not in DeclaredPairs(Run(["--port", "1"]))
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


def test_a_folder_that_cannot_be_written_to_is_named(pairs: DeclaredPairs, home: Path) -> None:
    home.parent.mkdir()
    home.write_text("a file")
    with pytest.raises(SettingsError, match=r"vmbackup cannot be written to .* set PULUMI_HOME"):
        pairs.add((SQL01, NAS01))
    assert (SQL01, NAS01) not in pairs


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
