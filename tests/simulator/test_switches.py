"""switches.py: what is told and changed at ``/simulator`` while a simulator runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, fields
from typing import Any

import pytest
from sample import NAS01, PASSWORD, SQL01
from simulator.caller import LOGIN, Caller, failure, wait_for

from pulumi_vmbackup.simulator import Behavior, Fault, Simulator, serve
from pulumi_vmbackup.simulator.behavior import behavior_choices

VERSION = "GET /protocol/version"
AS_STARTED: dict[str, Any] = {
    "behavior": {
        "second_post": "accept",
        "unassigned_delete": "refuse",
        "unknown_vm": "refuse",
        "second_primary": "allow",
        "second_session": "refuse",
        "invalid_token": "envelope",
        "wrong_password": "envelope",
        "vm_list": "all",
        "spelling": "plain",
        "lag_seconds": 0,
        "facts": {},
    },
    "faults": [],
    "console_connected": False,
    "hosts_off": [],
    "answer_seconds": 0,
}


@pytest.fixture
def api(base_url: str) -> Iterator[Caller]:
    with Caller(base_url) as api:
        yield api


@pytest.fixture
def switches(base_url: str) -> Iterator[Caller]:
    with Caller(base_url.removesuffix("/api/rest")) as switches:
        yield switches


def test_the_switches_are_told(simulator: Simulator, switches: Caller, api: Caller) -> None:
    assert switches("GET /simulator") == AS_STARTED
    simulator.behavior = Behavior(unknown_vm="empty", lag_seconds=1.5)
    simulator.faults = [
        Fault("error", call="GET", skip=1, times=None),
        Fault("stall", call="DELETE", acted=False),
    ]
    simulator.console_connected = True
    simulator.hosts_off = {"HV-02", "HV-01"}
    simulator.answer_seconds = 0.01
    assert [api.send(VERSION).status_code for _ in range(3)] == [200, 500, 500]
    first = {"kind": "error", "call": "GET", "skip": 1, "times": None, "acted": True, "hits": 2}
    second = {"kind": "stall", "call": "DELETE", "skip": 0, "times": 1, "acted": False, "hits": 0}
    assert switches("GET /simulator") == {
        "behavior": {**AS_STARTED["behavior"], "unknown_vm": "empty", "lag_seconds": 1.5},
        "faults": [first, second],
        "console_connected": True,
        "hosts_off": ["HV-01", "HV-02"],
        "answer_seconds": 0.01,
    }


def test_the_switches_are_changed_one_by_one(
    simulator: Simulator, switches: Caller, api: Caller
) -> None:
    told = switches("PATCH /simulator", {"behavior": {"second_primary": "move"}})
    assert told == switches("GET /simulator")
    assert simulator.behavior == Behavior(second_primary="move")
    switches("PATCH /simulator", {"behavior": {"lag_seconds": 60}})
    assert simulator.behavior == Behavior(second_primary="move", lag_seconds=60)
    switches("PATCH /simulator", {"console_connected": True, "answer_seconds": 0.01})
    assert api("POST /sessions/start", LOGIN)["Success"] is False
    assert simulator.answer_seconds == 0.01
    switches("PATCH /simulator", {"hosts_off": ["HV-01"]})
    assert simulator.hosts_off == {"HV-01"}
    switches("PATCH /simulator", {"hosts_off": []})
    fault = {"kind": "html", "call": "GET", "skip": 1, "times": None, "acted": False}
    switches("PATCH /simulator", {"faults": [{"kind": "error"}, fault]})
    assert [asdict(each) for each in simulator.faults] == [
        asdict(Fault("error")),
        asdict(Fault("html", call="GET", skip=1, times=None, acted=False)),
    ]
    assert simulator.behavior == Behavior(second_primary="move", lag_seconds=60)
    switches("PATCH /simulator", {"faults": []})
    assert switches("PATCH /simulator", {}) == {
        **AS_STARTED,
        "behavior": asdict(simulator.behavior),
        "console_connected": True,
        "answer_seconds": 0.01,
    }
    assert simulator.faults == []


def test_each_switch_of_behavior_and_of_a_fault_can_be_changed(
    simulator: Simulator, switches: Caller
) -> None:
    changed: dict[str, Any] = {each: choices[-1] for each, choices in behavior_choices().items()}
    changed |= {"second_session": "accept", "unassigned_delete": "accept", "lag_seconds": 1}
    changed |= {"facts": {"secondAssign": {"form": "refused", "status": 200, "code": "Twice"}}}
    for each in fields(Behavior):
        assert changed[each.name] != each.default
    switches("PATCH /simulator", {"behavior": changed})
    assert simulator.behavior == Behavior(**changed)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (None, "The body is not a JSON object."),
        ([], "The body is not a JSON object."),
        ("reset", "The body is not a JSON object."),
        (
            {"fault": []},
            "The body has no 'fault': use behavior, faults, console_connected, hosts_off, "
            "answer_seconds.",
        ),
        ({"calls": []}, "The body has no 'calls': use "),
        ({"\ud800": 1}, "The body has no '\\ud800': use "),
        ({"behavior": "accept"}, "behavior is not a JSON object."),
        ({"behavior": {"third_post": "accept"}}, "behavior has no 'third_post': use second_post, "),
        ({"behavior": {"second_post": "x"}}, "second_post is 'x': use accept or refuse."),
        ({"behavior": {"lag_seconds": -1}}, "lag_seconds is -1: use a number of seconds from 0"),
        ({"behavior": {"lag_seconds": None}}, "lag_seconds is None: use "),
        ({"faults": {}}, "faults is not a list."),
        ({"faults": None}, "faults is not a list."),
        ({"faults": ["reset"]}, "A fault is not a JSON object."),
        ({"faults": [{}]}, "kind is None: use reset, stall, cut short, "),
        ({"faults": [{"kind": "reset"}, {"kind": "x"}]}, "kind is 'x': use reset, stall, "),
        ({"faults": [{"kind": "reset", "hits": 0}]}, "A fault has no 'hits': use kind, call, "),
        ({"faults": [{"kind": "reset", "_matched": 0}]}, "A fault has no '_matched': use "),
        ({"faults": [{"kind": "reset", "times": 1.5}]}, "times is 1.5: use a whole number, or "),
        ({"console_connected": 1}, "console_connected is 1: use true or false."),
        ({"console_connected": None}, "console_connected is None: use true or false."),
        ({"hosts_off": "HV-01"}, "hosts_off is not a list of names of hosts."),
        ({"hosts_off": [1]}, "hosts_off is not a list of names of hosts."),
        ({"hosts_off": None}, "hosts_off is not a list of names of hosts."),
        (
            {"answer_seconds": "1"},
            "answer_seconds is '1': use a number of seconds from 0",
        ),
        ({"answer_seconds": True}, "answer_seconds is True: use "),
        ({"answer_seconds": 10**400}, "answer_seconds is 1000"),
    ],
)
def test_a_wrong_change_is_a_bad_request_with_a_sentence_and_changes_nothing(
    change: Any, says: str, switches: Caller
) -> None:
    if isinstance(change, dict):
        valid = {"behavior": {"second_post": "refuse"}, "faults": [{"kind": "error"}]}
        change = {**valid, "console_connected": True, "answer_seconds": 1, **change}
    response = switches.send("PATCH /simulator", change)
    assert (response.status_code, response.headers["Content-Type"]) == (
        400,
        "text/plain; charset=utf-8",
    )
    assert response.text.startswith(says)
    assert response.text.endswith(".\n")
    assert switches("GET /simulator") == AS_STARTED


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b'{"answer_seconds": NaN}'])
def test_a_change_that_is_no_json_is_a_bad_request(body: bytes, switches: Caller) -> None:
    url = f"{switches.base_url}/simulator"
    response = switches.http.patch(url, data=body, timeout=5)
    assert (response.status_code, response.text[-2:]) == (400, ".\n")
    assert switches("GET /simulator") == AS_STARTED


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_another_method_is_not_allowed(method: str, switches: Caller) -> None:
    response = switches.send(f"{method} /simulator", {"answer_seconds": 1})
    assert (response.status_code, response.headers["Allow"]) == (405, "GET, PATCH")
    assert switches("GET /simulator") == AS_STARTED


@pytest.mark.parametrize("method", ["GET", "PATCH"])
def test_a_request_for_another_host_name_is_a_bad_request(method: str, switches: Caller) -> None:
    switches.http.headers["Host"] = "vmb01"
    response = switches.send(f"{method} /simulator", {"console_connected": True})
    assert response.status_code == 400
    assert "hostname is invalid" in response.text
    switches.http.headers["Host"] = "localhost"
    assert switches("GET /simulator") == AS_STARTED


def test_they_are_no_calls_of_the_api(simulator: Simulator, switches: Caller) -> None:
    fault = Fault("error", times=None)
    simulator.faults.append(fault)
    simulator.answer_seconds = 60
    switches("GET /simulator")
    switches("PATCH /simulator", {"console_connected": True})
    switches.send("POST /simulator")
    switches.http.headers["Host"] = "vmb01"
    switches.send("GET /simulator")
    assert (simulator.calls, fault.hits) == ([], 0)


def test_the_api_has_no_such_call(api: Caller) -> None:
    assert api.send("GET /simulator").status_code == 404


def test_each_api_version_has_them_at_the_same_address() -> None:
    for version in ("8", "9.0", "9.1"):
        simulator = Simulator(api_version=version, behavior=Behavior())
        with serve(simulator) as base_url, Caller(base_url.partition("/api")[0]) as switches:
            assert switches("GET /simulator") == AS_STARTED


def test_a_call_that_stalls_ends_when_its_fault_is_taken_out(switches: Caller, api: Caller) -> None:
    switches("PATCH /simulator", {"faults": [{"kind": "stall"}]})
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(api.send, VERSION)
        wait_for(lambda: switches("GET /simulator")["faults"][0]["hits"] == 1)
        switches("PATCH /simulator", {"faults": []})
        error = call.exception(timeout=2)
    assert error
    assert failure(error) == "reset"


def test_changes_at_the_same_time_are_all_made(simulator: Simulator, base_url: str) -> None:
    chosen: dict[str, Any] = {"second_post": "refuse", "unknown_vm": "empty", "lag_seconds": 1}

    def change(key: str) -> None:
        with Caller(base_url.removesuffix("/api/rest")) as switches:
            for value in (getattr(Behavior(), key), chosen[key]) * 20:
                switches("PATCH /simulator", {"behavior": {key: value}})
                assert switches("GET /simulator")["behavior"][key] == value

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(change, chosen))
    assert simulator.behavior == Behavior(**chosen)


def test_what_is_told_holds_no_password_and_no_token(
    simulator: Simulator, switches: Caller, api: Caller
) -> None:
    api.log_in()
    simulator.faults.append(Fault("error", call=f"POST /vms/backuplocations/[token]/{SQL01}"))
    assert api.send(f"POST /vms/backuplocations/[token]/{SQL01}/{NAS01}").status_code == 500
    told = json.dumps(switches("GET /simulator"))
    assert api.token not in told
    assert PASSWORD not in told
