"""A small model of Pulumi's engine: how it calls the handlers, and when it writes the state.

As Pulumi 3.259 does it, one step after the other. Left out: parallel steps, previews, aliases and
dependencies, and the program itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import pytest
import requests
from pulumi.dynamic import Config, ConfigureRequest, ReadResult

from pulumi_vmbackup import VmBackupError, assignment, session, transport
from pulumi_vmbackup.assignment import VmBackupLocationAssignmentProvider


class Pair(NamedTuple):
    vm_ref: str
    backup_location_id: str


Program = Mapping[str, Pair]
"""The pair of each resource that a program declares, by the resource's name."""


@dataclass(frozen=True)
class Resource:
    """What the state holds of a resource.

    Attributes:
        pending_deletion: whether it was replaced and is still to be deleted.
    """

    name: str
    id: str
    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    pending_deletion: bool = False

    @property
    def pair(self) -> Pair:
        return Pair(*self.id.split("/"))


@dataclass
class Step:
    """One call of a handler that talks to the server.

    Attributes:
        is_done: whether the handler returned.
        calls: how many HTTP exchanges it took.
    """

    handler: str
    pair: Pair
    is_done: bool = False
    calls: int = 0


@dataclass
class Engine:
    """One stack.

    Attributes:
        config: the stack configuration, without the package's prefix.
        count_calls: tells how many HTTP exchanges there were so far.
        goes_on: whether the others are tried after one that failed, as where they are parallel.
        state: what the state file holds.
        steps: those of the last run, oldest first.
    """

    config: Mapping[str, str]
    count_calls: Callable[[], int]
    goes_on: bool = False
    state: list[Resource] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    _failure: VmBackupError | None = field(default=None, init=False)

    def up(self, program: Program, *, refresh: bool = False) -> None:
        """Make the state and the server what the program declares.

        Args:
            program: what it declares.
            refresh: whether the state is refreshed before, in the same process.
        """
        with self._process() as provider:
            if refresh:
                self._refresh(provider)
            for name, pair in program.items():
                with self._held_back():
                    self._register(provider, name, pair)
            self._raise_failure()
            # Only a run without any failure comes to its deletes.
            for each in reversed(list(self.state)):
                if each.pending_deletion or each.name not in program:
                    self._delete(provider, each)

    def refresh(self) -> None:
        """Make the state what the server says."""
        with self._process() as provider:
            self._refresh(provider)

    def destroy(self) -> None:
        """Delete all that the state holds; the program is not run, so nothing is checked."""
        with self._process() as provider:
            for each in reversed(list(self.state)):
                with self._held_back():
                    self._delete(provider, each)
            self._raise_failure()

    def _register(
        self, provider: VmBackupLocationAssignmentProvider, name: str, pair: Pair
    ) -> None:
        old = next(
            (each for each in self.state if each.name == name and not each.pending_deletion), None
        )
        checked = provider.check(dict(old.inputs) if old else {}, {**pair._asdict()})
        assert not checked.failures
        inputs = _sent(checked.inputs)
        if old is None:
            self.state.append(self._create(provider, name, inputs))
            return
        diff = provider.diff(old.id, dict(old.outputs), dict(inputs))
        assert not diff.delete_before_replace
        if diff.replaces:
            new = self._create(provider, name, inputs)
            self._write(old, replace(old, pending_deletion=True))
            self.state.append(new)
        elif diff.changes:
            updated = provider.update(old.id, dict(old.outputs), dict(inputs))
            self._write(old, replace(old, inputs=inputs, outputs=_sent(updated.outs)))
        else:
            self._write(old, replace(old, inputs=inputs))

    def _create(
        self, provider: VmBackupLocationAssignmentProvider, name: str, inputs: Mapping[str, Any]
    ) -> Resource:
        with self._step("create", Pair(inputs["vm_ref"], inputs["backup_location_id"])):
            made = provider.create(dict(inputs))
        return Resource(name, made.id, inputs, _sent(made.outs))

    def _refresh(self, provider: VmBackupLocationAssignmentProvider) -> None:
        # Those that are pending deletion as well. What was read is kept where another read fails.
        for each in list(self.state):
            with self._held_back(), self._step("read", each.pair):
                read = provider.read(each.id, dict(each.outputs))
                self._write(each, _read(each, read))
        self._raise_failure()

    def _delete(self, provider: VmBackupLocationAssignmentProvider, old: Resource) -> None:
        with self._step("delete", old.pair):
            provider.delete(old.id, dict(old.outputs))
        self._write(old, None)

    def _write(self, old: Resource, new: Resource | None) -> None:
        at = next(at for at, each in enumerate(self.state) if each is old)
        self.state[at : at + 1] = [new] if new else []

    @contextmanager
    def _held_back(self) -> Iterator[None]:
        """Raise an error only after the others were tried, where that is wanted."""
        try:
            yield
        except VmBackupError as error:
            if not self.goes_on:
                raise
            self._failure = error

    def _raise_failure(self) -> None:
        if self._failure:
            raise self._failure

    @contextmanager
    def _step(self, handler: str, pair: Pair) -> Iterator[None]:
        step = Step(handler, pair)
        self.steps.append(step)
        calls_before = self.count_calls()
        try:
            yield
            step.is_done = True
        finally:
            step.calls = self.count_calls() - calls_before

    @contextmanager
    def _process(self) -> Iterator[VmBackupLocationAssignmentProvider]:
        """The provider host of one command, which Pulumi ends in order also after a failure."""
        self.steps, self._failure = [], None
        provider = VmBackupLocationAssignmentProvider()
        config = {f"vmbackup:{key}": text for key, text in self.config.items()}
        provider.configure(ConfigureRequest(Config(config, "backup")))
        try:
            yield provider
        finally:
            try:
                assignment.process.end()  # of one that is killed, nothing is sent any more
            finally:
                transport.forget_secrets()
                session.forget_logins()


def _read(old: Resource, read: ReadResult) -> Resource | None:
    """A resource after a refresh; None if it is gone."""
    if not read.id:
        return None
    inputs = _sent(read.inputs) if read.inputs is not None else old.inputs
    return replace(old, id=read.id, inputs=inputs, outputs=_sent(read.outs))


def _sent(properties: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Properties as they arrive at the other side, where None is the same as nothing."""
    return {key: value for key, value in (properties or {}).items() if value is not None}


class Killed(BaseException):  # nothing of the package may take it for an error
    """The process is no more: nothing in it goes on."""


@dataclass
class Kill:
    """Kills the process at one of its HTTP exchanges.

    Attributes:
        skip: how many exchanges go well before.
        acted: whether the request still reaches the server, and is answered.
        hits: 1 after the process was killed.
    """

    skip: int
    acted: bool
    hits: int = field(default=0, init=False)

    @contextmanager
    def armed(self) -> Iterator[Kill]:
        """Kill within this block; below the package, in what sends its requests."""
        send = requests.adapters.HTTPAdapter.send

        def send_or_die(
            adapter: requests.adapters.HTTPAdapter, *args: Any, **kwargs: Any
        ) -> requests.Response:
            if self.hits:
                raise Killed  # nothing leaves a dead process
            if self.skip:
                self.skip -= 1
                return send(adapter, *args, **kwargs)
            self.hits = 1
            if self.acted:
                send(adapter, *args, **kwargs).close()
            raise Killed

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(requests.adapters.HTTPAdapter, "send", send_or_die)
            yield self


@dataclass
class NotSent:
    """HTTP exchanges for which no connection can be made.

    Attributes:
        skip: how many exchanges go well before.
        times: how many fail then; None for all.
        hits: how many have failed so far.
    """

    skip: int
    times: int | None
    hits: int = field(default=0, init=False)

    @contextmanager
    def armed(self) -> Iterator[None]:
        """Fail within this block; below the package, in what sends its requests."""
        send = requests.adapters.HTTPAdapter.send

        def send_or_fail(
            adapter: requests.adapters.HTTPAdapter, *args: Any, **kwargs: Any
        ) -> requests.Response:
            if self.skip:
                self.skip -= 1
            elif self.times is None or self.hits < self.times:
                self.hits += 1
                raise requests.ConnectTimeout
            return send(adapter, *args, **kwargs)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(requests.adapters.HTTPAdapter, "send", send_or_fail)
            yield
