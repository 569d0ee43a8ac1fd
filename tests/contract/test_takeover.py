"""One pair that moves between two processes of a run, in each order of their calls.

A set of the plugin un-assigns what a dynamic resource declares in the same run, or the other way
round. In the end the pair is assigned.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from contract.host import Host
from contract.plugin import (
    ASSIGNMENT,
    PROVIDER_URN,
    SET,
    Plugin,
    a_set,
    entry,
    failure_of,
    pairs,
    urn,
)
from e2e.stack import wait_until
from sample import NAS01, OFFSITE01, PASSWORD, SQL01

from pulumi_vmbackup.simulator import Behavior, Fault, Simulator

PAIR = f"{SQL01}/{NAS01}"
INPUTS = {"vm_ref": SQL01, "backup_location_id": NAS01}
SET_URN, SINGLE_URN = urn(SET), urn(ASSIGNMENT)
WITH, WITHOUT = (
    a_set(SQL01=entry(SQL01, NAS=NAS01, OFFSITE=OFFSITE01)),
    a_set(SQL01=entry(SQL01, OFFSITE=OFFSITE01)),
)


@pytest.fixture
def simulator() -> Simulator:
    """A server that allows several sessions: on others, the calls of two processes do not meet."""
    return Simulator(password=PASSWORD, behavior=Behavior(second_session="accept"))


Step = Callable[[], object]
Steps = tuple[Step, Step]


def to_dynamic(plugin: Plugin, dynamic: Host, *, is_held: bool) -> Steps:
    """A set un-assigns a pair, and a dynamic resource declares it."""

    def unassign() -> None:
        plugin.check(SET_URN, WITHOUT)
        plugin.update(SET_URN, WITH, WITHOUT)

    def declare() -> None:
        inputs, _ = dynamic.check(**INPUTS)
        if not is_held:
            dynamic.create(**inputs)
        elif dynamic.diff(INPUTS, inputs).changes == 2:
            outputs = dynamic.update(PAIR, INPUTS, inputs)
            assert outputs["vm_name"] == "SQL01"
            assert outputs["assigned_at"]

    return unassign, declare


def to_set(plugin: Plugin, dynamic: Host, *, is_held: bool) -> Steps:
    """A dynamic resource un-assigns a pair, and a set declares it."""

    def unassign() -> None:
        dynamic.delete(PAIR, **INPUTS)

    def declare() -> None:
        olds = WITH if is_held else WITHOUT
        inputs, _ = plugin.check(SET_URN, WITH)
        if plugin.diff(SET_URN, olds, inputs).changes:
            plugin.update(SET_URN, olds, inputs)

    return unassign, declare


def to_single(plugin: Plugin, dynamic: Host, *, is_held: bool) -> Steps:
    """A dynamic resource un-assigns a pair, and a resource of the plugin declares it."""

    def unassign() -> None:
        dynamic.delete(PAIR, **INPUTS)

    def declare() -> None:
        inputs, _ = plugin.check(SINGLE_URN, {"vmRef": SQL01, "backupLocationId": NAS01})
        if not is_held:
            plugin.create(SINGLE_URN, inputs)
        elif plugin.diff(SINGLE_URN, inputs, inputs).changes:
            assert plugin.update(SINGLE_URN, inputs, inputs)["assignedAt"]

    return unassign, declare


@pytest.fixture(params=[to_dynamic, to_set, to_single])
def steps(request: pytest.FixtureRequest, plugin: Plugin, dynamic: Host, is_held: bool) -> Steps:
    steps: Steps = request.param(plugin, dynamic, is_held=is_held)
    return steps


@pytest.fixture(params=[False, True], ids=["new", "held"])
def is_held(request: pytest.FixtureRequest, simulator: Simulator) -> bool:
    """Whether the resource that declares the pair has it in its state, and so nothing to do."""
    simulator.inventory.assignments[SQL01, NAS01] = None
    simulator.inventory.assignments[SQL01, OFFSITE01] = None
    return bool(request.param)


def is_assigned(simulator: Simulator) -> bool:
    return (SQL01, NAS01) in simulator.inventory.assignments


def test_a_pair_that_is_declared_first_is_not_unassigned(
    steps: Steps, simulator: Simulator
) -> None:
    unassign, declare = steps
    declare()
    unassign()
    assert pairs(simulator, "DELETE") == []
    assert is_assigned(simulator)


def test_a_pair_that_is_declared_after_it_was_unassigned_is_assigned(
    steps: Steps, simulator: Simulator
) -> None:
    unassign, declare = steps
    unassign()
    assert not is_assigned(simulator)
    declare()
    assert pairs(simulator, "DELETE") == [PAIR]
    assert is_assigned(simulator)


@pytest.mark.parametrize("acted", [False, True], ids=["before", "after"])
def test_a_pair_that_is_declared_during_the_delete_is_assigned_again(
    acted: bool, steps: Steps, simulator: Simulator
) -> None:
    unassign, declare = steps
    delete = Fault("hold", "DELETE", acted=acted)
    simulator.faults.append(delete)
    with ThreadPoolExecutor(1) as pool:
        unassigned = pool.submit(unassign)
        wait_until(lambda: delete.hits or unassigned.done())
        declare()
        simulator.faults.remove(delete)
        unassigned.result()
    assert pairs(simulator, "DELETE") == [PAIR]
    assert is_assigned(simulator)


@pytest.mark.parametrize("acted", [False, True], ids=["before", "after"])
def test_a_pair_whose_post_is_under_way_during_the_whole_delete_is_assigned(
    acted: bool, steps: Steps, simulator: Simulator
) -> None:
    unassign, declare = steps
    delete, post = Fault("hold", "DELETE", acted=False), Fault("hold", "POST /vms", acted=acted)
    simulator.faults += [delete, post]
    with ThreadPoolExecutor(2) as pool:
        unassigned = pool.submit(unassign)
        wait_until(lambda: delete.hits or unassigned.done())
        declared = pool.submit(declare)
        wait_until(lambda: post.hits or declared.done())
        simulator.faults.remove(delete)
        unassigned.result()
        simulator.faults.remove(post)
        declared.result()
    assert is_assigned(simulator)


def test_a_pair_is_assigned_again_where_the_answer_to_its_delete_was_lost(
    steps: Steps, simulator: Simulator
) -> None:
    unassign, declare = steps
    simulator.faults.append(Fault("reset", "DELETE"))
    unassign()
    declare()
    assert is_assigned(simulator)


@pytest.mark.parametrize("is_declared_first", [False, True], ids=["after", "first"])
def test_a_pair_that_moves_from_a_set_to_another_provider_resource_of_its_server_stays_assigned(
    is_declared_first: bool,
    plugin: Plugin,
    start_plugin: Callable[..., Plugin],
    login: dict[str, object],
    simulator: Simulator,
) -> None:
    simulator.inventory.assignments[SQL01, NAS01] = None
    other = start_plugin()
    other.configure(login, PROVIDER_URN)
    inputs = {"vmRef": SQL01, "backupLocationId": NAS01}
    if is_declared_first:
        other.check(SINGLE_URN, inputs)
    plugin.check(SET_URN, WITHOUT)
    plugin.update(SET_URN, WITH, WITHOUT)
    assert is_assigned(simulator) is is_declared_first
    other.check(SINGLE_URN, inputs)
    other.create(SINGLE_URN, inputs)
    assert is_assigned(simulator)


def test_a_listing_that_lags_behind_the_delete_of_another_process_is_no_proof(
    plugin: Plugin, dynamic: Host, base_url: str, simulator: Simulator
) -> None:
    simulator.inventory.assignments[SQL01, NAS01] = None
    dynamic.configure(
        baseUrl=base_url, username="Administrator", password=PASSWORD, settleSeconds="20"
    )
    simulator.behavior = Behavior(second_session="accept", lag_seconds=10)
    plugin.delete(SET_URN, "it", WITH)
    simulator.faults.append(Fault("reset", "POST /vms", acted=False))
    dynamic.create(**INPUTS)
    assert is_assigned(simulator)


def test_a_pair_that_cannot_be_assigned_again_is_an_error_that_says_to_refresh(
    plugin: Plugin, dynamic: Host, simulator: Simulator
) -> None:
    simulator.inventory.assignments[SQL01, NAS01] = None
    plugin.delete(SET_URN, "it", WITH)
    simulator.faults.append(Fault("error", "POST /vms", times=None, acted=False))
    inputs, _ = dynamic.check(**INPUTS)
    says = failure_of(lambda: dynamic.update(PAIR, INPUTS, inputs)).says
    assert "this run has un-assigned it, the program declares it, and it could not be" in says
    assert "Run `pulumi refresh` and then `pulumi up`." in says


def test_it_makes_no_call_that_is_not_needed(
    plugin: Plugin, dynamic: Host, simulator: Simulator
) -> None:
    simulator.inventory.assignments[SQL01, NAS01] = None
    inputs, _ = dynamic.check(**INPUTS)
    assert dynamic.diff(INPUTS, inputs).changes == 1
    assert not plugin.diff(SET_URN, WITHOUT, WITHOUT).changes
    assert not simulator.calls
