"""The errors of this package, named for what to do next.

VmBackupError
|-- ArgumentError      an argument of the program is wrong: correct the program; nothing was changed
|-- SettingsError      a setting is missing or wrong: correct the stack configuration or environment
|-- LoginError         the server refused the user: correct the credentials
|-- BusyError          something else holds the API: close the Management Console, or wait
|-- StoppedError       the run was interrupted or is over: run it again
|-- WrongServerError   the server knows neither the VM nor the location: check the address
|-- RefusedError       the server answered "no": read its words
|   `-- InvalidTokenError  the session is over: a new one is needed
`-- NoAnswerError      no usable answer came: what the server did is unknown
    |-- UnreachableError   nothing was sent: start the service, or correct the address
    `-- LostAnswerError    a request was sent; its answer is missing or unreadable

``str(error)`` is one or more full sentences, without any password or session token.
``error.advice`` holds what may help, as data: a Python program, the command and the plugin word it
for their own readers.
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
        value: what to set it to; empty if the setting's name says enough.
        purpose: when to set it, as the first words of a sentence; empty for always.
        provider: the name of the ``Provider`` resource whose setting it is; None for none.
        is_inherited: whether that provider may also take it from the unnamed settings.
    """

    key: str
    connection: str | None = None
    value: str = ""
    purpose: str = ""
    provider: str | None = None
    is_inherited: bool = False


@dataclass(frozen=True)
class CheckSettings:
    """Advice: check settings that may be wrong.

    Attributes:
        keys: the settings, such as ``baseUrl``.
        connection: the name of the connection; None for the unnamed one.
        provider: the name of the ``Provider`` resource whose settings they are; None for none.
    """

    keys: tuple[str, ...]
    connection: str | None = None
    provider: str | None = None


class Hint(Enum):
    """Advice without a value."""

    RUN_PROGRAM = auto()
    """`pulumi refresh` and `destroy` may use an older configuration (dynamic resources only)."""
    REFRESH = auto()
    """Find out what is assigned, and then assign what is missing."""
    REMOVE_FROM_STATE = auto()
    """Remove what is gone for good from the state, without a call to the server."""
    DELETE_FIRST = auto()
    """Un-assign the old location before the new one is assigned."""
    CORRECT_PROGRAM = auto()
    """Declare again what an update has un-assigned by mistake; the next one assigns it."""
    FIND_VM_REF = auto()
    """Where to find the ref of a VM."""
    FIND_LOCATION_ID = auto()
    """Where to find the id of a backup location."""


Advice = SetSetting | CheckSettings | Hint


class VmBackupError(Exception):
    """The root of all errors of this package.

    Attributes:
        advice: what may help.
    """

    def __init__(self, message: str, *advice: Advice) -> None:
        super().__init__(message)
        self.advice = advice

    def reworded(self: _Error, message: str) -> _Error:
        """The same error with another message; class, advice and all other attributes stay."""
        other = copy.copy(self)
        other.args = (message,)
        return other


class ArgumentError(VmBackupError, ValueError):
    """An argument is wrong, such as an id that is not a GUID or a name that no VM has.

    Nothing was changed on the server.

    Attributes:
        argument: the argument's name in Python; None if the message is clear without it.
    """

    def __init__(self, message: str, *advice: Advice, argument: str | None = None) -> None:
        super().__init__(message, *advice)
        self.argument = argument


class SettingsError(VmBackupError):
    """A setting is missing or wrong; the message names it and where it comes from."""


class LoginError(VmBackupError):
    """The server refused to start a session for the configured user."""


class BusyError(VmBackupError):
    """The server accepts no session now, usually because the Management Console is connected.

    Attributes:
        refusal: the server's refusal, as part of a sentence.
    """

    def __init__(self, message: str, *advice: Advice, refusal: str = "") -> None:
        super().__init__(message, *advice)
        self.refusal = refusal


class StoppedError(VmBackupError):
    """The run was interrupted or is over, so the provider sends nothing more."""


class WrongServerError(VmBackupError):
    """The server knows neither the VM nor the location: it may be the server of another site."""


class RefusedError(VmBackupError):
    """The server answered ``"Success": false``; ``str(error)`` contains the server's words.

    Attributes:
        is_busy: whether something else holds the API.
        status: the HTTP status.
        session: which session of the client it was refused in, from 1; 0 if in none of its own.
    """

    def __init__(
        self,
        message: str,
        *advice: Advice,
        is_busy: bool = False,
        status: int = 200,
    ) -> None:
        super().__init__(message, *advice)
        self.is_busy = is_busy
        self.status = status
        self.session = 0

    @property
    def is_server_error(self) -> bool:
        """Whether the HTTP status is 500 or more; such an error may pass."""
        return self.status >= 500


class InvalidTokenError(RefusedError):
    """The session has ended: it was idle for about five minutes, or the server was restarted."""


class NoAnswerError(VmBackupError):
    """No usable answer came, so it is unknown what the server did."""


class UnreachableError(NoAnswerError):
    """There was no connection or no session, so the server did nothing."""


REFUSES_SESSION = (401, 403)
"""The HTTP statuses that refuse a session, whatever the answer holds (seen)."""


class LostAnswerError(NoAnswerError):
    """A request was sent, but its answer was lost, is cut short, or does not come from the API.

    Attributes:
        status: the HTTP status of an answer that is not the API's; None if none came.
    """

    def __init__(self, message: str, *advice: Advice, status: int | None = None) -> None:
        super().__init__(message, *advice)
        self.status = status

    @property
    def refuses_session(self) -> bool:
        """Whether the server refuses the session, or a login, by the HTTP status (seen)."""
        return self.status in REFUSES_SESSION


def quoted(text: str) -> str:
    """A text in quotes on one line, with its backslashes as people write them."""
    return repr(text).replace("\\\\", "\\")


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Begin the message of an error with ``Could not``, and what could not be done."""
    try:
        yield
    except VmBackupError as error:
        raise error.reworded(f"Could not {what}: {error}") from None
