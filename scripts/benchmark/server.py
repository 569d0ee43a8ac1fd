"""The simulator in a process of its own, so that it takes no time of what is measured."""

from __future__ import annotations

import multiprocessing
import signal
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from pulumi_vmbackup.simulator import Inventory, Simulator, serve

Pair = tuple[str, str]
"""A VM's ref and a location's id."""

USERNAME, PASSWORD = "Administrator", "simulator"


class Traffic(NamedTuple):
    """What a server has seen since it was asked last.

    Attributes:
        calls: method and path of each HTTP call, with ``[token]`` for the token.
        connections: how many TCP connections were made.
        sessions: how many sessions were started.
    """

    calls: list[tuple[str, str]]
    connections: int
    sessions: int


class Server:
    """A simulator in another process.

    Attributes:
        base_url: for ``vmbackup:baseUrl``.
        location_ids: its backup locations.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self.base_url: str = connection.recv()
        self.location_ids: list[str] = connection.recv()

    def hold(self, pairs: list[Pair], *, assigned: bool) -> None:
        """Hold the VMs of some pairs, assigned or not."""
        self._ask("hold", pairs, assigned)

    def answer_after(self, seconds: float) -> None:
        """Take so long for each answer from now on."""
        self._ask("answer_after", seconds)

    def traffic(self) -> Traffic:
        """What it has seen since it was asked last."""
        traffic: Traffic = self._ask("traffic")
        return traffic

    def _ask(self, *question: object) -> Any:
        self._connection.send(question)
        return self._connection.recv()


@contextmanager
def serving() -> Iterator[Server]:
    """Run a simulator in another process until the block ends."""
    context = multiprocessing.get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=_serve, args=(there,), daemon=True)
    process.start()
    there.close()
    try:
        yield Server(here)
    finally:
        here.close()
        process.join(10)


def pairs_of(vms: int, location_ids: list[str]) -> list[Pair]:
    """So many VMs, each with each of the locations; the same ones in each run."""
    refs = [str(uuid.uuid5(uuid.NAMESPACE_OID, f"vm {number}")) for number in range(vms)]
    return [(ref, location_id) for ref in refs for location_id in location_ids]


def _serve(connection: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it ends when the other side does
    simulator = Simulator(username=USERNAME, password=PASSWORD)
    sample_vm = next(iter(simulator.inventory.virtual_machines.values()))
    with serve(simulator) as base_url:
        connection.send(base_url)
        connection.send(list(simulator.inventory.backup_locations))
        while True:
            try:
                question, *arguments = connection.recv()
            except EOFError:
                return
            answer: object = None
            if question == "hold":
                pairs, assigned = arguments
                simulator.inventory = _inventory(sample_vm, pairs, assigned=assigned)
            elif question == "answer_after":
                (simulator.answer_seconds,) = arguments
            else:
                calls = [(call.method, call.path) for call in simulator.calls]
                answer = Traffic(calls, simulator.connections, len(simulator.tokens))
                simulator.calls.clear()
                simulator.tokens.clear()
                simulator.connections = 0
            connection.send(answer)


def _inventory(sample_vm: dict[str, object], pairs: list[Pair], *, assigned: bool) -> Inventory:
    inventory = Inventory.sample()
    inventory.virtual_machines = {
        ref: {**sample_vm, "AltaroVirtualMachineRef": ref, "VirtualMachineName": f"VM-{ref[:8]}"}
        for ref, _ in pairs
    }
    inventory.assignments = dict.fromkeys(pairs) if assigned else {}
    return inventory
