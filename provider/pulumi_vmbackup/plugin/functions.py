"""The functions of the package: the lookups, for all languages."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from ..catalog import Catalog
from ..errors import ArgumentError
from ..models import BackupLocation, VirtualMachine, shown, told_by_server
from ..settings import camel_case, did_you_mean
from .handler import Properties, camel_case_keys

ARGUMENTS: dict[str, dict[str, tuple[str, type]]] = {
    "getVirtualMachines": {"configured": ("configured", bool)},
    "getVirtualMachine": {"name": ("name", str), "host": ("host", str), "ref": ("ref", str)},
    "getBackupLocations": {
        "primary": ("primary", bool),
        "offsite": ("offsite", bool),
        "vmRef": ("vm_ref", str),
    },
    "getBackupLocation": {"path": ("path", str), "id": ("id", str), "kind": ("kind", str)},
}

_TYPES = {str: "string", bool: "boolean"}


def call(name: str, arguments: Mapping[str, Any], catalog: Catalog) -> Properties:
    """Run a function of the package.

    Args:
        name: the last part of its token, such as ``getVirtualMachine``.
        arguments: as in the schema.
        catalog: the catalog to search.

    Raises:
        ArgumentError: there is no such function, or nothing matches the arguments.
        VmBackupError: a setting is wrong, or the server refuses or does not answer.
    """
    if name not in ARGUMENTS:
        raise ArgumentError(f"There is no function {name!r}: use {', '.join(ARGUMENTS)}.")
    known = ARGUMENTS[name]
    given: dict[str, Any] = {}
    for key, value in arguments.items():
        if value is None:
            continue
        if key not in known:
            raise ArgumentError(f"{name} has no argument {key!r}: use {did_you_mean(key, known)}.")
        if not isinstance(value, known[key][1]):
            is_whole = isinstance(value, float) and value.is_integer()
            raise ArgumentError(
                f"{key} of {name} is {shown(int(value) if is_whole else value)}: give a "
                f"{_TYPES[known[key][1]]}."
            )
        given[known[key][0]] = value
    answers: dict[str, Callable[[], Properties]] = {
        "getVirtualMachines": lambda: {
            "virtualMachines": list(map(_vm, catalog.get_virtual_machines(**given)))
        },
        "getVirtualMachine": lambda: _vm(catalog.get_virtual_machine(**given)),
        "getBackupLocations": lambda: {
            "backupLocations": list(map(_location, catalog.get_backup_locations(**given)))
        },
        "getBackupLocation": lambda: _location(catalog.get_backup_location(**given)),
    }
    try:
        return answers[name]()
    except ArgumentError as error:
        if error.argument:
            raise error.reworded(f"{camel_case(error.argument)} of {name}: {error}") from None
        raise


def _vm(vm: VirtualMachine) -> Properties:
    values = camel_case_keys(told_by_server(vm))
    return {
        key: value.isoformat() if isinstance(value, datetime) else value
        for key, value in values.items()
    }


def _location(location: BackupLocation) -> Properties:
    return camel_case_keys(told_by_server(location))
