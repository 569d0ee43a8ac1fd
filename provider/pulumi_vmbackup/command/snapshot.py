"""``vmbackup snapshot``: the inventory, for previews that cannot reach the server."""

from __future__ import annotations

import click

from .connection import Connection, connecting
from .output import check_file, counted, echo_json, write_file


@click.command(short_help="Write the inventory for previews without the server.")
@click.option(
    "--output",
    required=True,
    metavar="FILE",
    help="the file to write; - for standard output",
)
@connecting
def snapshot(connection: Connection, output: str) -> None:
    """Write the inventory for previews that cannot reach the server (vmbackup:inventoryFile)."""
    file = None if output == "-" else check_file(output, "--output")
    inventory = connection.gather()
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
