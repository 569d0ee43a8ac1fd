"""The limit: the same HTTP calls in a bare loop over one connection."""

from __future__ import annotations

import http.client
import json
import time
from urllib.parse import urlsplit

from .server import PASSWORD, USERNAME

_LOGIN = json.dumps(
    {
        "ServerAddress": "LOCALHOST",
        "ServerPort": "36014",
        "Username": USERNAME,
        "Password": PASSWORD,
        "Domain": "",
    }
)


def seconds_of_bare_loop(base_url: str, calls: list[tuple[str, str]]) -> float:
    """How long it takes to make these calls one after the other, over one connection.

    Args:
        base_url: where the server is.
        calls: method and path of each, with ``[token]`` for the token of their session.
    """
    connection = http.client.HTTPConnection(urlsplit(base_url).netloc)
    token = ""
    started = time.monotonic()
    for method, path in calls:
        is_start = path.endswith("/sessions/start")
        connection.request(
            method,
            path.replace("[token]", token),
            body=_LOGIN if is_start else None,
            headers={"Host": "localhost", "Content-Type": "application/json"},
        )
        answer = json.loads(connection.getresponse().read())
        if is_start:
            token = answer["Data"]
    seconds = time.monotonic() - started
    connection.close()
    return seconds
