"""The real plugin `pulumi-resource-vmbackup`, spoken to over gRPC as the engine does."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import sysconfig
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import psutil
import pytest
from google.protobuf.empty_pb2 import Empty
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct
from pulumi.runtime import rpc
from pulumi.runtime.proto import (
    engine_pb2,
    engine_pb2_grpc,
    errors_pb2,  # noqa: F401  # registers its messages
    plugin_pb2,
    provider_pb2,
    provider_pb2_grpc,
    status_pb2,
)

from pulumi_vmbackup.simulator import Simulator

log = logging.getLogger(__name__)

UNKNOWN = rpc.UNKNOWN
ASSIGNMENT = "vmbackup:index:VmBackupLocationAssignment"
SET = "vmbackup:index:VmBackupLocationAssignmentSet"
COMMAND = Path(sysconfig.get_path("scripts"), "pulumi-resource-vmbackup")
Properties = dict[str, Any]


def urn(type_: str, name: str = "it") -> str:
    return f"urn:pulumi:test::backup::{type_}::{name}"


PROVIDER_URN = urn("pulumi:providers:vmbackup", "site-b")
DEFAULT_PROVIDER_URN = urn("pulumi:providers:vmbackup", "default_0_1_0")


def entry(ref: str, **locations: str) -> Properties:
    """A VM of a set, with its locations by their labels."""
    return {"vmRef": ref, "backupLocationIds": locations}


def a_set(exclusive: bool = False, /, **vms: Properties | str) -> Properties:
    """The checked inputs of a set, with its VMs by their labels."""
    return {"assignments": vms, "exclusive": exclusive}


def many_vms(simulator: Simulator, count: int) -> list[str]:
    """The refs of new VMs, which the server manages from now on."""
    refs = [str(uuid.uuid4()) for _ in range(count)]
    for number, ref in enumerate(refs):
        simulator.inventory.virtual_machines[ref] = {
            "AltaroVirtualMachineRef": ref,
            "VirtualMachineName": f"VM{number:05}",
            "HostName": "HV-09",
            "Configured": True,
        }
    return refs


def pairs(simulator: Simulator, method: str) -> list[str]:
    """The pairs, or the VMs, that the calls of a method were about."""
    return [
        call.path.partition("/vms/backuplocations/[token]/")[2].removesuffix("/1/1")
        for call in simulator.calls
        if call.method == method and "/vms/backuplocations/" in call.path
    ]


class Engine(engine_pb2_grpc.EngineServicer):
    """An engine that keeps what it is told."""

    def __init__(self) -> None:
        self.said: list[engine_pb2.LogRequest] = []

    def Log(self, request: engine_pb2.LogRequest, _context: Any) -> Empty:  # noqa: N802
        self.said.append(request)
        return Empty()

    @property
    def warnings(self) -> list[str]:
        return [each.message for each in self.said if each.severity == engine_pb2.WARNING]

    @property
    def progress(self) -> list[str]:
        return [each.message for each in self.said if each.ephemeral]

    @contextmanager
    def serve(self) -> Iterator[str]:
        """Listen; the address."""
        server = grpc.server(ThreadPoolExecutor(4))
        engine_pb2_grpc.add_EngineServicer_to_server(self, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(0).wait()


class Difference(NamedTuple):
    """What Diff answers, with the kinds of changes by their paths."""

    changes: bool
    paths: dict[str, str]
    replaces: list[str]
    diffs: list[str]


class Failed(NamedTuple):
    """What a call failed with, and the state that was reached if it was reached in part."""

    says: str
    code: grpc.StatusCode
    id: str | None = None
    state: Properties | None = None


class Plugin:
    """A running plugin."""

    def __init__(self, *arguments: str, **environment: str) -> None:
        self._errors = ""
        self.process = subprocess.Popen(
            [COMMAND, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **environment},
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
        assert self.process.stdout
        port = self.process.stdout.readline().decode().strip()
        if not port:
            errors = self.ended()
            pytest.fail(f"The plugin ended with {self.process.returncode}: {errors}")
        self._channel = grpc.insecure_channel(
            f"127.0.0.1:{port}",
            [
                ("grpc.max_receive_message_length", -1),
                # As the engine's own client takes them.
                ("grpc.max_metadata_size", 2**24),
                ("grpc.absolute_max_metadata_size", 2**24),
            ],
        )
        self.stub = provider_pb2_grpc.ResourceProviderStub(self._channel)

    def check_config(
        self, news: Properties, urn: str = PROVIDER_URN
    ) -> tuple[Properties, dict[str, str]]:
        """The checked inputs, and the failures' reasons by property."""
        return _checked(self.stub.CheckConfig(_check(urn, news)))

    def configure(self, settings: Properties, urn: str = PROVIDER_URN) -> Any:
        request = provider_pb2.ConfigureRequest(urn=urn, args=struct(settings), acceptSecrets=True)
        return self.stub.Configure(request)

    def diff_config(self, olds: Properties, news: Properties, urn: str = PROVIDER_URN) -> Any:
        return self.stub.DiffConfig(
            provider_pb2.DiffRequest(urn=urn, olds=struct(olds), news=struct(news))
        )

    def attach(self, address: str) -> None:
        self.stub.Attach(plugin_pb2.PluginAttach(address=address))

    def check(self, urn: str, news: Properties) -> tuple[Properties, dict[str, str]]:
        """The checked inputs, and the failures' reasons by property."""
        return _checked(self.stub.Check(_check(urn, news)))

    def diff(self, urn: str, olds: Properties, news: Properties) -> Difference:
        answer = self.stub.Diff(
            provider_pb2.DiffRequest(id="x", urn=urn, olds=struct(olds), news=struct(news))
        )
        assert answer.hasDetailedDiff
        assert not any(each.inputDiff for each in answer.detailedDiff.values())
        return Difference(
            answer.changes == answer.DIFF_SOME,
            {
                path: provider_pb2.PropertyDiff.Kind.Name(each.kind).lower()
                for path, each in answer.detailedDiff.items()
            },
            list(answer.replaces),
            list(answer.diffs),
        )

    def create(
        self, urn: str, inputs: Properties, *, preview: bool = False
    ) -> tuple[str, Properties]:
        answer = self.stub.Create(
            provider_pb2.CreateRequest(urn=urn, properties=struct(inputs), preview=preview)
        )
        return answer.id, MessageToDict(answer.properties)

    def read(
        self, urn: str, id_: str, state: Properties | None = None, inputs: Properties | None = None
    ) -> tuple[str, Properties, Properties]:
        """The id, the inputs and the outputs."""
        answer = self.stub.Read(
            provider_pb2.ReadRequest(
                id=id_, urn=urn, properties=struct(state or {}), inputs=struct(inputs or {})
            )
        )
        return answer.id, MessageToDict(answer.inputs), MessageToDict(answer.properties)

    def update(
        self, urn: str, olds: Properties, news: Properties, *, preview: bool = False
    ) -> Properties:
        answer = self.stub.Update(
            provider_pb2.UpdateRequest(
                id="it", urn=urn, olds=struct(olds), news=struct(news), preview=preview
            )
        )
        return MessageToDict(answer.properties)

    def delete(self, urn: str, id_: str, state: Properties) -> None:
        self.stub.Delete(provider_pb2.DeleteRequest(id=id_, urn=urn, properties=struct(state)))

    def invoke(self, name: str, /, *, preview: bool = False, **arguments: object) -> Properties:
        answer = self.stub.Invoke(
            provider_pb2.InvokeRequest(
                tok=f"vmbackup:index:{name}", args=struct(arguments), preview=preview
            )
        )
        values = MessageToDict(answer)
        assert not values.get("failures")
        returned: Properties = values["return"]
        return returned

    def cancel(self) -> None:
        self.stub.Cancel(Empty())

    def end(self, signal_: int | None = None) -> str:
        """End it as the engine does, or with another signal; what it printed as errors."""
        if self.process.poll() is None:
            self._channel.close()
            if sys.platform == "win32":
                self.process.send_signal(signal.CTRL_BREAK_EVENT)
            else:
                self.process.send_signal(signal_ or signal.SIGINT)
        return self.ended()

    def cpu_seconds(self) -> float:
        """How long it has worked; on Windows the command starts Python as a process of its own."""
        process = psutil.Process(self.process.pid)
        times = [each.cpu_times() for each in (process, *process.children())]
        return sum(each.user + each.system for each in times)

    def ended(self, seconds: float = 60) -> str:
        """Wait until it has ended; what it printed as errors."""
        try:
            self._errors += self.process.communicate(timeout=seconds)[1].decode()
        except ValueError:  # it was waited for before
            pass
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError("The plugin does not end.") from None
        log.debug("%s", self._errors)
        return self._errors


def failure_of(call: Callable[[], object]) -> Failed:
    """What a call fails with."""
    with pytest.raises(grpc.RpcError) as raised:
        call()
    metadata = {each.key: each.value for each in raised.value.trailing_metadata() or ()}
    details, says = metadata.get("grpc-status-details-bin"), str(raised.value.details())
    log.debug("%s", says)
    if not details:
        return Failed(says, raised.value.code())
    status = status_pb2.Status.FromString(bytes(details))
    assert (status.code, status.message) == (raised.value.code().value[0], says)
    reached = provider_pb2.ErrorResourceInitFailed()
    assert status.details[0].Unpack(reached)
    assert list(reached.reasons) == [says]
    return Failed(says, raised.value.code(), reached.id, MessageToDict(reached.properties))


def struct(values: Mapping[str, Any]) -> Struct:
    struct = Struct()
    struct.update(values)
    return struct


def secret(value: str) -> Properties:
    """A value as the protocol marks secrets."""
    return {rpc._special_sig_key: rpc._special_secret_sig, "value": value}


def _check(urn: str, news: Properties) -> provider_pb2.CheckRequest:
    return provider_pb2.CheckRequest(urn=urn, olds=Struct(), news=struct(news))


def _checked(answer: provider_pb2.CheckResponse) -> tuple[Properties, dict[str, str]]:
    failures = {failure.property: failure.reason for failure in answer.failures}
    assert len(failures) == len(answer.failures)
    return MessageToDict(answer.inputs), failures


def stack_configuration(settings: Mapping[str, object]) -> str:
    """What the engine puts into PULUMI_CONFIG: a text for each setting."""
    return json.dumps({key: str(value) for key, value in settings.items()})
