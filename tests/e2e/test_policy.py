"""The rules as a policy pack, which the real Pulumi CLI starts."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from e2e.stack import Stack
from pulumi_cli import POLICY_SCRIPT, TOOLS
from sample import DC01, EXCH01, FILE01, NAS01, OFFSITE01, ROTATING, SQL01, SQL02

if sys.platform == "win32":
    pytest.skip("the script that starts policy packs is for other systems", allow_module_level=True)

EXAMPLE = Path(__file__).parents[2] / "examples" / "policy"
PROGRAM = f"""\
import pulumi

from pulumi_vmbackup import VmBackupLocationAssignment, plugin

DC01, EXCH01, FILE01, SQL01, SQL02 = {(DC01, EXCH01, FILE01, SQL01, SQL02)}
NAS01, OFFSITE01, ROTATING = {(NAS01, OFFSITE01, ROTATING)}
one = VmBackupLocationAssignment("dynamic", vm_ref=SQL01, backup_location_id=OFFSITE01)
"""
OF_PLUGIN = """
plugin.VmBackupLocationAssignment("plugin", vm_ref=EXCH01, backup_location_id=ROTATING)
plugin.VmBackupLocationAssignmentSet("set", assignments={FILE01: [NAS01, ROTATING]})
"""
DESCRIPTION = "The VMs have the backup locations that the rules require."
BROKEN = "[mandatory] require offsite is broken by 1 VM: SQL02. 3 VMs excepted."

Pack = Callable[..., Path]


@pytest.fixture
def pack(stack: Stack, tmp_path: Path) -> Pack:
    """Copies the policy pack of the example, with another rules file if one is given."""
    folder = tmp_path / "pack"
    shutil.copytree(EXAMPLE, folder)
    cli = shutil.which("pulumi", path=stack.environment["PATH"])
    assert cli
    script = TOOLS / POLICY_SCRIPT
    if Path(cli).parent == TOOLS and script.exists():
        # The host for Python that can be built here starts no policy packs. For a runtime without
        # a host, the CLI runs a script of this name.
        scripts = tmp_path / "scripts"
        scripts.mkdir()
        shutil.copy(script, scripts / POLICY_SCRIPT.replace("python", "by-script"))
        path = os.pathsep.join((str(scripts), stack.environment["PATH"]))
        stack.environment["PATH"] = path
        project = folder / "PulumiPolicy.yaml"
        text = project.read_text("utf-8")
        assert "runtime: python\n" in text
        project.write_text(text.replace("runtime: python\n", "runtime: by-script\n"), "utf-8")

    def pack(rules: str = "") -> Path:
        if rules:
            (folder / "vmbackup-rules.yaml").write_text(rules, "utf-8")
        return folder

    return pack


def preview(stack: Stack, pack: Path, *arguments: str, fails: bool = False) -> str:
    output = stack.pulumi("preview", "--policy-pack", str(pack), *arguments, fails=fails)
    assert "Traceback" not in output
    return output


def assigning(name: str, vm: str, location: str) -> str:
    arguments = f"{name!r}, vm_ref={vm}, backup_location_id={location}"
    return f"plugin.VmBackupLocationAssignment({arguments})\n"


def said(output: str) -> list[str]:
    """What the policy says, with the level of each sentence."""
    policies = output.partition("\nPolicies:\n")[2].partition("\n\n")[0]
    found = re.findall(r"^ +- (\[\w+\])  vmbackup-rules .*\n((?: {10}.*\n?)+)", policies, re.M)
    return [f"{level} {' '.join(text.replace(DESCRIPTION, '').split())}" for level, text in found]


def test_vms_that_lack_a_location_fail_the_preview_in_one_sentence(
    stack: Stack, pack: Pack
) -> None:
    stack.program(PROGRAM)
    (sentence,) = said(preview(stack, pack(), fails=True))
    assert sentence == (
        "[mandatory] require offsite is broken by 3 VMs: EXCH01, FILE01, SQL02. 3 VMs excepted."
    )
    for page in (EXAMPLE / "README.md", EXAMPLE.parents[1] / "docs" / "review.md"):
        assert sentence.removeprefix("[mandatory] ") in page.read_text("utf-8")
    stack.program(PROGRAM + OF_PLUGIN)
    assert said(preview(stack, pack(), fails=True)) == [BROKEN]
    # The same at `pulumi up`, which would not have gone so far without --skip-preview.
    assert said(stack.up("--policy-pack", str(pack()), fails=True)) == [BROKEN]

    advisory = stack.folder / "advisory.json"
    advisory.write_text(json.dumps({"vmbackup-rules": "advisory"}))
    output = preview(stack, pack(), "--policy-pack-config", str(advisory))
    assert said(output) == [BROKEN.replace("[mandatory]", "[advisory]")]

    stack.program(PROGRAM + OF_PLUGIN + assigning("last", "SQL02", "OFFSITE01"))
    output = preview(stack, pack())
    assert "\nPolicies:\n" in output
    assert said(output) == []


def test_what_the_update_removes_does_not_count(stack: Stack, pack: Pack) -> None:
    stack.program(PROGRAM + OF_PLUGIN + assigning("last", "SQL02", "OFFSITE01"))
    stack.up()
    inventory = pack() / "inventory.json"
    content = json.loads(inventory.read_text("utf-8"))
    content["assignments"].append({"vm_ref": SQL02, "backup_location_id": OFFSITE01})
    inventory.write_text(json.dumps(content), "utf-8")
    assert said(preview(stack, pack())) == []
    stack.program(PROGRAM + OF_PLUGIN)
    assert said(preview(stack, pack(), fails=True)) == [
        f"{BROKEN} On the server, SQL02 has one that this stack does not declare, so it does not "
        "count."
    ]


def test_exceptions_are_those_of_the_file_until_their_day(stack: Stack, pack: Pack) -> None:
    stack.program(PROGRAM + OF_PLUGIN)
    rules = (EXAMPLE / "vmbackup-rules.yaml").read_text("utf-8")
    new = "  - {vms: SQL02, reason: is new}\n"
    assert said(preview(stack, pack(rules + new))) == []
    assert said(preview(stack, pack(rules.replace("2099", "2020") + new), fails=True)) == [
        "[mandatory] require offsite is broken by 1 VM: DC01. The exception in line 6 held until "
        "2020-03-31. 3 VMs excepted."
    ]


def test_what_only_the_update_knows_is_a_warning(stack: Stack, pack: Pack) -> None:
    stack.program(
        PROGRAM
        + OF_PLUGIN
        + assigning("where", "SQL02", "one.assigned_at.apply(lambda _: OFFSITE01)")
        + assigning("which", "one.assigned_at.apply(lambda _: DC01)", "NAS01")
    )
    (warning,) = said(preview(stack, pack()))
    assert warning.startswith("[advisory] can't run policy 'vmbackup-rules' ")
    assert warning.endswith(
        r"during preview: which (backup/test) assigns a VM that only `pulumi up` knows to "
        r"\\NAS01\VMBackups. require offsite may be broken by 1 VM: SQL02: only `pulumi up` knows. "
        "3 VMs excepted."
    )
    assert said(stack.up("--policy-pack", str(pack()))) == []


def test_a_wrong_file_is_one_sentence(stack: Stack, pack: Pack) -> None:
    stack.program(PROGRAM)
    (sentence,) = said(preview(stack, pack("require:\n  - ofsite\n"), fails=True))
    assert sentence == (
        f"[mandatory] {pack() / 'vmbackup-rules.yaml'}, line 2: 'ofsite' is not one of "
        "primary, offsite, any."
    )
