"""The command group: its subcommands and exit codes."""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from typing import Any

import click

from ..errors import VmBackupError
from ..session import end_process
from ..settings import RECORD, WITH_NAMES
from ..streams import print_any_text
from .wording import one_line, worded

_SECONDS_TO_END = 1.0
# The module of each subcommand, loaded on use, so that no command waits for the imports of another.
_MODULES = {
    "vms": "listings",
    "locations": "listings",
    "assignments": "listings",
    "snapshot": "snapshot",
    "export": "export",
    "review": "review",
    "doctor": "doctor",
    "probe": "probe",
}


class _Group(click.Group):
    """Loads a subcommand when it is used.

    An error ends it with a sentence and exit code 1, and Ctrl-C with exit code 130.
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
        except OSError as error:  # from printing: other modules translate theirs
            # EINVAL is a closed pipe on Windows.
            if error.errno not in (errno.EPIPE, errno.EINVAL):
                reason = error.strerror or error
                click.echo(f"vmbackup: The output cannot be written: {reason}.", err=True)
            _discard_output()
            ctx.exit(1)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="pulumi-vmbackup", prog_name="vmbackup")
@click.option(
    "--record",
    metavar="FILE",
    help=f"append each HTTP exchange to this file, for a bug report [env: {RECORD}]",
)
@click.option(
    "--with-names",
    is_flag=True,
    help="write the real names, addresses and ids into this file and into the report of `doctor` "
    f"[env: {WITH_NAMES}]",
)
@click.pass_context
def vmbackup(context: click.Context, record: str | None, with_names: bool) -> None:
    """Show the VMs, backup locations and assignments of a Hornetsecurity (Altaro) VM Backup server.

    The server and the account come from options, from the configuration of a Pulumi stack
    (--stack), or from VMBACKUP_... variables. There is no option for the password: set
    VMBACKUP_PASSWORD, or type it when the command asks for it.
    """
    given = {RECORD: record, WITH_NAMES: "true" if with_names else None}
    context.with_resource(_variables({key: text for key, text in given.items() if text}))


@contextmanager
def _variables(changed: dict[str, str]) -> Iterator[None]:
    """Set variables of the environment, where the layer below looks for them."""
    before = {key: os.environ.get(key) for key in changed}
    os.environ.update(changed)
    try:
        yield
    finally:
        for key, text in before.items():
            os.environ.pop(key) if text is None else os.environ.update({key: text})


def run() -> None:
    """Run the command as the main program of the process."""
    print_any_text()
    signal.signal(signal.SIGTERM, _terminate)
    if sys.platform != "win32":
        signal.signal(signal.SIGHUP, _terminate)  # the terminal is gone
    _end_though_waiting()
    # On Windows, click would expand the patterns for VM names as file names.
    vmbackup(prog_name="vmbackup", windows_expand_args=False)


def _end_though_waiting() -> None:
    """After a signal, end the process even if its main thread waits for the server.

    On Windows, Ctrl-C does not interrupt that wait.
    """
    signalled, signals = socket.socketpair()
    signals.setblocking(False)
    signal.set_wakeup_fd(signals.fileno(), warn_on_full_buffer=False)

    def end(signalled: socket.socket, _signals: socket.socket) -> None:
        number = signalled.recv(1)[0]
        time.sleep(_SECONDS_TO_END)
        end_process()
        os._exit(128 + number)

    threading.Thread(target=end, args=(signalled, signals), daemon=True).start()


def _discard_output() -> None:
    """Drop the output that is still buffered, so that Python does not fail on it at exit."""
    with suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def _terminate(number: int, _: object) -> None:
    raise SystemExit(128 + number)  # an exception, so that the session is ended
