"""What belongs to the process of a Pulumi program: its settings, and how its errors are shown."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import pulumi
from pulumi.runtime import is_config_secret

from .errors import VmBackupError
from .settings import SECRET_SETTINGS, Settings, config_set_command, read_settings


class ProgramError(VmBackupError, pulumi.RunError):
    """An error of this package in a Pulumi program; its ``__cause__`` is the specific one.

    Pulumi prints the sentence of a RunError alone, without a traceback.
    """


@contextmanager
def shown_without_traceback() -> Iterator[None]:
    """Turn this package's errors into ones that Pulumi prints as a sentence."""
    try:
        yield
    except VmBackupError as error:
        raise ProgramError(str(error)) from error


def program_settings() -> Settings:
    """The settings of the running program: stack configuration, environment, default.

    Warns once of a password or token that the stack configuration holds as plain text.

    Raises:
        SettingsError: a value cannot be used.
    """
    _warn_of_plain_text_secrets()
    return read_settings(pulumi.Config("vmbackup").get, os.environ)


@cache
def _warn_of_plain_text_secrets() -> None:
    config = pulumi.Config("vmbackup")
    for key in SECRET_SETTINGS:
        if config.get(key) and not is_config_secret(f"vmbackup:{key}"):
            pulumi.log.warn(
                f"vmbackup:{key} stands in the stack configuration as plain text: encrypt it with "
                f"`{config_set_command(key)}`."
            )
