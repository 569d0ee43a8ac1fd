"""A simulated server that tells what was assigned at each moment, and refuses calls on demand."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Set
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal

from reliability.engine import Pair
from sample import DC01, EXCH01, PASSWORD, SQL01, another_site
from werkzeug.wrappers import Response

from pulumi_vmbackup.simulator import Behavior, Fault, Inventory, Simulator


@dataclass(eq=False)
class Refusal(Fault):
    """Calls of a ``WatchedSimulator`` that are answered with the API's refusal.

    Attributes:
        status: the answer's HTTP status: 500 is an error inside the server, which may pass.
    """

    status: int = 200


class WatchedInventory(Inventory):
    """An inventory that remembers what was assigned after each change, oldest first."""

    def __init__(self, inventory: Inventory) -> None:
        self.history: list[frozenset[Pair]] = []
        super().__init__(**{each.name: getattr(inventory, each.name) for each in fields(inventory)})

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "assignments":
            self.history.append(frozenset(Pair(*pair) for pair in value))


HOST = "HV-01"
HOST_VMS = {DC01, EXCH01, SQL01}  # of those that the programs name

Change = Literal[
    "another site answers", "no VM is listed", "a host is off", "the password is another one"
]


@dataclass(eq=False)
class Turn:
    """A change of the server during a run, which ends with it.

    Attributes:
        change: what is so then.
        skip: before how many exchanges of the run it is not so yet.
        there: what the other site holds.
        hits: how many exchanges were begun since it is so.
        first_call: how many calls the simulator had answered before.
    """

    change: Change
    skip: int = 0
    there: WatchedInventory = field(init=False, repr=False)
    hits: int = field(default=0, init=False)
    first_call: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.change == "the password is another one":
            self.skip = 0  # it matters to logins alone
        self.there = WatchedInventory(another_site())

    def __str__(self) -> str:
        return self.change

    @property
    def lists_no_vm(self) -> bool:
        return self.change == "no VM is listed"


SEVERAL_SESSIONS = Behavior(second_session="accept")
"""A server on which no run waits for a session, so that its calls can be counted."""


class WatchedSimulator(Simulator):
    """A simulator of the sample inventory, or one with other assignments."""

    def __init__(
        self,
        *,
        assigned: Set[Pair],
        behavior: Behavior = SEVERAL_SESSIONS,
        session_seconds: float = 300,
    ) -> None:
        sample = Inventory.sample()
        sample.assignments = dict.fromkeys(assigned)
        self.watched = WatchedInventory(sample)
        self._turn: Turn | None = None
        super().__init__(
            self.watched, password=PASSWORD, behavior=behavior, session_seconds=session_seconds
        )

    @property
    def assigned(self) -> frozenset[Pair]:
        return self.watched.history[-1]

    @property
    def history(self) -> list[frozenset[Pair]]:
        """What was assigned after each change so far, oldest first."""
        return self.watched.history

    def assign(self, assigned: Set[Pair]) -> None:
        """Have other pairs assigned, as if people had done it long ago."""
        self.inventory.assignments = dict.fromkeys(assigned)
        time.sleep(self.behavior.lag_seconds)

    def asks_another_site(self, turn: Turn, vm_refs: Set[str]) -> bool:
        """Whether that was asked about one of some VMs, so that the run has to fail."""
        if not turn.hits or turn.change != "another site answers":
            return False
        asked = [call.path for call in self.calls[turn.first_call :]]
        return any(
            f"/vms/backuplocations/[token]/{ref}/" in path for path in asked for ref in vm_refs
        )

    @contextmanager
    def turning(self, turn: Turn) -> Iterator[None]:
        """Let it be another server within this block, from one of its exchanges on."""
        before: dict[str, Any] = {
            "inventory": self.inventory,
            "sessions": self.sessions,
            "behavior": self.behavior,
            "hosts_off": self.hosts_off,
            "password": self.password,
        }
        self._turn = turn
        try:
            yield
        finally:
            self._turn = None
            if turn.hits:
                vars(self).update(before)

    def _meet_turn(self) -> None:
        turn = self._turn
        if turn is None:
            return
        with self._lock:
            if turn.skip:
                turn.skip -= 1
                return
            turn.hits += 1
            if turn.hits > 1:
                return
            turn.first_call = len(self.calls)
            if turn.change == "another site answers":
                self.inventory, self.sessions = turn.there, {}
            elif turn.change == "no VM is listed":
                self.behavior = replace(self.behavior, vm_list="none")
            elif turn.change == "a host is off":
                self.hosts_off = {HOST}
            else:
                self.password = f"{PASSWORD}-of-today"

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        self._meet_turn()
        refusals = [each for each in self.faults if isinstance(each, Refusal)]
        hits = sum(each.hits for each in refusals)
        started: list[Any] = []
        answer = super().__call__(environ, lambda *arguments: started.extend(arguments))
        if hits == sum(each.hits for each in refusals):
            start_response(*started)
            return answer
        envelope = {"Success": False, "ErrorCode": "Refused", "ErrorMessage": "Not now"}
        response = Response(json.dumps(envelope), refusals[0].status, mimetype="application/json")
        return response(environ, start_response)
