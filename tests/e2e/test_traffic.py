"""What each command sends: exact numbers of HTTP calls, and how many are under way at a time.

These guard the speed where a timed test could not: what is sent is the same on each machine.
"""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest
from e2e.stack import Stack
from sample import DISK_E, EXCH01, FILE01, NAS01, OFFSITE01, PASSWORD, ROTATING, SQL01, SQL02

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
ASSIGN, LIST, UNASSIGN = (f"{method} /vms/backuplocations" for method in ("POST", "GET", "DELETE"))
NAMES = {"GET /vms/list": 1, "GET /backuplocations": 2}


class GatheringSimulator(Simulator):
    """Answers calls about assignments only once that so many have been under way at a time.

    Attributes:
        gather: how many; set anew, they are waited for anew.
        under_way: the most that have been under way at a time.
    """

    def __init__(self) -> None:
        super().__init__(password=PASSWORD)
        self.gather = 0
        self.under_way = 0
        self._now = 0
        self._changed = threading.Condition()

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if "/vms/backuplocations/" not in environ["PATH_INFO"]:
            return super().__call__(environ, start_response)
        with self._changed:
            self._now += 1
            self.under_way = max(self.under_way, self._now)
            self._changed.notify_all()
            assert self._changed.wait_for(lambda: self.under_way >= self.gather, 600)
        try:
            return super().__call__(environ, start_response)
        finally:
            with self._changed:
                self._now -= 1


@pytest.fixture
def simulator() -> GatheringSimulator:
    return GatheringSimulator()


def declare(stack: Stack, pairs: list[tuple[str, str]]) -> None:
    (stack.folder / "pairs.json").write_text(json.dumps(pairs))


def expect(simulator: GatheringSimulator, *, at_a_time: int = 1) -> None:
    """Forget what was sent, and let no call end before so many are under way."""
    simulator.calls.clear()
    simulator.connections = simulator.under_way = 0
    simulator.gather = at_a_time


def sent(simulator: GatheringSimulator, *, at_a_time: int) -> dict[str, int]:
    """The calls since then but for those of sessions, by method and resource.

    How many sessions there were depends on the machine, which may be so slow that one is ended as
    idle; each that was started was ended.
    """
    seen = Counter(
        f"{call.method} {call.path.removeprefix(simulator.base_path).partition('/[token]')[0]}"
        for call in simulator.calls
    )
    assert seen.pop("POST /sessions/start", 0) == seen.pop("POST /sessions/end", 0)
    assert not simulator.sessions
    assert simulator.under_way <= at_a_time
    assert simulator.connections <= 2 * at_a_time  # they are used again and again
    return dict(seen)


@pytest.mark.parametrize("module", ["pulumi_vmbackup", "pulumi_vmbackup.plugin"])
def test_single_resources(module: str, stack: Stack, simulator: GatheringSimulator) -> None:
    stack.program(PROGRAM.format(module=module))
    declare(stack, PAIRS)
    expect(simulator, at_a_time=4)
    stack.up()
    assert sent(simulator, at_a_time=4) == {**NAMES, ASSIGN: 12}
    expect(simulator)
    stack.up()
    assert simulator.calls == []
    stack.refresh()
    assert sent(simulator, at_a_time=4) == {LIST: 4}  # once for all that want the same VM
    declare(stack, [*PAIRS[1:], PAIRS[0]])  # each resource has another pair now
    expect(simulator, at_a_time=4)
    stack.up()
    assert sent(simulator, at_a_time=4) == {**NAMES, ASSIGN: 12}
    declare(stack, PAIRS[1:2])  # the first resource stays as it is
    # More than ten pairs go, and more than the program declares.
    stack.environment["VMBACKUP_ALLOW_MASS_REMOVAL"] = "true"
    expect(simulator, at_a_time=4)
    stack.up()
    assert sent(simulator, at_a_time=4) == {UNASSIGN: 11}


def test_a_set(stack: Stack, simulator: GatheringSimulator) -> None:
    stack.config({"vmbackup:parallelRequests": "6"})
    stack.program(SET)
    declare(stack, PAIRS)
    expect(simulator, at_a_time=6)
    stack.up()
    assert sent(simulator, at_a_time=6) == {ASSIGN: 12}
    expect(simulator)
    stack.up()
    assert simulator.calls == []
    stack.refresh()
    assert sent(simulator, at_a_time=4) == {LIST: 4}
    declare(stack, [*PAIRS[:-1], (SQL01, DISK_E)])
    expect(simulator)
    stack.up()
    assert sent(simulator, at_a_time=1) == {ASSIGN: 1, UNASSIGN: 1}
    expect(simulator, at_a_time=6)
    stack.destroy()
    assert sent(simulator, at_a_time=6) == {UNASSIGN: 12}
