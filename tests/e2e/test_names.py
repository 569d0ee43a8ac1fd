"""Previews that a person can review: names, the snapshot of an inventory, several servers."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from e2e.stack import PROGRAM as PROGRAM_OF_PAIRS
from e2e.stack import MakeStack, Stack, assigned
from sample import DC01, DISK_E, EXCH01, FILE01, OFFSITE01, PASSWORD, SQL01

from pulumi_vmbackup.client import Client
from pulumi_vmbackup.inventory import Snapshot
from pulumi_vmbackup.models import KINDS, Assignment
from pulumi_vmbackup.simulator import Fault, Simulator, serve

PROGRAM = r"""
import pulumi

from pulumi_vmbackup import (
    VmBackupLocationAssignment,
    get_backup_location,
    get_backup_locations,
    get_virtual_machine,
    get_virtual_machines,
)

offsite = get_backup_location(path=r"\\OFFSITE01\VMBackups")
for name in ("SQL01", "FILE01", "EXCH01"):
    vm = get_virtual_machine(name=name.lower())
    VmBackupLocationAssignment(f"{name}-offsite", vm_ref=vm, backup_location_id=offsite)
for _ in range(25):
    get_virtual_machines(configured=True)
    get_backup_locations()
"""
PLAN = [
    *(f'vm_name           : "{name}"' for name in ("SQL01", "FILE01", "EXCH01")),
    *[r'location_path     : "\\\\OFFSITE01\\VMBackups"'] * 3,
    *(f'vm_ref            : "{ref}"' for ref in (SQL01, FILE01, EXCH01)),
    *['kind              : "offsite"'] * 3,
]


def planned(output: str) -> list[str]:
    """The lines of the properties of a preview, without the signs before them."""
    lines = [line.strip().lstrip("+ ") for line in output.splitlines()]
    keys = ("vm_name", "location_path", "vm_ref", "kind")
    return sorted(line for line in lines if line.partition(" ")[0] in keys)


@pytest.fixture
def inventory_file(client: Client, tmp_path: Path) -> Path:
    """A snapshot that was taken three days ago."""
    vms = client.virtual_machines()
    file = tmp_path / "inventory.json"
    inventory = Snapshot(
        virtual_machines=tuple(vms),
        backup_locations=tuple(each for kind in KINDS for each in client.backup_locations(kind)),
        assignments=(Assignment(DC01, DISK_E),),
        taken_at=datetime.now(timezone.utc) - timedelta(days=3, hours=1),
    )
    file.write_text(inventory.dump(), "utf-8")
    client.close()
    return file


def test_a_preview_shows_names_beside_ids_and_lookups_cost_three_gets(
    stack: Stack, simulator: Simulator
) -> None:
    stack.program(PROGRAM)
    assert planned(stack.pulumi("preview", "--diff")) == sorted(PLAN)
    assert [call.method for call in simulator.calls].count("GET") == 3
    assert not simulator.sessions

    simulator.calls.clear()
    stack.up()
    # Names that the program knows are not asked for again.
    assert [call.method for call in simulator.calls].count("GET") == 3
    assert [each["outputs"]["vm_name"] for each in stack.resources().values()] == [
        each["inputs"]["vm_name"] for each in stack.resources().values()
    ]

    # A VM or location of another name, and their plain ids, are no change.
    simulator.inventory.virtual_machines[SQL01]["VirtualMachineName"] = "SQL-OLD"
    simulator.inventory.backup_locations[OFFSITE01]["LocationPath"] = r"\\OFFSITE02\VMBackups"
    renamed = PROGRAM.replace('"SQL01",', '"SQL-OLD",').replace("OFFSITE01", "OFFSITE02")
    stack.program(renamed.replace('f"{name}-offsite"', 'f"{name}-offsite".replace("-OLD", "01")'))
    stack.up("--expect-no-changes")
    stack.program(PROGRAM_OF_PAIRS)
    vms = {"SQL01": SQL01, "FILE01": FILE01, "EXCH01": EXCH01}
    stack.assignments(**{f"{name}-offsite": (ref, OFFSITE01) for name, ref in vms.items()})
    stack.up("--expect-no-changes")


def test_a_wrong_name_fails_the_preview_with_a_sentence(stack: Stack) -> None:
    stack.program(PROGRAM.replace('"SQL01"', '"SQL1"'))
    output = stack.pulumi("preview", fails=True)
    says = "There is no VM with name 'sql1': did you mean 'SQL01' or 'SQL02'?"
    assert f"error: {says}\n" in output
    assert "Traceback" not in output


LIBRARY, JAPANESE = "Bücherei-ÄÖÜ", "図書館"
PROGRAM_WITH_OTHER_SCRIPTS = """\
import sys

from pulumi_vmbackup import VmBackupLocationAssignment, get_backup_location, get_virtual_machine
from pulumi_vmbackup.plugin import VmBackupLocationAssignmentSet

offsite = get_backup_location(path=r"\\\\OFFSITE01\\VMBackups")
library, japanese = (get_virtual_machine(name=name) for name in ("{library}", "{japanese}"))
VmBackupLocationAssignment("{library}", vm_ref=library, backup_location_id=offsite)
VmBackupLocationAssignmentSet("{japanese}", assignments={{japanese: [offsite]}})
print(japanese.name)
"""


def test_names_in_any_script_come_through_programs_errors_and_the_command(
    stack: Stack, simulator: Simulator
) -> None:
    vms = simulator.inventory.virtual_machines
    vms[SQL01]["VirtualMachineName"], vms[EXCH01]["VirtualMachineName"] = LIBRARY, JAPANESE
    stack.environment["PYTHONUTF8"] = "1"  # docs/windows.md says why
    stack.program(PROGRAM_WITH_OTHER_SCRIPTS.format(library=LIBRARY, japanese=JAPANESE))
    call = f"POST /vms/backuplocations/[token]/{EXCH01}"
    simulator.faults.append(Fault("error", call, times=None, acted=False))
    output = stack.up(fails=True)
    assert f"Could not assign 1 of 1: {JAPANESE} to \\\\OFFSITE01\\VMBackups: " in output
    assert f"VmBackupLocationAssignment {LIBRARY} created" in output
    assert re.search(rf"^ +{JAPANESE}\r?$", output, re.MULTILINE)
    simulator.faults.clear()
    stack.up()
    assert stack.resources()[LIBRARY]["outputs"]["vm_name"] == LIBRARY
    assert assigned(simulator) == {f"{SQL01}/{OFFSITE01}", f"{EXCH01}/{OFFSITE01}"}

    done = subprocess.run(
        [sys.executable, "-m", "pulumi_vmbackup.command", "assignments"],
        env=stack.environment,
        capture_output=True,
        check=True,
    )
    listed = done.stdout.decode("utf-8").split()
    assert {LIBRARY, JAPANESE} <= set(listed)

    stack.program(PROGRAM_WITH_OTHER_SCRIPTS.format(library=LIBRARY[:-1], japanese=JAPANESE))
    says = f"There is no VM with name '{LIBRARY[:-1]}': did you mean '{LIBRARY}'?"
    assert says in stack.pulumi("preview", fails=True)


# Away from the server


def test_a_preview_without_credentials_reads_the_inventory_file_and_says_so(
    make_stack: MakeStack, inventory_file: Path, simulator: Simulator
) -> None:
    stack = make_stack(VMBACKUP_USERNAME="", VMBACKUP_PASSWORD="")
    stack.program(PROGRAM)
    stack.config({"vmbackup:inventoryFile": str(inventory_file)})
    simulator.calls.clear()
    output = stack.pulumi("preview", "--diff")
    assert planned(output) == sorted(PLAN)
    assert (
        f"warning: This preview takes VMs and backup locations from the inventory file "
        f"{inventory_file}, which is 3 days old, because no credentials are configured.\n" in output
    )
    assert simulator.calls == []


def test_a_preview_of_a_stopped_server_reads_the_file_and_an_update_never_does(
    make_stack: MakeStack, inventory_file: Path, request: pytest.FixtureRequest
) -> None:
    taken = socket.socket()  # so that no other test's server gets the port
    request.addfinalizer(taken.close)
    taken.bind(("127.0.0.1", 0))
    stopped = f"http://127.0.0.1:{taken.getsockname()[1]}/api/rest"
    stack = make_stack(VMBACKUP_BASE_URL=stopped, VMBACKUP_INVENTORY_FILE=str(inventory_file))
    stack.program(PROGRAM)
    output = stack.pulumi("preview", "--diff")
    assert planned(output) == sorted(PLAN)
    assert f"because the server cannot be asked: No VM Backup API answers at {stopped}" in output
    assert "error: Could not list the backup locations: No VM Backup API answers" in stack.up(
        fails=True
    )


def test_a_preview_asks_the_server_where_it_answers_also_to_be_refused(
    make_stack: MakeStack, inventory_file: Path
) -> None:
    stack = make_stack(VMBACKUP_PASSWORD="wrong-one", VMBACKUP_INVENTORY_FILE=str(inventory_file))
    stack.program(PROGRAM)
    output = stack.pulumi("preview", fails=True)
    assert "refused the login of Administrator" in output
    assert "inventory file" not in output
    assert "Traceback" not in output


# Several servers

SEVERAL = """
from pulumi_vmbackup import VmBackupLocationAssignment, get_backup_location, get_virtual_machine

for connection, name in (("{a}", "SQL01"), ("{b}", "FILE01")):
    VmBackupLocationAssignment(
        name,
        vm_ref=get_virtual_machine(name=name, connection=connection),
        backup_location_id=get_backup_location(path="Rotating disks", connection=connection),
        connection=connection,
    )
"""


def test_one_stack_has_assignments_on_two_servers(
    make_stack: MakeStack, simulator: Simulator, base_url: str
) -> None:
    site_b = Simulator(password="Pa55-of-site-b")
    with serve(site_b) as url_b:
        stack = make_stack(
            VMBACKUP_USERNAME="",
            VMBACKUP_PASSWORD="",
            VMBACKUP_SITE_A_PASSWORD=PASSWORD,
            VMBACKUP_SITE_A_SETTLE_SECONDS="0",
        )
        site_a = {"baseUrl": base_url, "username": "Administrator"}
        connections = {
            "site-a": site_a,
            "first": site_a,
            "site-b": {"baseUrl": url_b, "username": "Administrator", "settleSeconds": "0"},
        }
        stack.config({"vmbackup:connections": connections})
        secret = ("--secret", "--path", "vmbackup:connections.site-b.password", "Pa55-of-site-b")
        stack.pulumi("config", "set", *secret)
        stack.program(SEVERAL.format(a="site-a", b="site-b"))
        stack.up()
        assert len(simulator.inventory.locations_of(SQL01)) == 1
        assert len(site_b.inventory.locations_of(FILE01)) == 1

        # Another name for the same server is an update of the state that leaves the server alone.
        stack.environment["VMBACKUP_FIRST_PASSWORD"] = PASSWORD
        stack.program(SEVERAL.format(a="first", b="site-b"))
        simulator.calls.clear()
        assert "~ 1 updated" in stack.up()
        assert not [call for call in simulator.calls if "/vms/backuplocations/" in call.path]
        assert stack.resources()["SQL01"]["outputs"]["connection"] == "first"

        stack.program(SEVERAL.format(a="first", b="site-c"))
        output = stack.pulumi("preview", fails=True)
        assert "error: There is no connection 'site-c' in vmbackup:connections of" in output
        assert "(there are: 'first', 'site-a', 'site-b')" in output

        stack.destroy()
        assert not simulator.inventory.locations_of(SQL01)
        assert not site_b.inventory.locations_of(FILE01)
        assert not simulator.sessions
        assert not site_b.sessions
    shown = stack.output + json.dumps(stack.state())
    assert PASSWORD not in shown
    assert "Pa55-of-site-b" not in shown
