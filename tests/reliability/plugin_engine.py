"""The model of Pulumi's engine once more, for the plugin: singles, sets, and updates done in part.

As Pulumi 3.259 does it, one step after the other. Left out: gRPC, parallel steps, previews, aliases
and dependencies, and the program itself.
"""

from __future__ import annotations

import ctypes
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from queue import SimpleQueue
from typing import Any, TypeVar

import pytest
from reliability.engine import Killed, Pair

from pulumi_vmbackup import session, transport
from pulumi_vmbackup.plugin.context import PluginProcess
from pulumi_vmbackup.plugin.handler import Handler, PartlyDoneError, Properties
from pulumi_vmbackup.plugin.schema import ASSIGNMENT, ASSIGNMENT_SET
from pulumi_vmbackup.plugin.set_handler import SetHandler
from pulumi_vmbackup.plugin.single_handler import SingleHandler
from pulumi_vmbackup.settings import read_settings

_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Set:
    """A set as a program declares it.

    Attributes:
        vms: by the label of each VM its ref, and the ids of its locations by their labels.
        exclusive: whether these VMs have no other locations.
    """

    vms: Mapping[str, tuple[str, Mapping[str, str]]]
    exclusive: bool = False

    @property
    def pairs(self) -> frozenset[Pair]:
        return frozenset(Pair(ref, id_) for ref, ids in self.vms.values() for id_ in ids.values())

    @property
    def vm_refs(self) -> frozenset[str]:
        return frozenset(ref for ref, _ in self.vms.values())


Program = Mapping[str, "Pair | Set"]
"""What a program declares by the resources' names."""


def declared_pairs(program: Program) -> frozenset[Pair]:
    return frozenset().union(*(_pairs_of(each) for each in program.values()))


def _pairs_of(declared: Pair | Set) -> frozenset[Pair]:
    return declared.pairs if isinstance(declared, Set) else frozenset([declared])


def urn(name: str, declared: Pair | Set) -> str:
    type_ = ASSIGNMENT_SET if isinstance(declared, Set) else ASSIGNMENT
    return f"urn:pulumi:dev::backup::{type_}::{name}"


@dataclass(frozen=True)
class Resource:
    """What the state holds of a resource.

    Attributes:
        pending_deletion: whether it was replaced and is still to be deleted.
        is_partial: whether it was created or updated in part, so that the next run updates it.
    """

    urn: str
    id: str
    inputs: Properties
    outputs: Properties
    pending_deletion: bool = False
    is_partial: bool = False

    @property
    def pairs(self) -> frozenset[Pair]:
        if "assignments" not in self.outputs:
            return frozenset([Pair(*self.id.split("/"))])
        vms = self.outputs["assignments"].values()
        return frozenset(
            Pair(vm["vmRef"], id_) for vm in vms for id_ in vm["backupLocationIds"].values()
        )


@dataclass
class PluginEngine:
    """One stack.

    Attributes:
        config: the stack configuration, without the package's prefix.
        state: what the state file holds.
    """

    config: Mapping[str, str]
    state: list[Resource] = field(default_factory=list)

    def up(self, program: Program, *, refresh: bool = False) -> None:
        """Make the state and the server what the program declares.

        Args:
            program: what it declares.
            refresh: whether the state is refreshed before, in the same process.
        """
        with self._process() as plugin:
            if refresh:
                self._refresh(plugin)
            for name, declared in program.items():
                self._register(plugin, urn(name, declared), declared)
            # Only a run without any failure comes to its deletes.
            urns = {urn(*each) for each in program.items()}
            for each in reversed(list(self.state)):
                if each.pending_deletion or each.urn not in urns:
                    self._delete(plugin, each)

    def refresh(self) -> None:
        """Make the state what the server says."""
        with self._process() as plugin:
            self._refresh(plugin)

    def destroy(self) -> None:
        """Delete all that the state holds; the program is not run, so nothing is checked."""
        with self._process() as plugin:
            for each in reversed(list(self.state)):
                self._delete(plugin, each)

    def _register(self, plugin: _Process, urn: str, declared: Pair | Set) -> None:
        old = next(
            (each for each in self.state if each.urn == urn and not each.pending_deletion), None
        )
        handler = plugin.handler(urn)
        inputs, failures = handler.check(urn, _declared_inputs(declared))
        assert not failures
        inputs = _sent(inputs)
        if old is None:
            self._create(plugin, urn, inputs)
            return
        diff = handler.diff(_sent(old.outputs), _sent(inputs))
        if diff.replaces:
            self._create(plugin, urn, inputs)
            self._write(old, replace(old, pending_deletion=True))
        elif diff.paths or old.is_partial:
            arguments = (urn, old.id, _sent(old.outputs), _sent(inputs))
            try:
                outputs = plugin.call(lambda: handler.update(*arguments))
            except PartlyDoneError as error:
                reached = _sent(error.outputs)
                self._write(old, replace(old, inputs=inputs, outputs=reached, is_partial=True))
                raise
            outputs = _sent(outputs)
            self._write(old, replace(old, inputs=inputs, outputs=outputs, is_partial=False))
        else:
            self._write(old, replace(old, inputs=inputs))

    def _create(self, plugin: _Process, urn: str, inputs: Properties) -> None:
        try:
            id_, outputs = plugin.call(lambda: plugin.handler(urn).create(urn, _sent(inputs)))
        except PartlyDoneError as error:
            reached = _sent(error.outputs)
            self.state.append(Resource(urn, error.id, inputs, reached, is_partial=True))
            raise
        self.state.append(Resource(urn, id_, inputs, _sent(outputs)))

    def _refresh(self, plugin: _Process) -> None:
        # Those that are pending deletion as well. What was read is kept where another read fails.
        for each in list(self.state):
            self._write(each, self._read(plugin, each))

    def _read(self, plugin: _Process, old: Resource) -> Resource | None:
        inputs, outputs = _sent(old.inputs), _sent(old.outputs)
        found = plugin.call(lambda: plugin.handler(old.urn).read(old.id, inputs, outputs))
        if found is None:
            return None
        return replace(
            old,
            id=found.id,
            inputs=_sent(found.inputs),
            outputs=_sent(found.outputs),
            is_partial=False,
        )

    def _delete(self, plugin: _Process, old: Resource) -> None:
        outputs = _sent(old.outputs)
        plugin.call(lambda: plugin.handler(old.urn).delete(old.urn, old.id, outputs))
        self._write(old, None)

    def _write(self, old: Resource, new: Resource | None) -> None:
        at = next(at for at, each in enumerate(self.state) if each is old)
        self.state[at : at + 1] = [new] if new else []

    @contextmanager
    def _process(self) -> Iterator[_Process]:
        """The plugin's process of one command, which ends in order unless it is killed."""
        process = _Process(self.config)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(threading, "excepthook", process.thread_died)
            try:
                yield process
            finally:
                process.end()


def _declared_inputs(declared: Pair | Set) -> Properties:
    if isinstance(declared, Pair):
        return {"vmRef": declared.vm_ref, "backupLocationId": declared.backup_location_id}
    entries = {
        label: {"vmRef": ref, "backupLocationIds": dict(ids)}
        for label, (ref, ids) in declared.vms.items()
    }
    return {"assignments": entries, "exclusive": declared.exclusive}


def _sent(properties: Properties) -> Properties:
    """Properties as they arrive at the other side, whose maps are in the order of their keys."""
    copy: Properties = json.loads(json.dumps(properties, sort_keys=True))
    return copy


class _Process:
    """One process of the plugin."""

    def __init__(self, config: Mapping[str, str]) -> None:
        self._process = PluginProcess(arguments=[])
        self._process.configure(lambda connection: read_settings(config.get, {}, connection))
        context = self._process.on(None)
        self._handlers: dict[str, Handler] = {
            ASSIGNMENT: SingleHandler(context),
            ASSIGNMENT_SET: SetHandler(context),
        }
        self._ends: SimpleQueue[tuple[Any, BaseException | None, bool]] = SimpleQueue()

    def handler(self, urn: str) -> Handler:
        return self._handlers[urn.split("::")[2]]

    def call(self, method: Callable[[], _Answer]) -> _Answer:
        """Call a handler on a thread of its own, as gRPC does, until it returns or is killed."""

        def work() -> None:
            with suppress(Killed):  # which can come late
                try:
                    self._ends.put((method(), None, True))
                except BaseException as error:  # noqa: BLE001  # is raised by the engine
                    self._ends.put((None, error, True))

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        answer, error, is_over = self._ends.get()
        if not is_over and thread.ident is not None:
            # It may wait for the thread that died.
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(thread.ident), ctypes.py_object(Killed)
            )
        if error:
            raise error
        return answer  # type: ignore[no-any-return]

    def thread_died(self, args: threading.ExceptHookArgs) -> None:
        error = args.exc_value
        if not isinstance(error, Killed):
            threading.__excepthook__(args)
        self._ends.put((None, error, False))

    def end(self) -> None:
        """End it; of one that is killed, nothing is sent any more."""
        try:
            self._process.end()
        finally:
            transport.forget_secrets()
            session.forget_logins()
