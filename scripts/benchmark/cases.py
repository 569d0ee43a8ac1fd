"""What is measured."""

from __future__ import annotations

from dataclasses import dataclass, replace

_YES = ("--yes", "--skip-preview")
COMMANDS = {
    "preview": ("preview",),
    "up": ("up", *_YES),
    "unchanged up": ("up", *_YES),
    "preview of one change": ("preview",),
    "refresh": ("refresh", *_YES),
    "destroy": ("destroy", *_YES),
}
# The HTTP calls of the dynamic resources, or of the set, over one connection and without Pulumi.
BARE_LOOP = "bare loop"


@dataclass(frozen=True)
class Group:
    """Sides that take turns, command by command.

    Attributes:
        count: the number of assignments.
        sides: programs of programs/, with the environment variables that they run with.
        servers: the number of servers that the assignments are spread over by ``connection``.
        answer_ms: the time that the server takes for an answer; 0 for at once.
        commands: the commands that are measured, in their order.
        rounds: how often the group is measured.
    """

    count: int
    sides: tuple[str, ...]
    answer_ms: int = 0
    commands: tuple[str, ...] = tuple(COMMANDS)
    rounds: int = 1
    servers: int = 1


_ALL = ("floor", "naive", "dynamic", "plugin", "set")
_SETS = ("floor_set", "set")
_ONE, _EIGHT = (f"set VMBACKUP_PARALLEL_REQUESTS={number}" for number in (1, 8))
_SLOW = ("naive", "dynamic", "plugin", "set", _EIGHT)
# A set for each of so many servers, and the same sets on one server.
FLEET = "fleet"
FLEET_ON_ONE_SERVER = f"{FLEET} ONE_SERVER=1"
_FLEET = Group(1000, (FLEET_ON_ONE_SERVER, FLEET), servers=100)
_SETTINGS = ("PULUMI_SKIP_CHECKPOINTS=true", "PULUMI_DIY_BACKEND_GZIP=true", "PULUMI_PARALLEL=1")

FULL = (
    Group(10, _ALL, rounds=2),
    Group(100, _ALL, rounds=2),
    Group(300, ("floor", "dynamic", "plugin", "set"), rounds=3),
    Group(300, ("floor", "naive"), commands=("preview", "up", "unchanged up", "refresh")),
    Group(300, ("plugin", *(f"plugin {each}" for each in _SETTINGS)), commands=("up",), rounds=2),
    Group(1000, ("floor", "dynamic", "plugin")),
    Group(1000, _SETS, rounds=2),
    Group(10_000, _SETS),
    Group(10, _SLOW, 50),
    Group(100, _SLOW, 50),
    Group(300, ("dynamic", "plugin"), 50, commands=("up", "refresh")),
    Group(1000, ("set", _EIGHT), 50, commands=("up", "refresh")),
    Group(1000, (_ONE,), 50, commands=("up",)),
    replace(_FLEET, rounds=3),
)
QUICK = (
    Group(10, _ALL),
    Group(100, _ALL),
    Group(1000, _SETS),
    Group(100, (_ONE, "set", _EIGHT), 50, commands=("up",)),
    _FLEET,
)
