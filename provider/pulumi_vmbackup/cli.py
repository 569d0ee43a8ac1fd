"""The ``vmbackup`` command: what a server holds, and what is wrong on the way to it."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table
from rich.text import Text

from . import doctor
from .client import Client
from .errors import ArgumentError, SettingsError, VmBackupError
from .export import Export, imports
from .inventory import Inventory, gather
from .models import KINDS, Assignment, BackupLocation, Kind, VirtualMachine
from .redaction import add_secret, redact
from .settings import (
    RUN_PROGRAM,
    SECRET_SETTINGS,
    Settings,
    environment_variable,
    option_name,
    read_settings,
    setting_sources,
)

_OPTIONS = {
    "baseUrl": ("URL", "where the API answers"),
    "apiVersion": ("VERSION", "8, 9.0 or 9.1: chooses the documented base URL and server port"),
    "username": ("NAME", "the Windows account that starts the session"),
    "domain": ("NAME", "the domain of that account"),
    "serverAddress": ("HOST", "the VM Backup server that the API logs in to"),
    "serverPort": ("PORT", "the port of that server"),
    "caFile": ("FILE", "a PEM file with the certificate to trust"),
    "hostHeader": ("HOST", "the Host header to send"),
    "timeoutSeconds": ("N", "how long one HTTP exchange may take"),
    "sessionWaitSeconds": ("N", "how long to wait while something else holds the API"),
}
_PULUMI_SECONDS = 120
# Wide enough that nothing is cut or wrapped for a program that reads it.
_NO_TERMINAL_COLUMNS = 100_000
_PIECE = 2**15


class _Group(click.Group):
    """Ends each command as people expect: a sentence for an error, 130 for Ctrl-C."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except VmBackupError as error:
            click.echo(f"vmbackup: {_sentences(error)}", err=True)
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


@dataclass(frozen=True)
class Connection:
    """Where a command's options, the stack and the environment say that the server is.

    Attributes:
        stack: the folder and the name of the stack as one text, or None for none.
        name: of the connection; None for the unnamed one.
        options: the settings that were given as options, by their keys.
    """

    stack: str | None
    name: str | None
    options: dict[str, str]

    def read(self) -> tuple[Settings, dict[str, str]]:
        """The settings, and where each comes from; asks for the password on a terminal."""
        get_config = _read_stack(self.stack) if self.stack else _no_config
        where = (get_config, os.environ, self.name, self.options)
        settings, sources = read_settings(*where), setting_sources(*where)
        is_terminal = sys.stdin.isatty() and sys.stderr.isatty()
        if settings.username and not settings.has_credentials and is_terminal:
            account = f"{settings.domain}\\" * bool(settings.domain) + settings.username
            password = click.prompt(f"Password of {account}", hide_input=True, err=True)
            settings = replace(settings, password=password)
        for secret in (settings.password, settings.session_token):
            if secret:
                add_secret(secret)
        return settings, sources

    def client(self) -> Client:
        return Client(self.read()[0])


def _connecting(command: Callable[..., None]) -> Callable[..., None]:
    """Gives a command the options that say where the server is, as its first argument."""

    @wraps(command)
    def wrapper(stack: str | None, connection: str | None, **arguments: Any) -> None:
        options = {key: arguments.pop(key) for key in _OPTIONS}
        given = {key: text for key, text in options.items() if text is not None}
        command(Connection(stack, connection, given), **arguments)

    decorated: Callable[..., None] = wrapper
    for key, (metavar, what) in reversed(_OPTIONS.items()):
        also = environment_variable(key)
        decorated = click.option(
            option_name(key), key, metavar=metavar, help=f"{what} [env: {also}]"
        )(decorated)
    decorated = click.option(
        "--connection",
        metavar="NAME",
        help="a connection of vmbackup:connections, or of VMBACKUP_<NAME>_… variables",
    )(decorated)
    return click.option(
        "--stack",
        metavar="DIR/STACK",
        help="read the configuration of this Pulumi stack; options win over it, and it wins over "
        "the environment",
    )(decorated)


_JSON = click.option("--json", "as_json", is_flag=True, help="JSON for programs, not a table")


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="pulumi-vmbackup", prog_name="vmbackup")
def vmbackup() -> None:
    """Show what a Hornetsecurity (Altaro) VM Backup server holds.

    The server and the account come from options, from the configuration of a Pulumi stack
    (--stack), or from VMBACKUP_… variables. The password and the session token have no option: set
    VMBACKUP_PASSWORD, or type the password when you are asked for it on a terminal.
    """


@vmbackup.command(short_help="The virtual machines and their last backups.")
@_JSON
@_connecting
def vms(connection: Connection, as_json: bool) -> None:
    """List the virtual machines and their last backups."""
    with connection.client() as client:
        found = sorted(client.virtual_machines(), key=_vm_order)
    if as_json:
        _print_json(map(_fields, found))
        return
    table = _table(
        "VM", "Host", "Configured", "Last backup", "Result", "Last offsite copy", "Result", "Ref"
    )
    for vm in found:
        table.add_row(
            _text(vm.name),
            _text(vm.host),
            _text({True: "yes", False: "no", None: None}[vm.configured]),
            _time(vm.last_backup_time),
            _text(vm.last_backup_result),
            _time(vm.last_offsite_copy_time),
            _text(vm.last_offsite_copy_result),
            _text(vm.ref),
        )
    _print(table)


@vmbackup.command(short_help="The primary and the offsite backup locations.")
@_JSON
@_connecting
def locations(connection: Connection, as_json: bool) -> None:
    """List the primary and the offsite backup locations."""
    with connection.client() as client:
        found: list[BackupLocation] = []
        for kind in ("primary", "offsite"):
            of_kind = client.backup_locations(kind)
            found += sorted(of_kind, key=lambda each: _order(each.path))
    if as_json:
        _print_json(map(_fields, found))
        return
    table = _table("Path", "Kind", "Id")
    for location in found:
        table.add_row(_text(location.path), _text(location.kind), _text(location.id))
    _print(table)


@vmbackup.command(short_help="Which VM goes to which backup location.")
@_JSON
@_connecting
def assignments(connection: Connection, as_json: bool) -> None:
    """List which VM goes to which location; a VM without an offsite location stands out."""
    inventory = _gather(connection)
    if as_json:
        _print_json(
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
    table = _table("VM", "Host", "Primary", "Offsite", "Last backup")
    if any(each.kind is None for each in inventory.assignments):
        table.add_column("Primary or offsite", overflow="fold")
    without_offsite = without_any = 0
    for vm in sorted((vm for vm in inventory.virtual_machines if vm.is_assignable), key=_vm_order):
        its = by_vm.get(vm.ref or "", [])
        primary, offsite, unknown = (_paths(its, kind) for kind in ("primary", "offsite", None))
        nowhere = not its
        no_offsite = not offsite and not unknown
        without_any += nowhere
        without_offsite += no_offsite
        table.add_row(
            _text(vm.name, "bold red" if nowhere else "bold yellow" if no_offsite else ""),
            _text(vm.host),
            _text("none", "bold red") if nowhere else _text(primary or ("" if unknown else "-")),
            _text("none", "bold red" if nowhere else "bold yellow")
            if no_offsite
            else _text(offsite),
            _text(vm.last_backup_result),
            *([_text(unknown)] if len(table.columns) > 5 else ()),
        )
    _print(table)
    if without_offsite:
        click.echo(
            f"Without an offsite location: {without_offsite} of "
            f"{_count(table.row_count, 'configured VM')}; without any location: {without_any}.",
            err=True,
        )


@vmbackup.command(short_help="Write the inventory for previews elsewhere.")
@click.option(
    "--output",
    required=True,
    metavar="FILE",
    help="the file to write, whole or not at all; - for standard output",
)
@_connecting
def snapshot(connection: Connection, output: str) -> None:
    """Write the inventory that previews read away from the server (vmbackup:inventoryFile)."""
    file = None if output == "-" else Path(output).resolve()
    if file:
        _check_output(file, "--output")
    inventory = _gather(connection)
    text = inventory.dump()
    if file:
        _write(file, text, "--output")
    else:
        _echo(text.encode())  # UTF-8, as in a file
    click.echo(
        f"Wrote {'standard output' if output == '-' else output}: "
        f"{_count(len(inventory.virtual_machines), 'virtual machine')}, "
        f"{_count(len(inventory.backup_locations), 'backup location')}, "
        f"{_count(len(inventory.assignments), 'assignment')}.",
        err=True,
    )


@vmbackup.command(short_help="Pulumi files for what is assigned already.")
@click.option(
    "--import-file",
    metavar="FILE",
    help="a file to write for `pulumi import --file`; - for standard output",
)
@click.option(
    "--program",
    metavar="FILE",
    help="a Python program to write that declares the same; - for standard output",
)
@click.option("--overwrite", is_flag=True, help="replace files that are there already")
@click.option(
    "--vm",
    "vms",
    multiple=True,
    metavar="PATTERN",
    help="only VMs whose name matches, in any case, like 'SQL*'; may be repeated",
)
@click.option(
    "--host",
    "hosts",
    multiple=True,
    metavar="NAME",
    help="only VMs on this hypervisor host; may be repeated",
)
@click.option(
    "--location",
    "locations",
    multiple=True,
    metavar="PATH",
    help="only assignments to this location, by its path or id; may be repeated",
)
@click.option("--kind", type=click.Choice(KINDS), help="only assignments to such locations")
@_connecting
def export(
    connection: Connection,
    import_file: str | None,
    program: str | None,
    overwrite: bool,
    **filters: Any,
) -> None:
    """Write what `pulumi import` and a program need to take over what is assigned already.

    They are for the plugin, pulumi-resource-vmbackup, and for a stack whose settings lead to the
    same server. Each name in them is the VM's and the location's, such as SQL01-OFFSITE01.
    """
    given = {"--import-file": import_file, "--program": program}
    outputs = {option: name for option, name in given.items() if name is not None}
    files = {option: Path(name).resolve() for option, name in outputs.items() if name != "-"}
    if not outputs:
        raise click.UsageError(
            "Nothing is to be written: give --import-file FILE, --program FILE, or both."
        )
    if len({files.get(option) for option in outputs}) < len(outputs):
        raise click.UsageError(
            "--import-file and --program are the same place: give them different ones."
        )
    for option, file in files.items():
        _check_output(file, option)
        if file.exists() and not overwrite:
            raise ArgumentError(
                f"{file} of {option} is there already: give another name, or --overwrite to "
                "replace it."
            )
    exported = Export(_gather(connection))
    resources = exported.select(**filters)
    if not resources:
        which = "matches all of the filters" if any(filters.values()) else "is on the server"
        raise ArgumentError(
            f"No assignment {which}, so nothing was written: `vmbackup assignments` shows what "
            "there is."
        )
    texts = {
        "--import-file": lambda: imports(resources),
        "--program": lambda: exported.program(resources),
    }
    counted = (
        f"{_count(len(resources), 'assignment')} of "
        f"{_count(len({each.assignment.vm_ref for each in resources}), 'virtual machine')}"
    )
    for option, name in outputs.items():
        text = texts[option]()
        if option in files:
            _write(files[option], text, option)
        else:
            _echo(text.encode())  # UTF-8, as in a file
        place = name if option in files else "standard output"
        click.echo(f"Wrote {place}: {counted}.", err=True)


@vmbackup.command("doctor", short_help="What is wrong on the way to the server.")
@_connecting
def doctor_command(connection: Connection) -> None:
    """Follow the way to the server, and say what is wrong on it and what to do."""
    try:
        settings, sources = connection.read()
    except SettingsError as error:
        _print_finding(doctor.Finding("settings", "they cannot be used", False, str(error)))
        raise click.exceptions.Exit(1) from None
    finding = None
    with closing(doctor.examine(settings, sources)) as findings:
        for finding in findings:
            _print_finding(finding)
    if finding is None or not finding.ok:
        raise click.exceptions.Exit(1)


def main() -> None:
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


# The stack


def _no_config(_: str) -> None:
    return None


def _read_stack(stack: str) -> Callable[[str], object]:
    """The configuration of a stack, secrets in clear, as read_settings() takes it."""
    *folders, name = re.split(r"[/\\](?=[^/\\]*$)" if os.name == "nt" else r"/(?=[^/]*$)", stack)
    folder = Path(folders[0] or "/") if folders else Path()
    if not name or not folder.is_dir():
        raise SettingsError(
            f"There is no folder {folder.absolute()} with a stack {name!r}: give --stack the "
            "folder of a Pulumi program and the name of its stack, like infrastructure/prod."
        )
    pulumi = shutil.which("pulumi")
    if not pulumi:
        raise SettingsError(
            "The configuration of --stack is read with the Pulumi CLI, and there is no `pulumi` on "
            "PATH: install it, or leave --stack out and set VMBACKUP_… variables."
        )
    command = ["config", "--json", "--show-secrets", "--stack", name, "--non-interactive"]
    command += ["--color", "never"]
    try:
        done = subprocess.run(  # noqa: S603  # the user's own CLI
            [pulumi, *command],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_PULUMI_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise SettingsError(
            f"`pulumi config` did not answer within {_PULUMI_SECONDS} seconds: check whether the "
            "backend of the stack can be reached."
        ) from None
    except OSError as error:
        raise SettingsError(f"`pulumi config` cannot be run: {error.strerror}.") from None
    if done.returncode != 0:
        raise SettingsError(_why_no_config(stack, done.stderr.decode("utf-8", "replace")))
    try:
        config = json.loads(done.stdout)
        entries = {key: dict(entry) for key, entry in config.items()}
    except (ValueError, TypeError, AttributeError):
        raise SettingsError(
            f"`pulumi config --json` of the stack {stack} printed something else than its "
            "configuration: try another version of the Pulumi CLI."
        ) from None

    def get_config(key: str) -> object:
        entry = entries.get(f"vmbackup:{key}", {})
        value = entry.get("objectValue", entry.get("value"))
        if key == "connections" and isinstance(value, dict):
            return {name: _in_folder(folder, settings) for name, settings in value.items()}
        return _in_folder(folder, {key: value})[key]

    for key in SECRET_SETTINGS:
        if get_config(key):
            add_secret(str(get_config(key)))
    return get_config


def _in_folder(folder: Path, settings: Any) -> Any:
    """Settings of a stack whose paths are read from the folder of the program, as Pulumi does."""
    if not isinstance(settings, dict):
        return settings
    ca_file = settings.get("caFile")
    if not isinstance(ca_file, str) or not ca_file or ca_file.startswith("~"):
        return settings
    return {**settings, "caFile": str(folder / ca_file)}


def _why_no_config(stack: str, printed: str) -> str:
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")] or lines[-1:]
    reason = _plain(errors[0].removeprefix("error: ")) if errors else "it says no reason"
    advice = (
        "Set PULUMI_CONFIG_PASSPHRASE or PULUMI_CONFIG_PASSPHRASE_FILE to the passphrase of the "
        "stack."
        if "passphrase" in reason
        else "Check the folder and the stack, and that you are logged in to its backend."
    )
    reason = reason.rstrip(".")
    return (
        f"The configuration of the stack {stack} cannot be read: pulumi says “{reason}”. {advice}"
    )


# Output


def _gather(connection: Connection) -> Inventory:
    with connection.client() as client, _progress() as progress:
        return gather(client, progress)


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None] | None]:
    """A progress bar on stderr, when that is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    bar = Progress(
        TextColumn("Asking for the locations of each VM"),
        BarColumn(),
        MofNCompleteColumn(),
        console=Console(stderr=True),
        transient=True,
    )
    with bar:
        task = bar.add_task("", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _table(*headers: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for header in headers:
        table.add_column(header, overflow="fold")
    return table


def _print(output: Table | Text) -> None:
    if sys.stdout.isatty():
        Console(highlight=False).print(output, soft_wrap=isinstance(output, Text))
        return
    text = io.StringIO()
    plain = Console(
        file=text,
        width=_NO_TERMINAL_COLUMNS,
        height=25,
        force_terminal=False,
        color_system=None,
        highlight=False,
        legacy_windows=False,
    )
    plain.print(output, soft_wrap=isinstance(output, Text))
    _echo("".join(f"{line.rstrip()}\n" for line in text.getvalue().splitlines()))


def _print_finding(finding: doctor.Finding) -> None:
    word = ("ok     ", "green") if finding.ok else ("failed ", "bold red")
    line = Text.assemble(word, (f"{finding.step:12} ", "bold"), _sentences(finding.seen))
    _print(line)
    if finding.advice:
        _print(Text(f"       {'':12} {_sentences(finding.advice)}"))


def _print_json(items: Iterable[dict[str, Any]]) -> None:
    _echo(json.dumps(list(items), indent=2, default=_to_json) + "\n")


def _fields(found: VirtualMachine | BackupLocation) -> dict[str, Any]:
    fields = asdict(found)
    del fields["connection"]  # is of programs
    return fields


def _echo(output: str | bytes) -> None:
    # In pieces: a reader that goes away in the middle of a large write is not noticed everywhere.
    for start in range(0, len(output), _PIECE):
        click.echo(output[start : start + _PIECE], nl=False)


def _to_json(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(f"{value!r} has no JSON form")


def _text(value: str | None, style: str = "") -> Text:
    return Text(_plain(value or ""), style)


def _time(value: datetime | None) -> Text:
    return _text(value.isoformat(" ", "minutes") if value else None)


def _sentences(text: object) -> str:
    """An error's text, without a secret and without what is about other commands than this one."""
    return redact(_plain(str(text).replace(f" {RUN_PROGRAM}", "")))


def _plain(text: str) -> str:
    """A server's text on one line, without what a terminal would obey."""
    return "".join(c if c.isprintable() else " " for c in text)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _paths(its: Iterable[Assignment], kind: Kind | None) -> str:
    paths = [each.location_path or each.backup_location_id for each in its if each.kind == kind]
    return ", ".join(sorted(paths, key=str.lower))


def _vm_order(vm: VirtualMachine) -> list[str]:
    return _order(vm.name, vm.host, vm.ref)


def _order(*values: str | None) -> list[str]:
    return [(value or "").casefold() for value in values]


# Files


def _check_output(file: Path, option: str) -> None:
    """Fail before the server is asked for a thousand VMs rather than after."""
    if not file.parent.is_dir():
        raise ArgumentError(f"There is no folder {file.parent} for {option}: make it first.")
    if file.exists() and not file.is_file():
        raise ArgumentError(f"{file} of {option} is not a file: give the name of one, or -.")


def _write(file: Path, text: str, option: str) -> None:
    partial = file.with_name(f".{file.name}.{os.getpid()}.partial")
    try:
        partial.write_text(text, "utf-8", newline="\n")
        partial.replace(file)
    except OSError as error:
        raise ArgumentError(f"{file} of {option} cannot be written: {error.strerror}.") from None
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


if __name__ == "__main__":
    main()
