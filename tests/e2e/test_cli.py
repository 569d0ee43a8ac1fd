"""``vmbackup --stack`` with the configuration that the real Pulumi CLI has stored."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from e2e.stack import ENCRYPTED, MakeStack, Stack
from sample import PASSWORD, SQL01

from pulumi_vmbackup.simulator import Simulator, serve

Run = Callable[..., tuple[str, str]]


@pytest.fixture
def stack(make_stack: MakeStack, base_url: str) -> Stack:
    """A stack that holds everything itself, in an environment that holds nothing."""
    stack = make_stack(VMBACKUP_BASE_URL="", VMBACKUP_USERNAME="", VMBACKUP_PASSWORD="")
    account = {"vmbackup:username": "Administrator", "vmbackup:password": ENCRYPTED}
    stack.config({"vmbackup:baseUrl": base_url, **account})
    return stack


@pytest.fixture
def run(stack: Stack, tmp_path: Path, simulator: Simulator) -> Run:
    """Runs the command away from the program; what it printed, and what it said."""

    def run(*arguments: str, folder: Path = tmp_path, fails: int = 0) -> tuple[str, str]:
        done = stack.vmbackup(*arguments, folder=folder, ends=fails)
        assert not simulator.sessions
        return done.stdout, done.stderr

    return run


def test_the_settings_of_a_stack_are_read_from_any_folder(run: Run, stack: Stack) -> None:
    listed, _ = run("vms", "--json", "--stack", "test", folder=stack.folder)
    assert SQL01 in [vm["ref"] for vm in json.loads(listed)]
    assert run("vms", "--json", "--stack", f"{stack.folder}/test")[0] == listed
    # As Pulumi writes it; with a backend of files, the organization has this name.
    (below := stack.folder / "organization").mkdir()
    for written in ("organization/test", "organization/backup/test"):
        assert run("vms", "--json", "--stack", written, folder=stack.folder)[0] == listed
        assert run("vms", "--json", "--stack", written, folder=below)[0] == listed
        assert run("vms", "--json", "--stack", f"program/{written}")[0] == listed


def test_a_folder_alone_is_its_selected_stack(run: Run, stack: Stack) -> None:
    stack.pulumi("stack", "select", "test")
    del stack.environment["PULUMI_STACK"]
    for written, folder in (
        (f"{stack.folder}/", stack.folder),
        (".", stack.folder),
        ("program", stack.folder.parent),
    ):
        listed, _ = run("vms", "--json", "--stack", written, folder=folder)
        assert SQL01 in [vm["ref"] for vm in json.loads(listed)]
    # There, a name is one of a stack, also if a folder has it.
    (stack.folder / "other").mkdir()
    (stack.folder / "other" / "Pulumi.yaml").write_text("name: other\nruntime: python\n")
    _, said = run("vms", "--stack", "other", folder=stack.folder, fails=1)
    assert "The configuration of the stack other cannot be read" in said


def test_options_win_over_the_stack_which_wins_over_the_environment(
    run: Run, stack: Stack, base_url: str
) -> None:
    place = ("--stack", "program/test")
    stack.environment["VMBACKUP_SERVER_PORT"] = "1"
    trustme.CA().cert_pem.write_to_path(str(stack.folder / "authority.pem"))
    stack.config({"vmbackup:serverPort": "36014", "vmbackup:caFile": "authority.pem"})
    printed, _ = run("doctor", *place)
    assert f"{base_url} (from vmbackup:baseUrl in the stack configuration)" in printed
    assert "password set (from vmbackup:password in the stack configuration)" in printed
    # A path in a stack's settings starts at its program.
    assert f"caFile {Path('program/authority.pem')} (from vmbackup:caFile in the" in printed
    _, said = run("vms", *place, "--server-port", "2", fails=1)
    assert "LOCALHOST:2: the server says" in said
    stack.config({"vmbackup:caFile": "none.pem"})
    _, said = run("vms", *place, fails=1)
    assert f"(looked for {stack.folder / 'none.pem'})" in said
    stack.config({"vmbackup:serverPort": "99999"})
    assert run("vms", *place, fails=1)[1].startswith(
        "vmbackup: The value '99999' of vmbackup:serverPort in the stack configuration is not a"
    )


def test_a_named_connection_of_a_stack_is_used(run: Run, stack: Stack) -> None:
    with serve(other := Simulator(username="backup", password=PASSWORD)) as base_url:
        site_b = {"baseUrl": base_url, "username": "backup", "password": ENCRYPTED}
        stack.config({"vmbackup:connections": {"site-b": site_b}})
        place = ("--stack", "program/test", "--connection")
        printed, _ = run("doctor", *place, "site-b")
        setting = "vmbackup:connections.site-b.baseUrl"
        assert f"connection 'site-b': {base_url} (from {setting} in the" in printed
        assert (len(other.tokens), len(other.sessions)) == (1, 0)
        assert "(there are: 'site-b')" in run("vms", *place, "site-c", fails=1)[1]


def test_a_stack_that_cannot_be_read_is_one_sentence_with_pulumis_words(
    run: Run, stack: Stack, tmp_path: Path, simulator: Simulator
) -> None:
    assert run("vms", "--stack", "program/none", fails=1)[1] == (
        'vmbackup: The configuration of the stack program/none cannot be read: pulumi says "no '
        f"stack named 'none' found\". In {stack.folder}, there are: 'test'. If the stack is in "
        "another backend, log in to that first. In the folder of the program or below it, "
        "write --stack as Pulumi does: prod, contoso/prod or contoso/backup/prod. Elsewhere, "
        "write the folder before it: infrastructure/prod or infrastructure/contoso/backup/prod. "
        "A folder alone, infrastructure/, is its selected stack.\n"
    )
    _, said = run("vms", "--stack", "contoso/backup/test", folder=stack.folder, fails=1)
    assert "pulumi says \"organization name must be 'organization'\"" in said
    _, said = run("vms", "--stack", "organization/other/test", folder=stack.folder, fails=1)
    assert "is a stack of the project 'other', and the folder" in said
    (tmp_path / "elsewhere").mkdir()
    _, said = run("vms", "--stack", "elsewhere/test", fails=1)
    assert 'pulumi says "no Pulumi.yaml project file found' in said
    backend = stack.environment.pop("PULUMI_BACKEND_URL")
    for command in (["vms"], ["export", "--program", "new.py"]):
        _, said = run(*command, "--stack", "program/test", fails=1)
        assert said.endswith(
            'cannot be read: pulumi says "PULUMI_ACCESS_TOKEN must be set for login during '
            'non-interactive CLI sessions". Run `pulumi login` first, or `pulumi login --local` if '
            "the stacks are files of this machine.\n"
        )
    stack.environment["PULUMI_BACKEND_URL"] = backend
    del stack.environment["PULUMI_CONFIG_PASSPHRASE"]
    printed, _ = run("doctor", "--stack", "program/test", fails=1)
    assert printed.startswith("failed settings     they cannot be used\n")
    # The text goes on with what doctor says of any settings that cannot be used.
    assert "Set PULUMI_CONFIG_PASSPHRASE or PULUMI_CONFIG_PASSPHRASE_FILE to the passphrase of" in (
        " ".join(printed.split())
    )
    assert not simulator.calls
