"""The connection of a command, from its options, a stack and the environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import cached_property, wraps
from typing import Any

import click

from ..catalog import gather
from ..client import Client
from ..inventory import Snapshot
from ..settings import SETTINGS, Settings, environment_variable, read_settings, setting_sources
from .output import is_terminal, progress_bar
from .stack import read_stack
from .wording import CAN_ASK, READS_STACK, option_name

_OPTIONS = [setting for setting in SETTINGS.values() if setting.metavar]


@dataclass(frozen=True)
class Connection:
    """The connection of a command, from its options, a stack and the environment.

    Attributes:
        stacks: the stacks, each perhaps after the folder of its program, as one text. The settings
            are those of the first one.
        name: the name of the connection; None for the unnamed one.
        options: the settings that were given as options, by key.
    """

    stacks: tuple[str, ...]
    name: str | None
    options: dict[str, str]

    def read(self, *, without: Collection[str] = ()) -> tuple[Settings, dict[str, str]]:
        """The settings, and where they come from; asks for the password on a terminal.

        Args:
            without: the keys of settings that are not wanted; see read_settings().
        """
        from ..transport import add_secret

        where = (self.get_config, os.environ, self.name, self.options, _describe_option)
        settings, sources = read_settings(*where, without), setting_sources(*where)
        if settings.username and not settings.has_credentials and _can_ask():
            password = click.prompt(f"Password of {settings.account}", hide_input=True, err=True)
            settings = replace(settings, password=password)
        for secret in (settings.password, settings.session_token):
            if secret:
                add_secret(secret)
        return settings, sources

    @cached_property
    def get_config(self) -> Callable[[str], object]:
        """The configuration of its first stack, if it has one."""
        return read_stack(self.stacks[0]) if self.stacks else _no_config

    def client(self) -> Client:
        """A client of that server."""
        return Client(self.read()[0], tell_of_wait)

    def gather(self) -> Snapshot:
        """Everything that the server holds, with a progress bar on a terminal."""
        with self.client() as client, progress_bar() as progress:
            return gather(client, progress)


def tell_of_wait(seconds: float) -> None:
    """Say on stderr why the command is silent: the server has another session."""
    click.echo(
        "vmbackup: VM Backup is busy with another session, such as that of a Management Console. "
        f"Waiting up to {seconds:.3g} seconds for its end ({option_name('sessionWaitSeconds')}).",
        file=sys.stderr,  # which a progress bar replaces, to go on below what is printed
        err=True,
    )


def connecting(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of a connection to a command, which gets a Connection as first argument."""
    return click.option(
        "--stack",
        metavar="[DIR/][STACK]",
        help=f"read the settings of this Pulumi stack, {_HOW_TO_NAME_STACK}; options override the "
        "stack, and the stack overrides the environment",
    )(_connecting(command))


def connecting_with_stacks(command: Callable[..., None]) -> Callable[..., None]:
    """The same, for a command that reads the states of any number of stacks.

    The settings are those of the first one.
    """
    return click.option(
        "--stack",
        multiple=True,
        metavar="[DIR/][STACK]",
        help=f"read the state of this Pulumi stack, {_HOW_TO_NAME_STACK}; may be repeated; the "
        "settings are those of the first one",
    )(_connecting(command))


_HOW_TO_NAME_STACK = (
    "such as prod or contoso/backup/prod; begin with DIR/ if its program is in another folder; "
    "DIR/ alone is the stack that is selected there"
)


def _connecting(command: Callable[..., None]) -> Callable[..., None]:
    @wraps(command)
    def wrapper(
        stack: str | tuple[str, ...] | None, connection: str | None, **arguments: Any
    ) -> None:
        stacks = (stack,) if isinstance(stack, str) else stack or ()
        options = {setting.key: arguments.pop(setting.name) for setting in _OPTIONS}
        given = {key: text for key, text in options.items() if text is not None}
        meta = click.get_current_context().meta
        meta[READS_STACK], meta[CAN_ASK] = bool(stacks), _can_ask()
        command(Connection(stacks, connection, given), **arguments)

    decorated: Callable[..., None] = wrapper
    for setting in reversed(_OPTIONS):
        what = setting.description[0].lower() + setting.description[1:]
        decorated = click.option(
            f"{option_name(setting.key)}",
            setting.name,
            metavar=setting.metavar,
            help=f"{what} [env: {environment_variable(setting.key)}]",
        )(decorated)
    return click.option(
        "--connection",
        metavar="NAME",
        help="the server with this name, from vmbackup:connections or from VMBACKUP_<NAME>_... "
        "variables",
    )(decorated)


def _can_ask() -> bool:
    return is_terminal(sys.stdin) and is_terminal(sys.stderr)


def _describe_option(key: str) -> str:
    return f"the option {option_name(key)}"


def _no_config(_: str) -> None:
    return None
