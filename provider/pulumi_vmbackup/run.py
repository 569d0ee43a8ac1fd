"""The run of Pulumi that a provider's process belongs to."""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence

# Windows asks for two seconds before it says that a connection is refused.
_CONNECT_SECONDS = 5.0


class Run:
    """One run of Pulumi, known by the address of its engine.

    Args:
        arguments: the arguments of this process, the last of which is that address where Pulumi
            has started it; ``--logflow`` and ``--tracing`` make it put others before.

    Attributes:
        engine_address: that address; None when Pulumi did not start this process.
        id: what the processes of the run have in common; None when Pulumi did not start this one.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        address = arguments[-1] if arguments else ""
        found = re.fullmatch(r"\[?([0-9A-Za-z.:-]+?)\]?:([0-9]{1,5})", address)
        self.engine_address = address if found else None
        self._engine = (found[1], int(found[2])) if found else None
        self.id = re.sub(r"[^0-9A-Za-z]+", "-", address) if found else None

    def is_over(self) -> bool:
        """Whether the engine is gone, as after it was killed: what is done now, nobody knows of."""
        if self._engine is None:
            return False
        try:
            socket.create_connection(self._engine, _CONNECT_SECONDS).close()
        except ConnectionRefusedError:
            return True
        except OSError:  # it may be busy
            return False
        return False
