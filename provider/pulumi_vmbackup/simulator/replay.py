"""Answers as the server of a recording did."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from werkzeug.wrappers import Request, Response

from ..errors import ArgumentError
from ..recording import SESSION_START, TOKEN, Exchange, read_recording, without_token
from .api import Call, envelope, new_token
from .faults import CONNECTION
from .spelling import plain_guid

if TYPE_CHECKING:
    from .http_server import CallerConnection

log = logging.getLogger(__name__)

_SESSION_END = "sessions/end/[token]"


class Replay:
    """One server of a recording; a WSGI application for :func:`.http_server.serve`.

    A call gets the recorded answers to its method and path in their order, and then the last one
    again. They take as long as they took. Any account and any session token is accepted.

    Args:
        exchanges: what was recorded of this server, oldest first, at least one.

    Attributes:
        server: the name that the recording has for the server.
        base_path: the path of the base URL.
        calls: all calls so far, oldest first.
        sessions: the tokens of the open sessions that were started here; they begin with
            TOKEN_PREFIX.
        connections: how many TCP connections :func:`.http_server.serve` has accepted.
    """

    def __init__(self, exchanges: Sequence[Exchange]) -> None:
        # `vmbackup doctor` may have tried other paths first.
        of_api = [each for each in exchanges if isinstance(each.answer, dict)]
        first = (of_api or exchanges)[0]
        self.server = first.server
        self.base_path = first.base_path
        self.calls: list[Call] = []
        self.sessions: set[str] = set()
        self.connections = 0
        self._lock = threading.Lock()
        self._left: dict[tuple[str, str], list[Exchange]] = defaultdict(list)
        for each in exchanges:
            self._left[each.method, f"{each.base_path}/{each.path}"].append(each)

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        began = time.monotonic()
        request = Request(environ)
        request.get_data()  # only after that, a wait notices that the caller is gone
        path, token = without_token(request.path)
        path = "/".join(plain_guid(segment) or segment for segment in path.split("/"))
        exchange = self._next(request.method, path)
        if exchange and exchange.failure == "timeout":
            environ[CONNECTION].wait()
        elif exchange:
            environ[CONNECTION].wait(exchange.seconds - (time.monotonic() - began))
        response = self._response(exchange, request.method, path, token)
        call = Call(request.method, path, response.status_code if response else 0)
        self.calls.append(call)
        log.info("%s %s %s", call.method, call.path, call.status)
        if response is None:
            connection: CallerConnection = environ[CONNECTION]
            connection.reset()
        return response(environ, start_response)

    def _next(self, method: str, path: str) -> Exchange | None:
        with self._lock:
            left = self._left.get((method, path))
            if not left:
                return None
            return left.pop(0) if len(left) > 1 else left[0]

    def _response(
        self, exchange: Exchange | None, method: str, path: str, token: str | None
    ) -> Response | None:
        """The answer to a call; None if none came."""
        call = path.removeprefix(f"{self.base_path}/")
        if exchange is None:
            answer = self._unrecorded(method, call, token)
            return Response(json.dumps(answer), mimetype="application/json")
        if exchange.failure:
            return None
        if not isinstance(exchange.answer, dict):
            if exchange.text is None:
                return Response(json.dumps(exchange.answer), exchange.status)
            return Response(exchange.text, exchange.status, mimetype="text/html")
        succeeds = exchange.answer.get("Success") is True
        if call == SESSION_START and succeeds:
            token = self._started()
        elif call == _SESSION_END and succeeds:
            self._end(token)
        answer = _with_token(exchange.answer, token)
        return Response(json.dumps(answer), exchange.status, mimetype="application/json")

    def _unrecorded(self, method: str, call: str, token: str | None) -> dict[str, Any]:
        answer = envelope(is_success=True)
        # The run may have used a session of somebody else.
        if (method, call) == ("POST", SESSION_START):
            return {**answer, "Data": self._started()}
        if (method, call) == ("POST", _SESSION_END):
            self._end(token)
            return {**answer, "ClosedSessions": [{"SessionToken": token}]}
        log.warning("%s %s was not recorded", method, call)
        return envelope("NotRecorded", f"The recording has no {method} {call}")

    def _started(self) -> str:
        token = new_token()
        with self._lock:
            self.sessions.add(token)
        return token

    def _end(self, token: str | None) -> None:
        with self._lock:
            self.sessions.discard(plain_guid(token or "") or "")


def replays_of(file: Path) -> list[Replay]:
    """The servers of a recording, in the order in which they come in it.

    Raises:
        ArgumentError: it cannot be read, or holds no exchange.
    """
    exchanges: dict[str, list[Exchange]] = defaultdict(list)
    for each in read_recording(file):
        exchanges[each.server].append(each)
    if not exchanges:
        raise ArgumentError(f"The recording {file} holds no exchange: record a run first.")
    return [Replay(each) for each in exchanges.values()]


def _with_token(value: Any, token: str | None) -> Any:
    """An answer with a session token where the recording has ``[token]``."""
    if isinstance(value, dict):
        return {key: _with_token(each, token) for key, each in value.items()}
    if isinstance(value, list):
        return [_with_token(each, token) for each in value]
    return token if value == TOKEN else value
