"""docs/supported-versions.md: its numbers are those that the tests run with."""

from __future__ import annotations

import json
import re

import yaml
from environment import ROOT
from pulumi_cli import GO_HOST_VERSION, LANGUAGE_HOST_VERSION, VERSION, YAML_HOST_VERSION

from pulumi_vmbackup.plugin.schema import schema
from pulumi_vmbackup.settings import VERSIONS

PAGE = (ROOT / "docs" / "supported-versions.md").read_text("utf-8")
PROJECT = (ROOT / "pyproject.toml").read_text("utf-8")


def row(name: str) -> str:
    (cells,) = re.findall(rf"^\| {name}[^|]* \| (.+) \|$", PAGE, re.MULTILINE)
    return str(cells)


def test_the_versions_of_python_and_node_are_those_of_the_workflow() -> None:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "test.yml").read_text("utf-8"))
    job = workflow["jobs"]["test"]
    oldest, newest = job["strategy"]["matrix"]["python"]
    (lowest,) = re.findall(r'^requires-python = ">=(.+)"$', PROJECT, re.MULTILINE)
    assert row("Python") == f"{lowest} or later | {oldest} and {newest} on Linux and Windows"
    for system in job["strategy"]["matrix"]["os"]:
        assert f"`{system}`" in PAGE
    (node,) = (each["with"]["node-version"] for each in job["steps"] if "node" in str(each))
    assert row("Node.js").endswith(f"| {node}")


def test_the_versions_of_pulumi_are_those_of_the_project() -> None:
    (lowest,) = re.findall(r'"pulumi>=([\d.]+),<4"', PROJECT)
    assert row("Pulumi SDK for Python").startswith(f"{lowest} or later, before 4 |")
    assert row("Pulumi CLI").count(VERSION) == 2
    hosts = f"Python and Node.js {LANGUAGE_HOST_VERSION}, Go {GO_HOST_VERSION}"
    assert row("Language hosts").endswith(f"| {hosts}, YAML {YAML_HOST_VERSION}")


def test_the_versions_of_typescript_and_go_are_those_of_the_examples() -> None:
    example = ROOT / "examples" / "typescript"
    wanted = (example / "package.json").read_text("utf-8")
    locked = json.loads((example / "package-lock.json").read_text("utf-8"))["packages"]
    (node,) = re.findall(r'"node": ">=(.+)"', wanted)
    assert row("Node.js").startswith(f"{node} or later |")
    (typescript,) = re.findall(r'"typescript": "\^(\d+)\.', wanted)
    assert row("TypeScript") == f"{typescript} | {locked['node_modules/typescript']['version']}"
    (sdk,) = re.findall(r'"@pulumi/pulumi": "\^(3\..+)"', wanted)
    run_with = locked["node_modules/@pulumi/pulumi"]["version"]
    assert row("Pulumi SDK for TypeScript") == f"{sdk} or later, before 4 | {run_with}"
    of_nodejs = json.loads(schema())["language"]["nodejs"]["dependencies"]
    assert of_nodejs == {"@pulumi/pulumi": f"^{sdk}"}

    module = (ROOT / "examples" / "go" / "go.mod").read_text("utf-8")
    (go,) = re.findall(r"^go (\S+)$", module, re.MULTILINE)
    assert row("Go") == f"{go} or later | {go}"
    (sdk,) = re.findall(r"github.com/pulumi/pulumi/sdk/v3 v(\S+)$", module, re.MULTILINE)
    assert row("Pulumi SDK for Go") == f"{sdk} or later, before 4 | {sdk}"


def test_each_version_of_vm_backup_has_a_row() -> None:
    table = PAGE.partition("\n## VM Backup\n")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| V[^|]+ \| `([\d.]+)`", table, re.MULTILINE)) == set(VERSIONS)
