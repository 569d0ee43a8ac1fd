"""replay.py: a recording answers as the servers did."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
from sample import DC01, DISK_E, NAS01, OFFSITE01, PASSWORD, SQL01
from simulator.caller import LOGIN, Caller, failure

from pulumi_vmbackup import BusyError, LostAnswerError, RefusedError, VmBackupError
from pulumi_vmbackup.client import Client
from pulumi_vmbackup.models import VirtualMachine
from pulumi_vmbackup.recording import Exchange, read_recording
from pulumi_vmbackup.settings import Settings
from pulumi_vmbackup.simulator import TOKEN_PREFIX, Behavior, Fault, Inventory, Simulator, serve
from pulumi_vmbackup.simulator.replay import Replay, replays_of

COMMAND = [sys.executable, "-m", "pulumi_vmbackup.simulator"]
OK = {"Success": True, "ErrorCode": None, "ErrorMessage": None, "ErrorAdditionalDetails": None}


def line(call: str, answer: Any = OK, **changed: Any) -> str:
    method, _, path = call.partition(" /")
    told: dict[str, Any] = {
        "time": "2026-03-01T22:00:00.000Z",
        "process": 1,
        "server": "server-1",
        "base_path": "/api/rest",
        "method": method,
        "path": path,
        "status": 200,
        "seconds": 0,
        "answer": answer,
        **changed,
    }
    return json.dumps({key: value for key, value in told.items() if value is not None})


def failed(call: str, kind: str, seconds: float = 0) -> str:
    return line(call, None, status=None, failure=kind, seconds=seconds)


def recording(folder: Path, *lines: str) -> Path:
    file = folder / "run.jsonl"
    file.write_text("".join(f"{each}\n" for each in lines), "utf-8")
    return file


@contextmanager
def replaying(file: Path) -> Iterator[tuple[Replay, Caller]]:
    (replay,) = replays_of(file)
    with serve(replay) as base_url, Caller(base_url) as api:
        yield replay, api


@pytest.fixture
def recorded(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Path, Client]]:
    """A client whose calls are recorded, with names, and the file."""
    file = tmp_path / "run.jsonl"
    monkeypatch.setenv("VMBACKUP_RECORD", str(file))
    monkeypatch.setenv("VMBACKUP_RECORD_WITH_NAMES", "true")
    with Client(settings) as client:
        yield file, client


def replayed_client(base_url: str, **changed: Any) -> Client:
    login = {"username": "anybody", "password": PASSWORD, "host_header": "localhost"}
    return Client(Settings(base_url=base_url, **{**login, **changed}))


def test_a_client_sees_what_the_recorded_one_has_seen(
    recorded: tuple[Path, Client], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, client = recorded

    def seen(client: Client) -> list[object]:
        before = client.vm_backup_locations(SQL01)
        client.assign(SQL01, OFFSITE01)
        return [
            client.ask_protocol(),
            client.virtual_machines(),
            client.backup_locations("primary"),
            before,
            client.vm_backup_locations(SQL01),
        ]

    first = seen(client)
    client.close()
    monkeypatch.delenv("VMBACKUP_RECORD")
    (replay,) = replays_of(file)
    with serve(replay) as base_url:
        with replayed_client(base_url) as client:
            assert seen(client) == first
        assert not replay.sessions
        # What is used up is answered again.
        with replayed_client(base_url) as client:
            assert client.virtual_machines() == first[1]
            assert client.vm_backup_locations(SQL01) == first[-1]


@pytest.mark.parametrize("spelling", ["plain", "other"])
def test_a_recording_with_stand_ins_can_be_replayed(
    tmp_path: Path,
    settings: Settings,
    simulator: Simulator,
    monkeypatch: pytest.MonkeyPatch,
    spelling: Any,
) -> None:
    simulator.behavior = Behavior(spelling=spelling)
    file = tmp_path / "run.jsonl"
    monkeypatch.setenv("VMBACKUP_RECORD", str(file))

    def seen(client: Client) -> list[VirtualMachine]:
        vms = client.virtual_machines()
        dc01 = vms[0].ref
        assert dc01
        (location,) = client.vm_backup_locations(dc01)
        assert location.path in {each.path for each in client.backup_locations("primary")}
        client.unassign(dc01, location.id)
        assert client.vm_backup_locations(dc01) == []
        return vms

    with Client(settings) as client:
        first = seen(client)
    monkeypatch.delenv("VMBACKUP_RECORD")
    (replay,) = replays_of(file)
    with serve(replay) as base_url, replayed_client(base_url) as client:
        again = seen(client)
    assert len({vm.name for vm in again}) == len(first) == 8
    assert not {vm.name for vm in again} & {vm.name for vm in first}
    hidden = {"ref": None, "name": None, "host": None, "hypervisor_uuid": None}
    assert [replace(vm, **hidden) for vm in again] == [replace(vm, **hidden) for vm in first]


def test_failures_happen_again(
    recorded: tuple[Path, Client], simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, client = recorded

    def errors(client: Client) -> list[str]:
        said = []
        for attempt in (
            lambda: client.assign(SQL01, OFFSITE01),
            lambda: client.unassign(SQL01, NAS01),
            lambda: client.backup_locations("offsite"),
        ):
            with pytest.raises(VmBackupError) as raised:
                attempt()
            port = re.sub(r":\d+/", ":1/", str(raised.value))
            said.append(f"{type(raised.value).__name__}: {port}")
        return said

    simulator.faults += [
        Fault("reset", call="POST /vms"),
        Fault("error", call="GET /backuplocations", times=None),
    ]
    first = errors(client)
    assert "broke before the answer was complete" in first[0]
    assert "NotAssigned" in first[1]
    assert "HTTP 500" in first[2]
    client.close()
    monkeypatch.delenv("VMBACKUP_RECORD")
    (replay,) = replays_of(file)
    with serve(replay) as base_url, replayed_client(base_url) as client:
        assert errors(client) == first


def test_answers_come_in_their_order_by_method_and_path(tmp_path: Path) -> None:
    file = recording(
        tmp_path,
        line("GET /vms/list/[token]", {**OK, "Data": 1}),
        line("POST /vms/list/[token]", {**OK, "Data": "other method"}),
        line("GET /vms/list/[token]", {**OK, "Data": 2}),
        line("GET /vms/list/[token]/1", {**OK, "Data": "other path"}),
    )
    with replaying(file) as (replay, api):
        assert [api("GET /vms/list/[token]")["Data"] for _ in range(4)] == [1, 2, 2, 2]
        assert api("POST /vms/list/[token]")["Data"] == "other method"
        assert api("GET /vms/list/[token]/1")["Data"] == "other path"
    assert {each.path for each in replay.calls} == {
        "/api/rest/vms/list/[token]",
        "/api/rest/vms/list/[token]/1",
    }


@pytest.mark.parametrize("token", [DC01, DC01.upper(), f"%7B{DC01}%7D", DC01.replace("-", "")])
def test_any_spelling_of_any_token_and_id_is_accepted(tmp_path: Path, token: str) -> None:
    file = recording(tmp_path, line(f"GET /vms/backuplocations/[token]/{SQL01}/1/1"))
    with replaying(file) as (_, api):
        for spelled in (SQL01, SQL01.upper(), f"{{{SQL01}}}", SQL01.replace("-", "")):
            assert api(f"GET /vms/backuplocations/{token}/{spelled}/1/1")["Success"]


def test_a_session_has_a_fresh_token_each_time(tmp_path: Path) -> None:
    closed = {**OK, "ClosedSessions": [{"SessionToken": "[token]"}]}
    for lines in (
        [
            line("POST /sessions/start", {**OK, "Data": "[token]"}),
            line("POST /sessions/end/[token]", closed),
        ],
        [line("GET /protocol/version")],  # of a run in the session of somebody else
    ):
        with replaying(recording(tmp_path, *lines)) as (replay, api):
            first = api("POST /sessions/start", LOGIN)["Data"]
            second = api("POST /sessions/start", {})["Data"]
            assert first != second
            assert first.startswith(TOKEN_PREFIX)
            assert replay.sessions == {first, second}
            api.token = first.upper()
            ended = api("POST /sessions/end/[token]")
            assert ended["ClosedSessions"] == [{"SessionToken": first.upper()}]
            assert replay.sessions == {second}


def test_a_refused_session_stays_refused(tmp_path: Path) -> None:
    busy = {**OK, "Success": False, "ErrorAdditionalDetails": "AnotherConsoleIsRegistered"}
    file = recording(tmp_path, line("POST /sessions/start", busy))
    (replay,) = replays_of(file)
    with (
        serve(replay) as base_url,
        replayed_client(base_url, session_wait_seconds=0) as client,
        pytest.raises(BusyError),
    ):
        client.log_in()


def test_a_call_that_was_not_recorded_is_refused_and_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = recording(tmp_path, line("GET /protocol/version"))
    with replaying(file) as (_, api):
        answer = api(f"DELETE /vms/backuplocations/[token]/{SQL01}/{NAS01}")
    assert answer == {
        "Success": False,
        "ErrorCode": "NotRecorded",
        "ErrorMessage": f"The recording has no DELETE vms/backuplocations/[token]/{SQL01}/{NAS01}",
        "ErrorAdditionalDetails": None,
    }
    assert f"DELETE vms/backuplocations/[token]/{SQL01}/{NAS01} was not recorded" in caplog.text


@pytest.mark.parametrize(
    "kind", ["reset", "refused", "name", "proxy", "certificate", "tls", "too long", "interrupted"]
)
def test_what_had_no_answer_is_reset(tmp_path: Path, kind: str) -> None:
    with replaying(recording(tmp_path, failed("GET /protocol/version", kind))) as (replay, api):
        with pytest.raises(requests.ConnectionError) as raised:
            api.send("GET /protocol/version")
        assert failure(raised.value) == "reset"
    assert [each.status for each in replay.calls] == [0]


def test_silence_lasts_until_the_caller_gives_up(tmp_path: Path) -> None:
    file = recording(tmp_path, failed("GET /protocol/version", "timeout", 0.01))
    with replaying(file) as (_, api), pytest.raises(requests.Timeout) as raised:
        api.send("GET /protocol/version", timeout=0.5)
    assert failure(raised.value) == "timeout"


def test_an_answer_takes_as_long_as_it_took(tmp_path: Path) -> None:
    file = recording(tmp_path, line("GET /protocol/version", seconds=0.4))
    with replaying(file) as (_, api):
        began = time.monotonic()
        api("GET /protocol/version")
        assert 0.4 <= time.monotonic() - began < 30


def test_calls_at_once_wait_at_once(tmp_path: Path) -> None:
    seconds = 0.4
    file = recording(tmp_path, line("GET /protocol/version", seconds=seconds))
    (replay,) = replays_of(file)
    with serve(replay) as base_url:

        def call() -> None:
            with Caller(base_url) as api:
                api("GET /protocol/version")

        threads = [threading.Thread(target=call) for _ in range(20)]
        began = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert time.monotonic() - began < 20 * seconds


def test_what_is_no_envelope_is_answered_with_its_status(tmp_path: Path) -> None:
    file = recording(
        tmp_path,
        line("GET /a", None, status=401, text=""),
        line("GET /b", None, status=502, text="<h1>B\u00fcro</h1>"),
        line("GET /c", [1], status=500),
    )
    with replaying(file) as (_, api):
        assert (api.send("GET /a").status_code, api.send("GET /a").text) == (401, "")
        page = api.send("GET /b")
        assert (page.status_code, page.text) == (502, "<h1>B\u00fcro</h1>")
        assert (api.send("GET /c").status_code, api.send("GET /c").json()) == (500, [1])


def test_another_base_path_that_was_tried_is_answered_too(tmp_path: Path) -> None:
    file = recording(
        tmp_path,
        line("GET /protocol/version", None, base_path="/api", status=404, text="not here"),
        line("GET /protocol/version"),
    )
    with replaying(file) as (replay, api):
        assert replay.base_path == "/api/rest"
        assert api("GET /protocol/version") == OK
        api.base_url = api.base_url.removesuffix("/rest")
        assert api.send("GET /protocol/version").text == "not here"


def test_a_long_recording_begins_with_its_earlier_part(tmp_path: Path) -> None:
    recording(tmp_path, line("GET /vms/list/[token]", {**OK, "Data": 1}))
    (tmp_path / "run.jsonl").rename(tmp_path / "run.jsonl.1")
    file = recording(tmp_path, line("GET /vms/list/[token]", {**OK, "Data": 2}))
    with replaying(file) as (_, api):
        assert [api("GET /vms/list/[token]")["Data"] for _ in range(2)] == [1, 2]


# The command


class Process:
    """``python -m pulumi_vmbackup.simulator --replay``, and the lines that it prints first."""

    def __init__(self, file: Path, servers: int, *options: str) -> None:
        command = [*COMMAND, "--port", "0", "--replay", str(file), *options]
        self.popen = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.popen.stdout
        self.lines = [self.popen.stdout.readline().strip() for _ in range(servers)]

    def end(self) -> str:
        self.popen.send_signal(signal.SIGTERM)
        return self.popen.communicate(timeout=60)[1]


@contextmanager
def started(file: Path, servers: int = 1) -> Iterator[Process]:
    process = Process(file, servers)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.popen.kill()
        process.popen.communicate()


def test_each_server_has_a_port_of_its_own(tmp_path: Path) -> None:
    file = recording(
        tmp_path,
        line("GET /protocol/version", {**OK, "Data": "1"}, server="server-b", base_path="/api"),
        line("GET /protocol/version", {**OK, "Data": "2"}, server="server-a"),
    )
    with started(file, servers=2) as process:
        urls = []
        for name, printed in zip(("server-b", "server-a"), process.lines, strict=True):
            assert printed.startswith(f"Replay of {name} at http://127.0.0.1:")
            urls.append(printed.split()[-1])
        assert urls[0].endswith("/api")
        assert urls[1].endswith("/api/rest")
        for url, version in zip(urls, "12", strict=True):
            with Caller(url) as api:
                assert api("GET /protocol/version")["Data"] == version
                assert api("GET /vms/list/[token]")["ErrorCode"] == "NotRecorded"
        logged = process.end()
    assert "GET vms/list/[token] was not recorded" in logged
    assert "Traceback" not in logged


def failing(*options: str | Path) -> tuple[int, str]:
    done = subprocess.run(
        [*COMMAND, "--port", "0", *options],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr.splitlines()[-1].removeprefix(
        "python -m pulumi_vmbackup.simulator: "
    )


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--inventory", "x"),
        ("--state", "x"),
        ("--fault", "reset"),
        ("--host-off", "HV-01"),
        ("--second-post", "refuse"),
        ("--spelling", "other"),
        ("--lag-seconds", "1"),
        ("--answer-seconds", "1"),
        ("--session-seconds", "1"),
        ("--username", "x"),
        ("--password", "x"),
    ],
)
def test_a_replay_takes_no_option_of_a_simulator(tmp_path: Path, option: str, value: str) -> None:
    file = recording(tmp_path, line("GET /protocol/version"))
    assert failing("--replay", file, option, value) == (
        2,
        f"error: argument --replay: not allowed with argument {option}",
    )


def test_what_cannot_be_replayed_is_a_sentence(tmp_path: Path) -> None:
    missing = tmp_path / "missing.jsonl"
    assert failing("--replay", missing) == (
        1,
        f"The recording {missing} cannot be read: No such file or directory.",
    )
    empty = recording(tmp_path)
    assert failing("--replay", empty) == (
        1,
        f"The recording {empty} holds no exchange: record a run first.",
    )
    file = recording(tmp_path, line("GET /a"), "{", line("GET /a"))
    code, said = failing("--replay", file)
    assert code == 1
    assert said.startswith(f"Line 2 of the recording {file} is not an exchange: ")


def test_half_a_line_at_the_end_is_left_out(tmp_path: Path) -> None:
    file = recording(tmp_path, line("GET /a"))
    with file.open("a") as opened:
        opened.write(line("GET /b")[:40])
    assert [each.path for each in read_recording(file)] == ["a"]


def test_every_recorded_line_can_be_replayed(
    recorded: tuple[Path, Client], simulator: Simulator
) -> None:
    file, client = recorded
    simulator.inventory = Inventory.sample()
    client.virtual_machines()
    with suppress(LostAnswerError, RefusedError):
        client.unassign(DC01, DISK_E)
    client.close()
    for each in file.read_text("utf-8").splitlines():
        assert Exchange.of_line(each).to_line() == each
