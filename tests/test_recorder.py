"""recorder.py, recording.py and standins.py: what a recording holds, and what it never holds."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import responses
from sample import DISK_E, NAS01, NOWHERE, PASSWORD, SQL01

from pulumi_vmbackup import SettingsError, VmBackupError
from pulumi_vmbackup.client import Client
from pulumi_vmbackup.recorder import Recorder, recorder_of_process
from pulumi_vmbackup.recording import Exchange, read_recording
from pulumi_vmbackup.settings import Settings, read_settings
from pulumi_vmbackup.simulator import Fault, Inventory, Simulator, serve
from pulumi_vmbackup.transport import redact

BASE = "http://localhost:36013/api/rest"
TOKEN = "e65aedeb-a0e7-440c-8309-1cc0bcd920db"
OK = {"Success": True, "ErrorCode": None, "ErrorMessage": None, "ErrorAdditionalDetails": None}
GUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
IN_SESSION = Settings(base_url=BASE, session_token=TOKEN)


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "run.jsonl"
    monkeypatch.setenv("VMBACKUP_RECORD", str(file))
    return file


@pytest.fixture
def api() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text("utf-8").splitlines()]


def names(file: Path) -> dict[str, str]:
    """The names that a recording has stand-ins for, by the stand-in."""
    told = lines(file.with_name(f"{file.name}.names"))[1:]
    return {each["stand_in"]: each["name"] for each in told}


def all_guids(text: str) -> set[str]:
    return set(re.findall(GUID, text, re.IGNORECASE))


def recorded_answer(
    api: responses.RequestsMock, file: Path, answer: Any, settings: Settings = IN_SESSION
) -> Any:
    """What the recording has of an answer to ``vms/list``."""
    url = f"{BASE}/vms/list/{TOKEN}"
    if isinstance(answer, (str, bytes)):
        api.upsert("GET", url, body=answer)
    else:
        api.upsert("GET", url, json=answer)
    with Client(settings) as client, suppress(VmBackupError):
        client.virtual_machines()
    last = [each for each in lines(file) if each["path"].startswith("vms/list")][-1]
    return last["answer"] if "answer" in last else last["text"]


def recorded_message(api: responses.RequestsMock, file: Path, message: str) -> str:
    refusal = {**OK, "Success": False, "ErrorMessage": message}
    return str(recorded_answer(api, file, refusal)["ErrorMessage"])


# What a line holds


def test_each_exchange_is_a_line_with_its_fields_in_order(
    client: Client, file: Path, simulator: Simulator, settings: Settings
) -> None:
    with Client(settings) as client:
        client.virtual_machines()
        client.assign(SQL01, NAS01)
    recorded = lines(file)
    assert [(each["method"], re.sub(GUID, "[guid]", each["path"])) for each in recorded] == [
        ("POST", "sessions/start"),
        ("GET", "vms/list/[token]"),
        ("POST", "vms/backuplocations/[token]/[guid]/[guid]"),
        ("POST", "sessions/end/[token]"),
    ]
    listing = recorded[1]
    keys = ["time", "process", "server", "base_path", "method", "path"]
    assert list(listing) == [*keys, "status", "seconds", "bytes", "answer"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", listing["time"])
    assert listing["process"] == os.getpid()
    assert re.fullmatch(r"server-[0-9a-f]{10}", listing["server"])
    assert (listing["base_path"], listing["status"]) == ("/api/rest", 200)
    assert 0 < listing["seconds"] < 60
    assert listing["bytes"] > 1000
    vm = listing["answer"]["VirtualMachines"][1]
    assert (vm["LastBackupTime"], vm["LastBackupResult"]) == ("2026-03-01-22-00-00", "Success")
    assert (vm["Configured"], vm["LastBackupDuration"]) == (True, 697)
    # The pair of the call has the ids of the listing.
    assert recorded[2]["path"].split("/")[3] == vm["AltaroVirtualMachineRef"]
    assert names(file)[vm["VirtualMachineName"]] == "SQL01"
    assert names(file)[vm["AltaroVirtualMachineRef"]] == SQL01
    assert simulator.calls


def test_each_retry_is_a_line_of_its_own_with_what_went_wrong(
    file: Path, simulator: Simulator, settings: Settings
) -> None:
    simulator.faults += [
        Fault("reset", call="GET /vms/list"),
        Fault("html", call="GET /vms/list"),
    ]
    with Client(settings) as client:
        client.virtual_machines()
    tries = [each for each in lines(file) if each["path"] == "vms/list/[token]"]
    assert [each.get("failure") for each in tries] == ["reset", None, None]
    assert "status" not in tries[0]
    assert "bytes" not in tries[0]
    assert "<title>Sign in</title>" in tries[1]["text"]
    assert len(tries[2]["answer"]["VirtualMachines"]) == 8


def test_a_timeout_and_a_refused_connection_are_told_apart(
    file: Path, simulator: Simulator
) -> None:
    simulator.faults.append(Fault("stall", times=None))
    with serve(simulator) as url:
        settings = Settings(base_url=url, host_header="localhost", timeout_seconds=0.05)
        with Client(settings) as client, suppress(VmBackupError):
            client.ask_protocol()
    with Client(settings) as client, suppress(VmBackupError):
        client.ask_protocol()
    assert [each["failure"] for each in lines(file)] == ["timeout", "refused"]


def test_nothing_is_recorded_of_what_was_sent(file: Path, settings: Settings) -> None:
    with Client(settings) as client:
        client.log_in()
    assert PASSWORD not in file.read_text("utf-8")
    assert "Administrator" not in file.read_text("utf-8")
    assert "ServerPort" not in file.read_text("utf-8")


# Secrets


def spellings(token: str) -> list[str]:
    bare = token.replace("-", "")
    upper = token.upper()
    return [
        token,
        upper,
        bare,
        bare.upper(),
        f"{{{token}}}",
        f"({upper})",
        f"%7B{token}%7D",
        token.replace("-", "%2D"),
        token.replace("-", "%2d"),
        token.replace("-", "\u2011"),
        token.replace("-", "&#45;"),
        f"id={token}&x",
        f"x{token}y",
        f"\u200b{token[:9]}\u200b{token[9:]}",
    ]


@pytest.mark.parametrize("with_names", [False, True], ids=["stand-ins", "with names"])
@pytest.mark.parametrize("spelled", spellings(TOKEN))
def test_no_answer_gives_a_token_away(
    api: responses.RequestsMock,
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
    spelled: str,
    with_names: bool,
) -> None:
    if with_names:
        monkeypatch.setenv("VMBACKUP_RECORD_WITH_NAMES", "true")
    message = {**OK, "Success": False, "ErrorMessage": f"The session {spelled} is over."}
    for answer in (
        message,
        {**message, "ErrorMessage": None, "ErrorAdditionalDetails": spelled},
        {**OK, "ErrorCode": spelled},
        {**OK, "Data": spelled, "Nested": [{"Anything": [spelled]}], spelled: spelled},
        {**OK, "ClosedSessions": [{"SessionToken": spelled}], "NewToken": {"Value": spelled}},
        f"<html><a href='/vms/list/{spelled}'>{spelled}</a></html>",
        f'{{"broken": "{spelled}"',
        json.dumps({"utf-16": spelled}).encode("utf-16-le"),
        f"{spelled} in text".encode("utf-16-le"),
    ):
        recorded_answer(api, file, answer)
    said = re.sub(r"[^0-9a-z]", "", file.read_text("utf-8").lower().replace("%2d", ""))
    assert TOKEN.replace("-", "") not in said
    told = file.with_name(f"{file.name}.names").read_text("utf-8").lower()
    assert TOKEN not in told
    assert TOKEN.replace("-", "") not in told


def test_a_token_that_no_process_knows_is_no_exception(
    api: responses.RequestsMock, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VMBACKUP_RECORD_WITH_NAMES", "true")
    recorded_message(api, file, f"Session {NOWHERE} is open")
    recorded_answer(api, file, {**OK, "OpenSession": NOWHERE})
    assert NOWHERE not in file.read_text("utf-8")
    # An id of a listing is none.
    recorded_answer(api, file, {**OK, "VirtualMachines": [{"AltaroVirtualMachineRef": SQL01}]})
    assert recorded_message(api, file, f"No {SQL01}") == f"No {SQL01}"


def test_the_token_of_a_login_is_in_no_file(
    file: Path, settings: Settings, simulator: Simulator
) -> None:
    with Client(settings) as client:
        client.log_in()
    start, end = lines(file)
    assert start["answer"]["Data"] == "[token]"
    assert end["answer"]["ClosedSessions"] == [{"SessionToken": "[token]"}]
    (token,) = simulator.tokens
    assert token not in file.read_text("utf-8")
    assert token not in file.with_name(f"{file.name}.names").read_text("utf-8")


@pytest.mark.parametrize("with_names", [False, True], ids=["stand-ins", "with names"])
def test_no_answer_gives_the_password_away(
    api: responses.RequestsMock, file: Path, monkeypatch: pytest.MonkeyPatch, with_names: bool
) -> None:
    if with_names:
        monkeypatch.setenv("VMBACKUP_RECORD_WITH_NAMES", "true")
    password = 'p&w"d ö'
    settings = Settings(base_url=BASE, session_token=TOKEN, password=password)
    for answer in (
        {**OK, "Success": False, "ErrorMessage": f"Login with {password} failed"},
        {**OK, "Success": False, "ErrorMessage": "Login with p&amp;w&quot;d &#246; failed"},
        {**OK, "Success": False, "ErrorMessage": "Login with P%26W%22D%20%C3%B6 failed"},
        {**OK, "Data": password, "VirtualMachineName": password, password: 1},
        {**OK, "Password": password, "Sent": {"Password": 12345}},
        f"<p>{password}</p>",
    ):
        recorded_answer(api, file, answer, settings)
    for each in (file, file.with_name(f"{file.name}.names")):
        text = each.read_text("utf-8").lower()
        assert not [found for found in ("p&w", "p&amp;w", "p%26w", "12345}") if found in text]


@pytest.mark.parametrize("with_names", ["false", "true"])
def test_a_password_that_looks_like_an_id_is_none(
    api: responses.RequestsMock, file: Path, monkeypatch: pytest.MonkeyPatch, with_names: str
) -> None:
    monkeypatch.setenv("VMBACKUP_RECORD_WITH_NAMES", with_names)
    settings = Settings(base_url=BASE, session_token=TOKEN, password=NOWHERE)
    recorded_answer(api, file, {**OK, "Ref": NOWHERE, "Refs": [NOWHERE.upper()]}, settings)
    recorded_answer(api, file, f"<p>{NOWHERE}</p>", settings)
    for each in (file, file.with_name(f"{file.name}.names")):
        assert NOWHERE not in each.read_text("utf-8").lower()


# Names

VM = {
    "VirtualMachineName": "Billing",
    "HostName": "atlas.contoso.local",
    "AltaroVirtualMachineRef": SQL01,
    "LastBackupResult": "Success",
}
LOCATION = {"BackupLocationId": NAS01, "LocationPath": r"\\vault\Customers of Acme"}
LISTING = {**OK, "VirtualMachines": [VM], "BackupLocations": [LOCATION]}


@pytest.mark.parametrize(
    ("message", "hidden"),
    [
        ("The VM billing failed", "billing"),
        ("BILLING: no", "BILLING"),
        ("Agent on Atlas is off", "Atlas"),
        ("atlas.contoso.local is off", "contoso"),
        (r"No access to \\vault\Customers of Acme.", "Acme"),
        (r"No access to \\VAULT\customers  of acme.", "acme"),
        (r"No access to \\\\vault\\Customers of Acme", "Acme"),
        ("No access to %5C%5Cvault%5CCustomers%20of%20Acme", "Acme"),
        (r"No access to \\vault\Customers of Acme\sub", "sub"),
        (r"\\unknown\share is full", "share"),
        (r"D:\Backups of Fabrikam\new", "Fabrikam"),
        (r"FABRIKAM\bob has no rights", "bob"),
        ("bob@fabrikam.com has no rights", "fabrikam"),
        ("10.20.30.40:443 is off", "10.20"),
        ("fe80::1c2:3 is off", "fe80"),
        ("https://bob:pw@portal.fabrikam.com/x?y", "fabrikam"),
        ("nfs:/exports/fabrikam", "fabrikam"),
        ("VM 'Payroll' failed", "Payroll"),
        ('VM "Pay roll" failed', "roll"),
        ("VM \u201ePayroll\u201c failed", "Payroll"),
        ("The VM Payroll failed", "Payroll"),
        ("SRV2019 and file-server and my_vm", "SRV"),
        ("SRV2019 and file-server and my_vm", "file-server"),
        ("SRV2019 and file-server and my_vm", "my_vm"),
        ("vCenter is off", "vCenter"),
        ("FILESERVER is off", "FILESERVER"),
        (f"VM {DISK_E.upper()} failed", DISK_E.upper()),
        (f"VM {{{DISK_E}}} failed", DISK_E),
        ("svc.backup of Globex", "svc"),
        ("Globex is off", "Globex"),
    ],
)
def test_no_error_text_gives_a_name_away(
    api: responses.RequestsMock, file: Path, message: str, hidden: str
) -> None:
    recorded_answer(api, file, LISTING)
    for answer in (
        {**OK, "Success": False, "ErrorMessage": message},
        {**OK, "Success": False, "ErrorAdditionalDetails": message},
        {**OK, "Success": False, "ErrorCode": message},
        f"<html><body>{message}</body></html>",
        f"{message} {{",
    ):
        settings = Settings(
            base_url=BASE, session_token=TOKEN, username="svc.backup", domain="Globex"
        )
        recorded = json.dumps(recorded_answer(api, file, answer, settings))
        assert hidden.lower() not in recorded.lower()


@pytest.mark.parametrize(
    "message",
    [
        "Invalid Token",
        "AnotherConsoleIsRegistered",
        "The virtual machine was not found",
        "The virtual machine is not configured",
        "The user name or password is incorrect",
        "Unable to connect to the VM Backup server",
        "InvalidToken: AltaroVirtualMachineRef has to be a GUID (HTTP 400, error 0x80070005)",
        "System.NullReferenceException at 22:00:00 on 2026-03-01",
        "The name could not be resolved. The host doesn't answer, at 127.0.0.1 or localhost.",
    ],
)
def test_what_the_server_says_can_be_read(
    api: responses.RequestsMock, file: Path, message: str
) -> None:
    assert recorded_message(api, file, message) == message


def test_words_that_programs_read_stay_even_if_they_are_names(
    api: responses.RequestsMock, file: Path
) -> None:
    recorded_answer(api, file, {**OK, "VirtualMachines": [{"VirtualMachineName": "Token"}]})
    assert recorded_message(api, file, "Invalid Token") == "Invalid Token"
    assert "Token" not in recorded_message(api, file, "The Token is off")


def test_text_of_a_field_that_is_not_known_to_be_safe_gets_a_stand_in(
    api: responses.RequestsMock, file: Path
) -> None:
    odd = {
        "Owner": "Ada Lovelace",
        "Notes": "moved from Globex",
        "Tags": ["Payroll", 7, True, None, ""],
        "LastBackupResult": "Payroll failed",
        "LastBackupTime": "when Ada was here",
        "LastBackupDuration": "seven",
        "Nested": {"Deep": [{"Contact": "ada@example.com"}]},
        SQL01: "by id",
        "Billing": 1,
        "SRV-01": 1,
    }
    answer = {**OK, "VirtualMachines": [VM], "Odd": odd}
    recorded = recorded_answer(api, file, answer)
    text = json.dumps(recorded)
    for name in ("Ada", "ada@", "Globex", "Payroll", "when", "seven", "by id", "Billing", "SRV"):
        assert name not in text
    assert SQL01 not in text
    # What is no text stays, and so do the names of fields.
    assert recorded["Odd"]["Tags"][1:] == [7, True, None, ""]
    assert [*recorded["Odd"]][:7] == [*odd][:7]
    assert [*recorded["Odd"]][7] == recorded["VirtualMachines"][0]["AltaroVirtualMachineRef"]


def test_what_is_safe_stays(api: responses.RequestsMock, file: Path) -> None:
    safe = {
        "NextBackupTime": "2026-03-02-22-00-00",
        "LastBackupTime": "2026-03-02T22:00:00.1234567",
        "LastBackupResult": "BASEBACKUPCONTROLLER_18",
        "LastOffsiteCopyResult": "Warning",
        "LastBackupTransferSizeCompressed": "1500000000",
        "Configured": "true",
        "AltaroVirtualMachineRef": "00000000-0000-0000-0000-000000000000",
    }
    answer = {**OK, "Success": False, "ErrorCode": "LoginFailed", "VirtualMachines": [safe]}
    assert recorded_answer(api, file, answer) == answer


@pytest.mark.parametrize(
    "spell",
    [
        str,
        str.upper,
        lambda guid: guid.replace("-", ""),
        lambda guid: guid.upper().replace("-", ""),
        "{{{}}}".format,
        "({})".format,
    ],
)
def test_a_guid_has_a_guid_of_the_same_spelling_for_a_stand_in(
    api: responses.RequestsMock, file: Path, spell: Any
) -> None:
    plain = recorded_answer(api, file, {**OK, "Ref": SQL01, "Again": SQL01, "Other": NAS01})
    assert plain["Ref"] == plain["Again"] != plain["Other"]
    assert re.fullmatch(GUID, plain["Ref"])
    assert recorded_answer(api, file, {**OK, "Ref": spell(SQL01)})["Ref"] == spell(plain["Ref"])


def test_the_same_name_has_the_same_stand_in_in_later_processes(
    file: Path, settings: Settings, base_url: str
) -> None:
    with Client(settings) as client:
        client.virtual_machines()
    program = (
        "from pulumi_vmbackup.client import Client; from pulumi_vmbackup.settings import *; "
        f"Client(Settings(base_url={base_url!r}, username='Administrator', password={PASSWORD!r}, "
        "host_header='localhost')).virtual_machines()"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    first, second = [each["answer"] for each in lines(file) if each["path"].startswith("vms/list")]
    assert first == second
    assert len({each["process"] for each in lines(file)}) == 2
    assert len(names(file)) == len(lines(file.with_name("run.jsonl.names"))) - 1


def test_an_error_of_one_process_hides_names_that_only_another_one_has_listed(
    file: Path,
) -> None:
    listing, asking = (Recorder(file, redact, with_names=False) for _ in range(2))
    refusal = {**OK, "Success": False, "ErrorMessage": "Billing is off"}
    listing.add(IN_SESSION, "GET", "x", 0, status=200, content=json.dumps(LISTING).encode())
    asking.add(IN_SESSION, "GET", "x", 0, status=200, content=json.dumps(refusal).encode())
    vm = lines(file)[0]["answer"]["VirtualMachines"][0]
    assert lines(file)[1]["answer"]["ErrorMessage"] == f"{vm['VirtualMachineName']} is off"


def test_with_names_they_stay(
    file: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch, base_url: str
) -> None:
    monkeypatch.setenv("VMBACKUP_RECORD_WITH_NAMES", "true")
    with Client(settings) as client:
        client.virtual_machines()
    listing = lines(file)[1]
    inventory = Inventory.sample()
    assert listing["answer"]["VirtualMachines"] == list(inventory.virtual_machines.values())
    assert listing["server"] in base_url.replace("127.0.0.1", "localhost")
    assert names(file) == {}


def test_stand_ins_cannot_be_guessed_from_the_recording(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listings = []
    for name in ("a.jsonl", "b.jsonl"):
        monkeypatch.setenv("VMBACKUP_RECORD", str(tmp_path / name))
        with Client(settings) as client:
            client.virtual_machines()
        listings.append(lines(tmp_path / name)[1]["answer"]["VirtualMachines"])
        key = lines(tmp_path / f"{name}.names")[0]["key"]
        assert len(key) == 64
        assert key not in (tmp_path / name).read_text("utf-8")
    first, second = ({vm["VirtualMachineName"] for vm in each} for each in listings)
    assert not first & second


@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
def test_only_the_user_may_read_the_files(file: Path, settings: Settings) -> None:
    with Client(settings) as client:
        client.log_in()
    for each in (file, file.with_name(f"{file.name}.names")):
        assert stat.S_IMODE(each.stat().st_mode) == 0o600


# Several processes


def _write_lines(file: str, count: int) -> None:
    recorder = Recorder(Path(file), redact, with_names=False)
    for number in range(count):
        vm = {"VirtualMachineName": f"VM {os.getpid()} {number}", "Notes": "n" * 5000}
        answer = json.dumps({**OK, "VirtualMachines": [vm]}).encode()
        recorder.add(IN_SESSION, "GET", "vms/list", 0, status=200, content=answer)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_processes_that_write_at_once_tear_no_line(tmp_path: Path, method: str) -> None:
    file = tmp_path / "run.jsonl"
    context: Any = multiprocessing.get_context(method)
    processes = [context.Process(target=_write_lines, args=(str(file), 200)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    recorded = lines(file)
    assert len(recorded) == 800
    assert len({each["process"] for each in recorded}) == 4
    told = [each for each in names(file).values() if each.startswith("VM ")]
    assert len(told) == 800


def test_threads_that_write_at_once_tear_no_line(file: Path, settings: Settings) -> None:
    with Client(settings) as client:
        client.log_in()
        threads = [threading.Thread(target=client.virtual_machines) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(read_recording(file)) == 22


def test_recorders_that_begin_at_once_have_one_key(tmp_path: Path) -> None:
    for number in range(100):
        file = tmp_path / f"{number}.jsonl"
        at_once = threading.Barrier(8)

        def begin(file: Path = file, at_once: threading.Barrier = at_once) -> None:
            at_once.wait()
            Recorder(file, redact, with_names=False)

        threads = [threading.Thread(target=begin) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        told = file.with_name(f"{file.name}.names").read_text("utf-8")
        assert told.count('{"key": ') == 1


# The file


def test_at_its_limit_a_recording_becomes_its_earlier_part(
    file: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pulumi_vmbackup.recorder.LONGEST_BYTES", 20_000)
    with Client(settings) as client:
        for _ in range(12):
            client.virtual_machines()
    earlier = file.with_name(f"{file.name}.1")
    assert file.stat().st_size < 20_000
    assert earlier.stat().st_size < 20_000
    both = [*lines(earlier), *lines(file)]
    assert read_recording(file) == [Exchange.of_line(json.dumps(each)) for each in both]
    assert both[-1]["path"] == "sessions/end/[token]"
    assert len(both) < 14  # the first ones are gone
    assert sorted(each.name for each in file.parent.iterdir() if "run" in each.name) == [
        "run.jsonl",
        "run.jsonl.1",
        "run.jsonl.names",
    ]


def test_half_a_line_of_a_killed_process_is_removed(file: Path, settings: Settings) -> None:
    for _ in range(2):
        with Client(settings) as client:
            client.log_in()
        for each in (file, file.with_name(f"{file.name}.names")):
            with each.open("a") as opened:
                opened.write('{"time": "20')
    recorder_of_process(os.environ, redact).add(IN_SESSION, "GET", "x", 0, failure="reset")
    assert [each["path"] for each in lines(file)][-1] == "x"
    assert len(lines(file)) == 5
    assert names(file)


@pytest.mark.parametrize("place", ["missing/run.jsonl", "folder"])
def test_a_file_that_cannot_be_written_fails_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings, place: str
) -> None:
    (tmp_path / "folder").mkdir()
    monkeypatch.setenv("VMBACKUP_RECORD", str(tmp_path / place))
    with pytest.raises(SettingsError) as raised:
        Client(settings)
    reason = "Is a directory" if place == "folder" else "No such file or directory"
    if os.name == "nt" and place == "folder":
        reason = "Permission denied"
    assert str(raised.value) == (
        f"The file {str(tmp_path / place)!r} of VMBACKUP_RECORD or --record cannot be written "
        f"({reason}): give the path of a file in a folder that you may write to, or remove "
        "VMBACKUP_RECORD."
    ).replace("\\\\", "\\")


def test_a_names_file_of_another_kind_is_refused(file: Path, settings: Settings) -> None:
    names_file = file.with_name(f"{file.name}.names")
    for content in ("my notes\n", "[1]\n", '{"key": "no"}\n', "{}\n"):
        names_file.write_text(content)
        with pytest.raises(SettingsError, match="holds something else than"):
            Client(settings)
        assert names_file.read_text() == content


def test_a_choice_that_is_none_is_refused(
    file: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VMBACKUP_RECORD_WITH_NAMES", "perhaps")
    with pytest.raises(SettingsError) as raised:
        Client(settings)
    assert str(raised.value) == (
        "The value 'perhaps' of VMBACKUP_RECORD_WITH_NAMES in the environment is not a choice: use "
        "true or false."
    )
    assert not file.exists()


def test_a_recording_that_fails_later_is_a_warning_and_no_error(
    file: Path, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    with Client(settings) as client:
        client.log_in()
        file.unlink()
        file.mkdir()
        assert len(client.virtual_machines()) == 8
        assert len(client.virtual_machines()) == 8
    warnings = [each.message for each in caplog.records if "records no other" in each.message]
    assert len(warnings) == 1
    assert warnings[0].startswith(f"{file} cannot be written any more (")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a full disk at hand")
def test_a_full_disk_is_a_warning_and_no_error(
    file: Path, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    with Client(settings) as client:
        client.log_in()
        file.unlink()
        file.symlink_to("/dev/full")
        assert len(client.virtual_machines()) == 8
    assert "No space left on device" in caplog.text


@pytest.mark.parametrize(
    "content",
    [
        b'{"Success": true, "Data": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"Success": true, "Data": ' + b"[" * 700 + b"]" * 700 + b"}",
        b'{"Success": true, "Data": ' + b"9" * 10_000 + b"}",
        b'{"Success": true, "Data": "\\ud800", "Name": "\\udfff"}',
        b'{"Success": true, "Data": NaN}',
        b"null",
        b"",
        b"\xff\xfe\x00",
        b"x" * 100_000,
    ],
    ids=["very deep", "deep", "long int", "half a pair", "NaN", "null", "empty", "no text", "long"],
)
def test_an_odd_answer_is_recorded_and_breaks_nothing(
    api: responses.RequestsMock, file: Path, content: bytes
) -> None:
    api.add("GET", f"{BASE}/protocol/version", body=content)
    with Client(IN_SESSION) as client:
        client.ask_protocol()
    (exchange,) = read_recording(file)
    assert exchange.bytes == len(content)
    assert exchange.answer is not None or exchange.text is not None
    assert len(exchange.text or "") <= 1000


def test_a_token_at_the_end_of_a_long_text_is_not_cut_in_half(
    api: responses.RequestsMock, file: Path
) -> None:
    for length in range(960, 1001):
        text = recorded_answer(api, file, "x " * (length // 2) + TOKEN * 300)
        assert TOKEN[:6] not in text
    for length in range(19_950, 20_001, 4):
        text = recorded_answer(api, file, f'"{"y" * length} {TOKEN}"')
        assert TOKEN[:6] not in text


def test_a_connection_called_record_is_no_recording(
    tmp_path: Path,
) -> None:
    environment = {
        "VMBACKUP_RECORD": str(tmp_path / "run.jsonl"),
        "VMBACKUP_RECORD_WITH_NAMES": "true",
        "VMBACKUP_RECORD_BASE_URL": "https://record.contoso.com/api",
        "VMBACKUP_RECORD_USERNAME": "svc",
        "VMBACKUP_RECORD_WITH_NAMES_BASE_URL": "https://names.contoso.com/api",
        "VMBACKUP_RECORD_WITH_NAMES_USERNAME": "other",
    }
    for name, username in ((None, None), ("record", "svc"), ("record-with-names", "other")):
        settings = read_settings(lambda _: None, environment, name)
        assert settings.username == username
    del environment["VMBACKUP_RECORD_BASE_URL"]
    with pytest.raises(SettingsError, match="There is no connection 'record'"):
        read_settings(lambda _: None, environment, "record")


# Reading


def exchange(**changed: Any) -> str:
    line = {
        "time": "2026-03-01T22:00:00.000Z",
        "process": 1,
        "server": "server-1",
        "base_path": "/api/rest",
        "method": "GET",
        "path": "vms/list/[token]",
        "status": 200,
        "seconds": 0.1,
        "answer": OK,
    }
    return json.dumps({key: each for key, each in {**line, **changed}.items() if each is not None})


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("{", "Expecting property name"),
        ("[1]", "it is not a JSON object"),
        ("[" * 100_000, "it is nested too deeply"),
        (exchange(path=None), "it has no path"),
        (exchange(status="200"), "its status is '200'"),
        (exchange(status=None), "it has to have either a status or a failure"),
        (exchange(failure="reset"), "it has to have either a status or a failure"),
        (exchange(status=None, failure="bored"), "its failure is 'bored'"),
        (exchange(seconds=-1), "its seconds is -1"),
        (exchange(base_path="api"), "its base_path is 'api'"),
    ],
)
def test_a_line_that_is_none_is_named_with_its_number(
    tmp_path: Path, line: str, problem: str
) -> None:
    file = tmp_path / "run.jsonl"
    file.write_text(f"{exchange()}\n{line}\n{exchange()}\n")
    with pytest.raises(VmBackupError) as raised:
        read_recording(file)
    message = str(raised.value)
    assert message.startswith(f"Line 2 of the recording {file} is not an exchange: {problem}")
    assert message.endswith(". Remove that line, or record again.")
    # Without an end it is that of a killed process.
    file.write_text(f"{exchange()}\n{line}")
    assert len(read_recording(file)) == 1


def test_unknown_keys_of_a_later_version_do_not_matter(tmp_path: Path) -> None:
    file = tmp_path / "run.jsonl"
    file.write_text(f"{exchange(more=1)}\n\n", "utf-8-sig")
    assert [each.path for each in read_recording(file)] == ["vms/list/[token]"]
