"""The simulator as a second client finds it, which shares no code with the package."""

from __future__ import annotations

import json
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from certificates import made
from exporter import FAILURES, NUMBERS, RESULTS, TIMES, Exporter, RefusedError, Scrape
from sample import PASSWORD, SQL01, with_replica

from pulumi_vmbackup.simulator import Behavior, Fault, Simulator, serve

SAMPLE = json.loads((files("pulumi_vmbackup.simulator") / "inventory.json").read_text("utf-8"))
ALL_VMS: list[dict[str, Any]] = SAMPLE["VirtualMachines"]
CONFIGURED = [vm for vm in ALL_VMS if vm["Configured"]]
LOGIN = "POST /api/rest/sessions/start"
LIST = "GET /vms/list/[token]/1"


@pytest.fixture
def exporter(base_url: str) -> Exporter:
    return Exporter(base_url, "Administrator", PASSWORD)


# All that the server holds


def holds_the_sample(scrape: Scrape) -> None:
    locations = SAMPLE["BackupLocations"]
    assert scrape.vms == ALL_VMS
    assert scrape.locations == [
        {key: location[key] for key in ("BackupLocationId", "LocationPath")}
        for location in locations
    ]
    for kind, listed in (("primary", scrape.primary), ("offsite", scrape.offsite)):
        assert listed == [
            location["BackupLocationId"] for location in locations if location["Kind"] == kind
        ]
    refs = [vm["AltaroVirtualMachineRef"] for vm in CONFIGURED]
    assert scrape.assigned == {
        ref: [
            pair["BackupLocationId"]
            for pair in SAMPLE["Assignments"]
            if pair["AltaroVirtualMachineRef"] == ref
        ]
        for ref in refs
    }
    assert scrape.hypervisor_uuids == {
        vm["AltaroVirtualMachineRef"]: vm["HypervisorVirtualMachineUuid"] for vm in CONFIGURED
    }
    assert scrape.protocol_version
    assert list(scrape.gauges) == [vm["VirtualMachineName"] for vm in CONFIGURED]
    for vm in CONFIGURED:
        gauges = scrape.gauges[vm["VirtualMachineName"]]
        assert {name: gauges.pop(name) for name in NUMBERS} == {name: vm[name] for name in NUMBERS}
        assert {name: gauges.pop(name) for name in RESULTS} == {
            name: vm[name] == "Success" for name in RESULTS
        }
        times = {
            name: datetime.fromtimestamp(gauge).strftime("%Y-%m-%d-%H-%M-%S")
            for name, gauge in gauges.items()
        }
        assert times == {name: vm[name] for name in TIMES if vm[name]}


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    ("api_version", "server_port"), [("8", 35107), ("9.0", 36014), ("9.1", 36014)]
)
def test_an_exporter_reads_all_that_the_sample_holds(
    api_version: str, server_port: int, scheme: str, tmp_path: Path
) -> None:
    simulator = Simulator(api_version=api_version, password=PASSWORD)
    certificate = made().write_server(tmp_path) if scheme == "https" else None
    with serve(simulator, certificate=certificate) as base_url:
        assert base_url.startswith(f"{scheme}://")
        exporter = Exporter(base_url, "Administrator", PASSWORD, server_port)
        holds_the_sample(exporter.scrape())
        exporter.close()
    assert {call.status for call in simulator.calls} == {200}
    assert not simulator.sessions


def test_a_replica_is_listed_and_has_no_gauges(simulator: Simulator, exporter: Exporter) -> None:
    simulator.inventory = with_replica()
    scrape = exporter.scrape()
    assert [vm["VirtualMachineName"] for vm in scrape.vms].count("SQL01") == 2
    assert scrape.gauges["SQL01"]["LastBackupDuration"] > 0
    assert len(scrape.gauges) == len(CONFIGURED)


@pytest.mark.parametrize("name", NUMBERS)
def test_durations_and_sizes_of_the_sample_are_numbers(name: str) -> None:
    assert {type(vm[name]) for vm in ALL_VMS} == {int}


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [None, "600"], ids=["null", "text"])
def test_any_other_value_fails_the_scrape(
    value: str | None, name: str, simulator: Simulator, exporter: Exporter
) -> None:
    simulator.inventory.virtual_machines[SQL01][name] = value
    with pytest.raises(TypeError, match="unsupported operand"):
        exporter.scrape()


# Its session


def logins(simulator: Simulator) -> int:
    return [f"{call.method} {call.path}" for call in simulator.calls].count(LOGIN)


def test_a_session_is_kept_over_several_scrapes(simulator: Simulator, exporter: Exporter) -> None:
    for _ in range(3):
        holds_the_sample(exporter.scrape())
    assert logins(simulator) == exporter.logins == len(simulator.sessions) == 1
    exporter.close()
    assert not simulator.sessions


@pytest.mark.parametrize("kind", ["reset", "cut short", "html", "error", "session over", "refused"])
def test_after_a_failure_it_ends_all_sessions_and_logs_in_at_the_next_scrape(
    kind: Any, simulator: Simulator, exporter: Exporter
) -> None:
    exporter.scrape()
    simulator.faults = [Fault(kind, LIST)]
    with pytest.raises(FAILURES):
        exporter.scrape()
    assert not simulator.sessions
    for _ in range(2):
        holds_the_sample(exporter.scrape())
    assert logins(simulator) == exporter.logins == 2


def test_two_exporters_keep_their_sessions_on_a_server_that_allows_several(
    simulator: Simulator, base_url: str, exporter: Exporter
) -> None:
    simulator.behavior = Behavior(second_session="accept")
    other = Exporter(base_url, "Administrator", PASSWORD)
    for _ in range(2):
        holds_the_sample(exporter.scrape())
        holds_the_sample(other.scrape())
    assert len(simulator.sessions) == logins(simulator) == 2


def test_two_exporters_take_the_only_session_from_each_other(
    simulator: Simulator, base_url: str, exporter: Exporter
) -> None:
    other = Exporter(base_url, "Administrator", PASSWORD)
    exporter.scrape()
    with pytest.raises(RefusedError, match="AnotherConsoleIsRegistered"):
        other.scrape()
    other.scrape()
    with pytest.raises(RefusedError, match="Invalid Token"):
        exporter.scrape()
    holds_the_sample(exporter.scrape())
    assert len(simulator.sessions) == 1
