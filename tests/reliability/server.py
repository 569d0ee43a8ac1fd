"""A simulated server that tells what was assigned at each moment."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from reliability.engine import Pair
from sample import PASSWORD

from pulumi_vmbackup.simulator import Behavior, Inventory, Simulator


class WatchedInventory(Inventory):
    """An inventory that remembers what was assigned after each change, oldest first."""

    def __init__(self, inventory: Inventory) -> None:
        self.history: list[frozenset[Pair]] = []
        super().__init__(**{each.name: getattr(inventory, each.name) for each in fields(inventory)})

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name == "assignments":
            self.history.append(frozenset(Pair(*pair) for pair in value))


class WatchedSimulator(Simulator):
    """A simulator of the sample inventory, or one with other assignments."""

    def __init__(
        self,
        *,
        assigned: set[Pair],
        behavior: Behavior | None = None,
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
