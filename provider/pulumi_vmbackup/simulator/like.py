"""VMs and locations as the facts about a server say that it lists them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from ..facts import TIME_SPELLINGS, json_type, spelled
from .spelling import NEVER, iso_time, plain_guid

_SAMPLES: dict[str, Any] = {
    "text": "sample",
    "number": 0,
    "boolean": False,
    "null": None,
    "list": [],
    "object": {},
}
# What tells which VM or location it is: it has the inventory's value, whatever its types are.
_OWN = {
    "AltaroVirtualMachineRef",
    "VirtualMachineName",
    "HostName",
    "HypervisorVirtualMachineUuid",
    "AltaroHypervisorRef",
    "Configured",
    "BackupLocationId",
    "LocationPath",
}


# The facts about lists.
_FACTS = ("vmFields", "vmRefSpelling", "timeSpelling", "locationFields", "locationIdSpelling")


def like_facts(items: Iterable[Mapping[str, Any]], facts: Mapping[str, Any]) -> list[Any]:
    """VMs or locations with the fields, types and spellings of the facts.

    A field that the inventory lacks, or has in another type, gets a sample value.
    """
    if facts.keys().isdisjoint(_FACTS):
        return list(items)
    listed = [dict(item) for item in items]
    is_of_vms = any("VirtualMachineName" in item for item in listed)
    name = "AltaroVirtualMachineRef" if is_of_vms else "BackupLocationId"
    spelling: str = facts.get("vmRefSpelling" if is_of_vms else "locationIdSpelling", "")
    for item in listed if spelling else ():
        guid = plain_guid(str(item.get(name)))
        if guid:
            item[name] = spelled(guid, spelling)
    fields = facts.get("vmFields" if is_of_vms else "locationFields")
    if fields is not None:
        listed = _with_fields(listed, fields)
    if "timeSpelling" in facts:
        listed = [
            {key: _time(key, value, facts["timeSpelling"]) for key, value in item.items()}
            for item in listed
        ]
    return listed


def _with_fields(
    items: list[dict[str, Any]], fields: Mapping[str, tuple[str, ...]]
) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [{} for _ in items]
    for name, types in fields.items():
        for row, item in zip(rows, items, strict=True):
            is_right = name in item and (json_type(item[name]) in types or name in _OWN)
            row[name] = item[name] if is_right else _sample(types[0], name, item.get(name))
        for each in () if name in _OWN else types:
            _show_type(rows, name, each)
    return rows


def _show_type(rows: list[dict[str, Any]], name: str, wanted: str) -> None:
    """Let one item have a type in a field, if no other type is lost by that."""
    count = Counter(json_type(row[name]) for row in rows)
    if not count[wanted]:
        for row in reversed(rows):
            if count[json_type(row[name])] > 1:
                row[name] = _sample(wanted, name, row[name])
                return


def _sample(wanted: str, name: str, value: object) -> Any:
    """A value of a type: a number as text, or a time that stands for "never", where it may be."""
    if wanted == "text" and isinstance(value, int):
        return str(value)
    if wanted == "text" and name.endswith("Time"):
        return NEVER
    return _SAMPLES[wanted]


def _time(key: str, value: Any, spelling: str) -> Any:
    if not key.endswith("Time") or not isinstance(value, str) or spelling == TIME_SPELLINGS[0]:
        return value
    time = iso_time(value)
    return time if spelling == "ISO 8601" else f"at {time}"
