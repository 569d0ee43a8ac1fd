"""scripts/sdks.py: the SDKs that Pulumi's own generators make of the schema."""

from __future__ import annotations

import json
import os
import shutil
import tarfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar

import pytest
import sdks
from e2e.node import node_modules
from environment import ROOT
from http_servers import serving
from release import TAG
from release_check import GO_MODULE, call, on_path, tagged

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


def test_go_gets_the_sdk_at_its_tag(generated_sdks: Path, tmp_path: Path) -> None:
    """`make release-check` also gets what the SDK requires, and runs a program with it."""
    sdk = tmp_path / "sdk"
    shutil.copytree(generated_sdks / "go", sdk)
    sdks.compile_go(sdk)  # which writes go.sum
    environment = {**os.environ, **tagged(sdk, tmp_path)}
    download = ("go", "mod", "download", "-json", f"{GO_MODULE}@{TAG}")
    found = json.loads(call(*download, cwd=tmp_path, env=environment))
    assert found["Version"] == TAG
    assert found["Origin"]["Ref"] == f"refs/tags/sdk/go/{TAG}"
    got = Path(found["Dir"])
    assert got.is_relative_to(tmp_path)
    assert contents(got) == {**contents(sdk), "LICENSE": (ROOT / "LICENSE").read_text("utf-8")}


def contents(folder: Path) -> dict[str, str]:
    files = (each for each in folder.rglob("*") if each.is_file())
    return {each.relative_to(folder).as_posix(): each.read_text("utf-8") for each in files}


class Registry(BaseHTTPRequestHandler):
    """Takes what `npm publish` sends, and has nothing itself."""

    published: ClassVar[list[dict[str, Any]]] = []

    def do_GET(self) -> None:
        self.answer(404)

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.published.append(json.loads(body))
        self.answer(201)

    def answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")


@pytest.fixture
def registry() -> Iterator[str]:
    with serving(Registry) as host:
        yield host
    Registry.published.clear()


def test_npm_publishes_the_package_as_one_of_this_repository(registry: str, tmp_path: Path) -> None:
    package = node_modules() / "pulumi-vmbackup"
    npm = str(on_path("npm"))
    call(npm, "pack", str(package), "--pack-destination", str(tmp_path))
    (packed,) = tmp_path.iterdir()
    (tmp_path / ".npmrc").write_text(f"registry=http://{registry}/\n//{registry}/:_authToken=any\n")
    environment = {**os.environ, "NO_PROXY": "127.0.0.1"}
    publish = (npm, "publish", str(packed), "--access", "public", "--tag", "next")
    call(*publish, cwd=tmp_path, env=environment)
    (sent,) = Registry.published
    assert (sent["name"], sent["dist-tags"]) == ("pulumi-vmbackup", {"next": VERSION})
    # npm refuses a provenance of another repository than this.
    repository = sent["versions"][VERSION]["repository"]
    assert repository == {"type": "git", "url": f"git+https://{REPOSITORY}.git"}
    with tarfile.open(packed) as file:
        names = set(file.getnames())
    assert {f"package/{each}" for each in ("index.js", "index.d.ts", "LICENSE")} <= names
    assert not [each for each in names if "node_modules" in each or each.endswith(".tsbuildinfo")]


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
