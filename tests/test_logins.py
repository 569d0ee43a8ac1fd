"""session.py: logins that fail, as real servers answer them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
import responses
from sample import NAS01, PASSWORD, SQL01

from pulumi_vmbackup import BusyError, LoginError, VmBackupError
from pulumi_vmbackup.client import Client
from pulumi_vmbackup.settings import Settings

BASE = "http://localhost:36013/api/rest"
LOGIN = Settings(username="svc-backup", password=PASSWORD, domain="CONTOSO")
WRONG = {"Success": False, "ErrorMessage": "The user name or password is incorrect"}
OK = {"Success": True}
UNKNOWN_WORDS = {"Success": False, "ErrorCode": "E_1017", "ErrorMessage": "Vorgang abgebrochen"}


@pytest.fixture
def api() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


def starts_session(api: responses.RequestsMock) -> str:
    token = "e65aedeb-a0e7-440c-8309-1cc0bcd920db"
    api.post(f"{BASE}/sessions/start", json={**OK, "Data": token})
    api.post(f"{BASE}/sessions/end/{token}", json=OK)
    return token


def sent(api: responses.RequestsMock, path: str) -> int:
    return sum(path in str(call.request.url) for call in api.calls)


@pytest.mark.parametrize(
    "answer",
    [
        {"json": WRONG},
        {"json": WRONG, "status": 500},
        {"json": WRONG, "status": 401},
        {"status": 401},
        {"status": 403, "body": "<html>Forbidden</html>"},
        {"json": {"Success": False, "ErrorCode": "LoginFailed"}},
        {"json": {"Success": False, "ErrorMessage": "Benutzername oder Kennwort ist falsch."}},
        {"json": {"Success": False, "ErrorMessage": "Le mot de passe est incorrect"}},
        {"json": {"Success": False, "ErrorMessage": "The referenced account is locked out"}},
        {"json": {"Success": False, "ErrorMessage": "This account is already locked out"}},
        {"json": {"Success": False, "ErrorCode": "LOGON_FAILURE"}},
        {"json": {"Success": False, "ErrorCode": "InvalidUser"}},
        {"json": {"Success": False, "ErrorCode": "AccessDenied"}},
        {"json": {"Success": False, "ErrorMessage": "Anmeldung fehlgeschlagen"}},
        {"json": {"Success": False, "ErrorMessage": "Access is denied"}, "status": 500},
    ],
    ids=lambda answer: str(answer)[:60],
)
def test_a_refused_account_is_sent_once_by_the_whole_process(
    answer: dict[str, Any], api: responses.RequestsMock
) -> None:
    api.post(f"{BASE}/sessions/start", **answer)
    for settings in (LOGIN, LOGIN, replace(LOGIN, timeout_seconds=10)):
        with Client(settings) as client, ThreadPoolExecutor(8) as threads:
            calls = [threads.submit(client.assign, SQL01, NAS01) for _ in range(8)]
            for call in calls:
                with pytest.raises(LoginError, match=r"refused the login of CONTOSO\\svc-backup"):
                    call.result()
    assert sent(api, "sessions/start") == 1
    with Client(replace(LOGIN, password="another")) as client, pytest.raises(LoginError):
        client.assign(SQL01, NAS01)
    assert sent(api, "sessions/start") == 2


@pytest.mark.parametrize("status", [200, 500])
def test_an_unknown_refusal_of_a_login_is_tried_again_and_may_pass(
    status: int, api: responses.RequestsMock
) -> None:
    for _ in range(2):
        api.post(f"{BASE}/sessions/start", json=UNKNOWN_WORDS, status=status)
    token = starts_session(api)
    api.post(f"{BASE}/vms/backuplocations/{token}/{SQL01}/{NAS01}", json=OK)
    with Client(LOGIN) as client:
        client.assign(SQL01, NAS01)
    assert sent(api, "sessions/start") == 3


def test_an_unknown_refusal_that_stays_is_no_wrong_password_and_is_sent_three_times_at_most(
    api: responses.RequestsMock,
) -> None:
    api.post(f"{BASE}/sessions/start", json=UNKNOWN_WORDS)
    for _ in range(3):
        with Client(LOGIN) as client, pytest.raises(BusyError) as raised:
            client.assign(SQL01, NAS01)
        assert str(raised.value).startswith(
            r"VM Backup started no session for CONTOSO\svc-backup at LOCALHOST:36014: the server "
            'says "E_1017 / Vorgang abgebrochen". The login was tried 3 times. The reason may be '
            "temporary, such as"
        )
        assert "password" not in str(raised.value)
    assert sent(api, "sessions/start") == 3


def test_it_is_sent_once_where_waiting_is_not_wanted(api: responses.RequestsMock) -> None:
    api.post(f"{BASE}/sessions/start", json=UNKNOWN_WORDS)
    with Client(replace(LOGIN, session_wait_seconds=0)) as client:
        for number in range(1, 6):
            with pytest.raises(BusyError):
                client.assign(SQL01, NAS01)
            assert sent(api, "sessions/start") == min(number, 3)


@pytest.mark.parametrize(
    "words",
    [
        {"ErrorAdditionalDetails": "AnotherConsoleIsRegistered"},
        {"ErrorMessage": "Another user is connected to this server"},
        {"ErrorMessage": "A Management Console is already connected"},
        {"ErrorMessage": "Another user account is already connected"},
        {"ErrorMessage": "An administrator is already logged in to the Management Console"},
        {"ErrorMessage": "The server is busy"},
    ],
    ids=str,
)
def test_a_server_that_is_held_by_something_else_is_waited_for(
    words: dict[str, str], api: responses.RequestsMock
) -> None:
    for _ in range(8):
        api.post(f"{BASE}/sessions/start", json={"Success": False, **words})
    token = starts_session(api)
    api.post(f"{BASE}/vms/backuplocations/{token}/{SQL01}/{NAS01}", json=OK)
    with Client(LOGIN) as client:
        client.assign(SQL01, NAS01)
    assert sent(api, "sessions/start") == 9


def test_an_account_that_may_start_sessions_and_call_nothing_is_told_so_after_three_sessions(
    api: responses.RequestsMock,
) -> None:
    token = starts_session(api)
    api.get(f"{BASE}/vms/list/{token}", status=403)
    with Client(LOGIN) as client:
        for _ in range(4):
            with pytest.raises(LoginError) as raised:
                client.virtual_machines()
    assert str(raised.value).startswith(
        r"VM Backup starts sessions for CONTOSO\svc-backup and refuses each call: The server at "
    )
    assert sent(api, "sessions/start") == 3


@pytest.mark.parametrize(
    "answer",
    [
        {"json": {"Success": False, "ErrorMessage": "The licence has run out"}},
        {"json": {"Success": False, "ErrorMessage": "The licence has run out"}, "status": 500},
        {"body": "<html>Forbidden</html>", "status": 500},
    ],
    ids=str,
)
def test_a_server_that_refuses_each_call_in_other_ways_costs_no_more_sessions(
    answer: dict[str, Any], api: responses.RequestsMock
) -> None:
    token = starts_session(api)
    api.get(f"{BASE}/vms/list/{token}", **answer)
    api.get(f"{BASE}/backuplocations/{token}/1/0", **answer)
    with Client(LOGIN) as client:
        for _ in range(4):
            with pytest.raises(VmBackupError, match=r"licence has run out|HTTP 500"):
                client.virtual_machines()
    assert sent(api, "sessions/start") == 3
