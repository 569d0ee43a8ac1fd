"""Failures and delays of calls, so that tests can see how a program handles them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal, get_args

# The key of the connection in the environment of a WSGI call.
CONNECTION = "pulumi_vmbackup.connection"

SESSION_START = "POST /sessions/start"

FaultKind = Literal[
    "reset", "stall", "cut short", "html", "error", "session over", "busy", "refused", "hold"
]

FAULT_KINDS: tuple[FaultKind, ...] = get_args(FaultKind)
_CALL = r"(?:GET|POST|DELETE)(?: /\S*)?"
_TEXT = re.compile(
    rf"(?P<kind>{'|'.join(FAULT_KINDS)})(?P<before> before)?(?: times=(?P<times>all|[0-9]{{1,9}}))?"
    rf"(?: skip=(?P<skip>[0-9]{{1,9}}))?(?: (?P<call>{_CALL}))?"
)


@dataclass(eq=False)
class Fault:
    """Calls that fail: append a fault to ``Simulator.faults``, at any time.

    Attributes:
        kind: how the call fails:

            * ``"reset"``: the connection is reset, and no answer comes.
            * ``"stall"``: no answer comes until the caller gives up, or until the fault is removed
              from ``Simulator.faults``, which resets the connection.
            * ``"cut short"``: the answer ends in its middle.
            * ``"html"``: the answer is an HTML page, like that of a proxy.
            * ``"error"``: the answer is HTTP 500, without the API's envelope.
            * ``"session over"``: the server forgets all sessions, as after a restart, and then
              answers.
            * ``"busy"``: a session is refused, as while a Management Console is connected. Other
              calls do not meet this fault.
            * ``"refused"``: the API refuses the call with the code ``MaintenanceMode``, as it might
              while the server is in maintenance. The server does not act.
            * ``"hold"``: the call waits until the fault is removed from ``Simulator.faults``, and
              is then answered as usual. So a test chooses the order of calls.
        call: the start of the calls that match, such as ``"POST /vms/backuplocations"`` or
            ``"DELETE"``: GET, POST or DELETE, and the path below the base URL, with ``[token]`` for
            the token. Empty for all calls of the API.
        skip: how many matching calls succeed first.
        times: how many matching calls fail then; None for all.
        acted: whether the server does what the call asks for before it fails or waits; ignored by
            ``"session over"``, ``"busy"`` and ``"refused"``.
        hits: how many calls have failed so far, or have begun to wait.

    Raises:
        ValueError: a value is not one of these.
    """

    kind: FaultKind
    call: str = ""
    skip: int = 0
    times: int | None = 1
    acted: bool = True
    hits: int = field(default=0, init=False)
    _matched: int = field(default=0, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.kind not in FAULT_KINDS:
            raise ValueError(f"kind is {self.kind!r}: use {_kinds()}.")
        if self.call != "" and not _is_call(self.call):
            raise ValueError(
                f"call is {self.call!r}: use GET, POST or DELETE, with or without the start of "
                "the path, as in 'POST /vms/backuplocations'."
            )
        if not _is_count(self.skip):
            raise ValueError(f"skip is {self.skip!r}: use a whole number, 0 or more.")
        if self.times is not None and not _is_count(self.times):
            raise ValueError(f"times is {self.times!r}: use a whole number, or null for all.")
        if not isinstance(self.acted, bool):
            raise ValueError(f"acted is {self.acted!r}: use true or false.")

    @classmethod
    def parse(cls, text: str) -> Fault:
        """Read a fault from a text such as ``"reset before times=2 skip=1 POST /vms"``.

        It is the kind, ``before`` if the server does not act, ``times=`` with a number or ``all``,
        ``skip=`` with a number, and the call; all but the kind are optional.

        Raises:
            ValueError: the text is not a fault.
        """
        found = _TEXT.fullmatch(text)
        if not found:
            raise ValueError(
                f"{text!r} is not a fault: use KIND [before] [times=N|all] [skip=N] [CALL], where "
                f"KIND is {_kinds()}, and CALL is like DELETE or POST /vms/backuplocations"
            )
        times = found["times"] or "1"
        return cls(
            next(kind for kind in FAULT_KINDS if kind == found["kind"]),
            call=found["call"] or "",
            skip=int(found["skip"] or 0),
            times=None if times == "all" else int(times),
            acted=found["before"] is None,
        )

    def meets(self, call: str) -> bool:
        """Whether this call fails; counts the matching calls."""
        is_about = call.startswith(self.call)
        if not is_about or (self.kind == "busy" and not call.startswith(SESSION_START)):
            return False
        self._matched += 1
        behind = self._matched - self.skip
        return behind > 0 and (self.times is None or behind <= self.times)


def _kinds() -> str:
    return f"{', '.join(FAULT_KINDS[:-1])} or {FAULT_KINDS[-1]}"


def _is_call(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(_CALL, value) is not None


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
