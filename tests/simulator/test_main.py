"""``python -m pulumi_vmbackup.simulator``, as a process."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
import trustme
from sample import DC01, DISK_E, NAS01, NOWHERE, OFFSITE01, PASSWORD, SQL01
from simulator.caller import LOGIN, Caller

from pulumi_vmbackup.simulator import Inventory

COMMAND = [sys.executable, "-m", "pulumi_vmbackup.simulator"]
PROGRAM = "python -m pulumi_vmbackup.simulator: "
POST = f"POST /vms/backuplocations/[token]/{SQL01}/{NAS01}"
ON_POSIX = pytest.mark.skipif(os.name == "nt", reason="Windows ends a process without a signal")


def has_ipv6_loopback() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@dataclass
class Process:
    """A simulator in its own process, which printed where it is."""

    popen: subprocess.Popen[str]
    first_line: str

    @property
    def base_url(self) -> str:
        return self.first_line.split()[-1]

    def end(self, how: signal.Signals = signal.SIGTERM) -> tuple[int, str, str]:
        """Stop it: its exit code, what it printed, and what it logged."""
        self.popen.send_signal(how)
        printed, logged = self.popen.communicate()
        assert "Traceback" not in logged
        return self.popen.returncode, self.first_line + printed, logged


@contextmanager
def started(*options: str | Path) -> Iterator[Process]:
    with subprocess.Popen(
        [*COMMAND, "--port", "0", "--password", PASSWORD, *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as popen:
        too_long = threading.Timer(60, popen.kill)
        too_long.start()
        try:
            assert popen.stdout
            first_line = popen.stdout.readline()
            assert first_line, popen.communicate()[1]
            yield Process(popen, first_line)
        finally:
            too_long.cancel()
            popen.kill()


@contextmanager
def running(*options: str | Path) -> Iterator[Caller]:
    with started(*options) as process, Caller(process.base_url) as api:
        yield api
        process.end()


def run(*options: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *options],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def failing(*options: str | Path) -> tuple[int, str]:
    """What it says instead of starting: its exit code and its last line."""
    done = run(*options)
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert done.returncode != 0
    return done.returncode, done.stderr.splitlines()[-1]


def one_sentence(*options: str | Path) -> str:
    code, sentence = failing("--port", "0", *options)
    assert code == 1
    assert sentence.startswith(PROGRAM)
    assert sentence.endswith(".")
    assert not sentence.endswith("..")
    return sentence.removeprefix(PROGRAM)


# Help


def test_help_names_every_option_and_what_it_is_without_it() -> None:
    done = run("--help")
    assert (done.returncode, done.stderr) == (0, "")
    _, _, described = re.sub(r"\s+", " ", done.stdout).partition(" options: ")
    options = re.findall(r"(--[a-z-]+) (?:[A-Z]+|{[^}]+}) ((?:(?!--).)+)", described)
    defaults = {
        option: text.partition("(default: ")[2].partition(")")[0] for option, text in options
    }
    assert defaults == {
        "--host": "127.0.0.1",
        "--port": "",
        "--like": "",
        "--api-version": "",
        "--username": "Administrator",
        "--password": "simulator",
        "--session-seconds": "300",
        "--inventory": "",
        "--state": "",
        "--replay": "",
        "--tls-certificate": "",
        "--tls-key": "",
        "--second-post": "",
        "--unassigned-delete": "",
        "--unknown-vm": "",
        "--second-primary": "",
        "--second-session": "",
        "--invalid-token": "",
        "--wrong-password": "",
        "--vm-list": "",
        "--spelling": "",
        "--lag-seconds": "",
        "--answer-seconds": "0",
        "--host-off": "",
        "--fault": "",
    }
    assert all(len(text) > 15 for _, text in options)
    assert (
        "First the kind: reset, stall, cut short, html, error, session over, busy, refused, hold."
        in described
    )


# A start, calls and an end


def test_it_prints_its_base_url_and_answers_there() -> None:
    with running() as api:
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/api/rest", api.base_url)
        assert api.log_in().locations_of(DC01) == [DISK_E]
        assert api(POST)["Success"]
        assert api.locations_of(SQL01) == [NAS01]


@ON_POSIX
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_without_a_trace(
    how: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONDEVMODE", "1")  # Python tells what was not closed
    with started() as process, Caller(process.base_url) as api:
        api("GET /protocol/version")
        code, printed, logged = process.end(how)
    assert (code, printed) == (0, f"VM Backup API simulator at {process.base_url}\n")
    assert [line.split(" ", 2)[2] for line in logged.splitlines()] == [
        "GET /api/rest/protocol/version 200"
    ]


@ON_POSIX
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_right_after_the_start_ends_it_without_a_trace(how: signal.Signals) -> None:
    with started() as process:
        code, _, logged = process.end(how)
    assert (code, logged) == (0, "")


def test_passwords_and_tokens_are_not_shown() -> None:
    with started() as process, Caller(process.base_url) as api:
        api("POST /sessions/start", {**LOGIN, "Password": "a-wrong-password"})
        api.log_in()
        for call in (POST, "GET /vms/list/[token]", "POST /sessions/end/[token]"):
            api(call)
        api.send("GET /nothing/[token]")
        api.send("PUT /vms/list/[token]")
        _, printed, logged = process.end()
    assert "GET /api/rest/vms/list/[token] 200" in logged
    assert "PUT /api/rest/vms/list/[guid] 405" in logged
    for secret in (PASSWORD, "a-wrong-password", api.token):
        assert secret not in printed + logged


# Options


def test_the_address_the_account_and_the_api_version_are_chosen(free_port: int) -> None:
    address = ("--host", "localhost", "--port", str(free_port), "--api-version", "8")
    with running(*address, "--username", "backup", "--password", "another") as api:
        assert api.base_url == f"http://localhost:{free_port}/api"
        account = {"Username": "backup", "Password": "another", "ServerPort": "35107"}
        assert api("POST /sessions/start", account)["Success"]
        assert api("POST /sessions/start", {**account, "ServerPort": "36014"})["Success"] is False
        assert api("POST /sessions/start", {**account, "Password": PASSWORD})["Success"] is False


@pytest.mark.skipif(not has_ipv6_loopback(), reason="the machine has no ::1")
def test_localhost_leads_to_it_whichever_address_that_means_first(tmp_path: Path) -> None:
    certificate = tmp_path / "certificate.pem"
    trustme.CA().issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(
        str(certificate)
    )
    for options in ([], ["--tls-certificate", str(certificate)]):
        with started(*options) as process:
            port = urlsplit(process.base_url).port
            for address in ("127.0.0.1", "::1"):
                socket.create_connection((address, port), 10).close()


def test_the_life_of_a_session_is_chosen() -> None:
    with running("--session-seconds", "0.05") as api:
        api.log_in()
        time.sleep(0.1)
        assert api.refusal("GET /vms/list/[token]") == "Invalid Token"


def test_https_is_chosen(tmp_path: Path) -> None:
    authority = trustme.CA()
    certificate, key, ca_file = (tmp_path / name for name in ("cert.pem", "key.pem", "ca.pem"))
    mine = authority.issue_cert("127.0.0.1")
    mine.cert_chain_pems[0].write_to_path(str(certificate))
    mine.private_key_pem.write_to_path(str(key))
    authority.cert_pem.write_to_path(str(ca_file))
    with running("--tls-certificate", certificate, "--tls-key", key) as api:
        assert api.base_url.startswith("https://127.0.0.1:")
        api.http.verify = str(ca_file)
        assert api("GET /protocol/version")["Success"]


def test_odd_calls_are_answered_as_known_or_as_chosen() -> None:
    second_post, unassigned_delete = (
        POST,
        f"DELETE /vms/backuplocations/[token]/{SQL01}/{OFFSITE01}",
    )
    unknown_vm = f"GET /vms/backuplocations/[token]/{NOWHERE}/1/1"
    second_primary = f"POST /vms/backuplocations/[token]/{SQL01}/{DISK_E}"
    calls = (POST, second_post, unassigned_delete, unknown_vm, second_primary)
    with running() as api:
        api.log_in()
        assert not api("POST /sessions/start", LOGIN)["Success"]
        assert [api(call)["Success"] for call in calls] == [True, True, False, False, True]
        assert api.locations_of(SQL01) == [NAS01, DISK_E]
    chosen = ("--second-post=refuse", "--unassigned-delete=accept", "--unknown-vm=empty")
    with running(*chosen, "--second-primary=move") as api:
        api.log_in()
        assert [api(call)["Success"] for call in calls] == [True, False, True, True, True]
        assert api.locations_of(SQL01) == [DISK_E]
    with running("--second-primary=refuse", "--second-session=accept") as api:
        api.log_in()
        assert api("POST /sessions/start", LOGIN)["Success"]
        assert [api(call)["Success"] for call in calls] == [True, True, False, False, False]
        assert api.locations_of(SQL01) == [NAS01]


def test_answers_of_other_servers_are_chosen() -> None:
    with running("--invalid-token=other words", "--wrong-password=server error") as api:
        assert api.refusal("GET /vms/list/[token]") == "Log in again to go on"
        refused = api.send("POST /sessions/start", {**LOGIN, "Password": "wrong"})
        assert (refused.status_code, refused.json()["ErrorCode"]) == (500, "LoginFailed")
    with running("--spelling=other", "--host-off=HV-01", "--host-off", "HV-03") as api:
        listed = api.log_in()("GET /vms/list/[token]")["VirtualMachines"]
        assert {vm["HostName"] for vm in listed} == {"HV-02"}
        assert all(vm["AltaroVirtualMachineRef"].startswith("{") for vm in listed)
    with running("--vm-list=none") as api:
        assert api.log_in()("GET /vms/list/[token]")["VirtualMachines"] == []


def test_a_lagging_listing_and_slow_answers_are_chosen() -> None:
    with running("--lag-seconds", "60", "--answer-seconds", "0.1") as api:
        began = time.monotonic()
        assert api.log_in()(POST)["Success"]
        assert time.monotonic() - began >= 0.2
        assert api.locations_of(SQL01) == []


def test_faults_are_chosen() -> None:
    faults = ("--fault", "error before POST /vms", "--fault", "cut short times=2 skip=1 GET /vms")
    with running(*faults) as api:
        api.log_in()
        assert api.send(POST).status_code == 500
        assert api.locations_of(SQL01) == []
        for _ in range(2):
            with pytest.raises(requests.exceptions.ChunkedEncodingError):
                api.locations_of(SQL01)
        assert api(POST)["Success"]
        assert api.locations_of(SQL01) == [NAS01]


def test_it_is_changed_while_it_runs() -> None:
    with started("--second-post=refuse") as process, Caller(process.base_url) as api:
        api.log_in()
        api.base_url = process.base_url.removesuffix("/api/rest")
        change = {"behavior": {"lag_seconds": 60}, "faults": [{"kind": "error", "call": "POST"}]}
        assert api("PATCH /simulator", change)["behavior"]["second_post"] == "refuse"
        api.base_url = process.base_url
        assert api.send(POST).status_code == 500
        assert api.refusal(POST) == "The virtual machine is assigned already"
        assert api.locations_of(SQL01) == []
        _, _, logged = process.end()
    assert "PATCH /simulator 200" in logged


# Inventory and state


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state.json"


def test_an_inventory_is_read_and_not_written(tmp_path: Path) -> None:
    file = tmp_path / "inventory.json"
    inventory = Inventory.sample()
    inventory.assignments[SQL01, OFFSITE01] = None
    inventory.save(file)
    before = file.read_bytes()
    with running("--inventory", file) as api:
        assert api.log_in().locations_of(SQL01) == [OFFSITE01]
        assert api(POST)["Success"]
    assert file.read_bytes() == before


def test_the_state_survives_a_restart(state: Path) -> None:
    with running("--state", state) as api:
        assert Inventory.load(state) == Inventory.sample()
        assert api.log_in()(POST)["Success"]
    with running("--state", state) as api:
        assert api.log_in().locations_of(SQL01) == [NAS01]
        assert api(POST.replace("POST", "DELETE"))["Success"]
    assert Inventory.load(state) == Inventory.sample()


def test_the_state_survives_a_crash(state: Path) -> None:
    with started("--state", state) as process, Caller(process.base_url) as api:
        assert api.log_in()(POST)["Success"]
        process.popen.kill()
    assert Inventory.load(state).locations_of(SQL01) == [NAS01]


def test_a_state_file_goes_before_an_inventory(tmp_path: Path, state: Path) -> None:
    inventory = Inventory.sample()
    inventory.assignments.clear()
    inventory.save(tmp_path / "inventory.json")
    options = ("--inventory", tmp_path / "inventory.json", "--state", state)
    with running(*options) as api:
        assert api.log_in().locations_of(DC01) == []
        assert api(POST)["Success"]
    with running(*options) as api:
        assert api.log_in().locations_of(SQL01) == [NAS01]


# What cannot be started


@pytest.mark.parametrize("option", ["--inventory", "--state"])
def test_a_damaged_file_is_one_sentence_and_is_left_alone(option: str, state: Path) -> None:
    damaged = '{"VirtualMachines": ['
    state.write_text(damaged)
    assert one_sentence(option, state) == (
        f"The inventory of {state} is not valid: Expecting value: line 1 column 22 (char 21)."
    )
    assert state.read_text() == damaged


def test_a_missing_inventory_is_one_sentence(state: Path) -> None:
    assert one_sentence("--inventory", state) == (
        f"The inventory file {state} cannot be read: No such file or directory."
    )


def test_a_state_file_that_cannot_be_made_is_one_sentence_at_the_start(tmp_path: Path) -> None:
    state = tmp_path / "no" / "state.json"
    assert one_sentence("--state", state) == (
        f"The inventory file {state} cannot be written: No such file or directory."
    )


def test_a_state_file_that_is_a_folder_is_one_sentence(tmp_path: Path) -> None:
    assert one_sentence("--state", tmp_path).startswith(
        f"The inventory file {tmp_path} cannot be read: "
    )


def test_a_state_file_that_cannot_be_replaced_is_one_sentence_at_the_start(state: Path) -> None:
    state = state.with_name("x" * 250)  # too long with the end of the name that is written first
    state.write_text(Inventory.sample().dump(), "utf-8")
    assert one_sentence("--state", state).startswith(
        f"The inventory file {state} cannot be written: "
    )


def test_a_port_in_use_is_one_sentence_and_keeps_the_state_of_the_first(state: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        sentence = one_sentence("--port", str(port), "--state", state)
    assert sentence.startswith(f"The simulator cannot listen at 127.0.0.1 port {port}: ")
    assert not state.exists()


def test_a_certificate_that_cannot_be_used_is_one_sentence(tmp_path: Path) -> None:
    certificate = tmp_path / "certificate.pem"
    assert one_sentence("--tls-certificate", certificate) == (
        f"The certificate {certificate} with the key {certificate} cannot be used: "
        "No such file or directory."
    )


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--port", "abc"], "argument --port: 'abc' is not a port: use a number from 0 to 65535"),
        (["--port", "65536"], "argument --port: '65536' is not a port"),
        (["--host", ""], "argument --host: it is empty: use an address such as 127.0.0.1"),
        (["--session-seconds", "long"], "'long' is not a number of seconds: use 0 or more"),
        (["--session-seconds", "nan"], "'nan' is not a number of seconds"),
        (["--lag-seconds", "-1"], "argument --lag-seconds: '-1' is not a number of seconds"),
        (["--answer-seconds", "86401"], "--answer-seconds: '86401' is too long: use 86400 at most"),
        (["--answer-seconds", "inf"], "--answer-seconds: 'inf' is too long"),
        (
            ["--fault", "reset", "--fault", "resett POST"],
            "argument --fault: 'resett POST' is not a fault: use KIND [before] [times=N|all] "
            "[skip=N] [CALL], where KIND is reset, stall, cut short, html, error, session over, "
            "busy, refused or hold, and CALL is like DELETE or POST /vms/backuplocations",
        ),
        (["--tls-key", "key.pem"], "argument --tls-key: it needs --tls-certificate"),
    ],
)
def test_a_wrong_option_says_what_to_use(options: list[str], says: str) -> None:
    code, line = failing(*options)
    assert code == 2
    assert line.startswith(f"{PROGRAM}error: ")
    assert says in line


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port
