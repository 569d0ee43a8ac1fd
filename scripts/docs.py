"""Builds the documentation as a site, into the folder site.

First it makes anew what comes from the code: the reference and the picture of the imports. The site
is made by Zensical, of copies of the pages in .site. Its first page is the README. A link that
leaves docs/ leads to the repository on GitHub.
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
README = "index.md"
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
    """Copy docs/ and the README as the pages of the site, with links that work there."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(DOCS, to, ignore=shutil.ignore_patterns(NOT_ON_THE_SITE))
    for copy in to.rglob("*.md"):
        page = f"docs/{copy.relative_to(to).as_posix()}"
        copy.write_text(on_site(copy.read_text("utf-8"), page), "utf-8")
    readme = (ROOT / "README.md").read_text("utf-8")
    (to / README).write_text(on_site(readme, "README.md"), "utf-8")


def on_site(text: str, page: str) -> str:
    """The text of a page with the links that it has on the site.

    Args:
        text: the text in the repository.
        page: its path in the repository.
    """
    folder = posixpath.dirname(page)
    on_the_site = "docs" if page == "README.md" else folder

    def link(found: re.Match[str]) -> str:
        target = found[0]
        if urlsplit(target).scheme or target.startswith("#"):
            return target
        path, sign, anchor = target.partition("#")
        path = posixpath.normpath(posixpath.join(folder, path))
        if path == "README.md":
            path = f"docs/{README}"
        if not path.startswith("docs/"):
            kind = "tree" if (ROOT / path).is_dir() else "blob"
            return f"https://{REPOSITORY}/{kind}/main/{path}{sign}{anchor}"
        return posixpath.relpath(path, on_the_site) + sign + anchor

    return LINK.sub(link, text)


if __name__ == "__main__":
    os.chdir(ROOT)
    main()
