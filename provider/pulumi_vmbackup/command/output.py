"""The output of commands: tables, JSON, progress and files."""

from __future__ import annotations

import io
import json
import os
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path, PureWindowsPath
from typing import Any, TextIO

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from ..errors import ArgumentError
from ..files import path_of, problem_of_name, reason_of, write_whole
from .wording import printable

# Wide enough that no line is cut or wrapped for programs that read it.
_NO_TERMINAL_COLUMNS = 100_000
_PIECE = 2**15


@contextmanager
def progress_bar() -> Iterator[Callable[[int, int], None] | None]:
    """A progress bar on stderr, if that is a terminal."""
    if not is_terminal(sys.stderr):
        yield None
        return
    bar = Progress(
        TextColumn("Asking for the locations of each VM"),
        BarColumn(),
        MofNCompleteColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def new_table(*headers: str) -> Table:
    """A table without lines; rows are added with ``add_row``."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for header in headers:
        table.add_column(header, overflow="fold")
    return table


def is_terminal(stream: TextIO | None) -> bool:
    """Whether a standard stream is a terminal; it is None when it is closed."""
    return stream is not None and stream.isatty() and _is_console(stream)


if sys.platform == "win32":
    import ctypes
    import msvcrt

    def _is_console(stream: TextIO) -> bool:
        # NUL claims to be a terminal too: a scheduled task would wait for a password for ever.
        mode = ctypes.byref(ctypes.c_ulong())
        handle = msvcrt.get_osfhandle(stream.fileno())
        return bool(ctypes.windll.kernel32.GetConsoleMode(ctypes.c_void_p(handle), mode))
else:

    def _is_console(_stream: TextIO) -> bool:
        return True


def print_output(output: Table | Text) -> None:
    if is_terminal(sys.stdout):
        console = Console(highlight=False)
        if isinstance(output, Table) and any(column.no_wrap for column in output.columns):
            any_width = console.options.update_width(_NO_TERMINAL_COLUMNS)
            width = console.measure(output, options=any_width)
            if width.minimum > console.width:
                # Longer than the lines of the terminal: nobody can copy an id in pieces.
                console.width = width.maximum
        console.print(output, soft_wrap=isinstance(output, Text))
        return
    text = io.StringIO()
    plain = Console(
        file=text,
        width=_NO_TERMINAL_COLUMNS,
        height=25,
        force_terminal=False,
        color_system=None,
        highlight=False,
        legacy_windows=False,
    )
    plain.print(output, soft_wrap=isinstance(output, Text))
    echo("".join(f"{line.rstrip()}\n" for line in text.getvalue().splitlines()))


def print_json(items: Iterable[dict[str, Any]]) -> None:
    echo(json.dumps(list(items), indent=2, default=_to_json) + "\n")


def echo_json(text: str) -> None:
    """Print JSON as ASCII, for PowerShell: it takes UTF-8 for the code page of the console."""
    echo("".join(c if c.isascii() else json.dumps(c)[1:-1] for c in text))


def echo(output: str | bytes) -> None:
    # In pieces: not all systems report a reader that closes during a large write.
    for start in range(0, len(output), _PIECE):
        click.echo(output[start : start + _PIECE], nl=False)


def _to_json(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{value!r} has no JSON form")


def text(value: str | None, style: str = "") -> Text:
    return Text(printable(value or ""), style)


def time_text(value: datetime | None) -> Text:
    return text(value.isoformat(" ", "minutes") if value else None)


# Files


def check_file(name: str, option: str) -> Path:
    """The output file, checked before the server is asked, which may take long."""
    if name == "-":
        raise ArgumentError(f"{option} takes no -: give the name of a file.")
    if os.name == "nt" and (problem := problem_of_name(PureWindowsPath(name).name)):
        raise ArgumentError(f"{name} of {option} {problem}: give another name.")
    file = path_of(name).resolve()
    if not file.parent.is_dir():
        raise ArgumentError(f"There is no folder {file.parent} for {option}: create it first.")
    if file.exists() and not file.is_file():
        raise ArgumentError(f"{file} of {option} is not a file: give the name of one.")
    if file.exists() and not file.stat().st_mode & stat.S_IWRITE:
        raise ArgumentError(
            f"{file} of {option} is read-only: make it writable, or give another name."
        )
    return file


def write_file(file: Path, text: str, option: str) -> None:
    try:
        write_whole(file, text)
    except OSError as error:
        raise ArgumentError(
            f"{file} of {option} cannot be written: {reason_of(error, file)}."
        ) from None
