"""What all handlers of a plugin's process share."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Sequence

from ..catalog import Catalog, impatient
from ..client import Client
from ..declared import DeclaredPairs, Run
from ..errors import Advice, SettingsError, VmBackupError
from ..lifecycle import AssignmentLifecycle
from ..models import Pair
from ..settings import Settings
from .engine import Engine
from .wording import worded


class Context:
    """One process of the plugin, which Pulumi starts for each provider resource of a run.

    Args:
        arguments: the arguments of the process; the last is the address of Pulumi's engine.

    Attributes:
        engine: takes messages for the engine.
        run: the run of Pulumi.
        is_cancelled: set when Pulumi was interrupted; nothing new is started then.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        self.run = Run(arguments)
        self.engine = Engine(self.run.engine_address)
        self.is_cancelled = threading.Event()
        self._declared = DeclaredPairs(self.run, self.engine.warn)
        self._urns: dict[Pair, str] = {}
        self._lock = threading.Lock()
        self._read_settings: Callable[[], Settings] | None = None
        self._connected: _Connected | None = None

    def configure(self, read_settings: Callable[[], Settings]) -> None:
        """Set how to read the settings; they are read on first use."""
        with self._lock:
            self._read_settings = read_settings
            self._connected = None

    @property
    def client(self) -> Client:
        """The client for all requests.

        Raises:
            SettingsError: a setting is unusable; likewise for the lifecycle and the catalog.
        """
        return self._connect().client

    @property
    def lifecycle(self) -> AssignmentLifecycle:
        """Assigns and un-assigns."""
        return self._connect().lifecycle

    def catalog(self, *, may_read_snapshot: bool) -> Catalog:
        """The server's VMs and locations, or those of the snapshot if allowed and needed."""
        connected = self._connect()
        return connected.catalog_of_previews if may_read_snapshot else connected.catalog

    def _connect(self) -> _Connected:
        with self._lock:
            if self._connected is None:
                if self._read_settings is None:
                    raise SettingsError("The provider has not been configured.")
                self._connected = _Connected(
                    self._read_settings(), self._warn, self._declared, self._is_over
                )
            return self._connected

    def _warn(self, message: str, *advice: Advice) -> None:
        self.engine.warn(worded(VmBackupError(message, *advice)))

    def _is_over(self) -> bool:
        return self.is_cancelled.is_set() or self.run.is_over()

    def declare(self, urn: str, pairs: Iterable[Pair]) -> dict[Pair, str]:
        """Remember what the program declares.

        Returns:
            The pairs that another resource declares too, with the URN of that resource.
        """
        declared = {pair: self._urns.setdefault(pair, urn) for pair in pairs}
        self._declared.add(*declared)
        return {pair: other for pair, other in declared.items() if other != urn}

    def is_declared(self, pair: Pair) -> bool:
        """Whether the program declares a pair, as far as this run has seen it."""
        return pair in self._declared

    def unassigned(self) -> set[Pair]:
        """The pairs that this run has un-assigned.

        A set may un-assign a pair in the middle of a run, before Pulumi comes to another resource
        that holds the same pair.
        """
        return self._declared.unassigned()

    def end(self) -> None:
        """End the session and forget everything. For tests, which are many processes in one."""
        with self._lock:
            connected, self._connected = self._connected, None
        self._declared.clear()
        if connected:
            connected.close()


class _Connected:
    """What belongs to the settings of a provider resource, and so to one server."""

    def __init__(
        self,
        settings: Settings,
        warn: Callable[..., None],
        declared: DeclaredPairs,
        is_over: Callable[[], bool],
    ) -> None:
        self.client = Client(settings)
        self.catalog = self.catalog_of_previews = Catalog(settings, client=self.client)
        self._clients = [self.client]
        if settings.inventory_file:
            # With lists of its own: it must not wait for those that the other client waits for.
            client = Client(impatient(settings))
            self._clients.append(client)
            self.catalog_of_previews = Catalog(
                settings, client=client, may_read_snapshot=True, warn=warn
            )
        self.lifecycle = AssignmentLifecycle(
            self.client,
            self.catalog,
            settle_seconds=settings.settle_seconds,
            declared=declared,
            is_over=is_over,
        )

    def close(self) -> None:
        for client in self._clients:
            client.close()
