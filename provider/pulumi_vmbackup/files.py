"""The files of users: paths as people write them, text as editors save it, and safe writing."""

from __future__ import annotations

import json
import os
import re
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

_Result = TypeVar("_Result")

# A reader, a virus scanner or a search index may have the file open for a moment.
PATIENCE_SECONDS = 2.0
_PAUSE_SECONDS = 0.02
# Of Windows, where long paths are not enabled.
_LONGEST_PATH = 259 if sys.platform == "win32" else sys.maxsize
_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|(com|lpt)[1-9]) *(\..*)?", re.IGNORECASE)


def path_of(text: str) -> Path:
    """The path that a person writes.

    Windows puts quotes around a path that is copied, and keeps those of ``set NAME="..."``.
    ``~`` is the home folder, on each system. Nothing else is replaced.
    """
    path = Path(re.sub(r'^"(.+)"$', r"\1", text))
    with suppress(RuntimeError):  # ~user, for an unknown user
        path = path.expanduser()
    return path


def text_of(content: bytes) -> str:
    """The text of a file in UTF-8 or UTF-16: Notepad and PowerShell 5.1 write both, with a mark.

    Raises:
        UnicodeDecodeError: it is no such text.
    """
    return content.decode(json.detect_encoding(content))


def reason_of(error: OSError, path: Path) -> str:
    """Why a file cannot be read or written, as a part of a sentence."""
    length = len(str(path.absolute()))
    if length <= _LONGEST_PATH:
        return error.strerror or str(error)
    return (
        f"{error.strerror}; its path has {length} characters, and Windows takes {_LONGEST_PATH} "
        "if long paths are not enabled"
    )


def problem_of_name(name: str) -> str | None:
    """Why Windows takes no file of this name, as a part of a sentence; None if it does.

    It would write to a device, beside another file, or under another name, without an error.
    """
    if _DEVICE.fullmatch(name):
        return "is the name of a device in Windows"
    if found := re.search(r'[<>:"|?*]', name):
        return f"has a {found[0]} in it, which Windows does not allow"
    return "ends with a dot or a space, which Windows removes" if name[-1:] in (".", " ") else None


def write_whole(path: Path, text: str) -> None:
    """Write a file in UTF-8; a crash leaves the whole old file or the whole new one.

    Raises:
        OSError: it cannot be written; the old file is left as it was.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text, "utf-8", newline="\n")
        try:
            patiently(lambda: partial.replace(path))
        except PermissionError as error:
            error.strerror = (
                f"{error.strerror}; if a program has it open, such as an editor, close it there"
            )
            raise
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


def patiently(function: Callable[[], _Result]) -> _Result:
    """Call a function again while Windows refuses it because another program has the file open."""
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return function()
        except PermissionError:
            if time.monotonic() > give_up_at:
                raise
        time.sleep(_PAUSE_SECONDS)
