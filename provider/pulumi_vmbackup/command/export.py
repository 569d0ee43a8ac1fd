"""``vmbackup export``: the assignments, as a file for ``pulumi import`` and as a program."""

from __future__ import annotations

import builtins
import json
import keyword
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple, TypeVar

import click

from ..catalog import refuse_no_locations
from ..errors import ArgumentError, quoted
from ..inventory import Snapshot
from ..models import (
    KINDS,
    Assignment,
    BackupLocation,
    Kind,
    VirtualMachine,
    normalize_guid,
    unique_locations,
)
from ..names import counted, folded, location_slugs, unique_in_any_case, vm_slugs
from ..plugin.schema import ASSIGNMENT, VERSION
from ..settings import did_you_mean
from .connection import Connection, connecting
from .output import check_file, echo, echo_json, write_file

_Thing = TypeVar("_Thing", VirtualMachine, BackupLocation)

_DOCSTRING = '''\
"""Which virtual machine goes to which backup location.

Written by `vmbackup export`. The import file of the same command has the same names.
"""
'''
# A common short line length. Formatters with a longer one keep the line breaks, because each broken
# call ends with a comma.
_LINE_LENGTH = 88
_LONGEST_VARIABLE = 30


@click.command(short_help="Write existing assignments as files for Pulumi.")
@click.option(
    "--import-file",
    metavar="FILE",
    help="a file to write for `pulumi import --file`; - for standard output",
)
@click.option(
    "--program",
    metavar="FILE",
    help="a Python program to write with the same resources; - for standard output",
)
@click.option("--overwrite", is_flag=True, help="replace existing files")
@click.option(
    "--vm",
    "vms",
    multiple=True,
    metavar="PATTERN",
    help='only VMs whose name matches, such as "SQL*"; may be repeated',
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
@click.option("--kind", type=click.Choice(KINDS), help="only assignments to locations of this kind")
@connecting
def export(
    connection: Connection,
    import_file: str | None,
    program: str | None,
    overwrite: bool,
    **filters: Any,
) -> None:
    """Write existing assignments as a file for `pulumi import` and as a Python program.

    To use the files, you need the plugin, pulumi-resource-vmbackup, and a stack whose settings lead
    to the same server, with the same --connection. Names of resources consist of the VM and the
    location, such as SQL01-OFFSITE01.
    """
    given = {"--import-file": import_file, "--program": program}
    outputs = {option: name for option, name in given.items() if name is not None}
    files = {option: check_file(name, option) for option, name in outputs.items() if name != "-"}
    if not outputs:
        raise click.UsageError(
            "There is nothing to write: give --import-file FILE, --program FILE, or both."
        )
    if len({files.get(option) for option in outputs}) < len(outputs):
        raise click.UsageError(
            "--import-file and --program are the same place: give them different ones."
        )
    for option, file in files.items():
        if file.exists() and not overwrite:
            raise ArgumentError(
                f"{file} of {option} exists already: give another name, or --overwrite to "
                "replace it."
            )
    inventory = connection.gather()
    refuse_no_locations(inventory.backup_locations)
    exported = Export(inventory, connection.name)
    resources = exported.select(**filters)
    if not resources:
        which = "matches all of the filters" if any(filters.values()) else "is on the server"
        raise ArgumentError(
            f"No assignment {which}, so nothing was written: `vmbackup assignments` shows what "
            "there is."
        )
    texts = {
        "--import-file": lambda: exported.imports(resources),
        "--program": lambda: exported.program(resources),
    }
    what = (
        f"{counted(len(resources), 'assignment')} of "
        f"{counted(len({each.assignment.vm_ref for each in resources}), 'virtual machine')}"
    )
    for option, name in outputs.items():
        text = texts[option]()
        if option in files:
            write_file(files[option], text, option)
        elif option == "--import-file":
            echo_json(text)
        else:
            echo(text.encode())  # UTF-8, as Python reads it
        place = name if option in files else "standard output"
        click.echo(f"Wrote {place}: {what}.", err=True)


class Resource(NamedTuple):
    """An assignment, and the name of its resource."""

    name: str
    assignment: Assignment


class Export:
    """The assignments of a server, as resources of the plugin.

    A name is that of the VM and of the location, such as ``SQL01-OFFSITE01``. If several resources
    would have this name, all of them get a longer one, with a host, a path or the start of an id.
    All assignments and all configured VMs of the server count, so that a name does not depend on
    the filters. Replicas do not count: they share the name of their VM.

    Args:
        inventory: what the server holds.
        connection: the name of the connection that the resources have; None for the unnamed one.
    """

    def __init__(self, inventory: Snapshot, connection: str | None = None) -> None:
        self._connection = connection
        by_id = {_pulumi_id(each): each for each in inventory.assignments}
        assignments = list(by_id.values())
        self._vms = {
            **{each.vm_ref: VirtualMachine(each.vm_ref, each.vm_name) for each in assignments},
            **{vm.ref: vm for vm in inventory.virtual_machines if vm.ref},
        }
        self._locations = _locations(inventory)
        assigned = {each.vm_ref for each in assignments}
        self._vm_labels = vm_slugs(
            {ref: vm for ref, vm in self._vms.items() if vm.is_assignable or ref in assigned}
        )
        self._location_labels = location_slugs(self._locations)
        self._vm_arguments = _vm_arguments(inventory.virtual_machines)
        self._location_arguments = _location_arguments(inventory.backup_locations)
        names = unique_in_any_case({_pulumi_id(each): self._names(each) for each in assignments})
        resources = [Resource(names[_pulumi_id(each)], each) for each in assignments]
        self.resources = sorted(resources, key=self._order)

    def select(
        self,
        *,
        vms: Iterable[str] = (),
        hosts: Iterable[str] = (),
        locations: Iterable[str] = (),
        kind: Kind | None = None,
    ) -> list[Resource]:
        """The resources that match all filters; a filter that is left out matches all.

        Args:
            vms: patterns of VM names, with ``*``, ``?`` and ``[...]``, in any case.
            hosts: names of hypervisor hosts, in any case.
            locations: paths of locations in any case, or their ids.
            kind: the kind of the locations.

        Raises:
            ArgumentError: there is no such VM, host or location.
        """
        vm_refs = self._matching_vms(list(vms)) & self._on_hosts(list(hosts))
        location_ids = self._matching_locations(list(locations))
        return [
            each
            for each in self.resources
            if each.assignment.vm_ref in vm_refs
            and each.assignment.backup_location_id in location_ids
            and kind in (None, each.assignment.kind)
        ]

    def program(self, resources: Sequence[Resource]) -> str:
        """A Python program that declares the resources, formatted as ``ruff format`` does."""
        used = {each.assignment.backup_location_id for each in resources}
        looked_up = {
            id_: _variables(id_, label)
            for id_, label in sorted(self._location_labels.items(), key=_by_label)
            if id_ in used and id_ in self._location_arguments
        }
        variables = unique_in_any_case(looked_up)
        blocks = [
            "\n".join(
                self._look_up(f"{variable} = get_backup_location", self._location_arguments[id_])
                for id_, variable in variables.items()
            )
        ]
        vm_ref = None
        for name, assignment in resources:
            block = self._declaration(name, assignment, variables)
            if assignment.vm_ref == vm_ref:  # the assignments of a VM form one block
                blocks[-1] += f"\n{block}"
            else:
                blocks.append(block)
            vm_ref = assignment.vm_ref
        text = "\n\n".join(filter(None, blocks))
        functions = ["get_backup_location"] if variables else []
        if any(each.assignment.vm_ref in self._vm_arguments for each in resources):
            functions.append("get_virtual_machine")
        imports = "from pulumi_vmbackup.plugin import VmBackupLocationAssignment\n"
        if functions:
            imports = f"from pulumi_vmbackup import {', '.join(functions)}\n{imports}"
        return f"{_DOCSTRING}\n{imports}\n{text}\n"

    def _declaration(self, name: str, assignment: Assignment, variables: Mapping[str, str]) -> str:
        vm_ref, location_id = assignment.vm_ref, assignment.backup_location_id
        vm = f"    vm_ref={_literal(vm_ref)},"
        if vm_ref in self._vm_arguments:
            arguments = self._vm_arguments[vm_ref]
            vm = self._look_up("    vm_ref=get_virtual_machine", arguments, end=",")
        location = variables.get(location_id) or _literal(location_id)
        return "\n".join(
            (
                "VmBackupLocationAssignment(",
                f"    {_literal(name)},",
                vm,
                f"    backup_location_id={location},",
                *([f"    connection={_literal(self._connection)},"] if self._connection else []),
                ")",
            )
        )

    def _look_up(self, function: str, arguments: Mapping[str, str], end: str = "") -> str:
        connection = {"connection": self._connection} if self._connection else {}
        return _call(function, {**arguments, **connection}, end)

    def imports(self, resources: Iterable[Resource]) -> str:
        """The text of a file for ``pulumi import --file``."""
        # The program's classes have this version. Without it, Pulumi would import with a provider
        # that has no version if it does not find this package, as in a project in another language.
        prefix = f"{self._connection}/" if self._connection else ""
        content = [
            {
                "type": ASSIGNMENT,
                "name": name,
                "id": prefix + _pulumi_id(assignment),
                "version": VERSION,
            }
            for name, assignment in resources
        ]
        return json.dumps({"resources": content}, indent=2, ensure_ascii=False) + "\n"

    def _names(self, assignment: Assignment) -> list[str]:
        vm_ref, location_id = assignment.vm_ref, assignment.backup_location_id
        name = f"{self._vm_labels[vm_ref]}-{self._location_labels[location_id]}"
        return [
            name,
            f"{name}-{vm_ref[:8]}-{location_id[:8]}",
            f"{name}-{vm_ref}-{location_id}",
        ]

    def _order(self, resource: Resource) -> tuple[str, ...]:
        vm_ref, location_id = resource.assignment.vm_ref, resource.assignment.backup_location_id
        return (
            self._vm_labels[vm_ref].casefold(),
            vm_ref,
            self._location_labels[location_id].casefold(),
            location_id,
        )

    def _matching_vms(self, patterns: list[str]) -> set[str]:
        def matches(vm: VirtualMachine, pattern: str) -> bool:
            return fnmatchcase((vm.name or "").casefold(), pattern.casefold())

        names = [vm.name for vm in self._vms.values() if vm.name]
        return _chosen(self._vms, patterns, matches, "VM whose name matches", names)

    def _on_hosts(self, hosts: list[str]) -> set[str]:
        def matches(vm: VirtualMachine, host: str) -> bool:
            return (vm.host or "").casefold() == host.casefold()

        names = [vm.host for vm in self._vms.values() if vm.host]
        return _chosen(self._vms, hosts, matches, "VM on host", names)

    def _matching_locations(self, locations: list[str]) -> set[str]:
        def matches(location: BackupLocation, wanted: str) -> bool:
            path = (location.path or "").casefold()
            return path == wanted.casefold() or location.id == _guid(wanted)

        paths = [each.path for each in self._locations.values() if each.path]
        what = "backup location with the path or id"
        return _chosen(self._locations, locations, matches, what, paths)


def _pulumi_id(assignment: Assignment) -> str:
    return f"{assignment.vm_ref}/{assignment.backup_location_id}"


def _locations(inventory: Snapshot) -> dict[str, BackupLocation]:
    """All locations by id, including those that only a VM's own list has."""
    found = {
        each.backup_location_id: BackupLocation(
            each.backup_location_id, each.location_path, each.kind
        )
        for each in inventory.assignments
    }
    return found | {each.id: each for each in inventory.backup_locations}


def _chosen(
    things: Mapping[str, _Thing],
    wanted: list[str],
    matches: Callable[[_Thing, str], bool],
    what: str,
    words: list[str],
) -> set[str]:
    """The keys of the things that match any of the texts, or of all; each text must match one."""
    if not wanted:
        return set(things)
    chosen = set()
    for text in wanted:
        of_text = {key for key, thing in things.items() if matches(thing, text)}
        if not of_text:
            closest = f": did you mean {did_you_mean(text, words)}?" if words else "."
            raise ArgumentError(f"There is no {what} {quoted(text)}{closest}")
        chosen |= of_text
    return chosen


def _guid(text: str) -> str | None:
    try:
        return normalize_guid(text)
    except ArgumentError:
        return None


def _by_label(item: tuple[str, str]) -> tuple[str, str]:
    return item[1].casefold(), item[0]


def _variables(location_id: str, label: str) -> list[str]:
    name = re.sub(r"\W+", "_", folded(label)).strip("_")[:_LONGEST_VARIABLE].strip("_")
    if len(name) < 2 or not name.isidentifier() or keyword.iskeyword(name) or name in _TAKEN:
        name = f"location_{re.sub('[^a-z0-9]+', '_', name).strip('_')}".strip("_")
    hexadecimal = location_id.replace("-", "_")
    return [name, f"{name}_{hexadecimal[:8]}", f"{name}_{hexadecimal}"]


_TAKEN = {*dir(builtins), "get_backup_location", "get_virtual_machine"}


# Lookups: arguments that find exactly one thing, compared as Catalog compares them


def _vm_arguments(vms: Sequence[VirtualMachine]) -> dict[str, dict[str, str]]:
    """The arguments of get_virtual_machine() for each VM that it can find, by ref.

    The host is none of them, because a VM moves to other hosts.
    """

    def keys(vm: VirtualMachine) -> list[tuple[str, dict[str, str]]]:
        name, ref = vm.name or "", vm.ref or ""
        tried = [{"name": name}, {"name": name, "ref": ref}] if name else [{"ref": ref}]
        return [(_key(arguments), arguments) for arguments in tried]

    found = [vm for vm in vms if vm.is_assignable]  # a name means the configured VM
    counts = Counter(key for vm in found for key, _ in keys(vm))
    return {
        vm.ref: arguments for vm in found if vm.ref for arguments in _first_alone(keys(vm), counts)
    }


def _location_arguments(locations: Sequence[BackupLocation]) -> dict[str, dict[str, str]]:
    """The arguments of get_backup_location() for each location that it can find, by id."""
    by_id = unique_locations(locations)
    if any(location.kind is None for location in by_id.values()):
        return {}  # a location of both kinds makes every lookup fail

    def keys(location: BackupLocation) -> list[tuple[str, dict[str, str]]]:
        path, kind = location.path or "", location.kind or ""
        tried: list[dict[str, str]] = [{"id": location.id}]
        if path:
            by_path = [{"path": path}, {"path": path, "kind": kind}]
            tried = [*by_path, {"path": path, "id": location.id}]
        return [(_key(arguments), arguments) for arguments in tried if all(arguments.values())]

    counts = Counter(key for location in by_id.values() for key, _ in keys(location))
    return {
        id_: arguments
        for id_, location in by_id.items()
        for arguments in _first_alone(keys(location), counts)
    }


def _key(arguments: Mapping[str, str]) -> str:
    return json.dumps({key: value.casefold() for key, value in arguments.items()})


def _first_alone(
    keys: Iterable[tuple[str, dict[str, str]]], counts: Counter[str]
) -> list[dict[str, str]]:
    return [arguments for key, arguments in keys if counts[key] == 1][:1]


# Python


def _call(function: str, arguments: Mapping[str, str], end: str = "") -> str:
    """A call on one line, or on several if it may be too long for one."""
    literals = [f"{key}={_literal(value)}" for key, value in arguments.items()]
    line = f"{function}({', '.join(literals)}){end}"
    if sum(1 if c.isascii() else 2 for c in line) <= _LINE_LENGTH:
        return line
    indent = " " * (len(function) - len(function.lstrip()))
    return "\n".join(
        (f"{function}(", *(f"{indent}    {each}," for each in literals), f"{indent}){end}")
    )


def _literal(text: str) -> str:
    """A Python literal with the quotes that ``ruff format`` chooses; no invisible characters."""
    if "\\" in text and '"' not in text and text.isprintable() and not text.endswith("\\"):
        return f'r"{text}"'
    quote = "'" if text.count('"') > text.count("'") else '"'
    return quote + "".join(_escaped(c, quote) for c in text) + quote


def _escaped(c: str, quote: str) -> str:
    if c in (quote, "\\"):
        return f"\\{c}"
    return c if c.isprintable() else repr(c)[1:-1]
