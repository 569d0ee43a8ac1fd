"""The same facts in another spelling, as servers of other versions may send them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

_HEX = r"[0-9A-Fa-f]"
GUID = re.compile(rf"\{{?{_HEX}{{8}}(-?){_HEX}{{4}}(?:\1{_HEX}{{4}}){{2}}\1{_HEX}{{12}}\}}?")
NEVER = "0001-01-01T00:00:00"  # as .NET writes a time that is not set
_ERROR_TEXTS = ("ErrorCode", "ErrorMessage", "ErrorAdditionalDetails")


def plain_guid(value: str) -> str | None:
    """A GUID in lower case, with dashes and without braces; None if the value is not a GUID.

    It accepts what .NET reads as a GUID: any case, with or without dashes, with or without braces.
    """
    if not GUID.fullmatch(value) or value.startswith("{") != value.endswith("}"):
        return None
    digits = re.sub(r"[-{}]", "", value).lower()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def respelled(envelope: Mapping[str, Any]) -> dict[str, Any]:
    """An answer with the same facts in another spelling (unknown whether a server uses it).

    GUIDs are in upper case. Those of VMs have braces, and those of locations have no dashes. Times
    are in ISO 8601, and the year 1 stands for "never". Sizes are text. An empty list is null, and a
    missing error is an empty text. The fields are in reverse order, between unknown ones.
    """
    answer = {**envelope, **{key: "" for key in _ERROR_TEXTS if not envelope.get(key)}}
    unknown: dict[str, Any] = {"Self": None, "BackupLocations": []}
    return {"Links": unknown, **_reversed(answer), "ApiVersion": "9.9"}


def _reversed(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _value(key, fields[key]) for key in reversed(list(fields))}


def _value(key: str, value: Any) -> Any:
    if isinstance(value, list):
        return [_item(each) for each in value] or None
    if isinstance(value, dict):
        return _item(value)
    if key.endswith("Time"):
        return _time(key, value)
    if key.endswith(("Compressed", "Uncompressed")) and isinstance(value, int):
        return str(value)
    if isinstance(value, str) and GUID.fullmatch(value):
        if key == "BackupLocationId":
            return value.upper().replace("-", "")
        is_token = key in ("Data", "SessionToken")  # which goes into an address
        return value.upper() if is_token else f"{{{value.upper()}}}"
    return value


def _item(item: dict[str, Any]) -> dict[str, Any]:
    return {"Tags": [], **_reversed(item), "Extension": {"Id": 7, "Name": None}}


def _time(key: str, value: object) -> str:
    if not isinstance(value, str):
        return NEVER
    return iso_time(value) + ("" if key.startswith("Next") else ".1234567")  # as .NET writes them


def iso_time(time: str) -> str:
    """A time of the API in ISO 8601."""
    try:
        return datetime.strptime(time, "%Y-%m-%d-%H-%M-%S").isoformat()
    except ValueError:  # of an inventory that somebody wrote
        return time
