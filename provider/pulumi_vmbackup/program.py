"""What belongs to the process of a Pulumi program: its settings, and how its errors are shown."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from types import NoneType
from typing import TypeVar
from weakref import WeakKeyDictionary

import pulumi
from pulumi.runtime import is_config_secret

from .errors import ArgumentError, VmBackupError
from .settings import (
    SECRET_SETTINGS,
    Settings,
    config_name,
    config_set_command,
    read_connections,
    read_settings,
)

_T = TypeVar("_T")


class ProgramError(VmBackupError, pulumi.RunError):
    """An error of this package in a Pulumi program, of which Pulumi prints the sentence alone.

    It is of the specific class as well, so that ``except RefusedError`` works.
    """


@contextmanager
def shown_without_traceback() -> Iterator[None]:
    """Turn this package's errors into ones that Pulumi prints as a sentence."""
    try:
        yield
    except VmBackupError as error:
        specific = type(error)
        raise type(specific.__name__, (ProgramError, specific), {})(str(error)) from error


def once_per_program(function: Callable[[], _T]) -> Callable[[], _T]:
    """Call a function once for each program: several of them share a process that automates Pulumi.

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
    """The settings of the running program: stack configuration, environment, default.

    Warns of a password or token that the stack configuration holds as plain text.

    Args:
        connection: the name of the connection; None for the unnamed one.

    Raises:
        ArgumentError: the connection's name is no text.
        SettingsError: a value cannot be used, or there is no such connection.
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
                    f"{config_name(key, connection)} stands in the stack configuration as plain "
                    f"text: encrypt it with `{config_set_command(key, connection)}`."
                )
