"""The connection of a command, from its options, a stack and the environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any

import click

from ..catalog import gather
from ..client import Client
from ..inventory import Snapshot
from ..settings import SETTINGS, Settings, environment_variable, read_settings, setting_sources
from .output import is_terminal, progress_bar
from .stack import read_stack
from .wording import READS_STACK, option_name

_OPTIONS = [setting for setting in SETTINGS.values() if setting.metavar]


@dataclass(frozen=True)
class Connection:
    """The connection of a command, from its options, a stack and the environment.

    Attributes:
        stack: the stack, perhaps after the folder of its program, as one text; None for no stack.
        name: the name of the connection; None for the unnamed one.
        options: the settings that were given as options, by key.
    """

    stack: str | None
    name: str | None
    options: dict[str, str]

    def read(self, *, without: Collection[str] = ()) -> tuple[Settings, dict[str, str]]:
        """The settings, and where they come from; asks for the password on a terminal.

        Args:
            without: the keys of settings that are not wanted; see read_settings().
        """
        from ..transport import add_secret

        get_config = _no_config if self.stack is None else read_stack(self.stack)
        where = (get_config, os.environ, self.name, self.options, _describe_option)
        settings, sources = read_settings(*where, without), setting_sources(*where)
        can_ask = is_terminal(sys.stdin) and is_terminal(sys.stderr)
        if settings.username and not settings.has_credentials and can_ask:
            password = click.prompt(f"Password of {settings.account}", hide_input=True, err=True)
            settings = replace(settings, password=password)
        for secret in (settings.password, settings.session_token):
            if secret:
                add_secret(secret)
        return settings, sources

    def client(self) -> Client:
        """A client of that server."""
        return Client(self.read()[0])

    def gather(self) -> Snapshot:
        """Everything that the server holds, with a progress bar on a terminal."""
        with self.client() as client, progress_bar() as progress:
            return gather(client, progress)


def connecting(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of a connection to a command, which gets a Connection as first argument."""

    @wraps(command)
    def wrapper(stack: str | None, connection: str | None, **arguments: Any) -> None:
        options = {setting.key: arguments.pop(setting.name) for setting in _OPTIONS}
        given = {key: text for key, text in options.items() if text is not None}
        click.get_current_context().meta[READS_STACK] = stack is not None
        command(Connection(stack, connection, given), **arguments)

    decorated: Callable[..., None] = wrapper
    for setting in reversed(_OPTIONS):
        decorated = click.option(
            f"{option_name(setting.key)}",
            setting.name,
            metavar=setting.metavar,
            help=f"{setting.description} [env: {environment_variable(setting.key)}]",
        )(decorated)
    decorated = click.option(
        "--connection",
        metavar="NAME",
        help="a connection of vmbackup:connections, or of VMBACKUP_<NAME>_... variables",
    )(decorated)
    return click.option(
        "--stack",
        metavar="[DIR/]STACK",
        help="read the configuration of this Pulumi stack, such as prod or contoso/backup/prod, "
        "with the folder of its program before it unless that is the present folder or above it; "
        "options win over it, and it wins over the environment",
    )(decorated)


def _describe_option(key: str) -> str:
    return f"the option {option_name(key)}"


def _no_config(_: str) -> None:
    return None
