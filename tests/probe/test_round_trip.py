"""What a probe finds on a simulator that is like some facts: the same facts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from certificates import IS_AUTHORITY, for_hosts, made
from probe.servers import PRIMARY, Writes, found_by_reads, settings_for, without_names
from sample import DISK_E, PASSWORD, SQL01

from pulumi_vmbackup.client import Client
from pulumi_vmbackup.facts import FACTS, GUID_SPELLINGS, TIME_SPELLINGS, Answer, Facts
from pulumi_vmbackup.models import BackupLocation
from pulumi_vmbackup.probe.reads import read_facts
from pulumi_vmbackup.simulator import Behavior, Simulator, serve
from pulumi_vmbackup.simulator.api import BASE_PATHS
from pulumi_vmbackup.simulator.behavior import PRESETS, facts_of

ACCEPTED = Answer("accepted")
REFUSED = [
    Answer("refused", 200, "Code", "Some words", "Details"),
    Answer("refused", 200, None, "Ein Fehler ist aufgetreten"),
    Answer("refused", 500, "InternalError"),
    Answer("refused", 400),
    Answer("page", 404),
    Answer("page", 500),
    Answer("empty", 403),
    Answer("other", 503),
]
NO_ANSWER = Answer("none", 0)
REFUSED_LOGINS = [
    Answer(
        "refused", 200, "SessionRefused", "Another session is open", "AnotherConsoleIsRegistered"
    ),
    *REFUSED[:6],
]
INVALID = [
    Answer("refused", 200, "InvalidToken", "Invalid Token"),
    Answer("empty", 401),
    *REFUSED,
]
LISTS = [Answer("list"), Answer("empty list"), Answer("null list"), Answer("no list")]
SECONDS = [0.0, 0.4]
DISK = BackupLocation(DISK_E, r"E:\VMBackups", "primary")
SECOND_PRIMARY = {
    "is allowed": [ACCEPTED],
    "is refused": REFUSED,
    "moves the VM": [ACCEPTED],
}
VM_FIELDS: dict[str, tuple[str, ...]] = {
    "VirtualMachineName": ("text",),
    "HostName": ("text",),
    "AltaroVirtualMachineRef": ("text",),
    "Configured": ("boolean",),
}
LOCATION_FIELDS = {"BackupLocationId": ("text",), "LocationPath": ("text",)}

VALUES: dict[str, list[Any]] = {
    "protocolVersion": ["1.0", "9.1.4.0"],
    "loginSeconds": SECONDS,
    "secondSession": [ACCEPTED, *REFUSED_LOGINS],
    "numericServerPort": [ACCEPTED, *REFUSED],
    "unknownToken": INVALID,
    "endedToken": INVALID,
    "endedSessionEnd": [ACCEPTED, NO_ANSWER, *INVALID],
    "tokenSpelling": list(GUID_SPELLINGS),
    "vmListSeconds": SECONDS,
    "vmFields": [
        VM_FIELDS,
        {**VM_FIELDS, "LastBackupDuration": ("text",), "IsReplica": ("boolean", "null")},
        {**VM_FIELDS, "Tags": ("list",), "Owner": ("object",), "LastBackupTime": ("text",)},
        {**VM_FIELDS, "NextBackupTime": ("null", "number", "text")},
    ],
    "locationFields": [
        LOCATION_FIELDS,
        {**LOCATION_FIELDS, "FreeSpace": ("number",), "Kind": ("null", "text")},
    ],
    "locationListPlain": [Answer("list"), NO_ANSWER, *REFUSED],
    "vmListing": [Answer("list"), *REFUSED],
    "vmListingPrimary": [Answer("list"), *REFUSED],
    "vmListingOffsite": [Answer("list"), *REFUSED],
    "vmListingPlain": [Answer("list"), NO_ANSWER, *REFUSED],
    "unknownVmListing": [*LISTS, NO_ANSWER, *REFUSED],
    "listingSeconds": SECONDS,
    "parallelListings": [1, 2, 4, 8],
    "writeSeconds": SECONDS,
    "appearSeconds": SECONDS,
    "secondAssign": [ACCEPTED, *REFUSED],
    "disappearSeconds": SECONDS,
    "secondUnassign": [ACCEPTED, *REFUSED],
    "secondPrimary": list(SECOND_PRIMARY),
    "secondPrimaryAnswer": [ACCEPTED, *REFUSED],
    "unknownLocationAssign": [ACCEPTED, *REFUSED],
    "unknownVmAssign": [ACCEPTED, *REFUSED],
    "unknownLocationUnassign": [ACCEPTED, *REFUSED],
    "unknownVmUnassign": [ACCEPTED, *REFUSED],
}
# Facts that another fact comes with.
WITH: dict[str, dict[str, Any]] = {"parallelListings": {"listingSeconds": 0.2}}
OF_THE_WAY = ("apiPath", "scheme", "certificateName", "certificateTrust")


def values_of(key: str) -> list[Any]:
    return list(FACTS[key].choices) or VALUES[key]


def cases(*steps: str) -> list[Any]:
    return [
        pytest.param(key, value, id=f"{key}-{number}")
        for key, fact in FACTS.items()
        if fact.step in steps and key not in OF_THE_WAY
        for number, value in enumerate(values_of(key))
    ]


def like(**values: Any) -> Simulator:
    return Simulator(password=PASSWORD, behavior=Behavior.like(Facts("9.1", values)))


def is_close(found: Any, value: Any) -> bool:
    """Whether a value was found; a busy machine takes longer."""
    if isinstance(value, float):
        return value <= float(found) + 0.1 and float(found) <= value + 0.9
    return bool(found == value)


@pytest.mark.parametrize(("key", "value"), cases("reads"))
def test_a_fact_that_is_read(key: str, value: Any) -> None:
    with serve(like(**WITH.get(key, {}), **{key: value})) as base_url:
        found = found_by_reads(settings_for(base_url))
    assert is_close(found.get(key), value), found.get(key)


@pytest.mark.parametrize(("key", "value"), cases("writes", "second location"))
def test_a_fact_that_is_found_by_writes(key: str, value: Any) -> None:
    values = {key: value}
    if key == "secondPrimary":
        values["secondPrimaryAnswer"] = SECOND_PRIMARY[value][0]
    if key == "secondPrimaryAnswer":
        values["secondPrimary"] = "is allowed" if value.is_accepted else "is refused"
    simulator = like(**values)
    before = dict(simulator.inventory.assignments)
    with serve(simulator) as base_url:
        settings = settings_for(base_url)
        with Client(settings) as client:
            writes = Writes(client, PRIMARY, DISK)
            writes.probe.run()
        found = without_names(writes.found)
    assert is_close(found.get(key), value), found.get(key)
    assert simulator.inventory.assignments == before
    assert writes.restored
    assert writes.restored.is_done


@pytest.mark.parametrize(("version", "path"), [("8", "/api"), ("9.1", "/api/rest")])
def test_the_path_of_the_api(version: str, path: str) -> None:
    with serve(Simulator(password=PASSWORD, api_version=version)) as base_url:
        found = found_by_reads(
            settings_for(base_url, server_port=35107 if version == "8" else 36014)
        )
    assert found["apiPath"] == path


def test_another_path_of_the_api(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BASE_PATHS, "9.1", "/contoso/vmbackup")
    with serve(Simulator(password=PASSWORD)) as base_url:
        found = found_by_reads(settings_for(base_url))
    assert found["apiPath"] == "another"


def test_plain_http_has_no_certificate(base_url: str) -> None:
    found = found_by_reads(settings_for(base_url))
    assert found["scheme"] == "http"
    assert not {"certificateName", "certificateTrust"} & found.keys()


@pytest.mark.parametrize("trust", FACTS["certificateTrust"].choices)
@pytest.mark.parametrize("name", FACTS["certificateName"].choices)
def test_a_certificate(
    name: str, trust: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = {
        "the host of the address": ["localhost"],
        "another name": ["VMBACKUP01"],
        "no name": [],
    }[name]
    extensions = (IS_AUTHORITY, *([for_hosts(*hosts)] if hosts else []))
    certificate = made("", extensions=extensions)
    file = tmp_path / "certificate.pem"
    file.write_bytes(certificate.pem)
    if trust == "the system":
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
    server = certificate.write_server(tmp_path)
    with serve(Simulator(password=PASSWORD), certificate=server) as base_url:
        localhost = base_url.replace("127.0.0.1", "localhost")
        found = found_by_reads(settings_for(localhost, ca_file=str(file)))
    assert (found["scheme"], found["certificateName"]) == ("https", name)
    assert found["certificateTrust"] == trust


@pytest.mark.parametrize("names", [["VMBACKUP01"], ["localhost"]])
def test_a_certificate_at_an_ip_address(names: list[str], tmp_path: Path) -> None:
    certificate = made("", extensions=(IS_AUTHORITY, for_hosts(*names)))
    file = tmp_path / "certificate.pem"
    file.write_bytes(certificate.pem)
    server = certificate.write_server(tmp_path)
    with serve(Simulator(password=PASSWORD), certificate=server) as base_url:
        found = found_by_reads(settings_for(base_url, ca_file=str(file)))
    assert found["certificateName"] == "another name"


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset(preset: str) -> None:
    told = facts_of(preset)
    simulator = Simulator(
        password=PASSWORD, api_version=told.api_version, behavior=Behavior.like(preset)
    )
    with serve(simulator) as base_url:
        settings = settings_for(
            base_url,
            api_version=told.api_version,
            server_port=35107 if preset == "v8" else 36014,
        )
        with Client(settings) as client:
            writes = Writes(client, PRIMARY, DISK)
            read_facts(client, writes.found, print)
            writes.probe.run()
        found = writes.found.facts
    assert {key: found.values[key] for key in told.values} == dict(told.values)
    assert found.api_version == told.api_version
    assert simulator.inventory.locations_of(SQL01) == []


def test_each_fact_that_a_probe_finds_is_here() -> None:
    found = {key for key, fact in FACTS.items() if fact.step != "none"}
    with_choices = {key for key in found if FACTS[key].choices}
    assert found == with_choices | VALUES.keys()
    assert FACTS["timeSpelling"].choices == TIME_SPELLINGS
