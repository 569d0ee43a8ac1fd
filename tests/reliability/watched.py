"""A simulated server that tells what was assigned at each moment, and refuses calls on demand."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass, fields
from typing import Any

from reliability.engine import Pair
from sample import PASSWORD
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

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
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
