"""``vmbackup vms``, ``locations`` and ``assignments``: what a server holds."""

from __future__ import annotations

from collections.abc import Iterable

import click

from ..catalog import Lists, refuse_no_locations
from ..models import KINDS, Assignment, BackupLocation, Kind, VirtualMachine, told_by_server
from ..names import counted
from .connection import Connection, connecting
from .output import new_table, print_json, print_output, text, time_text

_JSON = click.option("--json", "as_json", is_flag=True, help="JSON for programs, not a table")


@click.command(short_help="List the virtual machines and their last backups.")
@_JSON
@connecting
def vms(connection: Connection, as_json: bool) -> None:
    """List the virtual machines and their last backups."""
    with connection.client() as client:
        found = sorted(Lists().get("virtual machines", client), key=_vm_order)
    if as_json:
        print_json(map(told_by_server, found))
        return
    table = new_table(
        "VM", "Host", "Configured", "Last backup", "Result", "Last offsite copy", "Result"
    )
    table.add_column("Ref", no_wrap=True)
    for vm in found:
        table.add_row(
            text(vm.name),
            text(vm.host),
            text({True: "yes", False: "no", None: None}[vm.configured]),
            time_text(vm.last_backup_time),
            text(vm.last_backup_result),
            time_text(vm.last_offsite_copy_time),
            text(vm.last_offsite_copy_result),
            text(vm.ref),
        )
    print_output(table)


@click.command(short_help="List the primary and the offsite backup locations.")
@_JSON
@connecting
def locations(connection: Connection, as_json: bool) -> None:
    """List the primary and the offsite backup locations."""
    with connection.client() as client:
        lists = Lists()
        found: list[BackupLocation] = []
        for kind in KINDS:
            found += sorted(lists.get(kind, client), key=lambda each: _order(each.path))
    refuse_no_locations(found)
    if as_json:
        print_json(map(told_by_server, found))
        return
    table = new_table("Path", "Kind")
    table.add_column("Id", no_wrap=True)
    for location in found:
        table.add_row(text(location.path), text(location.kind), text(location.id))
    print_output(table)


@click.command(short_help="List which VM goes to which backup location.")
@_JSON
@connecting
def assignments(connection: Connection, as_json: bool) -> None:
    """List which VM goes to which location; VMs without an offsite location are highlighted."""
    inventory = connection.gather()
    if not inventory.assignments:
        refuse_no_locations(inventory.backup_locations)
    if as_json:
        print_json(
            {
                "vm_ref": each.vm_ref,
                "vm_name": each.vm_name,
                "backup_location_id": each.backup_location_id,
                "location_path": each.location_path,
                "kind": each.kind,
            }
            for each in sorted(
                inventory.assignments,
                key=lambda each: _order(each.vm_name, each.kind, each.location_path, each.vm_ref),
            )
        )
        return
    by_vm: dict[str, list[Assignment]] = {}
    for assignment in inventory.assignments:
        by_vm.setdefault(assignment.vm_ref, []).append(assignment)
    table = new_table("VM", "Host", "Primary", "Offsite", "Last backup")
    if any(each.kind is None for each in inventory.assignments):
        table.add_column("Primary or offsite", overflow="fold")
    without_offsite = without_any = 0
    by_ref = {vm.ref: vm for vm in inventory.virtual_machines if vm.is_assignable}
    for vm in sorted(by_ref.values(), key=_vm_order):
        its = by_vm.get(vm.ref or "", [])
        primary, offsite, unknown = (_paths(its, kind) for kind in ("primary", "offsite", None))
        nowhere = not its
        no_offsite = not offsite and not unknown
        without_any += nowhere
        without_offsite += no_offsite
        table.add_row(
            text(vm.name, "bold red" if nowhere else "bold yellow" if no_offsite else ""),
            text(vm.host),
            text("none", "bold red") if nowhere else text(primary or ("" if unknown else "-")),
            text("none", "bold red" if nowhere else "bold yellow") if no_offsite else text(offsite),
            text(vm.last_backup_result),
            *([text(unknown)] if len(table.columns) > 5 else ()),
        )
    print_output(table)
    if without_offsite:
        click.echo(
            f"Without an offsite location: {without_offsite} of "
            f"{counted(table.row_count, 'configured VM')}; without any location: {without_any}.",
            err=True,
        )


def _paths(its: Iterable[Assignment], kind: Kind | None) -> str:
    paths = [each.location_path or each.backup_location_id for each in its if each.kind == kind]
    return ", ".join(sorted(paths, key=str.lower))


def _vm_order(vm: VirtualMachine) -> list[str]:
    return _order(vm.name, vm.host, vm.ref)


def _order(*values: str | None) -> list[str]:
    return [(value or "").casefold() for value in values]
