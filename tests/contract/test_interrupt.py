"""Ctrl-C, while many resources of the plugin are under way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from contract.plugin import (
    ASSIGNMENT,
    SET,
    Failed,
    Plugin,
    Properties,
    a_set,
    entry,
    failure_of,
    many_vms,
    urn,
)
from e2e.stack import wait_until
from sample import DC01, NAS01, PASSWORD, SQL01

from pulumi_vmbackup.simulator import Fault, Simulator

COUNT = 200
PARALLEL = 4  # the default of parallelRequests


class CountingSimulator(Simulator):
    """Counts the writes that have arrived, and answers them while it may."""

    def __init__(self) -> None:
        super().__init__(password=PASSWORD)
        self.writes = 0
        self._counting = threading.Lock()
        self.may_answer = threading.Event()
        self.may_answer.set()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if "/vms/backuplocations/" in environ["PATH_INFO"] and environ["REQUEST_METHOD"] != "GET":
            with self._counting:
                self.writes += 1
            self.may_answer.wait(30)
        return super().__call__(environ, start_response)


@pytest.fixture
def simulator() -> CountingSimulator:
    return CountingSimulator()


def interrupted(
    call: Callable[[str], object], refs: list[str], simulator: CountingSimulator, plugin: Plugin
) -> list[Failed]:
    """How the calls for many VMs fail that are interrupted while the first ones are under way."""
    simulator.may_answer.clear()

    def ended() -> int:
        return sum(each.done() for each in failures)

    def failure(ref: str) -> Failed | None:
        try:
            return failure_of(lambda: call(ref))
        except pytest.fail.Exception:  # it did not fail
            return None

    with ThreadPoolExecutor(COUNT) as threads:
        failures = [threads.submit(failure, ref) for ref in refs]
        try:
            wait_until(lambda: simulator.writes == PARALLEL)
            plugin.cancel()
            # Far sooner than the first ones are answered.
            wait_until(lambda: ended() >= COUNT - PARALLEL)
            assert ended() == COUNT - PARALLEL
        finally:
            simulator.may_answer.set()
        found = [each.result() for each in failures]
    assert simulator.writes == PARALLEL
    return [each for each in found if each]


def test_ctrl_c_stops_200_creates_at_once_and_no_other_write_is_begun(
    simulator: CountingSimulator, plugin: Plugin
) -> None:
    failures = interrupted(
        lambda ref: plugin.create(urn(ASSIGNMENT), {"vmRef": ref, "backupLocationId": NAS01}),
        many_vms(simulator, COUNT),
        simulator,
        plugin,
    )
    assert len(failures) == COUNT - PARALLEL
    assert all(each.says.startswith("Could not assign VM ") for each in failures)
    assert all("the run is over" in each.says for each in failures)
    assert {vm for vm, _ in simulator.inventory.assignments} - {DC01}
    plugin.end()
    assert not simulator.sessions


def test_and_200_deletes(simulator: CountingSimulator, plugin: Plugin) -> None:
    refs = many_vms(simulator, COUNT)
    simulator.inventory.assignments.update({(ref, NAS01): None for ref in refs})
    failures = interrupted(
        lambda ref: plugin.delete(urn(ASSIGNMENT), f"{ref}/{NAS01}", {}), refs, simulator, plugin
    )
    assert len(failures) == COUNT - PARALLEL
    assert all(each.says.startswith("Could not un-assign VM ") for each in failures)
    # What was under way has its effect, and its resource is known to be gone.
    assert len(simulator.inventory.assignments) == 1 + len(failures)


def test_what_begins_after_ctrl_c_sends_nothing(
    simulator: CountingSimulator, plugin: Plugin
) -> None:
    plugin.cancel()
    failed = failure_of(
        lambda: plugin.create(urn(ASSIGNMENT), {"vmRef": DC01, "backupLocationId": NAS01})
    )
    assert "the run is over" in failed.says
    assert not simulator.calls


@pytest.mark.parametrize("type_", [ASSIGNMENT, SET], ids=["single", "set"])
def test_a_lost_write_that_was_under_way_is_decided_by_a_listing_after_ctrl_c(
    type_: str, simulator: CountingSimulator, plugin: Plugin
) -> None:
    lost = Fault("stall", "POST /vms")
    simulator.faults.append(lost)
    inputs: Properties = {"vmRef": SQL01, "backupLocationId": NAS01}
    if type_ == SET:
        inputs = a_set(SQL01=entry(SQL01, NAS=NAS01))
    with ThreadPoolExecutor(1) as threads:
        created = threads.submit(plugin.create, urn(type_), inputs)
        wait_until(lambda: lost.hits)
        plugin.cancel()
        simulator.faults.clear()
        assert created.result()
    assert simulator.inventory.locations_of(SQL01) == [NAS01]
    assert simulator.writes == 1
    plugin.end()
    assert not simulator.sessions
