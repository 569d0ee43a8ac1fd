"""Publishes the SDK for Go, of sdk/go: pushes the tag under which Go finds it.

    python scripts/go_tag.py TAG

Go takes a module from the repository itself, at a tag with the module's folder before the version.
sdk/ is in no branch, since it is generated. So this commits the folder on top of the release's tag,
and pushes nothing but the new tag, such as sdk/go/v0.2.0.

It runs where it may write to the repository, so it needs no packages. The files and the release's
tag alone decide which commit it makes. If that is pushed already, nothing happens.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parent.parent
MODULE = "sdk/go"
REMOTE = "origin"
NAME = "github-actions[bot]"
EMAIL = "41898282+github-actions[bot]@users.noreply.github.com"  # GitHub's own, of that account


def main(tag: str, repository: Path = ROOT) -> None:
    pushed = f"{MODULE}/{tag}"
    if not (repository / MODULE / "go.mod").exists():
        sys.exit(f"There is no SDK for Go in {MODULE}: `make sdks` makes it.")
    commit = commit_on(tag, repository)
    git(repository, "push", REMOTE, f"{commit}:refs/tags/{pushed}")
    print(f"The tag {pushed} is commit {commit}.")


def commit_on(tag: str, repository: Path) -> str:
    """Commit the SDK on top of a tag; the commit. Files, index and branches stay as they are."""
    parent = git(repository, "rev-parse", "--verify", f"{tag}^{{commit}}")
    date = git(repository, "show", "--no-patch", "--format=%cI", parent)
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            "GIT_INDEX_FILE": str(Path(folder, "index")),
            "GIT_AUTHOR_NAME": NAME,
            "GIT_AUTHOR_EMAIL": EMAIL,
            "GIT_AUTHOR_DATE": date,
            "GIT_COMMITTER_NAME": NAME,
            "GIT_COMMITTER_EMAIL": EMAIL,
            "GIT_COMMITTER_DATE": date,
        }
        git(repository, "read-tree", parent, environment=environment)
        git(repository, "add", "--force", MODULE, environment=environment)
        tree = git(repository, "write-tree", environment=environment)
        message = f"SDK for Go, generated from {tag}"
        command = ("commit-tree", tree, "-p", parent, "-m", message)
        return git(repository, *command, environment=environment)


def git(repository: Path, *arguments: str, environment: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(
        ["git", *arguments],
        cwd=repository,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        encoding="utf-8",
        check=False,
    )
    if done.returncode != 0:
        sys.exit(f"`git {' '.join(arguments)}` failed; its messages above say why.")
    return done.stdout.strip()


if __name__ == "__main__":
    main(sys.argv[1])
