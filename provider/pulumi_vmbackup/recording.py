"""What a recording of HTTP exchanges holds: one line of JSON for each exchange.

The recorder writes these lines, and the simulator replays them. Both take the fields from here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args
from urllib.parse import unquote

from .errors import ArgumentError
from .files import reason_of
from .models import is_guid

TOKEN = "[token]"  # noqa: S105  # what stands in its place
SESSION_START = "sessions/start"

Failure = Literal[
    "timeout",
    "reset",
    "refused",
    "name",
    "proxy",
    "certificate",
    "tls",
    "too long",
    "interrupted",
]
_FAILURES: tuple[Failure, ...] = get_args(Failure)


@dataclass(frozen=True, kw_only=True)
class Exchange:
    """One HTTP exchange; its fields are the keys of a line, in this order.

    Attributes:
        time: when the request was sent, as UTC in ISO 8601, such as 2026-03-01T22:00:00.123Z.
        process: the id of the process that sent it.
        server: the server, as a name without spaces.
        base_path: the path of the base URL, such as ``/api/rest``.
        method: the HTTP method.
        path: the path below the base URL, with ``[token]`` for the session token.
        status: the HTTP status; None if no answer came.
        seconds: how long it took until the answer was complete, or until the failure.
        bytes: the size of the answer; None if no answer came.
        failure: why no answer came; None if one did:

            * ``"timeout"``: the answer did not come in time, or not all of it.
            * ``"reset"``: the connection broke before the answer was complete.
            * ``"refused"``: no connection was made.
            * ``"name"``: the host name was not resolved.
            * ``"proxy"``: the proxy refused, or did not answer.
            * ``"certificate"``: the server's certificate was not accepted.
            * ``"tls"``: TLS failed in another way.
            * ``"too long"``: the answer was longer than what is read.
            * ``"interrupted"``: the process was stopped while it waited.
        answer: the answer, if it is JSON: mostly the envelope of the API with what is in it.
        text: the beginning of the answer, if it is not JSON.
    """

    time: str
    process: int
    server: str
    base_path: str
    method: str
    path: str
    status: int | None = None
    seconds: float
    bytes: int | None = None
    failure: Failure | None = None
    answer: Any = None
    text: str | None = None

    def to_line(self) -> str:
        """The exchange as a line, without its end. Keys without a value are left out."""
        told = {each.name: getattr(self, each.name) for each in fields(self)}
        told = {key: value for key, value in told.items() if value is not None}
        return json.dumps(told, ensure_ascii=False)

    @classmethod
    def of_line(cls, line: str) -> Exchange:
        """The exchange of a line.

        Raises:
            ValueError: it is no such line; the message says what is wrong with it.
        """
        try:
            told = json.loads(line)
        except RecursionError:
            raise ValueError("it is nested too deeply") from None
        if not isinstance(told, dict):
            raise ValueError("it is not a JSON object")
        for field in fields(cls):
            if field.name in _REQUIRED and field.name not in told:
                raise ValueError(f"it has no {field.name}")
            if field.name in told and not _CHECKS[field.name](told[field.name]):
                raise ValueError(f"its {field.name} is {told[field.name]!r}")
        if ("status" in told) == ("failure" in told):
            raise ValueError("it has to have either a status or a failure")
        # A later version may have more keys.
        return cls(**{key: told[key] for key in _CHECKS if key in told})


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_path(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"(/[^/\s?#]+)*", value) is not None


_REQUIRED = ("time", "process", "server", "base_path", "method", "path", "seconds")
_CHECKS: dict[str, Callable[[Any], bool]] = {
    "time": _is_text,
    "process": _is_count,
    "server": _is_text,
    "base_path": _is_path,
    "method": lambda value: value in ("GET", "POST", "DELETE"),
    "path": lambda value: _is_text(value) and _is_path(f"/{value}"),
    "status": lambda value: _is_count(value) and 200 <= value <= 599,
    "seconds": lambda value: (_is_count(value) or isinstance(value, float)) and 0 <= value <= 86400,
    "bytes": _is_count,
    "failure": lambda value: value in _FAILURES,
    "answer": lambda _: True,
    "text": _is_text,
}


def without_token(path: str) -> tuple[str, str | None]:
    """The path of a call with ``[token]`` for its session token, and the token.

    The token is the first GUID in the path (documented).
    """
    segments = path.split("/")
    if TOKEN in segments:
        return path, None
    for index, segment in enumerate(segments):
        if is_guid(unquote(segment)):
            return "/".join((*segments[:index], TOKEN, *segments[index + 1 :])), unquote(segment)
    return path, None


def earlier_part(file: Path) -> Path:
    """The file to which the first part of a long recording is moved."""
    return file.with_name(f"{file.name}.1")


def names_of(file: Path) -> Path:
    """The file that holds the names for the stand-ins of a recording, and their key."""
    return file.with_name(f"{file.name}.names")


def read_recording(file: Path) -> list[Exchange]:
    """The exchanges of a recording in the order of their lines, those of its earlier part first.

    Half a line at the end of a file is left out: its process was killed.

    Raises:
        ArgumentError: it cannot be read, or has a line that is not of a recording.
    """
    exchanges: list[Exchange] = []
    earlier = earlier_part(file)
    for part in (earlier, file) if earlier.exists() else (file,):
        try:
            content = part.read_bytes()
        except OSError as error:
            raise ArgumentError(
                f"The recording {part} cannot be read: {reason_of(error, part)}."
            ) from None
        lines = content.split(b"\n")
        for number, line in enumerate(lines, 1):
            try:
                text = line.decode("utf-8-sig")
                if text.strip():
                    exchanges.append(Exchange.of_line(text))
            except ValueError as error:
                if number == len(lines):  # it has no end
                    continue
                raise ArgumentError(
                    f"Line {number} of the recording {part} is not an exchange: {error}. Remove "
                    "that line, or record again."
                ) from None
    return exchanges
