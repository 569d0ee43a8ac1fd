"""The errors of this package, named for what to do next.

VmBackupError
├── ArgumentError      an argument of the program is wrong: correct the program; nothing was sent
├── SettingsError      a setting is missing or wrong: correct the stack configuration or environment
├── LoginError         the server refused the user: correct the credentials
├── BusyError          something else holds the API: close the Management Console, or wait
├── StoppedError       the run was interrupted or is over: run it again
├── RefusedError       the server answered "no", in its own words: read them
│   └── InvalidTokenError  the session is over: a new one is needed
└── NoAnswerError      no usable answer came, so nothing is known about what the server did
    ├── UnreachableError   nothing was sent: start the service, or correct the address
    └── LostAnswerError    it was sent, and the answer is missing or unreadable

``str(error)`` is one or more full sentences that hold no password and no session token.
``error.advice`` holds what would help as values: a Python program, the command and the plugin have
other words for the same thing, so each of them words it for its own readers.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from typing import TypeVar

_Error = TypeVar("_Error", bound="VmBackupError")


@dataclass(frozen=True)
class SetSetting:
    """Advice: set a setting.

    Attributes:
        key: the setting, such as ``caFile``.
        connection: the name of the connection; None for the unnamed one.
        value: what to set it to; empty when that goes without saying.
        purpose: when to do so, as the beginning of a sentence; empty for always.
    """

    key: str
    connection: str | None = None
    value: str = ""
    purpose: str = ""


@dataclass(frozen=True)
class CheckSettings:
    """Advice: check settings, which may be wrong.

    Attributes:
        keys: the settings, such as ``baseUrl``.
        connection: the name of the connection; None for the unnamed one.
    """

    keys: tuple[str, ...]
    connection: str | None = None


class Hint(Enum):
    """Advice without a value."""

    RUN_PROGRAM = auto()
    """`pulumi refresh` and `destroy` may use an older configuration: true of dynamic resources."""
    DELETE_FIRST = auto()
    """Un-assign the old location before the new one is assigned."""
    FIND_VM_REF = auto()
    """Where the ref of a VM is found."""
    FIND_LOCATION_ID = auto()
    """Where the id of a backup location is found."""


Advice = SetSetting | CheckSettings | Hint


class VmBackupError(Exception):
    """The root of every error that this package raises on purpose.

    Attributes:
        advice: what would help.
    """

    def __init__(self, message: str, *advice: Advice) -> None:
        super().__init__(message)
        self.advice = advice

    def reworded(self: _Error, message: str) -> _Error:
        """The same error with another message: class, advice and all other attributes stay."""
        other = copy.copy(self)
        other.args = (message,)
        return other


class ArgumentError(VmBackupError, ValueError):
    """An argument is no GUID, or asks for nothing. Raised before anything is sent.

    Attributes:
        argument: the name of the argument, as Python programs have it; None where the message says
            what is wrong without one.
    """

    def __init__(self, message: str, *advice: Advice, argument: str | None = None) -> None:
        super().__init__(message, *advice)
        self.argument = argument


class SettingsError(VmBackupError):
    """A setting is missing or has a value that cannot be used. Names the setting and its source."""


class LoginError(VmBackupError):
    """The server refused to start a session for the configured user."""


class BusyError(VmBackupError):
    """The server takes no session now, mostly because the Management Console is connected.

    Attributes:
        refusal: what the server says, as a part of a sentence.
    """

    def __init__(self, message: str, *advice: Advice, refusal: str = "") -> None:
        super().__init__(message, *advice)
        self.refusal = refusal


class StoppedError(VmBackupError):
    """The run was interrupted or is over, so nothing was sent."""


class RefusedError(VmBackupError):
    """The server answered ``"Success": false``; ``str(error)`` is its own words.

    Attributes:
        is_busy: whether the reason is that something else holds the API.
        is_server_error: whether it came as an HTTP status of 500 or more, which may pass.
    """

    def __init__(
        self,
        message: str,
        *advice: Advice,
        is_busy: bool = False,
        is_server_error: bool = False,
    ) -> None:
        super().__init__(message, *advice)
        self.is_busy = is_busy
        self.is_server_error = is_server_error


class InvalidTokenError(RefusedError):
    """The session ended: it was idle for about five minutes, or the server was restarted."""


class NoAnswerError(VmBackupError):
    """No usable answer came back; what the server did, if anything, is unknown."""


class UnreachableError(NoAnswerError):
    """No connection or no session could be made, so the server did nothing."""


class LostAnswerError(NoAnswerError):
    """A request was sent, but its answer was lost, cut short or is not the API's."""


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Begin the message of an error with what could not be done."""
    try:
        yield
    except VmBackupError as error:
        raise error.reworded(f"Could not {what}: {error}") from None
