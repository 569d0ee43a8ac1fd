"""What the simulated server answers where real servers differ, or where their answer is unknown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from ..facts import Facts, checked
from ..settings import VERSIONS

LONGEST_SECONDS = 86_400

PRESETS = tuple(f"v{version}" for version in VERSIONS)
"""The names of what is known of the servers of a version."""


@dataclass(frozen=True)
class Behavior:
    """What the simulated server answers where real servers differ, or where it is unknown.

    Grades tell how sure an answer is: seen (public clients of the API read it) or unknown.

    Attributes:
        second_post: whether a POST of a pair that is assigned already is accepted or refused
            (unknown).
        unassigned_delete: whether a DELETE of a pair that is not assigned is accepted or refused
            (unknown).
        unknown_vm: whether a GET of the locations of an unknown VM is refused or returns none
            (unknown).
        second_primary: whether a second primary location of a VM is allowed, refused, or moves the
            VM away from the first one (unknown).
        second_session: whether a second session while one is open is refused as if a Management
            Console were connected (seen: V9.0 to 9.3), or accepted (seen: V7).
        invalid_token: what a call with the token of a session that is over answers. That there are
            other answers than the first is seen, which ones is unknown:

            * ``"envelope"``: HTTP 200 and an envelope that says "Invalid Token" (seen).
            * ``"other words"``: an envelope with another code and other words (unknown).
            * ``"unauthorized"``, ``"forbidden"``: HTTP 401 or 403 with an empty body (unknown).
            * ``"page"``: HTTP 500 with an HTML page (unknown).
        wrong_password: what a login with a wrong user name or password answers:

            * ``"envelope"``: HTTP 200 and an envelope that says so (seen).
            * ``"unauthorized"``: HTTP 401 with an empty body (unknown).
            * ``"server error"``: HTTP 500 and the same envelope (unknown).
        vm_list: whether ``vms/list`` lists all VMs or none, as for a while after a restart (seen).
        spelling: whether answers are spelled like the vendor's samples (seen), or as ``"other"``
            (unknown): GUIDs in upper case, with braces or without dashes; session tokens in upper
            case; times in ISO 8601, with the year 1 for "never"; sizes as text; null for an empty
            list; fields in reverse order, and some that nobody knows.
        lag_seconds: how many seconds a list of a VM's locations lags behind a change; from 0 to
            86400 (unknown: public scripts wait for some seconds before they check).

        facts: the values of facts, as ``vmbackup probe`` finds them on a server: how long answers
            take, the words of refusals, fields, and what else has no attribute here. Those of the
            address, the protocol and the certificate are not simulated.

    Raises:
        ValueError: a value is not one of these, or a fact contradicts it.
    """

    second_post: Literal["accept", "refuse"] = "accept"
    unassigned_delete: Literal["accept", "refuse"] = "refuse"
    unknown_vm: Literal["refuse", "empty"] = "refuse"
    second_primary: Literal["allow", "refuse", "move"] = "allow"
    second_session: Literal["accept", "refuse"] = "refuse"
    invalid_token: Literal["envelope", "other words", "unauthorized", "forbidden", "page"] = (
        "envelope"  # noqa: S105  # an answer
    )
    wrong_password: Literal["envelope", "unauthorized", "server error"] = "envelope"  # noqa: S105
    vm_list: Literal["all", "none"] = "all"
    spelling: Literal["plain", "other"] = "plain"
    lag_seconds: float = 0
    facts: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def like(cls, source: str | Path | Facts, **choices: Any) -> Behavior:
        """The behavior of a server of which some facts are known.

        Args:
            source: the facts, the file of them that ``vmbackup probe`` wrote, or the name of a
                version: ``"v8"``, ``"v9.0"`` or ``"v9.1"``.
            choices: other attributes, which win over the facts.

        Raises:
            ArgumentError: the file cannot be read, or holds no facts.
            ValueError: an attribute has another value than those above.
        """
        facts = source if isinstance(source, Facts) else facts_of(source)
        return cls().changed(facts=facts.values, **choices)

    def changed(self, **choices: Any) -> Behavior:
        """The same behavior with other attributes.

        New facts choose the attributes that they tell, but for those that are given, too. A fact
        that contradicts a given attribute is dropped.

        Raises:
            ValueError: an attribute has another value than those above.
        """
        told = _told(_checked(choices["facts"])) if "facts" in choices else {}
        facts = _checked(choices.get("facts", self.facts))
        return replace(
            self,
            **{
                **told,
                **choices,
                "facts": {
                    key: value
                    for key, value in facts.items()
                    if all(
                        choices.get(name, choice) == choice
                        for name, choice in _told({key: value}).items()
                    )
                },
            },
        )

    def __post_init__(self) -> None:
        facts = _checked(self.facts)
        object.__setattr__(self, "facts", facts)
        for key, choices in behavior_choices().items():
            value = getattr(self, key)
            if value not in choices:
                raise ValueError(f"{key} is {value!r}: use {' or '.join(choices)}.")
        check_seconds("lag_seconds", self.lag_seconds)
        for key, choice in _told(facts).items():
            if getattr(self, key) != choice:
                raise ValueError(
                    f"{key} is {getattr(self, key)!r}, and the facts say {choice!r}: use "
                    "Behavior.like, or give both of them."
                )


def _checked(facts: object) -> dict[str, Any]:
    if not isinstance(facts, Mapping):
        raise ValueError(f"facts is {facts!r}: use an object of facts and their values.")
    return {key: checked(key, value) for key, value in facts.items()}


def _told(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The attributes that facts tell."""
    told: dict[str, Any] = {
        name: "accept" if facts[key].is_accepted else "refuse"
        for name, key in _BY_ANSWER.items()
        if key in facts
    }
    if "unknownVmListing" in facts:
        told["unknown_vm"] = "empty" if facts["unknownVmListing"].is_accepted else "refuse"
    if "secondPrimary" in facts:
        told["second_primary"] = _SECOND_PRIMARY[facts["secondPrimary"]]
    if "appearSeconds" in facts:
        told["lag_seconds"] = facts["appearSeconds"]
    return told


_BY_ANSWER = {
    "second_post": "secondAssign",
    "unassigned_delete": "secondUnassign",
    "second_session": "secondSession",
}
_SECOND_PRIMARY = {"is allowed": "allow", "is refused": "refuse", "moves the VM": "move"}


def facts_of(source: str | Path) -> Facts:
    """The facts in a file, or those that are known of a version.

    Raises:
        ArgumentError: the file cannot be read, or holds no facts.
    """
    if source in PRESETS:
        text = (files(__package__) / "presets" / f"{source}.json").read_text("utf-8")
        return Facts.parse(text, f"the preset {source}")
    return Facts.load(Path(source))


def behavior_choices() -> dict[str, tuple[str, ...]]:
    """The odd calls, and the choices for each of them."""
    hints = get_type_hints(Behavior)
    return {key: get_args(hint) for key, hint in hints.items() if get_origin(hint) is Literal}


def check_seconds(name: str, value: object) -> None:
    """Check a number of seconds.

    Raises:
        ValueError: it is not a number from 0 to 86400 (a day).
    """
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or not (0 <= value <= LONGEST_SECONDS)
    ):
        raise ValueError(
            f"{name} is {value!r}: use a number of seconds from 0 to {LONGEST_SECONDS}."
        )
