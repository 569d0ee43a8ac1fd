"""``vmbackup probe``: what it finds and prints, and that it leaves the server as it was."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from marks import only_full
from sample import DC01, DISK_E, NAS01, OFFSITE01, PASSWORD, SQL01
from simulator.caller import wait_for

from pulumi_vmbackup.facts import FACTS, Answer, Facts
from pulumi_vmbackup.probe import writes as probe_writes
from pulumi_vmbackup.simulator import TOKEN_PREFIX, Behavior, Fault, Inventory, Simulator, serve

NAS = r"\\NAS01\VMBackups"
WRITES = ("--vm", "SQL01", "--location", NAS)
SECOND = ("--second-location", "E:\\VMBackups")
ON_POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")

Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(probe_writes, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(probe_writes, "_PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(probe_writes, "LONGEST_LAG_SECONDS", 2.0)
    monkeypatch.setattr(probe_writes, "RESTORE_SECONDS", 0.5)
    monkeypatch.setenv("VMBACKUP_SETTLE_SECONDS", "1")
    return tmp_path


def rows(done: Result) -> dict[str, list[str]]:
    """The table: what was found, what was assumed, and perhaps what differs, by fact."""
    cells = (re.split(r" {2,}", line.strip()) for line in done.stdout.splitlines())
    return {first: others for first, *others in cells if others}


def facts(folder: Path) -> Facts:
    return Facts.load(folder / "facts.json")


# What is printed and written


def test_it_prints_what_it_found_and_changes_nothing(
    run: Run, simulator: Simulator, tmp_path: Path
) -> None:
    before = dict(simulator.inventory.assignments)
    done = run("probe")
    assert simulator.inventory.assignments == before
    assert {call.method for call in simulator.calls} == {"GET", "POST"}
    assert all("/sessions/" in call.path for call in simulator.calls if call.method == "POST")
    table = rows(done)
    busy = 'refused: "SessionRefused / Another session is open / AnotherConsoleIsRegistered"'
    assert table[FACTS["secondSession"].what][0] == busy
    assert table[FACTS["secondAssign"].what] == [
        "- (not tried: it needs --vm and --location)",
        "accepted, or refused",
    ]
    assert "DIFFERS" not in done.stdout
    assert "All 29 facts that were found are as this package assumes." in done.stdout
    found = facts(tmp_path)
    assert len(found.values) == 29
    assert f"{tmp_path / 'facts.json'}: 29 facts" in done.stdout
    assert found.values.keys() | found.not_found.keys() == {
        key for key, fact in FACTS.items() if fact.step != "none"
    }
    assert len(simulator.tokens) == 2


def test_it_prints_the_settings_for_this_server(run: Run, simulator: Simulator) -> None:
    simulator.behavior = Behavior.like("v9.1")
    done = run("probe")
    lines = re.findall(r"  (pulumi config set \S+ \d+) +# (.*)", done.stdout)
    assert [line for line, _ in lines] == [
        "pulumi config set vmbackup:settleSeconds 30",
        "pulumi config set vmbackup:parallelRequests 4",
        "pulumi config set vmbackup:timeoutSeconds 30",
        "pulumi config set vmbackup:sessionWaitSeconds 310",
    ]
    assert lines[0][1] == "now 1; not measured: it needs --vm and --location"
    assert lines[3][1].startswith("now 60; the server refuses a second session")


def test_a_slow_server_gets_other_settings(run: Run, simulator: Simulator) -> None:
    slow = {"listingSeconds": 0.1, "parallelListings": 2, "secondSession": {"form": "accepted"}}
    simulator.behavior = Behavior(facts=slow, lag_seconds=0.6, second_session="accept")
    done = run("probe", *WRITES, "--yes")
    assert "pulumi config set vmbackup:parallelRequests 2 " in done.stdout
    assert "# now 60; the server accepts" not in done.stdout
    assert "# as now; the server accepts a second session" in done.stdout
    assert re.search(
        r"settleSeconds 30 .*a new assignment was listed after [01]\.\d s", done.stdout
    )


def test_a_named_connection_gets_its_own_settings(
    run: Run, base_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VMBACKUP_SITE_B_BASE_URL", base_url)
    monkeypatch.setenv("VMBACKUP_SITE_B_USERNAME", "Administrator")
    monkeypatch.setenv("VMBACKUP_SITE_B_PASSWORD", PASSWORD)
    done = run("probe", "--connection", "site-b")
    command = "pulumi config set --path vmbackup:connections.site-b.settleSeconds 30"
    assert command in done.stdout


ODD: dict[str, tuple[dict[str, Any], str, str]] = {
    "a second login ends the first session": (
        {"second_session": "accept", "facts": {"firstSession": "ends"}},
        "firstSession",
        "ends",
    ),
    "a refusal in other words": (
        {"facts": {"secondSession": {"form": "refused", "message": "Nicht jetzt"}}},
        "secondSession",
        'refused: "Nicht jetzt"',
    ),
    "an error page for a dead token": (
        {"invalid_token": "page"},
        "unknownToken",
        "an HTML page (HTTP 500)",
    ),
    "vms/list ignores its flag": (
        {"facts": {"configuredList": "all VMs"}},
        "configuredList",
        "all VMs",
    ),
    "a VM without a field": (
        {"facts": {"vmFields": {"VirtualMachineName": ["text"], "HostName": ["text"]}}},
        "vmFields",
        "2 fields, of them not known before: none",
    ),
    "no listing with both flags": (
        {"facts": {"vmListing": {"form": "page", "status": 404}}},
        "vmListing",
        "an HTML page (HTTP 404)",
    ),
    "flags that are ignored": (
        {"facts": {"vmListingForms": "differ"}},
        "vmListingForms",
        "differ",
    ),
    "an empty list that is missing": (
        {"facts": {"emptyListing": "no list"}},
        "emptyListing",
        "no list",
    ),
    "all locations for an unknown VM": (
        {"facts": {"unknownVmListing": {"form": "list"}}, "unknown_vm": "empty"},
        "unknownVmListing",
        "list",
    ),
    "one call at a time": (
        {"facts": {"listingSeconds": 0.1, "parallelListings": 1}},
        "parallelListings",
        "1",
    ),
    "slow assignments": ({"lag_seconds": 1.3}, "appearSeconds", "1."),
    "an unknown location is accepted": (
        {"facts": {"unknownLocationAssign": {"form": "accepted"}}},
        "unknownLocationAssign",
        "accepted",
    ),
    "a DELETE of an unknown VM is accepted": (
        {"facts": {"unknownVmUnassign": {"form": "accepted"}}},
        "unknownVmUnassign",
        "accepted",
    ),
}


@pytest.mark.parametrize(("behavior", "key", "shown"), ODD.values(), ids=ODD)
def test_an_odd_server_stands_out(
    behavior: dict[str, Any], key: str, shown: str, run: Run, simulator: Simulator
) -> None:
    simulator.behavior = Behavior(**behavior)
    simulator.inventory.assignments[SQL01, OFFSITE01] = None
    before = dict(simulator.inventory.assignments)
    writes = [*WRITES, "--yes"] if FACTS[key].step == "writes" else []
    done = run("probe", *writes)
    assert re.search(r"^\d+ facts? of \d+ that were found: this package assumes", done.stdout, re.M)
    row = rows(done)[FACTS[key].what]
    assert row[0].startswith(shown)
    assert row[1:] == [FACTS[key].assumed, f"DIFFERS: {FACTS[key].if_wrong}"]
    assert simulator.inventory.assignments == before


def test_the_file_holds_no_name_guid_token_or_address(
    run: Run, simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VMBACKUP_USERNAME", "CONTOSO\\svc-backup")
    simulator.username = "svc-backup"
    words = (
        rf"SQL01 ({SQL01}) on HV-01, \\NAS01\VMBackups, E:\VMBackups of contoso\svc-backup at "
        "localhost:36013, 10.1.2.3 and svc-backup@contoso.com"
    )
    told = {"form": "refused", "message": words, "details": SQL01.upper()}
    odd = ("unknownVmListing", "secondAssign", "secondUnassign", "unknownVmAssign", "endedToken")
    simulator.behavior = Behavior(second_post="refuse", facts=dict.fromkeys(odd, told))
    done = run("probe", *WRITES, *SECOND, "--yes")
    text = (tmp_path / "facts.json").read_text()
    for vm in simulator.inventory.virtual_machines.values():
        for key, value in vm.items():
            if isinstance(value, str) and key != "LastBackupResult":
                assert value not in text
    for secret in (
        "NAS01",
        "VMBackups",
        "OFFSITE01",
        "svc",
        "contoso",
        "10.1.2.3",
        "36013",
        PASSWORD,
    ):
        assert secret.lower() not in text.lower()
    assert TOKEN_PREFIX not in text + done.output
    assert not re.search(r"[0-9a-f]{8}-[0-9a-f]{4}", text, re.IGNORECASE)
    assert json.loads(text)["facts"]["secondAssign"]["value"]["message"] == (
        "[VM] ([guid]) on [host], [path], [path] of [domain]\\[user] at [address], [address] and "
        "[user]@[domain].com"
    )


def test_a_server_that_fails_in_the_middle_leaves_what_was_found(
    run: Run, simulator: Simulator, tmp_path: Path
) -> None:
    simulator.faults = [Fault("error", "POST /sessions/start", times=None, acted=False)]
    done = run("probe", fails=1)
    assert "gave an answer that is not the VM Backup API's (HTTP 500" in done.stderr
    assert facts(tmp_path).values.keys() >= {"hostHeader", "unknownToken"}
    assert facts(tmp_path).not_found["vmListing"] == "not tried: the probe ended before"


def test_a_server_that_does_not_answer_is_one_sentence(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VMBACKUP_BASE_URL", "http://localhost:1/api/rest")
    done = run("probe", fails=1)
    assert done.stderr.count("\n") == 2
    assert "No VM Backup API answers at http://localhost:1/api/rest" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_server_that_is_busy_after_a_session_ended_is_waited_for(
    run: Run, simulator: Simulator, tmp_path: Path
) -> None:
    simulator.faults = [Fault("busy", skip=2, times=3)]
    run("probe")
    found = facts(tmp_path).values
    assert found["numericServerPort"] == Answer("accepted")
    assert "endedToken" in found


def test_a_file_of_something_else_is_not_overwritten(
    run: Run, simulator: Simulator, tmp_path: Path
) -> None:
    (tmp_path / "facts.json").write_text('{"my": "facts"}')
    done = run("probe", fails=1)
    assert "exists already and is not a file of facts: give another name." in done.stderr
    assert not simulator.calls
    (tmp_path / "facts.json").write_text(Facts("9.1").dump())
    run("probe")
    assert facts(tmp_path).values


def test_a_given_session_goes_on(
    run: Run, simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = f"{TOKEN_PREFIX}-0000-4000-8000-000000000001"
    simulator.sessions[token] = float("inf")
    monkeypatch.setenv("VMBACKUP_SESSION_TOKEN", token)
    with pytest.raises(AssertionError):  # that no session is open
        run("probe")
    assert simulator.sessions.keys() == {token}
    assert not simulator.logins
    assert "secondSession" not in facts(tmp_path).values


# The writing half


def test_it_asks_before_the_vm_is_changed(run: Run, simulator: Simulator) -> None:
    done = run("probe", *WRITES, fails=1)
    assert "Nobody can say yes here, so nothing was changed: give --yes" in done.stderr
    assert not any(call.method == "DELETE" for call in simulator.calls)
    assert not simulator.inventory.locations_of(SQL01)


@pytest.mark.parametrize("answer", ["n", "", "y"])
def test_only_a_yes_goes_on(
    answer: str, run: Run, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pulumi_vmbackup.command.probe.is_terminal", lambda _: True)
    done = run("probe", *WRITES, fails=0 if answer == "y" else 1, input=f"{answer}\n")
    assert "SQL01 is assigned to \\\\NAS01\\VMBackups, un-assigned again" in done.stderr
    is_changed = any(call.method == "DELETE" for call in simulator.calls)
    assert is_changed is (answer == "y")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--vm", "SQL01"], "belong together"),
        (["--location", NAS], "belong together"),
        (["--second-location", NAS], "belong together"),
        (["--vm", "SQL99", "--location", NAS], "There is no VM with name 'SQL99'"),
        (["--vm", "SQL01", "--location", "Z:"], "There is no backup location with path 'Z:'"),
        (["--vm", "TEST01", "--location", NAS], "is not configured in VM Backup"),
        (["--vm", "DC01", "--location", DISK_E], "is assigned to E:\\VMBackups already"),
        ([*WRITES, "--second-location", NAS01], "are the same: give two locations"),
        ([*WRITES, "--second-location", OFFSITE01], "is offsite: give a primary location"),
        (["--output", "nowhere/facts.json"], "There is no folder"),
        (["--restore", "missing.json"], "missing.json cannot be read"),
    ],
)
def test_wrong_options_are_one_sentence(
    options: list[str], says: str, run: Run, simulator: Simulator
) -> None:
    before = dict(simulator.inventory.assignments)
    done = run("probe", *options, "--yes", fails=1)
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert simulator.inventory.assignments == before
    assert not any(call.method == "DELETE" for call in simulator.calls)


def test_a_vm_and_locations_by_their_ids(run: Run, tmp_path: Path) -> None:
    ids = ("--vm", SQL01.upper(), "--location", NAS01, "--second-location", f"{{{DISK_E}}}")
    done = run("probe", *ids, "--yes")
    assert "SQL01 has the locations that it had before, as a listing shows" in done.stderr
    assert facts(tmp_path).values["secondPrimary"] == "is allowed"


def test_what_cannot_be_restored_is_said_with_the_command_that_does(
    run: Run, simulator: Simulator, tmp_path: Path
) -> None:
    before = dict(simulator.inventory.assignments)
    # From the first un-assignment on, nothing but logins and listings works.
    gone = Fault("refused", "DELETE", times=None)
    simulator.faults = [gone]
    done = run("probe", *WRITES, "--yes", "--username", "Administrator", fails=1)
    file = tmp_path / "vmbackup-probe.json"
    assert f"NOT RESTORED: SQL01 IS STILL ASSIGNED TO {NAS}\n" in done.stderr
    assert "BECAUSE: the server says" in done.stderr
    command = re.findall(r"AS SOON AS THE SERVER ANSWERS, RUN: vmbackup (.*)", done.stderr)[0]
    assert command == f"probe --restore {file} --username Administrator"
    assert (SQL01, NAS01) in simulator.inventory.assignments
    again = run("probe", *WRITES, "--yes", fails=1)
    assert f"run `vmbackup probe --restore {file}` first" in again.stderr
    simulator.faults = []
    done = run(*command.split())
    assert "SQL01 has the locations that it had before" in done.stderr
    assert simulator.inventory.assignments == before
    assert not file.exists()


def test_a_server_that_is_gone_is_said_too(run: Run, simulator: Simulator) -> None:
    # Three listings before the first change.
    simulator.faults = [Fault("error", f"GET /vms/backuplocations/[token]/{SQL01}", 3, None)]
    done = run("probe", *WRITES, "--yes", fails=1)
    assert "NOT CHECKED WHETHER SQL01 HAS THE LOCATIONS THAT IT HAD BEFORE\n" in done.stderr


def test_the_vm_of_another_server_is_not_restored(
    run: Run, simulator: Simulator, tmp_path: Path
) -> None:
    journal = {
        "server": "localhost:1",
        "vm_ref": DC01,
        "vm_name": "DC01",
        "assigned": {NAS01: NAS},
        "touched": {DISK_E: "E:"},
    }
    (tmp_path / "probe.json").write_text(json.dumps(journal))
    done = run("probe", "--restore", "probe.json", fails=1)
    assert "of the server localhost:1, and the settings lead to" in done.stderr
    assert not simulator.calls


# Interruptions


@contextmanager
def probing(base_url: str, *options: str) -> Iterator[subprocess.Popen[str]]:
    """A probe as a process of its own."""
    command = [sys.executable, "-m", "pulumi_vmbackup.command", "probe", *options]
    with subprocess.Popen(
        [*command, "--base-url", base_url, "--username", "Administrator"],
        env={**os.environ, "VMBACKUP_PASSWORD": PASSWORD},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as popen:
        yield popen


def with_locations() -> Simulator:
    """A server that moves a VM with two locations."""
    inventory = Inventory.sample()
    inventory.assignments |= {(SQL01, OFFSITE01): None, (SQL01, DISK_E): None}
    return Simulator(inventory, password=PASSWORD, behavior=Behavior(second_primary="move"))


@ON_POSIX
@pytest.mark.parametrize("skip", range(18))
def test_ctrl_c_at_each_exchange_of_the_writing_half(skip: int) -> None:
    simulator = with_locations()
    before = dict(simulator.inventory.assignments)
    first = f"POST /vms/backuplocations/[token]/{SQL01}/{NAS01}"
    begin, held = Fault("hold", first), Fault("hold", skip=skip)
    simulator.faults = [begin]
    with serve(simulator) as base_url, probing(base_url, *WRITES, "--yes") as popen:
        wait_for(lambda: bool(begin.hits))
        simulator.faults = [held]
        wait_for(lambda: bool(held.hits) or popen.poll() is not None)
        popen.send_signal(signal.SIGINT)
        simulator.faults = []
        _, said = popen.communicate()
    assert simulator.inventory.assignments == before
    assert not simulator.sessions
    if held.hits:
        assert popen.returncode == 130
    assert "SQL01 has the locations that it had before, as a listing shows" in said
    assert "Traceback" not in said
    assert not Path("vmbackup-probe.json").exists()


@ON_POSIX
@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_each_signal_restores_the_vm(name: str, code: int) -> None:
    simulator = with_locations()
    before = dict(simulator.inventory.assignments)
    held = Fault("hold", "POST /vms/backuplocations", skip=1)
    simulator.faults = [held]
    with serve(simulator) as base_url, probing(base_url, *WRITES, "--yes") as popen:
        wait_for(lambda: bool(held.hits))
        for _ in range(3):  # whoever is impatient
            popen.send_signal(signal.Signals[name])
        simulator.faults = []
        _, said = popen.communicate()
    assert simulator.inventory.assignments == before
    assert popen.returncode == code
    assert "Traceback" not in said


@pytest.mark.parametrize(
    "skip", [*range(0, 18, 4), *only_full(*(each for each in range(18) if each % 4))]
)
def test_a_probe_that_is_killed_is_restored_from_its_file(
    skip: int, base_url: str, run: Run, simulator: Simulator
) -> None:
    simulator.inventory = with_locations().inventory
    simulator.behavior = Behavior(second_primary="move")
    before = dict(simulator.inventory.assignments)
    begin, held = Fault("hold", "POST /vms/backuplocations"), Fault("hold", skip=skip)
    simulator.faults = [begin]
    with probing(base_url, *WRITES, "--yes") as popen:
        wait_for(lambda: bool(begin.hits))
        simulator.faults = [held]
        wait_for(lambda: bool(held.hits) or popen.poll() is not None)
        popen.kill()
        popen.communicate()
    simulator.faults = []
    simulator.sessions.clear()  # as after five minutes
    if Path("vmbackup-probe.json").exists():
        run("probe", "--restore", "vmbackup-probe.json")
    assert simulator.inventory.assignments == before
    assert not Path("vmbackup-probe.json").exists()


def test_a_terminal_that_is_gone_does_not_keep_it_from_restoring() -> None:
    simulator = with_locations()
    before = dict(simulator.inventory.assignments)
    held = Fault("hold", "DELETE")
    simulator.faults = [held]
    with serve(simulator) as base_url, probing(base_url, *WRITES, "--yes") as popen:
        wait_for(lambda: bool(held.hits))
        assert popen.stderr
        assert popen.stdout
        popen.stderr.close()
        popen.stdout.close()
        simulator.faults = []
        popen.wait()
    assert simulator.inventory.assignments == before
    assert not Path("vmbackup-probe.json").exists()
