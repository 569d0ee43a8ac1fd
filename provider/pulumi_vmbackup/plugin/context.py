"""What the handlers of a plugin's process share."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
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


@dataclass
class _OnServer:
    """What the program declares on one server, by VM.

    Attributes:
        urns: the resources that declare its locations, by location.
        exclusive: the exclusive sets that list it, with the ids that they give it.
        names: its label, as far as sets have one, for messages.
    """

    urns: dict[str, dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    exclusive: dict[str, dict[str, Collection[str]]] = field(
        default_factory=lambda: defaultdict(dict)
    )
    names: dict[str, str] = field(default_factory=dict)


class PluginProcess:
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
        self._on_servers: dict[str | None, _OnServer] = defaultdict(_OnServer)
        self._lock = threading.Lock()
        self._read_settings: Callable[[str | None], Settings] | None = None
        self._settings: dict[str | None, Settings] = {}
        self._connected: dict[Settings, _Connected] = {}

    def configure(self, read_settings: Callable[[str | None], Settings]) -> None:
        """Set how to read the settings of a connection; they are read on first use."""
        with self._lock:
            self._read_settings = read_settings
            self._settings.clear()
            self._connected.clear()

    def on(self, connection: str | None) -> Context:
        """What the resources on one connection share.

        Args:
            connection: its name; None for the settings of the provider itself.
        """
        return Context(self, connection)

    def cancel(self) -> None:
        """Begin no other call, as when Pulumi was interrupted."""
        self.is_cancelled.set()
        with self._lock:
            connected = list(self._connected.values())
        for each in connected:
            each.stop()

    def end(self) -> None:
        """End the sessions and forget everything, before another run in the same process."""
        with self._lock:
            connected = list(self._connected.values())
            self._settings.clear()
            self._connected.clear()
        self._declared.clear()
        for each in connected:
            each.close()

    def _settings_of(self, connection: str | None) -> Settings:
        with self._lock:
            if connection not in self._settings:
                if self._read_settings is None:
                    raise SettingsError("The provider has not been configured.")
                self._settings[connection] = self._read_settings(connection)
            return self._settings[connection]

    def _on_server(self, server: str | None) -> _OnServer:
        with self._lock:
            return self._on_servers[server]

    def _connect(self, connection: str | None) -> _Connected:
        settings = self._settings_of(connection)
        # Two names with the same settings share one session.
        key = replace(settings, connection=None)
        with self._lock:
            if key not in self._connected:
                self._connected[key] = _Connected(
                    settings, self._warn, self._declared, self._is_over
                )
                if self.is_cancelled.is_set():
                    self._connected[key].stop()
            return self._connected[key]

    def _warn(self, message: str, *advice: Advice) -> None:
        self.engine.warn(worded(VmBackupError(message, *advice)))

    def _is_over(self) -> bool:
        return self.is_cancelled.is_set() or self.run.is_over()


class Context:
    """What the handlers of all resources on one connection share.

    Attributes:
        connection: the name of the connection; None for the settings of the provider itself.
        engine: takes messages for the engine.
        is_cancelled: set when Pulumi was interrupted; nothing new is started then.
    """

    def __init__(self, process: PluginProcess, connection: str | None) -> None:
        self.connection = connection
        self.engine = process.engine
        self.is_cancelled = process.is_cancelled
        self._process = process

    @property
    def client(self) -> Client:
        """The client for all requests.

        Raises:
            SettingsError: a setting is unusable; likewise for the lifecycle and the catalog.
        """
        return self._process._connect(self.connection).client

    @property
    def lifecycle(self) -> AssignmentLifecycle:
        """Assigns and un-assigns."""
        return self._process._connect(self.connection).lifecycle

    @property
    def settings(self) -> Settings:
        """The settings of the connection."""
        return self._process._settings_of(self.connection)

    @property
    def server(self) -> str | None:
        """The server of the connection; None if its settings cannot be read."""
        try:
            return self.settings.server
        except SettingsError:  # the provider, or the connection, may be gone from the program
            return None

    def catalog(self, *, may_read_snapshot: bool) -> Catalog:
        """The server's VMs and locations, or those of the snapshot if allowed and needed."""
        connected = self._process._connect(self.connection)
        return connected.catalog_of_previews if may_read_snapshot else connected.catalog

    @property
    def declared(self) -> PairsOfServer:
        """The pairs that the program declares on this server."""
        return self._process._declared.on(self.server)

    @property
    def vm_names(self) -> dict[str, str]:
        """The labels of VMs by ref, as far as sets have them, for messages."""
        return self._on_server.names

    @property
    def _on_server(self) -> _OnServer:
        return self._process._on_server(self.server)

    def declare(self, urn: str, pairs: Iterable[Pair]) -> dict[Pair, str]:
        """Remember what the program declares.

        Returns:
            The pairs that another resource declares too, with the URN of that resource.
        """
        urns = self._on_server.urns
        declared = {pair: urns[pair[0]].setdefault(pair[1], urn) for pair in pairs}
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
        here = self._on_server
        for vm_ref, ids in exclusive.items():
            here.exclusive[vm_ref][urn] = ids
        declared = self.declared
        declared.add_exclusive(exclusive)
        excluded = [
            Excluded((vm_ref, location_id), set_urn, urn)
            for vm_ref, location_id in pairs
            if vm_ref in here.exclusive
            for set_urn, ids in list(here.exclusive[vm_ref].items())
            if set_urn != urn and location_id not in ids
        ]
        excluded += [Excluded(pair, None, urn) for pair in declared.excluded_by_others(pairs)]
        excluded += [
            Excluded((vm_ref, location_id), urn, other)
            for vm_ref, ids in exclusive.items()
            for location_id, other in list(here.urns[vm_ref].items())
            if other != urn and location_id not in ids
        ]
        return excluded + [
            Excluded(pair, urn, None) for pair in declared.declared_by_others(exclusive)
        ]


class _Connected:
    """What belongs to the settings of a connection, and so to one server."""

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
