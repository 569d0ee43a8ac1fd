"""``vmbackup probe``: finds out how a server behaves, and what to set for it."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import click
from rich.text import Text

from ..catalog import Catalog
from ..client import LOCATION_FIELDS, VM_FIELDS, Client
from ..errors import ArgumentError, VmBackupError, WrongServerError
from ..facts import FACTS, Answer, Facts, Part, Value
from ..models import BackupLocation, is_guid
from ..names import counted
from ..probe.advice import advised, differs, duration
from ..probe.calls import Found
from ..probe.reads import read_facts
from ..probe.writes import Journal, Restored, WritingProbe, restore
from ..settings import SETTINGS, Settings, config_command, to_configure
from .connection import Connection, connecting
from .output import check_file, is_terminal, new_table, print_output, text, write_file
from .wording import one_line, worded

JOURNAL = "vmbackup-probe.json"
_MOST_AT_A_TIME = 8
_WITHOUT_WRITES = "not tried: it needs --vm and --location"
_PARTS: dict[Part, str] = {
    "connection": "The connection",
    "sessions": "Sessions",
    "lists": "Lists",
    "assignments": "Assignments",
}


@click.command("probe", short_help="Find out how this server behaves, and what to set for it.")
@click.option(
    "--vm",
    metavar="NAME",
    help="the name or ref of a VM to assign and un-assign; without it, nothing is changed",
)
@click.option(
    "--location",
    metavar="PATH",
    help="the path or id of a backup location that this VM does not have",
)
@click.option(
    "--second-location",
    metavar="PATH",
    help="a primary location, to see what a second primary location of the VM does",
)
@click.option("--yes", is_flag=True, help="do not ask before the VM is assigned")
@click.option(
    "--output",
    metavar="FILE",
    default="facts.json",
    show_default=True,
    help="the file for what was found: without names, GUIDs, tokens and addresses",
)
@click.option(
    "--restore",
    "journal",
    metavar="FILE",
    help="restore the locations of a VM that a probe could not restore; nothing else is done",
)
@connecting
def probe(
    connection: Connection,
    vm: str | None,
    location: str | None,
    second_location: str | None,
    yes: bool,
    output: str,
    journal: str | None,
) -> None:
    """Find out how this server behaves, and what to set for it.

    Many facts about the API are not documented. This finds them out on your server: it prints what
    it found, what this package assumed, and the settings for this server. Without --vm, nothing is
    changed on the server, but up to three sessions are started and ended.

    With --vm and --location, one VM is assigned to a location and un-assigned. In the end, it has
    the locations that it had, also after an error or Ctrl-C.
    """
    if journal is not None:
        _restore(connection, Path(journal))
        return
    if (vm is None) != (location is None) or (second_location is not None and vm is None):
        raise ArgumentError(
            "--vm, --location and --second-location belong together: give --vm and --location, and "
            "--second-location if there is another primary location."
        )
    file = check_file(output, "--output")
    _check_overwriting(file)
    settings, _ = connection.read()
    found = Found(settings)
    failure = _probe(connection, settings, found, vm, location, second_location, yes)
    facts = found.facts
    _print_facts(facts, settings)
    _print_settings(facts, settings)
    write_file(file, facts.dump(), "--output")
    print_output(
        Text(
            f"\nWrote {file}: {counted(len(facts.values), 'fact')} and no name, GUID, token or "
            "address. To help others with this server, attach it to an issue."
        )
    )
    if failure:
        click.echo(f"vmbackup: {one_line(worded(failure))}", err=True)
        raise click.exceptions.Exit(1)


def _check_overwriting(file: Path) -> None:
    if file.exists() and file.stat().st_size:
        try:
            Facts.load(file)
        except ArgumentError:
            raise ArgumentError(
                f"{file} of --output exists already and is not a file of facts: give another name."
            ) from None


def _probe(
    connection: Connection,
    settings: Settings,
    found: Found,
    vm: str | None,
    location: str | None,
    second_location: str | None,
    yes: bool,
) -> VmBackupError | None:
    """Find out what can be found out; the error that ended it early, if some facts were found."""
    with Client(replace(settings, parallel_requests=_MOST_AT_A_TIME)) as client:
        writing = None
        if vm is not None and location is not None:
            writing = _prepared(client, found, vm, location, second_location, connection)
            _confirm(writing, yes)
        else:
            for key, fact in FACTS.items():
                if fact.step in ("writes", "second location"):
                    found.miss(_WITHOUT_WRITES, key)
        try:
            read_facts(client, found, _say)
            if writing:
                writing.run()
        except VmBackupError as error:
            if "unknownToken" not in found.values:
                raise
            return error
    return _not_restored(writing.restored) if writing else None


def _prepared(
    client: Client,
    found: Found,
    vm: str,
    location: str,
    second_location: str | None,
    connection: Connection,
) -> WritingProbe:
    """The probe that changes a VM; nothing is changed yet."""
    catalog = Catalog(client.settings, client=client)
    its_vm = catalog.get_virtual_machine(**({"ref": vm} if is_guid(vm) else {"name": vm}))
    its_location = _location(catalog, location)
    second = None if second_location is None else _location(catalog, second_location)
    if second and second.kind != "primary":
        raise ArgumentError(
            f"{second.label} of --second-location is {second.kind or 'of unknown kind'}: give a "
            "primary location, since only a second one of these is in doubt."
        )
    if second and second.id == its_location.id:
        raise ArgumentError("--location and --second-location are the same: give two locations.")
    file = Path(JOURNAL).resolve()

    def tell(restored: Restored) -> None:
        _tell(restored, its_vm.name or vm, connection, file)

    return WritingProbe(client, its_vm, its_location, second, found, file, _say, tell)


def _location(catalog: Catalog, text: str) -> BackupLocation:
    if is_guid(text):
        return catalog.get_backup_location(id=text)
    return catalog.get_backup_location(path=text)


def _confirm(writing: WritingProbe, yes: bool) -> None:
    if yes:
        return
    if not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
        raise ArgumentError(
            "Nobody can say yes here, so nothing was changed: give --yes to let --vm be changed."
        )
    if not click.confirm(f"{writing.plan} Go on?", err=True):
        raise ArgumentError("The answer was no, so nothing was changed.")


def _say(step: str) -> None:
    """Say what is done next; never an error, since the VM must still be restored."""
    try:
        click.echo(f"... {one_line(step)}", err=True)
    except (OSError, ValueError):  # the terminal is gone
        return


# The end of the writing half


def _tell(restored: Restored, vm: str, connection: Connection, file: Path) -> None:
    if restored.is_done:
        _say(f"{vm} has the locations that it had before, as a listing shows")
        return
    for line in _alarm(restored, vm, connection, file):
        _say(line)


def _alarm(restored: Restored, vm: str, connection: Connection, file: Path) -> list[str]:
    lines = []
    if restored.missing:
        lines.append(
            f"NOT RESTORED: {vm} IS NOT ASSIGNED TO {', '.join(restored.missing)} ANY MORE"
        )
    if restored.extra:
        lines.append(f"NOT RESTORED: {vm} IS STILL ASSIGNED TO {', '.join(restored.extra)}")
    if not lines:
        lines.append(f"NOT CHECKED WHETHER {vm} HAS THE LOCATIONS THAT IT HAD BEFORE")
    if restored.error:
        lines.append(f"BECAUSE: {restored.error}")
    return [*lines, f"AS SOON AS THE SERVER ANSWERS, RUN: {_restore_command(connection, file)}"]


def _restore_command(connection: Connection, file: Path) -> str:
    """The command that restores the VM, for the shell of this system."""
    words = ["vmbackup", "probe", "--restore", str(file)]
    for stack in connection.stacks:
        words += ["--stack", stack]
    if connection.name:
        words += ["--connection", connection.name]
    for key, value in connection.options.items():
        words += [f"--{SETTINGS[key].name.replace('_', '-')}", value]
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)


def _not_restored(restored: Restored) -> VmBackupError | None:
    return None if restored.is_done else VmBackupError("The VM could not be restored: see above.")


def _restore(connection: Connection, file: Path) -> None:
    journal = Journal.load(file)
    settings, _ = connection.read()
    if settings.server != journal.server:
        raise WrongServerError(
            f"{file} holds the locations of a VM of the server {journal.server}, and the settings "
            f"lead to {settings.server}: give the settings of that server."
        )
    with Client(settings) as client:
        restored = restore(client, journal, journal.touched, 0.0, _say)
    _tell(restored, journal.vm_name, connection, file.resolve())
    if not restored.is_done:
        raise click.exceptions.Exit(1)
    file.unlink(missing_ok=True)


# What was found


def _print_facts(facts: Facts, settings: Settings) -> None:
    for part, title in _PARTS.items():
        table = new_table(title, "Found", "Assumed", "")
        for key, fact in FACTS.items():
            if fact.part != part or fact.step == "none":
                continue
            if key in facts.values:
                is_other = differs(key, facts, settings)
                table.add_row(
                    text(fact.what),
                    text(_shown(facts.values[key]), "bold" if is_other else ""),
                    text(fact.assumed),
                    text(f"DIFFERS: {fact.if_wrong}" if is_other else "", "bold"),
                )
            else:
                why = facts.not_found[key]
                table.add_row(text(fact.what), text(f"- ({why})", "dim"), text(fact.assumed), "")
        print_output(Text(""))
        print_output(table)
    other = sum(differs(key, facts, settings) for key in facts.values)
    print_output(
        Text(
            f"\n{counted(other, 'fact')} of {len(facts.values)} that were found: this package "
            "assumes something else. The lines with DIFFERS say what follows."
            if other
            else f"\nAll {len(facts.values)} facts that were found are as this package assumes."
        )
    )


def _shown(value: Value) -> str:
    if isinstance(value, float):
        return duration(value)
    if isinstance(value, (str, int, Answer)):
        return str(value)
    new = [
        f"{name} ({' or '.join(types)})"
        for name, types in value.items()
        if name not in (*VM_FIELDS, *LOCATION_FIELDS)
    ]
    return f"{len(value)} fields, of them not known before: {', '.join(new) or 'none'}"


def _print_settings(facts: Facts, settings: Settings) -> None:
    print_output(Text("\nSettings for this server", "bold"))
    lines = []
    for each in advised(facts):
        now = getattr(settings, SETTINGS[each.key].name)
        command = config_command(each.key, settings.connection)
        line = f"{command or to_configure(each.key, settings.connection)} {each.value}"
        is_now = "as now" if now == each.value else f"now {now:g}"
        lines.append((line, f"{is_now}; {each.reason}"))
    width = max(len(line) for line, _ in lines)
    for line, reason in lines:
        print_output(Text(f"  {line:{width}}  # {reason}"))
