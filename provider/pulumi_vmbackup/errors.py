"""The errors of this package, named for what to do next.

VmBackupError
├── ArgumentError      an argument of the program is wrong: correct the program; nothing was sent
├── SettingsError      a setting is missing or wrong: correct the stack configuration or environment
├── LoginError         the server refused the user: correct the credentials
├── BusyError          something else holds the API: close the Management Console, or wait
├── RefusedError       the server answered "no", in its own words: read them
│   └── InvalidTokenError  the session is over: a new one is needed
└── NoAnswerError      no usable answer came, so nothing is known about what the server did
    ├── UnreachableError   nothing was sent: start the service, or correct the address
    └── LostAnswerError    it was sent, and the answer is missing or unreadable

``str(error)`` is one or more full sentences that hold no password and no session token. What a
program's own calls raise is one of these and a ProgramError too, which Pulumi prints as a sentence.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class VmBackupError(Exception):
    """The root of every error that this package raises on purpose."""


class ArgumentError(VmBackupError, ValueError):
    """An argument is no GUID, or asks for nothing. Raised before anything is sent."""


class SettingsError(VmBackupError):
    """A setting is missing or has a value that cannot be used. Names the setting and its source."""


class LoginError(VmBackupError):
    """The server refused to start a session for the configured user."""


class BusyError(VmBackupError):
    """The server takes no session now, mostly because the Management Console is connected."""


class RefusedError(VmBackupError):
    """The server answered ``"Success": false``; ``str(error)`` is its own words.

    Attributes:
        is_busy: whether the reason is that something else holds the API.
        is_server_error: whether it came as an HTTP status of 500 or more, which may pass.
    """

    is_busy = False
    is_server_error = False


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
    """Begin the sentence of an error with what could not be done."""
    try:
        yield
    except VmBackupError as error:
        raise type(error)(f"Could not {what}: {error}") from None
