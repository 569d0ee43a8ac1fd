"""``vmbackup review``: what an update means for the backups, and which rules it breaks."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import click

from ..catalog import refuse_no_locations
from ..coverage import Coverage, Meaning, Wanted, cover
from ..errors import ArgumentError, SettingsError
from ..files import path_of, reason_of, text_of
from ..inventory import Snapshot
from ..previews import (
    HOW_TO_PREVIEW,
    ServerPlan,
    StackPlan,
    read_inventory,
    read_preview,
    read_state,
    refuse_foreign,
)
from ..rules import (
    RULES_FILE,
    UNMANAGED,
    WANTED,
    Requirement,
    Rules,
    Verdict,
    parse_limit,
    read_rules,
)
from ..sentences import judged
from ..settings import ADDRESS_SETTINGS, SETTINGS
from .connection import Connection, connecting_with_stacks
from .markdown import markdown
from .output import check_file, echo, echo_json, new_table, print_output, text, write_file
from .page import page
from .report import EXIT_CODES, Review, source_of
from .stack import export_stack, read_stack
from .wording import printable

_SHOWN = 50
_LOSS, _MAYBE = "bold red", "bold yellow"
_STYLES = {
    Meaning.LOSES_LAST: _LOSS,
    Meaning.LOSES_LAST_OFFSITE: _LOSS,
    Meaning.LOSES_LAST_PRIMARY: _LOSS,
    Meaning.MAY_LOSE: _MAYBE,
}
_STYLES_OF_VERDICTS = {
    Verdict.KEPT: "bold green",
    Verdict.UNKNOWN: _MAYBE,
    Verdict.BROKEN: _LOSS,
}
_SHOWN_ROWS = 1_000
_BEGINNINGS = {
    "--markdown": (b"### Backup review", b"### Backup locations"),
    "--html": (b'content="vmbackup review"',),
}
_FORMS: dict[str, Callable[[Review], str]] = {"--markdown": markdown, "--html": page}


class _Review(click.Command):
    """Its exit code 2 means that a rule is broken, so it cannot mean a wrong option."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        try:
            return super().make_context(*args, **kwargs)
        except click.UsageError as error:
            error.exit_code = 1  # type: ignore[misc]  # click's own way is a class each
            raise


@click.command(
    cls=_Review, short_help="Show what an update means for the backups, and check rules."
)
@click.option(
    "--preview",
    "previews",
    multiple=True,
    metavar="FILE",
    help=f"the output of {HOW_TO_PREVIEW}; - for standard input; may be repeated",
)
@click.option(
    "--inventory",
    "inventories",
    multiple=True,
    metavar="[NAME=]FILE",
    help="a snapshot to read instead of asking the server; for several servers, give the NAME of "
    "the connection or the provider before each; may be repeated",
)
@click.option(
    "--require",
    multiple=True,
    type=click.Choice(WANTED),
    help="each configured VM must have such a location; may be repeated",
)
@click.option(
    "--at-most-removed",
    metavar="N|P%",
    help="how many assignments the update may remove, as a number or in percent of all",
)
@click.option(
    "--forbid",
    multiple=True,
    type=click.Choice([UNMANAGED]),
    help="a resource must declare each assignment on the server",
)
@click.option(
    "--rules",
    "rules_file",
    metavar="FILE",
    help=f"the file with rules and exceptions; if left out, {RULES_FILE} of the present folder",
)
@click.option("--json", "as_json", is_flag=True, help="JSON for programs, not a table")
@click.option(
    "--markdown",
    "markdown_file",
    metavar="FILE",
    help="a file to write for a comment on a pull request; - for standard output",
)
@click.option(
    "--html",
    "html_file",
    metavar="FILE",
    help="a page to write, for a browser: the locations that each VM has, gains and loses",
)
@click.option("--overwrite", is_flag=True, help="replace a file that is not a review, too")
@connecting_with_stacks
def review(
    connection: Connection,
    previews: tuple[str, ...],
    inventories: tuple[str, ...],
    as_json: bool,
    markdown_file: str | None,
    html_file: str | None,
    overwrite: bool,
    **rules: Any,
) -> None:
    """Show what an update means for the backups: which VM gains or loses which location.

    Without --preview, it compares the states of the stacks with the server: what somebody has
    un-assigned, and what no resource declares.

    The exit code is 0 if no rule is broken, 2 if a rule is broken, and 1 if the command fails or
    cannot tell.
    """
    if as_json and markdown_file == "-":
        raise ArgumentError("--json and --markdown - are both standard output: give a file.")
    files: dict[str, Path] = {}
    if markdown_file not in (None, "-"):
        files["--markdown"] = check_file(markdown_file, "--markdown")
    if html_file is not None:
        files["--html"] = check_file(html_file, "--html")
    for option, file in files.items():
        _refuse_other(file, option, overwrite=overwrite)
    if len({*files.values()}) < len(files):
        raise ArgumentError("--markdown and --html are the same file: give two.")
    wanted = _rules(**rules)
    if wanted.forbids_unmanaged and not previews and not connection.stacks:
        raise ArgumentError(
            "The rule `unmanaged` needs all stacks of the server: give --stack or --preview for "
            "each of them."
        )
    plans = _plans(connection, previews)
    coverages = _coverages(connection, plans, inventories)
    done = Review(
        stacks=tuple(plan.stack for plan in plans),
        is_preview=any(plan.is_preview for plan in plans),
        coverages=tuple(coverages),
        judgements=(*wanted.unmatched(coverages), *wanted.judge(coverages, date.today())),
    )
    for option, file in files.items():
        write_file(file, _FORMS[option](done), option)
    if as_json:
        echo_json(json.dumps(done.json(), indent=2) + "\n")
    elif markdown_file == "-":
        echo(markdown(done))
    else:
        _print(done)
    click.get_current_context().exit(EXIT_CODES[done.verdict])


def _rules(
    require: tuple[Wanted, ...],
    at_most_removed: str | None,
    forbid: tuple[str, ...],
    rules_file: str | None,
) -> Rules:
    """The rules of the options, and those of the file."""
    default = Path(RULES_FILE)
    rules = Rules()
    if rules_file is not None:
        rules = read_rules(path_of(rules_file), "--rules")
    elif (misspelt := default.with_suffix(".yml")).exists() and not default.exists():
        raise ArgumentError(
            f"{misspelt} is not read: call it {default}, or give --rules {misspelt}."
        )
    elif default.exists():
        rules = read_rules(default)
    if at_most_removed is not None:
        try:
            rules = replace(rules, limits=(parse_limit(at_most_removed), *rules.limits))
        except ValueError as error:
            raise ArgumentError(f"The value of --at-most-removed: {error}.") from None
    return replace(
        rules,
        requirements=(*map(Requirement, require), *rules.requirements),
        forbids_unmanaged=rules.forbids_unmanaged or bool(forbid),
    )


def _refuse_other(file: Path, option: str, *, overwrite: bool) -> None:
    """Refuse to replace a file that is not of such a review."""
    if overwrite or not file.exists() or not file.stat().st_size:
        return
    with file.open("rb") as opened:
        beginning = opened.read(500)
    if not any(each in beginning for each in _BEGINNINGS[option]):
        raise ArgumentError(
            f"{file} of {option} exists already and is no review: give another name, or "
            "--overwrite to replace it."
        )


# The stacks


def _plans(connection: Connection, previews: tuple[str, ...]) -> list[StackPlan]:
    """What all stacks assign. Of a stack with a preview, the state tells only what waits."""
    plans = [read_preview(_content(name), f"{name} of --preview") for name in previews]
    for number, stack in enumerate(connection.stacks):
        get_config = connection.get_config if number == 0 else read_stack(stack)
        state = read_state(export_stack(stack), stack, get_config)
        if plans and not state.plans and not state.pending:
            continue  # it declares nothing yet
        before = [each for each in plans if each.stack == state.stack and each.is_preview]
        if before:
            plans.remove(before[0])
            plans.append(replace(before[0], plans=before[0].plans + state.pending))
        else:
            plans.append(replace(state, plans=state.plans + tuple(map(_later, state.pending))))
    seen: set[str] = set()
    for plan in plans:
        if plan.stack in seen:
            raise ArgumentError(f"The stack {plan.stack} is given twice: give it once.")
        seen.add(plan.stack)
    return plans


def _later(pending: ServerPlan) -> ServerPlan:
    """What the next update un-assigns: now, it is still assigned."""
    plan = pending.plan
    later = replace(plan, unassigns=frozenset(), will_unassign=plan.unassigns)
    return pending._replace(plan=later)


def _content(name: str) -> str:
    try:
        if name == "-":
            return text_of(sys.stdin.buffer.read())
        return text_of(path_of(name).read_bytes())
    except OSError as error:
        raise ArgumentError(
            f"{name} of --preview cannot be read ({reason_of(error, path_of(name))}): give it the "
            f"output of {HOW_TO_PREVIEW}."
        ) from None
    except UnicodeDecodeError:
        raise ArgumentError(
            f"{name} of --preview is not text: give it the output of {HOW_TO_PREVIEW}."
        ) from None


# The servers


def _coverages(
    connection: Connection, plans: Sequence[StackPlan], inventories: tuple[str, ...]
) -> list[Coverage]:
    by_server: dict[str, list[ServerPlan]] = {}
    for each in (each for plan in plans for each in plan.plans):
        by_server.setdefault(each.server, []).append(each)
    if not by_server:
        by_server[_own_server(connection)] = []
    files = _files(by_server, inventories)
    coverages = []
    for server, its in sorted(by_server.items(), key=_unnamed_first):
        inventory = files.get(server) or _live(connection, server, its)
        refuse_foreign(server, its, inventory)
        names = sorted({each.name for each in its if each.name})
        coverages.append(
            cover(
                f"{server} ({', '.join(names)})" if names else server,
                inventory,
                [each.plan for each in its],
                is_declared=bool(plans),
                is_snapshot=server in files,
            )
        )
    return coverages


def _unnamed_first(server_and_plans: tuple[str, list[ServerPlan]]) -> tuple[bool, str]:
    server, its = server_and_plans
    return all(each.name for each in its), server


def _own_server(connection: Connection) -> str:
    """The server that the options, the first stack and the environment lead to."""
    settings, _ = connection.read(without=SETTINGS.keys() - {*ADDRESS_SETTINGS})
    return settings.server


def _files(
    by_server: dict[str, list[ServerPlan]], inventories: tuple[str, ...]
) -> dict[str, Snapshot]:
    """The snapshots of --inventory, by server."""
    files: dict[str, Snapshot] = {}
    names = {each.name for its in by_server.values() for each in its}
    for given in inventories:
        start, sign, rest = given.partition("=")
        is_named = sign and (start in names or start in by_server or not path_of(given).exists())
        name, file = (start, rest) if is_named else (None, given)
        servers = {
            server
            for server, its in by_server.items()
            if name in {server, *(each.name for each in its)} or (name is None and not names)
        }
        if len(servers) != 1:
            there_are = sorted({*map(str, names - {None}), *by_server})
            raise ArgumentError(
                f"{given} of --inventory does not say from which server it is: write NAME=FILE, "
                f"with the name of a connection or a provider, or with the server (there are: "
                f"{', '.join(there_are)})."
            )
        server = servers.pop()
        if server in files:
            raise ArgumentError(
                f"{given} of --inventory is the second one of {server}: give only one."
            )
        files[server] = read_inventory(path_of(file), "--inventory")
    return files


def _live(connection: Connection, server: str, its: list[ServerPlan]) -> Snapshot:
    """What a server holds now."""
    names = {each.name for each in its}
    if not its or None in names or connection.name in names:
        leads_to = _own_server(connection)
        if leads_to != server:
            raise SettingsError(
                f"The resources are on the server {server}, but the options, --stack and the "
                f"environment lead to {leads_to}: give --base-url of the first, or --inventory."
            )
        try:
            inventory = connection.gather()
        except SettingsError as error:
            if connection.stacks:
                raise
            also = "Give --stack for the settings of a stack, or --inventory for a snapshot."
            raise error.reworded(f"{error} {also}") from None
    else:
        raise ArgumentError(
            f"There is no inventory of the server {server}: give --inventory "
            f"{min(map(str, names))}=FILE, with a file that `vmbackup snapshot` writes there."
        )
    refuse_no_locations(inventory.backup_locations)
    return inventory


# The output


def _print(review: Review) -> None:
    echo(f"{review.title()}\n\n")
    for sentence in review.summary():
        echo(f"{sentence}\n")
    for coverage in review.coverages:
        if len(review.coverages) > 1:
            echo(f"\n{coverage.server}\n")
        rows = list(review.rows(coverage))
        if rows:
            table = new_table("VM", "Host", "Now", "Afterwards", "What it means")
            for row in rows[:_SHOWN_ROWS]:
                table.add_row(
                    text(row.vm),
                    text(row.host),
                    text(_cell(row.now)),
                    text(_cell([*row.after, row.unknown])),
                    text(row.meaning, _STYLES.get(row.meanings[0], "")),
                )
            echo("\n")
            print_output(table)
            if len(rows) > _SHOWN_ROWS:
                echo(f"\nAnd {len(rows) - _SHOWN_ROWS:,} more VMs that change; --html shows all.\n")
        _print_some([printable(note) for note in review.notes(coverage)], "notes")
        echo(f"\n{source_of(coverage)}\n")
    echo("\n" if review.judgements else "\nNo rule is given, so none was judged.\n")
    for judgement in review.judgements:
        verdict = text(judgement.verdict.value.upper(), _STYLES_OF_VERDICTS[judgement.verdict])
        print_output(verdict.append(f": {printable(judged(judgement))}", "not bold default"))
    for coverage in review.coverages:
        unmanaged = [
            f"  {printable(vm)}: {printable(', '.join(locations))}"
            for vm, locations in review.unmanaged(coverage)
        ]
        at = f" at {coverage.server}" if len(review.coverages) > 1 else ""
        _print_some(unmanaged, "VMs", f"Assignments{at} that no resource declares:")


def _print_some(lines: list[str], what: str, *head: str) -> None:
    """The first of some lines, and how many more there are."""
    if lines:
        echo("\n" + "".join(f"{line}\n" for line in (*head, *lines[:_SHOWN])))
    if len(lines) > _SHOWN:
        echo(f"And {len(lines) - _SHOWN:,} more {what}; --json lists all.\n")


def _cell(names: list[str]) -> str:
    return ", ".join(filter(None, names)) or "none"
