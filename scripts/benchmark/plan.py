"""What is measured: each group side by side, the sides taking turns command by command."""

from __future__ import annotations

from dataclasses import dataclass, field

WHOLE_LIFE = {"preview": 1, "up": 1, "unchanged up": 1, "refresh": 1, "destroy": 1}

EIGHT_AT_A_TIME = "VMBACKUP_PARALLEL_REQUESTS=8"
ONE_AT_A_TIME = "VMBACKUP_PARALLEL_REQUESTS=1"
NO_LOG = "no automatic log"
NO_SETTING = "nothing set"

# What a user may set, and what may cost or save time.
SETTINGS = (
    "PULUMI_SKIP_CHECKPOINTS=true",
    "PULUMI_DIY_BACKEND_GZIP=true",
    "PULUMI_PARALLEL=1",
)


@dataclass(frozen=True)
class Side:
    """One of those that are measured side by side.

    Attributes:
        program: its name below programs/.
        answer_ms: how long the server takes for each answer.
        setting: an environment variable that it runs with, as ``NAME=value``; or NO_LOG; or
            NO_SETTING, for what those with a setting are beside.
        only: the commands that it takes part in; None for all.
        rounds: in how many rounds it takes part; None for all.
        has_limit: whether the HTTP calls that it makes are made in a bare loop as well.
    """

    program: str
    answer_ms: int = 0
    setting: str = ""
    only: tuple[str, ...] | None = None
    rounds: int | None = None
    has_limit: bool = False


@dataclass(frozen=True)
class Group:
    """What is measured side by side.

    Attributes:
        count: how many assignments.
        sides: what takes turns.
        locations: how many of them each VM has.
        commands: the commands in their order, each with how often it is run in a row of turns.
        rounds: how often the whole is done; all but the first time only while there is time.
    """

    count: int
    sides: tuple[Side, ...]
    locations: int = 1
    commands: dict[str, int] = field(default_factory=lambda: WHOLE_LIFE)
    rounds: int = 1


def full_plan() -> list[Group]:
    """Everything, in less than 20 minutes on two cores.

    One round of all takes some 13 minutes on the machine of the published run. Left out is what
    takes minutes each: the naive style most of all, whose state is that large.
    """
    often = {**WHOLE_LIFE, "preview": 2, "unchanged up": 2, "refresh": 2}
    return [
        # In this order they are repeated: first those that targets are close to.
        Group(
            300,
            (
                Side("floor"),
                Side("floor_outputs", only=("preview", "up", "unchanged up")),
                Side("naive", only=("preview", "up", "unchanged up", "refresh"), rounds=1),
                Side("dynamic", has_limit=True),
                Side("plugin"),
                Side("set", rounds=1),
            ),
            commands=often,
            rounds=3,
        ),
        Group(1000, (Side("floor_set"), Side("set", has_limit=True)), rounds=2),
        Group(10, (*_at_once(), *_slow(rounds=1)), rounds=2),
        Group(100, (*_at_once(), *_slow(rounds=1)), rounds=2),
        Group(300, (Side("dynamic", 50), Side("plugin", 50)), commands={"up": 1, "refresh": 1}),
        Group(
            300,
            (Side("floor"), Side("dynamic", has_limit=True), Side("plugin")),
            locations=3,
            commands={"up": 1, "refresh": 3},
        ),
        Group(
            1000,
            (
                Side("floor"),
                Side("naive", only=("preview",)),
                Side("dynamic", has_limit=True),
                Side("plugin"),
            ),
        ),
        Group(
            1000,
            (
                Side("set", 50, EIGHT_AT_A_TIME),
                Side("set", 50, ONE_AT_A_TIME, only=("up",)),
            ),
        ),
        Group(
            10_000,
            (
                Side("floor_set", only=("preview", "up", "unchanged up", "preview of one change")),
                Side("set"),
            ),
            commands={
                "preview": 1,
                "up": 1,
                "unchanged up": 1,
                "preview of one change": 2,
                "refresh": 1,
                "destroy": 1,
            },
        ),
        Group(
            10_000,
            (Side("set", setting=NO_LOG),),
            commands={"up": 1, "preview of one change": 2},
        ),
        Group(
            300,
            tuple(Side("plugin", setting=each) for each in (NO_SETTING, *SETTINGS)),
            commands={"up": 1},
            rounds=2,
        ),
        Group(300, (Side("lookups"),), commands={"up": 1}),
    ]


def quick_plan() -> list[Group]:
    """A part of it, in less than three minutes."""
    return [
        Group(10, _at_once()),
        Group(100, _at_once()),
        Group(1000, (Side("floor_set"), Side("set", has_limit=True))),
        Group(100, (Side("set", 50, EIGHT_AT_A_TIME), Side("set", 50, ONE_AT_A_TIME))),
        Group(300, (Side("lookups"),), commands={"up": 1}),
    ]


def _at_once() -> tuple[Side, ...]:
    return (
        Side("floor"),
        Side("naive"),
        Side("dynamic", has_limit=True),
        Side("plugin"),
        Side("set"),
    )


def _slow(rounds: int) -> tuple[Side, ...]:
    return (
        Side("naive", 50, rounds=rounds),
        Side("dynamic", 50, rounds=rounds, has_limit=True),
        Side("plugin", 50, rounds=rounds),
        Side("set", 50, EIGHT_AT_A_TIME, rounds=rounds),
    )
