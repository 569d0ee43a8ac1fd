"""What a process of this package prints can be read, whatever the code page of the machine."""

from __future__ import annotations

import io
import os
import sys


def print_any_text() -> None:
    """Make standard output and standard error of this process take any text.

    To a pipe or a file, Python writes in the code page of the machine, such as cp1252 on Windows.
    It has no Japanese letters, and a VM may have a Japanese name. Pulumi and its readers use UTF-8.
    What a user sets in PYTHONIOENCODING stays, and a console keeps its own encoding. A character
    that an encoding lacks is printed as an escape.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            is_chosen = stream.isatty() or bool(os.environ.get("PYTHONIOENCODING"))
            stream.reconfigure(encoding=None if is_chosen else "utf-8", errors="backslashreplace")
