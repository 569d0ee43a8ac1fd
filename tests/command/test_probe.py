"""``vmbackup probe``: what it finds and prints, and that it leaves the server as it was."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from marks import only_full
from sample import DISK_E, NAS01, OFFSITE01, PASSWORD, SQL01, another_site
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
    monkeypatch.setattr(probe_writes, "PAUSE_SECONDS", 0.05)
    monkeypatch.setattr(probe_writes, "LONGEST_LAG_SECONDS", 2.0)
    monkeypatch.setattr(probe_writes, "RESTORE_SECONDS", 0.5)
    monkeypatch.setenv("VMBACKUP_SETTLE_SECONDS", "0.3")
    monkeypatch.setenv("PULUMI_HOME", str(tmp_path / "home"))
    return tmp_path


def journals() -> list[Path]:
    return list(Path().glob("home/vmbackup/*.json"))


def rows(done: Result) -> dict[str, list[str]]:
    """The table: what was found, what was assumed, and perhaps what differs, by fact."""
    cells = (re.split(r" {2,}", line.strip()) for line in done.stdout.splitlines())
    return {first.partition(":")[0]: others for first, *others in cells if others}


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
    assert table["secondSession"][0] == busy
    assert table["secondAssign"] == [
        "- (not tried: it needs --vm and --location)",
        "accepted, or refused",
    ]
    assert "DIFFERS" not in done.stdout
    assert "All 29 facts that were found are as this package assumes." in done.stdout
    found = facts(tmp_path)
    assert len(found.values) == 29
    assert f"{tmp_path / 'facts.json'} has 29 facts, without names" in done.stdout
    assert found.values.keys() | found.not_found.keys() == {
        key for key, fact in FACTS.items() if fact.step != "none"
    }
    assert len(simulator.tokens) == 2


def advice(done: Result) -> list[str]:
    """The settings that are advised, and the commands below them."""
    _, _, shown = done.stdout.partition("Settings for this server\n")
    return shown.partition("\n\n")[0].splitlines()


def test_it_prints_the_settings_for_this_server(run: Run) -> None:
    shown = advice(run("probe"))
    # On a busy machine, the answers take long enough to tell.
    assert [each for each in shown if "parallelRequests" not in each] == [
        "settleSeconds stays 0.3: not tried: it needs --vm and --location",
        "timeoutSeconds 30 (as now): each answer took less than 0.1 s",
        "  pulumi config set vmbackup:timeoutSeconds 30",
        "sessionWaitSeconds 310 (now 60): the server refuses a second session; that of a killed "
        "run lives for five minutes",
        "  pulumi config set vmbackup:sessionWaitSeconds 310",
    ]


def test_a_slow_server_gets_other_settings(
    run: Run, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VMBACKUP_SETTLE_SECONDS", "1")
    monkeypatch.setenv("VMBACKUP_SESSION_WAIT_SECONDS", "90")
    slow = {"listingSeconds": 0.3, "parallelListings": 2, "secondSession": {"form": "accepted"}}
    simulator.behavior = Behavior().changed(facts=slow, lag_seconds=0.6)
    shown = advice(run("probe", *WRITES, "--yes"))
    settle = re.fullmatch(
        r"settleSeconds ([2-9]) \(now 1\): a new assignment was .* (\d\.\d) s", shown[0]
    )
    assert settle
    assert float(settle[2]) >= 0.6
    assert int(settle[1]) == math.ceil(3 * float(settle[2]))
    assert "  pulumi config set vmbackup:parallelRequests 2" in shown
    assert "sessionWaitSeconds 90 (as now): the server accepts a second session" in shown


def test_nothing_is_advised_below_what_is_set(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMBACKUP_TIMEOUT_SECONDS", "120.5")
    monkeypatch.setenv("VMBACKUP_SESSION_WAIT_SECONDS", "3600")
    shown = advice(run("probe"))
    assert "  pulumi config set vmbackup:timeoutSeconds 121" in shown
    assert "  pulumi config set vmbackup:sessionWaitSeconds 3600" in shown


def test_a_named_connection_gets_its_own_settings(
    run: Run, base_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VMBACKUP_SITE_B_BASE_URL", base_url)
    monkeypatch.setenv("VMBACKUP_SITE_B_USERNAME", "Administrator")
    monkeypatch.setenv("VMBACKUP_SITE_B_PASSWORD", PASSWORD)
    done = run("probe", "--connection", "site-b")
    command = "pulumi config set --path vmbackup:connections.site-b.timeoutSeconds 30"
    assert command in done.stdout


ODD: dict[str, tuple[str, Any, str]] = {
    "a second login ends the first session": ("firstSession", "ends", "ends"),
    "a refusal in other words": (
        "secondSession",
        {"form": "refused", "message": "Nicht jetzt"},
        'refused: "Nicht jetzt"',
    ),
    "an error page for a dead token": (
        "unknownToken",
        {"form": "page", "status": 500},
        "an HTML page (HTTP 500)",
    ),
    "times that nobody reads": ("timeSpelling", "another", "another"),
    "a VM without a field": (
        "vmFields",
        {"VirtualMachineName": ["text"], "HostName": ["text"]},
        "2 fields; new ones: none",
    ),
    "no listing with both flags": (
        "vmListing",
        {"form": "page", "status": 404},
        "an HTML page (HTTP 404)",
    ),
    "flags that are ignored": ("vmListingForms", "differ", "differ"),
    "an empty list that is missing": ("emptyListing", "no list", "no list"),
    "all locations for an unknown VM": ("unknownVmListing", {"form": "list"}, "list"),
    "one call at a time": ("parallelListings", 1, "1"),
    "slow assignments": ("appearSeconds", 0.7, "0."),
    "an unknown location is accepted": ("unknownLocationAssign", {"form": "accepted"}, "accepted"),
    "an unknown VM is accepted": ("unknownVmAssign", {"form": "accepted"}, "accepted"),
    "a DELETE of an unknown VM is accepted": (
        "unknownVmUnassign",
        {"form": "accepted"},
        "accepted",
    ),
}


@pytest.mark.parametrize(("key", "value", "shown"), ODD.values(), ids=ODD)
def test_an_odd_server_stands_out(
    key: str, value: Any, shown: str, run: Run, simulator: Simulator
) -> None:
    slow = {"listingSeconds": 0.1} if key == "parallelListings" else {}
    simulator.behavior = Behavior().changed(facts={key: value, **slow})
    simulator.inventory.assignments[SQL01, OFFSITE01] = None
    before = dict(simulator.inventory.assignments)
    writes = [*WRITES, "--yes"] if FACTS[key].step == "writes" else []
    done = run("probe", *writes)
    assert re.search(r"^\d+ facts? of \d+ that were found: this package assumes", done.stdout, re.M)
    row = rows(done)[key]
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
    simulator.behavior = Behavior().changed(facts=dict.fromkeys(odd, told))
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


@pytest.mark.parametrize(
    "words",
    ["9.1.4 on VMBACKUP01 (10.1.2.3)", SQL01, "v9"],
)
def test_a_version_that_is_no_number_is_not_in_the_file(
    words: str, run: Run, simulator: Simulator, tmp_path: Path
) -> None:
    simulator.behavior = Behavior(facts={"protocolVersion": words})
    run("probe")
    assert words not in (tmp_path / "facts.json").read_text()
    assert facts(tmp_path).not_found["protocolVersion"].endswith("no version number")


def test_the_codes_of_a_server_stay_in_the_file(
    run: Run, simulator: Simulator, tmp_path: Path
) -> None:
    told = {"form": "refused", "code": "BASEBACKUPCONTROLLER_18", "message": "Jane Doe of SQL01"}
    simulator.behavior = Behavior(facts={"unknownVmListing": told})
    run("probe")
    answer = facts(tmp_path).values["unknownVmListing"]
    assert isinstance(answer, Answer)
    assert (answer.code, answer.message) == ("BASEBACKUPCONTROLLER_18", "Jane Doe of [VM]")


def test_a_probe_that_fails_writes_nothing(run: Run, simulator: Simulator, tmp_path: Path) -> None:
    (tmp_path / "facts.json").write_text(Facts("9.1").dump())
    simulator.faults = [Fault("error", "POST /sessions/start", times=None, acted=False)]
    done = run("probe", fails=1)
    assert "gave an answer that is not the VM Backup API's (HTTP 500" in done.stderr
    assert done.stdout == ""
    assert facts(tmp_path) == Facts("9.1")


def test_without_a_password_nothing_is_sent(
    run: Run, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VMBACKUP_PASSWORD")
    assert "No password for VM Backup is known" in run("probe", fails=1).stderr
    assert not simulator.calls


def test_a_closed_pipe_leaves_the_file(base_url: str, tmp_path: Path) -> None:
    with probing(base_url) as popen:
        assert popen.stdout
        popen.stdout.close()
        popen.wait()
    assert len(facts(tmp_path).values) == 29


def test_a_stack_is_in_the_commands(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tmp_path / "the program"
    project.mkdir()
    (project / "Pulumi.yaml").write_text("name: backup\nruntime: python\n")
    monkeypatch.setattr("pulumi_vmbackup.command.connection.read_stack", lambda _: lambda _: None)
    done = run("probe", "--stack", f"{project}/dev")
    assert f"timeoutSeconds 30 --stack dev --cwd '{project}'" in done.stdout.replace('"', "'")
    monkeypatch.chdir(project)
    assert "timeoutSeconds 30 --stack dev\n" in run("probe", "--stack", "dev").stdout


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
    assert (
        "There is no terminal to ask whether that is right, so nothing was changed" in done.stderr
    )
    assert "SQL01 is assigned to \\\\NAS01\\VMBackups for about a minute." in done.stderr
    assert not any(call.method == "DELETE" for call in simulator.calls)
    assert not simulator.inventory.locations_of(SQL01)


@pytest.mark.parametrize("answer", ["n", "", "y"])
def test_only_a_yes_goes_on(
    answer: str, run: Run, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pulumi_vmbackup.command.probe.is_terminal", lambda _: True)
    done = run("probe", *WRITES, fails=0 if answer == "y" else 1, input=f"{answer}\n")
    assert "SQL01 is assigned to \\\\NAS01\\VMBackups for about a minute" in done.stderr
    is_changed = any(call.method == "DELETE" for call in simulator.calls)
    assert is_changed is (answer == "y")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--vm", "SQL01"], "--vm needs --location"),
        (["--location", NAS], "--vm needs --location"),
        (["--second-location", NAS], "--vm needs --location"),
        (["--vm", "SQL99", "--location", NAS], "There is no VM with name 'SQL99'"),
        (["--vm", "SQL01", "--location", "Z:"], "There is no backup location with path 'Z:'"),
        (["--vm", "TEST01", "--location", NAS], "is not configured in VM Backup"),
        (["--vm", "DC01", "--location", DISK_E], "is assigned to E:\\VMBackups already"),
        ([*WRITES, "--second-location", NAS01], "are the same: give two locations"),
        ([*WRITES, "--second-location", OFFSITE01], "is offsite: give a primary location"),
        (["--output", "nowhere/facts.json"], "There is no folder"),
        (["--restore"], "There is nothing to restore: this user has no unfinished probe of http"),
        (["--output", "-"], "--output takes no -: give the name of a file."),
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


def test_a_present_primary_location_is_named_in_the_question(
    run: Run, simulator: Simulator
) -> None:
    simulator.inventory.assignments[SQL01, DISK_E] = None
    done = run("probe", *WRITES, fails=1)
    says = r"a second primary location un-assigns the first one (E:\VMBackups) meanwhile."
    assert says in done.stderr


def test_what_cannot_be_restored_is_said_with_the_command_that_does(
    run: Run, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = dict(simulator.inventory.assignments)
    simulator.faults = [Fault("refused", "DELETE", times=None)]
    done = run("probe", *WRITES, "--yes", "--username", "Administrator", fails=1)
    assert f"NOT RESTORED: SQL01 IS STILL ASSIGNED TO {NAS}\n" in done.stderr
    assert "BECAUSE: the server says" in done.stderr
    assert done.stderr.count("MaintenanceMode") <= 3
    command = re.findall(r"WHEN THAT IS OVER, RUN: vmbackup (.*)", done.stderr)[0]
    assert command == "probe --restore --username Administrator"
    assert (SQL01, NAS01) in simulator.inventory.assignments
    again = run("probe", *WRITES, "--yes", fails=1)
    assert "wait for its end, or run `vmbackup probe --restore`" in again.stderr.lower()
    simulator.faults = []
    asks = run(*command.split(), fails=1)
    assert f"were none. To restore that: un-assign it from {NAS}. Somebody may" in asks.stderr
    assert "so nothing was changed: give --yes." in asks.stderr
    assert (SQL01, NAS01) in simulator.inventory.assignments
    monkeypatch.setattr("pulumi_vmbackup.command.probe.is_terminal", lambda _: True)
    done = run(*command.split(), input="y\n")
    assert "SQL01 has the locations that it had before" in done.stderr
    assert simulator.inventory.assignments == before
    assert not journals()


def test_a_vm_that_is_restored_already_is_not_changed(run: Run, simulator: Simulator) -> None:
    simulator.faults = [Fault("refused", "DELETE", times=None)]
    run("probe", *WRITES, "--yes", fails=1)
    simulator.faults = []
    simulator.inventory.assignments = {(SQL01, OFFSITE01): None}  # as somebody wants it now
    simulator.calls.clear()
    run("probe", "--restore")
    assert not any(call.method == "DELETE" for call in simulator.calls)
    assert not journals()


def test_what_was_not_reached_is_not_said_to_need_an_option(
    run: Run, simulator: Simulator, tmp_path: Path
) -> None:
    simulator.faults = [Fault("error", "POST /vms/backuplocations", acted=False)]
    run("probe", *WRITES, "--yes")
    not_found = facts(tmp_path).not_found
    assert not_found["writeSeconds"].startswith("the assignment was not accepted: an HTML page")
    assert not_found["secondPrimary"].startswith("the assignment was not accepted: an HTML page")
    simulator.faults = [Fault("reset", "POST /vms/backuplocations", skip=1)]
    run("probe", *WRITES, "--yes", fails=1)
    not_found = facts(tmp_path).not_found
    assert not_found["secondAssign"] == "not tried: the probe ended before"
    assert not_found["secondPrimary"].startswith("not tried: it needs --vm, --location and")


def test_a_server_that_is_gone_is_said_too(run: Run, simulator: Simulator) -> None:
    # Three listings before the first change.
    simulator.faults = [Fault("error", f"GET /vms/backuplocations/[token]/{SQL01}", 3, None)]
    done = run("probe", *WRITES, "--yes", fails=1)
    assert "NOT CHECKED WHETHER SQL01 HAS THE LOCATIONS THAT IT HAD BEFORE\n" in done.stderr
    assert journals()


def test_a_journal_on_another_site_is_an_error_that_asks_for_the_right_server(
    run: Run, simulator: Simulator
) -> None:
    simulator.faults = [Fault("refused", "DELETE", times=None)]
    run("probe", *WRITES, "--yes", fails=1)
    simulator.faults = []
    simulator.inventory = another_site()
    done = run("probe", "--restore", "--yes", fails=1)
    assert "whether this is the right server" in done.stderr
    assert journals()


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
    assert not journals()


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


@pytest.mark.parametrize("skip", [*range(0, 9, 2), *only_full(*range(1, 9, 2))])
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
        wait_for(lambda: bool(held.hits))
        popen.kill()
        popen.communicate()
    simulator.faults = []
    for token in tuple(simulator.sessions):  # that of the killed probe lives for a while
        threading.Timer(0.5, simulator.sessions.pop, (token, None)).start()
    if journals():
        run("probe", "--restore", "--yes")
    assert simulator.inventory.assignments == before
    assert not journals()


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
    assert not journals()
