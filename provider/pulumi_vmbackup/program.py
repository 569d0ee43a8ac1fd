"""What both kinds of resources need in the process of a Python program.

Its settings, how its errors are shown, checks of arguments, and outputs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from inspect import isawaitable, iscoroutine
from types import NoneType
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import pulumi
from pulumi.runtime import is_config_secret

from .client import Client
from .errors import Advice, ArgumentError, Hint, VmBackupError
from .models import BackupLocation, VirtualMachine
from .session import forget_logins
from .settings import (
    SECRET_SETTINGS,
    Settings,
    config_name,
    for_programs,
    read_connections,
    read_provider_settings,
    read_settings,
    to_configure,
)

_T = TypeVar("_T")


class ProgramError(VmBackupError, pulumi.RunError):
    """An error of this package in a Pulumi program; Pulumi prints only its message.

    It also has the specific class, so that ``except RefusedError`` works.
    """


_HINTS = {
    Hint.RUN_PROGRAM: "`pulumi refresh` and `pulumi destroy` use the configuration of the last "
    "`up` unless they are given `--run-program`.",
    Hint.REFRESH: "Run `pulumi refresh` and then `pulumi up`.",
    Hint.REMOVE_FROM_STATE: "If it is, and both are gone for good, remove the resource from the "
    "state with `pulumi state delete` and its URN, and from the program. If not, go back to the "
    "server that the assignment belongs to.",
    Hint.DELETE_FIRST: "If the server allows one primary location only, un-assign the old one "
    "first with ResourceOptions(delete_before_replace=True), and aliases= if the resource was "
    "renamed.",
    Hint.CORRECT_PROGRAM: "If it is not meant, correct the program and run `pulumi up`, "
    "which assigns them again.",
    Hint.FIND_VM_REF: "Use get_virtual_machine(name=...), or the ref that `vmbackup vms` shows.",
    Hint.FIND_LOCATION_ID: "Use get_backup_location(path=...), or the id that `vmbackup "
    "locations` shows.",
}
# What runs in the program itself has the present configuration.
_HINTS_IN_PROGRAM = {**_HINTS, Hint.RUN_PROGRAM: ""}


def worded(error: VmBackupError, hints: Mapping[Hint, str] = _HINTS) -> str:
    """An error's message with its advice, in the words of Python programs."""
    return " ".join(filter(None, (str(error), *(_words(each, hints) for each in error.advice))))


def _words(advice: Advice, hints: Mapping[Hint, str]) -> str:
    return hints[advice] if isinstance(advice, Hint) else for_programs(advice)


@contextmanager
def shown_without_traceback() -> Iterator[None]:
    """Turn this package's errors into errors of which Pulumi prints only the message."""
    try:
        yield
    except ProgramError:
        raise
    except VmBackupError as error:
        specific, message = type(error), worded(error, _HINTS_IN_PROGRAM)
        shown = type(specific.__name__, (ProgramError, specific), {})(message)
        shown.__dict__.update(error.__dict__)
        raise shown from error


# Checks of arguments


def refuse_unfit(key: str, owner: str, value: object, types: tuple[type, ...], remedy: str) -> None:
    """Refuse an argument of another type, such as an Output where a plain value is needed.

    Args:
        key: the argument's name.
        owner: the function or class that it belongs to.
        value: the argument.
        types: the types that fit.
        remedy: what to give, as a part of a sentence.

    Raises:
        ArgumentError: the value is of another type.
    """
    if isinstance(value, types):
        return
    if iscoroutine(value):
        value.close()  # nobody else will await it
    raise ArgumentError(f"{key} of {owner} is {_described(value)}: {remedy}.")


def _described(value: object) -> str:
    if isinstance(value, pulumi.Output):
        return "an Output"
    if isawaitable(value):
        return "an awaitable"
    if isinstance(value, (str, int, float, NoneType)):
        return repr(value)
    return f"of the type {type(value).__name__}"


def refuse_swapped(key: str, value: object, expected: type) -> None:
    """Refuse a VM or a location that belongs to another argument.

    Raises:
        ArgumentError: the value is a VM or a location, and not of the expected class.
    """
    if isinstance(value, (VirtualMachine, BackupLocation)) and not isinstance(value, expected):
        raise ArgumentError(f"{key} is a {type(value).__name__}: are two arguments swapped?")


def refuse_other_server(
    key: str, value: object, settings: Settings, remedy: str = "give both the same connection"
) -> None:
    """Refuse a VM or a location that was looked up on another server than that of the settings.

    Raises:
        ArgumentError: it was; the message ends with the remedy.
    """
    if not isinstance(value, (VirtualMachine, BackupLocation)) or value.server is None:
        return
    if value.server != settings.server:
        raise ArgumentError(
            f"{key} was looked up on {_named(value.server, value.connection)}, but it is used with "
            f"{_named(settings.server, settings.connection)}: {remedy}."
        )


def server_of(value: object) -> str | None:
    """The server that a VM or a location was looked up on; None for an id, or if unknown."""
    return value.server if isinstance(value, (VirtualMachine, BackupLocation)) else None


def _named(server: str, connection: str | None) -> str:
    return f"{server} (connection {connection!r})" if connection else server


# The program, its settings and its sessions


def once_per_program(function: Callable[[], _T]) -> Callable[[], _T]:
    """Call a function once per program; Pulumi's Automation API runs several in one process.

    Without a program, as in a unit test, it is called each time.
    """
    results: WeakKeyDictionary[pulumi.Resource, _T] = WeakKeyDictionary()

    @wraps(function)
    def wrapper() -> _T:
        program = pulumi.runtime.get_root_resource()
        if program is None:
            return function()
        if program not in results:
            results[program] = function()
        return results[program]

    return wrapper


def program_settings(connection: str | None = None) -> Settings:
    """The settings of the running program.

    Warns of a password or token that the stack configuration holds as plain text.

    Args:
        connection: the name of the connection; None for the unnamed one.

    Raises:
        SettingsError: a value is unusable, or there is no such connection.
    """
    _warn_of_plain_text_secrets()
    return read_settings(pulumi.Config("vmbackup").get, os.environ, connection)


def provider_settings(name: str, inputs: Mapping[str, str]) -> Settings:
    """The settings of a provider resource in the running program.

    Args:
        name: the name of the resource.
        inputs: its inputs as texts, by the keys of the settings.

    Raises:
        SettingsError: a value is unusable.
    """
    return read_provider_settings(pulumi.Config("vmbackup").get, os.environ, name, inputs)


def refuse_no_name(connection: object, owner: str) -> None:
    """Refuse a connection that is not given by its name.

    Raises:
        ArgumentError: it is neither text nor None.
    """
    refuse_unfit(
        "connection", owner, connection, (str, NoneType), "give the name of a connection as text"
    )


def refuse_connection_and_provider(owner: str, connection: str, provider: object) -> None:
    """Refuse a connection where a provider has the settings of a server.

    Raises:
        ArgumentError: there is a provider.
    """
    if provider:
        raise ArgumentError(
            f"{owner} has a provider and the connection {connection!r}: leave out one of the two."
        )


def shared_client(settings: Settings) -> Client | None:
    """The client that all look-ups of a program share; None without a program."""
    if pulumi.runtime.get_root_resource() is None:
        return None
    clients = _clients()
    if settings not in clients:
        clients[settings] = Client(settings)
    return clients[settings]


@once_per_program
def _clients() -> dict[Settings, Client]:
    # A password that an earlier program of this process sent in vain may be right by now.
    forget_logins()
    return {}


def end_idle_sessions() -> None:
    """End the sessions of the program's look-ups that no call needs now.

    For a resource that is about to be registered: its provider needs a session of its own, and
    servers of V9 allow one at a time (seen).
    """
    for client in _clients().values():
        client.end_session()


@once_per_program
def _warn_of_plain_text_secrets() -> None:
    config = pulumi.Config("vmbackup")
    connections = read_connections(config.get)
    for connection in (None, *connections):
        get = connections[connection].get if connection else config.get
        for key in SECRET_SETTINGS:
            stored_as = "vmbackup:connections" if connection else f"vmbackup:{key}"
            if get(key) and not is_config_secret(stored_as):
                pulumi.log.warn(
                    f"{config_name(key, connection)} is in the stack configuration as plain "
                    f"text: to encrypt it, {to_configure(key, connection)}."
                )


class AssignmentOutputs:
    """The outputs of a resource of one assignment.

    Properties, not class annotations: Pulumi evaluates those anew for each resource, which takes
    0.03 s for 300.
    """

    # Returns an output by its Python name; the two surfaces store outputs under different names.
    _output: Callable[[str], pulumi.Output[Any]]

    @property
    def vm_ref(self) -> pulumi.Output[str]:
        """The VM's AltaroVirtualMachineRef, in lower case without braces."""
        return self._output("vm_ref")

    @property
    def backup_location_id(self) -> pulumi.Output[str]:
        """The BackupLocationId, in lower case without braces."""
        return self._output("backup_location_id")

    @property
    def vm_name(self) -> pulumi.Output[str | None]:
        """The VM's name when it was assigned; None if the server did not tell it."""
        return self._output("vm_name")

    @property
    def location_path(self) -> pulumi.Output[str | None]:
        """The location's LocationPath; None if the server did not tell it."""
        return self._output("location_path")

    @property
    def kind(self) -> pulumi.Output[str | None]:
        """``"primary"`` or ``"offsite"``; None if the server did not tell it."""
        return self._output("kind")

    @property
    def assigned_at(self) -> pulumi.Output[str | None]:
        """When Pulumi assigned or adopted it, as ISO 8601 in UTC; None after an import."""
        return self._output("assigned_at")
