"""declared.py: what one provider process of a run is told, the others know."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sample import FILE01, NAS01, OFFSITE01, SQL01

from pulumi_vmbackup import SettingsError
from pulumi_vmbackup.declared import DeclaredPairs

ENGINE = "127.0.0.1:40523"
PROCESS = f"""\
import sys

from pulumi_vmbackup.declared import DeclaredPairs

pairs = DeclaredPairs(sys.argv[1:])
pairs.add("{SQL01}", "{NAS01}")
print("told", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "vmbackup"


@pytest.fixture
def pairs() -> Iterator[DeclaredPairs]:
    pairs = DeclaredPairs([ENGINE])
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
    pairs: DeclaredPairs, home: Path
) -> None:
    other = OtherProcess(ENGINE)
    pairs.add(FILE01, OFFSITE01)
    assert (SQL01, NAS01) in pairs
    assert (FILE01, OFFSITE01) in pairs
    assert (SQL01, OFFSITE01) not in pairs
    other.end()
    assert (SQL01, NAS01) not in pairs
    pairs.clear()
    assert list(home.iterdir()) == []


def test_what_a_killed_process_left_is_not_believed_and_removed(
    pairs: DeclaredPairs, home: Path
) -> None:
    other = OtherProcess(ENGINE)
    other.kill()
    assert len(list(home.iterdir())) == 1
    assert (SQL01, NAS01) not in pairs
    assert list(home.iterdir()) == []


@pytest.mark.parametrize(
    "other_run", [["127.0.0.1:4052"], ["127.0.0.1:40524"], [], ["-c"]], ids=str
)
def test_a_process_of_another_run_or_of_none_tells_nothing(
    other_run: list[str], pairs: DeclaredPairs, home: Path
) -> None:
    other = OtherProcess(*other_run)
    assert (SQL01, NAS01) not in pairs
    assert len(list(home.glob("*"))) == (1 if "127" in str(other_run) else 0)
    other.kill()
    assert (SQL01, NAS01) not in pairs
    assert not list(home.glob("*"))


def test_a_process_that_no_engine_started_asks_nobody() -> None:
    other = OtherProcess(ENGINE)
    assert (SQL01, NAS01) not in DeclaredPairs(["--port", "1"])
    other.end()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signal")
def test_a_process_that_pulumi_ends_leaves_nothing(home: Path) -> None:
    other = OtherProcess(ENGINE)
    other.popen.send_signal(signal.SIGINT)
    other.end()
    assert list(home.iterdir()) == []


def test_a_folder_that_cannot_be_written_to_is_named(pairs: DeclaredPairs, home: Path) -> None:
    home.parent.mkdir()
    home.write_text("a file")
    with pytest.raises(SettingsError, match=r"vmbackup cannot be written to .* set PULUMI_HOME"):
        pairs.add(SQL01, NAS01)
    assert (SQL01, NAS01) not in pairs
