"""Which facts differ from what the package takes for true, and what to set for a server."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..client import LOCATION_FIELDS
from ..errors import REFUSES_SESSION
from ..facts import FACTS, Answer, Facts
from ..session import UNKNOWN_SESSION_SECONDS, sounds_busy
from ..settings import SETTINGS, Settings
from ..transport import SESSION_IS_OVER, SLOW_CALL_FACTOR

# A setting is so many times as long as what was measured: servers are slower at night.
_MARGIN = 3
_NEEDED_OF_VM = {"VirtualMachineName", "HostName", "AltaroVirtualMachineRef", "Configured"}


@dataclass(frozen=True)
class Advised:
    """A setting for a server.

    Attributes:
        key: the setting.
        value: its value.
        reason: why, as the end of a sentence.
    """

    key: str
    value: int
    reason: str


def differs(key: str, facts: Facts, settings: Settings) -> bool:
    """Whether a fact is not what the package takes for true, see ``Fact.if_wrong``."""
    is_as_assumed = _AS_ASSUMED.get(key)
    return is_as_assumed is not None and not is_as_assumed(facts.values[key], settings)


def _says_over(answer: Answer, _: Settings) -> bool:
    return SESSION_IS_OVER in answer.words or answer.status in REFUSES_SESSION


def _is_list(answer: Answer, _: Settings) -> bool:
    return answer.is_accepted


def _is_refused(answer: Answer, _: Settings) -> bool:
    return answer.form == "refused"


def _agree(value: str, _: Settings) -> bool:
    return value == "agree"


def _within_timeout(seconds: float, settings: Settings) -> bool:
    return seconds <= settings.timeout_seconds


def _within_slow_timeout(seconds: float, settings: Settings) -> bool:
    return seconds <= SLOW_CALL_FACTOR * settings.timeout_seconds


_AS_ASSUMED: dict[str, Callable[[Any, Settings], bool]] = {
    "loginSeconds": _within_slow_timeout,
    "secondSession": lambda answer, _: answer.is_accepted or sounds_busy(answer.words),
    "firstSession": lambda value, _: value == "goes on",
    "unknownToken": _says_over,
    "endedToken": _says_over,
    "vmListSeconds": _within_slow_timeout,
    "configuredList": lambda value, _: value == "the configured VMs",
    "vmFields": lambda fields, _: fields.keys() >= _NEEDED_OF_VM,
    "locationFields": lambda fields, _: fields.keys() >= {*LOCATION_FIELDS},
    "locationListPlain": _is_list,
    "locationListForms": _agree,
    "vmListing": _is_list,
    "vmListingPrimary": _is_list,
    "vmListingOffsite": _is_list,
    "vmListingForms": _agree,
    "emptyListing": lambda value, _: value != "no list",
    "unknownVmListing": lambda answer, _: answer.form in ("refused", "empty list", "null list"),
    "listingSeconds": _within_timeout,
    "parallelListings": lambda count, settings: count >= settings.parallel_requests,
    "writeSeconds": _within_timeout,
    "appearSeconds": lambda seconds, settings: seconds <= settings.settle_seconds,
    "unknownLocationAssign": _is_refused,
    "unknownVmAssign": _is_refused,
    "unknownLocationUnassign": _is_refused,
    "unknownVmUnassign": _is_refused,
}


def advised(facts: Facts) -> list[Advised]:
    """The settings for the server of some facts: never below their defaults."""
    values: Mapping[str, Any] = facts.values
    return [
        _settle_seconds(values),
        _parallel_requests(values),
        _timeout_seconds(values),
        _session_wait_seconds(values),
    ]


def duration(seconds: float) -> str:
    """A duration for people."""
    return f"{seconds:g} s" if seconds else "less than 0.1 s"


def _default(key: str) -> int:
    return int(SETTINGS[key].default)


def _settle_seconds(values: Mapping[str, Any]) -> Advised:
    key = "settleSeconds"
    if "appearSeconds" not in values:
        return Advised(key, _default(key), "not measured: it needs --vm and --location")
    seconds = values["appearSeconds"]
    value = max(_default(key), math.ceil(_MARGIN * seconds))
    return Advised(key, value, f"a new assignment was listed after {duration(seconds)}")


def _parallel_requests(values: Mapping[str, Any]) -> Advised:
    key = "parallelRequests"
    if "parallelListings" not in values:
        return Advised(key, _default(key), "the answers come too fast for a comparison")
    count = values["parallelListings"]
    return Advised(key, count, f"the server answers {count} calls at a time")


def _timeout_seconds(values: Mapping[str, Any]) -> Advised:
    key = "timeoutSeconds"
    slow = {each: values[each] for each in ("loginSeconds", "vmListSeconds") if each in values}
    fast = {each: values[each] for each in ("listingSeconds", "writeSeconds") if each in values}
    if not slow and not fast:
        return Advised(key, _default(key), "not measured")
    # A slow call gets SLOW_CALL_FACTOR times as long.
    needed = {each: _MARGIN * seconds / SLOW_CALL_FACTOR for each, seconds in slow.items()}
    needed |= {each: _MARGIN * seconds for each, seconds in fast.items()}
    slowest = max(needed, key=lambda each: needed[each])
    value = max(_default(key), math.ceil(needed[slowest]))
    return Advised(key, value, f"{FACTS[slowest].what}: {duration((slow | fast)[slowest])}")


def _session_wait_seconds(values: Mapping[str, Any]) -> Advised:
    key = "sessionWaitSeconds"
    answer = values.get("secondSession")
    if answer is None:
        return Advised(key, _default(key), "not tried")
    if answer.is_accepted:
        return Advised(key, _default(key), "the server accepts a second session")
    reason = "the server refuses a second session; that of a killed run lives for five minutes"
    return Advised(key, int(UNKNOWN_SESSION_SECONDS), reason)
