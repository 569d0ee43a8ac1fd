"""What a user of the Pulumi CLI reads when something is wrong: a sentence that says what to do."""

from __future__ import annotations

import re
import socket
from contextlib import closing

import pytest
from e2e.stack import MakeStack, Stack
from sample import NAS01, NOWHERE, PASSWORD, SQL01

from pulumi_vmbackup.simulator import Simulator

# What stands before the sentence of a handler's error: grpc's own words with older SDKs.
BEFORE_THE_SENTENCE = re.compile(r"(pulumi_vmbackup\.errors\.\w+|Exception calling application): ")


def errors(output: str) -> list[str]:
    """The first lines of all errors that Pulumi printed at the end, but for its own two."""
    diagnostics = output.partition("\nDiagnostics:\n")[2]
    lines = re.findall(r"^ +error: (.*)$", diagnostics, re.MULTILINE)
    own = (
        "update failed",
        "an unhandled error occurred: program exited with non-zero exit code: 1",
    )
    return [BEFORE_THE_SENTENCE.sub("", line) for line in lines if line not in own]


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        return int(listener.getsockname()[1])


def test_a_typo_in_an_id_is_a_sentence_without_a_traceback(
    stack: Stack, simulator: Simulator
) -> None:
    stack.assignments(sql01=("SQL01", NAS01))
    output = stack.up(fails=True)
    (error,) = errors(output)
    assert (
        "resource 'sql01': property vm_ref value {SQL01} has a problem: 'SQL01' is not a" in error
    )
    assert "Use get_virtual_machine(name=...), or the ref that `vmbackup vms` shows." in error
    assert "Traceback" not in output
    assert not simulator.calls


@pytest.mark.parametrize(
    ("vm_ref", "location", "says"),
    [
        (
            NOWHERE,
            NAS01,
            'the server says "InvalidParameter / The virtual machine was not found". VM Backup '
            "manages no VM with this ref: check the ref, or add the VM to VM Backup.",
        ),
        (
            SQL01,
            NOWHERE,
            'the server says "InvalidParameter / The backup location was not found". The VM has no '
            "backup location at present. This server has no such backup location; it has "
            r"\\NAS01\VMBackups (e52edf12-a762-4602-a6d7-bc2386321b84), "
            r"E:\VMBackups (76b67451-80b6-4386-969c-803601a5ba50), "
            r"\\OFFSITE01\VMBackups (558298e2-14b0-44d7-9acd-8acde5f6db1d), "
            "Rotating disks (b339a476-9ddc-46f8-afb6-fbfe8de4ab47).",
        ),
    ],
    ids=["unknown VM", "unknown location"],
)
def test_a_refusal_is_in_the_servers_words(
    vm_ref: str, location: str, says: str, stack: Stack, simulator: Simulator
) -> None:
    stack.assignments(sql01=(vm_ref, location))
    output = stack.up(fails=True)
    assert errors(output) == [f"Could not assign VM {vm_ref} to backup location {location}: {says}"]
    assert not stack.resources()
    assert not [token for token in simulator.tokens if token in output]


def test_a_wrong_password_names_the_account(make_stack: MakeStack) -> None:
    stack = make_stack(VMBACKUP_PASSWORD="wrong-one", VMBACKUP_DOMAIN="CONTOSO")
    stack.assignments(sql01=(SQL01, NAS01))
    output = stack.up(fails=True)
    assert errors(output)[0].startswith(
        f"Could not assign VM {SQL01} to backup location "
        f"{NAS01}: VM Backup refused the login of CONTOSO\\Administrator to LOCALHOST:36014: the "
        'server says "LoginFailed / The user name or password is incorrect". Check vmbackup:'
    )
    assert "wrong-one" not in output


def test_a_stopped_server_names_the_service(make_stack: MakeStack) -> None:
    base_url = f"http://localhost:{free_port()}/api"
    stack = make_stack(VMBACKUP_BASE_URL=base_url)
    stack.assignments(sql01=(SQL01, NAS01))
    assert errors(stack.up(fails=True))[0].startswith(
        f"Could not assign VM {SQL01} to backup location "
        f'{NAS01}: No VM Backup API answers at {base_url}: start the Windows service "VM Backup '
        'API Service" there (before V9.1 it is off by default), and check vmbackup:apiVersion'
    )


def test_without_any_setting_the_error_names_the_variable_and_the_command(
    make_stack: MakeStack,
) -> None:
    stack = make_stack(VMBACKUP_USERNAME="", VMBACKUP_PASSWORD="", VMBACKUP_BASE_URL="")
    stack.assignments(sql01=(SQL01, NAS01))
    assert errors(stack.up(fails=True)) == [
        f"Could not assign VM {SQL01} to backup location "
        f"{NAS01}: No username for VM Backup is known: set VMBACKUP_USERNAME or run `pulumi config "
        "set vmbackup:username`."
    ]


def test_a_wrong_setting_fails_the_preview_with_a_sentence_alone(stack: Stack) -> None:
    stack.pulumi("config", "set", "vmbackup:apiVersion", "7")
    stack.assignments(sql01=(SQL01, NAS01))
    output = stack.pulumi("preview", fails=True)
    assert errors(output) == [
        "The value '7' of vmbackup:apiVersion in the stack configuration is not a known API "
        "version: use 8, 9.0, 9.1 (9.1 also for everything later), in quotes in a YAML file."
    ]
    assert "Traceback" not in output


def test_a_failing_lookup_fails_the_preview_with_a_sentence_alone(make_stack: MakeStack) -> None:
    stack = make_stack(VMBACKUP_PASSWORD="wrong-one")
    stack.program("import pulumi_vmbackup\n\npulumi_vmbackup.get_backup_locations()\n")
    output = stack.pulumi("preview", fails=True)
    (error,) = errors(output)
    assert error.startswith(
        "Could not list the backup locations: VM Backup refused the login of Administrator to "
        "LOCALHOST:36014: the server says"
    )
    assert "Traceback" not in output


def test_a_password_in_plain_text_is_warned_of_at_preview(stack: Stack) -> None:
    stack.assignments(sql01=(SQL01, NAS01))
    stack.pulumi("config", "set", "--plaintext", "vmbackup:password", PASSWORD)
    warning = "`pulumi config set --secret vmbackup:password`"
    assert warning in stack.pulumi("preview")
    stack.pulumi("config", "set", "--secret", "vmbackup:password", PASSWORD)
    assert warning not in stack.pulumi("preview")
    stack.up()


def test_a_password_that_changed_after_up_is_taken_with_run_program(
    make_stack: MakeStack, simulator: Simulator
) -> None:
    stack = make_stack(VMBACKUP_PASSWORD="")
    stack.pulumi("config", "set", "--secret", "vmbackup:password", PASSWORD)
    stack.assignments(sql01=(SQL01, NAS01))
    stack.up()
    simulator.password = "Pa55-of-next-month"
    stack.pulumi("config", "set", "--secret", "vmbackup:password", "Pa55-of-next-month")
    assert "unless they are given `--run-program`" in stack.pulumi(
        "destroy", "--yes", "--skip-preview", fails=True
    )
    stack.pulumi("destroy", "--yes", "--skip-preview", "--run-program")
    assert not simulator.inventory.locations_of(SQL01)
