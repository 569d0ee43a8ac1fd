"""examples/yaml, and what else programs in YAML do with the plugin."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from certificates import made
from e2e.stack import ENCRYPTED, MakeStack, Stack, assigned, met, pairs
from environment import ROOT
from pulumi_cli import YAML_HOST_VERSION
from sample import (
    DC01,
    DISK_E,
    EXCH01,
    FILE01,
    NAS01,
    OFFSITE01,
    PASSWORD,
    ROTATING,
    SQL01,
    SQL02,
    another_site,
)

from pulumi_vmbackup.simulator import Behavior, Fault, Inventory, Simulator, serve

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


# Programs of other shapes


Values = dict[str, Any]
NEW01 = "5d9a2b4e-0c1f-4f5e-9d57-6f6a6c2f7d11"
ON_OFFSITE01 = (r"\\OFFSITE01\VMBackups", "offsite")


def declare(stack: Stack, **sections: Values) -> None:
    """Write a program with these sections."""
    (stack.folder / "__main__.py").unlink(missing_ok=True)
    program = {"name": "backup", "runtime": "yaml", **sections}
    (stack.folder / "Pulumi.yaml").write_text(json.dumps(program), "utf-8")  # which is YAML too


def single(vm_ref: str, location_id: str, **options: Any) -> Values:
    return {
        "type": "vmbackup:VmBackupLocationAssignment",
        "properties": {"vmRef": vm_ref, "backupLocationId": location_id},
        "options": options,
    }


def set_of(*vm_refs: str, locations: tuple[str, ...], **properties: object) -> Values:
    ids = {location_id: location_id for location_id in locations}
    assignments = {ref: {"vmRef": ref, "backupLocationIds": ids} for ref in vm_refs}
    return {
        "type": "vmbackup:VmBackupLocationAssignmentSet",
        "properties": {"assignments": assignments, **properties},
    }


def lookup(function: str, *, options: Values | None = None, **arguments: object) -> Values:
    return {
        "fn::invoke": {
            "function": f"vmbackup:{function}",
            "arguments": arguments,
            **({"options": options} if options else {}),
        }
    }


def provider(url: str, **properties: object) -> Values:
    settings = {"baseUrl": url, "username": "Administrator", **properties}
    return {"type": "pulumi:providers:vmbackup", "properties": settings}


@contextmanager
def another_server() -> Iterator[tuple[Simulator, str]]:
    simulator = Simulator(password=PASSWORD)
    with serve(simulator) as url:
        yield simulator, url


# The right server


def test_providers_of_any_name_lead_to_their_servers_and_the_same_ids_are_two_assignments(
    stack: Stack, simulator: Simulator
) -> None:
    with another_server() as (site_b, url_b), another_server() as (site_c, url_c):
        site_c.inventory.virtual_machines[SQL01]["HostName"] = "HV-C"
        stack.config({"backup:siteB": ENCRYPTED})
        password = {"password": "${siteB}"}
        at_c = {"provider": "${default_site_c}"}
        declare(
            stack,
            config={"siteB": {"type": "string"}},
            variables={"sql01": lookup("getVirtualMachine", name="SQL01", options=at_c)},
            resources={
                "default": provider(url_b, **password),
                "default_site_c": provider(url_c, **password),
                "b": single(SQL01, OFFSITE01, provider="${default}"),
                "c": single("${sql01.ref}", OFFSITE01, **at_c),
            },
            outputs={"host": "${sql01.host}"},
        )
        stack.up()
        assert stack.outputs()["host"] == "HV-C"
        assert [assigned(each) for each in (site_b, site_c)] == [{f"{SQL01}/{OFFSITE01}"}] * 2
        del site_b.inventory.assignments[SQL01, OFFSITE01]
        stack.refresh()
        assert list(stack.ids()) == ["c"]
        site_c.calls.clear()
        stack.up()
        assert (len(pairs(site_b, "POST")), len(pairs(site_c, "POST"))) == (2, 0)
        stack.destroy()
        assert [assigned(each) for each in (site_b, site_c)] == [set()] * 2
    assert not simulator.calls


def test_a_provider_of_another_server_gets_no_credentials_of_this_one(
    make_stack: MakeStack, simulator: Simulator, base_url: str
) -> None:
    stack = make_stack(VMBACKUP_BASE_URL="", VMBACKUP_USERNAME="", VMBACKUP_PASSWORD="")
    login = {"vmbackup:username": "Administrator", "vmbackup:password": ENCRYPTED}
    stack.config({"vmbackup:baseUrl": base_url, **login})
    with another_server() as (other, url):
        at_b = {"provider": "${site-b}"}
        site_b = {"site-b": provider(url)}
        sections: list[dict[str, Values]] = [
            {"resources": {**site_b, "b": single(SQL01, OFFSITE01, **at_b)}},
            {
                "variables": {"vm": lookup("getVirtualMachine", name="SQL01", options=at_b)},
                "resources": site_b,
                "outputs": {"vm": "${vm.name}"},
            },
        ]
        for each in sections:
            declare(stack, **each)
            output = stack.up(fails=True)
            assert f"No password for VM Backup at provider 'site-b' ({url}) is known." in output
            assert "Give the provider 'site-b' its password." in output
        assert not other.calls
    assert not simulator.calls


def test_a_tunnel_to_another_site_or_an_empty_list_empties_no_state(
    stack: Stack, simulator: Simulator
) -> None:
    declare(
        stack,
        variables={
            "vms": lookup("getVirtualMachines", configured=True),
            "sql01": lookup("getVirtualMachine", name="SQL01"),
        },
        resources={
            "single": single("${sql01.ref}", OFFSITE01),
            "set": set_of("${vms.virtualMachines[0].ref}", locations=(OFFSITE01, ROTATING)),
        },
    )
    stack.up()
    here, held = simulator.inventory, assigned(simulator)
    simulator.inventory = another_site()
    for command in (stack.refresh, stack.destroy):
        said = " ".join(command(fails=True).split())
        assert f"knows neither VM {SQL01} nor backup location {OFFSITE01}: is it " in said
        assert sorted(stack.ids()) == ["set", "single"]

    simulator.inventory = here
    simulator.behavior = replace(simulator.behavior, vm_list="none")
    simulator.calls.clear()
    said = " ".join(stack.up(fails=True).split())
    assert "The server lists no virtual machines at all." in said
    assert not pairs(simulator, "DELETE")
    assert assigned(simulator) == held
    assert sorted(stack.ids()) == ["set", "single"]
    simulator.behavior = replace(simulator.behavior, vm_list="all")
    stack.up("--expect-no-changes")


def test_an_update_that_would_unassign_much_is_refused_until_it_is_allowed(
    stack: Stack, simulator: Simulator, base_url: str
) -> None:
    everywhere = (NAS01, DISK_E, OFFSITE01, ROTATING)
    password = {"password": "${password}"}
    stack.config({"backup:password": ENCRYPTED})
    config = {"password": {"type": "string"}}

    def resources(*vm_refs: str, **allowed: object) -> Values:
        site = set_of(*vm_refs, locations=everywhere)
        site["options"] = {"provider": "${b}"}
        return {"b": provider(base_url, **password, **allowed), "site": site}

    declare(stack, config=config, resources=resources(SQL01, SQL02, FILE01, EXCH01))
    stack.up()
    assert len(assigned(simulator)) == 16
    declare(stack, config=config, resources=resources(SQL01))
    said = " ".join(stack.pulumi("preview", fails=True).split())
    assert "The set site would un-assign 12 of its 16 pairs in this update: those of" in said
    assert "If it is meant, set allowMassRemoval of the provider 'b', set" in said
    assert len(assigned(simulator)) == 16
    stack.config({"vmbackup:allowMassRemoval": "true"})
    stack.pulumi("preview")
    stack.config({"vmbackup:allowMassRemoval": "false"})
    declare(stack, config=config, resources=resources(SQL01, allowMassRemoval=True))
    stack.up()
    assert len(assigned(simulator)) == 4


# Names and sessions


def test_a_user_name_with_its_domain_and_a_certificate_in_a_file_beside_the_program(
    make_stack: MakeStack, tmp_path: Path
) -> None:
    certificate = made("VMBACKUP01")
    simulator = Simulator(username="svc-backup", password=PASSWORD)
    simulator.behavior = Behavior(invalid_token="unauthorized")
    with serve(simulator, certificate=certificate.write_server(tmp_path)) as served_at:
        url = served_at.replace("127.0.0.1", "localhost")
        stack = make_stack(VMBACKUP_USERNAME="", VMBACKUP_BASE_URL="")
        (stack.folder / "vmbackup.pem").write_bytes(certificate.pem)
        stack.config({"backup:password": ENCRYPTED})
        account = {"username": "CONTOSO\\svc-backup", "password": "${password}"}
        declare(
            stack,
            config={"password": {"type": "string"}},
            resources={
                "site": provider(url, caFile="vmbackup.pem", **account),
                "a": single(SQL01, OFFSITE01, provider="${site}"),
                "b": single(SQL02, OFFSITE01, provider="${site}"),
            },
        )
        simulator.faults.append(Fault("session over", "POST /vms/backuplocations", skip=1))
        stack.up()
        assert assigned(simulator) == {f"{SQL01}/{OFFSITE01}", f"{SQL02}/{OFFSITE01}"}
        logins = {(each.username, each.domain) for each in simulator.logins}
        assert logins == {("svc-backup", "CONTOSO")}


def test_a_lookup_that_misses_asks_the_server_once_more(stack: Stack, simulator: Simulator) -> None:
    declare(
        stack,
        variables={
            "sql01": lookup("getVirtualMachine", name="SQL01"),
            "new": lookup("getVirtualMachine", name="NEW-${first.kind}"),
        },
        resources={
            "first": single("${sql01.ref}", OFFSITE01),
            "second": single("${new.ref}", OFFSITE01),
        },
    )
    assert "+ 3 to create" in stack.pulumi("preview")
    hold = Fault("hold", "POST /vms/backuplocations")
    simulator.faults.append(hold)
    with stack.start_up() as run:
        run.until(met(hold))
        vm = dict(simulator.inventory.virtual_machines[SQL01])
        vm |= {"VirtualMachineName": "NEW-offsite", "AltaroVirtualMachineRef": NEW01}
        simulator.inventory.virtual_machines[NEW01] = vm
        simulator.faults.remove(hold)
        run.end()
    assert simulator.inventory.locations_of(NEW01) == [OFFSITE01]
    stack.pulumi("preview", "--expect-no-changes")


# Options of resources, and sets


def test_resources_are_imported_read_kept_and_keep_an_id_that_the_program_changes(
    stack: Stack, simulator: Simulator
) -> None:
    dc01 = single(DC01, DISK_E)
    dc01["options"] = {"import": f"{DC01}/{DISK_E}"}
    declare(stack, resources={"dc01": dc01, "sql01": single(SQL01, OFFSITE01)})
    assert "= 1 imported" in stack.up()
    assert not [each for each in pairs(simulator, "POST") if DC01 in each]

    kept = {"ignoreChanges": ["backupLocationId"], "retainOnDelete": True}
    declare(stack, resources={"dc01": dc01, "sql01": single(SQL01, ROTATING, **kept)})
    stack.up()
    outputs = stack.resources()["sql01"]["outputs"]
    assert outputs["backupLocationId"] == OFFSITE01
    assert (outputs["locationPath"], outputs["kind"]) == ON_OFFSITE01
    assert not pairs(simulator, "DELETE")

    gone = {"type": "vmbackup:VmBackupLocationAssignment", "get": {"id": f"{SQL01}/{NAS01}"}}
    declare(stack, resources={"dc01": dc01, "gone": gone})
    assert f"resource '{SQL01}/{NAS01}' does not exist" in stack.pulumi("preview", fails=True)

    declare(stack, resources={})
    stack.up()
    assert not stack.resources()
    assert pairs(simulator, "DELETE") == [f"{DC01}/{DISK_E}"]
    assert assigned(simulator) == {f"{SQL01}/{OFFSITE01}"}


def test_an_exclusive_set_beside_a_resource_of_its_vm_is_an_error_that_names_both(
    stack: Stack, simulator: Simulator
) -> None:
    declare(
        stack,
        resources={
            "site": set_of(SQL01, locations=(NAS01,), exclusive=True),
            "sql01": single(SQL01, OFFSITE01),
        },
    )
    said = " ".join(stack.pulumi("preview", fails=True).split())
    assert "AssignmentSet::site is exclusive and lists VM" in said
    assert "Assignment::sql01 assigns the VM to it: give the location to the set" in said
    assert not pairs(simulator, "POST")


def test_a_set_whose_delete_fails_half_way_is_deleted_by_the_next_run(
    stack: Stack, simulator: Simulator
) -> None:
    declare(stack, resources={"site": set_of(SQL01, SQL02, locations=(OFFSITE01,))})
    stack.up()
    call = f"DELETE /vms/backuplocations/[token]/{SQL01}"
    fault = Fault("error", call, times=None, acted=False)
    simulator.faults.append(fault)
    declare(stack, resources={})
    said = " ".join(stack.up(fails=True).split())
    assert f"Could not un-assign 1 of 2: {SQL01} from {OFFSITE01}: " in said
    assert assigned(simulator) == {f"{SQL01}/{OFFSITE01}"}
    assert list(stack.ids()) == ["site"]
    simulator.faults.remove(fault)
    stack.up()
    assert not assigned(simulator)
    assert not stack.resources()
