"""One run with two servers that hold the same ids, as where one was restored from the other."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from contract.host import Host
from contract.plugin import ASSIGNMENT, SET, Engine, Plugin, a_set, entry, pairs, urn
from sample import NAS01, OFFSITE01, PASSWORD, SQL01

from pulumi_vmbackup.simulator import Behavior, Simulator, serve

StartPlugin = Callable[..., Plugin]
PAIR = f"{SQL01}/{NAS01}"
AT_A = {"vm_ref": SQL01, "backup_location_id": NAS01}
AT_B = {**AT_A, "connection": "site-b"}
INPUTS = {"vmRef": SQL01, "backupLocationId": NAS01}
THE_SET = a_set(SQL01=entry(SQL01, NAS=NAS01))
URN, SET_URN = urn(ASSIGNMENT), urn(SET)


@pytest.fixture
def dynamic(
    engine_address: str, base_url: str, url_b: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Host]:
    """The host of dynamic resources, which knows B as `site-b`, and A by two names."""
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path / "home"))
    host = Host(engine_address)
    login = {"username": "Administrator", "password": PASSWORD, "settleSeconds": "0"}
    a_by_another_name = {"baseUrl": base_url.replace("localhost", "127.0.0.1"), **login}
    connections = {"site-b": {"baseUrl": url_b, **login}, "site-a": a_by_another_name}
    host.configure(baseUrl=base_url, **login, connections=json.dumps(connections))
    yield host
    host.stop()


@pytest.fixture
def at_a(plugin: Plugin) -> Plugin:
    """The process of the provider of A."""
    return plugin


@pytest.fixture
def at_b(start_plugin: StartPlugin, login: dict[str, object], url_b: str) -> Plugin:
    """The process of the provider of B, in the same run."""
    plugin = start_plugin()
    plugin.configure({**login, "baseUrl": url_b})
    return plugin


def locations(*simulators: Simulator) -> list[list[str]]:
    return [simulator.inventory.locations_of(SQL01) for simulator in simulators]


# Dynamic resources


def test_one_pair_on_two_servers_is_two_assignments(
    dynamic: Host, simulator: Simulator, site_b: Simulator
) -> None:
    for inputs in (AT_A, AT_B):
        assert dynamic.check(**inputs)[1] == {}
        dynamic.create(**inputs)
    assert locations(simulator, site_b) == [[NAS01], [NAS01]]
    del site_b.inventory.assignments[SQL01, NAS01]  # drift
    assert dynamic.read(PAIR, **AT_A).id == PAIR
    assert dynamic.read(PAIR, **AT_B).id == ""


def test_what_the_program_declares_on_one_server_is_unassigned_on_the_other(
    dynamic: Host, simulator: Simulator, site_b: Simulator
) -> None:
    for inputs in (AT_A, AT_B):
        dynamic.create(**inputs)
    dynamic.check(**AT_A)
    dynamic.delete(PAIR, **AT_B)
    assert locations(simulator, site_b) == [[NAS01], []]
    # What the run has un-assigned on B is still there on A.
    assert dynamic.diff(AT_A, AT_A).changes == 1


def test_a_move_to_another_server_assigns_there_and_unassigns_here(
    dynamic: Host, simulator: Simulator, site_b: Simulator
) -> None:
    _, outputs = dynamic.create(**AT_A)
    dynamic.check(**AT_B)
    difference = dynamic.diff(outputs, AT_B)
    assert (difference.changes, list(difference.replaces)) == (2, ["connection"])
    dynamic.create(**AT_B)
    dynamic.delete(PAIR, **outputs)
    assert locations(simulator, site_b) == [[], [NAS01]]


def test_a_move_between_two_addresses_of_one_server_leaves_the_pair_assigned(
    dynamic: Host, simulator: Simulator, base_url: str
) -> None:
    simulator.behavior = Behavior(second_session="accept")
    with serve(simulator) as another_url:  # as over another tunnel
        login = {"username": "Administrator", "password": PASSWORD, "settleSeconds": "0"}
        connections = {"moved": {"baseUrl": another_url, **login}}
        dynamic.configure(baseUrl=base_url, **login, connections=json.dumps(connections))
        moved = {**AT_A, "connection": "moved"}
        _, outputs = dynamic.create(**AT_A)
        dynamic.check(**moved)
        assert list(dynamic.diff(outputs, moved).replaces) == ["connection"]
        dynamic.create(**moved)
        dynamic.delete(PAIR, **outputs)
        assert [call.method for call in simulator.calls].count("DELETE") == 1
        assert locations(simulator) == [[NAS01]]
        dynamic.stop()


def test_another_name_of_the_same_server_is_an_update_that_sends_nothing_and_shares_the_session(
    dynamic: Host, simulator: Simulator
) -> None:
    id_, outputs = dynamic.create(**AT_A)
    renamed = {**AT_A, "connection": "site-a"}
    difference = dynamic.diff(outputs, renamed)
    assert (difference.changes, list(difference.replaces)) == (2, [])
    simulator.calls.clear()
    assert dynamic.update(id_, outputs, renamed)["connection"] == "site-a"
    assert not simulator.calls


def test_two_names_of_one_connection_share_a_session(
    simulator: Simulator, base_url: str, dynamic: Host
) -> None:
    login = {"username": "Administrator", "password": PASSWORD, "baseUrl": base_url}
    dynamic.configure(connections=json.dumps({"first": login, "second": login}))
    for connection in ("first", "second"):
        dynamic.create(**AT_A, connection=connection)
    assert len(simulator.tokens) == 1


def test_a_pair_whose_connection_is_gone_is_protected_by_the_same_ids_on_any_server(
    dynamic: Host, simulator: Simulator, site_b: Simulator
) -> None:
    dynamic.create(**AT_B)
    dynamic.check(**AT_B)
    dynamic.delete(PAIR, **AT_A, connection="of-an-old-program")
    assert locations(simulator, site_b) == [[], [NAS01]]


# Resources of the plugin


def test_two_providers_assign_one_pair_on_their_servers_and_a_removal_stays_on_its_own(
    at_a: Plugin, at_b: Plugin, site_b: Simulator
) -> None:
    for plugin in (at_a, at_b):
        assert plugin.check(URN, INPUTS)[1] == {}
        plugin.create(URN, INPUTS)
    del site_b.inventory.assignments[SQL01, NAS01]  # drift
    assert at_b.read(URN, PAIR, INPUTS)[0] == ""
    assert at_a.read(URN, PAIR, INPUTS)[0] == PAIR


@pytest.mark.parametrize("type_", [ASSIGNMENT, SET], ids=["single", "set"])
def test_what_the_provider_of_one_server_declares_is_unassigned_on_the_other(
    type_: str, at_a: Plugin, at_b: Plugin, simulator: Simulator, site_b: Simulator
) -> None:
    inputs = INPUTS if type_ == ASSIGNMENT else THE_SET
    state = [plugin.create(urn(type_), inputs)[1] for plugin in (at_a, at_b)][1]
    at_a.check(urn(type_), inputs)
    at_b.delete(urn(type_), PAIR, state)
    assert locations(simulator, site_b) == [[NAS01], []]
    assert not at_a.diff(urn(type_), state, inputs).changes


def test_a_move_between_providers_unassigns_where_it_was(
    at_a: Plugin, at_b: Plugin, simulator: Simulator, site_b: Simulator
) -> None:
    _, state = at_a.create(SET_URN, THE_SET)
    at_b.check(SET_URN, THE_SET)
    at_b.create(SET_URN, THE_SET)
    at_a.delete(SET_URN, "it", state)
    assert locations(simulator, site_b) == [[], [NAS01]]


@pytest.mark.parametrize("type_", [ASSIGNMENT, SET], ids=["single", "set"])
def test_a_warning_says_what_to_do_if_two_addresses_lead_to_one_server(
    type_: str,
    at_a: Plugin,
    at_b: Plugin,
    start_plugin: StartPlugin,
    pulumi_engine: Engine,
    base_url: str,
    url_b: str,
) -> None:
    inputs = INPUTS if type_ == ASSIGNMENT else THE_SET
    _, state = at_a.create(urn(type_), inputs)
    at_b.check(urn(type_), inputs)
    other = start_plugin(VMBACKUP_BASE_URL=base_url)
    other.configure({})
    other.check(urn(type_), inputs)
    at_a.delete(urn(type_), PAIR, state)
    assert pulumi_engine.warnings == []  # the program declares it here, too
    other.end()
    at_a.delete(urn(type_), PAIR, state)
    server = url_b.removeprefix("http://").partition("/")[0].replace("127.0.0.1", "localhost")
    assert pulumi_engine.warnings == [
        f"This run has un-assigned 1 of the pairs that the program declares for {server}. If that "
        "is another address of the same server, they are un-assigned there as well: wait 0 s "
        "(settleSeconds), run `pulumi refresh`, and then `pulumi up`."
    ]


# Both


def test_a_dynamic_resource_of_one_server_does_not_protect_the_pair_of_a_set_of_the_other(
    dynamic: Host, at_b: Plugin, simulator: Simulator, site_b: Simulator
) -> None:
    _, state = at_b.create(SET_URN, THE_SET)
    dynamic.check(**AT_A)
    at_b.delete(SET_URN, "it", state)
    assert pairs(site_b, "DELETE") == [PAIR]
    assert not simulator.calls


def test_a_pair_that_moves_from_a_set_to_a_dynamic_resource_of_the_same_server_stays(
    dynamic: Host, at_b: Plugin, site_b: Simulator
) -> None:
    _, state = at_b.create(SET_URN, THE_SET)
    dynamic.check(**AT_B)
    at_b.delete(SET_URN, "it", state)
    assert locations(site_b) == [[NAS01]]


# Exclusive sets beside other resources


EXCLUSIVE = a_set(True, SQL01=entry(SQL01, NAS=NAS01))
OUTSIDE = {"vmRef": SQL01, "backupLocationId": OFFSITE01}
OTHER_URN = urn(ASSIGNMENT, "other")
SAYS = (
    "{} is exclusive and lists VM {} without backup location " + OFFSITE01 + ", but {} "
    "assigns the VM to it: give the location to the set, or remove one of the two resources, or "
    "remove exclusive."
)
NAMED = f"SQL01 ({SQL01})"
BOTH = SAYS.format(f"The resource {SET_URN}", NAMED, f"the resource {OTHER_URN}")


def test_what_an_exclusive_set_excludes_is_an_error_that_names_both_in_each_order(
    start_plugin: StartPlugin,
) -> None:
    for checks in (
        [(SET_URN, EXCLUSIVE), (OTHER_URN, OUTSIDE)],
        [(OTHER_URN, OUTSIDE), (SET_URN, EXCLUSIVE)],
    ):
        plugin = start_plugin()
        answers = [plugin.check(urn_, inputs)[1] for urn_, inputs in checks]
        assert answers == [{}, {"": BOTH}]
        assert plugin.check(OTHER_URN, OUTSIDE)[1] == {"": BOTH}
        plugin.end()


def test_resources_that_an_exclusive_set_does_not_exclude_pass(
    unconfigured: Plugin, dynamic: Host
) -> None:
    assert unconfigured.check(SET_URN, EXCLUSIVE)[1] == {}
    assert unconfigured.check(SET_URN, EXCLUSIVE)[1] == {}
    other_vm = {**OUTSIDE, "vmRef": OFFSITE01}
    assert unconfigured.check(OTHER_URN, other_vm)[1] == {}
    declared_twice = unconfigured.check(urn(ASSIGNMENT, "third"), INPUTS)[1][""]
    assert "both assign VM" in declared_twice
    assert dynamic.check(**AT_A)[1] == {}


@pytest.mark.parametrize("is_set_first", [True, False])
def test_other_processes_find_what_an_exclusive_set_excludes(
    is_set_first: bool, dynamic: Host, at_a: Plugin, at_b: Plugin
) -> None:
    def check_set() -> dict[str, str]:
        return at_a.check(SET_URN, EXCLUSIVE)[1]

    def check_other(**more: str) -> dict[str, str]:
        return dynamic.check(vm_ref=SQL01, backup_location_id=OFFSITE01, **more)[1]

    assert check_other(connection="site-b") == {}
    assert at_b.check(OTHER_URN, OUTSIDE)[1] == {}
    if is_set_first:
        assert check_set() == {}
        assert check_other() == {"": SAYS.format("A set of the program", SQL01, "this resource")}
    else:
        assert check_other() == {}
        assert check_set() == {
            "": SAYS.format(f"The resource {SET_URN}", NAMED, "another resource of the program")
        }
