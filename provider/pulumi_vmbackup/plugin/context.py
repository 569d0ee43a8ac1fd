"""What all handlers of a plugin's process share."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from ..catalog import Catalog, impatient
from ..client import Client
from ..declared import DeclaredPairs, PairsOfServer, Run
from ..errors import Advice, SettingsError, VmBackupError
from ..lifecycle import AssignmentLifecycle
from ..models import Pair
from ..settings import Settings
from .engine import Engine
from .wording import worded


class Excluded(NamedTuple):
    """A pair that an exclusive set un-assigns and another resource of the program declares.

    Attributes:
        pair: the pair.
        set_urn: the set; None if it belongs to another process.
        urn: the other resource; None if it belongs to another process.
    """

    pair: Pair
    set_urn: str | None
    urn: str | None


class Context:
    """One process of the plugin, which Pulumi starts for each provider resource of a run.

    Args:
        arguments: the arguments of the process; the last is the address of Pulumi's engine.

    Attributes:
        engine: takes messages for the engine.
        run: the run of Pulumi.
        is_cancelled: set when Pulumi was interrupted; nothing new is started then.
        vm_names: the labels of VMs by ref, as far as sets have them, for messages.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        self.run = Run(arguments)
        self.engine = Engine(self.run.engine_address)
        self.is_cancelled = threading.Event()
        self.vm_names: dict[str, str] = {}
        self._declared = DeclaredPairs(self.run, self.engine.warn)
        # By VM, the resources that declare its locations, and the exclusive sets that list it.
        self._urns: dict[str, dict[str, str]] = defaultdict(dict)
        self._exclusive: dict[str, dict[str, Collection[str]]] = defaultdict(dict)
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

    @property
    def settings(self) -> Settings:
        """The settings of the provider."""
        return self._connect().settings

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
                if self.is_cancelled.is_set():
                    self._connected.stop()
            return self._connected

    def cancel(self) -> None:
        """Begin no other call, as when Pulumi was interrupted."""
        self.is_cancelled.set()
        with self._lock:
            connected = self._connected
        if connected:
            connected.stop()

    def _warn(self, message: str, *advice: Advice) -> None:
        self.engine.warn(worded(VmBackupError(message, *advice)))

    def _is_over(self) -> bool:
        return self.is_cancelled.is_set() or self.run.is_over()

    @property
    def declared(self) -> PairsOfServer:
        """The pairs that the program declares on the server of this process."""
        try:
            return self._declared.on(self.settings.server)
        except SettingsError:  # the provider may be gone from the program
            return self._declared.on(None)

    def declare(self, urn: str, pairs: Iterable[Pair]) -> dict[Pair, str]:
        """Remember what the program declares.

        Returns:
            The pairs that another resource declares too, with the URN of that resource.
        """
        declared = {pair: self._urns[pair[0]].setdefault(pair[1], urn) for pair in pairs}
        self.declared.add(declared)
        return {pair: other for pair, other in declared.items() if other != urn}

    def exclude(
        self, urn: str, pairs: Iterable[Pair], exclusive: Mapping[str, Collection[str]]
    ) -> list[Excluded]:
        """Find what an exclusive set un-assigns although another resource declares it.

        Args:
            urn: a resource.
            pairs: what it declares.
            exclusive: if it is an exclusive set, its VMs with the ids of their locations.
        """
        for vm_ref, ids in exclusive.items():
            self._exclusive[vm_ref][urn] = ids
        declared = self.declared
        declared.add_exclusive(exclusive)
        excluded = [
            Excluded((vm_ref, location_id), set_urn, urn)
            for vm_ref, location_id in pairs
            if vm_ref in self._exclusive
            for set_urn, ids in list(self._exclusive[vm_ref].items())
            if set_urn != urn and location_id not in ids
        ]
        excluded += [Excluded(pair, None, urn) for pair in declared.excluded_by_others(pairs)]
        excluded += [
            Excluded((vm_ref, location_id), urn, other)
            for vm_ref, ids in exclusive.items()
            for location_id, other in list(self._urns[vm_ref].items())
            if other != urn and location_id not in ids
        ]
        return excluded + [
            Excluded(pair, urn, None) for pair in declared.declared_by_others(exclusive)
        ]

    def end(self) -> None:
        """End the session and forget everything, before another run in the same process."""
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
        self.settings = settings
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
            declared=declared.on(settings.server),
            is_over=is_over,
        )

    def stop(self) -> None:
        for client in self._clients:
            client.stop()

    def close(self) -> None:
        for client in self._clients:
            client.close()
