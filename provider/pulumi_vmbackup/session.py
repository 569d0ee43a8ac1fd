"""One session with the API: start, wait, share, renew and end.

Facts about sessions are seen in public clients; the vendor documents only the token.
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

# An idle session is ended soon: servers of V9 allow one session at a time (seen).
IDLE_SECONDS = 2.0
BUSY_POLL_SECONDS = 2.0
# How long a session may live if the answer to its start was lost: five idle minutes (seen), and
# some seconds more.
UNKNOWN_SESSION_SECONDS = 310.0
# Pulumi gives its provider's process five seconds to end. It waits this long for calls that are
# under way, and then tries twice to end the session.
LAST_CALLS_SECONDS = 1.0
END_SECONDS = 1.7
# Windows delivers Ctrl-C only between waits.
_WAIT_SLICE_SECONDS = 0.5


class Session:
    """The session of one client, for any number of threads.

    The first call that needs it starts it, and all threads share it. It is renewed when the server
    has forgotten it. It is ended after two seconds without a call, by :meth:`close`, or when the
    process ends. A session given by ``vmbackup:sessionToken`` is neither started nor ended.

    No lock is held during a request or a wait for the server.

    Args:
        settings: the account, and how long to wait.
        transport: sends the requests; closed with the session.
    """

    def __init__(self, settings: Settings, transport: Transport) -> None:
        self._settings = settings
        self._transport = transport
        self._condition = threading.Condition()
        self._token: str | None = None
        self._is_changing = False  # one thread is starting or ending the session
        self._is_closed = False
        self._calls_under_way = 0
        self._last_call_at = 0.0
        self._failure: VmBackupError | None = None
        self._failed_at = 0.0
        self._unknown_session_until = 0.0

    @contextmanager
    def token(self) -> Iterator[str]:
        """The session's token for one call; starts the session if there is none.

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
        """Let the next call start another session: the server does not know this token any more.

        Raises:
            SettingsError: the token comes from the settings.
        """
        if self._settings.session_token:
            raise SettingsError(
                f"The session of {self._settings.name_of('sessionToken')} has ended. Start another "
                "one, or remove the token and set a user name and a password.",
                self._settings.to_set("sessionToken", "the token of another session"),
                Hint.RUN_PROGRAM,
            )
        with self._condition:
            if self._token == token:
                self._token = None

    def end_if_idle(self) -> None:
        """End the session now if no call is under way; the next call starts another one."""
        with self._condition:
            token = self._token
            if token is None or self._calls_under_way or self._is_changing or self._is_closed:
                return
            self._token, self._is_changing = None, True
        with self._change():
            self._end(token)

    def close(self) -> None:
        """End the session, if any, and close the connections; nothing is sent afterwards."""
        with self._condition:
            self._is_closed = True
            self._transport.stop()
            self._condition.notify_all()
            # Calls get a moment to end. A start or end of the session is waited for, so that no
            # session stays open when the process ends.
            self._condition.wait_for(lambda: not self._calls_under_way, LAST_CALLS_SECONDS)
            self._condition.wait_for(lambda: not self._is_changing, 2 * END_SECONDS)
            if self._is_changing:
                return  # the thread that is changing it ends it
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
                # A refused password is not sent again: Windows locks accounts after a few failures.
                # Threads that waited for this attempt share its failure.
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
        """The start or the end of the session, by one thread."""
        try:
            yield
        finally:
            with self._condition:
                self._is_changing = False
                if self._is_closed:
                    self._transport.close()
                if self._token is None:
                    # Only now: a process that ends meanwhile waits for the end of the session.
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
                    # The server may have started a session, which keeps others out until it has
                    # been idle for minutes. The call that needed the session was not sent.
                    self._unknown_session_until = time.monotonic() + UNKNOWN_SESSION_SECONDS
                    failure = UnreachableError(str(error), *error.advice)
                self._failure, self._failed_at = copy.copy(failure), time.monotonic()
                raise failure from None
            self._failure, self._unknown_session_until = None, 0.0
            # After the first request: exit handlers run in reverse order, and the one of urllib3,
            # which closes the connections, must run later.
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
            # The session that is open may be this client's own.
            wait_seconds = max(wait_seconds, self._unknown_session_until - time.monotonic())
        # After one wait in vain, later resources ask once and do not wait again.
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
            self._wait_for_another_try()

    def _wait_for_another_try(self) -> None:
        try_again_at = time.monotonic() + BUSY_POLL_SECONDS
        with self._condition:
            while (seconds := try_again_at - time.monotonic()) > 0:
                if self._is_closed:
                    raise _closed()
                self._condition.wait(min(seconds, _WAIT_SLICE_SECONDS))

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
        # Only this session: `sessions/end` without a token ends other tools' sessions too (seen).
        # If this fails, the server ends the session after five idle minutes (seen).
        path = f"sessions/end/{token}"
        with suppress(RefusedError, NoAnswerError):
            try:
                self._transport.exchange("POST", path, ends_session_within=END_SECONDS)
            except LostAnswerError:
                self._transport.disconnect()  # the server may be about to close the connection
                self._transport.exchange("POST", path, ends_session_within=END_SECONDS)


def _closed() -> StoppedError:
    return StoppedError("The session with VM Backup is closed: the run is over or was interrupted.")


# The end of the process. On Windows, Pulumi ends its provider host with Ctrl-Break, and a user may
# close the window. Python then runs no exit handlers, and sessions would stay open until the server
# ends them.

_at_process_end: list[Callable[[], None]] = []


def at_process_end(function: Callable[[], None]) -> None:
    """Call a function when the process ends, on Windows also by an event of the console."""
    atexit.register(function)
    _at_process_end.append(function)


def not_at_process_end(function: Callable[[], None]) -> None:
    """Undo :func:`at_process_end`."""
    atexit.unregister(function)
    while function in _at_process_end:
        _at_process_end.remove(function)


def end_process() -> None:
    """Call the functions now, the last one first, for a process without exit handlers."""
    for function in reversed(list(_at_process_end)):
        function()


if sys.platform == "win32":
    import ctypes
    import signal
    from ctypes import wintypes

    # That somebody logs off is told to services too, which go on.
    _WINDOW_CLOSED, _SHUTDOWN = 2, 6

    def _at_console_event(event: int) -> bool:
        if event in (signal.CTRL_BREAK_EVENT, _WINDOW_CLOSED, _SHUTDOWN):
            end_process()
        return False  # the next handler ends the process

    # A handler of the signal module must be set on the main thread, and the provider host imports
    # this package on another one. The name keeps the handler from being garbage-collected.
    _handler = ctypes.WINFUNCTYPE(wintypes.BOOL, wintypes.DWORD)(_at_console_event)
    ctypes.windll.kernel32.SetConsoleCtrlHandler(_handler, True)
