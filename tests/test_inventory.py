"""inventory.py: the snapshot file, and what a damaged one says."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from sample import DC01, DISK_E, NAS01, OFFSITE01, SQL01, SQL02

from pulumi_vmbackup import BackupLocation, SettingsError, VirtualMachine
from pulumi_vmbackup.inventory import Snapshot, read_snapshot
from pulumi_vmbackup.models import Assignment

TAKEN_AT = datetime(2026, 3, 1, 23, 0, tzinfo=timezone.utc)
SQL = VirtualMachine(SQL01, "SQL01", host="HV-01", configured=True, hypervisor_uuid="2b1e")
DC = VirtualMachine(DC01, "DC01", host="HV-01", configured=True)
UNMANAGED = VirtualMachine(None, "Zäh01", configured=False)
NAS = BackupLocation(NAS01, r"\\NAS01\VMBackups", "primary")
OFFSITE = BackupLocation(OFFSITE01, None, "offsite")
INVENTORY = Snapshot(
    virtual_machines=(SQL, UNMANAGED, DC),
    backup_locations=(NAS, OFFSITE),
    assignments=(Assignment(SQL01, NAS01), Assignment(DC01, OFFSITE01)),
    taken_at=TAKEN_AT,
)
TEXT = rf"""{{
  "format": "pulumi-vmbackup inventory",
  "version": 1,
  "taken_at": "2026-03-01T23:00:00+00:00",
  "virtual_machines": [
    {{"ref": "{DC01}", "name": "DC01", "host": "HV-01", "configured": true, "hypervisor_uuid": null}},
    {{"ref": "{SQL01}", "name": "SQL01", "host": "HV-01", "configured": true, "hypervisor_uuid": "2b1e"}},
    {{"ref": null, "name": "Zäh01", "host": null, "configured": false, "hypervisor_uuid": null}}
  ],
  "backup_locations": [
    {{"id": "{OFFSITE01}", "path": null, "kind": "offsite"}},
    {{"id": "{NAS01}", "path": "\\\\NAS01\\VMBackups", "kind": "primary"}}
  ],
  "assignments": [
    {{"vm_ref": "{DC01}", "backup_location_id": "{OFFSITE01}"}},
    {{"vm_ref": "{SQL01}", "backup_location_id": "{NAS01}"}}
  ]
}}
"""  # noqa: E501  # an item stands in a line


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "inventory.json"


def test_a_snapshot_is_sorted_and_has_a_line_for_each_item() -> None:
    assert INVENTORY.dump() == TEXT


def test_backups_that_were_made_do_not_change_a_snapshot() -> None:
    backed_up = replace(SQL, last_backup_time=datetime(2026, 3, 1), last_backup_result="Success")
    later = replace(INVENTORY, virtual_machines=(DC, backed_up, UNMANAGED))
    assert later.dump() == TEXT


def test_characters_that_a_page_would_hide_are_shown() -> None:
    vms = (VirtualMachine(DC01, "DC\u202e01\n\U000e0001"),)
    assert (
        '"name": "DC\\u202e01\\n\\udb40\\udc01"' in replace(INVENTORY, virtual_machines=vms).dump()
    )


def test_the_time_is_written_in_utc() -> None:
    elsewhere = timezone(timedelta(hours=2))
    assert replace(INVENTORY, taken_at=TAKEN_AT.astimezone(elsewhere)).dump() == TEXT


def test_a_snapshot_is_read_as_it_was_written(file: Path) -> None:
    file.write_text(TEXT, "utf-8")
    read = read_snapshot(file)
    assert read.virtual_machines == (DC, SQL, UNMANAGED)
    assert read.backup_locations == (OFFSITE, NAS)
    assert read.taken_at == TAKEN_AT
    assert read.dump() == TEXT


def test_the_locations_of_a_vm_are_those_that_it_was_assigned_to() -> None:
    assert INVENTORY.vm_backup_locations(SQL01) == [NAS]
    assert INVENTORY.vm_backup_locations(DISK_E) == []


def test_an_empty_inventory_is_one(file: Path) -> None:
    empty = Snapshot((), (), (), TAKEN_AT)
    file.write_text(empty.dump(), "utf-8")
    assert read_snapshot(file) == empty


def test_a_missing_host_has_no_vm_in_the_new_snapshot_and_its_moved_vms_are_not_missing() -> None:
    two = replace(DC, ref=SQL02, host="HV-02")
    before = replace(INVENTORY, virtual_machines=(SQL, DC, two, replace(UNMANAGED, host="HV-02")))
    assert before.missing_by_host(before) == {}
    assert replace(before, virtual_machines=(SQL,)).missing_by_host(before) == {"HV-02": 2}
    moved = replace(two, host="hv-01")
    assert replace(before, virtual_machines=(SQL, moved)).missing_by_host(before) == {"HV-02": 1}
    assert replace(before, virtual_machines=()).missing_by_host(before) == {"HV-01": 2, "HV-02": 2}


def test_a_ref_of_zeros_in_an_older_file_is_none(file: Path) -> None:
    file.write_text(TEXT.replace(SQL01, "00000000-0000-0000-0000-000000000000", 1), "utf-8")
    refs = {vm.name: vm.ref for vm in read_snapshot(file).virtual_machines}
    assert refs["SQL01"] is None


def changed(change: Callable[[dict[str, Any]], object]) -> str:
    content = json.loads(TEXT)
    change(content)
    return json.dumps(content)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is not JSON: write it again with `vmbackup snapshot`."),
        (TEXT[:-20], "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "is not an inventory of pulumi-vmbackup"),
        ('{"VirtualMachines": []}', "is not an inventory of pulumi-vmbackup"),
        (
            changed(lambda c: c.update(version=2)),
            "has the format version 2, and this version of pulumi-vmbackup reads 1:",
        ),
        (changed(lambda c: c.pop("version")), "has the format version None"),
        (
            changed(lambda c: c.pop("assignments")),
            "is damaged ('assignments' is missing): write it",
        ),
        (changed(lambda c: c["virtual_machines"][0].pop("host")), "is damaged ('host' is missing)"),
        (
            changed(lambda c: c["virtual_machines"][0].update(configured="false")),
            "is damaged (configured is 'false', not true, false or null)",
        ),
        (
            changed(lambda c: c["virtual_machines"][0].update(ref="x")),
            "is damaged ('x' is not a GUID; expected",
        ),
        (
            changed(lambda c: c["virtual_machines"][0].update(name=7)),
            "is damaged (7 is not text)",
        ),
        (
            changed(lambda c: c["backup_locations"][0].update(kind="tape")),
            "is damaged (the kind 'tape' is neither primary nor offsite)",
        ),
        (changed(lambda c: c.update(backup_locations=[7])), "is damaged ("),
        (changed(lambda c: c.update(taken_at="yesterday")), "is damaged ("),
        (
            changed(lambda c: c.update(taken_at="2026-03-01T23:00:00")),
            "is damaged (the time '2026-03-01T23:00:00' has no time zone)",
        ),
    ],
    ids=range(16),
)
def test_a_damaged_foreign_or_future_file_is_one_sentence(text: str, says: str, file: Path) -> None:
    file.write_text(text, "utf-8")
    with pytest.raises(SettingsError) as raised:
        read_snapshot(file)
    assert f"file {file} {says}" in str(raised.value)
    assert "`vmbackup snapshot`" in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_file_is_read_as_notepad_and_powershell_save_it(encoding: str, file: Path) -> None:
    file.write_bytes(TEXT.replace("\n", "\r\n").encode(encoding))
    assert read_snapshot(file).dump() == TEXT


def test_a_file_that_is_not_there_names_where_it_was_looked_for(file: Path) -> None:
    with pytest.raises(
        SettingsError, match=r"cannot be read \(No such file or directory\): correct"
    ):
        read_snapshot(file)
