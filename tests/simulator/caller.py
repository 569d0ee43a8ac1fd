"""Calls a simulator as a program on its machine would."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any

import requests
import urllib3
from sample import NOWHERE, PASSWORD

from pulumi_vmbackup.transport import add_secret

LOGIN = {
    "ServerAddress": "LOCALHOST",
    "ServerPort": "36014",
    "Username": "Administrator",
    "Password": PASSWORD,
    "Domain": "",
}


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end, "it did not happen within a minute"
        time.sleep(0.01)


def failure(error: BaseException) -> str:
    """What became of a call that failed."""
    names = {
        urllib3.exceptions.ReadTimeoutError: "timeout",
        urllib3.exceptions.IncompleteRead: "cut short",
        ConnectionResetError: "reset",
        http.client.RemoteDisconnected: "reset",  # as OpenSSL tells it
    }
    while type(error) not in names:
        assert error.__context__, repr(error)
        error = error.__context__
    return names[type(error)]


class Caller:
    """Sends calls like ``GET /vms/list/[token]``, with the token of its session for ``[token]``."""

    def __init__(self, base_url: str, *, verify: str | bool = True) -> None:
        self.base_url = base_url
        self.token = NOWHERE
        self.http = requests.Session()
        self.http.headers["Host"] = "localhost"
        self.http.verify = verify
        self.http.trust_env = False  # REQUESTS_CA_BUNDLE would go before verify

    def __enter__(self) -> Caller:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.http.close()

    def log_in(self) -> Caller:
        self.token = self("POST /sessions/start", LOGIN)["Data"]
        return self

    def send(self, call: str, body: object = None, *, timeout: float = 60) -> requests.Response:
        add_secret(self.token)  # urllib3 logs the URLs of these calls, too
        method, _, path = call.partition(" ")
        url = self.base_url + path.replace("[token]", self.token)
        return self.http.request(method, url, json=body, timeout=timeout, allow_redirects=False)

    def __call__(self, call: str, body: object = None) -> dict[str, Any]:
        response = self.send(call, body)
        assert response.status_code == 200, response.text
        assert response.headers["Content-Type"] == "application/json"
        envelope = response.json()
        assert isinstance(envelope, dict)
        return envelope

    def refusal(self, call: str) -> str:
        """The ErrorMessage of a call; an empty text when it succeeds."""
        envelope = self(call)
        return "" if envelope["Success"] else str(envelope["ErrorMessage"])

    def locations_of(self, vm_ref: str) -> list[str]:
        items = self(f"GET /vms/backuplocations/[token]/{vm_ref}/1/1")["BackupLocations"]
        return [item["BackupLocationId"] for item in items]
