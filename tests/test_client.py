"""client.py: calls, envelope, sessions and errors.

Against `responses` for what a server may answer, and over real HTTP for connections and sessions.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import requests
import responses
import trustme
from responses import matchers
from sample import DC01, DISK_E, EXCH01, NAS01, NOWHERE, OFFSITE01, PASSWORD, ROTATING, SQL01
from simulator.caller import wait_for

from pulumi_vmbackup import (
    ArgumentError,
    BackupLocation,
    BusyError,
    LoginError,
    LostAnswerError,
    RefusedError,
    SettingsError,
    UnreachableError,
    VmBackupError,
)
from pulumi_vmbackup.client import Client, pauses
from pulumi_vmbackup.errors import Hint
from pulumi_vmbackup.models import VirtualMachine
from pulumi_vmbackup.program import worded
from pulumi_vmbackup.settings import Settings, read_settings
from pulumi_vmbackup.simulator import Behavior, Fault, Inventory, Simulator, serve

BASE = "http://localhost:36013/api/rest"
TOKEN = "e65aedeb-a0e7-440c-8309-1cc0bcd920db"
OTHER_TOKEN = "f76bfedc-a0e7-440c-8309-1cc0bcd920db"
OK = {"Success": True, "ErrorCode": None, "ErrorMessage": None, "ErrorAdditionalDetails": None}
BUSY = {**OK, "Success": False, "ErrorAdditionalDetails": "AnotherConsoleIsRegistered"}
SESSION_IS_OVER = {**OK, "Success": False, "ErrorMessage": "Invalid Token"}
REFUSED_WITH_SPACES = {**OK, "Success": False, "ErrorMessage": "the  e  d"}
PAIR_URL = f"{BASE}/vms/backuplocations/{TOKEN}/{SQL01}/{NAS01}"


@pytest.fixture
def api() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock() as mock:
        yield mock


@pytest.fixture
def in_session() -> Iterator[Client]:
    """A client whose session somebody else started and will end."""
    with Client(Settings(base_url=BASE, session_token=TOKEN)) as client:
        yield client


LOGIN = Settings(base_url=BASE, username="backup", password=PASSWORD, domain="CONTOSO")


@pytest.fixture
def logging_in() -> Iterator[Client]:
    with Client(LOGIN) as client:
        yield client


def starts_session(api: responses.RequestsMock, token: str = TOKEN) -> None:
    api.post(f"{BASE}/sessions/start", json={**OK, "Data": token})


def ends_session(api: responses.RequestsMock, token: str = TOKEN) -> None:
    api.post(f"{BASE}/sessions/end/{token}", json=OK)


def methods_and_paths(api: responses.RequestsMock) -> list[str]:
    return [
        f"{call.request.method} {str(call.request.url).removeprefix(BASE)}" for call in api.calls
    ]


# Calls


def test_assign_is_one_post_of_the_pair(api: responses.RequestsMock, in_session: Client) -> None:
    api.post(PAIR_URL, json=OK)
    in_session.assign(SQL01, NAS01)
    assert len(api.calls) == 1


def test_unassign_is_one_delete_of_the_pair(
    api: responses.RequestsMock, in_session: Client
) -> None:
    api.delete(PAIR_URL, json=OK)
    in_session.unassign(SQL01, NAS01)
    assert len(api.calls) == 1


def test_only_guids_become_parts_of_a_path(api: responses.RequestsMock, in_session: Client) -> None:
    with pytest.raises(ArgumentError, match=r"'\.\./sessions/end' is not a GUID"):
        in_session.unassign("../sessions/end", NAS01)
    assert not api.calls


def test_locations_are_read_as_values_and_unknown_fields_are_ignored(
    api: responses.RequestsMock, in_session: Client
) -> None:
    items: list[dict[str, Any]] = [
        {"BackupLocationId": NAS01.upper(), "LocationPath": r"\\NAS01\VMBackups", "Size": 1},
        {"BackupLocationId": f"{{{DISK_E}}}", "LocationPath": None},
    ]
    api.get(f"{BASE}/backuplocations/{TOKEN}/1/0", json={**OK, "BackupLocations": items})
    assert in_session.backup_locations("primary") == [
        BackupLocation(NAS01, r"\\NAS01\VMBackups", "primary"),
        BackupLocation(DISK_E, None, "primary"),
    ]


@pytest.mark.parametrize(
    ("kind", "path"), [(None, "/1/1"), ("primary", "/1/0"), ("offsite", "/0/1")]
)
def test_the_locations_of_a_vm_are_all_or_of_one_kind(
    kind: Any, path: str, api: responses.RequestsMock, in_session: Client
) -> None:
    item = {"BackupLocationId": NAS01, "LocationPath": "x"}
    api.get(
        f"{BASE}/vms/backuplocations/{TOKEN}/{SQL01}{path}", json={**OK, "BackupLocations": [item]}
    )
    assert in_session.vm_backup_locations(SQL01, kind) == [BackupLocation(NAS01, "x", kind)]


def test_virtual_machines_are_read_as_typed_values(
    api: responses.RequestsMock, in_session: Client
) -> None:
    items = [
        {"AltaroVirtualMachineRef": SQL01.upper(), "VirtualMachineName": "SQL01"},
        {"AltaroVirtualMachineRef": DC01, "VirtualMachineName": "", "Configured": False},
        {"AltaroVirtualMachineRef": None, "VirtualMachineName": "unmanaged"},
        {"AltaroVirtualMachineRef": "N/A", "VirtualMachineName": "unmanaged"},
    ]
    api.get(f"{BASE}/vms/list/{TOKEN}", json={**OK, "VirtualMachines": items})
    assert in_session.virtual_machines() == [
        VirtualMachine(SQL01, "SQL01"),
        VirtualMachine(DC01, None, configured=False),
        VirtualMachine(None, "unmanaged"),
        VirtualMachine(None, "unmanaged"),
    ]


def test_what_the_server_tells_of_backups_is_typed_and_what_cannot_be_read_is_none(
    api: responses.RequestsMock, in_session: Client
) -> None:
    whole = {
        "AltaroVirtualMachineRef": SQL01,
        "VirtualMachineName": "SQL01",
        "HostName": "HV-01",
        "HypervisorVirtualMachineUuid": "2b1e1885-283b-43a6-ac2e-a417b99de255",
        "Configured": True,
        "NextBackupTime": "2026-03-02-22-00-00",
        "LastBackupTime": "2026-03-01-22-00-59",
        "LastBackupResult": "Success",
        "LastBackupDuration": "697",
        "LastBackupTransferSizeCompressed": 3_000_000_000,
        "LastOffsiteCopyTime": "",
        "LastOffsiteCopyResult": None,
        "LastOffsiteCopyDuration": True,
        "NextOffsiteCopyTime": "tomorrow",
    }
    api.get(f"{BASE}/vms/list/{TOKEN}", json={**OK, "VirtualMachines": [whole]})
    assert in_session.virtual_machines() == [
        VirtualMachine(
            SQL01,
            "SQL01",
            host="HV-01",
            configured=True,
            hypervisor_uuid="2b1e1885-283b-43a6-ac2e-a417b99de255",
            next_backup_time=datetime(2026, 3, 2, 22, 0, 0),
            last_backup_time=datetime(2026, 3, 1, 22, 0, 59),
            last_backup_result="Success",
            last_backup_duration=697,
            last_backup_transfer_size_compressed=3_000_000_000,
        )
    ]


def test_each_request_says_localhost_and_follows_no_redirect_and_has_a_time_limit(
    api: responses.RequestsMock,
) -> None:
    api.get(
        f"{BASE}/backuplocations/{TOKEN}/1/0",
        json={**OK, "BackupLocations": []},
        match=[
            matchers.header_matcher({"Host": "localhost:36013"}),
            matchers.request_kwargs_matcher(
                {"timeout": 7, "stream": True, "verify": True, "cert": None, "proxies": {}}
            ),
        ],
    )
    settings = Settings(
        base_url=BASE, session_token=TOKEN, host_header="localhost:36013", timeout_seconds=7
    )
    with Client(settings) as client:
        assert client.backup_locations("primary") == []


# Envelope


@pytest.mark.parametrize(
    ("envelope", "words"),
    [
        (
            {"ErrorCode": "E1", "ErrorMessage": "No such VM", "ErrorAdditionalDetails": "x"},
            'the server says "E1 / No such VM / x".',
        ),
        ({"ErrorMessage": "No such VM"}, 'the server says "No such VM".'),
        ({"ErrorMessage": "No\r\n  such VM"}, 'the server says "No such VM".'),
        (
            {"ErrorMessage": "\x1b[31mNo\u202e such VM\x07"},
            'the server says "[31mNo such VM".',
        ),
        ({"ErrorMessage": f"{TOKEN.replace('-', '').upper()}"}, 'the server says "[secret]".'),
        ({"ErrorCode": 7}, 'the server says "7".'),
        ({}, "the server gives no reason (HTTP 200)."),
        ({"ErrorMessage": f"{TOKEN} has no such VM"}, 'the server says "[secret] has no such VM".'),
    ],
)
def test_a_refusal_is_in_the_servers_own_words(
    envelope: dict[str, object], words: str, api: responses.RequestsMock, in_session: Client
) -> None:
    api.post(PAIR_URL, json={"Success": False, **envelope})
    with pytest.raises(RefusedError) as raised:
        in_session.assign(SQL01, NAS01)
    assert str(raised.value) == words
    assert len(api.calls) == 1


def test_an_endless_refusal_is_cut(api: responses.RequestsMock, in_session: Client) -> None:
    api.post(PAIR_URL, json={"Success": False, "ErrorMessage": "x" * 10_000})
    with pytest.raises(RefusedError) as raised:
        in_session.assign(SQL01, NAS01)
    assert len(str(raised.value)) < 600


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (200, "", "not the VM Backup API's (HTTP 200, 0 bytes)"),
        (200, "<html>Sign in</html>", "not the VM Backup API's (HTTP 200, 20 bytes)"),
        (200, "[]", "not the VM Backup API's"),
        (200, "{}", "not the VM Backup API's"),
        (200, '{"Success": "true"}', "not the VM Backup API's"),
        (200, '{"Success": tr', "not the VM Backup API's"),
        (200, "[" * 100_000, "not the VM Backup API's"),
        (500, "Internal Server Error", "not the VM Backup API's (HTTP 500, 21 bytes)"),
        (
            404,
            "",
            f"No VM Backup API is at {BASE} (HTTP 404). Check vmbackup:apiVersion and baseUrl.",
        ),
        (302, "", "answers with a redirect (HTTP 302), which is not followed"),
        (400, "The request hostname is invalid", "`pulumi config set vmbackup:hostHeader`"),
    ],
)
def test_an_answer_that_is_not_the_apis_tells_what_to_check(
    status: int, body: str, says: str, api: responses.RequestsMock, in_session: Client
) -> None:
    elsewhere = {"Location": f"http://evil.example/{TOKEN}"}
    api.post(PAIR_URL, body=body, status=status, headers=elsewhere)
    with pytest.raises(LostAnswerError) as raised:
        in_session.assign(SQL01, NAS01)
    assert says in worded(raised.value)
    assert TOKEN not in worded(raised.value)
    assert len(api.calls) == 1


def test_success_with_a_failing_status_is_no_success(
    api: responses.RequestsMock, in_session: Client
) -> None:
    api.post(PAIR_URL, json=OK, status=500)
    with pytest.raises(RefusedError, match=r"no reason \(HTTP 500\)"):
        in_session.assign(SQL01, NAS01)


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        ({}, "has no list of BackupLocations"),
        ({"BackupLocations": {"BackupLocationId": NAS01}}, "has no list of BackupLocations"),
        ({"BackupLocations": [NAS01]}, "has no list of BackupLocations"),
        ({"BackupLocations": [{}]}, "an item whose BackupLocationId is not a GUID"),
        ({"BackupLocations": [{"BackupLocationId": 1}]}, "BackupLocationId is not a GUID"),
    ],
)
def test_a_listing_that_cannot_be_read_is_never_an_empty_one(
    payload: dict[str, object], says: str, api: responses.RequestsMock, in_session: Client
) -> None:
    api.get(f"{BASE}/vms/backuplocations/{TOKEN}/{SQL01}/1/1", json={**OK, **payload})
    with pytest.raises(LostAnswerError, match=says):
        in_session.vm_backup_locations(SQL01)


def test_a_read_is_tried_three_times_and_a_write_once(
    api: responses.RequestsMock, in_session: Client
) -> None:
    api.get(f"{BASE}/vms/list/{TOKEN}", status=500)
    with pytest.raises(LostAnswerError):
        in_session.virtual_machines()
    assert len(api.calls) == 3
    api.delete(PAIR_URL, status=500)
    with pytest.raises(LostAnswerError):
        in_session.unassign(SQL01, NAS01)
    assert len(api.calls) == 4


def test_a_read_survives_two_lost_answers(api: responses.RequestsMock, in_session: Client) -> None:
    url = f"{BASE}/vms/list/{TOKEN}"
    api.get(url, status=500)
    api.get(url, body=requests.ConnectionError(f"reset at {url}"))
    api.get(url, json={**OK, "VirtualMachines": []})
    assert in_session.virtual_machines() == []


def test_an_error_inside_the_server_may_pass_whatever_its_answer_looks_like(
    api: responses.RequestsMock, in_session: Client
) -> None:
    url = f"{BASE}/vms/list/{TOKEN}"
    api.get(url, json={"Success": False, "ErrorCode": "InternalError"}, status=500)
    api.get(url, json={**OK, "VirtualMachines": []})
    assert in_session.virtual_machines() == []


def test_a_refused_read_is_not_repeated(api: responses.RequestsMock, in_session: Client) -> None:
    api.get(f"{BASE}/vms/list/{TOKEN}", json={"Success": False})
    with pytest.raises(RefusedError):
        in_session.virtual_machines()
    assert len(api.calls) == 1


# Sessions


def test_a_session_is_started_with_the_account_and_ended_by_close(
    api: responses.RequestsMock, logging_in: Client
) -> None:
    api.post(
        f"{BASE}/sessions/start",
        json={**OK, "Data": TOKEN},
        match=[
            matchers.json_params_matcher(
                {
                    "ServerAddress": "LOCALHOST",
                    "ServerPort": "36014",
                    "Username": "backup",
                    "Password": PASSWORD,
                    "Domain": "CONTOSO",
                }
            )
        ],
    )
    api.post(PAIR_URL, json=OK)
    ends_session(api)
    logging_in.assign(SQL01, NAS01)
    logging_in.close()
    assert methods_and_paths(api) == [
        "POST /sessions/start",
        f"POST /vms/backuplocations/{TOKEN}/{SQL01}/{NAS01}",
        f"POST /sessions/end/{TOKEN}",
    ]


def test_close_without_a_call_sends_nothing(
    api: responses.RequestsMock, logging_in: Client
) -> None:
    logging_in.close()
    assert not api.calls


def test_a_given_session_is_neither_started_nor_ended(
    api: responses.RequestsMock, in_session: Client
) -> None:
    api.get(f"{BASE}/vms/list/{TOKEN}", json={**OK, "VirtualMachines": []})
    in_session.virtual_machines()
    in_session.close()
    assert methods_and_paths(api) == [f"GET /vms/list/{TOKEN}"]


def test_a_given_session_that_is_over_tells_how_to_go_on(
    api: responses.RequestsMock, in_session: Client
) -> None:
    api.get(f"{BASE}/vms/list/{TOKEN}", json=SESSION_IS_OVER)
    with pytest.raises(SettingsError) as raised:
        in_session.virtual_machines()
    assert "Set VMBACKUP_SESSION_TOKEN or run" in worded(raised.value)
    assert len(api.calls) == 1


def test_a_session_that_is_over_is_renewed_once(
    api: responses.RequestsMock, logging_in: Client
) -> None:
    starts_session(api)
    api.post(PAIR_URL, json=SESSION_IS_OVER)
    starts_session(api, OTHER_TOKEN)
    api.post(PAIR_URL.replace(TOKEN, OTHER_TOKEN), json=OK)
    ends_session(api, OTHER_TOKEN)
    logging_in.assign(SQL01, NAS01)
    logging_in.close()


def test_a_server_that_forgets_each_session_is_not_asked_for_ever(
    api: responses.RequestsMock, logging_in: Client
) -> None:
    starts_session(api)
    api.post(PAIR_URL, json=SESSION_IS_OVER)
    with pytest.raises(BusyError, match="6 sessions in a row were over at once"):
        logging_in.assign(SQL01, NAS01)
    assert len(api.calls) == 12
    logging_in.close()


@pytest.mark.parametrize("password", ["Token", "console", "a", "e  d"])
def test_a_password_that_occurs_in_the_servers_words_hides_none_of_their_meaning(
    password: str, api: responses.RequestsMock
) -> None:
    api.post(f"{BASE}/sessions/start", json=BUSY)
    starts_session(api)
    api.post(PAIR_URL, json=SESSION_IS_OVER)
    starts_session(api, OTHER_TOKEN)
    api.post(PAIR_URL.replace(TOKEN, OTHER_TOKEN), json=REFUSED_WITH_SPACES)
    ends_session(api, OTHER_TOKEN)
    with Client(replace(LOGIN, password=password)) as client:
        with pytest.raises(RefusedError) as raised:
            client.assign(SQL01, NAS01)
        assert "the  e  d" not in str(raised.value)


def test_a_server_that_was_waited_for_in_vain_is_asked_once_by_the_next_call(
    api: responses.RequestsMock,
) -> None:
    api.post(f"{BASE}/sessions/start", json=BUSY)
    with Client(replace(LOGIN, session_wait_seconds=0.05)) as client:
        with pytest.raises(BusyError):
            client.assign(SQL01, NAS01)
        before = len(api.calls)
        with pytest.raises(BusyError):
            client.assign(SQL01, NAS01)
        assert len(api.calls) == before + 1


def test_a_busy_server_is_waited_for_again_once_it_has_taken_a_session(
    simulator: Simulator, settings: Settings
) -> None:
    with Client(replace(settings, session_wait_seconds=0.3)) as client:
        simulator.console_connected = True
        with pytest.raises(BusyError):
            client.virtual_machines()
        simulator.console_connected = False
        client.virtual_machines()
        simulator.sessions.clear()
        simulator.console_connected = True
        simulator.calls.clear()
        with pytest.raises(BusyError):
            client.virtual_machines()
        assert len(simulator.calls) > 1


def test_a_token_in_braces_is_used_and_hidden_without_them(api: responses.RequestsMock) -> None:
    starts_session(api, f"{{{TOKEN}}}")
    api.post(PAIR_URL, json={"Success": False, "ErrorMessage": f"no {TOKEN}"})
    ends_session(api)
    with Client(LOGIN) as client, pytest.raises(RefusedError, match=r"\"no \[secret\]\""):
        client.assign(SQL01, NAS01)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            Settings(base_url=BASE),
            "No username for VM Backup is known, and no password. Set VMBACKUP_USERNAME or run "
            "`pulumi config set vmbackup:username`. Set VMBACKUP_PASSWORD or run "
            "`pulumi config set --secret vmbackup:password`.",
        ),
        (
            Settings(base_url=BASE, username="backup"),
            "No password for VM Backup is known. Set VMBACKUP_PASSWORD or run "
            "`pulumi config set --secret vmbackup:password`.",
        ),
    ],
)
def test_missing_credentials_are_named_before_anything_is_sent(
    settings: Settings, says: str, api: responses.RequestsMock
) -> None:
    with Client(settings) as client, pytest.raises(SettingsError) as raised:
        client.virtual_machines()
    assert worded(raised.value) == says
    assert not api.calls


@pytest.mark.parametrize(
    ("username", "sent"),
    [
        (r"CONTOSO\svc", {"Username": "svc", "Domain": "CONTOSO"}),
        ("svc@contoso.com", {"Username": "svc", "Domain": "contoso.com"}),
        (r".\svc", {"Username": "svc", "Domain": ""}),
    ],
)
def test_a_domain_in_the_user_name_is_sent_as_the_domain(
    username: str, sent: dict[str, str], api: responses.RequestsMock
) -> None:
    config: dict[str, object] = {"baseUrl": BASE, "username": username, "password": PASSWORD}
    login = matchers.json_params_matcher(sent, strict_match=False)
    api.post(f"{BASE}/sessions/start", json={**OK, "Data": TOKEN}, match=[login])
    api.post(PAIR_URL, json=OK)
    ends_session(api)
    with Client(read_settings(config.get, {})) as client:
        client.assign(SQL01, NAS01)


def test_a_refused_login_names_the_account_and_is_not_sent_again(
    api: responses.RequestsMock, logging_in: Client
) -> None:
    refusal = {"Success": False, "ErrorMessage": f"{PASSWORD} is wrong"}
    api.post(f"{BASE}/sessions/start", json=refusal)
    for _ in range(3):
        with pytest.raises(LoginError) as raised:
            logging_in.assign(SQL01, NAS01)
        assert str(raised.value).startswith(
            r"VM Backup refused the login of CONTOSO\backup to LOCALHOST:36014: the server says "
            '"[secret] is wrong".'
        )
        assert Hint.RUN_PROGRAM in raised.value.advice
    assert len(api.calls) == 1


def test_an_error_inside_the_server_is_no_refused_login(
    api: responses.RequestsMock, logging_in: Client
) -> None:
    api.post(f"{BASE}/sessions/start", json={"Success": False}, status=500)
    starts_session(api)
    api.get(f"{BASE}/vms/list/{TOKEN}", json={**OK, "VirtualMachines": []})
    ends_session(api)
    assert logging_in.virtual_machines() == []
    logging_in.close()


def test_a_busy_server_is_waited_for(api: responses.RequestsMock, logging_in: Client) -> None:
    for _ in range(3):
        api.post(f"{BASE}/sessions/start", json=BUSY)
    starts_session(api)
    api.post(PAIR_URL, json=OK)
    ends_session(api)
    logging_in.assign(SQL01, NAS01)
    logging_in.close()


def test_a_server_that_stays_busy_is_an_error_that_says_what_to_close(
    api: responses.RequestsMock,
) -> None:
    api.post(f"{BASE}/sessions/start", json=BUSY)
    with (
        Client(replace(LOGIN, session_wait_seconds=0.05)) as client,
        pytest.raises(BusyError) as raised,
    ):
        client.assign(SQL01, NAS01)
    assert 'within 0.05 seconds: the server says "AnotherConsoleIsRegistered".' in str(raised.value)
    for culprit in ("Management Console", "monitoring exporter", "a run that was killed"):
        assert culprit in str(raised.value)
    assert 1 < len(api.calls) < 8


def test_a_read_tries_a_lost_session_start_three_times(
    api: responses.RequestsMock, logging_in: Client
) -> None:
    api.post(f"{BASE}/sessions/start", status=502)
    with pytest.raises(UnreachableError, match=r"not the VM Backup API's \(HTTP 502"):
        logging_in.virtual_machines()
    assert len(api.calls) == 3


def test_a_session_start_without_a_token_is_an_error(
    api: responses.RequestsMock, logging_in: Client
) -> None:
    api.post(f"{BASE}/sessions/start", json={**OK, "Data": "../x"})
    with pytest.raises(UnreachableError, match="sent no session token"):
        logging_in.assign(SQL01, NAS01)


def test_a_session_that_nobody_knows_the_token_of_is_waited_for_until_it_is_idle_for_long(
    simulator: Simulator, settings: Settings
) -> None:
    simulator.behavior = Behavior(second_session="refuse")
    simulator.session_seconds = 0.3
    simulator.faults = [Fault("reset", "POST /sessions/start")]
    with Client(replace(settings, session_wait_seconds=0.05)) as client:
        client.virtual_machines()
    assert simulator.calls[1].path.endswith("/sessions/start")
    assert len(simulator.tokens) == 2


def test_it_is_not_waited_for_any_longer_than_it_can_live_nor_when_waiting_is_not_wanted(
    simulator: Simulator, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pulumi_vmbackup.session.UNKNOWN_SESSION_SECONDS", 0.2)
    simulator.console_connected = True
    cases = ((0.05, r"within 0\.\d* seconds: the"), (0, "accepted no session: the"))
    for session_wait_seconds, says in cases:
        simulator.faults = [Fault("reset", "POST /sessions/start")]
        simulator.calls.clear()
        waits = replace(settings, session_wait_seconds=session_wait_seconds)
        with Client(waits) as client, pytest.raises(BusyError, match=says):
            client.virtual_machines()
    assert len(simulator.calls) == 2


def test_a_session_that_cannot_be_ended_fails_nothing(
    api: responses.RequestsMock, logging_in: Client
) -> None:
    starts_session(api)
    api.post(PAIR_URL, json=OK)
    ending = api.post(f"{BASE}/sessions/end/{TOKEN}", status=500)
    logging_in.assign(SQL01, NAS01)
    logging_in.close()
    assert ending.call_count == 2


@pytest.mark.parametrize("acted", [True, False])
def test_a_session_whose_end_was_lost_is_ended_all_the_same(
    acted: bool, simulator: Simulator, settings: Settings
) -> None:
    simulator.faults = [Fault("reset", "POST /sessions/end", acted=acted)]
    with Client(settings) as client:
        client.virtual_machines()
    assert not simulator.sessions


PROGRAM_THAT_ENDS_AS_ITS_IDLE_SESSION_DOES = """\
import json
import sys
import time
import traceback

from pulumi_vmbackup import client, session
from pulumi_vmbackup.settings import Settings, read_settings

session.IDLE_SECONDS = 0.05
client.Client(Settings(**json.loads(sys.argv[1]))).virtual_machines()
time.sleep(0.5)
"""


def test_a_process_that_ends_while_its_idle_session_does_leaves_no_session_open(
    simulator: Simulator, settings: Settings
) -> None:
    simulator.faults = [Fault("stall", "POST /sessions/end", acted=False)]
    program = PROGRAM_THAT_ENDS_AS_ITS_IDLE_SESSION_DOES
    subprocess.run([sys.executable, "-c", program, json.dumps(asdict(settings))], check=True)
    assert [fault.hits for fault in simulator.faults] == [1]
    assert not simulator.sessions


def test_threads_share_one_session_and_at_most_four_connections(
    simulator: Simulator, client: Client
) -> None:
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(client.vm_backup_locations, [SQL01, DC01, EXCH01] * 20))
    client.close()
    assert len(simulator.calls) == 62
    assert len(simulator.tokens) == 1
    assert simulator.connections <= 4
    assert not simulator.sessions


def test_threads_that_find_the_session_over_share_the_new_one(
    simulator: Simulator, client: Client
) -> None:
    client.virtual_machines()
    simulator.sessions.clear()
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(client.vm_backup_locations, [SQL01, DC01, EXCH01] * 4))
    assert len(simulator.tokens) == 2


def test_threads_that_waited_for_a_failing_session_start_share_its_failure(
    simulator: Simulator, settings: Settings
) -> None:
    def fails(_: int) -> str:
        with pytest.raises(LoginError) as raised:
            client.virtual_machines()
        return str(raised.value)

    with Client(replace(settings, password="wrong")) as client, ThreadPoolExecutor(4) as threads:
        assert len(set(threads.map(fails, range(8)))) == 1
    assert [call.path for call in simulator.calls] == ["/api/rest/sessions/start"]


def test_threads_that_fail_together_share_their_session_starts_and_come_back_apart(
    simulator: Simulator, settings: Settings
) -> None:
    simulator.faults = [Fault("error", "POST /sessions/start", times=None)]
    together = threading.Barrier(4)

    def fails(_: int) -> None:
        together.wait(10)
        with pytest.raises(UnreachableError):
            client.virtual_machines()

    with Client(settings) as client, ThreadPoolExecutor(4) as threads:
        list(threads.map(fails, range(4)))
    assert 3 <= len(simulator.calls) <= 3 * 4
    assert len({tuple(pauses()) for _ in range(4)}) == 4


def test_an_idle_session_is_ended_and_the_next_call_starts_another(
    simulator: Simulator, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pulumi_vmbackup.session.IDLE_SECONDS", 0.05)
    with Client(settings) as client:
        for sessions in (1, 2):
            client.virtual_machines()
            assert len(simulator.tokens) == sessions
            deadline = time.monotonic() + 10
            while simulator.sessions and time.monotonic() < deadline:
                time.sleep(0.01)
            assert not simulator.sessions


# Whatever loses an answer, it is one error to all but the client. So one kind of fault is enough
# for the sweeps of tests/reliability.

AT_ONCE = ["reset", "cut short", "html", "error"]


def timeout_for(kind: str) -> float:
    return 0.3 if kind == "stall" else 60


@pytest.mark.parametrize("kind", [*AT_ONCE, "stall"])
@pytest.mark.parametrize("acted", [True, False], ids=["acted", "not acted"])
def test_a_write_whose_answer_is_lost_is_one_error(
    kind: Any, acted: bool, simulator: Simulator, settings: Settings
) -> None:
    fault = Fault(kind, "POST /vms", acted=acted)
    simulator.faults.append(fault)
    with Client(settings) as another:
        another.log_in()  # so that the one call whose time is limited is the one that is lost
        (token,) = simulator.sessions
        limited = replace(settings, session_token=token, timeout_seconds=timeout_for(kind))
        with Client(limited) as client, pytest.raises(VmBackupError) as raised:
            client.assign(SQL01, NAS01)
        wait_for(lambda: fault.hits == 1)
    assert type(raised.value) is LostAnswerError
    assert ((SQL01, NAS01) in simulator.inventory.assignments) is acted


@pytest.mark.parametrize("kind", [*AT_ONCE, "stall"])
def test_a_session_start_whose_answer_is_lost_is_one_error(
    kind: Any, simulator: Simulator, settings: Settings
) -> None:
    simulator.faults.append(Fault(kind, "POST /sessions/start", acted=False))
    with (
        Client(replace(settings, timeout_seconds=timeout_for(kind))) as client,
        pytest.raises(VmBackupError) as raised,
    ):
        client.assign(SQL01, NAS01)
    assert type(raised.value) is UnreachableError
    wait_for(lambda: len(simulator.calls) == 1)


@pytest.mark.parametrize("kind", AT_ONCE)
def test_a_read_and_the_end_of_a_session_survive_whatever_loses_their_answer(
    kind: Any, simulator: Simulator, settings: Settings
) -> None:
    simulator.faults += [Fault(kind, "GET"), Fault(kind, "POST /sessions/end", acted=False)]
    with Client(settings) as client:
        assert client.virtual_machines()
    assert [fault.hits for fault in simulator.faults] == [1, 1]
    assert not simulator.sessions


# The way to the server


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        return int(listener.getsockname()[1])


def failure_at(base_url: str, **settings: Any) -> VmBackupError:
    settings = {"session_token": TOKEN, "host_header": "localhost", **settings}
    with (
        Client(Settings(base_url=base_url, **settings)) as client,
        pytest.raises(VmBackupError) as raised,
    ):
        client.assign(SQL01, NAS01)
    error = raised.value
    assert error.__cause__ is None
    assert TOKEN not in str(error)
    context = error.__context__
    while context:
        assert TOKEN not in str(context)
        context = context.__context__
    return error


@pytest.mark.parametrize(
    ("version", "service"),
    [
        ("8", '"Altaro VM Backup API Service" (it is off by default)'),
        ("9.0", '"Hornetsecurity VM Backup API Service" (it is off by default)'),
        (
            "9.1",
            "of VM Backup (before V9.1, the API is a service of its own, which is off by default)",
        ),
    ],
)
def test_a_stopped_server_is_unreachable_and_the_service_of_its_version_is_named(
    version: str, service: str
) -> None:
    base_url = f"http://127.0.0.1:{free_port()}/api/rest"
    error = failure_at(base_url, api_version=version)
    assert isinstance(error, UnreachableError)
    start = f"start the Windows service{'s' if version == '9.1' else ''} {service}. The API answers"
    assert str(error).startswith(
        f"No VM Backup API answers at {base_url}: on the VM Backup machine, {start}"
    )


def test_a_host_name_that_nobody_knows_is_said_to_be_one() -> None:
    error = failure_at("https://vmb01.invalid:36013/api/rest")
    assert isinstance(error, UnreachableError)
    assert "host name of https://vmb01.invalid:36013/api/rest cannot be resolved" in str(error)


@pytest.fixture
def raw_server() -> Iterator[RawServer]:
    server = RawServer()
    yield server
    server.stop()


class RawServer:
    """Answers each connection with the bytes it is given, then closes or stalls it."""

    def __init__(self) -> None:
        self.answer = b""
        self.trickles = b""
        self.stalls = False
        self._done = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.base_url = f"http://127.0.0.1:{self._listener.getsockname()[1]}/api/rest"
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with connection:
                if self._done.is_set():
                    return
                connection.recv(65536)
                connection.sendall(self.answer)
                with suppress(OSError):  # of a client that gives up
                    for _ in range(250 if self.trickles else 0):
                        if not self._done.wait(0.02):
                            connection.sendall(self.trickles)
                if self.stalls:
                    self._done.wait(10)

    def stop(self) -> None:
        self._done.set()
        with socket.create_connection(self._listener.getsockname()):
            self._thread.join()
        self._listener.close()


def test_a_connection_that_breaks_loses_the_answer(raw_server: RawServer) -> None:
    error = failure_at(raw_server.base_url)
    assert isinstance(error, LostAnswerError)
    assert "broke before the answer was complete" in str(error)


def test_an_answer_cut_short_is_lost(raw_server: RawServer) -> None:
    body = json.dumps(OK).encode()
    raw_server.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + body
    error = failure_at(raw_server.base_url)
    assert isinstance(error, LostAnswerError)
    assert "broke before the answer was complete" in str(error)


def test_a_server_that_stalls_is_given_up_after_the_time_limit(raw_server: RawServer) -> None:
    raw_server.stalls = True
    error = failure_at(raw_server.base_url, timeout_seconds=0.1)
    assert isinstance(error, LostAnswerError)
    assert "did not answer within 0.1 seconds" in str(error)


@pytest.mark.parametrize(
    ("headers", "trickles"),
    [(b"Content-Length: 100000\r\n", b"x"), (b"Transfer-Encoding: chunked\r\n", b"1\r\nx\r\n")],
    ids=["with a length", "in chunks"],
)
def test_an_answer_that_trickles_is_given_up_after_the_time_limit(
    headers: bytes, trickles: bytes, raw_server: RawServer
) -> None:
    raw_server.answer = b"HTTP/1.1 200 OK\r\n" + headers + b"\r\n"
    raw_server.trickles = trickles
    error = failure_at(raw_server.base_url, timeout_seconds=0.1)
    assert isinstance(error, LostAnswerError)
    assert "did not answer within 0.1 seconds" in str(error)


def test_an_answer_without_an_end_is_not_read_into_memory(
    raw_server: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pulumi_vmbackup.transport.LONGEST_ANSWER_BYTES", 2**20)
    raw_server.answer = b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (2**20 + 1)
    error = failure_at(raw_server.base_url)
    assert isinstance(error, LostAnswerError)
    assert "longer than 1 MiB" in str(error)


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def https_url(simulator: Simulator, authority: trustme.CA, tmp_path: Path) -> Iterator[str]:
    certificate = tmp_path / "server.pem"
    authority.issue_cert("127.0.0.1", "localhost").private_key_and_cert_chain_pem.write_to_path(
        str(certificate)
    )
    with serve(simulator, certificate=certificate) as base_url:
        yield base_url


def test_https_with_a_private_certificate_works_with_its_ca_file(
    simulator: Simulator, https_url: str, settings: Settings, authority: trustme.CA, tmp_path: Path
) -> None:
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    with Client(replace(settings, base_url=https_url, ca_file=str(ca_file))) as client:
        assert [each.id for each in client.vm_backup_locations(DC01)] == [DISK_E]
        client.assign(DC01, OFFSITE01)
    assert (DC01, OFFSITE01) in simulator.inventory.assignments
    assert simulator.connections == 1


def test_a_private_certificate_is_not_trusted_without_its_ca_file(
    simulator: Simulator, https_url: str
) -> None:
    error = failure_at(https_url)
    assert isinstance(error, UnreachableError)
    assert "is not accepted (unable to get local issuer certificate)" in str(error)
    assert (
        "To trust this certificate only, set VMBACKUP_CA_FILE or run `pulumi config set "
        "vmbackup:caFile`, to the file that `vmbackup doctor --save-certificate FILE` writes."
    ) in worded(error)
    assert not simulator.calls


def test_a_certificate_of_another_name_is_not_trusted(
    simulator: Simulator, authority: trustme.CA, tmp_path: Path
) -> None:
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    certificate = tmp_path / "server.pem"
    authority.issue_cert("vmb01.contoso.com").private_key_and_cert_chain_pem.write_to_path(
        str(certificate)
    )
    with serve(simulator, certificate=certificate) as base_url:
        error = failure_at(base_url, ca_file=str(ca_file))
    assert "is for vmb01.contoso.com, not for 127.0.0.1." in str(error)
    assert not simulator.calls


def test_tls_that_fails_on_the_way_back_may_have_sent_something(https_url: str) -> None:
    error = failure_at(https_url)
    assert isinstance(error, UnreachableError)
    plain = failure_at(https_url.replace("https", "http"))
    assert isinstance(plain, LostAnswerError)


def test_plain_http_to_an_https_port_says_so(https_url: str) -> None:
    error = failure_at(https_url.replace("https", "http"))
    assert "whether the address should begin with https://." in str(error)


def test_https_to_a_plain_http_port_says_so(base_url: str) -> None:
    error = failure_at(base_url.replace("http", "https"))
    assert "whether the address should begin with http://." in str(error)


def test_no_proxy_is_used_for_this_machine(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Set before the client is made, as a program's environment is.
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{free_port()}")
    with Client(settings) as another:
        assert another.virtual_machines()


def test_a_proxy_that_does_not_answer_is_named_for_other_machines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{free_port()}")
    error = failure_at("https://vmb01.contoso.com/api/rest")
    assert "The proxy on the way to https://vmb01.contoso.com/api/rest refuses or" in str(error)


def test_a_simulator_that_is_addressed_by_another_name_is_explained(base_url: str) -> None:
    error = failure_at(base_url, host_header="vmb01")
    assert "refuses the Host header (HTTP 400)" in str(error)


def test_a_whole_round_over_http(simulator: Simulator, client: Client) -> None:
    client.assign(SQL01, NAS01)
    client.assign(SQL01, ROTATING)
    assert [each.id for each in client.vm_backup_locations(SQL01)] == [NAS01, ROTATING]
    assert [each.id for each in client.vm_backup_locations(SQL01, "offsite")] == [ROTATING]
    client.unassign(SQL01, NAS01)
    assert simulator.inventory.locations_of(SQL01) == [ROTATING]
    with pytest.raises(RefusedError, match="The virtual machine was not found"):
        client.assign(NOWHERE, NAS01)
    assert client.backup_locations("offsite") == [
        BackupLocation(OFFSITE01, r"\\OFFSITE01\VMBackups", "offsite"),
        BackupLocation(ROTATING, "Rotating disks", "offsite"),
    ]
    assert len(client.virtual_machines()) == len(Inventory.sample().virtual_machines)


def test_pauses_are_between_half_and_one_and_a_half_times_a_second_or_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pulumi_vmbackup.client.FIRST_PAUSE_SECONDS", 0.5)
    for _ in range(100):
        first, second = pauses()
        assert 0.25 <= first <= 0.75
        assert 0.5 <= second <= 1.5


def test_a_thread_that_hears_late_that_the_session_is_over_uses_the_new_one(
    api: responses.RequestsMock, logging_in: Client
) -> None:
    is_sent, is_renewed = threading.Event(), threading.Event()

    def answer_late(_: object) -> tuple[int, dict[str, str], str]:
        is_sent.set()
        is_renewed.wait(30)
        return 200, {}, json.dumps(SESSION_IS_OVER)

    locations = f"{BASE}/vms/backuplocations/{{}}/{SQL01}/1/1"
    starts_session(api)
    api.add_callback("GET", locations.format(TOKEN), answer_late)
    api.get(f"{BASE}/vms/list/{TOKEN}", json=SESSION_IS_OVER)
    starts_session(api, OTHER_TOKEN)
    api.get(f"{BASE}/vms/list/{OTHER_TOKEN}", json={**OK, "VirtualMachines": []})
    api.get(locations.format(OTHER_TOKEN), json={**OK, "BackupLocations": []})
    ends_session(api, OTHER_TOKEN)
    with ThreadPoolExecutor(1) as threads:
        late = threads.submit(logging_in.vm_backup_locations, SQL01)
        is_sent.wait(30)
        logging_in.virtual_machines()
        is_renewed.set()
        assert late.result() == []
    logging_in.close()
    assert methods_and_paths(api).count("POST /sessions/start") == 2


def test_no_cookie_is_kept(api: responses.RequestsMock, in_session: Client) -> None:
    api.post(PAIR_URL, json=OK, headers={"Set-Cookie": "site=1; Path=/"})
    in_session.assign(SQL01, NAS01)
    in_session.assign(SQL01, NAS01)
    assert "Cookie" not in api.calls[1].request.headers


def test_the_traceback_of_an_error_of_the_connection_holds_no_token() -> None:
    error = failure_at(f"http://127.0.0.1:{free_port()}/api")
    assert TOKEN not in "".join(traceback.format_exception(error))


def test_a_password_with_two_spaces_is_hidden(api: responses.RequestsMock) -> None:
    api.post(PAIR_URL, json={"Success": False, "ErrorMessage": "two  spaces is wrong"})
    settings = Settings(base_url=BASE, session_token=TOKEN, password="two  spaces")
    with Client(settings) as client, pytest.raises(RefusedError) as raised:
        client.assign(SQL01, NAS01)
    assert str(raised.value) == 'the server says "[secret] is wrong".'
