"""How the command words errors: for those who give options, set variables or name a stack."""

from __future__ import annotations

import click

from ..errors import Advice, CheckSettings, Hint, SetSetting, VmBackupError
from ..settings import SETTINGS, environment_variable, for_programs, listed, to_set_sentence

READS_STACK = "pulumi_vmbackup reads a stack"
"""In the meta of click's context: whether the settings come from a stack (``--stack``)."""


def worded(error: VmBackupError) -> str:
    """An error's message with its advice."""
    return " ".join(filter(None, (str(error), *map(_words, error.advice))))


def _words(advice: Advice) -> str:
    if isinstance(advice, Hint):
        return ""  # all hints are about resources
    context = click.get_current_context(silent=True)
    if context and context.meta.get(READS_STACK):  # which counts more than the environment
        return for_programs(advice)
    if isinstance(advice, CheckSettings):
        return f"Check {listed([_name(key, advice.connection) for key in advice.keys])}."
    return to_set_sentence(advice, _how_to_set(advice))


def _how_to_set(advice: SetSetting) -> str:
    variable = environment_variable(advice.key, advice.connection)
    option = option_name(advice.key)
    return f"give {option} or set {variable}" if option else f"set {variable}"


def _name(key: str, connection: str | None) -> str:
    return option_name(key) or environment_variable(key, connection)


def option_name(key: str) -> str | None:
    """The option for a setting, such as ``--api-version``; None when it has none."""
    if SETTINGS[key].metavar is None:
        return None
    return "--" + SETTINGS[key].name.replace("_", "-")


def one_line(text: str) -> str:
    """A text on one line, without secrets and without characters that control a terminal."""
    from ..transport import redact

    return redact(printable(text))


def printable(text: str) -> str:
    """A server's text on one line, without characters that control a terminal."""
    return "".join(c if c.isprintable() else " " for c in text)
