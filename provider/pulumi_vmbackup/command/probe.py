"""``vmbackup probe``: finds out how a server behaves, and what to set for it."""

from __future__ import annotations

import sys
import time
from dataclasses import replace
from pathlib import Path

import click
from rich.text import Text

from ..catalog import Catalog
from ..client import Client
from ..errors import ArgumentError, VmBackupError
from ..facts import FACTS, MOST_AT_A_TIME, Answer, Facts, Part, Value
from ..models import LOCATION_FIELDS, VM_FIELDS, BackupLocation, is_guid
from ..names import counted
from ..probe.advice import advised, differs, duration
from ..probe.calls import Found
from ..probe.reads import read_facts
from ..probe.writes import (
    Journal,
    Restored,
    WritingProbe,
    journal_file,
    refuse_left_journal,
    remove_journal,
    restore,
    to_restore,
)
from ..session import UNKNOWN_SESSION_SECONDS
from ..settings import SETTINGS, Settings, config_command, to_configure
from .connection import Connection, connecting, tell_of_wait
from .output import check_file, is_terminal, new_table, print_output, text, write_file
from .stack import pulumi_options
from .wording import one_line, option_name, shell_line

_SECOND = "second location"
_NEEDS = {
    "writes": "not tried: it needs --vm and --location",
    _SECOND: "not tried: it needs --vm, --location and --second-location",
}
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
    help="the name or ref of a VM to assign and un-assign; without it, the probe changes nothing",
)
@click.option(
    "--location",
    metavar="PATH",
    help="the path or id of a backup location that this VM does not have",
)
@click.option(
    "--second-location",
    metavar="PATH",
    help="a primary location, to find out what happens if the VM gets a second one",
)
@click.option("--yes", is_flag=True, help="do not ask before a VM is changed")
@click.option(
    "--output",
    metavar="FILE",
    default="facts.json",
    show_default=True,
    help="the file for the facts, without names, GUIDs, tokens and addresses",
)
@click.option(
    "--restore",
    "is_restore",
    is_flag=True,
    help="restore the locations of a VM that a probe did not restore; do nothing else",
)
@connecting
def probe(
    connection: Connection,
    vm: str | None,
    location: str | None,
    second_location: str | None,
    yes: bool,
    output: str,
    is_restore: bool,
) -> None:
    """Find out how this server behaves, and what to set for it.

    Many facts about the API are not documented. The probe finds them out on your server. It prints
    what it found, what this package assumes, and what to set. Without --vm, it changes nothing on
    the server, but it starts and ends up to three sessions.

    With --vm and --location, it assigns the VM to the location and un-assigns it. In the end, the
    VM has its old locations, also after an error or Ctrl-C.
    """
    if is_restore:
        _restore(connection, is_asked=not yes)
        return
    if (vm is None) != (location is None) or (second_location is not None and vm is None):
        raise ArgumentError(
            "--vm needs --location, --location needs --vm, and --second-location both."
        )
    file = check_file(output, "--output")
    _check_overwriting(file)
    settings, _ = connection.read()
    found = Found(settings)
    for key, fact in FACTS.items():
        if (fact.step == "writes" and not vm) or (fact.step == _SECOND and not second_location):
            found.miss(_NEEDS[fact.step], key)
    failure: VmBackupError | None = None
    gentle = replace(settings, parallel_requests=MOST_AT_A_TIME)
    with Client(gentle, tell_of_wait) as client:
        writing = None
        if vm is not None and location is not None:
            refuse_left_journal(journal_file(settings))
            writing = _prepared(client, found, vm, location, second_location, connection)
            _confirm(writing.plan, is_asked=not yes)
        read_facts(client, found, _say)
        if writing:
            try:
                writing.run()
            except VmBackupError as error:
                failure = error
            if not writing.restored.is_done:
                failure = failure or VmBackupError("The VM is not restored: see above.")
    facts = found.facts
    write_file(file, facts.dump(), "--output")
    _print_facts(facts, settings)
    _print_settings(facts, settings, connection)
    print_output(
        Text(
            f"\n{file} has {counted(len(facts.values), 'fact')}, without names, GUIDs, tokens and "
            "addresses as far as they can be told from other words. Look through it, and attach it "
            "to an issue: that helps others with such a server."
        )
    )
    if failure:
        raise failure


def _check_overwriting(file: Path) -> None:
    if file.exists() and file.stat().st_size:
        try:
            Facts.load(file)
        except ArgumentError:
            raise ArgumentError(
                f"{file} of --output exists already and is not a file of facts: give another name."
            ) from None


# The writing half


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
            "primary location, since only a second primary one is tested."
        )
    if second and second.id == its_location.id:
        raise ArgumentError("--location and --second-location are the same: give two locations.")

    def tell(restored: Restored) -> None:
        _tell(restored, its_vm.name or vm, connection)

    return WritingProbe(client, its_vm, its_location, second, found, _say, tell)


def _location(catalog: Catalog, text: str) -> BackupLocation:
    if is_guid(text):
        return catalog.get_backup_location(id=text)
    return catalog.get_backup_location(path=text)


def _confirm(plan: str, *, is_asked: bool) -> None:
    if not is_asked:
        return
    if not (is_terminal(sys.stdin) and is_terminal(sys.stderr)):
        raise ArgumentError(
            f"{plan} There is no terminal to ask whether that is right, so nothing was changed: "
            "give --yes."
        )
    if not click.confirm(f"{one_line(plan)} Go on?", err=True):
        raise ArgumentError("The answer was no, so nothing was changed.")


def _say(step: str) -> None:
    """Say what is done next; never an error, since the VM must still be restored."""
    try:
        click.echo(f"... {one_line(step)}", err=True)
    except (OSError, ValueError):  # the terminal is gone
        return


def _tell(restored: Restored, vm: str, connection: Connection) -> None:
    if restored.is_done:
        _say(f"{vm} has the locations that it had before, as a listing shows")
        return
    if restored.missing:
        _say(f"NOT RESTORED: {vm} IS NOT ASSIGNED TO {', '.join(restored.missing)} ANY MORE")
    if restored.extra:
        _say(f"NOT RESTORED: {vm} IS STILL ASSIGNED TO {', '.join(restored.extra)}")
    if not restored.missing and not restored.extra:
        _say(f"NOT CHECKED WHETHER {vm} HAS THE LOCATIONS THAT IT HAD BEFORE")
    if restored.error:
        _say(f"BECAUSE: {restored.error}")
    _say(f"WHEN THAT IS OVER, RUN: {_restore_command(connection)}")


def _restore_command(connection: Connection) -> str:
    """The command that restores the VM, for the shell of this system."""
    words = ["vmbackup", "probe", "--restore"]
    for stack in connection.stacks:
        words += ["--stack", stack]
    if connection.name:
        words += ["--connection", connection.name]
    for key, value in connection.options.items():
        words += [option_name(key) or "", value]
    return shell_line(words)


def _restore(connection: Connection, *, is_asked: bool) -> None:
    settings, _ = connection.read()
    # The session of the probe that was killed may still be open.
    wait = max(settings.session_wait_seconds, UNKNOWN_SESSION_SECONDS)
    settings = replace(settings, session_wait_seconds=wait)
    file = journal_file(settings)
    if not file.exists():
        raise ArgumentError(
            "There is nothing to restore: this user has no unfinished probe of "
            f"{settings.base_url} ({file} does not exist)."
        )
    journal = Journal.load(file)
    _say(
        f"starting a session; if that of a killed probe is still open, this takes up to {wait:g} s"
    )
    with Client(settings) as client:
        # An error asks whether this is the right server.
        Catalog(settings, client=client).get_virtual_machine(ref=journal.vm_ref)
        listed = [each.id for each in client.vm_backup_locations(journal.vm_ref)]
        missing, extra = to_restore(listed, journal)
        changes = [f"un-assign it from {journal.touched[each]}" for each in extra]
        changes += [f"assign it to {journal.assigned[each]}" for each in missing]
        if changes:
            before = ", ".join(journal.assigned.values()) or "none"
            plan = (
                f"At {journal.written_at}, before a probe, the locations of {journal.vm_name} were "
                f"{before}. To restore that: {', and '.join(changes)}. Somebody may have changed "
                "them on purpose since then."
            )
            _confirm(plan, is_asked=is_asked)
        patience = settings.settle_seconds
        restored = restore(client, journal, (), time.monotonic() + patience, patience, _say)
    if restored.is_done:
        remove_journal(file, _say)
    _tell(restored, journal.vm_name, connection)
    if not restored.is_done:
        raise click.exceptions.Exit(1)


# What was found


def _print_facts(facts: Facts, settings: Settings) -> None:
    for part, title in _PARTS.items():
        table = new_table(title, "Found", "Assumed", "")
        table.leading = 1 if is_terminal(sys.stdout) else 0
        for key, fact in FACTS.items():
            if fact.part != part or fact.step == "none":
                continue
            name = text(f"{key}: {fact.what}")
            if key in facts.values:
                is_other = differs(key, facts, settings)
                table.add_row(
                    name,
                    text(_shown(facts.values[key]), "bold" if is_other else ""),
                    text(fact.assumed),
                    text(f"DIFFERS: {fact.if_wrong}" if is_other else "", "bold"),
                )
            else:
                table.add_row(
                    name, text(f"- ({facts.not_found[key]})", "dim"), text(fact.assumed), ""
                )
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
    return f"{len(value)} fields; new ones: {', '.join(new) or 'none'}"


def _print_settings(facts: Facts, settings: Settings, connection: Connection) -> None:
    print_output(Text("\nSettings for this server", "bold"))
    options = pulumi_options(connection.stacks[0]) if connection.stacks else ""
    for each in advised(facts, settings):
        now = getattr(settings, SETTINGS[each.key].name)
        if each.value is None:
            print_output(Text(f"{each.key} stays {now:g}: {each.reason}"))
            continue
        is_now = "as now" if now == each.value else f"now {now:g}"
        print_output(Text(f"{each.key} {each.value} ({is_now}): {each.reason}"))
        where = (each.key, settings.connection)
        command = config_command(*where) or to_configure(*where)
        print_output(Text(f"  {command} {each.value}{options}"))
