"""Provider resources, and how the plugin is started: the right server, whatever Pulumi does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from contract.plugin import COMMAND
from e2e.stack import ENCRYPTED, MakeStack, Stack, assigned, pairs
from environment import ROOT
from sample import FILE01, NAS01, OFFSITE01, SQL01

from pulumi_vmbackup.simulator import Simulator

PROGRAM = """\
import json
import os
import pathlib

import pulumi

from pulumi_vmbackup import plugin

wanted = json.loads(pathlib.Path("wanted.json").read_text())
password = pulumi.Config().get_secret("password")
providers = {
    name: plugin.Provider(name, **inputs, password=password if "username" in inputs else None)
    for name, inputs in wanted["providers"].items()
}
options = pulumi.ResourceOptions(provider=providers.get(wanted["provider"]))
plugin.VmBackupLocationAssignment(
    "single", vm_ref=wanted["single"][0], backup_location_id=wanted["single"][1], opts=options
)
plugin.VmBackupLocationAssignmentSet(
    "set", assignments={wanted["in_set"][0]: [wanted["in_set"][1]]}, opts=options
)
"""
SINGLE, IN_SET = (SQL01, NAS01), (FILE01, OFFSITE01)
BOTH = {"/".join(SINGLE), "/".join(IN_SET)}


def want(stack: Stack, provider: str | None, **providers: dict[str, str]) -> None:
    """What the program declares from now on: a single and a set, of one of its providers."""
    stack.program(PROGRAM)
    wanted = {"single": SINGLE, "in_set": IN_SET, "providers": providers, "provider": provider}
    (stack.folder / "wanted.json").write_text(json.dumps(wanted))


def at(base_url: str) -> dict[str, str]:
    """The inputs of a provider of that server, but for the password, which the program adds."""
    return {"base_url": base_url, "username": "Administrator"}


@pytest.fixture
def configured(make_stack: MakeStack, base_url: str) -> Stack:
    """A stack whose configuration has all settings, and whose environment has none."""
    stack = make_stack(VMBACKUP_BASE_URL="", VMBACKUP_USERNAME="", VMBACKUP_PASSWORD="")
    stack.config(
        {
            "vmbackup:baseUrl": base_url,
            "vmbackup:username": "Administrator",
            "vmbackup:password": ENCRYPTED,
            "backup:password": ENCRYPTED,
        }
    )
    return stack


# The right server


@pytest.mark.parametrize("name", ["default", "default_site_b", "default_1_2_3_b"])
def test_a_provider_whose_name_looks_like_the_default_ones_leads_to_its_own_server(
    name: str, configured: Stack, simulator: Simulator, site_b: Simulator, url_b: str
) -> None:
    want(configured, name, **{name: at(url_b)})
    configured.up()
    assert assigned(site_b) == BOTH
    preview = configured.pulumi("preview", "--diff", "--expect-no-changes")
    assert "explicit" not in preview
    configured.refresh("--expect-no-changes")
    configured.destroy()
    assert not assigned(site_b)
    assert not simulator.calls


def test_a_provider_that_was_like_the_configuration_keeps_its_server(
    configured: Stack, simulator: Simulator, base_url: str, url_b: str
) -> None:
    want(configured, "default", default=at(base_url))
    configured.up()
    configured.config({"vmbackup:baseUrl": url_b})
    configured.up("--expect-no-changes")
    configured.destroy()
    assert not assigned(simulator)


def test_the_default_provider_follows_the_configuration(
    configured: Stack, simulator: Simulator, site_b: Simulator, url_b: str
) -> None:
    want(configured, None)
    configured.up()
    assert assigned(simulator) == BOTH
    simulator.calls.clear()
    site_b.inventory.assignments |= simulator.inventory.assignments  # it moved to another address
    configured.config({"vmbackup:baseUrl": url_b})
    configured.refresh("--expect-no-changes")
    configured.destroy()
    assert not assigned(site_b)
    assert not simulator.calls


def test_a_server_gets_no_password_of_another_one(
    configured: Stack, simulator: Simulator, site_b: Simulator, url_b: str
) -> None:
    want(configured, "site-b", **{"site-b": {"base_url": url_b}})
    output = configured.up(fails=True)
    assert (
        f"No username for VM Backup at provider 'site-b' ({url_b}) is known, and no password. "
        "Give the provider 'site-b' its username. Give the provider 'site-b' its password."
    ) in output
    assert "Traceback" not in output
    assert not simulator.calls
    assert not site_b.calls


def test_a_resource_moves_to_the_server_of_its_new_provider(
    configured: Stack, simulator: Simulator, base_url: str, site_b: Simulator, url_b: str
) -> None:
    a, b = at(base_url), at(url_b)
    want(configured, "a", a=a)
    configured.up()
    assert assigned(simulator) == BOTH
    want(configured, "b", a=a, b=b)
    assert "+-2 to replace" in configured.pulumi("preview")
    configured.up()
    assert assigned(site_b) == BOTH
    assert not assigned(simulator)
    # And to the default provider, while the old provider leaves the program.
    want(configured, None)
    configured.up()
    assert assigned(simulator) == BOTH
    assert not assigned(site_b)
    # Between providers of one server nothing is sent.
    simulator.calls.clear()
    want(configured, "c", c=a)
    configured.up()
    assert not simulator.calls


def test_another_address_of_a_provider_replaces_nothing(
    configured: Stack, simulator: Simulator, base_url: str, site_b: Simulator, url_b: str
) -> None:
    want(configured, "a", a=at(base_url))
    configured.up()
    simulator.calls.clear()
    want(configured, "a", a=at(url_b))  # an upgrade, or another port of a tunnel
    preview = configured.pulumi("preview", "--diff")
    assert "baseUrl" in preview
    assert "replace" not in preview
    configured.up()
    assert not simulator.calls
    assert not pairs(site_b, "POST")


# A project that is called as the package


YAML = f"""\
name: vmbackup
runtime: yaml
config:
  offsitePath:
    type: string
variables:
  offsite:
    fn::invoke:
      function: vmbackup:getBackupLocation
      arguments:
        path: ${{offsitePath}}
resources:
  single:
    type: vmbackup:VmBackupLocationAssignment
    properties:
      vmRef: {FILE01}
      backupLocationId: ${{offsite.id}}
"""
PYTHON = f"""\
import pulumi

from pulumi_vmbackup import plugin

config = pulumi.Config()
assert config.require_object("sites") == [{{"name": "a"}}]
path = config.require("offsitePath")
plugin.VmBackupLocationAssignment(
    "single", vm_ref="{FILE01}", backup_location_id="{OFFSITE01}"
)
"""


@pytest.mark.parametrize("runtime", ["python", "yaml"])
def test_a_project_called_vmbackup_has_its_own_configuration(
    runtime: str, make_stack: MakeStack, simulator: Simulator
) -> None:
    stack = make_stack(init=False)
    program = YAML if runtime == "yaml" else "name: vmbackup\nruntime: python\n"
    (stack.folder / "Pulumi.yaml").write_text(program)
    stack.program(PYTHON)
    stack.init()
    stack.config({"vmbackup:sites": [{"name": "a"}]})
    stack.pulumi("config", "set", "offsitePath", r"\\OFFSITE01\VMBackups")
    stack.up()
    assert assigned(simulator) == {f"{FILE01}/{OFFSITE01}"}
    stack.up("--expect-no-changes")
    stack.refresh("--expect-no-changes")
    stack.destroy()
    assert not assigned(simulator)
    stack.config({"vmbackup:setleSeconds": "3"})
    preview = stack.pulumi("preview", fails=True)
    assert "'setleSeconds' is not a setting of vmbackup: use 'settleSeconds'" in preview


# Versions, and how the plugin is found and started


@pytest.mark.parametrize(
    ("version", "shown"),
    [
        ("0.2.0rc1", "0.2.0-rc.1"),
        pytest.param("1.0.0.post1", "1.0.0+post.1", marks=pytest.mark.full),
        pytest.param("0.3.0.dev4+g1a2b", "0.3.0-dev.4+g1a2b", marks=pytest.mark.full),
    ],
)
def test_a_release_candidate_works_too(
    version: str, shown: str, stack: Stack, simulator: Simulator, base_url: str, tmp_path: Path
) -> None:
    metadata = tmp_path / "version" / f"pulumi_vmbackup-{version}.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text(f"Metadata-Version: 2.1\nName: pulumi-vmbackup\nVersion: {version}\n")
    path = [str(metadata.parents[1]), stack.environment.get("PYTHONPATH", "")]
    stack.environment["PYTHONPATH"] = os.pathsep.join(filter(None, path))
    want(stack, None, unused={"base_url": base_url})
    stack.up()
    assert assigned(simulator) == BOTH
    stack.refresh("--expect-no-changes")
    versions = {
        each["inputs"]["version"]
        for each in stack.state()["resources"]
        if each["type"] == "pulumi:providers:vmbackup"
    }
    assert versions == {shown}
    stack.destroy()
    assert not assigned(simulator)


@pytest.mark.skipif(sys.platform == "win32", reason="the signal that ends it is another one there")
def test_one_that_was_started_by_hand_serves_one_run_after_another(
    stack: Stack, simulator: Simulator
) -> None:
    process = subprocess.Popen(
        [COMMAND], env=stack.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        assert process.stdout
        port = int(process.stdout.readline())
        stack.environment["PULUMI_DEBUG_PROVIDERS"] = f"vmbackup:{port}"
        stack.environment["VMBACKUP_PASSWORD"] = "wrong-one"  # it is the process's own that counts
        want(stack, None)
        stack.pulumi("preview")
        stack.up()
        assert assigned(simulator) == BOTH
        stack.refresh("--expect-no-changes")
        stack.program("")
        stack.up()  # what the run before declared does not count any more
        assert not assigned(simulator)
        want(stack, None)
        stack.up()
        stack.destroy()
        assert not assigned(simulator)
    finally:
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (0, b"")
    assert not simulator.sessions


def without_the_plugin(stack: Stack, tmp_path: Path) -> None:
    """Let PATH hold the CLI and its language hosts, and not the plugin."""
    folder = tmp_path / "cli"
    folder.mkdir()
    for path in map(Path, stack.environment["PATH"].split(os.pathsep)):
        for file in path.glob("pulumi*") if path.is_dir() else ():
            if "vmbackup" not in file.name and not (folder / file.name).exists():
                (folder / file.name).symlink_to(file)
    stack.environment["PATH"] = f"{folder}:/usr/bin:/bin"


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_the_guide_quotes_what_pulumi_says_if_it_does_not_find_the_plugin(
    stack: Stack, tmp_path: Path
) -> None:
    guide = (ROOT / "docs" / "plugin.md").read_text("utf-8")
    without_the_plugin(stack, tmp_path)
    want(stack, None)
    said = errors(stack.pulumi("preview", fails=True))
    assert said
    for line in said:
        assert line in guide


def errors(output: str) -> list[str]:
    return [
        line.partition("error: ")[2].strip()
        for line in output.partition("\nDiagnostics:\n")[2].splitlines()
        if "error: " in line
    ]
