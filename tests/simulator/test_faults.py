"""faults.py: calls that go wrong, over real HTTP and https."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
import trustme
import urllib3
from cheroot.workers.threadpool import ThreadPool
from marks import UNDER_WINE, not_under_wine
from sample import NAS01, SQL01
from simulator.caller import LOGIN, Caller, failure, wait_for

from pulumi_vmbackup.simulator import Behavior, Fault, Simulator, serve
from pulumi_vmbackup.simulator.api import Call

PAIR = f"/vms/backuplocations/[token]/{SQL01}/{NAS01}"
POST = f"POST {PAIR}"
VERSION = "GET /protocol/version"
REQUEST = b"GET /api/rest/protocol/version HTTP/1.1\r\nHost: localhost\r\n\r\n"

KINDS = ["reset", "stall", "cut short", "html", "error", "session over", "busy", "refused"]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(file))
    return file


@pytest.fixture
def certificate(authority: trustme.CA, tmp_path: Path) -> Path:
    file = tmp_path / "certificate.pem"
    mine = authority.issue_cert("127.0.0.1")
    mine.private_key_and_cert_chain_pem.write_to_path(str(file))
    return file


@pytest.fixture
def api(base_url: str) -> Iterator[Caller]:
    with Caller(base_url) as api:
        yield api.log_in()


@pytest.fixture(params=["http", "https"])
def either(
    request: pytest.FixtureRequest, simulator: Simulator, certificate: Path, ca_file: Path
) -> Iterator[Caller]:
    """A session over http, and one over https."""
    chosen = certificate if request.param == "https" else None
    with (
        serve(simulator, certificate=chosen) as base_url,
        Caller(base_url, verify=str(ca_file)) as api,
    ):
        yield api.log_in()


def connect(api: Caller) -> socket.socket:
    """A connection that asks for the protocol version, and is read by the test."""
    url = urlsplit(api.base_url)
    connection = socket.create_connection((url.hostname, url.port), timeout=5)
    if url.scheme == "https":
        context = ssl.create_default_context(cafile=str(api.http.verify))
        connection = context.wrap_socket(connection, server_hostname=url.hostname)
    connection.sendall(REQUEST)
    return connection


def is_reset(connection: socket.socket) -> bool:
    """Whether its server resets it; OpenSSL does not tell that from an end."""
    with socket.socket(fileno=socket.dup(connection.fileno())) as below_tls:
        below_tls.settimeout(5)
        try:
            while below_tls.recv(1000):
                pass
        except ConnectionResetError:
            return True
    return False


def seen(api: Caller, call: str) -> str:
    """What becomes of a call, as its caller sees it."""
    try:
        response = api.send(call, timeout=0.3)
    except requests.RequestException as error:
        return failure(error)
    if response.headers["Content-Type"] == "application/json":
        return str(response.json()["ErrorMessage"] or "answered")
    assert response.headers["Content-Type"].startswith("text/html")
    return f"HTTP {response.status_code} in HTML"


def statuses(api: Caller, *calls: str) -> list[int]:
    return [api.send(call).status_code for call in calls]


# Kinds


@pytest.mark.parametrize(
    ("kind", "sees", "status"),
    [
        ("reset", "reset", 0),
        ("stall", "timeout", 0),
        ("cut short", "cut short", 200),
        ("html", "HTTP 200 in HTML", 200),
        ("error", "HTTP 500 in HTML", 500),
    ],
)
@pytest.mark.parametrize("acted", [True, False])
def test_a_call_goes_wrong_after_the_server_acted_or_before(
    kind: Any, sees: str, status: int, acted: bool, simulator: Simulator, either: Caller
) -> None:
    fault = Fault(kind, acted=acted)
    simulator.faults.append(fault)
    assert seen(either, POST) == sees
    assert fault.hits == 1
    assert simulator.inventory.locations_of(SQL01) == ([NAS01] if acted else [])
    assert simulator.calls[-1] == Call("POST", f"/api/rest{PAIR}", status)
    assert seen(either, f"GET {PAIR.removesuffix(NAS01)}1/1") == "answered"
    assert fault.hits == 1


@not_under_wine("a reset that came before it was asked for is told as an end")
def test_a_reset_is_one_to_tcp(simulator: Simulator, either: Caller) -> None:
    simulator.faults.append(Fault("reset"))
    with connect(either) as connection:
        assert is_reset(connection)


@pytest.mark.parametrize("kind", ["reset", "stall", "cut short", "html", "error"])
@pytest.mark.parametrize("acted", [True, False])
def test_a_session_starts_only_where_the_server_acted(
    kind: Any, acted: bool, simulator: Simulator, base_url: str
) -> None:
    simulator.faults.append(Fault(kind, acted=acted))
    with Caller(base_url) as api, suppress(requests.RequestException):
        api.send("POST /sessions/start", LOGIN, timeout=0.3)
    assert len(simulator.sessions) == acted


@pytest.mark.parametrize("acted", [True, False])
def test_the_server_forgets_all_sessions(
    acted: bool, simulator: Simulator, either: Caller, base_url: str
) -> None:
    simulator.behavior = Behavior(second_session="accept")
    other = Caller(base_url)
    with other.log_in():
        fault = Fault("session over", call="POST /vms", acted=acted)
        simulator.faults.append(fault)
        assert seen(other, VERSION) == "answered"
        assert len(simulator.sessions) == 2
        assert seen(either, POST) == "Invalid Token"
        assert (fault.hits, simulator.sessions) == (1, {})
        assert seen(other, "GET /vms/list/[token]") == "Invalid Token"
        assert seen(either.log_in(), POST) == "answered"


def test_a_session_can_start_as_the_server_forgets_the_others(
    simulator: Simulator, api: Caller
) -> None:
    simulator.faults.append(Fault("session over", call="POST /sessions/start"))
    forgotten = api.token
    api.log_in()
    assert list(simulator.sessions) == [api.token]
    assert api.token != forgotten


def test_an_answer_that_is_cut_short_was_meant_to_be_whole(
    simulator: Simulator, api: Caller
) -> None:
    whole = api.send("GET /vms/list/[token]")
    simulator.faults.append(Fault("cut short"))
    url = f"{api.base_url}/vms/list/{api.token}"
    cut = api.http.get(url, timeout=5, stream=True)
    assert (cut.status_code, cut.headers["Content-Length"]) == (200, str(len(whole.content)))
    assert cut.raw.read(len(whole.content) // 2) == whole.content[: len(whole.content) // 2]
    with pytest.raises(urllib3.exceptions.ProtocolError, match="Incomplete"):
        cut.raw.read(1)


@pytest.mark.parametrize("acted", [True, False])
def test_a_session_is_refused_as_while_a_console_is_connected(
    acted: bool, simulator: Simulator, api: Caller
) -> None:
    fault = Fault("busy", skip=1, times=2, acted=acted)
    simulator.faults.append(fault)
    sees = []
    for _ in range(4):
        api("POST /sessions/end")
        assert api(VERSION)["Success"]  # other calls do not meet it
        sees.append(api("POST /sessions/start", LOGIN)["ErrorAdditionalDetails"])
    assert sees == [None, "AnotherConsoleIsRegistered", "AnotherConsoleIsRegistered", None]
    assert (fault.hits, len(simulator.sessions), len(simulator.tokens)) == (2, 1, 3)


@pytest.mark.parametrize("acted", [True, False])
def test_a_call_is_refused_with_words_that_nobody_knows(
    acted: bool, simulator: Simulator, api: Caller
) -> None:
    fault = Fault("refused", call="POST /vms", acted=acted)
    simulator.faults.append(fault)
    assert api("GET /vms/list/[token]")["Success"]
    refused = api(POST)
    assert (refused["Success"], refused["ErrorCode"]) == (False, "MaintenanceMode")
    assert refused["ErrorMessage"]
    assert simulator.inventory.locations_of(SQL01) == []
    assert api(POST)["Success"]
    assert fault.hits == 1


# Which calls


@pytest.mark.parametrize(
    ("skip", "times", "goes_wrong"),
    [
        (0, 1, [True, False, False, False, False]),
        (0, 2, [True, True, False, False, False]),
        (2, 1, [False, False, True, False, False]),
        (1, 3, [False, True, True, True, False]),
        (0, None, [True, True, True, True, True]),
        (3, None, [False, False, False, True, True]),
        (0, 0, [False, False, False, False, False]),
    ],
)
def test_some_calls_are_skipped_and_so_many_go_wrong(
    skip: int, times: int | None, goes_wrong: list[bool], simulator: Simulator, api: Caller
) -> None:
    fault = Fault("error", skip=skip, times=times)
    simulator.faults.append(fault)
    answered = statuses(api, *[VERSION] * len(goes_wrong))
    assert [status == 500 for status in answered] == goes_wrong
    assert fault.hits == sum(goes_wrong)


@pytest.mark.parametrize(
    ("call", "hit"),
    [
        ("", [True, True, True, True, True]),
        ("GET", [True, True, False, False, False]),
        ("DELETE", [False, False, False, True, False]),
        ("POST /vms/backuplocations", [False, False, True, False, False]),
        ("GET /vms/list/[token]", [False, True, False, False, False]),
        (POST, [False, False, True, False, False]),
        ("POST /backuplocations", [False, False, False, False, False]),
        ("GET /api/rest", [False, False, False, False, False]),
    ],
)
def test_a_fault_is_about_calls_that_begin_so(
    call: str, hit: list[bool], simulator: Simulator, api: Caller
) -> None:
    simulator.faults.append(Fault("error", call=call, times=None, acted=False))
    calls = (VERSION, "GET /vms/list/[token]", POST, f"DELETE {PAIR}", "POST /sessions/end")
    assert [status == 500 for status in statuses(api, *calls)] == hit


def test_only_calls_that_a_fault_is_about_are_counted(simulator: Simulator, api: Caller) -> None:
    simulator.faults.append(Fault("error", call="POST", skip=1))
    assert statuses(api, VERSION, POST, VERSION, POST, POST) == [200, 200, 200, 500, 200]


def test_what_is_no_call_of_the_api_meets_no_fault(simulator: Simulator, api: Caller) -> None:
    fault = Fault("error", times=None)
    simulator.faults.append(fault)
    assert statuses(api, "GET /nothing", f"PUT {PAIR}") == [404, 405]
    api.http.headers["Host"] = "vmb01"
    assert statuses(api, VERSION) == [400]
    assert fault.hits == 0


def test_the_first_fault_that_meets_a_call_is_the_one(simulator: Simulator, api: Caller) -> None:
    first, second = Fault("error", call="GET"), Fault("html", times=2)
    simulator.faults += [first, second]
    sees = [seen(api, call) for call in (VERSION, POST, VERSION, VERSION)]
    assert sees == ["HTTP 500 in HTML", "HTTP 200 in HTML", "HTTP 200 in HTML", "answered"]
    assert (first.hits, second.hits) == (1, 2)


def test_faults_are_changed_while_it_runs(simulator: Simulator, api: Caller) -> None:
    fault = Fault("error", times=None)
    simulator.faults.append(fault)
    assert statuses(api, VERSION, VERSION) == [500, 500]
    fault.call = "DELETE"
    assert statuses(api, VERSION) == [200]
    simulator.faults = [Fault("html")]
    assert seen(api, f"DELETE {PAIR}") == "HTTP 200 in HTML"
    simulator.faults.append(fault)
    simulator.faults.clear()
    assert statuses(api, f"DELETE {PAIR}") == [200]
    assert fault.hits == 2


def test_of_many_calls_at_once_as_many_go_wrong_as_are_to(
    simulator: Simulator, base_url: str
) -> None:
    fault = Fault("error", skip=7, times=30)
    simulator.faults.append(fault)

    def call(_: int) -> list[int]:
        with Caller(base_url) as api:
            return statuses(api, *[VERSION] * 10)

    with ThreadPoolExecutor(8) as pool:
        answered = [status for each in pool.map(call, range(8)) for status in each]
    assert (answered.count(500), answered.count(200), fault.hits) == (30, 50, 30)


# Calls that wait


@pytest.mark.parametrize("acted", [True, False], ids=["after", "before"])
def test_a_held_call_is_answered_when_its_fault_is_taken_out(
    acted: bool, simulator: Simulator, either: Caller
) -> None:
    fault = Fault("hold", "POST /vms", acted=acted)
    simulator.faults.append(fault)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(either, f"POST /vms/backuplocations/[token]/{SQL01}/{NAS01}")
        wait_for(lambda: fault.hits == 1)
        time.sleep(0.05)
        assert not call.done()
        assert ((SQL01, NAS01) in simulator.inventory.assignments) is acted
        simulator.faults.remove(fault)
        assert call.result(timeout=2)["Success"]
    assert (SQL01, NAS01) in simulator.inventory.assignments


# Stalls


def test_a_stall_ends_when_its_fault_is_taken_out(simulator: Simulator, either: Caller) -> None:
    fault = Fault("stall")
    simulator.faults.append(fault)
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(either.send, VERSION)
        wait_for(lambda: fault.hits == 1)
        time.sleep(0.05)
        assert not call.done()
        simulator.faults.remove(fault)
        error = call.exception(timeout=2)
    assert error
    assert failure(error) == "reset"


def test_a_stall_ends_when_its_caller_gives_up(simulator: Simulator, either: Caller) -> None:
    fault = Fault("stall", times=40)  # more than the server has threads
    simulator.faults.append(fault)
    for number in range(40):
        with connect(either):
            wait_for(lambda number=number: fault.hits == number + 1)  # type: ignore[misc]
    assert seen(either, VERSION) == "answered"


def test_a_call_with_a_body_that_nobody_reads_stalls_too(
    simulator: Simulator, either: Caller
) -> None:
    simulator.faults.append(Fault("stall"))
    with pytest.raises(requests.ReadTimeout):
        either.send(POST, {"x": "y" * 200_000}, timeout=0.3)


def test_calls_that_stall_do_not_hold_up_others(simulator: Simulator, either: Caller) -> None:
    fault = Fault("stall", times=30)
    simulator.faults.append(fault)
    with ExitStack() as stack:
        for _ in range(30):
            stack.enter_context(connect(either))
        wait_for(lambda: fault.hits == 30)
        assert either(POST)["Success"]
        assert either.locations_of(SQL01) == [NAS01]


def test_the_end_does_not_wait_for_calls_that_stall(
    simulator: Simulator, certificate: Path, ca_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # cheroot breaks off what has not ended after a second: here after a minute, and it is told.
    broken_off = []
    stop, force_close = ThreadPool.stop, ThreadPool._force_close  # type: ignore[attr-defined]

    def break_off(connection: Any) -> None:
        broken_off.append(connection)
        force_close(connection)

    monkeypatch.setattr(ThreadPool, "stop", lambda pool, _timeout: stop(pool, 60))
    monkeypatch.setattr(ThreadPool, "_force_close", staticmethod(break_off))
    for chosen in (None, certificate):
        fault = Fault("stall", times=None)
        simulator.faults = [fault]
        with ExitStack() as stack:
            with serve(simulator, certificate=chosen) as base_url:
                api = stack.enter_context(Caller(base_url, verify=str(ca_file)))
                connections = [stack.enter_context(connect(api)) for _ in range(3)]
                wait_for(lambda fault=fault: fault.hits == 3)  # type: ignore[misc]
            for connection in connections:
                assert is_reset(connection) or UNDER_WINE
    assert not broken_off


# Wrong faults


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (
            {"kind": "resett"},
            "kind is 'resett': use reset, stall, cut short, html, error, session over, busy, "
            "refused or hold.",
        ),
        ({"kind": ["reset"]}, "kind is ['reset']: use "),
        ({"call": "PUT /vms"}, "call is 'PUT /vms': use GET, POST or DELETE"),
        ({"call": "/vms"}, "call is '/vms': use GET, POST or DELETE"),
        ({"call": "POST vms"}, "call is 'POST vms': use "),
        ({"call": "POST "}, "call is 'POST ': use "),
        ({"call": None}, "call is None: use "),
        ({"skip": -1}, "skip is -1: use a whole number, 0 or more."),
        ({"skip": None}, "skip is None: use "),
        ({"skip": True}, "skip is True: use "),
        ({"skip": 1.0}, "skip is 1.0: use "),
        ({"times": -1}, "times is -1: use a whole number, or null for all."),
        ({"times": "all"}, "times is 'all': use "),
        ({"times": False}, "times is False: use "),
        ({"acted": None}, "acted is None: use true or false."),
        ({"acted": 1}, "acted is 1: use "),
    ],
)
def test_a_wrong_fault_is_an_error_that_says_what_to_use(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=r"\.$") as raised:
        Fault(**{"kind": "reset", **wrong})
    assert says in str(raised.value)


# Texts


def described(**expected: Any) -> dict[str, Any]:
    return asdict(Fault(**expected))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ("", {}),
        (" before", {"acted": False}),
        (" DELETE", {"call": "DELETE"}),
        (" POST /vms/backuplocations", {"call": "POST /vms/backuplocations"}),
        (" before GET /vms/list/[token]", {"acted": False, "call": "GET /vms/list/[token]"}),
        (" times=3", {"times": 3}),
        (" times=all DELETE", {"times": None, "call": "DELETE"}),
        (" skip=2", {"skip": 2}),
        (
            " before times=3 skip=12 POST /vms",
            {"acted": False, "times": 3, "skip": 12, "call": "POST /vms"},
        ),
    ],
)
def test_a_fault_is_read_from_a_text(kind: Any, rest: str, expected: dict[str, Any]) -> None:
    assert asdict(Fault.parse(kind + rest)) == described(kind=kind, **expected)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "resett",
        "Reset",
        "cut",
        "resetbefore",
        "before reset",
        " reset",
        "reset ",
        "reset  before",
        "reset after",
        "reset PUT /vms",
        "reset /vms",
        "reset POST vms",
        "reset POST /vms twice",
        "reset times=",
        "reset times=-1",
        "reset times=1.5",
        "reset times=٣",
        "reset skip=all",
        "reset skip=1 times=1",
        "reset POST before",
        "reset\n",
    ],
)
def test_another_text_is_an_error_that_names_it_and_says_what_to_use(text: str) -> None:
    with pytest.raises(ValueError, match="is not a fault") as raised:
        Fault.parse(text)
    assert str(raised.value).startswith(f"{text!r} is not a fault: use KIND [before] ")
    assert all(kind in str(raised.value) for kind in KINDS)
