"""Which facts differ from what the package takes for true, and what to set for a server."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..facts import FACTS, TIME_SPELLINGS, Answer, Facts
from ..models import LOCATION_FIELDS
from ..session import UNKNOWN_SESSION_SECONDS, sounds_busy
from ..settings import Settings
from ..transport import SLOW_CALL_FACTOR
from .calls import says_over

# A setting is so many times as long as what was measured: servers are slower at night.
_MARGIN = 3
_NEEDED_OF_VM = {"VirtualMachineName", "HostName", "AltaroVirtualMachineRef", "Configured"}


@dataclass(frozen=True)
class Advised:
    """A setting for a server.

    Attributes:
        key: the setting.
        value: its value; None if nothing was measured, so that it stays.
        reason: why, as the end of a sentence.
    """

    key: str
    value: int | None
    reason: str


def differs(key: str, facts: Facts, settings: Settings) -> bool:
    """Whether a fact is not what the package takes for true, see ``Fact.if_wrong``."""
    is_as_assumed = _AS_ASSUMED.get(key)
    return is_as_assumed is not None and not is_as_assumed(facts.values[key], settings)


def _says_over(answer: Answer, _: Settings) -> bool:
    return says_over(answer)


def _is_list(answer: Answer, _: Settings) -> bool:
    return answer.is_accepted


def _is_refused(answer: Answer, _: Settings) -> bool:
    return not answer.is_accepted


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
    "vmFields": lambda fields, _: fields.keys() >= _NEEDED_OF_VM,
    "locationFields": lambda fields, _: fields.keys() >= {*LOCATION_FIELDS},
    "vmListing": _is_list,
    "vmListingPrimary": _is_list,
    "vmListingOffsite": _is_list,
    "vmListingForms": _agree,
    "emptyListing": lambda value, _: value != "no list",
    "timeSpelling": lambda value, _: value in TIME_SPELLINGS[:2],
    "unknownVmListing": lambda answer, _: answer.form != "list",
    "listingSeconds": _within_timeout,
    "parallelListings": lambda count, settings: count >= settings.parallel_requests,
    "writeSeconds": _within_timeout,
    "appearSeconds": lambda seconds, settings: seconds <= settings.settle_seconds,
    "unknownLocationAssign": _is_refused,
    "unknownVmAssign": _is_refused,
    "unknownLocationUnassign": _is_refused,
    "unknownVmUnassign": _is_refused,
}


def advised(facts: Facts, settings: Settings) -> list[Advised]:
    """The settings for the server of some facts.

    A number of seconds is never less than the present one: what was measured once is no reason to
    wait for a shorter time.
    """
    values: Mapping[str, Any] = facts.values
    return [
        _settle_seconds(facts, settings),
        _parallel_requests(facts),
        _timeout_seconds(values, settings),
        _session_wait_seconds(values, settings),
    ]


def duration(seconds: float) -> str:
    """A duration for people."""
    return f"{seconds:g} s" if seconds else "less than 0.1 s"


def _at_least(present: float, needed: float) -> int:
    return math.ceil(max(present, needed))


def _settle_seconds(facts: Facts, settings: Settings) -> Advised:
    key = "settleSeconds"
    if "appearSeconds" not in facts.values:
        return Advised(key, None, facts.not_found.get("appearSeconds", "not measured"))
    seconds: Any = facts.values["appearSeconds"]
    value = _at_least(settings.settle_seconds, _MARGIN * seconds)
    return Advised(key, value, f"a new assignment was listed after {duration(seconds)}")


def _parallel_requests(facts: Facts) -> Advised:
    key = "parallelRequests"
    if "parallelListings" not in facts.values:
        return Advised(key, None, facts.not_found.get("parallelListings", "not measured"))
    count: Any = facts.values["parallelListings"]
    return Advised(key, count, f"the server answers {count} calls at a time")


def _timeout_seconds(values: Mapping[str, Any], settings: Settings) -> Advised:
    key = "timeoutSeconds"
    # A slow call gets SLOW_CALL_FACTOR times as long.
    needed = {
        each: _MARGIN * values[each] / factor
        for each, factor in (
            ("loginSeconds", SLOW_CALL_FACTOR),
            ("vmListSeconds", SLOW_CALL_FACTOR),
            ("listingSeconds", 1),
            ("writeSeconds", 1),
        )
        if each in values
    }
    if not needed:
        return Advised(key, None, "not measured")
    slowest = max(needed, key=lambda each: needed[each])
    value = _at_least(settings.timeout_seconds, needed[slowest])
    if not needed[slowest]:
        return Advised(key, value, "each answer took less than 0.1 s")
    return Advised(key, value, f"{FACTS[slowest].what}: {duration(values[slowest])}")


def _session_wait_seconds(values: Mapping[str, Any], settings: Settings) -> Advised:
    key = "sessionWaitSeconds"
    answer = values.get("secondSession")
    if answer is None:
        return Advised(key, None, "not measured")
    if answer.is_accepted:
        value = _at_least(settings.session_wait_seconds, 0)
        return Advised(key, value, "the server accepts a second session")
    reason = "the server refuses a second session; that of a killed run lives for five minutes"
    value = _at_least(settings.session_wait_seconds, UNKNOWN_SESSION_SECONDS)
    return Advised(key, value, reason)
