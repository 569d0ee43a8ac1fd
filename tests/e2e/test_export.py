"""``vmbackup export``, ``pulumi import`` and the exported program, with the real CLI."""

from __future__ import annotations

import os
import sys
import sysconfig
import uuid
from typing import Any

import pytest
from e2e.stack import Stack, assigned
from sample import DC01, DISK_E, NAS01, OFFSITE01, SQL01

from pulumi_vmbackup.simulator import Simulator

TYPE = "vmbackup:index:VmBackupLocationAssignment"
IMPORT = ("import", "--yes", "--generate-code=false", "--protect=false")
ODD_VMS = (
    "Database 1",
    'the "old" server',
    "Müller's",
    "データベース",
    "back\\slash",
    "a::b",
    "2nd/floor",
    "class",
    "--",
    "<b>&amp;</b>",
    "${x} {{y}} %s",
    "tab\tand\nline",
    "\N{PILE OF POO}",
)
ODD_LOCATIONS = (
    r"\\NAS 02\Größe & more",
    "E:\\",
    "\"quoted\" 'both'",
    "Cloud: データ",
    None,
    r"\\OFFSITE01\VMBackups",  # as well as the one of the sample
    "l",
)


def guid(number: int) -> str:
    return str(uuid.UUID(int=number, version=4))


def add_vm(simulator: Simulator, ref: str, name: str | None, host: str = "HV-01") -> None:
    simulator.inventory.virtual_machines[ref] = {
        "AltaroVirtualMachineRef": ref,
        "VirtualMachineName": name,
        "HostName": host,
        "Configured": True,
    }


def add_location(simulator: Simulator, id_: str, path: str | None, kind: str) -> None:
    simulator.inventory.backup_locations[id_] = {"BackupLocationId": id_, "LocationPath": path}
    simulator.inventory.kinds[id_] = kind


def export(stack: Stack, *arguments: str) -> None:
    """Write import.json and the program."""
    files = ("--import-file", "import.json", "--program", "__main__.py")
    stack.vmbackup("export", *files, "--overwrite", *arguments)


def take_over(stack: Stack, simulator: Simulator) -> None:
    """Export, import and preview, and see that the server was only read."""
    before = list(simulator.inventory.assignments)
    simulator.calls.clear()
    export(stack)
    stack.pulumi(*IMPORT, "--skip-preview", "--file", "import.json")
    assert sorted(stack.ids().values()) == sorted("/".join(pair) for pair in before)
    assert "unchanged" in stack.pulumi("preview", "--refresh", "--expect-no-changes")
    written = [each for each in simulator.calls if "/vms/backuplocations/" in each.path]
    assert {each.method for each in written} == {"GET"}
    assert list(simulator.inventory.assignments) == before
    assert not simulator.sessions


def providers(stack: Stack) -> set[str]:
    return {
        each["urn"].rpartition("::")[2]
        for each in stack.state()["resources"]
        if each["type"] == "pulumi:providers:vmbackup"
    }


def test_one_is_imported_by_its_id_and_managed_by_the_exported_program(
    stack: Stack, simulator: Simulator
) -> None:
    simulator.inventory.assignments[SQL01, OFFSITE01] = None
    export(stack, "--vm", "SQL01")
    stack.pulumi(*IMPORT, TYPE, "SQL01-OFFSITE01", f"{SQL01}/{OFFSITE01}")
    outputs: dict[str, Any] = stack.resources()["SQL01-OFFSITE01"]["outputs"]
    assert outputs["vmName"] == "SQL01"
    assert outputs["locationPath"] == r"\\OFFSITE01\VMBackups"
    stack.pulumi("preview", "--expect-no-changes")
    assert stack.ids() == {"SQL01-OFFSITE01": f"{SQL01}/{OFFSITE01}"}
    program = (stack.folder / "__main__.py").read_text("utf-8")
    stack.program(program.replace('name="SQL01"', 'name="FILE01"'))
    assert "1 replaced" in stack.up()
    assert not simulator.inventory.locations_of(SQL01)
    stack.destroy()
    assert assigned(simulator) == set()


@pytest.mark.full
def test_200_are_taken_over_without_a_change(stack: Stack, simulator: Simulator) -> None:
    simulator.inventory.assignments = {}
    for number in range(100):
        add_vm(simulator, guid(number), f"VM{number:03}", host=f"HV-{number % 4:02}")
        for location in (NAS01, OFFSITE01):
            simulator.inventory.assignments[guid(number), location] = None
    take_over(stack, simulator)
    names = list(stack.ids())
    assert len(names) == 200
    assert {"VM000-NAS01", "VM099-OFFSITE01"} <= set(names)


def test_odd_names_are_taken_over_without_a_change(stack: Stack, simulator: Simulator) -> None:
    locations = [NAS01, OFFSITE01, DISK_E]
    for number, path in enumerate(ODD_LOCATIONS):
        locations.append(guid(100 + number))
        add_location(simulator, locations[-1], path, ("primary", "offsite")[number % 2])
    for number, name in enumerate((*ODD_VMS, None)):
        add_vm(simulator, guid(number), name)
        location = locations[number % len(locations)]
        simulator.inventory.assignments[guid(number), location] = None
    add_vm(simulator, guid(50), "sql01", host="HV-02")
    add_vm(simulator, guid(51), "sql01", host="HV-02")
    for ref in (SQL01, guid(50), guid(51)):
        for location in locations:
            simulator.inventory.assignments[ref, location] = None
    take_over(stack, simulator)
    assert len(stack.ids()) == 1 + len(ODD_VMS) + 1 + 3 * len(locations)


def test_an_exported_program_goes_on_when_vms_of_one_name_move_to_other_hosts(
    stack: Stack, simulator: Simulator
) -> None:
    add_vm(simulator, guid(1), "SQL01", host="HV-02")
    add_vm(simulator, guid(2), "DC01", host="HV-02")  # a replica
    vms = simulator.inventory.virtual_machines
    vms[guid(2)] |= {"AltaroVirtualMachineRef": str(uuid.UUID(int=0)), "Configured": False}
    simulator.inventory.assignments |= {(SQL01, NAS01): None, (guid(1), NAS01): None}
    take_over(stack, simulator)
    assert stack.ids().keys() == {"DC01-E-VMBackups", "SQL01-HV-01-NAS01", "SQL01-HV-02-NAS01"}
    for vm in vms.values():
        vm["HostName"] = {"HV-01": "HV-02", "HV-02": "HV-01"}[vm["HostName"]]
    assert "unchanged" in stack.pulumi("preview", "--refresh", "--expect-no-changes")
    # What a new export calls them is other names for the same pairs.
    export(stack)
    stack.up()
    assert stack.ids()["SQL01-HV-02-NAS01"] == f"{SQL01}/{NAS01}"
    assert set(simulator.inventory.assignments) == {
        (DC01, DISK_E),
        (SQL01, NAS01),
        (guid(1), NAS01),
    }


def test_a_protected_import_is_unprotected_by_the_program(stack: Stack) -> None:
    export(stack)
    stack.pulumi(*IMPORT[:-1], "--file", "import.json")
    (resource,) = stack.resources().values()
    assert resource["protect"]
    stack.up("--expect-no-changes")
    (resource,) = stack.resources().values()
    assert not resource.get("protect")


def test_a_plugin_that_pulumi_yaml_names_is_the_programs_provider_as_well(stack: Stack) -> None:
    """It is not on PATH here, and nothing is downloaded for the version in the import file."""
    commands = sysconfig.get_path("scripts")
    (stack.folder / "Pulumi.yaml").write_text(
        "name: backup\nruntime: python\nplugins:\n  providers:\n"
        f"    - name: vmbackup\n      path: {commands}\n"
    )
    stack.environment["PULUMI_PYTHON_CMD"] = sys.executable
    folders = stack.environment["PATH"].split(os.pathsep)
    stack.environment["PATH"] = os.pathsep.join(each for each in folders if each != commands)
    export(stack)
    stack.pulumi(*IMPORT, "--file", "import.json")
    imported_with = providers(stack)
    stack.up("--expect-no-changes")
    assert providers(stack) == imported_with
    assert "from $PATH" not in stack.output
    assert stack.ids() == {"DC01-E-VMBackups": f"{DC01}/{DISK_E}"}
