"""Checks the tag of a release, and writes its notes.

    python scripts/release.py TAG FILE

The tag has to be the version in pyproject.toml, as Pulumi writes it, after a `v`: Pulumi looks for
the plugin under that tag. The notes are the version's section of CHANGELOG.md.
"""

import re
import sys
from pathlib import Path

from environment import ROOT, use_environment

if __name__ == "__main__":
    use_environment()

from long_description import with_whole_links

from pulumi_vmbackup.plugin.schema import REPOSITORY, VERSION

TAG = f"v{VERSION}"
CHANGELOG = ROOT / "CHANGELOG.md"
UNRELEASED = "Unreleased"


def main(tag: str, file: Path) -> None:
    check_tag(tag, VERSION)
    file.write_text(notes(CHANGELOG.read_text("utf-8"), VERSION), "utf-8")


def check_tag(tag: str, version: str) -> None:
    """End with a sentence if the tag is not that of the version."""
    if tag != f"v{version}":
        sys.exit(
            f"The tag {tag} does not match the version in pyproject.toml: the tag of that version "
            f"is v{version}."
        )
    if "+" in version:
        sys.exit(
            f"Neither npm nor Go takes {version}, because of its plus sign. Post-releases and "
            "versions of more than three numbers have one: take another version in pyproject.toml."
        )


def notes(changelog: str, version: str) -> str:
    """The section of a version, with links that also work outside of the repository."""
    found = section(changelog, version)
    if not found:
        sys.exit(
            f"CHANGELOG.md has nothing about {version}: rename its section `## {UNRELEASED}` to "
            f"`## {version}`, with the date after it."
        )
    return with_whole_links(f"{found}\n", CHANGELOG.name, f"https://{REPOSITORY}", f"v{version}")


def section(changelog: str, title: str) -> str:
    """The text below a title, which a date may follow; empty if there is none."""
    heading = rf"^## {re.escape(title)}(?: [^\n]*)?\n"
    found = re.search(rf"{heading}(.*?)(?=^## |\Z)", changelog, re.M | re.S)
    return found[1].strip() if found else ""


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
