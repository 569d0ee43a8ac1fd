"""The command itself: its subcommands, and how it ends."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from contextlib import suppress
from importlib import import_module
from typing import Any

import click

from ..errors import VmBackupError
from .wording import one_line, worded

# The module of each subcommand, in which it has its own name. Loaded when it is used, so that no
# command waits for what another one needs.
_MODULES = {
    "vms": "listings",
    "locations": "listings",
    "assignments": "listings",
    "snapshot": "snapshot",
    "export": "export",
    "doctor": "doctor",
}


class _Group(click.Group):
    """Loads a subcommand when it is used, and ends it as people expect.

    That is with a sentence for an error, and with exit code 130 after Ctrl-C.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click's own name
        return list(_MODULES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _MODULES:
            return None
        module = import_module(f".{_MODULES[cmd_name]}", __package__)
        command: click.Command = getattr(module, cmd_name)
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except VmBackupError as error:
            click.echo(f"vmbackup: {one_line(worded(error))}", err=True)
            ctx.exit(1)
        except (KeyboardInterrupt, click.Abort):
            ctx.exit(130)
        except OSError as error:  # of what was printed: all others are translated where they occur
            # EINVAL: a closed pipe on Windows.
            if error.errno not in (errno.EPIPE, errno.EINVAL):
                reason = error.strerror or error
                click.echo(f"vmbackup: The output cannot be written: {reason}.", err=True)
            _discard_output()
            ctx.exit(1)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="pulumi-vmbackup", prog_name="vmbackup")
def vmbackup() -> None:
    """Show what a Hornetsecurity (Altaro) VM Backup server holds.

    The server and the account come from options, from the configuration of a Pulumi stack
    (--stack), or from VMBACKUP_... variables. The password and the session token have no option:
    set VMBACKUP_PASSWORD, or type the password when you are asked for it on a terminal.
    """


def run() -> None:
    """Run the command, as the process's own."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # of a VM's name that a code page lacks
    signal.signal(signal.SIGTERM, _terminate)
    # Names of VMs are matched with patterns, and click would take those for files on Windows.
    vmbackup(prog_name="vmbackup", windows_expand_args=False)


def _discard_output() -> None:
    """Let what is still to be written, at the latest at the exit, go nowhere."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _terminate(*_: object) -> None:
    raise SystemExit(143)  # rather than ending at once, so that the session is ended
