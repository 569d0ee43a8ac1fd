"""``vmbackup review`` of previews and states that the real Pulumi CLI has written."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from e2e.stack import ENCRYPTED, MakeStack, Stack
from sample import DC01, DISK_E, EXCH01, FILE01, NAS01, OFFSITE01, PASSWORD, ROTATING, SQL01, SQL02

from pulumi_vmbackup.simulator import Simulator

PROGRAM = f"""\
import pathlib

import pulumi

from pulumi_vmbackup import VmBackupLocationAssignment as Dynamic
from pulumi_vmbackup import plugin

DC01, EXCH01, FILE01, SQL01, SQL02 = {(DC01, EXCH01, FILE01, SQL01, SQL02)}
NAS01, DISK_E, OFFSITE01, ROTATING = {(NAS01, DISK_E, OFFSITE01, ROTATING)}
password = pulumi.Config("vmbackup").get_secret("password")
base_url = pathlib.Path("base_url").read_text()
site_b = plugin.Provider("b", base_url=base_url, username="Administrator", password=password)
at_b = pulumi.ResourceOptions(provider=site_b)


def assign(cls, name, vm_ref, backup_location_id, opts=None, **more):
    return cls(name, vm_ref=vm_ref, backup_location_id=backup_location_id, opts=opts, **more)


assign(Dynamic, "kept", SQL01, OFFSITE01)
"""
BEFORE = """
assign(Dynamic, "lost", FILE01, OFFSITE01)
assign(plugin.VmBackupLocationAssignment, "moved", EXCH01, OFFSITE01)
assign(Dynamic, "old-name", SQL02, OFFSITE01)
plugin.VmBackupLocationAssignmentSet("set", assignments={FILE01: [NAS01]})
assign(plugin.VmBackupLocationAssignment, "b", EXCH01, NAS01, at_b)
assign(Dynamic, "connected", SQL02, NAS01, connection="site-b")
assign(plugin.VmBackupLocationAssignment, "connected too", FILE01, NAS01, connection="site-b")
"""
AFTER = """
gained = assign(Dynamic, "gained", SQL01, NAS01)
assign(plugin.VmBackupLocationAssignment, "moved", EXCH01, ROTATING)
assign(plugin.VmBackupLocationAssignment, "new-name", SQL02, OFFSITE01)
assign(Dynamic, "adopted", DC01, DISK_E)
unknown = gained.assigned_at.apply(lambda _: OFFSITE01)
assign(plugin.VmBackupLocationAssignment, "unknown", DC01, unknown)
plugin.VmBackupLocationAssignmentSet("set", assignments={FILE01: [NAS01, ROTATING]})
assign(plugin.VmBackupLocationAssignment, "b", EXCH01, DISK_E, at_b)
assign(Dynamic, "connected", SQL02, ROTATING, connection="site-b")
assign(plugin.VmBackupLocationAssignment, "connected too", FILE01, ROTATING, connection="site-b")
"""

ALL = ("--show-sames", "--show-replacement-steps")

Review = Callable[..., dict[str, Any]]


@pytest.fixture
def stack(make_stack: MakeStack, base_url: str, url_b: str) -> Stack:
    stack = make_stack(VMBACKUP_BASE_URL="", VMBACKUP_USERNAME="", VMBACKUP_PASSWORD="")
    account = {"vmbackup:username": "Administrator", "vmbackup:password": ENCRYPTED}
    site_b = {"baseUrl": url_b, "username": "Administrator", "password": ENCRYPTED}
    stack.config({"vmbackup:baseUrl": base_url, **account})
    stack.config({"vmbackup:connections": {"site-b": site_b}})
    (stack.folder / "base_url").write_text(url_b)
    return stack


@pytest.fixture
def review(stack: Stack, base_url: str, url_b: str) -> Review:
    """Runs ``vmbackup review --json``, with snapshots of both servers."""

    def review(*arguments: str, ends: int = 0) -> dict[str, Any]:
        account = {"VMBACKUP_USERNAME": "Administrator", "VMBACKUP_PASSWORD": PASSWORD}
        for name, url in (("a.json", base_url), ("b.json", url_b)):
            at = {"VMBACKUP_BASE_URL": url, **account}
            stack.vmbackup("snapshot", "--output", name, environment=at)
        inventories = ["--inventory", "a.json", "--inventory", "b=b.json"]
        done = stack.vmbackup("review", *inventories, *arguments, "--json", ends=ends)
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    return review


def preview(stack: Stack, *arguments: str) -> str:
    stack.pulumi_to_file("preview.json", "preview", "--json", *arguments)
    return "preview.json"


def meanings(server: dict[str, Any]) -> dict[str, list[str]]:
    return {vm["name"]: vm["meanings"] for vm in server["vms"] if vm["meanings"]}


def test_both_surfaces_a_set_and_two_servers(
    stack: Stack, review: Review, simulator: Simulator, site_b: Simulator
) -> None:
    stack.program(PROGRAM + BEFORE)
    stack.up()
    unchanged = review("--preview", preview(stack, *ALL), "--at-most-removed", "0")
    assert all(not meanings(server) for server in unchanged["servers"])

    stack.program(PROGRAM + AFTER)
    found = review("--preview", preview(stack, *ALL))
    first, second = found["servers"]
    assert meanings(first) == {
        "FILE01": ["moves"],
        "DC01": ["gains-unknown"],
        "EXCH01": ["moves"],
        "SQL01": ["gains-primary"],
    }
    assert meanings(second) == {
        "EXCH01": ["moves"],
        "SQL02": ["loses-last-primary", "gains-offsite"],
        "FILE01": ["loses-last-primary", "gains-offsite"],
    }
    assert "1 assignment exists already and becomes managed." in found["summary"]

    # What the review said is what happens.
    stack.up()
    for server, held in ((first, simulator), (second, site_b)):
        after = {(vm["ref"], id_) for vm in server["vms"] for id_ in vm["after"]}
        more = {(DC01, OFFSITE01)} if server is first else set()
        assert set(held.inventory.assignments) == after | more
    assert not simulator.sessions
    assert not site_b.sessions


def test_the_state_against_the_server(
    stack: Stack, review: Review, simulator: Simulator, site_b: Simulator
) -> None:
    stack.program(PROGRAM + BEFORE)
    stack.up()
    del simulator.inventory.assignments[SQL01, OFFSITE01]
    simulator.inventory.assignments[SQL01, NAS01] = None
    del site_b.inventory.assignments[DC01, DISK_E]
    found = review("--stack", "test", "--forbid", "unmanaged", ends=2)
    first, second = found["servers"]
    vms = {vm["name"]: vm for vm in first["vms"]}
    assert vms["SQL01"]["missing"] == [OFFSITE01]
    assert vms["SQL01"]["unmanaged"] == [NAS01]
    assert [vm["name"] for vm in first["vms"] if vm["unmanaged"]] == ["DC01", "SQL01"]
    assert not any(vm["unmanaged"] or vm["missing"] for vm in second["vms"])
    (rule,) = found["rules"]
    assert [vm["ref"] for vm in rule["broken"]] == [DC01, SQL01]

    # With a refresh, the preview assigns it again.
    stack.environment["VMBACKUP_SETTLE_SECONDS"] = "0"
    again = preview(stack, *ALL, "--refresh", "--run-program")
    first, _ = review("--preview", again)["servers"]
    assert meanings(first) == {"SQL01": ["gains-offsite"]}


def test_a_preview_that_leaves_something_out_is_refused(stack: Stack, review: Review) -> None:
    stack.program(PROGRAM)
    stack.up()
    with pytest.raises(AssertionError, match="leaves out resources that do not change"):
        review("--preview", preview(stack))
