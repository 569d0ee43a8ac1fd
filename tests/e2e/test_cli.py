"""``vmbackup --stack`` with the configuration that the real Pulumi CLI has stored."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme
from e2e.stack import MakeStack, Stack
from sample import PASSWORD, SQL01

from pulumi_vmbackup.simulator import Simulator, serve

log = logging.getLogger(__name__)

Run = Callable[..., tuple[str, str]]


@pytest.fixture
def stack(make_stack: MakeStack, base_url: str) -> Stack:
    """A stack that holds everything itself, in an environment that holds nothing."""
    stack = make_stack(VMBACKUP_BASE_URL="", VMBACKUP_USERNAME="", VMBACKUP_PASSWORD="")
    stack.pulumi("config", "set", "vmbackup:baseUrl", base_url)
    stack.pulumi("config", "set", "vmbackup:username", "Administrator")
    stack.pulumi("config", "set", "--secret", "vmbackup:password", PASSWORD)
    return stack


@pytest.fixture
def run(stack: Stack, tmp_path: Path, simulator: Simulator) -> Run:
    """Runs the command away from the program; what it printed, and what it said."""

    def run(*arguments: str, folder: Path = tmp_path, fails: int = 0) -> tuple[str, str]:
        done = subprocess.run(
            [sys.executable, "-m", "pulumi_vmbackup.command", *arguments],
            cwd=folder,
            env=stack.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            check=False,
            timeout=60,
        )
        log.debug("%s", done.stdout + done.stderr)
        assert done.returncode == fails, done.stderr
        assert not simulator.sessions
        return done.stdout, done.stderr

    return run


def test_the_settings_of_a_stack_are_read_from_any_folder(run: Run, stack: Stack) -> None:
    listed, _ = run("vms", "--json", "--stack", f"{stack.folder}/test")
    assert SQL01 in [vm["ref"] for vm in json.loads(listed)]
    assert run("vms", "--json", "--stack", "test", folder=stack.folder)[0] == listed
    assert run("vms", "--json", "--stack", "program/test")[0] == listed


def test_options_win_over_the_stack_which_wins_over_the_environment(
    run: Run, stack: Stack, base_url: str
) -> None:
    place = ("--stack", "program/test")
    stack.environment["VMBACKUP_SERVER_PORT"] = "1"
    stack.pulumi("config", "set", "vmbackup:serverPort", "36014")
    printed, _ = run("doctor", *place)
    assert f"{base_url} (from vmbackup:baseUrl in the stack configuration)" in printed
    assert "password set (from vmbackup:password in the stack configuration)" in printed
    _, said = run("vms", *place, "--server-port", "2", fails=1)
    assert "LOCALHOST:2: the server says" in said
    stack.pulumi("config", "set", "vmbackup:serverPort", "99999")
    assert run("vms", *place, fails=1)[1].startswith(
        "vmbackup: The value '99999' of vmbackup:serverPort in the stack configuration is not a"
    )


def test_a_path_in_a_stacks_settings_starts_at_its_program(run: Run, stack: Stack) -> None:
    trustme.CA().cert_pem.write_to_path(str(stack.folder / "authority.pem"))
    stack.pulumi("config", "set", "vmbackup:caFile", "authority.pem")
    printed, _ = run("doctor", "--stack", "program/test")
    assert f"caFile {Path('program/authority.pem')} (from vmbackup:caFile in the" in printed
    stack.pulumi("config", "set", "vmbackup:caFile", "none.pem")
    _, said = run("vms", "--stack", "program/test", fails=1)
    assert f"(looked for {stack.folder / 'none.pem'})" in said


def test_a_named_connection_of_a_stack_is_used(run: Run, stack: Stack) -> None:
    with serve(other := Simulator(username="backup", password=PASSWORD)) as base_url:
        connection = "vmbackup:connections.site-b"
        stack.pulumi("config", "set", "--path", f"{connection}.baseUrl", base_url)
        stack.pulumi("config", "set", "--path", f"{connection}.username", "backup")
        stack.pulumi("config", "set", "--secret", "--path", f"{connection}.password", PASSWORD)
        place = ("--stack", "program/test", "--connection")
        printed, _ = run("doctor", *place, "site-b")
        assert f"connection 'site-b': {base_url} (from {connection}.baseUrl in the" in printed
        assert (len(other.tokens), len(other.sessions)) == (1, 0)
        assert "(there are: 'site-b')" in run("vms", *place, "site-c", fails=1)[1]


def test_a_stack_that_cannot_be_read_is_one_sentence_with_pulumis_words(
    run: Run, stack: Stack, tmp_path: Path, simulator: Simulator
) -> None:
    assert run("vms", "--stack", "program/none", fails=1)[1] == (
        'vmbackup: The configuration of the stack program/none cannot be read: pulumi says "no '
        "stack named 'none' found\". Check the folder and the stack, and that you are logged in to "
        "its backend.\n"
    )
    (tmp_path / "elsewhere").mkdir()
    _, said = run("vms", "--stack", "elsewhere/test", fails=1)
    assert 'pulumi says "no Pulumi.yaml project file found' in said
    del stack.environment["PULUMI_CONFIG_PASSPHRASE"]
    _, said = run("vms", "--stack", "program/test", fails=1)
    assert said.endswith(
        "Set PULUMI_CONFIG_PASSPHRASE or PULUMI_CONFIG_PASSPHRASE_FILE to the passphrase of the "
        "stack.\n"
    )
    assert len(said.splitlines()) == 1
    printed, _ = run("doctor", "--stack", "program/test", fails=1)
    assert printed.startswith("failed settings     they cannot be used\n")
    assert not simulator.calls
