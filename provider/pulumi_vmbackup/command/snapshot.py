"""``vmbackup snapshot``: the inventory, for previews that cannot reach the server."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import click

from ..catalog import refuse_no_locations
from ..errors import ArgumentError, SettingsError
from ..inventory import Snapshot, is_snapshot, read_snapshot
from ..names import counted
from .connection import Connection, connecting
from .output import check_file, echo_json, write_file
from .wording import one_line


@click.command(short_help="Write a snapshot of the server, for previews without it.")
@click.option(
    "--output",
    required=True,
    metavar="FILE",
    help="the file to write; - for standard output",
)
@click.option("--overwrite", is_flag=True, help="replace a file that is not a snapshot, too")
@connecting
def snapshot(connection: Connection, output: str, overwrite: bool) -> None:
    """Write a snapshot of the server, for previews that cannot reach it (vmbackup:inventoryFile).

    It replaces an older snapshot. It warns if the server lists no VM of a host any more.
    """
    file = None if output == "-" else check_file(output, "--output")
    before = _replaced(file, overwrite) if file else None
    inventory = connection.gather()
    refuse_no_locations(inventory.backup_locations)
    text = inventory.dump()
    if file:
        write_file(file, text, "--output")
    else:
        echo_json(text)
    click.echo(
        f"Wrote {'standard output' if output == '-' else output}: "
        f"{counted(len(inventory.virtual_machines), 'virtual machine')}, "
        f"{counted(len(inventory.backup_locations), 'backup location')}, "
        f"{counted(len(inventory.assignments), 'assignment')}.",
        err=True,
    )
    if before:
        _warn(inventory, before, output)


def _replaced(file: Path, overwrite: bool) -> Snapshot | None:
    """The snapshot that a file holds; None if there is none, or if it cannot be read."""
    if not overwrite and file.exists() and file.stat().st_size and not is_snapshot(file):
        raise ArgumentError(
            f"{file} of --output exists already and is not a snapshot: give another name, or "
            "--overwrite to replace it."
        )
    with suppress(SettingsError):
        return read_snapshot(file)
    return None


def _warn(inventory: Snapshot, before: Snapshot, output: str) -> None:
    if not inventory.may_be_of_server(before):
        _say(
            f"The snapshot that {output} held has other VMs and other locations than this server: "
            "check that this is the right server."
        )
        return
    for host, count in sorted(inventory.missing_by_host(before).items()):
        _say(
            f"The server lists no VM of host {host} any more: {counted(count, 'VM')} of the "
            f"snapshot that {output} held {'is' if count == 1 else 'are'} missing. If the host is "
            "only off, write the snapshot again when it is on."
        )


def _say(warning: str) -> None:
    click.echo(f"Warning: {one_line(warning)}", err=True)
