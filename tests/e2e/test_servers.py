"""One program and two servers that hold the same ids, as where one was restored from the other."""

from __future__ import annotations

import json

from e2e.stack import ENCRYPTED, Stack, assigned, pairs
from sample import NAS01, SQL01, SQL02

from pulumi_vmbackup.simulator import Simulator

PROGRAM = f"""\
import json
import pathlib

import pulumi

import pulumi_vmbackup
from pulumi_vmbackup import plugin

wanted = json.loads(pathlib.Path("wanted.json").read_text())
providers = {{
    "site-b": plugin.Provider(
        "site-b",
        base_url=wanted["url of B"],
        username="Administrator",
        password=pulumi.Config("vmbackup").require_secret("password"),
    )
}}
for name, connection in wanted["dynamic"].items():
    pulumi_vmbackup.VmBackupLocationAssignment(
        name, vm_ref="{SQL01}", backup_location_id="{NAS01}", connection=connection
    )
for name, provider in wanted["plugin"].items():
    plugin.VmBackupLocationAssignment(
        name,
        vm_ref="{SQL02}",
        backup_location_id="{NAS01}",
        opts=pulumi.ResourceOptions(provider=providers.get(provider)),
    )
"""
DYNAMIC, OF_PLUGIN = f"{SQL01}/{NAS01}", f"{SQL02}/{NAS01}"


def test_the_same_ids_on_two_servers_are_two_assignments(
    stack: Stack, simulator: Simulator, site_b: Simulator, url_b: str
) -> None:
    login = {"username": "Administrator", "password": ENCRYPTED}
    connections = {"site-b": {"baseUrl": url_b, "settleSeconds": 0, **login}}
    stack.config({"vmbackup:password": ENCRYPTED, "vmbackup:connections": connections})
    stack.program(PROGRAM)

    def want(**wanted: dict[str, str | None]) -> None:
        (stack.folder / "wanted.json").write_text(json.dumps({"url of B": url_b, **wanted}))

    want(dynamic={"a": None, "b": "site-b"}, plugin={"pa": None, "pb": "site-b"})
    stack.pulumi("preview")
    stack.up()
    assert assigned(simulator) == assigned(site_b) == {DYNAMIC, OF_PLUGIN}

    for vm_ref in (SQL01, SQL02):  # somebody removes them on B
        del site_b.inventory.assignments[vm_ref, NAS01]
    stack.environment["VMBACKUP_SETTLE_SECONDS"] = "0"
    stack.refresh()
    assert stack.ids() == {"a": DYNAMIC, "pa": OF_PLUGIN}
    stack.up()
    assert assigned(simulator) == assigned(site_b) == {DYNAMIC, OF_PLUGIN}

    want(dynamic={"a": None}, plugin={"pa": None})
    stack.up()
    assert (assigned(simulator), assigned(site_b)) == ({DYNAMIC, OF_PLUGIN}, set())
    assert pairs(simulator, "DELETE") == []

    want(dynamic={"a": "site-b"}, plugin={"pa": "site-b"})  # both move
    stack.up()
    assert (assigned(simulator), assigned(site_b)) == (set(), {DYNAMIC, OF_PLUGIN})
    assert "unchanged" in stack.up()
