"""scripts/go_tag.py: the tag under which Go finds the SDK, pushed to a repository on this disk."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import go_tag
import pytest
from environment import ROOT
from marks import not_under_wine

pytestmark = not_under_wine("there is no Git")

TAG = "v0.2.0-rc.1"
GO_TAG = f"sdk/go/{TAG}"


def git(folder: Path, *arguments: str) -> str:
    return go_tag.git(folder, *arguments)


@pytest.fixture(autouse=True)
def git_of_this_test(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Git without the settings of whoever runs the tests."""
    if not shutil.which("git"):
        if os.environ.get("CI"):
            pytest.fail("Git is not on PATH.")
        pytest.skip("Git is not on PATH")
    (tmp_path / "no settings").touch()
    for name in ("GLOBAL", "SYSTEM"):
        monkeypatch.setenv(f"GIT_CONFIG_{name}", str(tmp_path / "no settings"))
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "Somebody")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "somebody@example.com")


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    """A bare repository with a branch and the tag of a release."""
    remote, clone = tmp_path / "remote.git", tmp_path / "first"
    git(tmp_path, "init", "--quiet", "--bare", str(remote))
    git(tmp_path, "init", "--quiet", "--initial-branch", "main", str(clone))
    (clone / ".gitignore").write_text("/sdk/\n")
    git(clone, "add", ".")
    git(clone, "commit", "--quiet", "-m", "Before")
    (clone / "README.md").write_text("Release\n")
    git(clone, "add", ".")
    git(clone, "commit", "--quiet", "-m", "Release")
    git(clone, "tag", "-a", TAG, "-m", TAG)
    git(clone, "push", "--quiet", str(remote), "main", TAG)
    return remote


@pytest.fixture
def clone(remote: Path, tmp_path: Path) -> Path:
    """What the job has: the tag without what was before, and the SDK in the ignored folder."""
    clone = tmp_path / "clone"
    url = remote.as_uri()
    git(tmp_path, "clone", "--quiet", "--depth", "1", "--branch", TAG, url, str(clone))
    write_sdk(clone, "package vmbackup\n")
    return clone


def write_sdk(clone: Path, program: str) -> None:
    (clone / "sdk" / "go" / "vmbackup").mkdir(parents=True, exist_ok=True)
    (clone / "sdk" / "go" / "go.mod").write_text("module example.com/sdk/go\n")
    (clone / "sdk" / "go" / "vmbackup" / "doc.go").write_text(program)
    (clone / "sdk" / "nodejs").mkdir(exist_ok=True)
    (clone / "sdk" / "nodejs" / "index.ts").write_text("export {};\n")


def references(repository: Path) -> list[str]:
    return git(repository, "for-each-ref", "--format=%(refname)").splitlines()


def test_the_tag_is_the_release_and_the_sdk_and_no_branch_has_it(remote: Path, clone: Path) -> None:
    before = references(clone)
    go_tag.main(TAG, clone)
    assert references(remote) == [
        "refs/heads/main",
        f"refs/tags/{GO_TAG}",
        f"refs/tags/{TAG}",
    ]
    added = git(remote, "diff", "--name-status", TAG, GO_TAG).splitlines()
    assert added == ["A\tsdk/go/go.mod", "A\tsdk/go/vmbackup/doc.go"]
    parents = git(remote, "show", "--no-patch", "--format=%P", GO_TAG)
    assert parents == git(remote, "rev-parse", f"{TAG}^{{commit}}")
    assert git(remote, "branch", "--contains", GO_TAG) == ""
    assert references(clone) == before
    assert git(clone, "status", "--porcelain") == ""


def test_the_same_sdk_once_more_is_no_fault_and_another_one_is(
    remote: Path, clone: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    go_tag.main(TAG, clone)
    commit = git(remote, "rev-parse", GO_TAG)
    monkeypatch.setenv("GIT_AUTHOR_DATE", "2020-01-01T00:00:00+00:00")  # as if on another day
    monkeypatch.setenv("GIT_COMMITTER_DATE", "2020-01-01T00:00:00+00:00")
    go_tag.main(TAG, clone)
    assert git(remote, "rev-parse", GO_TAG) == commit

    write_sdk(clone, "package other\n")
    with pytest.raises(
        SystemExit, match=r"`git push origin .*` failed; its messages above say why"
    ):
        go_tag.main(TAG, clone)
    assert "already exists" in capfd.readouterr().err
    assert git(remote, "rev-parse", GO_TAG) == commit


def test_without_an_sdk_or_a_tag_nothing_is_pushed(remote: Path, clone: Path) -> None:
    before = references(remote)
    with pytest.raises(SystemExit, match=re.escape("`git rev-parse --verify v9^{commit}`")):
        go_tag.main("v9", clone)
    shutil.rmtree(clone / "sdk")
    with pytest.raises(SystemExit, match="There is no SDK for Go in sdk/go: `make sdks` makes it"):
        go_tag.main(TAG, clone)
    assert references(remote) == before


def test_it_needs_no_packages() -> None:
    program = f"import sys; sys.path[:] = [{str(ROOT / 'scripts')!r}, *sys.path]; import go_tag"
    subprocess.run([sys.executable, "-I", "-S", "-c", program], check=True)
