"""``/simulator``: the switches of a running simulator, beside the API that it serves."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict, fields
from typing import Any

from werkzeug.wrappers import Request, Response

from .api import Simulator, json_body, refused_host
from .behavior import Behavior, check_seconds
from .faults import Fault

log = logging.getLogger(__name__)

PATH = "/simulator"

_SWITCHES = ("behavior", "faults", "console_connected", "hosts_off", "answer_seconds")
_BEHAVIOR = [each.name for each in fields(Behavior)]
_FAULT = [each.name for each in fields(Fault) if each.init]


class Switches:
    """A simulator with its switches; a WSGI application.

    ``GET /simulator`` returns them as JSON. ``PATCH /simulator`` changes the switches that its JSON
    names: of ``behavior`` the named fields, of ``faults`` and ``hosts_off`` the whole list. If one
    value is wrong, nothing changes. These calls are not calls of the API: they are not recorded,
    and no fault applies to them.
    """

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator
        self._lock = threading.Lock()  # no change is lost if two come at once

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        request = Request(environ)
        if request.path != PATH:
            return self._simulator(environ, start_response)
        response = refused_host(request) or self._answer(request)
        log.info("%s %s %s", request.method, PATH, response.status_code)
        return response(environ, start_response)

    def _answer(self, request: Request) -> Response:
        if request.method not in ("GET", "PATCH"):
            return Response("Use GET or PATCH.\n", 405, {"Allow": "GET, PATCH"})
        if request.method == "PATCH":
            body = json_body(request)
            try:
                with self._lock:
                    self._change(body)
            except ValueError as error:
                return Response(f"{error}\n", 400)
        return Response(json.dumps(self._told(), indent=2) + "\n", mimetype="application/json")

    def _told(self) -> dict[str, object]:
        simulator = self._simulator
        return {
            "behavior": asdict(simulator.behavior),
            "faults": [
                {**{name: getattr(fault, name) for name in _FAULT}, "hits": fault.hits}
                for fault in simulator.faults
            ],
            "console_connected": simulator.console_connected,
            "hosts_off": sorted(simulator.hosts_off),
            "answer_seconds": simulator.answer_seconds,
        }

    def _change(self, body: object) -> None:
        simulator = self._simulator
        changed = _object(body, "The body", _SWITCHES)
        if "behavior" in changed:
            choices = _object(changed["behavior"], "behavior", _BEHAVIOR)
            changed["behavior"] = simulator.behavior.changed(**choices)
        if "faults" in changed:
            changed["faults"] = _faults(changed["faults"])
        if not isinstance(changed.get("console_connected", True), bool):
            raise ValueError(
                f"console_connected is {changed['console_connected']!r}: use true or false."
            )
        if "hosts_off" in changed:
            hosts = changed["hosts_off"]
            if not isinstance(hosts, list) or not all(isinstance(each, str) for each in hosts):
                raise ValueError("hosts_off is not a list of names of hosts.")
            changed["hosts_off"] = set(hosts)
        if "answer_seconds" in changed:
            check_seconds("answer_seconds", changed["answer_seconds"])
        for name, value in changed.items():
            setattr(simulator, name, value)


def _faults(value: object) -> list[Fault]:
    if not isinstance(value, list):
        raise ValueError("faults is not a list.")
    # A fault without a kind is refused like one with a wrong kind.
    return [Fault(**{"kind": None, **_object(each, "A fault", _FAULT)}) for each in value]


def _object(value: object, name: str, keys: Collection[str]) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{name} is not a JSON object.")
    for key in value:
        if key not in keys:
            raise ValueError(f"{name} has no {key!r}: use {', '.join(keys)}.")
    return value
