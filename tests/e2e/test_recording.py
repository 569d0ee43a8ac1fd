"""A real run is recorded, the recording gives nothing away, and it is replayed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from e2e.stack import MakeStack, Prepared, Stack
from sample import OFFSITE01, PASSWORD, SQL01

from pulumi_vmbackup.recording import read_recording
from pulumi_vmbackup.simulator import TOKEN_PREFIX, Fault, Inventory, Simulator, serve
from pulumi_vmbackup.simulator.replay import replays_of

PROGRAM = """\
import json
import pathlib

import pulumi

from {package} import VmBackupLocationAssignment
from pulumi_vmbackup import (
    get_backup_location,
    get_backup_locations,
    get_virtual_machine,
    get_virtual_machines,
)

pairs = json.loads(pathlib.Path("assignments.json").read_text())
for number, (vm, path) in enumerate(pairs.items()):
    VmBackupLocationAssignment(
        f"assignment-{{number}}",
        vm_ref=get_virtual_machine(name=vm).ref,
        backup_location_id=get_backup_location(path=path).id,
    )
pulumi.export("vms", [vm.name for vm in get_virtual_machines()])
pulumi.export("locations", [each.path for each in get_backup_locations()])
"""
OFFSITE = r"\\OFFSITE01\VMBackups"


def run(stack: Stack, pairs: dict[str, str], *, fails: bool = False) -> str:
    (stack.folder / "assignments.json").write_text(json.dumps(pairs))
    return stack.up(fails=fails)


def errors(output: str) -> list[str]:
    """What `pulumi up` says of errors, without what is new in each run."""
    said = [line.strip() for line in output.splitlines() if "the server says" in line]
    return [re.sub(r"https?://\S+:\d+|\(\d+s\)", "", line) for line in said]


def spellings(name: str) -> set[str]:
    """The forms in which a file might have a name."""
    forms = {name, name.upper(), name.lower(), name.casefold()}
    forms |= {quote(each, safe="") for each in forms} | {each.replace("-", "") for each in forms}
    forms |= {json.dumps(each)[1:-1] for each in forms}
    forms |= {json.dumps(each)[1:-1] for each in forms}
    # What looks like hexadecimal digits is in a stand-in by chance.
    return {each for each in forms if len(each) > 8 or not re.fullmatch(r"[0-9a-f-]+", each)}


def all_names() -> list[str]:
    inventory = Inventory.sample()
    items: list[dict[str, Any]] = [
        *inventory.virtual_machines.values(),
        *inventory.backup_locations.values(),
    ]
    fields = (
        "VirtualMachineName",
        "HostName",
        "AltaroVirtualMachineRef",
        "HypervisorVirtualMachineUuid",
        "AltaroHypervisorRef",
        "BackupLocationId",
        "LocationPath",
    )
    names = {item[field] for item in items for field in fields if item.get(field)}
    return [*names, "OFFSITE01", "NAS01", "VMBackups", "Administrator", "Globex"]


def gives_away(file: Path, secrets: list[str]) -> list[str]:
    """Which names and secrets a file holds, in whatever spelling."""
    text = file.read_text("utf-8")
    return [
        form
        for name in (*all_names(), *secrets, PASSWORD, f"{TOKEN_PREFIX}-", TOKEN_PREFIX)
        for form in spellings(name)
        if form in text
    ]


@pytest.mark.parametrize("package", ["pulumi_vmbackup", "pulumi_vmbackup.plugin"])
def test_a_run_is_recorded_and_replayed(
    make_stack: MakeStack,
    simulator: Simulator,
    prepared: Prepared,
    tmp_path: Path,
    package: str,
) -> None:
    file = tmp_path / "run.jsonl"
    program = PROGRAM.format(package=package)
    stack = make_stack(VMBACKUP_RECORD=str(file), VMBACKUP_DOMAIN="Globex")
    stack.program(program)
    run(stack, {"SQL01": OFFSITE})
    simulator.faults.append(Fault("reset", call="GET /vms/list"))
    stack.refresh()
    refused = [
        Fault("refused", call="POST /vms/backuplocations", times=None),
        Fault("error", call="GET /backuplocations/[token]/0/1"),
    ]
    simulator.faults += refused
    failed = run(stack, {"SQL01": OFFSITE, "FILE01": OFFSITE}, fails=True)
    report = tmp_path / "report.md"
    stack.vmbackup("doctor", "--report", str(report))

    # Processes of each kind have written, and nothing is given away.
    exchanges = read_recording(file)
    assert len({each.process for each in exchanges}) >= 6
    assert {each.status for each in exchanges} >= {200, None}
    assert any(each.method == "POST" and "MaintenanceMode" in each.to_line() for each in exchanges)
    assert gives_away(file, simulator.tokens) == []
    assert gives_away(report, simulator.tokens) == []
    told = (tmp_path / "run.jsonl.names").read_text("utf-8").splitlines()[1:]
    names = {each["stand_in"]: each["name"] for each in map(json.loads, told)}
    assert PASSWORD not in "".join(told)
    assert not [token for token in simulator.tokens if token in "".join(told)]

    # The same program sees the same, and what failed fails in the same way.
    stand_ins = {name: stand_in for stand_in, name in names.items()}
    replays = replays_of(file)
    assert len(replays) == 1
    with serve(replays[0]) as base_url:
        replayed = Stack(
            tmp_path / "replayed",
            prepared,
            VMBACKUP_BASE_URL=base_url,
            VMBACKUP_USERNAME="anybody",
            VMBACKUP_PASSWORD=PASSWORD,
            VMBACKUP_SETTLE_SECONDS="0",
        )
        replayed.init()
        replayed.program(program)
        pair = {stand_ins["SQL01"]: stand_ins[OFFSITE]}
        (replayed.folder / "assignments.json").write_text(json.dumps(pair))
        replayed.pulumi("preview")
        run(replayed, pair)
        assert translated(replayed.outputs(), names) == stack.outputs()
        ids = list(stack.ids().values())[:1]
        assert translated(list(replayed.ids().values()), names) == ids
        replayed.refresh()
        both = {**pair, stand_ins["FILE01"]: stand_ins[OFFSITE]}
        failed_again = run(replayed, both, fails=True)
    assert errors(failed)
    assert translated(errors(failed_again), names) == errors(failed)


def translated(value: Any, names: dict[str, str]) -> Any:
    """A value with names for stand-ins, as the user who recorded it can translate it."""
    text = json.dumps(value)
    for stand_in, name in names.items():
        text = text.replace(stand_in, json.dumps(name)[1:-1])
    return json.loads(text)


@pytest.mark.parametrize("package", ["pulumi_vmbackup", "pulumi_vmbackup.plugin"])
@pytest.mark.parametrize("has_lookups", [True, False], ids=["look-ups", "ids"])
def test_a_recording_that_cannot_be_written_is_one_sentence(
    make_stack: MakeStack, simulator: Simulator, tmp_path: Path, package: str, has_lookups: bool
) -> None:
    file = tmp_path / "missing" / "run.jsonl"
    stack = make_stack(VMBACKUP_RECORD=str(file))
    program = PROGRAM.format(package=package)
    if not has_lookups:
        ids = f'VmBackupLocationAssignment("a", vm_ref="{SQL01}", backup_location_id="{OFFSITE01}")'
        program = f"from {package} import VmBackupLocationAssignment\n\n{ids}\n"
    stack.program(program)
    output = run(stack, {"SQL01": OFFSITE}, fails=True)
    shown = str(file).replace("\\\\", "\\")
    assert (
        f"The file '{shown}' of VMBACKUP_RECORD or --record cannot be written (No such file or "
        "directory): give the path of a file in a folder that you may write to, or remove "
        "VMBACKUP_RECORD."
    ) in output
    # Pulumi's host of dynamic resources prints a traceback below each error.
    assert ("Traceback" in output) is (package == "pulumi_vmbackup" and not has_lookups)
    assert simulator.calls == []
