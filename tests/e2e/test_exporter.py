"""A monitoring exporter, as a process of its own, reads the same server beside the runs."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path

import exporter
import pytest
from e2e.stack import MakeStack, Stack, assigned, met, wait_until
from sample import DC01, DISK_E, EXCH01, FILE01, NAS01, OFFSITE01, ROTATING, SQL01, SQL02

from pulumi_vmbackup.simulator import Behavior, Fault, Simulator

VMS = (DC01, SQL01, SQL02, FILE01, EXCH01)
LOCATIONS = (NAS01, DISK_E, OFFSITE01, ROTATING)
# All pairs but the one that the server holds from the start.
PAIRS = [pair for pair in product(VMS, LOCATIONS) if pair != (DC01, DISK_E)]
LIST = "GET /vms/list/[token]/1"  # which the provider does not call
ASSIGN = "POST /vms/backuplocations"


class Running:
    """An exporter that is under way."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path) -> None:
        self._process = process
        self._output = output

    def count(self, result: str) -> int:
        """How many scrapes so far had this result: read or failed."""
        lines = self._output.read_text("utf-8").splitlines()
        return sum(line.startswith(result) for line in lines)

    def more(self, result: str, times: int = 1) -> Callable[[], bool]:
        """Whether so many more scrapes have had this result, for ``wait_until``."""
        enough = self.count(result) + times
        return lambda: self.count(result) >= enough

    def stop(self) -> str:
        """Let it end its session; its last line, with the numbers."""
        assert self._process.stdin
        self._process.stdin.close()
        assert self._process.wait(600) == 0, self._output.read_text("utf-8")
        return self._output.read_text("utf-8").splitlines()[-1]


@contextmanager
def exporting(stack: Stack) -> Iterator[Running]:
    file = stack.folder / "exporter.txt"
    login = [stack.environment[f"VMBACKUP_{key}"] for key in ("BASE_URL", "USERNAME", "PASSWORD")]
    with (
        file.open("wb") as output,
        subprocess.Popen(
            [sys.executable, exporter.__file__, *login, "0.2"],
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        try:
            yield Running(process, file)
        finally:
            process.kill()


def provider_logins(simulator: Simulator) -> int:
    """How often the provider tried to log in: the exporter sends another domain."""
    return sum(login.domain != "." for login in simulator.logins)


def declare_all(stack: Stack) -> None:
    stack.assignments(**{f"pair{number}": pair for number, pair in enumerate(PAIRS)})


def all_are_assigned(stack: Stack, simulator: Simulator) -> None:
    pairs = {"/".join(pair) for pair in PAIRS}
    assert set(stack.ids().values()) == assigned(simulator) == pairs


def none_is_assigned(stack: Stack, simulator: Simulator) -> None:
    assert not stack.ids()
    assert list(simulator.inventory.assignments) == [(DC01, DISK_E)]


# A server that allows several sessions


def test_an_exporter_and_runs_share_a_server_that_allows_several_sessions(
    stack: Stack, simulator: Simulator
) -> None:
    simulator.behavior = Behavior(second_session="accept")
    declare_all(stack)
    with exporting(stack) as running:
        in_flight = Fault("hold", ASSIGN, skip=5)
        simulator.faults.append(in_flight)
        with stack.start_up() as run:
            run.until(met(in_flight))
            run.until(running.more("read", 2))
            simulator.faults.clear()
            run.end()
        all_are_assigned(stack, simulator)
        stack.refresh()
        all_are_assigned(stack, simulator)
        stack.destroy()
        none_is_assigned(stack, simulator)
        assert running.stop().endswith("succeeded, 0 failed, logins: 1")
    assert not simulator.sessions


def test_an_exporter_that_ends_all_sessions_again_and_again_loses_no_assignment(
    stack: Stack, simulator: Simulator
) -> None:
    simulator.behavior = Behavior(second_session="accept")
    declare_all(stack)
    fails = Fault("html", LIST, times=None)
    simulator.faults = [fails]
    with exporting(stack) as running:
        wait_until(running.more("failed"))
        with stack.start_up("--parallel", "1") as run:
            for _ in range(3):
                in_flight = Fault("hold", ASSIGN, skip=3, acted=False)
                simulator.faults = [fails, in_flight]
                run.until(met(in_flight))
                # The second one began after the call in flight, whose session it ends.
                run.until(running.more("failed", 2))
            simulator.faults = [fails]
            run.end()
        assert provider_logins(simulator) >= 4
        all_are_assigned(stack, simulator)
        stack.refresh()
        all_are_assigned(stack, simulator)
        stack.destroy()
        none_is_assigned(stack, simulator)
        assert running.stop().startswith("0 succeeded, ")
    assert not simulator.sessions


# A server that allows one session


def test_a_run_waits_for_an_exporter_that_holds_the_only_session(
    make_stack: MakeStack, simulator: Simulator
) -> None:
    stack = make_stack(VMBACKUP_SESSION_WAIT_SECONDS="600")
    declare_all(stack)
    with exporting(stack) as running:
        wait_until(running.more("read"))
        with stack.start_up() as run:
            run.until(lambda: provider_logins(simulator) >= 2)
            assert running.stop().endswith("succeeded, 0 failed, logins: 1")
            run.end()
    all_are_assigned(stack, simulator)
    assert not simulator.sessions


def test_a_run_that_waits_in_vain_names_the_exporter_and_leaves_it_alone(
    make_stack: MakeStack, simulator: Simulator
) -> None:
    stack = make_stack(VMBACKUP_SESSION_WAIT_SECONDS="1")
    declare_all(stack)
    with exporting(stack) as running:
        wait_until(running.more("read"))
        output = stack.up(fails=True)
        assert "another API client such as a monitoring exporter" in output
        none_is_assigned(stack, simulator)
        assert running.stop().endswith("succeeded, 0 failed, logins: 1")


@pytest.mark.parametrize("stays", [False, True], ids=["for a while", "for good"])
def test_an_exporter_that_takes_the_only_session_from_a_run_loses_no_assignment(
    stays: bool, make_stack: MakeStack, simulator: Simulator
) -> None:
    stack = make_stack(VMBACKUP_SESSION_WAIT_SECONDS="1" if stays else "600")
    declare_all(stack)
    in_flight = Fault("hold", ASSIGN, skip=5, acted=False)
    simulator.faults.append(in_flight)
    with stack.start_up("--parallel", "1") as run:
        run.until(met(in_flight))
        # Its first login is refused. Then it ends the session of the run, and starts its own.
        with exporting(stack) as running:
            run.until(running.more("read"))
            before = provider_logins(simulator)
            simulator.faults.clear()
            if stays:
                run.end(fails=True)
            else:
                run.until(lambda: provider_logins(simulator) > before)
            running.stop()
        if not stays:
            run.end()
    if stays:
        assert "another API client such as a monitoring exporter" in run.output()
        assert set(stack.ids().values()) == assigned(simulator) != set()
        stack.up()
    all_are_assigned(stack, simulator)
    assert not simulator.sessions
