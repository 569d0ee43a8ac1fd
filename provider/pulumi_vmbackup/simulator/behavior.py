"""What the simulated server answers where the answer of the real one is unknown."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args, get_type_hints

LONGEST_SECONDS = 86_400


@dataclass(frozen=True)
class Behavior:
    """What the simulated server answers where the answer of the real one is unknown.

    Attributes:
        second_post: whether a POST of a pair that is assigned already is accepted or refused.
        unassigned_delete: whether a DELETE of a pair that is not assigned is accepted or refused.
        unknown_vm: whether a GET of the locations of an unknown VM is refused or returns none.
        second_primary: whether a second primary location of a VM is allowed, refused, or moves the
            VM away from the first one.
        second_session: whether a second session while one is open is refused as if a Management
            Console were connected (seen: V9.0 to 9.3), or accepted (seen: V7).
        lag_seconds: how many seconds a list of a VM's locations lags behind a change; from 0 to
            86400.

    Raises:
        ValueError: a value is not one of these.
    """

    second_post: Literal["accept", "refuse"] = "accept"
    unassigned_delete: Literal["accept", "refuse"] = "refuse"
    unknown_vm: Literal["refuse", "empty"] = "refuse"
    second_primary: Literal["allow", "refuse", "move"] = "allow"
    second_session: Literal["accept", "refuse"] = "refuse"
    lag_seconds: float = 0

    def __post_init__(self) -> None:
        for key, choices in behavior_choices().items():
            value = getattr(self, key)
            if value not in choices:
                raise ValueError(f"{key} is {value!r}: use {' or '.join(choices)}.")
        check_seconds("lag_seconds", self.lag_seconds)


def behavior_choices() -> dict[str, tuple[str, ...]]:
    """The odd calls, and the choices for each of them."""
    hints = get_type_hints(Behavior)
    return {key: get_args(hint) for key, hint in hints.items() if get_args(hint)}


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
