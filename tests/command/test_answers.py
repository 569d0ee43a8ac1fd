"""The commands on answers as real servers spell them: a stand-in sends them as they are."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sample import DC01, DISK_E, EXCH01, NAS01, OFFSITE01, PASSWORD, SQL01

from pulumi_vmbackup.command.group import vmbackup
from pulumi_vmbackup.inventory import read_snapshot

ZEROS = "00000000-0000-0000-0000-000000000000"
TOKEN = "E65AEDEB-A0E7-440C-8309-1CC0BCD920DB"
VMS: list[dict[str, Any]] = [
    {  # numbers as text, GUIDs with braces, times of .NET, unknown fields
        "Unknown": {"deep": [1, {"x": None}]},
        "AltaroVirtualMachineRef": f"{{{DC01.upper()}}}",
        "VirtualMachineName": "DC01",
        "HostName": "HV-01",
        "Configured": "True",
        "LastBackupTime": "2026-03-01T22:00:00.0000000+01:00",
        "NextBackupTime": "2026-03-02 22:00:00",
        "LastBackupDuration": "600",
        "LastBackupTransferSizeCompressed": 1.5e9,
        "LastBackupResult": "Success",
        "LastOffsiteCopyTime": "0001-01-01T00:00:00",
        "LastOffsiteCopyResult": None,
        "LastOffsiteCopyDuration": 0,
        "LastOffsiteCopyTransferSizeCompressed": "0",
    },
    {  # without dashes; few fields
        "VirtualMachineName": "SQL01",
        "HostName": "HV-01",
        "AltaroVirtualMachineRef": SQL01.replace("-", ""),
        "Configured": 1,
        "LastBackupTime": "2026-03-01-22-00-00",
        "LastBackupResult": "BASEBACKUPCONTROLLER_18",
    },
    {  # replicas of it
        "VirtualMachineName": "SQL01",
        "HostName": "HV-02",
        "AltaroVirtualMachineRef": ZEROS,
        "Configured": False,
    },
    {
        "VirtualMachineName": "sql01",
        "HostName": "HV-03",
        "AltaroVirtualMachineRef": None,
        "Configured": "false",
    },
    {  # one that is not configured, of which it is not told
        "VirtualMachineName": "NEW01",
        "HostName": "",
        "AltaroVirtualMachineRef": f"({ZEROS})",
        "LastBackupDuration": "none",
        "NextBackupTime": "",
    },
    {"AltaroVirtualMachineRef": EXCH01.upper(), "VirtualMachineName": None, "Configured": True},
]
PRIMARY: list[dict[str, Any]] | None = [
    {"LocationPath": r"\\NAS01\VMBackups", "Size": "1", "BackupLocationId": f"({NAS01.upper()})"},
    {"BackupLocationId": DISK_E.replace("-", "").upper(), "LocationPath": None},
]
OFFSITE: list[dict[str, Any]] | None = [
    {"BackupLocationId": OFFSITE01.upper(), "LocationPath": r"\\OFFSITE01\VMBackups"}
]
ASSIGNED = {
    DC01: [{"BackupLocationId": f"{{{NAS01.upper()}}}", "LocationPath": ""}],
    SQL01: [{"BackupLocationId": NAS01}, {"BackupLocationId": OFFSITE01.replace("-", "")}],
    EXCH01: None,
}


class Server(ThreadingHTTPServer):
    """Answers with what is set here, as it is."""

    daemon_threads = True
    answers: dict[str, Any]
    paths: list[str]


class Handler(BaseHTTPRequestHandler):
    """The calls of the API that read, without any check."""

    def _answer(self) -> None:
        server: Any = self.server
        path = self.path.removeprefix("/api")
        server.paths.append(path)
        known = (
            answer
            for pattern, answer in server.answers.items()
            if re.fullmatch(pattern.replace("TOKEN", TOKEN), path, re.IGNORECASE)
        )
        answer = next(known, {"Success": False, "ErrorMessage": f"there is no {self.command}"})
        text = answer if isinstance(answer, str) else json.dumps(answer)
        body = text.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_DELETE = _answer  # noqa: N815  # names of http.server

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


def success(**payload: Any) -> dict[str, Any]:
    """An envelope whose fields stand in another order than the simulator's."""
    return {**payload, "ErrorCode": "", "New": 1, "Success": True, "ErrorMessage": None}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), Handler)
    server.paths = []
    server.answers = {
        "/sessions/start": success(Data=TOKEN),
        "/sessions/end/TOKEN": success(ClosedSessions=None),
        "/vms/list/TOKEN": success(VirtualMachines=VMS),
        "/backuplocations/TOKEN/1/0": success(BackupLocations=PRIMARY),
        "/backuplocations/TOKEN/0/1": success(BackupLocations=OFFSITE),
        **{
            f"/vms/backuplocations/TOKEN/{ref}/1/1": success(BackupLocations=assigned)
            for ref, assigned in ASSIGNED.items()
        },
    }
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("VMBACKUP_BASE_URL", f"http://127.0.0.1:{server.server_port}/api")
    monkeypatch.setenv("VMBACKUP_USERNAME", "Administrator")
    monkeypatch.setenv("VMBACKUP_PASSWORD", PASSWORD)
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def run(server: Server) -> Callable[..., Result]:  # noqa: ARG001  # for its variables
    def run(*arguments: str) -> Result:
        result = CliRunner().invoke(vmbackup, arguments)
        assert result.exit_code == 0, result.output
        return result

    return run


Run = Callable[..., Result]


def test_vms_are_shown_however_their_fields_are_spelled(run: Run) -> None:
    vms = {(vm["name"], vm["host"]): vm for vm in json.loads(run("vms", "--json").stdout)}
    assert {key: vm["ref"] for key, vm in vms.items()} == {
        ("DC01", "HV-01"): DC01,
        ("SQL01", "HV-01"): SQL01,
        ("SQL01", "HV-02"): None,
        ("sql01", "HV-03"): None,
        ("NEW01", None): None,
        (None, None): EXCH01,
    }
    assert {key: vm["configured"] for key, vm in vms.items()} == {
        ("DC01", "HV-01"): True,
        ("SQL01", "HV-01"): True,
        ("SQL01", "HV-02"): False,
        ("sql01", "HV-03"): False,
        ("NEW01", None): None,
        (None, None): True,
    }
    dc = vms["DC01", "HV-01"]
    assert dc["last_backup_time"] == "2026-03-01T22:00:00"
    assert dc["next_backup_time"] == "2026-03-02T22:00:00"
    assert dc["last_backup_duration"] == 600
    assert dc["last_backup_transfer_size_compressed"] == 1_500_000_000
    assert (dc["last_offsite_copy_time"], dc["last_offsite_copy_duration"]) == (None, 0)
    assert dc["last_offsite_copy_transfer_size_compressed"] == 0
    assert vms["SQL01", "HV-01"]["last_backup_result"] == "BASEBACKUPCONTROLLER_18"
    assert vms["NEW01", None]["last_backup_duration"] is None
    table = run("vms").stdout
    assert ZEROS not in table
    rows = [line.split() for line in table.splitlines()]
    assert ["SQL01", "HV-02", "no"] in rows
    assert ["sql01", "HV-03", "no"] in rows
    assert ["NEW01"] in rows


def test_locations_are_shown_however_their_ids_are_spelled(run: Run, server: Server) -> None:
    assert json.loads(run("locations", "--json").stdout) == [
        {"id": DISK_E, "path": None, "kind": "primary"},
        {"id": NAS01, "path": r"\\NAS01\VMBackups", "kind": "primary"},
        {"id": OFFSITE01, "path": r"\\OFFSITE01\VMBackups", "kind": "offsite"},
    ]
    server.answers["/backuplocations/TOKEN/0/1"] = success(BackupLocations=None)
    assert len(json.loads(run("locations", "--json").stdout)) == 2


def test_a_vm_without_a_ref_is_in_no_assignments_and_in_no_export(run: Run, server: Server) -> None:
    held = {
        (DC01, "DC01", NAS01, "primary"),
        (SQL01, "SQL01", NAS01, "primary"),
        (SQL01, "SQL01", OFFSITE01, "offsite"),
    }
    assert {
        (each["vm_ref"], each["vm_name"], each["backup_location_id"], each["kind"])
        for each in json.loads(run("assignments", "--json").stdout)
    } == held
    shown = run("assignments")
    assert [line.split()[:2] for line in shown.stdout.splitlines()[1:]] == [
        ["none", "none"],  # the VM without a name
        ["DC01", "HV-01"],
        ["SQL01", "HV-01"],
    ]
    assert "of 3 configured VMs" in shown.stderr
    exported = json.loads(run("export", "--import-file", "-").stdout)["resources"]
    assert {each["name"]: each["id"] for each in exported} == {
        "DC01-NAS01": f"{DC01}/{NAS01}",
        "SQL01-NAS01": f"{SQL01}/{NAS01}",
        "SQL01-OFFSITE01": f"{SQL01}/{OFFSITE01}",
    }
    program = run("export", "--program", "-").stdout
    assert 'get_virtual_machine(name="SQL01"),' in program
    assert ZEROS not in program
    asked = {path.split("/")[4] for path in server.paths if path.startswith("/vms/backuplocations")}
    assert asked == set(ASSIGNED)


def test_a_vm_that_is_listed_on_two_hosts_is_asked_for_and_shown_once(
    run: Run, server: Server
) -> None:
    twice = [{**VMS[0], "HostName": host} for host in ("HV-01", "HV-02")]
    server.answers["/vms/list/TOKEN"] = success(VirtualMachines=twice)
    assert len(json.loads(run("assignments", "--json").stdout)) == 1
    assert len([path for path in server.paths if path.startswith("/vms/backuplocations")]) == 1
    shown = run("assignments")
    assert len(shown.stdout.splitlines()) == 2
    assert "1 of 1 configured VM;" in shown.stderr
    snapshot = json.loads(run("snapshot", "--output", "-").stdout)
    assert (len(snapshot["virtual_machines"]), len(snapshot["assignments"])) == (2, 1)


def test_a_snapshot_holds_the_ids_in_one_spelling_and_no_ref_of_zeros(
    run: Run, tmp_path: Path
) -> None:
    file = tmp_path / "inventory.json"
    said = run("snapshot", "--output", str(file)).stderr
    assert said == f"Wrote {file}: 6 virtual machines, 3 backup locations, 3 assignments.\n"
    text = file.read_text("utf-8")
    assert ZEROS not in text
    assert text.count('"ref": null') == 3
    assert json.dumps(json.loads(text)) == json.dumps(json.loads(read_snapshot(file).dump()))
    assert len(run("snapshot", "--output", str(file)).stderr.splitlines()) == 1  # no warning


def test_an_answer_may_begin_with_the_mark_of_utf8(run: Run, server: Server) -> None:
    server.answers["/vms/list/TOKEN"] = "\ufeff" + json.dumps(success(VirtualMachines=VMS)) + "\n"
    assert len(json.loads(run("vms", "--json").stdout)) == len(VMS)
