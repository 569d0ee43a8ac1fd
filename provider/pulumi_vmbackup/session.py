"""One session with the API: it is started, waited for, shared, renewed and ended.

What is known of sessions is seen in public clients; the vendor documents the token alone.
"""

from __future__ import annotations

import atexit
import copy
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from .errors import (
    BusyError,
    Hint,
    LoginError,
    LostAnswerError,
    NoAnswerError,
    RefusedError,
    SettingsError,
    StoppedError,
    UnreachableError,
    VmBackupError,
)
from .models import is_guid
from .settings import Settings

if TYPE_CHECKING:
    from .transport import Transport

# An idle session is given up soon, since servers of V9 allow one at a time (seen).
IDLE_SECONDS = 2.0
BUSY_POLL_SECONDS = 2.0
# How long a session may live that was started and whose token never arrived: five idle minutes
# (seen), and some seconds more.
UNKNOWN_SESSION_SECONDS = 310.0
# Pulumi gives its provider's process five seconds to end. These calls are waited for that long, and
# ending a session is tried twice.
_LAST_CALLS_SECONDS = 1.0
_END_SECONDS = 1.7
# Windows delivers Ctrl-C between waits only.
_WAIT_SLICE_SECONDS = 0.5


class Session:
    """The session of one client, for any number of threads.

    It is started by the first call that needs it, shared by all threads, renewed when the server
    has forgotten it, and ended after two seconds without a call, by :meth:`close`, or when the
    process ends. A session given by ``vmbackup:sessionToken`` is neither started nor ended.

    No lock is held while the server is asked or waited for.

    Args:
        settings: who logs in, and how long to wait.
        transport: sends the requests; it is closed with the session.
    """

    def __init__(self, settings: Settings, transport: Transport) -> None:
        self._settings = settings
        self._transport = transport
        self._condition = threading.Condition()
        self._token: str | None = None
        self._is_changing = False  # one thread starts or ends the session at this moment
        self._is_closed = False
        self._calls_under_way = 0
        self._last_call_at = 0.0
        self._failure: VmBackupError | None = None
        self._failed_at = 0.0
        self._unknown_session_until = 0.0

    @contextmanager
    def token(self) -> Iterator[str]:
        """The session's token for one call; the session is started if need be.

        Raises:
            SettingsError: there are no credentials.
            LoginError, BusyError, RefusedError, UnreachableError: no session could be started.
            StoppedError: the session is closed.
        """
        token = self._begin_call()
        try:
            yield token
        finally:
            with self._condition:
                self._calls_under_way -= 1
                self._last_call_at = time.monotonic()
                self._condition.notify_all()

    def forget(self, token: str) -> None:
        """Start another session for the next call: the server does not know this token any more.

        Raises:
            SettingsError: the token is the one of the settings.
        """
        if self._settings.session_token:
            raise SettingsError(
                f"The session of {self._settings.name_of('sessionToken')} has ended. Start another "
                "one, or leave its token out and give a user name and a password.",
                self._settings.to_set("sessionToken", "the token of another session"),
                Hint.RUN_PROGRAM,
            )
        with self._condition:
            if self._token == token:
                self._token = None

    def close(self) -> None:
        """End the session, if there is one, and close the connections; nothing is sent any more."""
        with self._condition:
            self._is_closed = True
            self._condition.notify_all()
            # Calls have a moment to end. A session that is being started or ended is waited for, so
            # that none stays open when the process ends.
            self._condition.wait_for(lambda: not self._calls_under_way, _LAST_CALLS_SECONDS)
            self._condition.wait_for(lambda: not self._is_changing, 2 * _END_SECONDS)
            if self._is_changing:
                return  # the thread that changes it ends it
            token, self._token = self._token, None
            self._is_changing = True
        with self._change():
            if token:
                self._end(token)

    def _begin_call(self) -> str:
        asked_at = time.monotonic()
        with self._condition:
            while True:
                if self._is_closed:
                    raise _closed()
                token = self._settings.session_token or self._token
                if token:
                    self._calls_under_way += 1
                    return token
                # A refused password is not sent again: Windows locks accounts after a few. And
                # threads that waited for this very attempt share its end.
                failure = self._failure
                if failure and (isinstance(failure, LoginError) or self._failed_at > asked_at):
                    raise copy.copy(failure)
                if not self._is_changing:
                    self._is_changing = True
                    break
                self._condition.wait(_WAIT_SLICE_SECONDS)
        return self._start()

    @contextmanager
    def _change(self) -> Iterator[None]:
        """What the one thread does that starts or ends the session."""
        try:
            yield
        finally:
            with self._condition:
                self._is_changing = False
                if self._is_closed:
                    self._transport.close()
                if self._token is None:
                    # Not before: a process that ends meanwhile waits for the end of the session.
                    not_at_process_end(self.close)
                self._condition.notify_all()

    def _start(self) -> str:
        """Start the session, for this thread and those that wait for it."""
        with self._change():
            try:
                token = self._started_when_free()
            except VmBackupError as error:
                failure = error
                if isinstance(error, LostAnswerError):
                    # The server may have started one, which then keeps others out until it is idle
                    # for long. To the call that needed the session, nothing was sent.
                    self._unknown_session_until = time.monotonic() + UNKNOWN_SESSION_SECONDS
                    failure = UnreachableError(str(error), *error.advice)
                self._failure, self._failed_at = copy.copy(failure), time.monotonic()
                raise failure from None
            self._failure, self._unknown_session_until = None, 0.0
            # Now that there are connections: exit handlers run backwards, and urllib3's own closes
            # them.
            at_process_end(self.close)
            with self._condition:
                is_wanted = not self._is_closed
                if is_wanted:
                    self._token = token
                    self._calls_under_way += 1
            if not is_wanted:
                self._end(token)
                raise _closed()
        threading.Thread(target=self._end_when_idle, args=(token,), daemon=True).start()
        return token

    def _started_when_free(self) -> str:
        settings = self._settings
        for key, value in (("username", settings.username), ("password", settings.password)):
            if not value:
                at = f" at connection {settings.connection!r}" if settings.connection else ""
                raise SettingsError(f"No {key} for VM Backup{at} is known.", settings.to_set(key))
        wait_seconds = settings.session_wait_seconds
        if wait_seconds:
            # What keeps others out may be a session of this client's own.
            wait_seconds = max(wait_seconds, self._unknown_session_until - time.monotonic())
        # A server that was waited for in vain is not waited for again by each resource.
        was_waited_for = isinstance(self._failure, BusyError)
        give_up_at = time.monotonic() + (0 if was_waited_for else wait_seconds)
        while True:
            try:
                return self._started()
            except RefusedError as refusal:
                if refusal.is_server_error:
                    raise LostAnswerError(str(refusal)) from None
                if not refusal.is_busy:
                    raise LoginError(
                        f"VM Backup refused the login of {settings.account} to "
                        f"{settings.server_address}:{settings.server_port}: {refusal}",
                        settings.to_check(
                            "username", "password", "domain", "serverAddress", "serverPort"
                        ),
                        Hint.RUN_PROGRAM,
                    ) from None
                if time.monotonic() + BUSY_POLL_SECONDS > give_up_at:
                    raise BusyError(
                        f"VM Backup accepted no session within {wait_seconds:.3g} seconds: "
                        f"{refusal} Close the VM Backup Management Console. The session of a run "
                        "that was killed ends by itself after five minutes.",
                        settings.to_set("sessionWaitSeconds", purpose="To wait longer"),
                        refusal=str(refusal),
                    ) from None
            with self._condition:
                if self._condition.wait_for(lambda: self._is_closed, BUSY_POLL_SECONDS):
                    raise _closed()

    def _started(self) -> str:
        settings = self._settings
        answer = self._transport.exchange(
            "POST",
            "sessions/start",
            {
                "ServerAddress": settings.server_address,
                "ServerPort": str(settings.server_port),
                "Username": settings.username,
                "Password": settings.password,
                "Domain": settings.domain,
            },
        )
        token = answer.get("Data")
        if not isinstance(token, str) or not is_guid(token):
            raise LostAnswerError("VM Backup started a session but sent no session token.")
        token = token.strip("{}")
        self._transport.hide_token(token)
        return token

    def _end_when_idle(self, token: str) -> None:
        with self._condition:
            while self._token == token:
                now = time.monotonic()
                idle_since = now if self._calls_under_way else self._last_call_at
                if now >= idle_since + IDLE_SECONDS:
                    break
                self._condition.wait(idle_since + IDLE_SECONDS - now)
            if self._token != token or self._is_closed:
                return
            self._token, self._is_changing = None, True
        with self._change():
            self._end(token)

    def _end(self, token: str) -> None:
        # Only this session: `sessions/end` without a token ends other tools' as well (seen).
        # Where this fails, the server ends the session itself after five idle minutes (seen).
        path = f"sessions/end/{token}"
        with suppress(RefusedError, NoAnswerError):
            try:
                self._transport.exchange("POST", path, timeout=_END_SECONDS)
            except LostAnswerError:
                self._transport.exchange("POST", path, timeout=_END_SECONDS)


def _closed() -> StoppedError:
    return StoppedError("The session with VM Backup is closed: the run is over or was interrupted.")


# The end of the process. Pulumi ends its provider host on Windows with Ctrl-Break, for which Python
# runs no exit handlers: sessions would stay open until the server ends them.

_at_process_end: list[Callable[[], None]] = []


def at_process_end(function: Callable[[], None]) -> None:
    """Call a function when the process ends, also when Windows ends it with Ctrl-Break."""
    atexit.register(function)
    _at_process_end.append(function)


def not_at_process_end(function: Callable[[], None]) -> None:
    """Do not call it after all."""
    atexit.unregister(function)
    while function in _at_process_end:
        _at_process_end.remove(function)


def end_process() -> None:
    """Call the functions now, for a process that ends without exit handlers."""
    for function in list(_at_process_end):
        function()


if sys.platform == "win32":
    import ctypes
    import signal
    from ctypes import wintypes

    def _at_console_event(event: int) -> bool:
        if event == signal.CTRL_BREAK_EVENT:
            end_process()
        return False  # so that the event goes on to end the process

    # A handler of the signal module would have to be set on the main thread, and the provider
    # host imports this package on another one. The name keeps the handler from being collected.
    _handler = ctypes.WINFUNCTYPE(wintypes.BOOL, wintypes.DWORD)(_at_console_event)
    ctypes.windll.kernel32.SetConsoleCtrlHandler(_handler, True)
