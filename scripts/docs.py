"""Builds the documentation as a site, into the folder site.

First it makes anew what comes from the code: the reference and the picture of the imports. The site
is made by Zensical, of copies of the pages in .site. Its first page is the README. A link to what
is not on the site leads to the repository on GitHub.
"""

import os
import posixpath
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

from environment import ROOT, use_environment

if __name__ == "__main__":
    use_environment()

import architecture
import reference

from pulumi_vmbackup.plugin.schema import REPOSITORY

DOCS = ROOT / "docs"
COPIES = ROOT / ".site"
SITE = ROOT / "site"
# Pages outside of docs/, and what they are called on the site.
OTHERS = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "maintainers/contributing.md",
    "SECURITY.md": "security.md",
}
NOT_ON_THE_SITE = "registry"  # has pages in the form of another site
LINK = re.compile(r"(?<=\]\()[^)\s]+(?=\))")


def main() -> None:
    reference.main()
    architecture.main()
    if sys.version_info < (3, 11):
        sys.exit("The reference is written. The site needs Python 3.11 or later.")
    copy_pages(COPIES)
    done = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--strict", "--clean"], cwd=ROOT, check=False
    )
    if done.returncode != 0:
        sys.exit(done.returncode)
    print(f"The site is in {SITE}: open {SITE / 'index.html'}, or serve the folder.")


def copy_pages(to: Path) -> None:
    """Copy the pages of the site, with links that work there."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(DOCS, to, ignore=shutil.ignore_patterns(NOT_ON_THE_SITE))
    for copy in to.rglob("*.md"):
        page = f"docs/{copy.relative_to(to).as_posix()}"
        copy.write_text(on_site(copy.read_text("utf-8"), page), "utf-8")
    for page, name in OTHERS.items():
        (to / name).write_text(on_site((ROOT / page).read_text("utf-8"), page), "utf-8")


def on_site(text: str, page: str) -> str:
    """The text of a page with the links that it has on the site.

    Args:
        text: the text in the repository.
        page: its path in the repository.
    """
    folder = posixpath.dirname(page)
    here = posixpath.dirname(_place(page) or "")

    def link(found: re.Match[str]) -> str:
        target = found[0]
        if urlsplit(target).scheme or target.startswith("#"):
            return target
        path, sign, anchor = target.partition("#")
        path = posixpath.normpath(posixpath.join(folder, path))
        place = _place(path)
        if place is None:
            kind = "tree" if (ROOT / path).is_dir() else "blob"
            return f"https://{REPOSITORY}/{kind}/main/{path}{sign}{anchor}"
        return posixpath.relpath(place, here or ".") + sign + anchor

    return LINK.sub(link, text)


def _place(path: str) -> str | None:
    """Where a file of the repository is on the site; None if it is not there."""
    if path in OTHERS:
        return OTHERS[path]
    return path.removeprefix("docs/") if path.startswith("docs/") else None


if __name__ == "__main__":
    os.chdir(ROOT)
    main()
