"""The real provider host of Pulumi's Python SDK, spoken to over gRPC as the engine does."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import grpc
from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct
from pulumi.dynamic.dynamic import serialize_provider
from pulumi.runtime import rpc
from pulumi.runtime.proto import provider_pb2, provider_pb2_grpc

from pulumi_vmbackup.assignment import VmBackupLocationAssignmentProvider

log = logging.getLogger(__name__)

UNKNOWN = rpc.UNKNOWN
TYPE = "pulumi-python:dynamic/vmbackup:VmBackupLocationAssignment"
URN = f"urn:pulumi:test::backup::{TYPE}::sql01-offsite"
PROVIDER = serialize_provider(VmBackupLocationAssignmentProvider())


class Host:
    """A running `python -m pulumi.dynamic`, which knows no setting until `configure`."""

    def __init__(self, engine: str) -> None:
        self._errors = ""
        self._process = subprocess.Popen(
            [sys.executable, "-u", "-m", "pulumi.dynamic", engine],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PULUMI_PROJECT": "backup"},
            creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
        assert self._process.stdout
        port = int(self._process.stdout.readline())
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self._stub = provider_pb2_grpc.ResourceProviderStub(self._channel)

    def configure(self, **settings: str) -> None:
        arguments = {f"vmbackup:{key}": text for key, text in settings.items()}
        self._stub.Configure(provider_pb2.ConfigureRequest(args=_struct(arguments)))

    def check(self, **news: object) -> tuple[dict[str, Any], dict[str, str]]:
        """The checked inputs, and the failures' reasons by property."""
        answer = self._stub.Check(
            provider_pb2.CheckRequest(urn=URN, olds=_struct({}), news=_properties(news))
        )
        failures = {failure.property: failure.reason for failure in answer.failures}
        return _without_provider(answer.inputs), failures

    def diff(self, olds: Mapping[str, object], news: Mapping[str, object]) -> Any:
        return self._stub.Diff(
            provider_pb2.DiffRequest(
                id="x", urn=URN, olds=_properties(olds), news=_properties(news)
            )
        )

    def create(self, **properties: object) -> tuple[str, dict[str, Any]]:
        request = provider_pb2.CreateRequest(urn=URN, properties=_properties(properties))
        answer = self._stub.Create(request)
        return answer.id, _without_provider(answer.properties)

    def read(self, id_: str, **properties: object) -> Any:
        return self._stub.Read(
            provider_pb2.ReadRequest(id=id_, urn=URN, properties=_properties(properties))
        )

    def update(
        self, id_: str, olds: Mapping[str, object], news: Mapping[str, object]
    ) -> dict[str, Any]:
        answer = self._stub.Update(
            provider_pb2.UpdateRequest(
                id=id_, urn=URN, olds=_properties(olds), news=_properties(news)
            )
        )
        return _without_provider(answer.properties)

    def delete(self, id_: str, **properties: object) -> None:
        self._stub.Delete(
            provider_pb2.DeleteRequest(id=id_, urn=URN, properties=_properties(properties))
        )

    def stop(self) -> str:
        """End it as the engine does; what it printed to its error output."""
        if self._process.poll() is None:
            self._channel.close()
            for _ in range(10):
                if sys.platform == "win32":
                    self._process.send_signal(signal.CTRL_BREAK_EVENT)
                else:
                    self._process.send_signal(signal.SIGINT)
                with suppress(subprocess.TimeoutExpired):
                    self._errors = self._process.communicate(timeout=2)[1].decode()
                    log.debug("%s", self._errors)
                    break
                # Python can miss a signal that comes just before it begins to wait.
            else:
                self._process.kill()
                raise AssertionError("The provider host does not end.")
        return self._errors


def _struct(values: Mapping[str, Any]) -> Struct:
    struct = Struct()
    struct.update(values)
    return struct


def _properties(values: Mapping[str, object]) -> Struct:
    return _struct({**values, "__provider": PROVIDER})


def _without_provider(struct: Struct) -> dict[str, Any]:
    values: dict[str, Any] = MessageToDict(struct)
    assert values.pop("__provider") == PROVIDER
    return values
