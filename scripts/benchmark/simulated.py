"""The simulator in a process of its own, so that it takes no time of what is measured.

And the limit of what can be reached: the same HTTP calls in a bare loop.
"""

from __future__ import annotations

import http.client
import json
import multiprocessing
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from multiprocessing.managers import BaseManager
from urllib.parse import urlsplit

from pulumi_vmbackup.simulator import Behavior, Inventory, Simulator, serve

Pair = tuple[str, str]
"""A VM's ref and a location's id."""

USERNAME, PASSWORD = "Administrator", "simulator"
_ACCOUNT = {"Username": USERNAME, "Password": PASSWORD, "Domain": ""}
_LOGIN = json.dumps({"ServerAddress": "LOCALHOST", "ServerPort": "36014", **_ACCOUNT})


class SimulatedServer:
    """A simulator whose methods are called from another process."""

    def __init__(self) -> None:
        # The naive style opens a session for each call, many at a time.
        several = Behavior(second_session="accept")
        self._simulator = Simulator(username=USERNAME, password=PASSWORD, behavior=several)
        self._until_the_end = ExitStack()
        self._base_url = self._until_the_end.enter_context(serve(self._simulator))

    def base_url(self) -> str:
        """The value of ``vmbackup:baseUrl``."""
        return self._base_url

    def location_id(self) -> str:
        """The id of its first backup location."""
        return next(iter(self._simulator.inventory.backup_locations))

    def hold(self, pairs: list[Pair], *, assigned: bool, answer_ms: int) -> None:
        """Hold the VMs of these pairs, forget the calls, and take so long for an answer."""
        inventory = Inventory.sample()
        sample_vm = next(iter(inventory.virtual_machines.values()))
        inventory.virtual_machines = {
            ref: {**sample_vm, "AltaroVirtualMachineRef": ref, "VirtualMachineName": f"VM-{ref}"}
            for ref, _ in pairs
        }
        inventory.assignments = dict.fromkeys(pairs) if assigned else {}
        self._simulator.inventory = inventory
        self._simulator.answer_seconds = answer_ms / 1000
        self._simulator.calls.clear()

    def calls(self) -> list[tuple[str, str]]:
        """Method and path of each call so far, with ``[token]`` in place of the token."""
        return [(call.method, call.path) for call in self._simulator.calls]


class _Manager(BaseManager):
    pass


_Manager.register("SimulatedServer", SimulatedServer)


@contextmanager
def simulated_server() -> Iterator[SimulatedServer]:
    """Run a simulator in another process until the block ends."""
    with _Manager(ctx=multiprocessing.get_context("spawn")) as manager:
        yield manager.SimulatedServer()  # type: ignore[attr-defined]  # made by register


def seconds_of_bare_loop(base_url: str, calls: list[tuple[str, str]]) -> float:
    """How long these calls take over one connection, one after the other."""
    connection = http.client.HTTPConnection(urlsplit(base_url).netloc)
    headers = {"Host": "localhost", "Content-Type": "application/json"}
    token = ""
    started = time.monotonic()
    for method, path in calls:
        is_start = path.endswith("/sessions/start")
        body = _LOGIN if is_start else None
        connection.request(method, path.replace("[token]", token), body, headers)
        answer = json.loads(connection.getresponse().read())
        if is_start:
            token = answer["Data"]
    seconds = time.monotonic() - started
    connection.close()
    return seconds
