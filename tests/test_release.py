"""Of releases: names of archives, tags, notes, checksums, the table of figures, the workflow."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import archive
import pytest
import release
import release_check
import yaml
from environment import ROOT

from pulumi_vmbackup.plugin.schema import REPOSITORY
from pulumi_vmbackup.plugin.version import semantic_version

CHANGELOG = """\
# Changelog

## Unreleased

- Not yet.

## 0.2.0-rc.1 (2026-11-01)

- See [the guide](docs/plugin.md), [the site](https://example.com) and [below](#below).

### Below

- More.

## 0.2.0

- Older.
"""


@pytest.mark.parametrize(
    ("system", "machine", "ending"),
    [
        ("linux", "x86_64", "linux-amd64"),
        ("linux", "aarch64", "linux-arm64"),
        ("darwin", "arm64", "darwin-arm64"),
        ("win32", "AMD64", "windows-amd64"),
    ],
)
def test_an_archive_is_called_what_pulumi_looks_for(system: str, machine: str, ending: str) -> None:
    name = archive.archive_name("0.2.0-rc.1", system, machine)
    assert name == f"pulumi-resource-vmbackup-v0.2.0-rc.1-{ending}.tar.gz"


def test_there_is_no_archive_for_a_system_that_pulumi_has_no_plugins_for() -> None:
    with pytest.raises(SystemExit, match="Pulumi knows no plugins for linux on riscv64"):
        archive.archive_name("0.2.0", "linux", "riscv64")


def test_an_archive_holds_what_the_package_requires_and_no_tools() -> None:
    kept = archive.required("pulumi-vmbackup")
    assert {"pulumi-vmbackup", "pulumi", "grpcio", "requests", "urllib3"} <= kept
    assert not kept & {"debugpy", "pip", "setuptools", "click", "werkzeug", "pyinstaller"}
    others = set(archive.modules_of_others(kept))
    assert {"click", "werkzeug", "pytest"} <= others
    assert not others & {"pulumi", "pulumi_vmbackup", "grpc", "google", "yaml", "opentelemetry"}


def test_the_notes_are_the_section_of_the_version_and_their_links_lead_to_the_tag() -> None:
    assert release.notes(CHANGELOG, "0.2.0-rc.1") == (
        f"- See [the guide](https://{REPOSITORY}/blob/v0.2.0-rc.1/docs/plugin.md), "
        f"[the site](https://example.com) and [below](https://{REPOSITORY}/blob/v0.2.0-rc.1/"
        "CHANGELOG.md#below).\n\n### Below\n\n- More.\n"
    )
    assert release.notes(CHANGELOG, "0.2.0") == "- Older.\n"


def test_a_version_without_notes_is_not_released() -> None:
    with pytest.raises(SystemExit, match=r"CHANGELOG\.md has nothing about 0\.2:"):
        release.notes(CHANGELOG, "0.2")


def test_the_changelog_of_this_repository_has_notes_for_the_next_release() -> None:
    assert release.section((ROOT / "CHANGELOG.md").read_text("utf-8"), release.UNRELEASED)


def test_the_tag_is_the_version_of_the_package_as_pulumi_writes_it() -> None:
    assert f"v{semantic_version(version('pulumi-vmbackup'))}" == release.TAG
    release.check_tag("v0.2.0-rc.1", semantic_version("0.2.0rc1"))
    for tag in ("0.2.0", "v0.2.0rc1", "v0.2.1"):
        with pytest.raises(SystemExit, match=r"the tag of that version is v0\.2\.0\."):
            release.check_tag(tag, "0.2.0")


@pytest.mark.parametrize("python_version", ["0.2.0.post1", "0.2.0.1"])
def test_a_version_that_npm_and_go_do_not_take_is_not_released(python_version: str) -> None:
    version = semantic_version(python_version)
    with pytest.raises(SystemExit, match=r"Neither npm nor Go takes 0\.2\.0\+"):
        release.check_tag(f"v{version}", version)


def test_the_version_in_pyproject_is_the_one_place_of_the_version() -> None:
    (stated,) = re.findall(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text("utf-8"), re.M)
    assert stated == version("pulumi-vmbackup")


def test_checksums_are_as_sha256sum_takes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(release_check, "DIST", tmp_path)
    (tmp_path / "b.whl").write_bytes(b"b")
    (tmp_path / "a.tar.gz").write_bytes(b"a")
    (tmp_path / "notes.md").write_bytes(b"notes")
    release_check.write_checksums()
    sums = [hashlib.sha256(content).hexdigest() for content in (b"a", b"b")]
    written = (tmp_path / "SHA256SUMS").read_bytes().decode()
    assert written == f"{sums[0]}  a.tar.gz\n{sums[1]}  b.whl\n"


def test_the_table_tells_sizes_and_starts(tmp_path: Path) -> None:
    wheel, packed = tmp_path / "a.whl", tmp_path / "plugin.tar.gz"
    wheel.write_bytes(b"x" * 2000)
    packed.write_bytes(b"x" * 1_500_000)
    rows = [
        release_check.Row(wheel, start_seconds=0.5),
        release_check.Row(packed, unpacked_bytes=4_000_000, start_seconds=0.25),
    ]
    assert release_check.table(rows) == [
        "file           size    unpacked  plugin starts in",
        "a.whl          2 kB              0.50 s",
        "plugin.tar.gz  1.5 MB  4.0 MB    0.25 s",
    ]


def test_a_plugin_that_prints_no_port_is_a_sentence() -> None:
    with pytest.raises(SystemExit, match="printed no port"):
        release_check.start([sys.executable, "-c", "print('nothing')"], os.environ)


def test_a_command_that_fails_is_shown_with_its_output(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="failed; its messages above say why"):
        release_check.call(sys.executable, "-c", "import sys; print('because'); sys.exit(1)")
    assert capsys.readouterr().out == "because\n"


def test_the_sdks_are_not_tried_without_the_plugin(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"There is no plugin\.tar\.gz in dist/"):
        release_check.check_sdks(tmp_path / "plugin.tar.gz", tmp_path)


# The workflow

TEXT = (ROOT / ".github" / "workflows" / "release.yml").read_text("utf-8")
WORKFLOW: dict[str, Any] = yaml.safe_load(TEXT)
JOBS: dict[str, dict[str, Any]] = WORKFLOW["jobs"]
PAGE = (ROOT / "docs" / "maintainers" / "release.md").read_text("utf-8")
READ, LOGIN = {"contents": "read"}, {"id-token": "write"}
PUBLISHING = ("pypi", "npm", "go")


def needed(job: str) -> set[str]:
    """The jobs that have to succeed before a job."""
    needs = JOBS[job].get("needs", [])
    direct = {needs} if isinstance(needs, str) else set(needs)
    return direct.union(*map(needed, direct))


def test_no_job_publishes_before_all_files_are_made_tried_and_signed() -> None:
    for job in PUBLISHING:
        assert needed(job) == {"version", "test", "build", "attest", "sdks"}
    assert needed("github") == {"version", "test", "build", "attest", "sdks", *PUBLISHING}


def test_reviewers_approve_each_job_that_publishes_elsewhere() -> None:
    environments = {name: job["environment"] for name, job in JOBS.items() if "environment" in job}
    assert {name: each["name"] for name, each in environments.items()} == dict.fromkeys(
        PUBLISHING, "release"
    )
    assert f"pkg.go.dev/{release_check.GO_MODULE}" in environments["go"]["url"]


def test_no_job_may_do_more_than_it_has_to() -> None:
    assert WORKFLOW["permissions"] == {}
    assert {name: job["permissions"] for name, job in JOBS.items()} == {
        "version": READ,
        "test": READ,
        "build": READ,
        "sdks": READ,
        "attest": {"attestations": "write", **LOGIN},
        "pypi": LOGIN,
        "npm": LOGIN,
        "go": {"contents": "write"},
        "github": {"contents": "write"},
    }
    for name, job in JOBS.items():
        for step in job.get("steps", []):
            if step.get("uses", "").startswith("actions/checkout@") and name != "go":
                assert step["with"]["persist-credentials"] is False, name


def test_the_page_describes_each_job() -> None:
    described = re.findall(r"^\| `(\w+)` \| ", PAGE.partition("| job |")[2], re.M)
    assert described == list(JOBS)


def test_what_a_job_takes_another_one_has_left() -> None:
    left = set()
    for job in JOBS.values():
        rows = job.get("strategy", {}).get("matrix", {}).get("include", [{}])
        for step in job.get("steps", []):
            if step.get("uses", "").startswith("actions/upload-artifact@"):
                name = step["with"]["name"]
                left |= {
                    name.replace("${{ matrix.archive }}", row.get("archive", "")) for row in rows
                }
    archives = {f"plugin-{each}" for each in JOBS["attest"]["strategy"]["matrix"]["archive"]}
    assert left == {"notes", "python", "npm", "go", *archives}
    taken = re.findall(r"uses: actions/download-artifact@\S+\n +with:\n +name: (\S+)", TEXT)
    assert {each for each in taken if "$" not in each} <= left
    assert 'pattern: "{plugin-*,python,npm}"' in TEXT


@pytest.mark.skipif(sys.platform == "win32", reason="the job runs on Linux")
@pytest.mark.parametrize(
    ("tag", "npm_tag"), [("v0.2.0", "latest"), ("v0.2.0-rc.1", "next"), ("v1.0.0-dev.4", "next")]
)
def test_npm_gets_a_prerelease_under_another_tag(tag: str, npm_tag: str, tmp_path: Path) -> None:
    (command,) = (step["run"] for step in JOBS["npm"]["steps"] if "run" in step)
    (tmp_path / "dist").mkdir()
    (tmp_path / "dist" / "pulumi-vmbackup-0.2.0.tgz").touch()
    npm = tmp_path / "npm"
    npm.write_text('#!/bin/sh\necho "$@"\n')
    npm.chmod(0o755)
    done = subprocess.run(
        ["bash", "-e", "-c", command],
        cwd=tmp_path,
        env={"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}", "GITHUB_REF_NAME": tag},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == (
        f"publish ./dist/pulumi-vmbackup-0.2.0.tgz --provenance --access public --tag {npm_tag}\n"
    )
