"""What both kinds of resources need in the process of a Python program.

Its settings, how its errors are shown, checks of arguments, and outputs.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from types import NoneType
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import pulumi
from pulumi.runtime import is_config_secret

from .errors import Advice, ArgumentError, Hint, VmBackupError
from .models import BackupLocation, VirtualMachine
from .settings import (
    SECRET_SETTINGS,
    Settings,
    config_name,
    for_programs,
    read_connections,
    read_settings,
    to_configure,
)

_T = TypeVar("_T")


class ProgramError(VmBackupError, pulumi.RunError):
    """An error of this package in a Pulumi program; Pulumi prints only its message.

    It also has the specific class, so that ``except RefusedError`` works.
    """


def worded(error: VmBackupError) -> str:
    """An error's message with its advice, in the words of Python programs."""
    return " ".join((str(error), *map(_words, error.advice)))


_HINTS = {
    Hint.RUN_PROGRAM: "`pulumi refresh` and `pulumi destroy` use the configuration of the last "
    "`up` unless they are given `--run-program`.",
    Hint.REFRESH: "Run `pulumi refresh` and then `pulumi up`.",
    Hint.REMOVE_FROM_STATE: "If it is, and both are gone for good, remove the resource from the "
    "state with `pulumi state delete` and its URN, and from the program.",
    Hint.DELETE_FIRST: "If the server allows one primary location only, un-assign the old one "
    "first with ResourceOptions(delete_before_replace=True), and aliases= if the resource was "
    "renamed.",
    Hint.FIND_VM_REF: "Use get_virtual_machine(name=...), or the ref that `vmbackup vms` shows.",
    Hint.FIND_LOCATION_ID: "Use get_backup_location(path=...), or the id that `vmbackup "
    "locations` shows.",
}


def _words(advice: Advice) -> str:
    return _HINTS[advice] if isinstance(advice, Hint) else for_programs(advice)


@contextmanager
def shown_without_traceback() -> Iterator[None]:
    """Turn this package's errors into errors of which Pulumi prints only the message."""
    try:
        yield
    except ProgramError:
        raise
    except VmBackupError as error:
        specific = type(error)
        shown = type(specific.__name__, (ProgramError, specific), {})(worded(error))
        shown.__dict__.update(error.__dict__)
        raise shown from error


# Checks of the arguments of resources


def refuse_swapped(key: str, value: object, expected: type) -> None:
    """Refuse a VM or a location that belongs to another argument.

    Raises:
        ArgumentError: the value is a VM or a location, and not of the expected class.
    """
    if isinstance(value, (VirtualMachine, BackupLocation)) and not isinstance(value, expected):
        raise ArgumentError(f"{key} is a {type(value).__name__}: are two arguments swapped?")


def refuse_other_connection(
    key: str, value: object, connection: str | None, remedy: str = "give both the same connection"
) -> None:
    """Refuse a VM or a location that was looked up over another connection than the resource's.

    Raises:
        ArgumentError: it was; the message ends with the remedy.
    """
    if isinstance(value, (VirtualMachine, BackupLocation)) and value.connection != connection:
        raise ArgumentError(
            f"{key} was looked up over {_named(value.connection)}, and the resource uses "
            f"{_named(connection)}: {remedy}."
        )


def _named(connection: str | None) -> str:
    return f"the connection {connection!r}" if connection else "the unnamed connection"


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
        ArgumentError: the connection's name is not text.
        SettingsError: a value is unusable, or there is no such connection.
    """
    if not isinstance(connection, (str, NoneType)):
        raise ArgumentError(f"connection is {connection!r}: give the name of a connection as text.")
    _warn_of_plain_text_secrets()
    return read_settings(pulumi.Config("vmbackup").get, os.environ, connection)


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
