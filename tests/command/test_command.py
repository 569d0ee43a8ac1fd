"""The ``vmbackup`` command: within this process, and as a process on pipes and terminals."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sample import DC01, DISK_E, EXCH01, FILE01, NAS01, NOWHERE, OFFSITE01, PASSWORD, SQL01, TEST01
from simulator.caller import Caller

from pulumi_vmbackup.command.group import vmbackup
from pulumi_vmbackup.command.output import is_terminal
from pulumi_vmbackup.inventory import read_snapshot
from pulumi_vmbackup.recording import read_recording
from pulumi_vmbackup.simulator import Behavior, Fault, Inventory, Simulator, serve

COMMAND = [sys.executable, "-m", "pulumi_vmbackup.command"]
LISTINGS = (
    ["vms"],
    ["locations"],
    ["assignments"],
    ["snapshot", "--output", "-"],
    ["export", "--program", "-"],
    ["export", "--import-file", "-"],
)
ON_POSIX = pytest.mark.skipif(os.name == "nt", reason="Windows has no pty and other signals")

Run = Callable[..., Result]

WAITS = (
    "vmbackup: VM Backup is busy with another session, such as that of a Management Console. "
    "Waiting up to 60 seconds for its end (--session-wait-seconds)."
)


def sentence(result: Result) -> str:
    """The one sentence that a failed command says, and nothing else."""
    (line,) = result.stderr.splitlines()
    assert result.stdout == ""
    return line.removeprefix("vmbackup: ")


def rows(result: Result) -> list[list[str]]:
    return [line.split() for line in result.stdout.splitlines()]


def vm(number: int) -> dict[str, Any]:
    return {
        "AltaroVirtualMachineRef": str(uuid.UUID(int=number + 1)),
        "VirtualMachineName": f"VM{number:04}",
        "HostName": "HV-01",
        "Configured": True,
    }


def many(count: int) -> Inventory:
    inventory = Inventory.sample()
    inventory.virtual_machines = {vm(n)["AltaroVirtualMachineRef"]: vm(n) for n in range(count)}
    inventory.assignments = {(ref, NAS01): None for ref in inventory.virtual_machines}
    return inventory


class SlowSimulator(Simulator):
    """Takes its time for the locations of a VM, and counts how many it is asked for at once."""

    seconds = 0.02
    at_once = most_at_once = 0
    counting = threading.Lock()

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        if "/vms/backuplocations/" not in environ["PATH_INFO"]:
            return super().__call__(environ, start_response)
        with self.counting:
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        time.sleep(self.seconds)
        with self.counting:
            self.at_once -= 1
        return super().__call__(environ, start_response)


# Listings


def test_vms_shows_a_line_for_each_vm(run: Run) -> None:
    head, first, *others = rows(run("vms"))
    assert " ".join(head) == ("VM Host Configured Last backup Result Last offsite copy Result Ref")
    assert first == ["DC01", "HV-01", "yes", "2026-03-01", "22:00", "Success", DC01]
    assert ["TEST01", "HV-01", "no", TEST01] in others
    assert len(others) == 7


def test_vms_as_json_hold_every_field_and_times_as_iso_text(run: Run) -> None:
    first, *others = json.loads(run("vms", "--json").stdout)
    assert len(others) == 7
    assert first == {
        "ref": DC01,
        "name": "DC01",
        "host": "HV-01",
        "configured": True,
        "hypervisor_uuid": "f3868254-73b7-4490-b23b-2cc4b4174a67",
        "next_backup_time": "2026-03-02T22:00:00",
        "next_offsite_copy_time": None,
        "last_backup_time": "2026-03-01T22:00:00",
        "last_backup_result": "Success",
        "last_backup_duration": 600,
        "last_backup_transfer_size_compressed": 1500000000,
        "last_backup_transfer_size_uncompressed": 3200000000,
        "last_offsite_copy_time": None,
        "last_offsite_copy_result": None,
        "last_offsite_copy_duration": 0,
        "last_offsite_copy_transfer_size_compressed": 0,
        "last_offsite_copy_transfer_size_uncompressed": 0,
    }


def test_locations_have_a_path_a_kind_and_an_id(run: Run) -> None:
    head, *others = rows(run("locations"))
    assert head == ["Path", "Kind", "Id"]
    assert others[0] == [r"\\NAS01\VMBackups", "primary", NAS01]
    assert others[2] == [r"\\OFFSITE01\VMBackups", "offsite", OFFSITE01]
    as_json = json.loads(run("locations", "--json").stdout)
    assert as_json[1] == {"id": DISK_E, "path": r"E:\VMBackups", "kind": "primary"}


def test_a_vm_without_an_offsite_location_has_the_word_none(run: Run, simulator: Simulator) -> None:
    simulator.inventory.assignments = {
        (DC01, DISK_E): None,
        (SQL01, NAS01): None,
        (SQL01, OFFSITE01): None,
    }
    result = run("assignments")
    by_vm = {line[0]: line[1:] for line in rows(result)}
    assert by_vm["DC01"] == ["HV-01", r"E:\VMBackups", "none", "Success"]
    assert by_vm["SQL01"] == ["HV-01", r"\\NAS01\VMBackups", r"\\OFFSITE01\VMBackups", "Success"]
    assert by_vm["EXCH01"] == ["HV-01", "none", "none", "Success"]
    assert "TEST01" not in by_vm  # it is not configured
    assert result.stderr == (
        "Without an offsite location: 6 of 7 configured VMs; without any location: 5.\n"
    )


def test_assignments_as_json_are_sorted(run: Run, simulator: Simulator) -> None:
    simulator.inventory.assignments = {
        (SQL01, NAS01): None,
        (SQL01, OFFSITE01): None,
        (DC01, DISK_E): None,
    }
    result = run("assignments", "--json")
    sql01 = {"vm_ref": SQL01, "vm_name": "SQL01"}
    assert json.loads(result.stdout) == [
        {
            "vm_ref": DC01,
            "vm_name": "DC01",
            "backup_location_id": DISK_E,
            "location_path": r"E:\VMBackups",
            "kind": "primary",
        },
        {
            **sql01,
            "backup_location_id": OFFSITE01,
            "location_path": r"\\OFFSITE01\VMBackups",
            "kind": "offsite",
        },
        {
            **sql01,
            "backup_location_id": NAS01,
            "location_path": r"\\NAS01\VMBackups",
            "kind": "primary",
        },
    ]
    assert result.stderr == ""


class ForgetfulSimulator(Simulator):
    """Lists a VM's location in neither of the two lists of locations."""

    def _list_locations(self, token: str, *_: int, **__: int) -> Any:
        self._use_session(token)
        return {"BackupLocations": []}


def test_a_location_that_neither_list_has_is_of_no_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(ForgetfulSimulator()) as base_url:
        login = ["--base-url", base_url, "--username", "Administrator"]
        monkeypatch.setenv("VMBACKUP_PASSWORD", "simulator")
        result = CliRunner().invoke(vmbackup, ["assignments", "--json", *login])
        table = CliRunner().invoke(vmbackup, ["assignments", *login])
    assert json.loads(result.stdout) == [
        {
            "vm_ref": DC01,
            "vm_name": "DC01",
            "backup_location_id": DISK_E,
            "location_path": r"E:\VMBackups",
            "kind": None,
        }
    ]
    assert rows(table)[0][-3:] == ["Primary", "or", "offsite"]
    assert rows(table)[1] == ["DC01", "HV-01", "Success", r"E:\VMBackups"]


@pytest.mark.parametrize("command", ["assignments", "snapshot"])
def test_a_thousand_vms_cost_a_call_each_and_one_session(
    command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator = SlowSimulator(many(1000))
    simulator.seconds = 0.001
    with serve(simulator) as base_url:
        monkeypatch.setenv("VMBACKUP_BASE_URL", base_url)
        monkeypatch.setenv("VMBACKUP_USERNAME", "Administrator")
        monkeypatch.setenv("VMBACKUP_PASSWORD", "simulator")
        option = ["--json"] if command == "assignments" else ["--output", "-"]
        result = CliRunner().invoke(vmbackup, [command, *option])
    printed = json.loads(result.stdout)
    assert len(printed if command == "assignments" else printed["assignments"]) == 1000
    paths = [call.path.removeprefix(simulator.base_path) for call in simulator.calls]
    assert len({path for path in paths if path.startswith("/vms/backuplocations/")}) == 1000
    assert len(paths) == 1000 + 3 + 2
    assert (len(simulator.tokens), len(simulator.sessions)) == (1, 0)
    assert 1 < simulator.most_at_once <= 4
    assert simulator.connections <= 4


def test_a_refusal_for_one_vm_stops_the_others_and_names_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    simulator = SlowSimulator(many(100))
    # Listed with a ref that the server does not know when it is asked for its locations.
    listed = simulator.inventory.virtual_machines[vm(7)["AltaroVirtualMachineRef"]]
    listed["AltaroVirtualMachineRef"] = NOWHERE
    with serve(simulator) as base_url:
        monkeypatch.setenv("VMBACKUP_PASSWORD", "simulator")
        login = ["--base-url", base_url, "--username", "Administrator"]
        result = CliRunner().invoke(vmbackup, ["assignments", *login])
    assert result.exit_code == 1
    assert sentence(result) == (
        f"Could not list the backup locations of VM VM0007 ({NOWHERE}): the server says "
        '"InvalidParameter / The virtual machine was not found".'
    )
    assert len(simulator.calls) < 30
    assert not simulator.sessions


def test_what_a_server_calls_its_vms_cannot_steer_a_terminal(
    run: Run, simulator: Simulator
) -> None:
    name = "\x1b[2J[red]DC\n01[/red]"
    simulator.inventory.virtual_machines[DC01]["VirtualMachineName"] = name
    shown = run("vms").stdout
    assert "\x1b" not in shown
    assert " [2J[red]DC 01[/red] " in shown
    assert len(shown.splitlines()) == 9
    assert name in [each["name"] for each in json.loads(run("vms", "--json").stdout)]


# Nothing is not an answer


NO_VMS = (
    "The server lists no virtual machines at all. It may have been restarted a moment ago: wait "
    "until the VM Backup Management Console shows them, and try again."
)
NO_LOCATIONS = NO_VMS.replace("virtual machines", "backup locations")


class BareSimulator(Simulator):
    """Answers some lists with nothing: with an empty list, or with null."""

    bare: tuple[str, ...] = ()
    nothing: list[Any] | None = []  # noqa: RUF012

    def _list_vms(self, *arguments: Any, **options: Any) -> Any:
        answer = dict(super()._list_vms(*arguments, **options))
        return {**answer, "VirtualMachines": self.nothing} if "vms" in self.bare else answer

    def _list_locations(self, *arguments: Any, **options: Any) -> Any:
        answer = dict(super()._list_locations(*arguments, **options))
        return {**answer, "BackupLocations": self.nothing} if "locations" in self.bare else answer


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> Iterator[BareSimulator]:
    simulator = BareSimulator(password=PASSWORD)
    with serve(simulator) as base_url:
        monkeypatch.setenv("VMBACKUP_BASE_URL", base_url)
        monkeypatch.setenv("VMBACKUP_USERNAME", "Administrator")
        monkeypatch.setenv("VMBACKUP_PASSWORD", PASSWORD)
        yield simulator
    assert not simulator.sessions


ASK_FOR_VMS = [each for each in LISTINGS if each != ["locations"]]
WRITERS = (
    ["snapshot", "--output", "{file}"],
    ["export", "--import-file", "{file}", "--overwrite"],
    ["export", "--program", "{file}", "--overwrite"],
)


@pytest.mark.parametrize("nothing", [[], None])
@pytest.mark.parametrize(
    "command", [*ASK_FOR_VMS, ["vms", "--json"], ["assignments", "--json"], *WRITERS]
)
def test_a_server_that_lists_no_vms_is_an_error_and_no_file_is_touched(
    command: list[str], nothing: list[Any] | None, bare: BareSimulator, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    CliRunner().invoke(vmbackup, ["snapshot", "--output", str(file)])
    before = file.read_bytes()
    bare.bare, bare.nothing = ("vms",), nothing
    result = CliRunner().invoke(vmbackup, [each.format(file=file) for each in command])
    assert result.exit_code == 1
    assert sentence(result).removeprefix("Could not list the virtual machines: ") == NO_VMS
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("nothing", [[], None])
@pytest.mark.parametrize(
    "command",
    [
        ["locations"],
        ["locations", "--json"],
        ["assignments"],
        ["assignments", "--json"],
        ["snapshot", "--output", "-"],
        ["export", "--program", "-"],
        *WRITERS,
    ],
)
def test_a_server_that_lists_no_locations_of_both_kinds_is_an_error_and_no_file_is_touched(
    command: list[str], nothing: list[Any] | None, bare: BareSimulator, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    CliRunner().invoke(vmbackup, ["snapshot", "--output", str(file)])
    before = file.read_bytes()
    bare.bare, bare.nothing = ("locations",), nothing
    if command[0] == "assignments":
        bare.inventory.assignments.clear()
    result = CliRunner().invoke(vmbackup, [each.format(file=file) for each in command])
    assert result.exit_code == 1
    assert sentence(result) == NO_LOCATIONS
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]


def test_a_server_without_offsite_locations_is_none_that_lists_nothing(
    run: Run, simulator: Simulator
) -> None:
    held = simulator.inventory
    held.kinds = dict.fromkeys(held.kinds, "primary")
    assert len(rows(run("locations"))) == 5
    assert len(json.loads(run("snapshot", "--output", "-").stdout)["backup_locations"]) == 4


# Snapshot


def test_a_snapshot_is_what_previews_read(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "inventory.json"
    result = run("snapshot", "--output", str(file))
    assert (result.stdout, result.stderr) == (
        "",
        f"Wrote {file}: 8 virtual machines, 4 backup locations, 1 assignment.\n",
    )
    inventory = read_snapshot(file)
    assert len(inventory.virtual_machines) == 8
    assert [each.kind for each in inventory.backup_locations].count("offsite") == 2
    assert [(each.vm_ref, each.backup_location_id) for each in inventory.assignments] == [
        (DC01, DISK_E)
    ]
    assert (
        run("snapshot", "--output", "-").stdout.splitlines()[4:]
        == (file.read_text("utf-8").splitlines()[4:])
    )


def test_a_snapshot_that_fails_leaves_the_old_one(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "inventory.json"
    file.write_text("old")
    monkeypatch.setenv("VMBACKUP_PASSWORD", "wrong")
    run("snapshot", "--output", str(file), "--overwrite", fails=1)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_snapshot_replaces_the_old_one_and_leaves_no_other_file(
    run: Run, simulator: Simulator, tmp_path: Path
) -> None:
    file = tmp_path / "inventory.json"
    run("snapshot", "--output", str(file))
    (same := tmp_path / "same").hardlink_to(file)
    before = file.read_text("utf-8")
    simulator.inventory.virtual_machines[DC01]["VirtualMachineName"] = "DC02"
    assert len(run("snapshot", "--output", str(file)).stderr.splitlines()) == 1
    assert "DC02" in file.read_text("utf-8")
    assert same.read_text("utf-8") == before  # so that no reader sees half of a file
    assert sorted(tmp_path.iterdir()) == [file, same]


def test_a_snapshot_replaces_no_other_file_unless_it_is_told_to(
    run: Run, simulator: Simulator, tmp_path: Path
) -> None:
    file = tmp_path / "inventory.json"
    file.write_text(json.dumps({"VirtualMachines": [], "format": "x"}))
    before = file.read_text("utf-8")
    assert sentence(run("snapshot", "--output", str(file), fails=1)) == (
        f"{file} of --output exists already and is not a snapshot: give another name, or "
        "--overwrite to replace it."
    )
    assert not simulator.calls
    assert file.read_text("utf-8") == before
    run("snapshot", "--output", str(file), "--overwrite")
    assert len(read_snapshot(file).virtual_machines) == 8


def a_conflict(text: str) -> str:
    head, _, rest = text.partition('  "taken_at"')
    return f'{head}<<<<<<< HEAD\n  "taken_at"{rest}>>>>>>> other\n'


@pytest.mark.parametrize(
    "change",
    [
        lambda _: "",  # as mktemp makes one
        lambda text: text[:-20],
        a_conflict,
        lambda text: text.replace('"version": 1', '"version": 2'),
        lambda text: "\ufeff" + text.replace("\n", "\r\n"),
        lambda text: json.dumps(json.loads(text), sort_keys=True),
    ],
    ids=["empty", "cut", "conflict", "newer", "notepad", "sorted"],
)
def test_an_empty_or_damaged_snapshot_is_replaced(
    change: Callable[[str], str], run: Run, tmp_path: Path
) -> None:
    file = tmp_path / "inventory.json"
    run("snapshot", "--output", str(file))
    file.write_text(change(file.read_text("utf-8")), "utf-8")
    assert len(run("snapshot", "--output", str(file)).stderr.splitlines()) == 1
    assert len(read_snapshot(file).virtual_machines) == 8


def test_a_snapshot_warns_of_a_host_that_the_server_lists_no_vm_of_any_more(
    run: Run, simulator: Simulator, tmp_path: Path
) -> None:
    file = tmp_path / "inventory.json"
    run("snapshot", "--output", str(file))
    vms = simulator.inventory.virtual_machines
    on_host = [ref for ref, each in vms.items() if each["HostName"] == "HV-02"]
    vms[on_host[0]]["HostName"] = "HV-03"  # it has moved
    for ref in on_host[1:]:
        del vms[ref]
    assert run("snapshot", "--output", str(file)).stderr.splitlines()[1:] == [
        f"Warning: The server lists no VM of host HV-02 any more: {len(on_host) - 1} VMs of the "
        f"snapshot that {file} held are missing. If the host is only off, write the snapshot again "
        "when it is on."
    ]
    assert len(read_snapshot(file).virtual_machines) == len(vms)
    # What is seen in the review is no news the next time.
    assert len(run("snapshot", "--output", str(file)).stderr.splitlines()) == 1


def test_a_snapshot_does_not_warn_of_vms_that_were_removed_or_moved(
    run: Run, simulator: Simulator, tmp_path: Path
) -> None:
    file = tmp_path / "inventory.json"
    run("snapshot", "--output", str(file))
    vms = simulator.inventory.virtual_machines
    del vms[EXCH01]  # its host has others
    for each in vms.values():
        each["HostName"] = "hv-01"
    assert len(run("snapshot", "--output", str(file)).stderr.splitlines()) == 1


def test_a_snapshot_in_the_place_of_another_servers_asks_whether_this_is_the_right_server(
    run: Run, simulator: Simulator, tmp_path: Path
) -> None:
    file = tmp_path / "inventory.json"
    run("snapshot", "--output", str(file))
    simulator.inventory = many(3)
    location = {"BackupLocationId": NOWHERE, "LocationPath": "x"}
    simulator.inventory.backup_locations = {NOWHERE: location}
    simulator.inventory.kinds = {NOWHERE: "primary"}
    simulator.inventory.assignments = {}
    assert run("snapshot", "--output", str(file)).stderr.splitlines()[1:] == [
        f"Warning: The snapshot that {file} held has other VMs and other locations than this "
        "server: check that this is the right server."
    ]


@ON_POSIX
def test_a_snapshot_that_cannot_replace_the_old_one_is_one_sentence(
    run: Run, tmp_path: Path
) -> None:
    file = tmp_path / "inventory.json"
    partial = tmp_path / f".inventory.json.{os.getpid()}.partial"
    partial.mkdir()  # as a folder that may not be written, for root
    assert sentence(run("snapshot", "--output", str(file), fails=1)) == (
        f"{file} of --output cannot be written: Is a directory."
    )
    assert not file.exists()


def test_a_place_that_takes_no_snapshot_is_found_before_the_server_is_asked(
    run: Run, simulator: Simulator, tmp_path: Path
) -> None:
    missing = tmp_path / "no" / "inventory.json"
    assert sentence(run("snapshot", "--output", str(missing), fails=1)) == (
        f"There is no folder {missing.parent} for --output: create it first."
    )
    assert sentence(run("snapshot", "--output", str(tmp_path), fails=1)) == (
        f"{tmp_path} of --output is not a file: give the name of one."
    )
    assert not simulator.calls


def test_a_read_only_file_is_left_alone(run: Run, simulator: Simulator, tmp_path: Path) -> None:
    file = tmp_path / "inventory.json"
    file.write_text("old")
    file.chmod(0o444)
    assert sentence(run("snapshot", "--output", str(file), fails=1)) == (
        f"{file} of --output is read-only: make it writable, or give another name."
    )
    assert not simulator.calls
    assert file.read_text() == "old"
    file.chmod(0o644)


@pytest.mark.skipif(os.name != "nt", reason="other systems take such names")
@pytest.mark.parametrize("name", ["NUL", "12:30.json", "inventory."])
def test_a_name_that_windows_takes_for_something_else_is_refused(
    name: str, run: Run, simulator: Simulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    said = sentence(run("snapshot", "--output", name, fails=1))
    assert said.startswith(f"{name} of --output ")
    assert said.endswith(": give another name.")
    assert not simulator.calls
    assert not list(tmp_path.iterdir())


# Export


def test_an_export_writes_both_files_from_one_reading(
    run: Run, simulator: Simulator, tmp_path: Path
) -> None:
    simulator.inventory.assignments[SQL01, OFFSITE01] = None
    imports, program = tmp_path / "import.json", tmp_path / "__main__.py"
    result = run("export", "--import-file", str(imports), "--program", str(program))
    assert (result.stdout, result.stderr) == (
        "",
        f"Wrote {imports}: 2 assignments of 2 virtual machines.\n"
        f"Wrote {program}: 2 assignments of 2 virtual machines.\n",
    )
    assert sorted(tmp_path.iterdir()) == [program, imports]
    assert (len(simulator.tokens), len(simulator.calls)) == (1, 2 + 3 + 7)
    resources = json.loads(imports.read_text("utf-8"))["resources"]
    assert {each["name"]: each["id"] for each in resources} == {
        "DC01-E-VMBackups": f"{DC01}/{DISK_E}",
        "SQL01-OFFSITE01": f"{SQL01}/{OFFSITE01}",
    }
    assert program.read_text("utf-8") == run("export", "--program", "-").stdout
    assert imports.read_text("utf-8") == run("export", "--import-file", "-").stdout
    assert '"SQL01-OFFSITE01",' in program.read_text("utf-8")


def test_an_export_takes_filters(run: Run, simulator: Simulator) -> None:
    simulator.inventory.assignments = {
        (vm_ref, location): None
        for vm_ref in (DC01, SQL01, FILE01)
        for location in (NAS01, OFFSITE01)
    }

    def names(*filters: str) -> list[str]:
        exported = json.loads(run("export", "--import-file", "-", *filters).stdout)
        return [each["name"] for each in exported["resources"]]

    assert names("--vm", "sql*", "--vm", "DC01", "--kind", "primary") == [
        "DC01-NAS01",
        "SQL01-NAS01",
    ]
    assert names("--host", "hv-02", "--location", r"\\OFFSITE01\VMBackups") == ["FILE01-OFFSITE01"]
    assert names("--host", "HV-02", "--location", NAS01) == ["FILE01-NAS01"]
    assert len(names("--kind", "offsite")) == 3
    result = run("export", "--program", "-", "--vm", "SQL1", fails=1)
    assert sentence(result).startswith(
        "There is no VM whose name matches 'SQL1': did you mean 'SQL0"
    )


def test_an_export_of_nothing_writes_nothing(
    run: Run, simulator: Simulator, tmp_path: Path
) -> None:
    file = tmp_path / "__main__.py"
    options = ["--kind", "offsite", "--vm", "DC01"]
    assert sentence(run("export", "--program", str(file), *options, fails=1)) == (
        "No assignment matches all of the filters, so nothing was written: `vmbackup assignments` "
        "shows what there is."
    )
    simulator.inventory.assignments.clear()
    assert sentence(run("export", "--program", "-", fails=1)) == (
        "No assignment is on the server, so nothing was written: `vmbackup assignments` shows what "
        "there is."
    )
    assert not list(tmp_path.iterdir())


def test_an_export_replaces_no_file_unless_it_is_told_to(
    run: Run, simulator: Simulator, tmp_path: Path
) -> None:
    program = tmp_path / "__main__.py"
    program.write_text("old")
    options = ["--import-file", str(tmp_path / "import.json"), "--program", str(program)]
    assert sentence(run("export", *options, fails=1)) == (
        f"{program} of --program exists already: give another name, or --overwrite to replace it."
    )
    assert not simulator.calls
    assert list(tmp_path.iterdir()) == [program]
    assert program.read_text() == "old"
    run("export", *options, "--overwrite")
    assert "DC01" in program.read_text()


def test_an_export_says_what_is_wrong_with_its_options_before_it_asks_the_server(
    run: Run, simulator: Simulator, tmp_path: Path
) -> None:
    assert (
        "Error: There is nothing to write: give --import-file FILE, --program FILE, or both."
        in run("export", fails=2).stderr
    )
    for place in ("-", str(tmp_path / "x")):
        result = run("export", "--import-file", place, "--program", place, fails=2)
        assert "--import-file and --program are the same place" in result.stderr
    missing = tmp_path / "no" / "import.json"
    assert sentence(run("export", "--import-file", str(missing), fails=1)) == (
        f"There is no folder {missing.parent} for --import-file: create it first."
    )
    assert sentence(run("export", "--program", str(tmp_path), "--overwrite", fails=1)) == (
        f"{tmp_path} of --program is not a file: give the name of one."
    )
    assert not simulator.calls


def test_an_export_that_fails_writes_nothing(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VMBACKUP_PASSWORD", "wrong")
    assert "refused the login" in sentence(
        run("export", "--program", str(tmp_path / "__main__.py"), fails=1)
    )
    assert not list(tmp_path.iterdir())


# Settings


def test_an_option_wins_over_the_environment_and_an_error_names_it(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VMBACKUP_SERVER_PORT", "1")
    assert "Unable to connect" in sentence(run("vms", fails=1))
    run("vms", "--server-port", "36014")
    assert sentence(run("vms", "--server-port", "99999", fails=1)) == (
        "The value '99999' of the option --server-port is not a port: use a number from 1 to 65535."
    )


def test_a_named_connection_has_its_own_variables(
    run: Run, base_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "There is no connection 'site-b'" in sentence(
        run("vms", "--connection", "site-b", fails=1)
    )
    for key, value in (("BASE_URL", base_url), ("USERNAME", "Administrator")):
        monkeypatch.setenv(f"VMBACKUP_SITE_B_{key}", value)
    assert sentence(run("vms", "--connection", "site-b", fails=1)).startswith(
        f"No password for VM Backup at connection 'site-b' ({base_url}) is known. "
        "Set VMBACKUP_SITE_B_PASSWORD"
    )
    monkeypatch.setenv("VMBACKUP_SITE_B_PASSWORD", PASSWORD)
    assert "DC01" in run("vms", "--connection", "site-b").stdout


def test_a_stack_needs_the_pulumi_cli(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "there is no `pulumi` on PATH" in sentence(
        run("vms", "--stack", f"{tmp_path}/dev", fails=1)
    )
    said = sentence(run("vms", "--stack", f"{tmp_path}/no/dev", fails=1))
    assert said.startswith(
        f"There is no folder {tmp_path / 'no'} with a stack 'dev'. In the folder"
    )


def test_a_refused_login_is_one_sentence_about_this_command(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VMBACKUP_PASSWORD", "wrong-one")
    assert sentence(run("assignments", fails=1)) == (
        "Could not list the virtual machines: VM Backup refused the login of Administrator to "
        'LOCALHOST:36014: the server says "LoginFailed / The user name or password is incorrect". '
        "Check --username, VMBACKUP_PASSWORD, --domain, --server-address and --server-port."
    )


@pytest.mark.parametrize(("busy", "says"), [(1, []), (2, [WAITS]), (4, [WAITS])])
def test_a_long_wait_for_another_session_is_explained_once_and_not_in_the_output(
    busy: int, says: list[str], run: Run, simulator: Simulator
) -> None:
    simulator.faults = [Fault("busy", times=busy)]
    result = run("assignments", "--json")
    assert [each["vm_ref"] for each in json.loads(result.stdout)] == [DC01]
    assert result.stderr.splitlines() == says


def test_a_wait_in_vain_is_explained_before_the_error(run: Run, simulator: Simulator) -> None:
    simulator.console_connected = True
    result = run("vms", "--session-wait-seconds", "0.2", fails=1)
    told, error = result.stderr.splitlines()
    assert told == WAITS.replace("60", "0.2")
    assert "VM Backup accepted no session within 0.2 seconds" in error
    assert result.stdout == ""
    error = sentence(run("vms", "--session-wait-seconds", "0", fails=1))
    assert "VM Backup accepted no session: the server says" in error


def test_wrong_usage_is_clicks_own(run: Run) -> None:
    assert "No such option" in run("vms", "--password", "x", fails=2).stderr
    assert "Missing option '--output'" in run("snapshot", fails=2).stderr


@pytest.mark.usefixtures("login")
def test_no_output_holds_the_password_or_a_token(
    simulator: Simulator, base_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def everything() -> str:
        shown = ""
        for command in (*LISTINGS, ["doctor"]):
            for options in ([], ["--json"]):
                for wrong in ([], ["--server-port", "1"], ["--host-header", "x"]):
                    result = CliRunner().invoke(vmbackup, [*command, *options, *wrong])
                    shown += result.output + str(result.exception)
        return shown

    shown = everything()
    monkeypatch.setenv("VMBACKUP_PASSWORD", "wrong-one")
    shown += everything()
    simulator.behavior = Behavior(second_session="refuse")
    with Caller(base_url) as other_tool:
        other_tool.log_in()
        given = other_tool.token
    monkeypatch.setenv("VMBACKUP_SESSION_TOKEN", given)
    shown += everything()
    monkeypatch.setenv("VMBACKUP_SESSION_TOKEN", f"{given}x")
    shown += everything()
    assert "DC01" in shown
    for secret in (PASSWORD, "wrong-one", *simulator.tokens):
        assert secret not in shown
    assert given in simulator.sessions  # which is not ours to end


# As a process


@contextmanager
def started(
    *arguments: str, command: Sequence[str] = COMMAND, **streams: Any
) -> Iterator[subprocess.Popen[bytes]]:
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, **streams}
    streams.setdefault("stderr", subprocess.PIPE)
    with subprocess.Popen([*command, *arguments], **streams) as popen:
        too_long = threading.Timer(30, popen.kill)
        too_long.start()
        try:
            yield popen
        finally:
            too_long.cancel()
            popen.kill()


@pytest.mark.usefixtures("login")
def test_without_a_terminal_it_asks_nothing_and_prints_no_colours_and_cuts_nothing(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = "\\\\NAS01\\" + "x" * 300
    simulator.inventory.backup_locations[DISK_E]["LocationPath"] = path
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("FORCE_COLOR", "1")
    with started("assignments") as popen:
        printed, said = popen.communicate()
    assert popen.returncode == 0, said
    assert path in printed.decode()
    assert b"\x1b" not in printed + said
    assert b"Asking" not in said
    monkeypatch.delenv("VMBACKUP_PASSWORD")
    with started("vms") as popen:
        printed, said = popen.communicate()
    assert (popen.returncode, printed) == (1, b"")
    assert said.startswith(b"vmbackup: No password for VM Backup is known. Set VMBACKUP_PASSWORD")


@ON_POSIX
@pytest.mark.parametrize(("how", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("seconds", [0.02, 2])
def test_ctrl_c_ends_the_session_without_a_traceback(
    how: signal.Signals,
    code: int,
    seconds: float,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    simulator = SlowSimulator(many(1000))
    simulator.seconds = seconds
    with serve(simulator) as base_url:
        monkeypatch.setenv("VMBACKUP_PASSWORD", "simulator")
        login = ["--base-url", base_url, "--username", "Administrator"]
        with started("assignments", *login) as popen:
            give_up_at = time.monotonic() + 20
            while not simulator.at_once and time.monotonic() < give_up_at:
                time.sleep(0.01)
            popen.send_signal(how)
            printed, said = popen.communicate()
        assert (popen.returncode, printed, said) == (code, b"", b"")
        assert (len(simulator.tokens), len(simulator.sessions)) == (1, 0)
        assert len(simulator.calls) < 100


# As on Windows, where Ctrl-C does not interrupt the main thread.
INTERRUPTED_BY_STDIN = """\
import signal, sys, threading
from pulumi_vmbackup.command import main
def interrupt():
    sys.stdin.read()
    signal.raise_signal(signal.SIGINT)
threading.Thread(target=interrupt).start()
main()
"""


@pytest.mark.usefixtures("login")
def test_ctrl_c_ends_a_wait_for_the_server_that_it_does_not_interrupt(
    simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VMBACKUP_TIMEOUT_SECONDS", "600")
    hangs = Fault("stall", "GET /vms/list", times=None)
    simulator.faults.append(hangs)
    command = [sys.executable, "-c", INTERRUPTED_BY_STDIN]
    with started("vms", command=command, stdin=subprocess.PIPE) as popen:
        while not hangs.hits:
            assert popen.poll() is None
            time.sleep(0.01)
        printed, said = popen.communicate()  # closes its input
    assert (popen.returncode, printed, said) == (130, b"", b"")
    assert (len(simulator.tokens), len(simulator.sessions)) == (1, 0)


@pytest.mark.usefixtures("login")
def test_ctrl_break_ends_the_session(simulator: Simulator) -> None:
    if sys.platform != "win32":
        pytest.skip("only Windows has such a key")
    hangs = Fault("stall", "GET /vms/list", times=None)
    simulator.faults.append(hangs)
    with started("vms", creationflags=subprocess.CREATE_NEW_PROCESS_GROUP) as popen:
        while not hangs.hits:
            assert popen.poll() is None
            time.sleep(0.01)
        popen.send_signal(signal.CTRL_BREAK_EVENT)
        printed, said = popen.communicate()
    assert (printed, said) == (b"", b"")
    assert (len(simulator.tokens), len(simulator.sessions)) == (1, 0)


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_closed_pipe_ends_it_without_a_traceback(
    options: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    simulator = Simulator(many(2000))  # more than a pipe takes
    with serve(simulator) as base_url:
        monkeypatch.setenv("VMBACKUP_PASSWORD", "simulator")
        login = ["--base-url", base_url, "--username", "Administrator"]
        with started("vms", *options, *login) as popen:
            assert popen.stdout
            assert popen.stderr
            assert popen.stdout.readline()
            popen.stdout.close()
            said = popen.stderr.read()
            assert popen.wait() == 1
    assert said == b""
    assert (len(simulator.tokens), len(simulator.sessions)) == (1, 0)


# In any script, to any reader


JAPANESE = "\u30d0\u30c3\u30af\u30a2\u30c3\u30d7"
GERMAN = "B\u00fccherei-\u00c4\u00d6\u00dc"
NO_UTF8 = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
"""A machine whose encoding is ASCII; on Windows the code page stays, which is no UTF-8 either."""
LIKE_WINDOWS = """\
import sys
for stream in (sys.stdout, sys.stderr):
    stream.reconfigure(encoding="cp1252")  # as on a pipe of Windows
from pulumi_vmbackup.command import main
main()
"""


@pytest.fixture
def names(simulator: Simulator) -> None:
    """VMs with names in two scripts."""
    vms = simulator.inventory.virtual_machines
    vms[DC01]["VirtualMachineName"] = GERMAN
    vms[SQL01]["VirtualMachineName"] = JAPANESE
    simulator.inventory.assignments[SQL01, OFFSITE01] = None


def printed(*command: str, fails: int = 0, **environment: str) -> tuple[bytes, bytes]:
    """What a process prints on two pipes."""
    done = subprocess.run(
        command,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    assert done.returncode == fails, done.stderr
    return done.stdout, done.stderr


@pytest.mark.usefixtures("login", "names")
@pytest.mark.parametrize("command", [COMMAND, [sys.executable, "-c", LIKE_WINDOWS]])
def test_a_pipe_gets_utf8_on_any_machine(command: list[str]) -> None:
    for listing in (["vms"], ["assignments"], ["export", "--program", "-"]):
        out, _ = printed(*command, *listing)
        assert GERMAN in out.decode()
        assert JAPANESE in out.decode()
    _, err = printed(*command, "export", "--program", "-", "--vm", "nowhere", fails=1)
    assert JAPANESE in err.decode()


@pytest.mark.usefixtures("login", "names")
def test_json_on_a_pipe_is_ascii_which_powershell_does_not_change(tmp_path: Path) -> None:
    for command in (["snapshot", "--output"], ["export", "--import-file"]):
        out, _ = printed(*COMMAND, *command, "-")
        printed(*COMMAND, *command, str(tmp_path / command[0]))
        in_file = (tmp_path / command[0]).read_text("utf-8")
        assert JAPANESE in in_file
        shown, written = json.loads(out.decode("ascii")), json.loads(in_file)
        assert {**shown, "taken_at": ""} == {**written, "taken_at": ""}


@pytest.mark.usefixtures("login", "names")
def test_a_pipe_gets_the_encoding_that_the_user_sets_and_an_escape_for_what_it_lacks() -> None:
    out, _ = printed(*COMMAND, "vms", PYTHONIOENCODING="cp850")
    assert GERMAN in out.decode("cp850")
    assert JAPANESE.encode("ascii", "backslashreplace") in out


@ON_POSIX
@pytest.mark.usefixtures("login", "names")
@pytest.mark.parametrize("environment", [{"PYTHONIOENCODING": "cp850"}, NO_UTF8])
def test_a_terminal_of_a_code_page_is_no_traceback(
    environment: dict[str, str], terminal: Terminal
) -> None:
    streams: dict[str, Any] = {"stdout": terminal.slave, "stderr": terminal.slave}
    for command in ("vms", "assignments", "doctor"):
        with started(command, env={**os.environ, **environment}, **streams) as popen:
            popen.wait()
        assert popen.returncode == 0
    shown = terminal.read_rest("cp850")
    assert "Traceback" not in shown
    assert "SQL02" in shown


def test_the_null_device_is_no_terminal_to_ask_for_a_password_on() -> None:
    with open(os.devnull, "w+", encoding="utf-8") as stream:  # noqa: PTH123  # a device
        assert not is_terminal(stream)


# Without the extra


@pytest.mark.parametrize("package", ["click", "rich"])
def test_without_the_extra_it_says_what_to_install(package: str) -> None:
    program = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from pulumi_vmbackup.command import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"The vmbackup command needs packages that are not installed ({package}): run "
        '`pip install "pulumi-vmbackup[cli]"`.\n'
    )


# On a terminal


class Terminal:
    """A pseudo-terminal, and what has been printed on it."""

    slave: int
    _master: int
    printed = ""

    def __init__(self) -> None:
        if sys.platform == "win32":
            raise NotImplementedError
        self._master, self.slave = os.openpty()

    def read_until(self, text: str, popen: subprocess.Popen[bytes]) -> None:
        while text not in self.printed:
            assert popen.poll() is None, self.printed
            self.printed += os.read(self._master, 65536).decode()

    def read_rest(self, encoding: str = "utf-8") -> str:
        """What the ended process printed."""
        os.close(self.slave)
        try:
            while received := os.read(self._master, 65536):
                self.printed += received.decode(encoding, "replace")  # may end in a character
        except OSError:  # EIO: nobody holds the other end any more
            pass
        return self.printed

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def close(self) -> None:
        os.close(self._master)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal = Terminal()
    yield terminal
    terminal.close()


@ON_POSIX
@pytest.mark.usefixtures("login")
def test_on_a_terminal_it_asks_for_the_password_and_does_not_show_it(
    terminal: Terminal, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VMBACKUP_PASSWORD")
    monkeypatch.setenv("VMBACKUP_DOMAIN", "CONTOSO")
    streams: dict[str, Any] = {
        "stdin": terminal.slave,
        "stderr": terminal.slave,
        "start_new_session": True,
    }
    with started("locations", **streams) as popen:
        terminal.read_until("Password of CONTOSO\\Administrator: ", popen)
        terminal.type(f"{PASSWORD}\n")
        printed, _ = popen.communicate()
    assert popen.returncode == 0
    assert NAS01.encode() in printed
    assert PASSWORD not in terminal.read_rest() + printed.decode()
    assert (len(simulator.tokens), len(simulator.sessions)) == (1, 0)


@ON_POSIX
def test_without_an_account_it_says_what_somebody_at_a_prompt_does(
    terminal: Terminal, base_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VMBACKUP_BASE_URL", base_url)
    missing = (
        "vmbackup: No username for VM Backup is known, and no password. Give --username or set "
        "VMBACKUP_USERNAME, or name a Pulumi stack with --stack"
    )
    with started("vms") as popen:
        _, said = popen.communicate()
    assert said.decode().split("\n") == [f"{missing}. Set VMBACKUP_PASSWORD.", ""]
    with started("vms", stdin=terminal.slave, stderr=terminal.slave) as popen:
        popen.communicate()
    (said_there,) = terminal.read_rest().splitlines()
    assert said_there == f"{missing}; the command asks for the password if it has none."


@ON_POSIX
@pytest.mark.usefixtures("login")
def test_ctrl_c_at_the_prompt_ends_it(
    terminal: Terminal, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VMBACKUP_PASSWORD")
    streams: dict[str, Any] = {
        "stdin": terminal.slave,
        "stderr": terminal.slave,
        "start_new_session": True,
    }
    with started("vms", **streams) as popen:
        terminal.read_until("Password of Administrator: ", popen)
        popen.send_signal(signal.SIGINT)
        printed, _ = popen.communicate()
    assert (popen.returncode, printed) == (130, b"")
    assert "Traceback" not in terminal.read_rest()
    assert not simulator.calls


@ON_POSIX
@pytest.mark.usefixtures("login")
def test_a_terminal_gets_a_progress_bar_on_stderr_alone(terminal: Terminal) -> None:
    with started("assignments", "--json", stderr=terminal.slave) as popen:
        printed, _ = popen.communicate()
    assert popen.returncode == 0
    assert [each["vm_ref"] for each in json.loads(printed)] == [DC01]
    assert "Asking for the locations of each VM" in terminal.read_rest()


@ON_POSIX
@pytest.mark.usefixtures("login")
def test_the_words_about_a_wait_stand_above_the_progress_bar(
    terminal: Terminal, simulator: Simulator
) -> None:
    fault = Fault("busy", times=2)
    simulator.faults = [fault]
    with started("assignments", stderr=terminal.slave) as popen:
        terminal.read_until("VM Backup is busy with another session", popen)
        popen.communicate()
    assert (popen.returncode, fault.hits) == (0, 2)
    (told,) = (line for line in terminal.read_rest().splitlines() if "is busy" in line)
    assert "Asking" not in told


@ON_POSIX
@pytest.mark.usefixtures("login")
def test_a_terminal_gets_colours_for_what_stands_out(terminal: Terminal) -> None:
    with started("assignments", stdout=terminal.slave) as popen:
        popen.communicate()
    assert popen.returncode == 0
    shown = {line.split()[0]: line for line in terminal.read_rest().splitlines() if line.split()}
    assert "\x1b[1;31mEXCH01" in "".join(shown.values())
    assert "\x1b[1;33mDC01" in "".join(shown.values())
    assert EXCH01 not in "".join(shown.values())


@ON_POSIX
@pytest.mark.usefixtures("login")
@pytest.mark.parametrize(("command", "ids"), [("vms", (DC01, EXCH01)), ("locations", (DISK_E,))])
@pytest.mark.parametrize("columns", ["40", "80", "130"])
def test_an_id_can_be_copied_from_a_narrow_terminal(
    command: str,
    ids: Sequence[str],
    columns: str,
    simulator: Simulator,
    terminal: Terminal,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    simulator.inventory.backup_locations[DISK_E]["LocationPath"] = (
        "E:\\Backups of 2026\\" + "x" * 30
    )
    monkeypatch.setenv("COLUMNS", columns)
    with started(command, stdout=terminal.slave) as popen:
        popen.communicate()
    assert popen.returncode == 0
    shown = terminal.read_rest()
    for id_ in ids:
        assert id_ in shown


@ON_POSIX
def test_closed_standard_streams_are_no_traceback(
    base_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VMBACKUP_PASSWORD", PASSWORD)
    command = [sys.executable, "-m", "pulumi_vmbackup.command", "vms"]
    command += ["--base-url", base_url, "--username", "Administrator"]
    done = subprocess.run(
        ["sh", "-c", '"$@" <&- >&-', "sh", *command], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def fake_pulumi(folder: Path, settings: dict[str, object]) -> None:
    """Makes a `pulumi` that prints the configuration of a stack, as a script of the system.

    It writes its folder and its arguments to the file `called`.
    """
    config = {f"vmbackup:{key}": {"value": "", "objectValue": v} for key, v in settings.items()}
    (folder / "config.json").write_text(json.dumps(config, ensure_ascii=False), "utf-8")
    if os.name == "nt":
        (folder / "pulumi.cmd").write_text(  # as npm makes one
            '@cd > "%~dp0called"\n@echo %* >> "%~dp0called"\n@type "%~dp0config.json"\n'
        )
    else:
        (folder / "pulumi").write_text(
            '#!/bin/sh\nhere=$(dirname "$0")\npwd > "$here/called"\necho "$*" >> "$here/called"\n'
            'cat "$here/config.json"\n'
        )
        (folder / "pulumi").chmod(0o755)


@pytest.fixture
def bin_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


@pytest.mark.parametrize("connection", [None, "site-b"])
def test_a_secret_of_a_stack_is_hidden_in_the_error_about_another_setting(
    connection: str | None, run: Run, tmp_path: Path, bin_folder: Path
) -> None:
    secret = "hunter2secret"
    values: dict[str, object] = {"password": secret, "serverPort": secret}
    fake_pulumi(bin_folder, {"connections": {connection: values}} if connection else values)
    options = ["--connection", connection] if connection else []
    said = sentence(run("vms", "--stack", f"{tmp_path}/dev", *options, fails=1))
    assert "is not a port" in said
    assert secret not in said


def test_the_cli_and_the_folder_of_a_stack_are_found_wherever_they_are(
    run: Run, tmp_path: Path, bin_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_pulumi(bin_folder, {"serverPort": "none", "domain": "B\u00fccherei"})
    folder = tmp_path / "My program \u00c4\u00d6\u00dc"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    monkeypatch.setenv("PATH", f"bin{os.pathsep}{os.environ['PATH']}")
    slashes = "/\\" if os.name == "nt" else "/"
    for where in (folder.name, str(folder), f"~/{folder.name}"):
        for slash in slashes:
            said = sentence(run("vms", "--stack", f"{where}{slash}dev", fails=1))
            assert said.startswith("The value 'none' of vmbackup:serverPort in the stack")
    said = sentence(run("vms", "--stack", f"{Path(tmp_path.anchor)}dev", fails=1))
    assert "is not a port" in said  # the folder is the root of the drive


@pytest.mark.parametrize(
    ("present", "text", "folder", "stack"),
    [
        # As Pulumi writes it, in the folder of the program or below it.
        ("iac", "prod", "iac", "prod"),
        ("iac", "contoso/prod", "iac", "contoso/prod"),  # which is a folder too
        ("iac", "contoso/backup/prod", "iac", "contoso/backup/prod"),
        ("iac", "./prod", "iac", "prod"),
        ("iac/src", "prod", "iac/src", "prod"),
        ("iac/src", "contoso/backup/prod", "iac/src", "contoso/backup/prod"),
        ("iac", "none/prod", "iac", "none/prod"),
        # After a folder.
        ("", "iac/prod", "iac", "prod"),
        ("", "iac/contoso/prod", "iac", "contoso/prod"),
        ("", "iac/contoso/backup/prod", "iac", "contoso/backup/prod"),
        ("", "iac/site-b/prod", "iac/site-b", "prod"),  # a project of its own
        ("iac", "site-b/contoso/site-b/prod", "iac/site-b", "contoso/site-b/prod"),
        ("iac/src", "../prod", "iac", "prod"),
        ("iac/src", "../site-b/prod", "iac/site-b", "prod"),
        ("iac/src/deep", "../prod", "iac/src", "prod"),  # pulumi finds the project above
        ("", "{root}/iac/prod", "iac", "prod"),
        ("", "{root}/iac/contoso/backup/prod", "iac", "contoso/backup/prod"),
        ("", "{root}/iac/src/deep/contoso/backup/prod", None, ""),
        ("", "~/iac/prod", "iac", "prod"),
        ("", "~/iac/contoso/backup/prod", "iac", "contoso/backup/prod"),
        ("", '"{root}/iac/prod"', "iac", "prod"),
        ("", "{root}/empty/prod", "empty", "prod"),  # pulumi says that it has no project
        ("", "empty/prod", "", "empty/prod"),
        ("", "contoso/backup/prod", "", "contoso/backup/prod"),
        # In the present folder of no project, and nowhere.
        ("iac", "../none/prod", None, ""),
        ("", "{root}/none/backup/prod", None, ""),
    ],
)
def test_a_stack_is_written_as_in_pulumi_or_after_the_folder_of_its_program(
    present: str,
    text: str,
    folder: str | None,
    stack: str,
    run: Run,
    tmp_path: Path,
    bin_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake_pulumi(bin_folder, {"serverPort": "none"})
    for each in ("iac/contoso", "iac/src/deep", "iac/site-b", "empty"):
        (tmp_path / each).mkdir(parents=True)
    (tmp_path / "iac/Pulumi.yaml").write_text("description: x\nname: 'backup' # ours\n")
    (tmp_path / "iac/site-b/Pulumi.json").write_text('{"name": "site-b"}')
    monkeypatch.chdir(tmp_path / present)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    text = text.format(root=tmp_path)
    for written in {text, text.replace("/", os.sep)}:
        said = sentence(run("vms", "--stack", written, fails=1))
        if folder is None:
            assert said.startswith("There is no folder "), said
            assert said.endswith(
                "In the folder of the program or below it, write --stack as Pulumi does: prod, "
                "contoso/prod or contoso/backup/prod. Elsewhere, write the folder before it: "
                "infrastructure/prod or infrastructure/contoso/backup/prod. A folder alone, "
                "infrastructure/, is its selected stack."
            )
            continue
        assert "is not a port" in said, said
        where, arguments = (bin_folder / "called").read_text().splitlines()
        assert Path(where.strip()) == tmp_path / folder
        assert f" --stack {stack} " in arguments


@pytest.mark.parametrize("text", ["", ".", "./", "/"])
def test_a_stack_without_a_name_is_an_error_and_not_the_environment(
    text: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if text:  # an empty one is an error beside a program, too
        monkeypatch.chdir(tmp_path)
    assert f"{text!r} of --stack names no stack. In" in sentence(
        run("vms", "--stack", text, fails=1)
    )


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("Pulumi.yaml", "runtime: python\nname: backup\n"),
        ("Pulumi.yml", '\ufeffname : "backup"  # ours\n'),
        ("Pulumi.json", '{"runtime": {"name": "python"}, "name": "backup"}'),
    ],
)
def test_a_stack_of_another_project_is_refused_since_pulumi_would_read_this_ones(
    file: str,
    content: str,
    run: Run,
    tmp_path: Path,
    bin_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake_pulumi(bin_folder, {"serverPort": "none"})
    (folder := tmp_path / "iac").mkdir()
    (folder / file).write_text(content, "utf-8")
    monkeypatch.chdir(folder)
    assert sentence(run("vms", "--stack", "contoso/other/prod", fails=1)) == (
        f"contoso/other/prod is a stack of the project 'other', and the folder {folder} has the "
        "project 'backup': write the folder of 'other' before it, like DIR/contoso/other/prod."
    )
    assert not (bin_folder / "called").exists()
    assert "is not a port" in sentence(run("vms", "--stack", "contoso/backup/prod", fails=1))
    (folder / file).write_text("name: ${x}\n")  # not known, so left to pulumi
    assert "is not a port" in sentence(run("vms", "--stack", "contoso/other/prod", fails=1))


def test_a_path_of_a_stack_begins_at_its_project_also_below_it(
    run: Run, tmp_path: Path, bin_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_pulumi(bin_folder, {"caFile": "none.pem"})
    (folder := tmp_path / "iac" / "src").mkdir(parents=True)
    (tmp_path / "iac/Pulumi.yaml").write_text("name: backup\n")
    monkeypatch.chdir(folder)
    for text in ("prod", "contoso/backup/prod", "../prod"):
        said = sentence(run("vms", "--stack", text, fails=1))
        looked_for = re.search(r"\(looked for (.*)\): give", said)
        assert looked_for
        assert Path(looked_for[1]).resolve() == tmp_path / "iac" / "none.pem"


# The recording


def test_record_is_an_option_before_the_subcommand(
    run: Callable[..., Result], tmp_path: Path
) -> None:
    file = tmp_path / "run.jsonl"
    run("--record", str(file), "vms")
    assert [each.path for each in read_recording(file)][1] == "vms/list/[token]"
    assert "DC01" not in file.read_text("utf-8")
    run("--with-names", "--record", str(file), "vms")
    assert "DC01" in file.read_text("utf-8")
    assert not [name for name in os.environ if name.startswith("VMBACKUP_RECORD")]


def test_a_recording_that_cannot_be_written_is_a_sentence(
    run: Callable[..., Result], tmp_path: Path, simulator: Simulator
) -> None:
    result = run("--record", str(tmp_path), "vms", fails=1)
    assert result.stderr.startswith(f"vmbackup: The file '{tmp_path}' of VMBACKUP_RECORD or ")
    assert not simulator.calls
