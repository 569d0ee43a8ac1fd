"""export.py: the names of resources, and programs that say what the import file says."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any, TypeVar

import pytest
from programs import Recorder, run_program
from sample import DC01, DISK_E, FILE01, NAS01, OFFSITE01, PASSWORD, ROTATING, SQL01, SQL02, TEST01

from pulumi_vmbackup import ArgumentError, BackupLocation, VirtualMachine
from pulumi_vmbackup.catalog import gather
from pulumi_vmbackup.client import Client
from pulumi_vmbackup.command.export import Export
from pulumi_vmbackup.inventory import Snapshot
from pulumi_vmbackup.models import Assignment
from pulumi_vmbackup.plugin.schema import ASSIGNMENT, VERSION
from pulumi_vmbackup.settings import Settings
from pulumi_vmbackup.simulator import Simulator

_K = TypeVar("_K")
_V = TypeVar("_V")

DC = VirtualMachine(DC01, "DC01", "HV-01", configured=True)
SQL = VirtualMachine(SQL01, "SQL01", "HV-01", configured=True)
OTHER_SQL = VirtualMachine(SQL02, "sql01", "HV-02", configured=True)
NAS = BackupLocation(NAS01, r"\\NAS01\VMBackups", "primary")
DISK = BackupLocation(DISK_E, r"E:\VMBackups", "primary")
OFFSITE = BackupLocation(OFFSITE01, r"\\OFFSITE01\VMBackups", "offsite")

# What is hard to write into a program, to name a resource after, or both.
ODD = (
    "SQL 01",
    "SQL-01",
    'the "old" server',
    "Müller's \N{PILE OF POO}",
    "バックアップ" * 9,
    "データ",
    "\\",
    "E:\\",
    "C:\\new\\table",
    '\\\\NAS"1"\\x',
    "'\"",
    "'''\"\"\"",
    "{name}",
    "%s",
    "#",
    "class",
    "print",
    "l",
    "2nd",
    "get_virtual_machine(",
    "a\N{ZERO WIDTH SPACE}b",
    "a\N{RIGHT-TO-LEFT OVERRIDE}b",
    "a\tb\nc\x1b[2J",
    "\ud800",
    "ﬀ",
    "ff",
    "\N{COMBINING ACUTE ACCENT}e",
    "x" * 70,
    "x" * 200,
    "---",
    "",
    "::",
    "a::b",
)


def inventory(
    vms: tuple[VirtualMachine, ...],
    locations: tuple[BackupLocation, ...] = (NAS, DISK, OFFSITE),
    pairs: list[tuple[str, str]] | None = None,
) -> Snapshot:
    """All VMs go to all locations, when the pairs are not given."""
    if pairs is None:
        pairs = [(vm.ref, each.id) for vm in vms if vm.is_assignable for each in locations]  # type: ignore[misc]
    kinds = {each.id: each.kind for each in locations}
    return Snapshot(
        virtual_machines=vms,
        backup_locations=locations,
        assignments=tuple(Assignment(*pair, kind=kinds.get(pair[1])) for pair in pairs),
        taken_at=datetime(2026, 3, 1, tzinfo=timezone.utc),
    )


def names(of: Snapshot) -> list[str]:
    return [each.name for each in Export(of).resources]


def ruff(program: str, *arguments: str) -> None:
    """Fail when ruff, without any settings, has something to say."""
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *arguments, "--isolated", "--stdin-filename", "x.py", "-"],
        input=program,
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}{program}"


def accepted_by_ruff(program: str) -> None:
    ruff(program, "check")
    for length in ("88", "100", "120"):
        ruff(program, "format", "--diff", "--line-length", length)


# Names


def test_a_name_is_the_vms_and_the_locations_and_the_list_is_sorted() -> None:
    assert names(inventory((SQL, DC))) == [
        "DC01-E-VMBackups",
        "DC01-NAS01",
        "DC01-OFFSITE01",
        "SQL01-E-VMBackups",
        "SQL01-NAS01",
        "SQL01-OFFSITE01",
    ]


def test_two_vms_of_one_name_have_their_hosts_and_all_others_keep_their_names() -> None:
    before = names(inventory((DC, SQL), (NAS,)))
    after = names(inventory((DC, SQL, OTHER_SQL), (NAS,)))
    assert before == ["DC01-NAS01", "SQL01-NAS01"]
    assert after == ["DC01-NAS01", "SQL01-HV-01-NAS01", "sql01-HV-02-NAS01"]


def test_a_replica_changes_no_name() -> None:
    replicas = (
        replace(SQL, ref=None, host="HV-02", configured=False),
        replace(SQL, ref=SQL02, host="HV-03", configured=False),
    )
    assert names(inventory((DC, SQL, *replicas), (NAS,))) == ["DC01-NAS01", "SQL01-NAS01"]


def test_two_vms_of_one_name_on_one_host_have_the_beginning_of_their_refs() -> None:
    twin = replace(SQL, ref=SQL02)
    assert names(inventory((SQL, twin), (NAS,))) == ["SQL01-21e6a46f-NAS01", "SQL01-ba2e9cdc-NAS01"]


def test_two_locations_on_one_server_have_their_whole_paths() -> None:
    other = BackupLocation(ROTATING, r"\\nas01\Archive", "primary")
    assert names(inventory((SQL,), (NAS, other, OFFSITE))) == [
        "SQL01-nas01-Archive",
        "SQL01-NAS01-VMBackups",
        "SQL01-OFFSITE01",
    ]


def test_without_a_name_or_a_path_there_is_the_beginning_of_an_id() -> None:
    assert names(
        inventory((replace(SQL, name=None),), (replace(NAS, path=None), replace(DISK, path="?")))
    ) == ["vm-ba2e9cdc-primary-76b67451", "vm-ba2e9cdc-primary-e52edf12"]


def test_ids_that_begin_alike_are_written_out() -> None:
    refs = [f"ba2e9cdc-0000-4000-8000-00000000000{number}" for number in range(2)]
    vms = tuple(replace(SQL, ref=ref, name=None) for ref in refs)
    assert names(inventory(vms, (NAS,))) == [f"vm-{ref}-NAS01" for ref in refs]


def test_names_that_are_joined_alike_are_told_apart() -> None:
    vms = (replace(SQL, name="A"), replace(DC, name="A-B"))
    locations = (replace(NAS, path="B-C"), replace(OFFSITE, path="C"))
    found = names(inventory(vms, locations))
    assert found == [
        f"A-B-C-{SQL01[:8]}-{NAS01[:8]}",
        "A-C",
        "A-B-B-C",
        f"A-B-C-{DC01[:8]}-{OFFSITE01[:8]}",
    ]


def test_a_name_that_looks_like_one_that_was_made_longer_is_made_longer_as_well() -> None:
    third = replace(DC, name="SQL01-HV-01")
    found = names(inventory((SQL, OTHER_SQL, third), (NAS,)))
    assert len(set(found)) == 3
    assert f"SQL01-{SQL01[:8]}-NAS01" in found


def test_what_is_left_out_changes_no_name() -> None:
    export = Export(inventory((SQL, OTHER_SQL, DC)))
    chosen = export.select(vms=["sql*"], hosts=["hv-02"], locations=[r"e:\vmbackups"])
    assert [each.name for each in chosen] == ["sql01-HV-02-E-VMBackups"]


# Filters


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ({}, 9),
        ({"vms": ["SQL*"]}, 6),
        ({"vms": ["s??01", "DC01"]}, 9),
        ({"hosts": ["HV-02"]}, 3),
        ({"hosts": ["HV-02", "hv-01"]}, 9),
        ({"locations": [OFFSITE01.upper()]}, 3),
        ({"locations": [f"{{{OFFSITE01}}}", r"\\nas01\vmbackups"]}, 6),
        ({"kind": "primary"}, 6),
        ({"kind": "offsite", "hosts": ["HV-01"], "vms": ["sql*"]}, 1),
        ({"kind": "offsite", "locations": [NAS01]}, 0),
    ],
)
def test_filters_narrow_each_other_and_values_of_one_widen_it(
    filters: dict[str, Any], count: int
) -> None:
    assert len(Export(inventory((SQL, OTHER_SQL, DC))).select(**filters)) == count


@pytest.mark.parametrize(
    ("filters", "says"),
    [
        (
            {"vms": ["DC01", "SLQ01"]},
            "There is no VM whose name matches 'SLQ01': did you mean 'SQL01'?",
        ),
        ({"hosts": ["HV-1"]}, "There is no VM on host 'HV-1': did you mean 'HV-01'?"),
        (
            {"locations": [r"E:\Backups"]},
            r"There is no backup location with the path or id 'E:\Backups': did you mean "
            r"'E:\VMBackups'",
        ),
    ],
)
def test_a_misspelt_filter_is_an_error_that_names_what_there_is(
    filters: dict[str, Any], says: str
) -> None:
    with pytest.raises(ArgumentError) as raised:
        Export(inventory((SQL, DC))).select(**filters)
    assert str(raised.value).startswith(says)


# The import file


def test_the_import_file_holds_the_plugins_type_and_version() -> None:
    export = Export(inventory((SQL,), (OFFSITE,)))
    assert json.loads(export.imports(export.resources)) == {
        "resources": [
            {
                "type": ASSIGNMENT,
                "name": "SQL01-OFFSITE01",
                "id": f"{SQL01}/{OFFSITE01}",
                "version": VERSION,
            }
        ]
    }
    assert ASSIGNMENT == "vmbackup:index:VmBackupLocationAssignment"


def test_the_files_name_the_connection_that_was_exported() -> None:
    export = Export(inventory((SQL,), (OFFSITE,)), "site-b")
    (entry,) = json.loads(export.imports(export.resources))["resources"]
    assert entry["id"] == f"site-b/{SQL01}/{OFFSITE01}"
    program = export.program(export.resources)
    assert r'get_backup_location(path=r"\\OFFSITE01\VMBackups", connection="site-b")' in program
    assert 'vm_ref=get_virtual_machine(name="SQL01", connection="site-b"),' in program
    assert '\n    connection="site-b",\n)' in program


# The program


def test_a_program_looks_all_names_up() -> None:
    unmanaged = VirtualMachine(None, "dc01", "HV-02", configured=False)
    export = Export(inventory((SQL, DC, unmanaged), (NAS, OFFSITE)))
    program = export.program(export.resources)
    assert (
        program
        == '''\
"""Which virtual machine goes to which backup location.

Written by `vmbackup export`. The import file of the same command has the same names.
"""

from pulumi_vmbackup import get_backup_location, get_virtual_machine
from pulumi_vmbackup.plugin import VmBackupLocationAssignment

nas01 = get_backup_location(path=r"\\\\NAS01\\VMBackups")
offsite01 = get_backup_location(path=r"\\\\OFFSITE01\\VMBackups")

VmBackupLocationAssignment(
    "DC01-NAS01",
    vm_ref=get_virtual_machine(name="DC01"),
    backup_location_id=nas01,
)
VmBackupLocationAssignment(
    "DC01-OFFSITE01",
    vm_ref=get_virtual_machine(name="DC01"),
    backup_location_id=offsite01,
)

VmBackupLocationAssignment(
    "SQL01-NAS01",
    vm_ref=get_virtual_machine(name="SQL01"),
    backup_location_id=nas01,
)
VmBackupLocationAssignment(
    "SQL01-OFFSITE01",
    vm_ref=get_virtual_machine(name="SQL01"),
    backup_location_id=offsite01,
)
'''
    )
    accepted_by_ruff(program)


@pytest.mark.parametrize(
    ("path", "variable"),
    [
        ("l", "location_l"),
        ("2nd", "location_2nd"),
        ("Class", "location_class"),
        ("print", "location_print"),
        (r"\\nas-1.contoso.com\x", "nas_1_contoso_com"),
        ("get virtual machine", "location_get_virtual_machine"),
        ("Größe", "grösse"),
    ],
)
def test_a_variable_is_a_name_that_python_and_people_take_for_one(path: str, variable: str) -> None:
    export = Export(inventory((SQL,), (replace(NAS, path=path),)))
    program = export.program(export.resources)
    assert f"\n{variable} = get_backup_location(" in program
    accepted_by_ruff(program)


def test_a_vm_that_shares_its_name_is_looked_up_with_its_ref_and_never_with_its_host() -> None:
    def program(vms: tuple[VirtualMachine, ...]) -> str:
        export = Export(inventory(vms, (NAS,)))
        return export.program(export.resources)

    exported = program((SQL, OTHER_SQL))
    assert (
        f'''
VmBackupLocationAssignment(
    "SQL01-HV-01-NAS01",
    vm_ref=get_virtual_machine(
        name="SQL01",
        ref="{SQL01}",
    ),
    backup_location_id=nas01,
)
'''
        in exported
    )
    assert "host=" not in exported
    accepted_by_ruff(exported)
    moved = program((SQL, replace(OTHER_SQL, host="HV-03")))
    assert moved == exported.replace("HV-02", "HV-03")  # in the name of a resource


def test_a_location_that_no_look_up_finds_is_its_id() -> None:
    """As one that is listed as a primary and as an offsite one, at which all of them fail."""
    of_both = (NAS, replace(NAS, kind="offsite"), OFFSITE)
    export = Export(inventory((SQL,), of_both, [(SQL01, NAS01), (SQL01, OFFSITE01)]))
    program = export.program(export.resources)
    assert "get_backup_location" not in program
    assert f'backup_location_id="{NAS01}"' in program
    accepted_by_ruff(program)


def test_a_vm_that_no_look_up_finds_is_its_ref() -> None:
    """As one that is listed twice."""
    export = Export(inventory((SQL, SQL), (NAS,), [(SQL01, NAS01), (SQL01, NAS01)]))
    program = export.program(export.resources)
    assert "get_virtual_machine" not in program
    assert program.count(f'vm_ref="{SQL01}"') == 1
    accepted_by_ruff(program)


@pytest.fixture
def exported(
    simulator: Simulator, settings: Settings, monkeypatch: pytest.MonkeyPatch, base_url: str
) -> Iterator[Callable[[], tuple[Export, str]]]:
    """Reads the simulator; the program's look-ups ask the same one."""
    monkeypatch.setenv("VMBACKUP_BASE_URL", base_url)
    monkeypatch.setenv("VMBACKUP_USERNAME", "Administrator")
    monkeypatch.setenv("VMBACKUP_PASSWORD", PASSWORD)

    def read() -> tuple[Export, str]:
        with Client(settings) as client:
            export = Export(gather(client))
        return export, export.program(export.resources)

    yield read
    assert not simulator.sessions


def fill(simulator: Simulator, chance: random.Random) -> None:
    """Give the simulator odd VMs and locations, many of one name, and assign some."""

    def guid() -> str:
        return str(uuid.UUID(int=chance.getrandbits(128), version=4))

    held = simulator.inventory
    vms = [
        {
            "AltaroVirtualMachineRef": guid(),
            "VirtualMachineName": chance.choice((*ODD, None)),
            "HostName": chance.choice(("HV-01", "hv-01", "HV 02", "HV-02", None, '"')),
            "Configured": chance.choice((True, True, True, False)),
        }
        for _ in range(60)
    ]
    locations = [
        {"BackupLocationId": guid(), "LocationPath": chance.choice((*ODD, None))}
        for _ in range(chance.choice((3, 30)))
    ]
    held.virtual_machines = {str(vm["AltaroVirtualMachineRef"]): vm for vm in vms}
    held.backup_locations = {str(each["BackupLocationId"]): each for each in locations}
    held.kinds = {id_: chance.choice(("primary", "offsite")) for id_ in held.backup_locations}
    configured = [str(vm["AltaroVirtualMachineRef"]) for vm in vms if vm["Configured"]]
    held.assignments = {
        (chance.choice(configured), chance.choice(list(held.backup_locations))): None
        for _ in range(60)
    }


@pytest.mark.parametrize("seed", range(12))
def test_a_program_declares_what_the_import_file_holds_whatever_things_are_called(
    seed: int,
    simulator: Simulator,
    recorder: Recorder,
    exported: Callable[[], tuple[Export, str]],
) -> None:
    fill(simulator, random.Random(seed))
    export, program = exported()
    accepted_by_ruff(program)
    run_program(lambda: exec(compile(program, "__main__.py", "exec"), {"__name__": "__main__"}))
    held = json.loads(export.imports(export.resources))["resources"]
    assert {each["id"] for each in held} == {
        "/".join(pair) for pair in simulator.inventory.assignments
    }
    assert {
        each.name: f"{each.inputs['vmRef']}/{each.inputs['backupLocationId']}"
        for each in recorder.registered
        if each.typ == ASSIGNMENT
    } == {each["name"]: each["id"] for each in held}
    assert len({each["name"].casefold() for each in held}) == len(held)
    assert not any("::" in each["name"] or " " in each["name"] for each in held)


def test_a_program_survives_that_its_vms_move_to_other_hosts(
    simulator: Simulator, recorder: Recorder, exported: Callable[[], tuple[Export, str]]
) -> None:
    vms = simulator.inventory.virtual_machines
    vms[SQL02]["VirtualMachineName"] = vms[SQL01]["VirtualMachineName"]  # both are configured
    vms[FILE01]["VirtualMachineName"] = vms[TEST01]["VirtualMachineName"]  # TEST01 is not
    simulator.inventory.assignments = {
        (vm_ref, NAS01): None for vm_ref in (SQL01, SQL02, FILE01, DC01)
    }
    _, program = exported()
    for vm_ref in (SQL01, SQL02, FILE01, TEST01, DC01):
        vms[vm_ref]["HostName"] = {"HV-01": "HV-02", "HV-02": "HV-01"}[vms[vm_ref]["HostName"]]
    run_program(lambda: exec(compile(program, "__main__.py", "exec"), {"__name__": "__main__"}))
    assert {each.inputs["vmRef"] for each in recorder.registered if each.typ == ASSIGNMENT} == {
        SQL01,
        SQL02,
        FILE01,
        DC01,
    }


def shuffled(chance: random.Random, items: dict[_K, _V]) -> dict[_K, _V]:
    return dict(chance.sample(list(items.items()), len(items)))


def test_an_export_is_the_same_each_time(
    simulator: Simulator, exported: Callable[[], tuple[Export, str]]
) -> None:
    chance = random.Random(1)
    fill(simulator, chance)
    export, program = exported()
    held = simulator.inventory
    held.virtual_machines = shuffled(chance, held.virtual_machines)
    held.backup_locations = shuffled(chance, held.backup_locations)
    held.assignments = shuffled(chance, held.assignments)
    again, program_again = exported()
    assert again.resources == export.resources
    assert program_again == program
    assert again.imports(again.resources) == export.imports(export.resources)


def test_a_program_of_some_assignments_has_no_other_look_ups() -> None:
    export = Export(
        inventory((SQL, DC), pairs=[(SQL01, OFFSITE01), (DC01, DISK_E), (FILE01, NAS01)])
    )
    program = export.program(export.select(vms=["SQL01"]))
    assert "DC01" not in program
    assert "nas01" not in program
    accepted_by_ruff(program)
