"""api.py: what each call answers, over real HTTP."""

from __future__ import annotations

import http.client
import json
import math
import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from sample import (
    DC01,
    DISK_E,
    EXCH01,
    FILE01,
    NAS01,
    NOWHERE,
    OFFSITE01,
    PASSWORD,
    ROTATING,
    SQL01,
    SQL02,
    TEST01,
    with_replica,
)
from simulator.caller import LOGIN, Caller, wait_for

from pulumi_vmbackup.models import normalize_guid
from pulumi_vmbackup.simulator import TOKEN_PREFIX, Behavior, Fault, Inventory, Simulator, serve
from pulumi_vmbackup.simulator.api import Login

SQL01_ON_ITS_HYPERVISOR = "2b1e1885-283b-43a6-ac2e-a417b99de255"
CONFIGURED = ["DC01", "SQL01", "SQL02", "FILE01", "EXCH01", "WEB01", "WEB02"]
OF_SQL01 = f"/vms/backuplocations/[token]/{SQL01}"
CALLS_IN_A_SESSION = [
    "GET /vms/list/[token]",
    "GET /vms/list/[token]/0",
    "GET /vms/list/[token]/1",
    f"GET /vms/altaro-ref/[token]/{SQL01_ON_ITS_HYPERVISOR}",
    f"GET /vms/hypervisor-uuid/[token]/{SQL01}",
    "GET /backuplocations/[token]",
    "GET /backuplocations/[token]/1/0",
    "GET /backuplocations/[token]/0/1",
    f"GET {OF_SQL01}/1/1",
    f"GET {OF_SQL01}/1/0",
    f"GET {OF_SQL01}/0/1",
    f"POST {OF_SQL01}/{NAS01}",
    f"DELETE /vms/backuplocations/[token]/{DC01}/{DISK_E}",
    "POST /sessions/end/[token]",
]


@pytest.fixture
def api(base_url: str) -> Iterator[Caller]:
    with Caller(base_url) as api:
        yield api.log_in()


@contextmanager
def session(simulator: Simulator) -> Iterator[Caller]:
    with serve(simulator) as base_url, Caller(base_url) as api:
        yield api.log_in()


def behaving(**choices: Any) -> Simulator:
    return Simulator(password=PASSWORD, behavior=Behavior(**choices))


def ids(answer: dict[str, Any]) -> list[str]:
    return [location["BackupLocationId"] for location in answer["BackupLocations"]]


# Calls


def test_the_protocol_version_needs_no_session(simulator: Simulator, base_url: str) -> None:
    with Caller(base_url) as api:
        assert isinstance(api("GET /protocol/version")["Data"], str)
    assert not simulator.tokens


def test_a_session_is_started_with_the_account(simulator: Simulator, base_url: str) -> None:
    with Caller(base_url) as api:
        token = api("POST /sessions/start", LOGIN)["Data"]
    assert normalize_guid(token) == token
    assert simulator.tokens == list(simulator.sessions) == [token]


def test_all_logins_are_recorded_without_the_password(simulator: Simulator, base_url: str) -> None:
    simulator.faults.append(Fault("reset", "POST /sessions/start", skip=2, acted=False))
    with Caller(base_url) as api:
        for changed in ({"Username": "x", "Domain": "CONTOSO"}, {}, {}):
            with suppress(requests.ConnectionError):
                api.send("POST /sessions/start", {**LOGIN, **changed})
        api.send("POST /sessions/start", [])
    administrator = Login("Administrator", "")
    assert simulator.logins == [
        Login("x", "CONTOSO"),
        administrator,
        administrator,
        Login(None, None),
    ]
    assert PASSWORD not in repr(simulator.logins)


def test_each_token_is_another_and_begins_so_that_it_can_be_searched_for(
    simulator: Simulator, base_url: str
) -> None:
    simulator.behavior = Behavior(second_session="accept")
    with Caller(base_url) as api:
        tokens = [api.log_in().token for _ in range(5)]
    assert simulator.tokens == tokens
    assert len(set(tokens)) == 5
    assert all(token.startswith(TOKEN_PREFIX) for token in tokens)


def test_the_server_port_may_be_a_number(base_url: str) -> None:
    with Caller(base_url) as api:
        assert api("POST /sessions/start", {**LOGIN, "ServerPort": 36014})["Success"]


def test_one_session_is_ended_and_the_other_goes_on(
    simulator: Simulator, api: Caller, base_url: str
) -> None:
    simulator.behavior = Behavior(second_session="accept")
    with Caller(base_url) as other:
        other.log_in()
        ended = api("POST /sessions/end/[token]")
        assert ended["ClosedSessions"] == [{"SessionToken": api.token}]
        assert api.refusal("GET /vms/list/[token]") == "Invalid Token"
        assert other("GET /vms/list/[token]")["Success"]
        assert list(simulator.sessions) == [other.token]


def test_sessions_end_without_a_token_ends_those_of_others_too(
    simulator: Simulator, api: Caller, base_url: str
) -> None:
    simulator.behavior = Behavior(second_session="accept")
    with Caller(base_url) as other:
        other.log_in()
        ended = api("POST /sessions/end")
        assert ended["ClosedSessions"] == [
            {"SessionToken": api.token},
            {"SessionToken": other.token},
        ]
        assert other.refusal("GET /vms/list/[token]") == "Invalid Token"
    assert not simulator.sessions
    assert api("POST /sessions/end")["ClosedSessions"] is None


def test_sessions_end_without_a_token_tells_of_no_session_that_is_over(
    simulator: Simulator, api: Caller
) -> None:
    simulator.session_seconds = -1
    assert api("POST /sessions/end")["ClosedSessions"] is None
    assert not simulator.sessions


@pytest.mark.parametrize(
    ("form", "names"),
    [("", [*CONFIGURED, "TEST01"]), ("/0", [*CONFIGURED, "TEST01"]), ("/1", CONFIGURED)],
)
def test_vms_are_listed_all_or_the_configured_ones(
    form: str, names: list[str], api: Caller
) -> None:
    answer = api(f"GET /vms/list/[token]{form}")
    assert [vm["VirtualMachineName"] for vm in answer["VirtualMachines"]] == names


def test_each_vm_has_the_fields_that_public_clients_read(api: Caller) -> None:
    of_a_backup = ["Time", "Result", "Duration", "TransferSizeCompressed"]
    of_a_backup.append("TransferSizeUncompressed")
    fields = {
        "VirtualMachineName",
        "HostName",
        "AltaroVirtualMachineRef",
        "HypervisorVirtualMachineUuid",
        "AltaroHypervisorRef",
        "Configured",
        "NextBackupTime",
        "NextOffsiteCopyTime",
        *(f"LastBackup{field}" for field in of_a_backup),
        *(f"LastOffsiteCopy{field}" for field in of_a_backup),
    }
    for vm in api("GET /vms/list/[token]")["VirtualMachines"]:
        assert vm.keys() == fields
        for field in fields:
            # Numbers, also of backups and copies that never were (seen).
            if field.endswith(("Duration", "Compressed", "Uncompressed")):
                assert type(vm[field]) is int
        for time_field in ("NextBackupTime", "LastBackupTime"):
            assert re.fullmatch(r"\d{4}(-\d\d){5}|None", str(vm[time_field]))


@pytest.mark.parametrize(
    "call",
    [
        f"GET /vms/altaro-ref/[token]/{SQL01_ON_ITS_HYPERVISOR}",
        f"GET /vms/altaro-ref/[token]/{SQL01_ON_ITS_HYPERVISOR.upper()}",
        f"GET /vms/hypervisor-uuid/[token]/{SQL01}",
        f"GET /vms/hypervisor-uuid/[token]/{SQL01.upper()}",
    ],
)
def test_a_vm_is_found_by_either_of_its_ids(call: str, api: Caller) -> None:
    details = api(call)["VirtualMachineIdentificationDetails"]
    assert details["VirtualMachineName"] == "SQL01"
    assert details["AltaroVirtualMachineRef"] == SQL01
    assert details["HypervisorVirtualMachineUuid"] == SQL01_ON_ITS_HYPERVISOR


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("", [NAS01, DISK_E, OFFSITE01, ROTATING]),
        ("/1/1", [NAS01, DISK_E, OFFSITE01, ROTATING]),
        ("/1/0", [NAS01, DISK_E]),
        ("/0/1", [OFFSITE01, ROTATING]),
        ("/0/0", []),
    ],
)
def test_locations_are_listed_all_or_of_one_kind(
    form: str, expected: list[str], api: Caller
) -> None:
    assert ids(api(f"GET /backuplocations/[token]{form}")) == expected


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("/1/1", [NAS01, ROTATING]),
        ("/1/0", [NAS01]),
        ("/0/1", [ROTATING]),
        ("/0/0", []),
    ],
)
def test_the_locations_of_a_vm_are_listed_all_or_of_one_kind(
    form: str, expected: list[str], api: Caller
) -> None:
    assert api(f"POST {OF_SQL01}/{NAS01}")["Success"]
    assert api(f"POST {OF_SQL01}/{ROTATING}")["Success"]
    assert ids(api(f"GET {OF_SQL01}{form}")) == expected


def test_the_locations_of_a_vm_are_not_listed_without_both_flags(
    simulator: Simulator, api: Caller
) -> None:
    # No public client sends these forms: one that does has to notice.
    for form in ("", "/1"):
        response = api.send(f"GET {OF_SQL01}{form}")
        assert response.status_code in (404, 405)
        assert response.headers["Content-Type"].startswith("text/html")
    shown = {
        f"/api/rest{OF_SQL01}",
        "/api/rest/vms/backuplocations/[guid]/[guid]/1",
    }
    assert {call.path for call in simulator.calls[1:]} == shown


def test_a_location_says_its_path_and_not_its_kind(api: Caller) -> None:
    # No public client knows a field that tells primary from offsite.
    answer = api("GET /backuplocations/[token]/1/0")
    assert answer["BackupLocations"][0] == {
        "BackupLocationId": NAS01,
        "LocationPath": r"\\NAS01\VMBackups",
    }


def test_a_post_and_then_a_delete_restores_what_was(simulator: Simulator, api: Caller) -> None:
    before = dict(simulator.inventory.assignments)
    assert api.locations_of(SQL01) == []
    assert api(f"POST {OF_SQL01}/{NAS01}")["Success"]
    assert api.locations_of(SQL01) == [NAS01]
    assert api.locations_of(DC01) == [DISK_E]
    assert api(f"DELETE {OF_SQL01}/{NAS01}")["Success"]
    assert api.locations_of(SQL01) == []
    assert simulator.inventory.assignments == before


def test_upper_case_guids_are_the_same_guids(simulator: Simulator, api: Caller) -> None:
    pair = f"/vms/backuplocations/[token]/{SQL01.upper()}/{NAS01.upper()}"
    assert api(f"POST {pair}")["Success"]
    assert (SQL01, NAS01) in simulator.inventory.assignments
    assert api.locations_of(SQL01.upper()) == [NAS01]
    assert api(f"DELETE {pair}")["Success"]
    assert api.locations_of(SQL01) == []


def test_a_replica_is_listed_beside_its_vm_and_cannot_be_assigned() -> None:
    with session(Simulator(with_replica(), password=PASSWORD)) as api:
        vms = api("GET /vms/list/[token]")["VirtualMachines"]
        replica, vm = (vm for vm in vms if vm["VirtualMachineName"] == "SQL01")
        assert (replica["Configured"], vm["Configured"]) == (False, True)
        assert replica["HostName"] != vm["HostName"]
        assert vm["AltaroVirtualMachineRef"] == SQL01
        zeros = replica["AltaroVirtualMachineRef"]
        assert zeros == "00000000-0000-0000-0000-000000000000"
        configured = api("GET /vms/list/[token]/1")["VirtualMachines"]
        assert [vm["VirtualMachineName"] for vm in configured] == CONFIGURED
        for call in (
            f"POST /vms/backuplocations/[token]/{zeros}/{NAS01}",
            f"DELETE /vms/backuplocations/[token]/{zeros}/{NAS01}",
            f"GET /vms/backuplocations/[token]/{zeros}/1/1",
            f"GET /vms/hypervisor-uuid/[token]/{zeros}",
        ):
            assert api.refusal(call) == "The virtual machine was not found"


# Envelope and refusals


@pytest.mark.parametrize(
    "call", ["GET /protocol/version", "POST /sessions/end", *CALLS_IN_A_SESSION]
)
def test_success_comes_in_an_envelope_of_four_fields(call: str, api: Caller) -> None:
    answer = api(call)
    assert answer["Success"] is True
    for field in ("ErrorCode", "ErrorMessage", "ErrorAdditionalDetails"):
        assert answer[field] is None


@pytest.mark.parametrize("call", CALLS_IN_A_SESSION)
def test_an_unknown_session_is_an_invalid_token_in_the_same_envelope(
    call: str, simulator: Simulator, api: Caller
) -> None:
    before = dict(simulator.inventory.assignments)
    mine, api.token = api.token, NOWHERE
    assert api(call) == {
        "Success": False,
        "ErrorCode": "InvalidToken",
        "ErrorMessage": "Invalid Token",
        "ErrorAdditionalDetails": None,
    }
    assert simulator.inventory.assignments == before
    assert list(simulator.sessions) == [mine]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (f"GET /vms/backuplocations/[token]/{NOWHERE}/1/1", "The virtual machine was not found"),
        (f"GET /vms/backuplocations/[token]/{NOWHERE}/1/0", "The virtual machine was not found"),
        (f"POST /vms/backuplocations/[token]/{NOWHERE}/{NAS01}", "virtual machine was not found"),
        (f"DELETE /vms/backuplocations/[token]/{NOWHERE}/{NAS01}", "machine was not found"),
        (f"GET /vms/hypervisor-uuid/[token]/{NOWHERE}", "The virtual machine was not found"),
        (f"GET /vms/altaro-ref/[token]/{NOWHERE}", "The virtual machine was not found"),
        (f"GET /vms/altaro-ref/[token]/{SQL01}", "The virtual machine was not found"),
        (f"POST {OF_SQL01}/{NOWHERE}", "The backup location was not found"),
        (f"POST {OF_SQL01}/{SQL02}", "The backup location was not found"),
        (f"DELETE {OF_SQL01}/{NOWHERE}", "is not assigned to the location"),
        (f"POST /vms/backuplocations/[token]/{TEST01}/{NAS01}", "machine is not configured"),
        ("GET /vms/backuplocations/[token]/SQL01/1/1", "The parameter is not a GUID"),
        (f"POST /vms/backuplocations/[token]/SQL01/{NAS01}", "The parameter is not a GUID"),
        (f"DELETE /vms/backuplocations/[token]/SQL01/{NAS01}", "The parameter is not a GUID"),
        (f"POST {OF_SQL01}/NAS01", "The parameter is not a GUID"),
        (f"DELETE {OF_SQL01}/NAS01", "The parameter is not a GUID"),
        (f"POST {OF_SQL01}/{NAS01}0", "The parameter is not a GUID"),
        ("GET /vms/hypervisor-uuid/[token]/SQL01", "The parameter is not a GUID"),
        ("GET /vms/altaro-ref/[token]/None", "The parameter is not a GUID"),
    ],
)
def test_a_wrong_parameter_is_refused_with_http_200_and_changes_nothing(
    call: str, message: str, simulator: Simulator, api: Caller
) -> None:
    before = dict(simulator.inventory.assignments)
    answer = api(call)
    assert answer.keys() == {"Success", "ErrorCode", "ErrorMessage", "ErrorAdditionalDetails"}
    assert answer["Success"] is False
    assert answer["ErrorCode"]
    assert message in answer["ErrorMessage"]
    assert simulator.inventory.assignments == before


def test_the_locations_of_a_vm_that_is_not_configured_can_be_asked_for(api: Caller) -> None:
    assert api.locations_of(TEST01) == []


# Sessions


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"Password": "wrong"}, "LoginFailed"),
        ({"Password": PASSWORD.lower()}, "LoginFailed"),
        ({"Password": None}, "LoginFailed"),
        ({"Password": ""}, "LoginFailed"),
        ({"Username": "Nobody"}, "LoginFailed"),
        ({"Username": None}, "LoginFailed"),
        ({"ServerPort": "35107"}, "ConnectionFailed"),
        ({"ServerPort": "36013"}, "ConnectionFailed"),
        ({"ServerPort": None}, "ConnectionFailed"),
    ],
)
def test_a_wrong_login_is_refused(
    changes: dict[str, str | None], code: str, simulator: Simulator, base_url: str
) -> None:
    with Caller(base_url) as api:
        answer = api("POST /sessions/start", {**LOGIN, **changes})
    assert (answer["Success"], answer["ErrorCode"]) == (False, code)
    assert answer["ErrorMessage"]
    assert "Data" not in answer
    assert not simulator.tokens
    assert not simulator.sessions


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"Username=Administrator",
        b'{"Username": ',
        b"[]",
        b'"Administrator"',
        b"null",
        b"\xff\xfe",
        b"[" * 100_000,
        b"{}",
    ],
    ids=lambda body: repr(body[:20]),
)
def test_a_login_that_is_no_json_object_is_refused(
    body: bytes, simulator: Simulator, base_url: str
) -> None:
    with Caller(base_url) as api:
        response = api.http.post(f"{base_url}/sessions/start", data=body, timeout=5)
    assert response.status_code == 200
    assert response.json()["Success"] is False
    assert not simulator.sessions


def test_a_session_dies_when_nothing_calls() -> None:
    simulator = Simulator(password=PASSWORD, session_seconds=0.05)
    with session(simulator) as api:
        time.sleep(0.1)
        assert api.refusal("GET /vms/list/[token]") == "Invalid Token"
        assert api.refusal("POST /sessions/end/[token]") == "Invalid Token"
        assert not simulator.sessions
        first = api.token
        api.log_in()
        assert api.token != first


def test_each_call_renews_the_life_of_its_session(simulator: Simulator, api: Caller) -> None:
    for _ in range(3):
        simulator.sessions[api.token] -= 200  # so long ago was the last call
        assert api("GET /vms/list/[token]")["Success"]
    simulator.sessions[api.token] -= 301
    assert api.refusal("GET /vms/list/[token]") == "Invalid Token"


def test_a_refused_call_renews_the_life_of_its_session_too(
    simulator: Simulator, api: Caller
) -> None:
    for _ in range(3):
        simulator.sessions[api.token] -= 200
        assert api.refusal(f"POST {OF_SQL01}/{NOWHERE}") == "The backup location was not found"


def test_sessions_without_an_end_are_still_only_those_that_were_started() -> None:
    with session(Simulator(password=PASSWORD, session_seconds=math.inf)) as api:
        assert api("GET /vms/list/[token]")["Success"]
        api.token = NOWHERE
        assert api.refusal("GET /vms/list/[token]") == "Invalid Token"


# The Host header, paths and methods


@pytest.mark.parametrize(
    "host",
    [
        "vmb01",
        "vmb01:36013",
        "127.0.0.1",
        "127.0.0.1:36013",
        "[::1]:36013",
        "localhost.contoso.com",
        "local host",
        "",
    ],
)
def test_a_request_for_another_host_name_is_a_bad_request(
    host: str, simulator: Simulator, api: Caller
) -> None:
    api.http.headers["Host"] = host
    response = api.send(f"POST {OF_SQL01}/{NAS01}")
    assert response.status_code == 400
    assert "hostname is invalid" in response.text
    assert (SQL01, NAS01) not in simulator.inventory.assignments


def test_a_request_without_a_host_name_is_a_bad_request(base_url: str) -> None:
    connection = http.client.HTTPConnection(urlsplit(base_url).netloc, timeout=5)
    connection.putrequest("GET", "/api/rest/protocol/version", skip_host=True)
    connection.endheaders()
    assert connection.getresponse().status == 400
    connection.close()


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "localhost:36013", "localhost:1"])
def test_localhost_with_any_port_is_answered(host: str, api: Caller) -> None:
    api.http.headers["Host"] = host
    assert api("GET /vms/list/[token]")["Success"]


def test_a_base_url_may_end_with_a_slash(simulator: Simulator, api: Caller) -> None:
    api.base_url += "/"
    assert api("GET /vms/list/[token]")["Success"]
    assert simulator.calls[-1].path == "/api/rest/vms/list/[token]"


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/nothing",
        "/protocol",
        "/protocol//version",
        "///protocol/version",
        "/backuplocations",
        "/backuplocations/[token]/1",
        "/backuplocations/[token]/1/x",
        "/backuplocations/[token]/1/-1",
        "/vms/list",
        "/vms/list/[token]/yes",
        "/vms/backuplocations/[token]",
        f"{OF_SQL01}/1/0/1",
        f"{OF_SQL01}/{NAS01}/1",
    ],
)
def test_an_unknown_path_is_not_found(path: str, api: Caller) -> None:
    assert api.send(f"GET {path}").status_code == 404


@pytest.mark.parametrize(
    "call",
    [
        "GET /sessions/start",
        "GET /sessions/end",
        "GET /sessions/end/[token]",
        "DELETE /sessions/end/[token]",
        "POST /protocol/version",
        "POST /vms/list/[token]",
        "POST /backuplocations/[token]",
        f"GET {OF_SQL01}/{NAS01}",
        f"PUT {OF_SQL01}/{NAS01}",
    ],
)
def test_a_wrong_method_is_not_allowed_and_does_nothing(
    call: str, simulator: Simulator, api: Caller
) -> None:
    before = dict(simulator.inventory.assignments)
    assert api.send(call).status_code == 405
    assert simulator.inventory.assignments == before
    assert list(simulator.sessions) == [api.token]


# Odd calls


@pytest.mark.parametrize(
    ("choice", "message"), [("accept", ""), ("refuse", "The virtual machine is assigned already")]
)
def test_a_second_post_of_a_pair(choice: str, message: str) -> None:
    with session(behaving(second_post=choice)) as api:
        assert api.refusal(f"POST {OF_SQL01}/{NAS01}") == ""
        assert api.refusal(f"POST {OF_SQL01}/{NAS01}") == message
        assert api.locations_of(SQL01) == [NAS01]


@pytest.mark.parametrize(
    ("choice", "message"),
    [("accept", ""), ("refuse", "The virtual machine is not assigned to the location")],
)
def test_a_delete_of_a_pair_that_is_not_assigned(choice: str, message: str) -> None:
    with session(behaving(unassigned_delete=choice)) as api:
        assert api.refusal(f"DELETE {OF_SQL01}/{DISK_E}") == message
        assert api.refusal(f"DELETE /vms/backuplocations/[token]/{DC01}/{NAS01}") == message
        assert api.locations_of(DC01) == [DISK_E]


def test_the_locations_of_an_unknown_vm_are_refused() -> None:
    with session(behaving(unknown_vm="refuse")) as api:
        message = api.refusal(f"GET /vms/backuplocations/[token]/{NOWHERE}/1/1")
        assert message == "The virtual machine was not found"


def test_the_locations_of_an_unknown_vm_are_an_empty_list() -> None:
    with session(behaving(unknown_vm="empty")) as api:
        assert api.locations_of(NOWHERE) == []
        assert api.refusal("GET /vms/backuplocations/[token]/SQL01/1/1") == (
            "The parameter is not a GUID"
        )
        assert api.refusal(f"POST /vms/backuplocations/[token]/{NOWHERE}/{NAS01}") == (
            "The virtual machine was not found"
        )


@pytest.mark.parametrize(
    ("choice", "message", "locations"),
    [
        ("allow", "", [NAS01, DISK_E, OFFSITE01]),
        ("refuse", "The virtual machine has a location", [DISK_E, OFFSITE01]),
        ("move", "", [NAS01, OFFSITE01]),
    ],
)
def test_a_second_primary_location(choice: str, message: str, locations: list[str]) -> None:
    with session(behaving(second_primary=choice)) as api:
        of_dc01 = f"/vms/backuplocations/[token]/{DC01}"
        assert api.refusal(f"POST {of_dc01}/{OFFSITE01}") == ""
        assert api.refusal(f"POST {of_dc01}/{NAS01}") == message
        assert api.locations_of(DC01) == locations


@pytest.mark.parametrize("choice", ["allow", "refuse", "move"])
def test_a_second_offsite_or_a_repeated_primary_is_no_second_primary(choice: str) -> None:
    with session(behaving(second_primary=choice)) as api:
        for location in (DISK_E, OFFSITE01, ROTATING):
            assert api.refusal(f"POST /vms/backuplocations/[token]/{DC01}/{location}") == ""
        assert api.locations_of(DC01) == [DISK_E, OFFSITE01, ROTATING]


@pytest.mark.parametrize(
    ("choice", "details"), [("accept", None), ("refuse", "AnotherConsoleIsRegistered")]
)
def test_a_second_session(choice: str, details: str | None) -> None:
    with session(behaving(second_session=choice)) as api:
        second = api("POST /sessions/start", LOGIN)
        assert second["Success"] is (details is None)
        assert second["ErrorAdditionalDetails"] == details
        assert api("POST /sessions/end/[token]")["Success"]
        assert api("POST /sessions/start", LOGIN)["Success"]


DEAD = {
    "envelope": (200, "Invalid Token"),
    "other words": (200, "Log in again to go on"),
    "unauthorized": (401, ""),
    "forbidden": (403, ""),
    "page": (500, "<title>Server error</title>"),
}


@pytest.mark.parametrize("choice", DEAD)
@pytest.mark.parametrize("call", CALLS_IN_A_SESSION)
def test_the_token_of_a_session_that_is_over(choice: str, call: str) -> None:
    simulator = behaving(invalid_token=choice)
    status, text = DEAD[choice]
    with session(simulator) as api:
        before = dict(simulator.inventory.assignments)
        simulator.sessions.clear()
        answer = api.send(call)
        assert answer.status_code == status
        assert bool(answer.content) == bool(text)
        assert text in answer.text
        if status == 200:
            assert answer.json()["Success"] is False
            assert ("Invalid Token" in answer.text) is (choice == "envelope")
        assert simulator.inventory.assignments == before
        assert api.log_in()(call)["Success"]


@pytest.mark.parametrize(
    ("choice", "status", "code"),
    [
        ("envelope", 200, "LoginFailed"),
        ("unauthorized", 401, None),
        ("server error", 500, "LoginFailed"),
    ],
)
@pytest.mark.parametrize("wrong", [{"Password": "wrong"}, {"Username": "wrong"}])
def test_a_wrong_user_name_or_password(
    choice: str, status: int, code: str | None, wrong: dict[str, str]
) -> None:
    with serve(behaving(wrong_password=choice)) as base_url, Caller(base_url) as api:
        answer = api.send("POST /sessions/start", {**LOGIN, **wrong})
        assert answer.status_code == status
        assert (answer.json()["ErrorCode"] if answer.content else None) == code
        assert api("POST /sessions/start", {**LOGIN, "ServerPort": 1})["Success"] is False
        assert api("POST /sessions/start", LOGIN)["Success"]


def names(api: Caller, form: str = "") -> list[str]:
    return [
        vm["VirtualMachineName"] for vm in api(f"GET /vms/list/[token]{form}")["VirtualMachines"]
    ]


def assert_all_but_the_list_works(api: Caller) -> None:
    for call in CALLS_IN_A_SESSION:
        assert api(call)["Success"]


def test_a_server_that_was_restarted_lists_no_vms_and_all_else_works() -> None:
    simulator = behaving(vm_list="none")
    with session(simulator) as api:
        assert names(api) == names(api, "/0") == names(api, "/1") == []
        assert_all_but_the_list_works(api)
        simulator.behavior = Behavior()
        assert names(api.log_in(), "/1") == CONFIGURED


def test_the_vms_of_a_host_that_is_off_are_not_listed_and_all_else_works(
    simulator: Simulator, api: Caller
) -> None:
    simulator.hosts_off = {"HV-01"}  # SQL01 is on it
    assert names(api) == names(api, "/1") == ["SQL02", "FILE01", "WEB01", "WEB02"]
    assert_all_but_the_list_works(api)
    api.log_in()
    simulator.hosts_off = {"HV-02", "HV-03"}
    assert names(api) == ["DC01", "SQL01", "EXCH01", "TEST01"]
    simulator.hosts_off |= {"HV-01"}
    assert names(api) == []
    simulator.hosts_off.clear()
    assert names(api, "/1") == CONFIGURED


def test_a_session_that_expired_does_not_stand_in_the_way_of_another() -> None:
    simulator = behaving(second_session="refuse")
    simulator.session_seconds = -1
    with session(simulator) as api:
        assert api("POST /sessions/start", LOGIN)["Success"]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"second_post": "refused"}, "second_post is 'refused': use accept or refuse."),
        ({"second_primary": ""}, "second_primary is '': use allow or refuse or move."),
        ({"unknown_vm": None}, "unknown_vm is None: use refuse or empty."),
        ({"unknown_vm": ["empty"]}, "unknown_vm is ['empty']: use refuse or empty."),
        ({"lag_seconds": -0.1}, "lag_seconds is -0.1: use a number of seconds from 0 to 86400."),
        ({"lag_seconds": math.nan}, "lag_seconds is nan: use "),
        ({"lag_seconds": 86_401}, "lag_seconds is 86401: use "),
        ({"lag_seconds": "1"}, "lag_seconds is '1': use "),
        ({"lag_seconds": True}, "lag_seconds is True: use "),
    ],
)
def test_a_wrong_behavior_is_an_error_that_says_what_to_use(
    wrong: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValueError, match=r"\.$") as raised:
        Behavior(**wrong)
    assert str(raised.value).startswith(says)


# A listing that lags behind


def test_the_locations_of_a_vm_are_listed_as_they_were_before_changes() -> None:
    simulator = behaving(lag_seconds=60)
    of_dc01 = f"/vms/backuplocations/[token]/{DC01}"
    with session(simulator) as api:
        for call in (f"POST {OF_SQL01}/{NAS01}", f"DELETE {of_dc01}/{DISK_E}"):
            assert api.refusal(call) == ""
        assert api.refusal(f"POST {OF_SQL01}/{OFFSITE01}") == ""
        assert (api.locations_of(SQL01), api.locations_of(DC01)) == ([], [DISK_E])
        assert ids(api(f"GET {OF_SQL01}/1/0")) == []
        assert list(simulator.inventory.assignments) == [(SQL01, NAS01), (SQL01, OFFSITE01)]
        simulator.behavior = Behavior(lag_seconds=0)  # as if so long ago
        assert (api.locations_of(SQL01), api.locations_of(DC01)) == ([NAS01, OFFSITE01], [])


def test_each_change_is_listed_when_its_own_time_is_over() -> None:
    simulator = behaving(lag_seconds=60)
    with session(simulator) as api:
        assert api.refusal(f"POST {OF_SQL01}/{NAS01}") == ""
        between = time.monotonic()
        time.sleep(0.3)
        assert api.refusal(f"POST {OF_SQL01}/{OFFSITE01}") == ""
        simulator.behavior = Behavior(lag_seconds=time.monotonic() - between)
        assert api.locations_of(SQL01) == [NAS01]
        wait_for(lambda: api.locations_of(SQL01) == [NAS01, OFFSITE01])


def test_a_change_is_listed_after_the_time_and_not_before() -> None:
    with session(behaving(lag_seconds=0.3)) as api:
        began = time.monotonic()
        assert api.refusal(f"POST {OF_SQL01}/{NAS01}") == ""
        wait_for(lambda: api.locations_of(SQL01) == [NAS01])
        assert time.monotonic() - began >= 0.3
        assert api.refusal(f"DELETE {OF_SQL01}/{NAS01}") == ""
        assert api.locations_of(SQL01) == [NAS01]


def test_changes_see_at_once_what_a_listing_does_not_show_yet() -> None:
    simulator = behaving(lag_seconds=60, second_post="refuse", second_primary="refuse")
    with session(simulator) as api:
        assert api.refusal(f"POST {OF_SQL01}/{NAS01}") == ""
        assert api.refusal(f"POST {OF_SQL01}/{NAS01}") == "The virtual machine is assigned already"
        assert api.refusal(f"POST {OF_SQL01}/{DISK_E}") == "The virtual machine has a location"
        assert api.refusal(f"DELETE {OF_SQL01}/{NAS01}") == ""
        assert api.refusal(f"DELETE {OF_SQL01}/{NAS01}") == (
            "The virtual machine is not assigned to the location"
        )
        assert api.locations_of(SQL01) == []


# Console and slow answers


def test_no_session_starts_while_the_console_is_connected(
    simulator: Simulator, api: Caller
) -> None:
    simulator.console_connected = True
    refused = api("POST /sessions/start", LOGIN)
    assert refused["Success"] is False
    assert refused["ErrorAdditionalDetails"] == "AnotherConsoleIsRegistered"
    wrong = api("POST /sessions/start", {**LOGIN, "Password": "wrong"})
    assert wrong["ErrorCode"] == "LoginFailed"
    assert api("GET /vms/list/[token]")["Success"]  # of the session that was there before
    assert api("POST /sessions/end/[token]")["Success"]
    assert api("POST /sessions/start", LOGIN)["Success"] is False
    simulator.console_connected = False
    assert api("POST /sessions/start", LOGIN)["Success"]


def test_an_answer_takes_its_time(simulator: Simulator, api: Caller) -> None:
    simulator.answer_seconds = 0.2
    began = time.monotonic()
    assert api("GET /protocol/version")["Success"]
    assert time.monotonic() - began >= 0.2


def test_calls_wait_at_the_same_time(simulator: Simulator, base_url: str) -> None:
    simulator.behavior = Behavior(second_session="accept")
    simulator.answer_seconds = 60
    url = urlsplit(base_url)
    body = json.dumps(LOGIN).encode()
    request = (
        f"POST {url.path}/sessions/start HTTP/1.1\r\nHost: localhost\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with ExitStack() as stack:
        for _ in range(20):
            slow = stack.enter_context(socket.create_connection((url.hostname, url.port)))
            slow.sendall(request.encode() + body)
        wait_for(lambda: len(simulator.sessions) == 20)
        assert not simulator.calls  # which are those that are answered


def test_an_answer_that_takes_long_comes_after_the_server_acted(
    simulator: Simulator, api: Caller
) -> None:
    simulator.answer_seconds = 60
    url = urlsplit(api.base_url)
    with socket.create_connection((url.hostname, url.port), timeout=5) as slow:
        path = f"{url.path}{OF_SQL01}/{NAS01}".replace("[token]", api.token)
        slow.sendall(f"POST {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        wait_for(lambda: simulator.inventory.locations_of(SQL01) == [NAS01])
        simulator.answer_seconds = 0
        assert api.locations_of(SQL01) == [NAS01]
        slow.setblocking(False)
        with pytest.raises(BlockingIOError):
            slow.recv(1)


# API versions


@pytest.mark.parametrize(
    ("version", "path", "port", "wrong_port", "wrong_path"),
    [
        ("8", "/api", "35107", "36014", "/api/rest"),
        ("9.0", "/api", "36014", "35107", "/api/rest"),
        ("9.1", "/api/rest", "36014", "35107", "/api"),
    ],
)
def test_an_api_version_has_its_base_path_and_server_port(
    version: str, path: str, port: str, wrong_port: str, wrong_path: str
) -> None:
    simulator = Simulator(password=PASSWORD, api_version=version)
    with serve(simulator) as base_url, Caller(base_url) as api:
        assert urlsplit(base_url).path == path
        refused = api("POST /sessions/start", {**LOGIN, "ServerPort": wrong_port})
        assert refused["ErrorMessage"] == "Unable to connect to the VM Backup server"
        api.token = api("POST /sessions/start", {**LOGIN, "ServerPort": port})["Data"]
        assert api("GET /vms/list/[token]")["Success"]
        api.base_url = base_url.removesuffix(path) + wrong_path
        assert api.send("GET /protocol/version").status_code == 404


# The state file


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state.json"


def assignments_in(state: Path) -> list[tuple[str, str]]:
    return list(Inventory.load(state).assignments)


def test_the_state_file_is_written_after_each_change(state: Path) -> None:
    with session(Simulator(password=PASSWORD, state_file=state)) as api:
        api(f"POST {OF_SQL01}/{NAS01}")
        assert assignments_in(state) == [(DC01, DISK_E), (SQL01, NAS01)]
        api(f"DELETE /vms/backuplocations/[token]/{DC01}/{DISK_E}")
        assert assignments_in(state) == [(SQL01, NAS01)]
    assert [each.name for each in state.parent.iterdir()] == ["state.json"]


def test_the_state_file_is_not_written_without_a_change(state: Path) -> None:
    with session(Simulator(password=PASSWORD, state_file=state)) as api:
        api(f"GET {OF_SQL01}/1/1")
        api(f"POST {OF_SQL01}/{NOWHERE}")
        api(f"POST /vms/backuplocations/[token]/{DC01}/{DISK_E}")
        api(f"DELETE {OF_SQL01}/{NAS01}")
    assert not state.exists()


def test_a_server_goes_on_from_the_state_file_of_another(state: Path) -> None:
    with session(Simulator(password=PASSWORD, state_file=state)) as api:
        api(f"POST {OF_SQL01}/{ROTATING}")
        before = api("GET /vms/list/[token]"), api("GET /backuplocations/[token]/0/1")
    with session(Simulator(Inventory.load(state), password=PASSWORD)) as api:
        assert api.locations_of(SQL01) == [ROTATING]
        assert api.locations_of(DC01) == [DISK_E]
        assert before == (api("GET /vms/list/[token]"), api("GET /backuplocations/[token]/0/1"))


def test_a_change_that_cannot_be_written_is_refused_and_not_made(tmp_path: Path) -> None:
    state = tmp_path / "folder" / "state.json"
    simulator = Simulator(
        password=PASSWORD, state_file=state, behavior=Behavior(second_primary="move")
    )
    post = f"POST /vms/backuplocations/[token]/{DC01}/{NAS01}"
    delete = f"DELETE /vms/backuplocations/[token]/{DC01}/{DISK_E}"
    with session(simulator) as api:
        for call in (post, delete):
            assert api.refusal(call) == (
                f"The inventory file {state} cannot be written: No such file or directory."
            )
            assert api.locations_of(DC01) == [DISK_E]
        state.parent.mkdir()
        assert api.refusal(post) == ""
        assert api.locations_of(DC01) == [NAS01]
    assert assignments_in(state) == [(DC01, NAS01)]


def test_changes_of_many_callers_at_once_are_all_made_and_written(state: Path) -> None:
    several = Behavior(second_session="accept")
    simulator = Simulator(password=PASSWORD, state_file=state, behavior=several)
    vms = (SQL01, SQL02, FILE01, EXCH01)

    def assign_to_all_locations(vm_ref: str) -> None:
        with Caller(base_url) as api:
            api.log_in()
            for location in (NAS01, DISK_E, OFFSITE01, ROTATING):
                assert api(f"POST /vms/backuplocations/[token]/{vm_ref}/{location}")["Success"]

    with serve(simulator) as base_url, ThreadPoolExecutor(len(vms)) as pool:
        list(pool.map(assign_to_all_locations, vms))
    assert len(simulator.inventory.assignments) == 1 + len(vms) * 4
    assert Inventory.load(state) == simulator.inventory


# What is recorded and logged


def test_calls_are_recorded_with_a_placeholder_for_the_token(
    simulator: Simulator, api: Caller
) -> None:
    api("GET /vms/list/[token]")
    api(f"POST {OF_SQL01}/{NAS01}")
    api.send("GET /nothing/[token]")
    api.send(f"PUT {OF_SQL01}/{NAS01}")
    api("POST /sessions/end/[token]")
    api.http.headers["Host"] = "vmb01"
    api.send("GET /vms/list/[token]")
    assert [(call.method, call.path, call.status) for call in simulator.calls] == [
        ("POST", "/api/rest/sessions/start", 200),
        ("GET", "/api/rest/vms/list/[token]", 200),
        ("POST", f"/api/rest{OF_SQL01}/{NAS01}", 200),
        ("GET", "/api/rest/nothing/[guid]", 404),
        ("PUT", "/api/rest/vms/backuplocations/[guid]/[guid]/[guid]", 405),
        ("POST", "/api/rest/sessions/end/[token]", 200),
        ("GET", "/api/rest/vms/list/[guid]", 400),
    ]


def test_the_log_has_each_call_and_no_token_and_no_password(
    simulator: Simulator, base_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with Caller(base_url) as api:
        api("POST /sessions/start", {**LOGIN, "Password": "wrong-one"})
        api.log_in()
        for call in CALLS_IN_A_SESSION:
            api(call)
            api.send(call.replace("/vms/", "/nothing/"))
            api.send(call.replace("GET", "PUT"))
        api.token = api.token.upper()
        api("GET /vms/list/[token]")
        api.send("GET /nothing/[token]")
        # urllib3 logs at debug, too.
        logged = [each.getMessage() for each in caplog.records if "simulator" in each.name]
        assert "GET /api/rest/vms/list/[token] 200" in logged
        assert "POST /api/rest/sessions/start 200" in logged
        assert len(logged) == len(simulator.calls)
        shown = repr((logged, simulator.calls)).lower()
        for secret in (api.token, PASSWORD, "wrong-one"):
            assert secret.lower() not in shown
