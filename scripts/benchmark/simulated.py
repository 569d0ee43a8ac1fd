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


class SimulatedServers:
    """Simulators whose methods are called from another process.

    Args:
        count: how many there are.
    """

    def __init__(self, count: int) -> None:
        # The naive style opens a session for each call, many at a time.
        several = Behavior(second_session="accept")
        self._simulators = [
            Simulator(username=USERNAME, password=PASSWORD, behavior=several) for _ in range(count)
        ]
        self._until_the_end = ExitStack()
        self._base_urls = [self._until_the_end.enter_context(serve(s)) for s in self._simulators]

    def base_urls(self) -> list[str]:
        """The values of ``baseUrl``."""
        return self._base_urls

    def location_id(self) -> str:
        """The id of a backup location that each has."""
        return next(iter(self._simulators[0].inventory.backup_locations))

    def hold(self, pairs: list[Pair], *, assigned: bool, answer_ms: int, on: int) -> None:
        """Hold the VMs of these pairs, forget the calls, and take so long for an answer.

        The pairs are spread over the first ``on`` servers.
        """
        sample_vm = next(iter(Inventory.sample().virtual_machines.values()))
        for number, simulator in enumerate(self._simulators):
            its = pairs[number::on] if number < on else []
            simulator.inventory.virtual_machines = {
                ref: {
                    **sample_vm,
                    "AltaroVirtualMachineRef": ref,
                    "VirtualMachineName": f"VM-{ref}",
                }
                for ref, _ in its
            }
            simulator.inventory.assignments = dict.fromkeys(its) if assigned else {}
            simulator.answer_seconds = answer_ms / 1000
            simulator.calls.clear()
            simulator.tokens.clear()

    def calls(self) -> list[tuple[str, str]]:
        """Method and path of each call so far, with ``[token]`` in place of the token."""
        return [(call.method, call.path) for each in self._simulators for call in each.calls]

    def most_sessions(self) -> int:
        """How many sessions were started on the server that had most."""
        return max(len(each.tokens) for each in self._simulators)


class _Manager(BaseManager):
    pass


_Manager.register("SimulatedServers", SimulatedServers)


@contextmanager
def simulated_servers(count: int) -> Iterator[SimulatedServers]:
    """Run simulators in another process until the block ends."""
    with _Manager(ctx=multiprocessing.get_context("spawn")) as manager:
        yield manager.SimulatedServers(count)  # type: ignore[attr-defined]  # made by register


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
