"""What a port does: whether it accepts connections, and what it speaks."""

from __future__ import annotations

import socket
import ssl
import time
from dataclasses import dataclass
from typing import Literal
from urllib.parse import SplitResult

from ..settings import Settings
from ..tls import connect, port_of, untrusting

# How long to wait for a port that may be closed, or that may speak something else.
LONGEST_LOOK_SECONDS = 5.0
_LONGEST_QUOTE = 64

Scheme = Literal["http", "https"]


@dataclass(frozen=True)
class Heard:
    """What came back from a port.

    Attributes:
        scheme: the protocol; None if it is neither of the two.
        status: the HTTP status of an answer to plain http.
        said: the beginning of an answer that is neither.
        is_silent: whether the connection was accepted, and nothing came in time.
    """

    scheme: Scheme | None = None
    status: int | None = None
    said: bytes = b""
    is_silent: bool = False


def accepts(settings: Settings, url: SplitResult, port: int) -> bool:
    """Whether a port of the machine accepts connections."""
    try:
        socket.create_connection((url.hostname or "", port), patience(settings)).close()
    except OSError:
        return False
    return True


def listen(settings: Settings, url: SplitResult) -> Heard:
    """Find out what the port speaks.

    The expected protocol goes first: servers log the other one as an error. If all is silent, the
    server gets as long as it gets for a call.
    """
    expected, other = (_try_tls, _try_http) if url.scheme == "https" else (_try_http, _try_tls)
    first = expected(settings, url, patience(settings))
    # An https port may answer 400 to plain http.
    if first.scheme and first.status != 400:
        return first
    second = other(settings, url, patience(settings))
    if second.scheme:
        return second
    if first.is_silent and settings.timeout_seconds > patience(settings):
        return expected(settings, url, settings.timeout_seconds)
    return first if first.scheme or first.is_silent or first.said else second


def _try_tls(_settings: Settings, url: SplitResult, timeout: float) -> Heard:
    try:
        with connect(url, untrusting(), timeout):
            return Heard("https")
    except ssl.SSLError as error:
        # TLS too, but of another version, or the server wants a client certificate.
        is_tls = any(word in (error.reason or "") for word in ("ALERT", "UNSUPPORTED_PROTOCOL"))
        return Heard("https" if is_tls else None)
    except TimeoutError:
        return Heard(is_silent=True)
    except OSError:
        return Heard()


def _try_http(settings: Settings, url: SplitResult, timeout: float) -> Heard:
    host = settings.host_header or url.netloc
    request = (
        f"GET {url.path}/protocol/version HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )
    answer = b""
    is_silent = False
    give_up_at = time.monotonic() + timeout
    try:
        with socket.create_connection((url.hostname or "", port_of(url)), timeout) as connected:
            connected.sendall(request.encode("ascii", "replace"))
            while len(answer) < 12 and time.monotonic() < give_up_at:
                if not (received := connected.recv(_LONGEST_QUOTE)):
                    break
                answer += received
    except TimeoutError:
        is_silent = not answer
    except OSError:
        pass
    if answer.startswith(b"HTTP/") and answer[9:12].isdigit():
        return Heard("http", status=int(answer[9:12]))
    return Heard(said=answer[:_LONGEST_QUOTE], is_silent=is_silent)


def patience(settings: Settings) -> float:
    """How many seconds to wait for a port that may be closed, or that may speak something else."""
    return min(settings.timeout_seconds, LONGEST_LOOK_SECONDS)
