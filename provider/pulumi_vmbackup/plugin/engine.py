"""Messages from the plugin to Pulumi's engine."""

from __future__ import annotations

import time
from contextlib import suppress

import grpc
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc

_SECONDS_BETWEEN_STATUS_MESSAGES = 0.5
_LOG_SECONDS = 5.0


class Engine:
    """The engine that started this plugin.

    Args:
        address: where it listens; None if no engine started the plugin: messages are then dropped.
    """

    def __init__(self, address: str | None) -> None:
        self._stub = None
        if address:
            # gRPC would use a proxy even for an address of this machine.
            channel = grpc.insecure_channel(address, [("grpc.enable_http_proxy", 0)])
            self._stub = engine_pb2_grpc.EngineStub(channel)
        self._status_at: dict[str, float] = {}

    def warn(self, message: str) -> None:
        """Show a warning among the diagnostics."""
        self._log(engine_pb2.WARNING, message)

    def show_status(self, urn: str, message: str, *, is_last: bool) -> None:
        """Show the progress of a resource; messages that come too soon are dropped."""
        now = time.monotonic()
        if is_last or now >= self._status_at.get(urn, 0) + _SECONDS_BETWEEN_STATUS_MESSAGES:
            self._status_at[urn] = now
            self._log(engine_pb2.INFO, message, urn=urn, ephemeral=True)

    def _log(
        self, severity: engine_pb2.LogSeverity.ValueType, message: str, **fields: object
    ) -> None:
        if self._stub:
            request = engine_pb2.LogRequest(severity=severity, message=message, **fields)  # type: ignore[arg-type]
            # A lost message is no reason to stop.
            with suppress(grpc.RpcError):
                self._stub.Log(request, timeout=_LOG_SECONDS)
