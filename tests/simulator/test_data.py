"""data.py: what the simulated server holds, as one JSON file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sample import DC01, DISK_E, NAS01, NOWHERE, OFFSITE01, ROTATING, SQL01, TEST01

from pulumi_vmbackup import VmBackupError
from pulumi_vmbackup.models import is_guid
from pulumi_vmbackup.simulator import Inventory, InventoryError

VM = {"AltaroVirtualMachineRef": SQL01}
LOCATION = {"BackupLocationId": NAS01, "Kind": "primary"}
ZEROS = {"AltaroVirtualMachineRef": "00000000-0000-0000-0000-000000000000"}
PAIR = {"AltaroVirtualMachineRef": SQL01, "BackupLocationId": NAS01}
WHOLE = {"VirtualMachines": [VM], "BackupLocations": [LOCATION], "Assignments": [PAIR]}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "inventory.json"


def load(file: Path, data: object) -> Inventory:
    file.write_text(json.dumps(data), "utf-8")
    return Inventory.load(file)


def without(item: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name != key}


# The sample


def test_the_sample_is_a_small_company() -> None:
    sample = Inventory.sample()
    assert len(sample.virtual_machines) == 8
    assert [ref for ref, vm in sample.virtual_machines.items() if not vm["Configured"]] == [TEST01]
    assert sample.kinds == {
        NAS01: "primary",
        DISK_E: "primary",
        OFFSITE01: "offsite",
        ROTATING: "offsite",
    }
    assert list(sample.assignments) == [(DC01, DISK_E)]


def test_each_sample_is_a_new_one() -> None:
    changed = Inventory.sample()
    changed.assignments.clear()
    changed.virtual_machines[SQL01]["Configured"] = False
    assert Inventory.sample().virtual_machines[SQL01]["Configured"] is True
    assert Inventory.sample().locations_of(DC01) == [DISK_E]


# Written and read


def test_what_is_saved_is_loaded_again(file: Path) -> None:
    inventory = Inventory.sample()
    inventory.assignments[SQL01, OFFSITE01] = None
    inventory.assignments[SQL01, NAS01] = None
    inventory.save(file)
    loaded = Inventory.load(file)
    assert loaded == inventory
    assert list(loaded.assignments)[-2:] == [(SQL01, OFFSITE01), (SQL01, NAS01)]
    assert loaded.dump() == inventory.dump() == file.read_text("utf-8")


def test_an_empty_inventory_is_saved_and_loaded(file: Path) -> None:
    Inventory().save(file)
    assert Inventory.load(file) == Inventory()


def test_fields_that_nobody_knows_are_kept(file: Path) -> None:
    location = {**LOCATION, "LocationPath": "Zürich \N{CLOUD}", "FreeBytes": [1, None]}
    inventory = load(file, {**WHOLE, "BackupLocations": [location]})
    assert inventory.backup_locations[NAS01] == without(location, "Kind")
    inventory.save(file)
    assert json.loads(file.read_text("utf-8"))["BackupLocations"] == [location]


def test_an_inventory_needs_no_assignments(file: Path) -> None:
    assert load(file, without(WHOLE, "Assignments")).assignments == {}


def test_guids_are_known_in_lower_case_without_braces(file: Path) -> None:
    inventory = load(
        file,
        {
            "VirtualMachines": [{"AltaroVirtualMachineRef": f"{{{SQL01.upper()}}}"}],
            "BackupLocations": [{**LOCATION, "BackupLocationId": NAS01.upper()}],
            "Assignments": [PAIR],
        },
    )
    assert inventory.locations_of(SQL01) == [NAS01]
    assert list(inventory.backup_locations) == [NAS01]


def test_vms_without_a_ref_are_kept_as_they_are_and_in_their_order(file: Path) -> None:
    braces = {"AltaroVirtualMachineRef": "{00000000-0000-0000-0000-000000000000}"}
    vms = [
        ZEROS,
        {"AltaroVirtualMachineRef": None},
        VM,
        {"VirtualMachineName": "SQL01"},
        ZEROS,
        braces,
    ]
    inventory = load(file, {**WHOLE, "VirtualMachines": vms})
    assert list(inventory.virtual_machines.values()) == vms
    assert [each for each in inventory.virtual_machines if is_guid(each)] == [SQL01]
    inventory.save(file)
    assert Inventory.load(file) == inventory


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_file_of_a_windows_editor_is_read(encoding: str, file: Path) -> None:
    file.write_bytes(json.dumps(WHOLE, indent=2).replace("\n", "\r\n").encode(encoding))
    assert Inventory.load(file).locations_of(SQL01) == [NAS01]


# Damaged files


def assert_one_sentence_about(error: VmBackupError, file: Path, reason: str) -> None:
    sentence = str(error)
    assert sentence.startswith("The inventory ")
    assert str(file) in sentence
    assert reason in sentence
    assert sentence.endswith(".")
    assert not sentence.endswith("..")
    assert "\n" not in sentence
    assert "Errno" not in sentence


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "is not valid: Expecting value: line 1 column 1"),
        ("{", "is not valid: Expecting property name"),
        (json.dumps(WHOLE)[:-1], "is not valid: Expecting ',' delimiter"),
        (json.dumps(WHOLE) * 2, "is not valid: Extra data"),
        ("[" * 100_000, "while decoding a JSON array"),
        ("1" * 5000, "is not valid: Exceeds the limit"),
    ],
    ids=["empty", "cut at once", "cut late", "twice", "too deep", "too long a number"],
)
def test_a_file_that_is_no_json_is_one_sentence(content: str, reason: str, file: Path) -> None:
    file.write_text(content)
    with pytest.raises(InventoryError) as raised:
        Inventory.load(file)
    assert_one_sentence_about(raised.value, file, reason)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        ([WHOLE], "it is not a JSON object"),
        (None, "it is not a JSON object"),
        ("inventory", "it is not a JSON object"),
        ({}, "lacks the field 'VirtualMachines'"),
        (without(WHOLE, "VirtualMachines"), "lacks the field 'VirtualMachines'"),
        (without(WHOLE, "BackupLocations"), "lacks the field 'BackupLocations'"),
        ({**WHOLE, "VirtualMachines": None}, "VirtualMachines is not a list of objects"),
        ({**WHOLE, "VirtualMachines": VM}, "VirtualMachines is not a list of objects"),
        ({**WHOLE, "VirtualMachines": [SQL01]}, "VirtualMachines is not a list of objects"),
        ({**WHOLE, "VirtualMachines": [VM, None]}, "VirtualMachines is not a list of objects"),
        ({**WHOLE, "BackupLocations": 4}, "BackupLocations is not a list of objects"),
        ({**WHOLE, "BackupLocations": [[LOCATION]]}, "BackupLocations is not a list of objects"),
        ({**WHOLE, "Assignments": None}, "Assignments is not a list of objects"),
        ({**WHOLE, "Assignments": [[SQL01, NAS01]]}, "Assignments is not a list of objects"),
        (
            {**WHOLE, "VirtualMachines": [{}]},
            f"the VM {SQL01} of an assignment is not listed",
        ),
        (
            {**WHOLE, "BackupLocations": [without(LOCATION, "BackupLocationId")]},
            "lacks the field 'BackupLocationId'",
        ),
        ({**WHOLE, "BackupLocations": [without(LOCATION, "Kind")]}, "lacks the field 'Kind'"),
        (
            {**WHOLE, "Assignments": [without(PAIR, "BackupLocationId")]},
            "lacks the field 'BackupLocationId'",
        ),
        (
            {**WHOLE, "VirtualMachines": [{"AltaroVirtualMachineRef": "SQL01"}]},
            "is not valid: 'SQL01' is not a GUID",
        ),
        (
            {**WHOLE, "VirtualMachines": [{"AltaroVirtualMachineRef": ""}]},
            "is not valid: '' is not a GUID",
        ),
        (
            {**WHOLE, "VirtualMachines": [VM, ZEROS], "Assignments": [{**PAIR, **ZEROS}]},
            f"the VM {ZEROS['AltaroVirtualMachineRef']} of an assignment is not listed",
        ),
        (
            {**WHOLE, "BackupLocations": [{**LOCATION, "BackupLocationId": 1}]},
            "is not valid: 1 is not a GUID",
        ),
        (
            {**WHOLE, "BackupLocations": [{**LOCATION, "Kind": "Primary"}]},
            "the Kind 'Primary' is neither primary nor offsite",
        ),
        (
            {**WHOLE, "BackupLocations": [{**LOCATION, "Kind": ["primary"]}]},
            "the Kind ['primary'] is neither primary nor offsite",
        ),
        (
            {**WHOLE, "VirtualMachines": [VM, {"AltaroVirtualMachineRef": SQL01.upper()}]},
            f"the VM {SQL01} is listed twice",
        ),
        (
            {**WHOLE, "BackupLocations": [LOCATION, {**LOCATION, "Kind": "offsite"}]},
            f"the location {NAS01} is listed twice",
        ),
        (
            {**WHOLE, "Assignments": [{**PAIR, "AltaroVirtualMachineRef": NOWHERE}]},
            f"the VM {NOWHERE} of an assignment is not listed",
        ),
        (
            {**WHOLE, "Assignments": [{**PAIR, "BackupLocationId": NOWHERE}]},
            f"the location {NOWHERE} of an assignment is not listed",
        ),
    ],
)
def test_a_file_that_is_no_inventory_is_one_sentence(data: object, reason: str, file: Path) -> None:
    with pytest.raises(InventoryError) as raised:
        load(file, data)
    assert_one_sentence_about(raised.value, file, reason)


def test_the_whole_inventory_of_these_tables_is_a_valid_one(file: Path) -> None:
    assert load(file, WHOLE).locations_of(SQL01) == [NAS01]


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda file: None, "cannot be read: No such file or directory."),  # noqa: ARG005
        (Path.mkdir, "cannot be read: "),
        (
            lambda file: file.write_bytes(b'{"\xff"'),
            "cannot be read: save it as UTF-8 ('utf-8' codec can't decode",
        ),
    ],
    ids=["missing", "directory", "binary"],
)
def test_a_file_that_cannot_be_read_is_one_sentence(
    make: Callable[[Path], object], reason: str, file: Path
) -> None:
    make(file)
    with pytest.raises(InventoryError) as raised:
        Inventory.load(file)
    assert_one_sentence_about(raised.value, file, reason)


# Saving


@contextmanager
def full_disk() -> Iterator[None]:
    """Let no file grow over 1000 bytes, which a write notices in its middle."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_write_that_fails_midway_leaves_the_old_file_whole(file: Path) -> None:
    old, new = Inventory.sample(), Inventory.sample()
    new.assignments.clear()
    old.save(file)
    with full_disk(), pytest.raises(InventoryError) as raised:
        new.save(file)
    assert_one_sentence_about(raised.value, file, "cannot be written: File too large.")
    assert Inventory.load(file) == old
    new.save(file)
    assert Inventory.load(file) == new


def test_a_write_that_cannot_begin_leaves_the_old_file_whole(file: Path) -> None:
    Inventory.sample().save(file)
    file.with_name(f".{file.name}.{os.getpid()}.partial").mkdir()
    with pytest.raises(InventoryError) as raised:
        Inventory().save(file)
    assert_one_sentence_about(raised.value, file, "cannot be written: ")
    assert Inventory.load(file) == Inventory.sample()


def test_saving_where_no_file_can_be_is_one_sentence(tmp_path: Path) -> None:
    for path in (tmp_path / "no" / "folder.json", tmp_path):
        with pytest.raises(InventoryError) as raised:
            Inventory.sample().save(path)
        assert_one_sentence_about(raised.value, path, "cannot be written: ")


@pytest.mark.skipif(os.name == "nt", reason="Windows replaces no file that is being read")
def test_a_reader_sees_a_whole_file_while_it_is_written(file: Path) -> None:
    inventory = Inventory.sample()
    inventory.save(file)

    def save_often() -> None:
        for _ in range(50):
            inventory.save(file)

    with ThreadPoolExecutor() as pool:
        writing = pool.submit(save_often)
        while not writing.done():
            assert Inventory.load(file) == inventory
        writing.result()


# What a VM has


def test_the_locations_of_a_vm_are_in_the_order_of_the_locations() -> None:
    inventory = Inventory.sample()
    for location in (ROTATING, NAS01, OFFSITE01):
        inventory.assignments[SQL01, location] = None
        inventory.assignments[DC01, location] = None
    assert inventory.locations_of(SQL01) == [NAS01, OFFSITE01, ROTATING]
    assert inventory.locations_of(TEST01) == []
