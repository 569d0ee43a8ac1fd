"""One process of the plugin that serves several servers, each resource by its connection."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from contract.host import Host
from contract.plugin import (
    ASSIGNMENT,
    DEFAULT_PROVIDER_URN,
    PROVIDER_URN,
    SET,
    UNKNOWN,
    Failed,
    Plugin,
    Properties,
    a_set,
    entry,
    failure_of,
    pairs,
    stack_configuration,
    urn,
)
from sample import EXCH01, NAS01, OFFSITE01, PASSWORD, SQL01

from pulumi_vmbackup.catalog import gather
from pulumi_vmbackup.client import Client
from pulumi_vmbackup.simulator import Behavior, Fault, Simulator

StartPlugin = Callable[..., Plugin]
PAIR = f"{SQL01}/{NAS01}"
AT_A = {"vmRef": SQL01, "backupLocationId": NAS01}
AT_B = {**AT_A, "connection": "site-b"}
SET_AT_B = {**a_set(SQL01=entry(SQL01, NAS=NAS01)), "connection": "site-b"}
URN, SET_URN = urn(ASSIGNMENT), urn(SET)


def configured(start_plugin: StartPlugin, login: Properties, **connections: Properties) -> Plugin:
    """A plugin whose stack configuration has A as the unnamed connection, and others by name."""
    named = {name.replace("_", "-"): each for name, each in connections.items()}
    configuration = {**login, "connections": json.dumps(named)}
    plugin = start_plugin(PULUMI_CONFIG=stack_configuration(configuration))
    plugin.configure(configuration, DEFAULT_PROVIDER_URN)
    return plugin


@pytest.fixture
def plugin(start_plugin: StartPlugin, login: Properties, url_b: str) -> Plugin:
    """A plugin that knows B as `site-b` and `same-as-b`, and A by another name too."""
    b = {**login, "baseUrl": url_b}
    return configured(start_plugin, login, site_b=b, same_as_b=b, site_a=login)


def locations(*simulators: Simulator) -> list[list[str]]:
    return [simulator.inventory.locations_of(SQL01) for simulator in simulators]


def test_each_resource_lives_on_the_server_of_its_connection(
    plugin: Plugin, simulator: Simulator, site_b: Simulator
) -> None:
    id_, outputs = plugin.create(URN, AT_B)
    assert (id_, outputs["connection"]) == (PAIR, "site-b")
    assert locations(simulator, site_b) == [[], [NAS01]]
    assert plugin.read(URN, id_, outputs, AT_B) == (PAIR, AT_B, outputs)
    name, of_set = plugin.create(SET_URN, {**SET_AT_B, **a_set(E=entry(EXCH01, NAS=NAS01))})
    assert of_set["connection"] == "site-b"
    assert plugin.read(SET_URN, name, of_set, of_set)[2]["connection"] == "site-b"
    more = {**a_set(E=entry(EXCH01, NAS=NAS01, OFFSITE=OFFSITE01)), "connection": "site-b"}
    assert plugin.update(SET_URN, of_set, more)["connection"] == "site-b"
    assert site_b.inventory.locations_of(EXCH01) == [NAS01, OFFSITE01]
    plugin.delete(SET_URN, name, more)
    plugin.delete(URN, id_, outputs)
    assert locations(simulator, site_b) == [[], []]
    assert site_b.inventory.locations_of(EXCH01) == []
    assert not simulator.calls
    # One session for all of it, and for another name with the same settings.
    plugin.create(URN, {**AT_A, "connection": "same-as-b"})
    assert len(site_b.tokens) == 1


def test_the_same_ids_on_two_servers_are_two_assignments_and_drift_is_seen_on_its_own(
    plugin: Plugin, simulator: Simulator, site_b: Simulator
) -> None:
    for inputs, name in ((AT_A, "a"), (AT_B, "b")):
        assert plugin.check(urn(ASSIGNMENT, name), inputs)[1] == {}
        plugin.create(urn(ASSIGNMENT, name), inputs)
    assert locations(simulator, site_b) == [[NAS01], [NAS01]]
    del site_b.inventory.assignments[SQL01, NAS01]
    assert plugin.read(URN, PAIR, {**AT_A, "vmName": "SQL01"})[0] == PAIR
    assert plugin.read(URN, PAIR, {**AT_B, "vmName": "SQL01"})[0] == ""


def test_one_pair_by_two_names_of_a_server_is_declared_twice(plugin: Plugin) -> None:
    plugin.check(urn(ASSIGNMENT, "first"), AT_B)
    failures = plugin.check(urn(ASSIGNMENT, "second"), {**AT_A, "connection": "same-as-b"})[1]
    assert "both assign VM" in failures[""]
    exclusive = {**a_set(True, SQL01=entry(SQL01, O=OFFSITE01)), "connection": "site-a"}
    assert plugin.check(SET_URN, exclusive)[1] == {}  # it is another server's VM


@pytest.mark.parametrize("of", ["single", "set"])
def test_another_server_replaces_and_another_name_of_it_changes_only_the_state(
    of: str, plugin: Plugin, simulator: Simulator, site_b: Simulator
) -> None:
    urn_, inputs = (URN, AT_B) if of == "single" else (SET_URN, SET_AT_B)
    here = {key: value for key, value in inputs.items() if key != "connection"}
    plugin.check(urn_, inputs)
    id_, outputs = plugin.create(urn_, inputs)
    difference = plugin.diff(urn_, outputs, here)
    assert (difference.paths, difference.replaces) == (
        {"connection": "update_replace"},
        ["connection"],
    )
    renamed = {**inputs, "connection": "same-as-b"}
    difference = plugin.diff(urn_, outputs, renamed)
    assert (difference.paths, difference.replaces) == ({"connection": "update"}, [])
    site_b.calls.clear()
    previewed = plugin.update(urn_, outputs, renamed, preview=True)
    assert previewed["connection"] == "same-as-b"
    assert plugin.update(urn_, outputs, renamed) == {**outputs, "connection": "same-as-b"}
    assert not site_b.calls
    # As the engine replaces: the new one first.
    plugin.check(urn_, here)
    plugin.create(urn_, here)
    plugin.delete(urn_, id_, outputs)
    # This plugin has checked the pair of B too, so it is declared there.
    assert locations(simulator, site_b) == [[NAS01], [NAS01]]


def test_a_move_assigns_there_and_unassigns_here(
    plugin: Plugin, simulator: Simulator, site_b: Simulator
) -> None:
    id_, outputs = plugin.create(URN, AT_B)
    plugin.check(URN, AT_A)
    plugin.create(URN, AT_A)
    plugin.delete(URN, id_, outputs)
    assert locations(simulator, site_b) == [[NAS01], []]


def test_a_dynamic_resource_that_becomes_one_of_the_plugin_and_keeps_its_connection_sends_no_delete(
    plugin: Plugin, dynamic: Host, login: Properties, url_b: str, site_b: Simulator
) -> None:
    site_b.behavior = Behavior(second_session="accept")  # there are two processes
    connections = {"site-b": {**login, "baseUrl": url_b}}
    dynamic.configure(**login, connections=json.dumps(connections))
    of_dynamic = {"vm_ref": SQL01, "backup_location_id": NAS01, "connection": "site-b"}
    _, outputs = dynamic.create(**of_dynamic)
    # As the engine moves it: the new resource is checked and created, and the old one deleted.
    plugin.check(URN, AT_B)
    plugin.create(URN, AT_B)
    dynamic.delete(PAIR, **outputs)
    assert pairs(site_b, "DELETE") == []
    assert site_b.inventory.locations_of(SQL01) == [NAS01]


WRONG: dict[str, tuple[Any, str]] = {
    "unknown": (UNKNOWN, "connection is not known yet: give its name as plain text."),
    "a number": (5, "connection is 5.0: give its name as text."),
    "a list": (["b"], 'connection is ["b"]: give its name as text.'),
    "no such name": ("site-c", "There is no connection 'site-c' in vmbackup:connections "),
    "an empty name": ("", "There is no connection '' in vmbackup:connections "),
}


@pytest.mark.parametrize(("connection", "says"), WRONG.values(), ids=WRONG)
def test_a_connection_that_cannot_be_used_fails_the_preview(
    connection: object, says: str, plugin: Plugin
) -> None:
    for urn_, inputs in ((URN, AT_B), (SET_URN, SET_AT_B)):
        failures = plugin.check(urn_, {**inputs, "connection": connection})[1]
        assert list(failures) == ["connection"]
        assert failures["connection"].startswith(says)
    if connection != UNKNOWN:
        failed = failure_of(lambda: plugin.invoke("getVirtualMachines", connection=connection))
        assert failed.says.startswith(f"connection of getVirtualMachines: {says}")


def test_a_resource_moves_from_a_connection_to_a_provider_of_its_own(
    start_plugin: StartPlugin, login: Properties, url_b: str
) -> None:
    b = {**login, "baseUrl": url_b}
    configuration = {**login, "connections": json.dumps({"site-b": b})}
    plugin = start_plugin(PULUMI_CONFIG=stack_configuration(configuration))
    of_b = {**AT_B, "vmName": "SQL01"}
    plugin.configure(login, PROVIDER_URN)
    assert plugin.diff(URN, of_b, AT_A).replaces == ["connection"]
    failed = failure_of(lambda: plugin.diff(URN, {**of_b, "connection": "gone"}, AT_A))
    assert "A resource in the state has the connection 'gone': keep that" in failed.says
    plugin.configure(b, PROVIDER_URN)
    assert plugin.diff(URN, of_b, AT_A).replaces == []


def test_a_provider_of_its_own_has_no_connections(plugin: Plugin, login: Properties) -> None:
    plugin.configure(login, PROVIDER_URN)
    assert plugin.check(URN, AT_B)[1] == {
        "connection": "The provider 'site-b' has the settings of one server, and the connection "
        "'site-b' those of another one: leave out one of the two."
    }


@pytest.mark.parametrize("connection", ["site-b", "north/b"])
def test_an_import_names_the_connection_before_the_id(
    connection: str, start_plugin: StartPlugin, login: Properties, url_b: str, site_b: Simulator
) -> None:
    plugin = configured(start_plugin, login, **{connection: {**login, "baseUrl": url_b}})
    site_b.inventory.assignments[SQL01, NAS01] = None
    id_, inputs, outputs = plugin.read(URN, f"{connection}/{PAIR}")
    assert (id_, inputs) == (PAIR, {**AT_A, "connection": connection})
    assert outputs["connection"] == connection
    _, inputs, _ = plugin.read(SET_URN, f"{connection}/{SQL01},{EXCH01}")
    assert inputs["connection"] == connection
    assert inputs["assignments"]["SQL01"]["vmRef"] == SQL01
    # A program in YAML that reads a resource may give the connection in its state.
    of_state = {"connection": connection}
    assert plugin.read(URN, PAIR, of_state)[1] == {**AT_A, "connection": connection}
    assert plugin.read(URN, f"{connection}/{PAIR}", of_state)[0] == PAIR
    failed = failure_of(lambda: plugin.read(URN, f"other/{PAIR}", of_state))
    assert f"'other', and the state has '{connection}': leave out" in failed.says
    failed = failure_of(lambda: plugin.read(URN, f"other/{PAIR}"))
    assert failed.says.startswith("There is no connection 'other' in vmbackup:connections")


def test_a_connection_that_the_state_needs_must_stay_in_the_configuration(
    plugin: Plugin, simulator: Simulator
) -> None:
    outputs = {**AT_A, "connection": "gone", "vmName": "SQL01"}

    def says(call: Callable[[], object]) -> Failed:
        failed = failure_of(call)
        assert "A resource in the state has the connection 'gone': keep that" in failed.says
        assert "There is no connection 'gone'" in failed.says
        return failed

    says(lambda: plugin.read(URN, PAIR, outputs))
    says(lambda: plugin.delete(URN, PAIR, outputs))
    # Its server may be another one than that of the new connection.
    says(lambda: plugin.diff(URN, outputs, AT_A))
    says(lambda: plugin.diff(SET_URN, {**SET_AT_B, "connection": "gone"}, SET_AT_B))
    plugin.delete(SET_URN, "it", {**a_set(), "connection": "gone"})  # nothing to un-assign
    # A pair that the program declares stays as it is, which needs no settings.
    plugin.check(URN, AT_B)
    plugin.delete(URN, PAIR, outputs)
    assert not simulator.calls


def test_an_old_connection_with_an_unusable_setting_is_an_error_too(
    start_plugin: StartPlugin, login: Properties, url_b: str
) -> None:
    b = {**login, "baseUrl": url_b, "caFile": "nowhere.pem"}
    plugin = configured(start_plugin, login, site_b=b)
    failed = failure_of(lambda: plugin.diff(URN, {**AT_B, "vmName": "SQL01"}, AT_A))
    assert "nowhere.pem" in failed.says
    assert "A resource in the state has the connection 'site-b': keep that" in failed.says


def test_variables_that_are_left_of_a_connection_lead_nowhere(
    start_plugin: StartPlugin, login: Properties, simulator: Simulator
) -> None:
    left = {"VMBACKUP_GONE_USERNAME": "Administrator", "VMBACKUP_GONE_PASSWORD": PASSWORD}
    plugin = start_plugin(PULUMI_CONFIG=stack_configuration(login), **left)
    plugin.configure(login, DEFAULT_PROVIDER_URN)
    failed = failure_of(lambda: plugin.delete(URN, PAIR, {**AT_A, "connection": "gone"}))
    assert "There is no connection 'gone'" in failed.says
    assert "nor a variable VMBACKUP_GONE_BASE_URL" in failed.says
    assert not simulator.calls


def test_a_connection_in_an_edited_state_must_be_text(plugin: Plugin) -> None:
    edited = {**AT_A, "connection": {"name": "site-b"}, "vmName": "SQL01"}
    for call in (
        lambda: plugin.read(URN, PAIR, edited),
        lambda: plugin.delete(URN, PAIR, edited),
        lambda: plugin.diff(URN, edited, AT_B),
        lambda: plugin.update(URN, edited, AT_B),
    ):
        says = failure_of(call).says
        assert says.startswith("The property connection of the state is ")
        assert "pulumi state edit" in says


def test_a_set_that_was_done_in_part_keeps_its_connection(
    plugin: Plugin, site_b: Simulator
) -> None:
    site_b.faults.append(
        Fault("refused", f"POST /vms/backuplocations/[token]/{EXCH01}", times=None)
    )
    both = a_set(SQL01=entry(SQL01, NAS=NAS01), EXCH01=entry(EXCH01, NAS=NAS01))
    failed = failure_of(lambda: plugin.create(SET_URN, {**both, "connection": "site-b"}))
    assert failed.state
    assert failed.state["connection"] == "site-b"
    assert failed.state["assignments"]["SQL01"]["backupLocationIds"] == {"NAS": NAS01}


def test_functions_ask_the_server_of_their_connection(plugin: Plugin, site_b: Simulator) -> None:
    site_b.inventory.virtual_machines[SQL01]["VirtualMachineName"] = "SQL-OF-B"
    found = plugin.invoke("getVirtualMachine", ref=SQL01, connection="site-b")
    assert found["name"] == "SQL-OF-B"
    assert plugin.invoke("getVirtualMachine", ref=SQL01)["name"] == "SQL01"


def test_a_preview_reads_the_snapshot_of_its_connection(
    start_plugin: StartPlugin, client: Client, tmp_path: Path
) -> None:
    snapshot = tmp_path / "site-b.json"
    snapshot.write_text(gather(client).dump(), "utf-8")
    plugin = configured(start_plugin, {}, site_b={"inventoryFile": str(snapshot)})
    found = plugin.invoke("getVirtualMachine", preview=True, name="SQL01", connection="site-b")
    assert found["ref"] == SQL01
    failed = failure_of(lambda: plugin.invoke("getVirtualMachine", preview=True, name="SQL01"))
    assert "No username for VM Backup is known" in failed.says


def test_an_interruption_stops_the_work_and_ends_the_session_on_each_server(
    plugin: Plugin, simulator: Simulator, site_b: Simulator
) -> None:
    for inputs in (AT_A, AT_B):
        plugin.create(URN, inputs)
    plugin.cancel()
    for each, inputs in ((simulator, AT_A), (site_b, AT_B)):
        assert each.sessions
        each.calls.clear()
        failure_of(partial(plugin.create, URN, {**inputs, "vmRef": EXCH01}))
        assert not each.calls
    plugin.end()
    assert not simulator.sessions
    assert not site_b.sessions


def test_a_server_that_is_down_is_named_and_stops_no_other(
    start_plugin: StartPlugin, login: Properties, url_b: str, site_b: Simulator
) -> None:
    down = {**login, "baseUrl": "http://localhost:9/api/rest"}
    plugin = configured(start_plugin, login, down=down, site_b={**login, "baseUrl": url_b})
    failed = failure_of(lambda: plugin.create(URN, {**AT_A, "connection": "down"}))
    assert "http://localhost:9/api/rest" in failed.says
    assert plugin.create(URN, AT_B)[0] == PAIR
    assert locations(site_b) == [[NAS01]]
