"""What belongs to the process of a Pulumi program: its settings, and how its errors are shown."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import TypeVar
from weakref import WeakKeyDictionary

import pulumi
from pulumi.runtime import is_config_secret

from .errors import VmBackupError
from .settings import SECRET_SETTINGS, Settings, config_set_command, read_settings

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


def program_settings() -> Settings:
    """The settings of the running program: stack configuration, environment, default.

    Warns of a password or token that the stack configuration holds as plain text.

    Raises:
        SettingsError: a value cannot be used.
    """
    _warn_of_plain_text_secrets()
    return read_settings(pulumi.Config("vmbackup").get, os.environ)


@once_per_program
def _warn_of_plain_text_secrets() -> None:
    config = pulumi.Config("vmbackup")
    for key in SECRET_SETTINGS:
        if config.get(key) and not is_config_secret(f"vmbackup:{key}"):
            pulumi.log.warn(
                f"vmbackup:{key} stands in the stack configuration as plain text: encrypt it with "
                f"`{config_set_command(key)}`."
            )
