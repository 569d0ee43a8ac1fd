"""What each command sends: exact numbers of HTTP calls, sessions and connections.

These guard the speed where a timed test could not: what is sent is the same on each machine.
"""

from __future__ import annotations

import json
from collections import Counter

import pytest
from e2e.stack import Stack
from sample import EXCH01, FILE01, NAS01, OFFSITE01, ROTATING, SQL01, SQL02

from pulumi_vmbackup.simulator import Simulator

VMS = (SQL01, SQL02, FILE01, EXCH01)
LOCATIONS = (NAS01, OFFSITE01, ROTATING)
PAIRS = [(vm_ref, location_id) for vm_ref in VMS for location_id in LOCATIONS]

PROGRAM = """\
import json
import pathlib

from {module} import VmBackupLocationAssignment

for number, (vm_ref, location_id) in enumerate(json.loads(pathlib.Path("pairs.json").read_text())):
    VmBackupLocationAssignment(str(number), vm_ref=vm_ref, backup_location_id=location_id)
"""
SET = """\
import json
import pathlib

from pulumi_vmbackup.plugin import VmBackupLocationAssignmentSet

assignments = {}
for vm_ref, location_id in json.loads(pathlib.Path("pairs.json").read_text()):
    assignments.setdefault(vm_ref, []).append(location_id)
VmBackupLocationAssignmentSet("site", assignments=assignments)
"""
LOOKUPS = """\
import pulumi_vmbackup

for vm in pulumi_vmbackup.get_virtual_machines():
    pulumi_vmbackup.get_virtual_machine(ref=vm.ref) if vm.is_assignable else None
for location in pulumi_vmbackup.get_backup_locations():
    pulumi_vmbackup.get_backup_location(path=location.path)
"""

NOTHING = {"connections": 0}
SESSION = {"POST /sessions/start": 1, "POST /sessions/end": 1}
NAMES = {"GET /vms/list": 1, "GET /backuplocations": 2}
ASSIGN, LIST, UNASSIGN = (f"{method} /vms/backuplocations" for method in ("POST", "GET", "DELETE"))


@pytest.fixture(autouse=True)
def slow_answers(simulator: Simulator) -> None:
    """So slow that as many calls as may be are under way at a time."""
    simulator.answer_seconds = 0.2


def declare(stack: Stack, pairs: list[tuple[str, str]]) -> None:
    (stack.folder / "pairs.json").write_text(json.dumps(pairs))


def sent(simulator: Simulator) -> dict[str, int]:
    """The calls since this was asked last, by method and resource, and the connections."""
    seen = Counter(
        f"{call.method} {call.path.removeprefix(simulator.base_path).partition('/[token]')[0]}"
        for call in simulator.calls
    )
    traffic = {**seen, "connections": simulator.connections}
    simulator.calls.clear()
    simulator.connections = 0
    return traffic


@pytest.mark.parametrize("module", ["pulumi_vmbackup", "pulumi_vmbackup.plugin"])
def test_single_resources(module: str, stack: Stack, simulator: Simulator) -> None:
    stack.program(PROGRAM.format(module=module))
    declare(stack, PAIRS)
    stack.pulumi("preview")
    assert sent(simulator) == NOTHING
    stack.up()
    assert sent(simulator) == {**SESSION, **NAMES, ASSIGN: 12, "connections": 4}
    stack.pulumi("preview")
    stack.up()
    assert sent(simulator) == NOTHING
    stack.refresh("--parallel", "1")
    assert sent(simulator) == {**SESSION, LIST: 4, "connections": 1}
    declare(stack, [*PAIRS[1:], PAIRS[0]])  # each resource has another pair now
    stack.up()
    assert sent(simulator) == {**SESSION, **NAMES, ASSIGN: 12, "connections": 4}
    declare(stack, PAIRS[:1])
    stack.up("--parallel", "1")
    assert sent(simulator) == {**SESSION, **NAMES, ASSIGN: 1, UNASSIGN: 11, "connections": 1}
    declare(stack, PAIRS)
    stack.up()
    assert sent(simulator) == {**SESSION, **NAMES, ASSIGN: 11, "connections": 4}
    stack.refresh()
    traffic = sent(simulator)  # threads that want the same VM wait for one call
    assert traffic.pop("connections") <= 4
    assert traffic == {**SESSION, LIST: 4}
    stack.pulumi("destroy", "--yes", "--skip-preview")
    assert sent(simulator) == {**SESSION, UNASSIGN: 12, "connections": 4}


@pytest.mark.parametrize("at_a_time", [4, 8])
def test_a_set(at_a_time: int, stack: Stack, simulator: Simulator) -> None:
    stack.pulumi("config", "set", "vmbackup:parallelRequests", str(at_a_time))
    stack.program(SET)
    declare(stack, PAIRS)
    stack.pulumi("preview")
    assert sent(simulator) == NOTHING
    stack.up()
    assert sent(simulator) == {**SESSION, ASSIGN: 12, "connections": at_a_time}
    stack.pulumi("preview")
    stack.up()
    assert sent(simulator) == NOTHING
    stack.refresh()
    assert sent(simulator) == {**SESSION, LIST: 4, "connections": 4}
    declare(stack, PAIRS[:-1])
    stack.up()
    assert sent(simulator) == {**SESSION, UNASSIGN: 1, "connections": 1}
    declare(stack, PAIRS)
    stack.up()
    assert sent(simulator) == {**SESSION, ASSIGN: 1, "connections": 1}
    stack.pulumi("destroy", "--yes", "--skip-preview")
    assert sent(simulator) == {**SESSION, UNASSIGN: 12, "connections": at_a_time}


def test_lookups(stack: Stack, simulator: Simulator) -> None:
    stack.program(LOOKUPS)
    for command in ("preview", "up"):
        stack.pulumi(command, *(["--yes", "--skip-preview"] if command == "up" else []))
        assert sent(simulator) == {**SESSION, **NAMES, "connections": 1}
    stack.refresh()
    assert sent(simulator) == NOTHING
