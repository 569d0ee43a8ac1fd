"""What all handlers of a plugin's process share."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager

from ..bulk import Pair
from ..catalog import Catalog, impatient
from ..declared import DeclaredPairs
from ..errors import SettingsError
from ..lifecycle import AssignmentLifecycle
from ..run import Run
from ..settings import Settings
from .engine import Engine


class Server:
    """One VM Backup server: a session, and what was asked of it so far.

    Attributes:
        client: what all requests go through.
        lifecycle: what assigns and un-assigns.
    """

    def __init__(
        self, settings: Settings, warn: Callable[[str], None], is_over: Callable[[], bool]
    ) -> None:
        from ..client import Client

        self.client = Client(settings)
        self.lifecycle = AssignmentLifecycle(
            self.client, settle_seconds=settings.settle_seconds, is_over=is_over
        )
        patient = Catalog(settings, may_read_snapshot=False, warn=warn, client=self.client)
        self._catalogs = {False: patient, True: patient}
        if settings.inventory_file:
            client = Client(impatient(settings))
            self._catalogs[True] = Catalog(
                settings, may_read_snapshot=True, warn=warn, client=client
            )

    @property
    def parallel_requests(self) -> int:
        """How many requests may be under way at a time."""
        return self.client.parallel_requests

    def catalog(self, *, may_read_snapshot: bool) -> Catalog:
        """The server's VMs and locations, in a preview maybe those of the snapshot."""
        return self._catalogs[may_read_snapshot]


class Context:
    """One process of the plugin, which Pulumi starts for each provider resource of a run.

    Args:
        arguments: those of the process, the last of which is the address of Pulumi's engine.

    Attributes:
        engine: what the engine is told.
        run: the run of Pulumi.
        is_cancelled: whether Pulumi was interrupted, so that nothing else is to be begun.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        self.run = Run(arguments)
        self.engine = Engine(self.run.engine_address)
        self.is_cancelled = threading.Event()
        self._declared = DeclaredPairs(self.run)
        self._urns: dict[Pair, str] = {}
        self._lock = threading.Lock()
        self._taken_back: set[Pair] = set()
        self._pair_locks: dict[Pair, threading.Lock] = defaultdict(threading.Lock)
        self._read_settings: Callable[[], Settings] | None = None
        self._server: Server | None = None

    def configure(self, read_settings: Callable[[], Settings]) -> None:
        """Say where the settings come from; they are read when they are needed."""
        with self._lock:
            self._read_settings = read_settings
            self._server = None

    @property
    def server(self) -> Server:
        """The server of the settings.

        Raises:
            SettingsError: a setting cannot be used.
        """
        with self._lock:
            if self._server is None:
                if self._read_settings is None:
                    raise SettingsError("The provider has not been configured.")
                self._server = Server(self._read_settings(), self.engine.warn, self._is_over)
            return self._server

    def _is_over(self) -> bool:
        return self.is_cancelled.is_set() or self.run.is_over()

    def declare(self, urn: str, pairs: Iterable[Pair]) -> dict[Pair, str]:
        """Remember what the program declares.

        Returns:
            The pairs that another resource declares as well, each with its URN.
        """
        declared = {pair: self._urns.setdefault(pair, urn) for pair in pairs}
        self._declared.add(*declared)
        return {pair: other for pair, other in declared.items() if other != urn}

    def is_declared(self, pair: Pair) -> bool:
        """Whether the program declares a pair, as far as this run has seen."""
        return pair in self._declared

    def writing(self, pair: Pair) -> AbstractContextManager[bool]:
        """Keep two resources from writing the same pair at a time.

        One that lets go of a pair while another one takes it over would un-assign it otherwise.
        """
        return self._pair_locks[pair]

    def wrote(self, pair: Pair, *, assigned: bool) -> None:
        """Remember what was written, while :meth:`writing` holds the pair."""
        if assigned:
            self._taken_back.discard(pair)
        else:
            self._taken_back.add(pair)

    def was_taken_back(self, pair: Pair) -> bool:
        """Whether this run has un-assigned a pair; one that it is un-assigning is waited for.

        A set lets go of pairs in the middle of a run, and Pulumi may come to another resource that
        holds one of them only then.
        """
        with self.writing(pair):
            return pair in self._taken_back
