"""examples/yaml."""

from __future__ import annotations

import os
import re
import shlex
import shutil
from pathlib import Path

import pytest
from e2e.stack import MakeStack, Stack, assigned, pairs
from environment import ROOT
from pulumi_cli import YAML_HOST_VERSION
from sample import DC01, DISK_E, EXCH01, FILE01, OFFSITE01, PASSWORD, ROTATING, SQL01

from pulumi_vmbackup.simulator import Inventory, Simulator, serve

EXAMPLE = ROOT / "examples" / "yaml"
README = (EXAMPLE / "README.md").read_text("utf-8")
DECLARED = {
    f"{vm_ref}/{location_id}"
    for vm_ref, location_id in (
        (SQL01, OFFSITE01),
        (FILE01, OFFSITE01),
        (FILE01, ROTATING),
        (EXCH01, OFFSITE01),
    )
}


def copied(stack: Stack) -> Stack:
    shutil.copytree(EXAMPLE, stack.folder, dirs_exist_ok=True)
    return stack


@pytest.fixture
def example(make_stack: MakeStack) -> Stack:
    stack = copied(make_stack(init=False))
    stack.init()
    return stack


def edit(stack: Stack, old: str, new: str) -> None:
    program = stack.folder / "Pulumi.yaml"
    text = program.read_text("utf-8")
    assert old in text
    program.write_text(text.replace(old, new), "utf-8")


def test_the_commands_of_its_readme_work(make_stack: MakeStack) -> None:
    simulator = Simulator()  # with the account that the README gives
    with serve(simulator) as base_url:
        stack = copied(
            make_stack(
                init=False, VMBACKUP_BASE_URL=base_url, VMBACKUP_USERNAME="", VMBACKUP_PASSWORD=""
            )
        )
        for command in re.findall(r"^\$ pulumi (.+)$", README, re.M):
            stack.pulumi(*shlex.split(command))
            if command.startswith("up"):
                assert assigned(simulator) == DECLARED
    assert simulator.inventory.assignments == Inventory.sample().assignments
    assert YAML_HOST_VERSION in README


def test_it_is_changed_and_notices_drift(example: Stack, simulator: Simulator) -> None:
    up = example.up()
    assert re.search(r'vmName +: "SQL01"', up)
    del simulator.inventory.assignments[SQL01, OFFSITE01]
    assert "- 1 deleted" in example.refresh()

    edit(example, "            rotating: ${rotating.id}\n", "")
    simulator.calls.clear()
    example.up()
    assert pairs(simulator, "POST") == [f"{SQL01}/{OFFSITE01}"]
    assert pairs(simulator, "DELETE") == [f"{FILE01}/{ROTATING}"]
    example.destroy()
    assert simulator.inventory.assignments == Inventory.sample().assignments
    assert not simulator.sessions
    assert PASSWORD not in example.output


def test_a_misspelt_vm_is_an_error_that_is_one_sentence(
    example: Stack, simulator: Simulator
) -> None:
    edit(example, "name: SQL01", "name: SLQ01")
    preview = example.pulumi("preview", fails=True)
    assert "There is no VM with name 'SLQ01': did you mean 'SQL01'" in preview
    assert "Traceback" not in preview
    assert pairs(simulator, "POST") == []


def test_a_property_that_is_not_in_the_schema_is_an_error(example: Stack) -> None:
    edit(example, "vmRef: ${file01.ref}", "vmref: ${file01.ref}")
    assert "vmref" in example.pulumi("preview", fails=True)


def test_the_plugin_may_be_named_by_its_folder(example: Stack, tmp_path: Path) -> None:
    (block,) = re.findall(r"^```yaml\n(.+?)^```$", README, re.M | re.S)
    plugin = Path(shutil.which("pulumi-resource-vmbackup", path=example.environment["PATH"]) or "")
    # Another copy than that on PATH, so that it is the one that has to be found.
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(plugin, elsewhere)
    (folder,) = re.findall(r"path: (.+)", block)
    with (example.folder / "Pulumi.yaml").open("a", encoding="utf-8") as program:
        program.write(block.replace(folder, os.path.relpath(elsewhere, example.folder)))
    assert "+ 3 to create" in example.pulumi("preview")
    assert f"from $PATH at {plugin}" not in example.output


WAITS_AND_READS = rf"""name: backup
runtime: yaml
variables:
  ofSql01:
    fn::invoke:
      function: vmbackup:getBackupLocations
      arguments:
        vmRef: ${{sql01.vmRef}}
resources:
  sql01:
    type: vmbackup:VmBackupLocationAssignment
    properties:
      vmRef: {SQL01}
      backupLocationId: {OFFSITE01}
  one:
    type: vmbackup:VmBackupLocationAssignment
    get:
      id: {DC01}/{DISK_E}
  some:
    type: vmbackup:VmBackupLocationAssignmentSet
    get:
      id: {DC01}
outputs:
  found: ${{ofSql01.backupLocations}}
  vmName: ${{one.vmName}}
  ref: ${{some.assignments.DC01.vmRef}}
"""


def test_a_lookup_waits_for_what_it_depends_on_and_what_exists_is_read(
    stack: Stack, simulator: Simulator
) -> None:
    (stack.folder / "__main__.py").unlink()
    program = stack.folder / "Pulumi.yaml"
    program.write_text(WAITS_AND_READS, "utf-8")
    stack.up()
    offsite = {"id": OFFSITE01, "path": r"\\OFFSITE01\VMBackups", "kind": "offsite"}
    assert stack.outputs() == {"found": [offsite], "vmName": "DC01", "ref": DC01}
    lookup = "  wrong:\n    fn::invoke:\n      function: vmbackup:getVirtualMachines\n"
    for wrong, shown in (("1", "1"), ('"true"', "'true'"), ("[true]", "[true]")):
        arguments = f"      arguments:\n        configured: {wrong}\n"
        text = WAITS_AND_READS.replace("resources:\n", f"{lookup}{arguments}resources:\n", 1)
        program.write_text(f"{text}  wrong: ${{wrong.virtualMachines}}\n", "utf-8")
        preview = stack.pulumi("preview", fails=True)
        assert f"configured of getVirtualMachines is {shown}: give a boolean." in preview
    stack.destroy()
    assert simulator.inventory.assignments == Inventory.sample().assignments
