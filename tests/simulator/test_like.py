"""``--like``: the simulator answers as a server of which some facts are known."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sample import NAS01, NOWHERE, PASSWORD, SQL01, SQL02
from simulator.caller import LOGIN, Caller

from pulumi_vmbackup.errors import ArgumentError
from pulumi_vmbackup.facts import Answer, Facts
from pulumi_vmbackup.settings import NEWEST_VERSION
from pulumi_vmbackup.simulator import Behavior, Simulator, serve
from pulumi_vmbackup.simulator.behavior import PRESETS

COMMAND = (sys.executable, "-m", "pulumi_vmbackup.simulator", "--port", "0")


def facts_file(folder: Path, api_version: str = "9.1", **values: Any) -> Path:
    file = folder / "facts.json"
    file.write_text(Facts(api_version, values).dump())
    return file


@contextmanager
def simulator(*options: str) -> Iterator[Caller]:
    """A simulator as a process of its own."""
    with subprocess.Popen([*COMMAND, *options], stdout=subprocess.PIPE, text=True) as popen:
        try:
            assert popen.stdout
            lines = iter(popen.stdout.readline, "")
            base_url = next(line for line in lines if " at " in line).split()[-1]
            with Caller(base_url) as api:
                yield api
        finally:
            popen.send_signal(signal.SIGTERM)


def told(api: Caller) -> dict[str, Any]:
    """What a running simulator says of its behavior."""
    with Caller(api.base_url.partition("/api")[0]) as switches:
        answer: dict[str, Any] = switches("GET /simulator")["behavior"]
        return answer


def test_the_default_is_what_is_known_of_the_newest_version() -> None:
    newest = f"v{NEWEST_VERSION}"
    assert newest == PRESETS[-1]
    assert replace(Behavior.like(newest), facts={}) == Behavior()
    with simulator() as api:
        assert api.base_url.endswith("/api/rest")
        facts = told(api)["facts"]
        assert facts["secondSession"]["details"] == "AnotherConsoleIsRegistered"
        assert facts.keys() == Behavior.like(newest).facts.keys()
        body = {**LOGIN, "Password": "simulator"}
        assert api("POST /sessions/start", body)["Success"] is True
        refused = api("POST /sessions/start", body)
    assert refused["ErrorAdditionalDetails"] == "AnotherConsoleIsRegistered"


@pytest.mark.parametrize(
    ("options", "path", "second_session"),
    [
        (["--like", "v8"], "/api", "accept"),
        (["--like", "v9.0"], "/api", "refuse"),
        (["--api-version", "8"], "/api", "accept"),
        (["--api-version", "9.1", "--like", "v8"], "/api/rest", "accept"),
        (["--like", "v8", "--second-session", "refuse"], "/api", "refuse"),
    ],
)
def test_a_version_and_options_that_win(options: list[str], path: str, second_session: str) -> None:
    with simulator(*options) as api:
        assert api.base_url.endswith(path)
        assert told(api)["second_session"] == second_session


def test_a_file_of_facts(tmp_path: Path) -> None:
    twice = Answer("refused", 409, "Twice", "Ist schon zugewiesen")
    file = facts_file(tmp_path, "9.0", secondAssign=twice, scheme="http", appearSeconds=0.2)
    with simulator("--like", str(file)) as api:
        assert api.base_url.endswith("/api")
        api.token = api("POST /sessions/start", {**LOGIN, "Password": "simulator"})["Data"]
        pair = f"/vms/backuplocations/[token]/{SQL01}/{NAS01}"
        assert api(f"POST {pair}")["Success"] is True
        assert api(f"GET /vms/backuplocations/[token]/{SQL01}/1/1")["BackupLocations"] == []
        refused = api.send(f"POST {pair}")
    assert refused.status_code == 409
    assert refused.json()["ErrorMessage"] == "Ist schon zugewiesen"


def test_a_server_of_https_says_how_to_be_like_it(tmp_path: Path) -> None:
    file = facts_file(tmp_path, scheme="https")
    command = [*COMMAND, "--like", str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as popen:
        assert popen.stdout
        first = popen.stdout.readline()
        popen.send_signal(signal.SIGTERM)
    assert "answers https: so does this one with --tls-certificate" in first


@pytest.mark.parametrize("source", ["missing.json", "v7"])
def test_facts_that_are_missing_are_one_sentence(source: str, tmp_path: Path) -> None:
    with pytest.raises(ArgumentError, match=f"The file of facts .*{source} cannot be read"):
        Behavior.like(tmp_path / source)
    done = subprocess.run(
        [*COMMAND, "--like", source], capture_output=True, text=True, check=False, cwd=tmp_path
    )
    assert done.returncode == 1
    assert done.stderr.startswith("python -m pulumi_vmbackup.simulator: The file of facts")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        ([], "facts is []: use an object"),
        ({"colour": "red"}, "there is no fact 'colour'"),
        ({"scheme": "ftp"}, "the value of 'scheme' is 'ftp'"),
    ],
)
def test_wrong_facts_are_a_bad_request(facts: Any, says: str) -> None:
    server = Simulator(password=PASSWORD)
    with serve(server) as base_url, Caller(base_url.removesuffix("/api/rest")) as switches:
        answer = switches.send("PATCH /simulator", {"behavior": {"facts": facts}})
        assert (answer.status_code, server.behavior) == (400, Behavior())
        assert says in answer.text
        switches("PATCH /simulator", {"behavior": {"facts": {"protocolVersion": "2"}}})
        with Caller(base_url) as api:
            assert api("GET /protocol/version")["Data"] == "2"


def test_a_choice_wins_over_a_fact_that_contradicts_it() -> None:
    facts = Facts(
        "9.1", {"secondUnassign": Answer("accepted"), "unknownVmListing": Answer("empty list")}
    )
    behavior = Behavior.like(facts)
    assert (behavior.unassigned_delete, behavior.unknown_vm) == ("accept", "empty")
    behavior = Behavior.like(facts, unassigned_delete="refuse", unknown_vm="refuse")
    assert behavior == replace(Behavior(), facts={})
    with pytest.raises(
        ValueError, match=r"the facts say 'accept': use Behavior.like, or give both"
    ):
        Behavior(facts=facts.values)
    server = Simulator(password=PASSWORD, behavior=behavior)
    with serve(server) as base_url, Caller(base_url) as api:
        api.log_in()
        refused = api(f"DELETE /vms/backuplocations/[token]/{SQL02}/{NAS01}")
        assert refused["ErrorCode"] == "NotAssigned"
        refused = api(f"GET /vms/backuplocations/[token]/{NOWHERE}/1/1")
        assert refused["ErrorCode"] == "InvalidParameter"


def test_a_change_of_the_facts_changes_what_they_tell() -> None:
    refused = {"form": "refused", "code": "Twice"}
    server = Simulator(password=PASSWORD, api_version="8")
    assert server.behavior.second_session == "accept"
    with serve(server) as base_url, Caller(base_url.removesuffix("/api")) as switches:
        switches("PATCH /simulator", {"behavior": {"facts": {"secondAssign": refused}}})
        assert server.behavior.second_post == "refuse"
        switches("PATCH /simulator", {"behavior": {"second_post": "accept"}})
        assert (server.behavior.second_post, server.behavior.facts) == ("accept", {})


def test_the_facts_of_each_version_are_in_its_package() -> None:
    for preset in PRESETS:
        facts = Behavior.like(preset).facts
        assert json.dumps(list(facts))
        assert {"secondSession", "unknownToken", "vmListing"} <= facts.keys()
