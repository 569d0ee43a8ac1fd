"""What can go wrong with a call on its way, so that tests can see what a program makes of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

# Where the server keeps the connection in the environment of a WSGI call.
CONNECTION = "pulumi_vmbackup.connection"


@dataclass(eq=False)
class Fault:
    """Calls that go wrong: append it to ``Simulator.faults``, at any time.

    Attributes:
        kind: what becomes of the call:

            * ``"reset"``: the connection is reset, and no answer comes.
            * ``"stall"``: no answer comes until the caller gives up, or until the fault is taken
              out of ``Simulator.faults``, which resets the connection.
            * ``"cut short"``: the answer ends in its middle.
            * ``"html"``: the answer is a page of HTML, as a proxy's.
            * ``"error"``: the answer is HTTP 500, without the API's envelope.
            * ``"session over"``: the server has forgotten all sessions, as after a restart, and
              then answers.
        call: how the calls begin that it is about, as ``"POST /vms/backuplocations"`` or
            ``"DELETE"``: method and path below the base URL. Any call when it is empty.
        skip: how many of these calls are answered as usual before.
        times: how many of them go wrong then; None for all.
        acted: whether the server does what the call asks for before it goes wrong; nothing to
            ``"session over"``.
        hits: how many calls have gone wrong so far.
    """

    kind: Literal["reset", "stall", "cut short", "html", "error", "session over"]
    call: str = ""
    skip: int = 0
    times: int | None = 1
    acted: bool = True
    hits: int = field(default=0, init=False)
    _matched: int = field(default=0, init=False, repr=False)

    def meets(self, call: str) -> bool:
        """Whether this very call is to go wrong; counts the calls that it is about."""
        if not call.startswith(self.call):
            return False
        self._matched += 1
        behind = self._matched - self.skip
        return behind > 0 and (self.times is None or behind <= self.times)
