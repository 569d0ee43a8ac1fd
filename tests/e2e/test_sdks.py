"""scripts/sdks.py: the SDKs that Pulumi's own generators make of the schema."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import sdks
from e2e.node import node_modules

from pulumi_vmbackup.plugin.schema import REPOSITORY, VERSION


def test_the_sdks_have_names_of_their_own(generated_sdks: Path) -> None:
    files = [file for file in generated_sdks.rglob("*") if file.is_file()]
    assert {file.relative_to(generated_sdks).parts[0] for file in files} == {
        "nodejs",
        "go",
        "python",
    }
    for file in files:
        text = file.read_text("utf-8")
        assert "@pulumi/vmbackup" not in text, file  # in Pulumi's own scope
        assert "example.com" not in text, file  # Pulumi's placeholder
    package = json.loads((generated_sdks / "nodejs" / "package.json").read_text("utf-8"))
    assert (package["name"], package["version"]) == ("pulumi-vmbackup", VERSION)
    assert f"module {REPOSITORY}/sdk/go\n" in (generated_sdks / "go" / "go.mod").read_text("utf-8")
    folders = {each.name for each in (generated_sdks / "python").iterdir() if each.is_dir()}
    assert folders == {"pulumi_vmbackup_sdk"}  # pulumi_vmbackup is written by hand


def test_the_sdks_for_go_and_python_are_compiled(generated_sdks: Path, tmp_path: Path) -> None:
    for language in ("go", "python"):
        shutil.copytree(generated_sdks / language, tmp_path / language)
    sdks.compile_go(tmp_path / "go")
    sdks.compile_python(tmp_path / "python")


def test_the_package_for_npm_has_all_that_a_program_and_a_reader_need() -> None:
    package = node_modules() / "pulumi-vmbackup"
    for name in ("index.js", "index.d.ts", "README.md", "LICENSE"):
        assert (package / name).stat().st_size, name
    content = json.loads((package / "package.json").read_text("utf-8"))
    assert content["license"] == "Apache-2.0"
    assert content["repository"] == f"https://{REPOSITORY}"
    assert content["pulumi"] == {
        "resource": True,
        "name": "vmbackup",
        "version": VERSION,
        "server": f"github://api.{REPOSITORY}",
    }
