"""What a user of the Pulumi CLI reads when something is wrong: a sentence that says what to do."""

from __future__ import annotations

import re
import socket
from contextlib import closing

from e2e.stack import ENCRYPTED, MakeStack, Stack
from sample import FILE01, NAS01, NOWHERE, PASSWORD, SQL01

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


PROGRAM = f"""\
from pulumi_vmbackup import VmBackupLocationAssignment

for name, vm_ref, location, connection in (
    ("unknown-vm", "{NOWHERE}", "{NAS01}", None),
    ("unknown-location", "{SQL01}", "{NOWHERE}", None),
    ("refused-login", "{SQL01}", "{NAS01}", "refused"),
    ("stopped-server", "{SQL01}", "{NAS01}", "stopped"),
    ("no-setting", "{SQL01}", "{NAS01}", "unset"),
    ("good", "{FILE01}", "{NAS01}", None),
):
    VmBackupLocationAssignment(
        name, vm_ref=vm_ref, backup_location_id=location, connection=connection
    )
"""


def test_each_error_is_a_sentence_and_holds_up_nothing_else(
    make_stack: MakeStack, simulator: Simulator, base_url: str
) -> None:
    stack = make_stack(VMBACKUP_REFUSED_PASSWORD="wrong-one", VMBACKUP_STOPPED_PASSWORD=PASSWORD)
    nobody = f"http://localhost:{free_port()}/api"
    account = {"username": "Administrator"}
    stack.config(
        {
            "vmbackup:connections": {
                "refused": {"baseUrl": base_url, "domain": "CONTOSO", **account},
                "stopped": {"baseUrl": nobody, **account},
                "unset": {"baseUrl": base_url},
            }
        }
    )
    stack.program(PROGRAM)
    output = stack.up("--continue-on-error", fails=True)

    def could_not_assign(vm_ref: str, location: str) -> list[str]:
        start = f"Could not assign VM {vm_ref} to backup location {location}: "
        found = [line.removeprefix(start) for line in errors(output) if line.startswith(start)]
        return sorted(found)

    assert could_not_assign(NOWHERE, NAS01) == [
        'the server says "InvalidParameter / The virtual machine was not found". VM Backup '
        "manages no VM with this ref: check the ref, or add the VM to VM Backup."
    ]
    assert could_not_assign(SQL01, NOWHERE) == [
        'the server says "InvalidParameter / The backup location was not found". The VM has no '
        "backup location at present. This server has no such backup location; it has "
        r"\\NAS01\VMBackups (e52edf12-a762-4602-a6d7-bc2386321b84), "
        r"E:\VMBackups (76b67451-80b6-4386-969c-803601a5ba50), "
        r"\\OFFSITE01\VMBackups (558298e2-14b0-44d7-9acd-8acde5f6db1d), "
        "Rotating disks (b339a476-9ddc-46f8-afb6-fbfe8de4ab47)."
    ]
    stopped, unset, refused = could_not_assign(SQL01, NAS01)
    assert stopped.startswith(
        f"No VM Backup API answers at {nobody}: on the VM Backup machine, start the Windows "
        "services of VM Backup (before V9.1, the API is a service of its own, which is off by "
        "default). The API "
    )
    assert unset == (
        f"No username for VM Backup at connection 'unset' ({base_url}) is known, and no password. "
        "Set VMBACKUP_UNSET_USERNAME or "
        "run `pulumi config set --path vmbackup:connections.unset.username`. "
        "Set VMBACKUP_UNSET_PASSWORD or "
        "run `pulumi config set --secret --path vmbackup:connections.unset.password`."
    )
    assert refused.startswith(
        "VM Backup refused the login of CONTOSO\\Administrator to LOCALHOST:36014: the server "
        'says "LoginFailed / The user name or password is incorrect". Check vmbackup:'
    )
    assert len(errors(output)) == 5
    assert "wrong-one" not in output
    assert not [token for token in simulator.tokens if token in output]
    assert stack.ids() == {"good": f"{FILE01}/{NAS01}"}


def test_a_typo_in_an_id_and_a_password_in_plain_text_are_told_at_preview(
    stack: Stack, simulator: Simulator
) -> None:
    stack.config({"vmbackup:password": "for all to see"})
    stack.assignments(sql01=("SQL01", NAS01))
    output = stack.pulumi("preview", fails=True)
    (error,) = errors(output)
    assert (
        "resource 'sql01': property vm_ref value {SQL01} has a problem: 'SQL01' is not a" in error
    )
    assert "Use get_virtual_machine(name=...), or the ref that `vmbackup vms` shows." in error
    assert "`pulumi config set --secret vmbackup:password`" in output
    assert "Traceback" not in output
    assert not simulator.calls


def test_a_wrong_setting_fails_the_preview_with_a_sentence_alone(stack: Stack) -> None:
    stack.config({"vmbackup:apiVersion": "7", "vmbackup:password": ENCRYPTED})
    stack.assignments(sql01=(SQL01, NAS01))
    output = stack.pulumi("preview", fails=True)
    assert errors(output) == [
        "The value '7' of vmbackup:apiVersion in the stack configuration is not a known API "
        "version: use 8, 9.0, 9.1 (9.1 also for everything later), in quotes in a YAML file."
    ]
    assert "Traceback" not in output
    assert "--secret" not in output  # as it says of a password in plain text
