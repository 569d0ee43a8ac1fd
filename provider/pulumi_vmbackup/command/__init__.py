"""The ``vmbackup`` command, and its message if packages that it needs are missing."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command; the console script ``vmbackup``."""
    try:
        from .group import run

        run()
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in ("click", "jinja2", "rich", "yaml"):
            raise
        sys.exit(
            f"The vmbackup command needs packages that are not installed ({package}): run "
            '`pip install "pulumi-vmbackup[cli]"`.'
        )
