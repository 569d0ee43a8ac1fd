"""How the command words errors: for those who give options, set variables or name a stack."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence

import click

from ..errors import Advice, CheckSettings, Hint, SetSetting, VmBackupError
from ..settings import (
    SETTINGS,
    config_name,
    environment_variable,
    for_programs,
    listed,
    to_configure,
    to_set_sentence,
)

READS_STACK = "pulumi_vmbackup reads a stack"
"""In the meta of click's context: whether the settings come from a stack (``--stack``)."""

CAN_ASK = "pulumi_vmbackup asks for the password"
"""In the meta of click's context: whether the command can ask for a missing password."""


def worded(error: VmBackupError) -> str:
    """An error's message with its advice."""
    return " ".join(filter(None, (str(error), *map(_words, error.advice))))


def _words(advice: Advice) -> str:
    if isinstance(advice, Hint):
        return ""  # all hints are about resources
    if isinstance(advice, CheckSettings):
        if _meta(READS_STACK):
            return for_programs(advice)
        return f"Check {listed([name_of(key, advice.connection) for key in advice.keys])}."
    if advice.key == "password" and _meta(CAN_ASK):
        return ""  # whoever gives the user name is asked for it
    how = how_to_set(advice)
    if advice.key == "username":
        how += "" if _meta(READS_STACK) else ", or name a Pulumi stack with --stack"
        how += "; the command asks for the password if it has none" if _meta(CAN_ASK) else ""
    return to_set_sentence(advice, how)


def how_to_set(advice: SetSetting) -> str:
    """How a setting is set, as a part of a sentence."""
    option = option_name(advice.key)
    give = f"give {option} or " if option else ""
    if _meta(READS_STACK):
        return f"{give}{to_configure(advice.key, advice.connection)}"
    return f"{give}set {environment_variable(advice.key, advice.connection)}"


def where_to_set(advice: SetSetting, sources: Mapping[str, str]) -> str:
    """How to set a setting so that it wins: where it is set now, if it is.

    Args:
        advice: the setting and its value.
        sources: where settings come from, by key, as setting_sources() returns them.
    """
    source = sources.get(advice.key)
    return f"{f'set {source}' if source else how_to_set(advice)} to {advice.value}"


def name_of(key: str, connection: str | None) -> str:
    """What the user of the command knows a setting as."""
    if _meta(READS_STACK):
        return config_name(key, connection)
    return option_name(key) or environment_variable(key, connection)


def _meta(key: str) -> bool:
    context = click.get_current_context(silent=True)
    return bool(context and context.meta.get(key))


def option_name(key: str) -> str | None:
    """The option for a setting, such as ``--api-version``; None when it has none."""
    if SETTINGS[key].metavar is None:
        return None
    return "--" + SETTINGS[key].name.replace("_", "-")


def shell_line(words: Sequence[str]) -> str:
    """A command line as the shell of this system takes it."""
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


def one_line(text: str) -> str:
    """A text on one line, without secrets and without characters that control a terminal."""
    from ..transport import redact

    return redact(printable(text))


def printable(text: str) -> str:
    """A server's text on one line, without characters that control a terminal."""
    return "".join(c if c.isprintable() else " " for c in text)
