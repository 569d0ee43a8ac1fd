"""``pulumi-resource-vmbackup``: the plugin that Pulumi's engine starts and speaks gRPC with.

It implements the protocol's own servicer, not a provider of ``pulumi.provider.experimental``: that
one puts a traceback into each error, cannot report the state that a partly failed create reached,
and is async, which the client is not. The protocol is stable, because all providers use it.
"""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import wraps
from types import NoneType
from typing import Any, TypeVar

import grpc
from google.protobuf import json_format, struct_pb2
from google.protobuf.empty_pb2 import Empty
from pulumi.runtime import rpc
from pulumi.runtime.proto import (
    errors_pb2,  # noqa: F401  # registers its messages
    plugin_pb2,
    provider_pb2,
    provider_pb2_grpc,
    status_pb2,
)

from ..errors import ArgumentError, SettingsError, VmBackupError
from ..models import is_guid, shown
from ..session import end_process, forget_logins
from ..settings import (
    ADDRESS_SETTINGS,
    SECRET_SETTINGS,
    SETTINGS,
    Settings,
    did_you_mean,
    is_misspelt,
    provider_server,
    read_provider_settings,
    read_settings,
)
from ..states import HOW_TO_CORRECT, connection_is_needed
from ..streams import print_any_text
from . import functions
from .context import PluginProcess
from .handler import Failure, Handler, PartlyDoneError, Properties, input_text, is_unknown
from .schema import (
    ASSIGNMENT,
    ASSIGNMENT_SET,
    EXPLICIT,
    PACKAGE,
    VERSION,
    is_explicit_provider,
    schema,
)
from .set_handler import SetHandler
from .single_handler import SingleHandler
from .wording import HINTS, worded

_Method = TypeVar("_Method", bound=Callable[..., Any])

# More than the calls that Pulumi may make at a time (--parallel): if all threads wait, Cancel waits
# too. A thread is started when it is needed. Calls beyond vmbackup:parallelRequests wait.
_THREADS = 1000
# How often the plugin checks whether its engine was killed.
_POLL_SECONDS = 2.0
_END_SECONDS = 4.5
_CHANGES = {
    "add": provider_pb2.PropertyDiff.ADD,
    "delete": provider_pb2.PropertyDiff.DELETE,
    "update": provider_pb2.PropertyDiff.UPDATE,
}
_REPLACING = {
    "add": provider_pb2.PropertyDiff.ADD_REPLACE,
    "delete": provider_pb2.PropertyDiff.DELETE_REPLACE,
    "update": provider_pb2.PropertyDiff.UPDATE_REPLACE,
}


_HANDLERS: dict[str, type[Handler]] = {ASSIGNMENT: SingleHandler, ASSIGNMENT_SET: SetHandler}


def _says_a_sentence(method: _Method) -> _Method:
    """Answer this package's errors with their message, and others with a redacted traceback."""

    @wraps(method)
    def wrapper(self: Any, request: Any, context: grpc.ServicerContext) -> Any:
        code, details = grpc.StatusCode.UNKNOWN, b""
        try:
            return method(self, request, context)
        except VmBackupError as error:
            handler = _HANDLERS.get(_type(getattr(request, "urn", "")))
            says = worded(error, handler.hints if handler else HINTS)
        except PartlyDoneError as error:
            says, details = str(error), _reached_state(error)
        except Exception:  # noqa: BLE001  # a defect: a user can report the traceback
            from ..transport import redact

            code, says = grpc.StatusCode.INTERNAL, redact(traceback.format_exc())
        if details:
            context.set_trailing_metadata((("grpc-status-details-bin", details),))
        return context.abort(code, says)

    return wrapper  # type: ignore[return-value]  # same signature as the method


def _reached_state(error: PartlyDoneError) -> bytes:
    reached = provider_pb2.ErrorResourceInitFailed(
        id=error.id, properties=_struct(error.outputs), reasons=[str(error)]
    )
    status = status_pb2.Status(code=grpc.StatusCode.UNKNOWN.value[0], message=str(error))
    status.details.add().Pack(reached)
    return status.SerializeToString()


# The protocol sets the names of the methods.
# ruff: noqa: N802
class Plugin(provider_pb2_grpc.ResourceProviderServicer):
    """Answers the engine: finds the handler, and translates between its values and the protocol's.

    Args:
        process: the state that the handlers share.
    """

    def __init__(self, process: PluginProcess) -> None:
        self._serve(process)

    def _serve(self, process: PluginProcess) -> None:
        self._process = process
        self._provider_urn: str | None = None
        self._is_explicit = False
        self._is_attached = False

    def is_over(self) -> bool:
        """Whether the engine is gone, for example because it was killed."""
        return self._process.run.is_over()

    def stop(self) -> None:
        """Begin nothing new."""
        self._process.cancel()

    def begin_run(self, *arguments: str) -> None:
        """Forget the run that is over; ``arguments`` are those of a process of the next one."""
        self.stop()
        self._process.end()
        forget_logins()  # a password that was refused may be right by now
        self._serve(PluginProcess(arguments))

    def GetPluginInfo(self, _request: Empty, _context: Any) -> plugin_pb2.PluginInfo:
        return plugin_pb2.PluginInfo(version=VERSION)

    def GetSchema(self, _request: Any, _context: Any) -> provider_pb2.GetSchemaResponse:
        return provider_pb2.GetSchemaResponse(schema=schema())

    # Only a process that a person started is attached, once for each provider of a run.

    def Handshake(self, _request: Any, context: grpc.ServicerContext) -> Any:
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "The engine attaches this plugin instead.")

    def Attach(self, request: plugin_pb2.PluginAttach, _context: Any) -> Empty:
        is_same_run = request.address == self._process.run.engine_address
        if not is_same_run or self._process.is_cancelled.is_set():
            self.begin_run(request.address)
        self._is_attached = True
        return Empty()

    def Cancel(self, _request: Empty, _context: Any) -> Empty:
        self.stop()
        return Empty()

    # The provider resource

    @_says_a_sentence
    def CheckConfig(
        self, request: provider_pb2.CheckRequest, _context: Any
    ) -> provider_pb2.CheckResponse:
        news = _values(request.news)
        is_explicit = _is_explicit(request.urn, news)
        if not is_explicit and not _is_the_configuration(news):
            is_explicit = news[EXPLICIT] = True
        failures = [
            provider_pb2.CheckFailure(
                property=key,
                reason=f"{key!r} is not a setting of vmbackup: use {did_you_mean(key, SETTINGS)}.",
            )
            for key in news
            if not _is_allowed(key, request.urn, is_explicit=is_explicit)
        ]
        if not failures and not any(map(is_unknown, news.values())):
            try:
                _settings(request.urn, news)
            except SettingsError as error:
                failures.append(provider_pb2.CheckFailure(reason=worded(error)))
        inputs = _struct(news)
        for key in SECRET_SETTINGS:
            if news.get(key):
                secret = {rpc._special_sig_key: rpc._special_secret_sig, "value": news[key]}
                inputs.update({key: secret})
        return provider_pb2.CheckResponse(inputs=inputs, failures=failures)

    @_says_a_sentence
    def DiffConfig(
        self, request: provider_pb2.DiffRequest, _context: Any
    ) -> provider_pb2.DiffResponse:
        olds, news = _values(request.olds), _values(request.news)
        keys = [
            key for key in {**olds, **news} if olds.get(key) != news.get(key) and key != EXPLICIT
        ]
        # Once this provider is configured, the engine asks about a resource that moves here from
        # the provider of the old inputs. A resource belongs to a server: if that was another one,
        # the resource is replaced. The default provider of another version is no other provider.
        is_upgraded = olds.get("version") != news.get("version") and not (
            EXPLICIT in olds or _is_explicit(request.urn, news)
        )
        is_moved = self._provider_urn and not is_upgraded and _is_other_server(olds, news)
        return provider_pb2.DiffResponse(
            changes=provider_pb2.DiffResponse.DIFF_SOME
            if keys
            else provider_pb2.DiffResponse.DIFF_NONE,
            diffs=keys,
            replaces=["baseUrl"] if is_moved else [],
        )

    @_says_a_sentence
    def Configure(
        self, request: provider_pb2.ConfigureRequest, _context: Any
    ) -> provider_pb2.ConfigureResponse:
        given, urn = _values(request.args), request.urn
        if self._is_attached and self._provider_urn not in (None, urn):
            raise SettingsError(
                "A plugin that was started by hand serves one provider, and the program has "
                f"{_name(str(self._provider_urn))!r} and {_name(urn)!r}: run it without "
                "PULUMI_DEBUG_PROVIDERS, or remove one of the providers."
            )
        self._provider_urn, self._is_explicit = urn, _is_explicit(urn, given)
        # Read on first use: a preview needs none.
        self._process.configure(lambda connection: _settings(urn, given, connection))
        return provider_pb2.ConfigureResponse(supportsPreview=True)

    # Resources

    @_says_a_sentence
    def Check(
        self, request: provider_pb2.CheckRequest, _context: Any
    ) -> provider_pb2.CheckResponse:
        connection, news = _parted(_values(request.news))
        failure = self._unusable(connection)
        if failure:
            inputs, failures = news, [failure]
        else:
            inputs, failures = self._handler(request.urn, connection).check(request.urn, news)
        return provider_pb2.CheckResponse(
            inputs=_struct(_with(connection, inputs)),
            failures=[
                provider_pb2.CheckFailure(property=path, reason=reason) for path, reason in failures
            ],
        )

    @_says_a_sentence
    def Diff(self, request: provider_pb2.DiffRequest, _context: Any) -> provider_pb2.DiffResponse:
        was, olds = _state(request.olds)
        connection, news = _parted(_values(request.news))
        difference = self._handler(request.urn, connection).diff(olds, news)
        if connection != was:
            difference.paths["connection"] = "update"
            if self._leads_elsewhere(was, connection):
                difference.replaces.append("connection")
        kinds = _REPLACING if difference.replaces else _CHANGES
        return provider_pb2.DiffResponse(
            changes=provider_pb2.DiffResponse.DIFF_SOME
            if difference.paths
            else provider_pb2.DiffResponse.DIFF_NONE,
            replaces=difference.replaces,
            diffs=sorted({re.split(r"[.\[]", path)[0] for path in difference.paths}),
            detailedDiff={
                path: provider_pb2.PropertyDiff(kind=kinds[change])
                for path, change in difference.paths.items()
            },
            hasDetailedDiff=True,
        )

    @_says_a_sentence
    def Create(
        self, request: provider_pb2.CreateRequest, _context: Any
    ) -> provider_pb2.CreateResponse:
        connection, news = _parted(_values(request.properties))
        handler = self._handler(request.urn, connection)
        if request.preview:
            outputs = handler.preview(request.urn, None, news)
            return provider_pb2.CreateResponse(properties=_struct(_with(connection, outputs)))
        with _in_state(connection):
            id_, outputs = handler.create(request.urn, news)
        return provider_pb2.CreateResponse(id=id_, properties=_struct(_with(connection, outputs)))

    @_says_a_sentence
    def Read(self, request: provider_pb2.ReadRequest, _context: Any) -> provider_pb2.ReadResponse:
        connection, olds = _state(request.properties)
        _, inputs = _parted(_values(request.inputs))
        id_ = request.id
        if not olds:
            imported, id_ = _imported(request.urn, id_)
            if imported and connection not in (imported, None):
                raise ArgumentError(
                    f"The id {request.id!r} has the connection {imported!r}, and the state has "
                    f"{connection!r}: leave out one of the two."
                )
            connection = imported or connection
        with self._keeping(connection if olds else None):
            found = self._handler(request.urn, connection).read(id_, inputs, olds)
        if found is None:
            return provider_pb2.ReadResponse()
        return provider_pb2.ReadResponse(
            id=found.id,
            inputs=_struct(_with(connection, found.inputs)),
            properties=_struct(_with(connection, found.outputs)),
        )

    @_says_a_sentence
    def Update(
        self, request: provider_pb2.UpdateRequest, _context: Any
    ) -> provider_pb2.UpdateResponse:
        _, olds = _state(request.olds)
        connection, news = _parted(_values(request.news))
        handler = self._handler(request.urn, connection)
        if request.preview:
            outputs = handler.preview(request.urn, olds, news)
        else:
            with _in_state(connection):
                outputs = handler.update(request.urn, request.id, olds, news)
        return provider_pb2.UpdateResponse(properties=_struct(_with(connection, outputs)))

    @_says_a_sentence
    def Delete(self, request: provider_pb2.DeleteRequest, _context: Any) -> Empty:
        connection, olds = _state(request.properties)
        with self._keeping(connection):
            self._handler(request.urn, connection).delete(request.urn, request.id, olds)
        return Empty()

    # Functions

    @_says_a_sentence
    def Invoke(
        self, request: provider_pb2.InvokeRequest, _context: Any
    ) -> provider_pb2.InvokeResponse:
        connection, arguments = _parted(_values(request.args))
        name = request.tok.rpartition(":")[2]
        if failure := self._unusable(connection):
            raise ArgumentError(f"connection of {name}: {failure.reason}")
        catalog = self._process.on(connection).catalog(may_read_snapshot=request.preview)
        answer = functions.call(name, arguments, catalog)
        return provider_pb2.InvokeResponse(**{"return": _struct(answer)})  # type: ignore[arg-type]

    def _handler(self, urn: str, connection: str | None) -> Handler:
        type_ = _type(urn)
        if type_ not in _HANDLERS:
            raise VmBackupError(
                f"The package {PACKAGE} has no resource {type_!r}: use "
                f"{did_you_mean(type_, _HANDLERS)}."
            )
        return _HANDLERS[type_](self._process.on(connection))

    def _unusable(self, connection: Any) -> Failure | None:
        """Why a program cannot use a connection; None if it can."""
        if connection is None:
            return None
        if is_unknown(connection):
            reason = "connection is not known yet: give its name as plain text."
        elif not isinstance(connection, str):
            reason = f"connection is {shown(connection)}: give its name as text."
        elif self._is_explicit:
            reason = (
                f"The provider {_name(str(self._provider_urn))!r} has the settings of one server, "
                f"and the connection {connection!r} those of another one: leave out one of the two."
            )
        else:
            try:
                _ = self._process.on(connection).settings
            except SettingsError as error:
                reason = worded(error)
            else:
                return None
        return Failure("connection", reason)

    def _leads_elsewhere(self, was: str | None, connection: str | None) -> bool:
        """Whether a resource of a state that changes its connection moves to another server."""
        with self._keeping(was):
            old, new = (self._process.on(each).settings.server for each in (was, connection))
        return old != new

    @contextmanager
    def _keeping(self, connection: str | None) -> Iterator[None]:
        """Say of an error that the state needs a connection which the configuration lacks."""
        try:
            yield
        except SettingsError as error:
            if connection is None or self._process.on(connection).server:
                raise
            raise error.reworded(connection_is_needed(error, connection)) from None


def _type(urn: str) -> str:
    """The type of a resource; empty if there is no URN, as for a function."""
    parts = urn.split("::")
    return parts[2].rpartition("$")[2] if len(parts) > 2 else ""


# The connection of a resource


def _parted(properties: Properties) -> tuple[Any, Properties]:
    """The connection, and the other properties, which are the handler's."""
    others = dict(properties)
    return others.pop("connection", None), others


def _with(connection: str | None, properties: Properties) -> Properties:
    return properties if connection is None else {**properties, "connection": connection}


def _state(struct: struct_pb2.Struct) -> tuple[str | None, Properties]:
    """The connection and the other properties of a state.

    Raises:
        ArgumentError: somebody has edited the state, and the connection is no text.
    """
    connection, others = _parted(_values(struct))
    if not isinstance(connection, (str, NoneType)):
        raise ArgumentError(
            f"The property connection of the state is {shown(connection)}, and not text. "
            f"{HOW_TO_CORRECT}"
        )
    return connection, others


@contextmanager
def _in_state(connection: str | None) -> Iterator[None]:
    """Keep the connection in the state of what was done in part."""
    try:
        yield
    except PartlyDoneError as error:
        error.outputs = _with(connection, error.outputs)
        raise


def _imported(urn: str, id_: str) -> tuple[str | None, str]:
    """The connection and the rest of an id to import, which may begin with ``<connection>/``."""
    slashes = 1 if _type(urn) == ASSIGNMENT else 0
    connection, *own = id_.rsplit("/", slashes + 1)
    refs = (each.strip() for part in own for each in part.split(","))
    if len(own) <= slashes or not all(map(is_guid, refs)):
        return None, id_
    return connection, "/".join(own)


# The settings


def _settings(urn: str, given: Properties, connection: str | None = None) -> Settings:
    """The settings of a provider: its inputs, else the stack configuration, else the environment.

    With a connection, those of the connection: a resource may come from there to a provider.

    The inputs of Pulumi's default provider are the stack configuration of the last `pulumi up`, so
    the present configuration wins over them.

    Raises:
        SettingsError: a value is unusable, or is not known yet, or there is no such connection.
    """
    for key, value in given.items():
        if is_unknown(value):
            raise SettingsError(f"The provider's input {key} is not known yet.")
    inputs = _texts(given)
    configuration = _configuration()
    if connection is None and _is_explicit(urn, given):
        get = (configuration or {}).get
        return read_provider_settings(get, os.environ, _name(urn), inputs)
    given = inputs if configuration is None else configuration
    return read_settings(given.get, os.environ, connection)


def _configuration() -> Properties | None:
    """This package's part of the stack configuration, decrypted; None if the engine gave none."""
    text = os.environ.get("PULUMI_CONFIG")
    return dict(json.loads(text)) if text else None


# The default provider of Pulumi has no inputs but the configuration. A resource of the program may
# have the same name. So what CheckConfig finds out is kept among the inputs, as EXPLICIT.
# What Pulumi itself adds to the inputs.
_OF_PULUMI = ("version", "pluginDownloadURL")


def _is_explicit(urn: str, inputs: Properties) -> bool:
    return is_explicit_provider(_name(urn), inputs)


def _is_other_server(olds: Properties, news: Properties) -> bool:
    """Whether providers with these inputs lead to different servers, as far as that is known."""
    if any(is_unknown(each.get(key)) for each in (olds, news) for key in ADDRESS_SETTINGS):
        return False
    get = (_configuration() or {}).get
    old, new = (provider_server(get, os.environ, _texts(each)) for each in (olds, news))
    return old != new


def _is_allowed(key: str, urn: str, *, is_explicit: bool) -> bool:
    """Whether a provider may have a setting of this name."""
    # `connections` is for the dynamic provider and is in the same stack configuration.
    if key in (*SETTINGS, *_OF_PULUMI, EXPLICIT, "connections"):
        return True
    # A project of this name keeps its own configuration there too.
    is_of_project = not is_explicit and urn.split("::")[1] == PACKAGE
    return is_of_project and not is_misspelt(key, SETTINGS)


def _is_the_configuration(inputs: Properties) -> bool:
    """Whether inputs are exactly this package's part of the stack configuration.

    True as well if that is not known: a plugin that a person started is not told.
    """
    configuration = _configuration()
    if configuration is None:
        return True
    given, configured = (
        {key: text for key, text in _texts(each).items() if key not in _OF_PULUMI}
        for each in (inputs, configuration)
    )
    return given == configured


def _name(urn: str) -> str:
    """The name of a resource; it may hold colons."""
    return urn.split("::", 3)[-1]


def _texts(inputs: Properties) -> dict[str, str]:
    return {key: input_text(value) for key, value in inputs.items() if value not in (None, "")}


def _values(struct: struct_pb2.Struct) -> Properties:
    """The values of a message, without the marks of secrets."""
    return {key: _plain(value) for key, value in json_format.MessageToDict(struct).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        if value.get(rpc._special_sig_key) == rpc._special_secret_sig:
            return _plain(value["value"])
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return list(map(_plain, value))
    return value


def _struct(values: Properties) -> struct_pb2.Struct:
    struct = struct_pb2.Struct()
    struct.update(values)
    return struct


def main() -> None:
    """Serve Pulumi until it ends this process."""
    print_any_text()
    logging.basicConfig(level=logging.WARNING)
    unlimited = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
    server = grpc.server(ThreadPoolExecutor(max_workers=_THREADS), options=unlimited)
    process = PluginProcess(sys.argv[1:])
    is_by_hand = process.run.engine_address is None
    plugin = Plugin(process)
    provider_pb2_grpc.add_ResourceProviderServicer_to_server(plugin, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        print(port, flush=True)
        while is_by_hand or not plugin.is_over():
            time.sleep(_POLL_SECONDS)
            if is_by_hand and plugin.is_over():
                plugin.begin_run()
    except KeyboardInterrupt:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
    plugin.stop()
    server.stop(0)
    # Ends the session. A normal exit of Python would wait for calls that are under way. But Pulumi
    # kills the process after five seconds, and the session would stay open.
    ending = threading.Thread(target=end_process, daemon=True)
    ending.start()
    ending.join(_END_SECONDS)
    os._exit(0)
