"""The interface of the plugin's resource handlers, in plain values."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from pulumi.runtime import rpc

from ..declared import declared_twice, excluded
from ..errors import Hint
from ..models import Pair
from ..settings import camel_case
from .context import Context
from .wording import HINTS

# A message names this many pairs and counts the others.
NAMED_PAIRS = 10

Properties = dict[str, Any]
Change = Literal["add", "delete", "update"]


class Failure(NamedTuple):
    """Why an input is unusable: its path, and a sentence."""

    path: str
    reason: str


@dataclass
class Difference:
    """What differs between the state and the program.

    Attributes:
        paths: the property paths that differ, with the kind of change.
        replaces: the properties whose change needs a replacement.
    """

    paths: dict[str, Change] = field(default_factory=dict)
    replaces: list[str] = field(default_factory=list)


class Found(NamedTuple):
    """A resource that exists on the server."""

    id: str
    inputs: Properties
    outputs: Properties


class PartlyDoneError(Exception):
    """A part of a resource's work failed; ``str(error)`` says which.

    Attributes:
        id: the resource's id.
        outputs: the state that was reached.
    """

    def __init__(self, message: str, id_: str, outputs: Properties) -> None:
        super().__init__(message)
        self.id = id_
        self.outputs = outputs


class Handler(ABC):
    """Creates, reads, changes and deletes the resources of one type on one connection.

    Inputs, outputs and ids are as in the schema, but without ``connection``. All methods may raise
    VmBackupError.

    Attributes:
        hints: the words for the hints of these errors.
    """

    hints: Mapping[Hint, str] = HINTS

    def __init__(self, context: Context) -> None:
        self._context = context

    @abstractmethod
    def check(self, urn: str, news: Properties) -> tuple[Properties, list[Failure]]:
        """The inputs with normalized ids, and what is wrong with them."""

    @abstractmethod
    def diff(self, olds: Properties, news: Properties) -> Difference:
        """What differs; values may be unknown in a preview."""

    @abstractmethod
    def preview(self, urn: str, olds: Properties | None, news: Properties) -> Properties:
        """The outputs as far as known before a create, or before an update of ``olds``."""

    @abstractmethod
    def create(self, urn: str, news: Properties) -> tuple[str, Properties]:
        """Create the resource; return its id and outputs."""

    @abstractmethod
    def read(self, id_: str, inputs: Properties, olds: Properties) -> Found | None:
        """The present state; None if it is definitely gone. An import knows only the id."""

    @abstractmethod
    def update(self, urn: str, id_: str, olds: Properties, news: Properties) -> Properties:
        """Change the resource; return its outputs."""

    @abstractmethod
    def delete(self, urn: str, id_: str, olds: Properties) -> None:
        """Un-assign what the resource has assigned."""

    def _declare(
        self,
        urn: str,
        pairs: Collection[Pair],
        exclusive: Mapping[str, Collection[str]] = MappingProxyType({}),
    ) -> list[Failure]:
        """Remember what the program declares, and find what contradicts another resource.

        Args:
            urn: the resource.
            pairs: what it declares.
            exclusive: if it is an exclusive set, its VMs with the ids of their locations.
        """
        others = self._context.declare(urn, pairs)
        twice = [declared_twice(pair, urn, other) for pair, other in others.items()]
        contradictions = [
            excluded(
                each.pair,
                f"the resource {each.set_urn}" if each.set_urn else "another set of the program",
                f"the resource {each.urn}" if each.urn else "another resource of the program",
                self._context.vm_names.get(each.pair[0]),
            )
            for each in self._context.exclude(urn, pairs, exclusive)
        ]
        return [
            *_first(twice, "pairs are declared twice"),
            *_first(contradictions, "pairs are excluded by an exclusive set"),
        ]

    def _warn_of_other_servers(self, unassigned: Collection[Pair]) -> None:
        """Warn of pairs that were un-assigned here, and that the program declares elsewhere.

        Two addresses may lead to one server.
        """
        seconds = self._context.settings.settle_seconds
        for server, pairs in self._context.declared.declared_elsewhere(unassigned).items():
            self._context.engine.warn(
                f"This run has un-assigned {len(pairs):,} of the pairs that the program declares "
                f"for {server}. If that is another address of the same server, they are "
                f"un-assigned there as well: wait {seconds:g} s (settleSeconds), run `pulumi "
                "refresh`, and then `pulumi up`."
            )


def _first(messages: list[str], are: str) -> list[Failure]:
    """The first of many messages, and how many more there are."""
    failures = [Failure("", message) for message in messages[:NAMED_PAIRS]]
    if len(messages) > NAMED_PAIRS:
        failures.append(Failure("", f"{len(messages) - NAMED_PAIRS:,} more {are}."))
    return failures


def is_unknown(value: object) -> bool:
    """Whether a preview does not know a value yet."""
    return bool(value == rpc.UNKNOWN)


def input_text(value: object) -> str:
    """A provider's input as the text of a setting; the protocol makes a float of each number."""
    is_whole = isinstance(value, float) and value.is_integer()
    return f"{value:.0f}" if is_whole else str(value)


def unknown_outputs(keys: Iterable[str]) -> Properties:
    """Unknown outputs, which only the server can tell."""
    return dict.fromkeys(keys, rpc.UNKNOWN)


def camel_case_keys(values: Mapping[str, Any]) -> Properties:
    """The values with the names of the schema, without those that are None."""
    return {camel_case(key): value for key, value in values.items() if value is not None}
