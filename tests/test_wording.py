"""Advice is a value, and each surface words it for its own readers."""

from __future__ import annotations

from collections.abc import Callable

import click
import pytest

from pulumi_vmbackup import program
from pulumi_vmbackup.command import wording as command
from pulumi_vmbackup.errors import Advice, CheckSettings, Hint, SetSetting, VmBackupError
from pulumi_vmbackup.plugin import wording as plugin

Words = Callable[[VmBackupError], str]
PROGRAM: Words = program.worded
PLUGIN: Words = plugin.worded
COMMAND: Words = command.worded

CA_FILE = SetSetting("caFile", None, "its PEM file", "For a private certificate")
PASSWORD = SetSetting("password", "site-b")
CHECK = CheckSettings(("username", "password", "serverPort"), "site-b")


@pytest.mark.parametrize(
    ("words", "advice", "says"),
    [
        (
            PROGRAM,
            CA_FILE,
            "For a private certificate, set VMBACKUP_CA_FILE or run `pulumi config set "
            "vmbackup:caFile`, to its PEM file.",
        ),
        (
            COMMAND,
            CA_FILE,
            "For a private certificate, give --ca-file or set VMBACKUP_CA_FILE, to its PEM file.",
        ),
        (
            PLUGIN,
            PASSWORD,
            "Set VMBACKUP_SITE_B_PASSWORD or run `pulumi config set --secret --path "
            "vmbackup:connections.site-b.password`.",
        ),
        (COMMAND, PASSWORD, "Set VMBACKUP_SITE_B_PASSWORD."),
        (
            PROGRAM,
            CHECK,
            "Check vmbackup:connections.site-b.username, password and serverPort.",
        ),
        (COMMAND, CHECK, "Check --username, VMBACKUP_SITE_B_PASSWORD and --server-port."),
        (PLUGIN, Hint.RUN_PROGRAM, ""),
        (COMMAND, Hint.RUN_PROGRAM, ""),
        (COMMAND, Hint.DELETE_FIRST, ""),
    ],
)
def test_advice_is_in_the_words_of_its_readers(words: Words, advice: Advice, says: str) -> None:
    assert words(VmBackupError("It failed.", advice)) == f"It failed. {says}".strip()


def test_a_program_in_python_is_told_every_hint() -> None:
    for hint in Hint:
        assert len(PROGRAM(VmBackupError("It failed.", hint))) > len("It failed. ")


def test_users_of_yaml_and_typescript_read_no_python() -> None:
    for hint in Hint:
        for hints in (plugin.HINTS, plugin.HINTS_OF_SETS):
            text = plugin.worded(VmBackupError("It failed.", hint), hints)
            assert "_" not in text
            assert "=" not in text
            assert "(" not in text


def test_with_a_stack_the_command_names_what_the_stack_has() -> None:
    with click.Context(click.Command("vms")) as context:
        context.meta[command.READS_STACK] = True
        said = [COMMAND(VmBackupError("It failed.", each)) for each in (CA_FILE, PASSWORD, CHECK)]
    assert said == [
        "It failed. For a private certificate, give --ca-file or run `pulumi config set "
        "vmbackup:caFile`, to its PEM file.",
        "It failed. Run `pulumi config set --secret --path vmbackup:connections.site-b.password`.",
        "It failed. Check vmbackup:connections.site-b.username, password and serverPort.",
    ]


def test_somebody_at_a_prompt_is_told_that_the_command_asks_for_the_password() -> None:
    missing = VmBackupError("It failed.", SetSetting("username"), SetSetting("password"))
    with click.Context(click.Command("vms")) as context:
        context.meta[command.CAN_ASK] = True
        asks = COMMAND(missing)
        context.meta[command.READS_STACK] = True
        reads_stack = COMMAND(missing)
    assert COMMAND(missing) == (
        "It failed. Give --username or set VMBACKUP_USERNAME, or name a Pulumi stack with --stack. "
        "Set VMBACKUP_PASSWORD."
    )
    assert asks == (
        "It failed. Give --username or set VMBACKUP_USERNAME, or name a Pulumi stack with --stack; "
        "the command asks for the password if it has none."
    )
    assert reads_stack == (
        "It failed. Give --username or run `pulumi config set vmbackup:username`; the command asks "
        "for the password if it has none."
    )
