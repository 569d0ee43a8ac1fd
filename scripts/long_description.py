"""Writes the description of the package on PyPI, which is README.md with links that work there.

Hatchling runs this file when it builds the package, and imports nothing else for it. So what it
needs of the package, it runs from the file.
"""

import re
import runpy
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

README = "README.md"
VERSION = Path("provider", "pulumi_vmbackup", "plugin", "version.py")


class LongDescription(MetadataHookInterface):
    def update(self, metadata: dict[str, Any]) -> None:
        root = Path(self.root)
        semantic_version = runpy.run_path(str(root / VERSION))["semantic_version"]
        tag = f"v{semantic_version(metadata['version'])}"
        text = (root / README).read_text("utf-8")
        metadata["readme"] = {
            "content-type": "text/markdown",
            "text": with_whole_links(text, README, metadata["urls"]["Repository"], tag),
        }


def with_whole_links(text: str, page: str, repository: str, tag: str) -> str:
    """A page at the root of the repository, with links and pictures that lead to the tag."""
    of_files = f"{repository}/blob/{tag}/"
    of_pictures = f"{repository.replace('//github.com/', '//raw.githubusercontent.com/')}/{tag}/"
    text = re.sub(r"(!\[[^]]*\]\()(?!https?:)", rf"\g<1>{of_pictures}", text)
    text = re.sub(r"\]\((?=#)", f"]({of_files}{page}", text)
    return re.sub(r"\]\((?!https?:)", f"]({of_files}", text)
