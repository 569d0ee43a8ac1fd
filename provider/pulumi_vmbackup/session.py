"""One session with the API: start, wait, share, renew and end.

Facts about sessions are seen in public clients; the vendor documents only the token.
"""

from __future__ import annotations

import atexit
import copy
import re
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import (
    BusyError,
    Hint,
    InvalidTokenError,
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
# How long a session may live that nobody ends: five idle minutes (seen), and some seconds more.
UNKNOWN_SESSION_SECONDS = 310.0
# Pulumi gives its provider's process five seconds to end. It waits this long for calls that are
# under way, and then tries twice to end the session.
LAST_CALLS_SECONDS = 1.0
END_SECONDS = 1.7
# Windows delivers Ctrl-C only between waits.
_WAIT_SLICE_SECONDS = 0.5
# A login that is answered neither with a session nor with a refusal of the account is tried again
# after these pauses, and then no more in this process: it may be a refused password in unknown
# words, and Windows locks accounts after a few of them.
UNEXPLAINED_LOGIN_PAUSES = (3.0, 12.0)
# A refusal of the account, as far as its words show. Windows words it in its own language.
_REFUSES_ACCOUNT = re.compile(
    r"pass ?word|passwort|kennwort|mot de passe|contrase|senha|palavra-passe|wachtwoord|"
    r"parola|has\u0142o|heslo|l\u00f6senord|adgangskode|passord|salasana|jelsz|"
    r"\u043f\u0430\u0440\u043e\u043b|\u5bc6\u7801|\u5bc6\u78bc|\u30d1\u30b9\u30ef\u30fc\u30c9|"
    r"credential|log[io]n[ _]?fail|anmelde?|user ?name|unknown user|account|authenticat|"
    r"invalid[ _]?(log|user)|unauthori[sz]ed|forbidden|access[ _]?(is )?denied|zugriff verweigert|"
    r"permission|administrat|\[secret\]",
    re.IGNORECASE,
)
# Something else holds the API. AnotherConsoleIsRegistered is seen; other words are likely.
_SOUNDS_BUSY = re.compile(
    r"\banother\b.*\b(connect|log|session|open)|\balready\b.*\b(connect|log|open|in use)|"
    r"console ?is|\bbusy\b",
    re.IGNORECASE,
)


class Session:
    """The session of one client, for any number of threads.

    The first call that needs it starts it, and all threads share it. It is renewed when the server
    has forgotten it. It is ended after two seconds without a call, by :meth:`close`, or when the
    process ends. A session given by ``vmbackup:sessionToken`` is neither started nor ended.

    No lock is held during a request or a wait for the server.

    Args:
        settings: the account, and how long to wait.
        transport: sends the requests; closed with the session.
        when_busy: called once during a wait for another session, after its first seconds, with how
            many seconds the wait may take in all.
    """

    def __init__(
        self,
        settings: Settings,
        transport: Transport,
        when_busy: Callable[[float], None] = lambda _: None,
    ) -> None:
        self._settings = settings
        self._transport = transport
        self._when_busy = when_busy
        self._condition = threading.Condition()
        self._token: str | None = None
        self._is_changing = False  # one thread is starting or ending the session
        self._is_stopped = False
        self._is_closed = False
        self._calls_under_way = 0
        self._last_call_at = 0.0
        self._failure: VmBackupError | None = None
        self._failed_at = 0.0
        self._unknown_session_until = 0.0
        self._doubtful_token: str | None = None  # of a session that may be over
        self.number = 0  # of the present session, from 1; each start counts

    @contextmanager
    def token(self, *, after_stop: bool = False) -> Iterator[tuple[str, int]]:
        """The session's token and number for one call; starts the session if there is none.

        After :meth:`stop`, only a call with ``after_stop`` gets the token, if there is a session.

        Raises:
            SettingsError: there are no credentials.
            LoginError, BusyError, RefusedError, UnreachableError: no session could be started.
            StoppedError: the session is closed.
        """
        token, number = self._begin_call(after_stop=after_stop)
        try:
            yield token, number
        finally:
            with self._condition:
                self._calls_under_way -= 1
                self._last_call_at = time.monotonic()
                self._condition.notify_all()

    def forget(self, token: str, *, may_live: bool = False) -> None:
        """Let the next call start another session: this one is over.

        Args:
            token: its token.
            may_live: whether that is only likely. It is then ended before another one is started;
                a session of the settings goes on.

        Raises:
            SettingsError: the token comes from the settings.
        """
        if self._settings.session_token:
            if may_live:
                return
            raise SettingsError(
                f"The session of {self._settings.name_of('sessionToken')} has ended. Start another "
                "one, or remove the token and set a user name and a password.",
                self._settings.to_set("sessionToken", "the token of another session"),
                Hint.RUN_PROGRAM,
            )
        with self._condition:
            if self._token == token:
                self._token = None
                self._doubtful_token = token if may_live else None

    def stop(self) -> None:
        """Begin no other call, and wake up those that wait; the session is ended as usual."""
        self._transport.stop()
        with self._condition:
            self._is_stopped = True
            self._condition.notify_all()

    def end_if_idle(self) -> bool:
        """End the session now if no call is under way; whether none is open afterwards.

        The next call starts another one.
        """
        with self._condition:
            token = self._token or self._doubtful_token
            if token is None or self._calls_under_way or self._is_changing or self._is_closed:
                return token is None and not self._is_changing
            self._token = self._doubtful_token = None
            self._is_changing = True
        with self._change():
            return self._end(token)

    def close(self) -> None:
        """End the session, if any, and close the connections; nothing is sent afterwards."""
        with self._condition:
            self._is_stopped = self._is_closed = True
            self._transport.stop(for_good=True)
            self._condition.notify_all()
            # Calls get a moment to end. A start or end of the session is waited for, so that no
            # session stays open when the process ends.
            self._condition.wait_for(lambda: not self._calls_under_way, LAST_CALLS_SECONDS)
            self._condition.wait_for(lambda: not self._is_changing, 2 * END_SECONDS)
            if self._is_changing:
                return  # the thread that is changing it ends it
            token = self._token or self._doubtful_token
            self._token = self._doubtful_token = None
            self._is_changing = True
        with self._change():
            if token:
                self._end(token)

    def _begin_call(self, *, after_stop: bool) -> tuple[str, int]:
        asked_at = time.monotonic()
        with self._condition:
            while True:
                has_session = bool(self._settings.session_token or self._token)
                if self._is_closed or (self._is_stopped and not (after_stop and has_session)):
                    raise _closed()
                token = self._settings.session_token or self._token
                if token:
                    self._calls_under_way += 1
                    return token, self.number
                # Threads that waited for this attempt share its failure.
                if self._failure and self._failed_at > asked_at:
                    raise copy.copy(self._failure)
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

    def _start(self) -> tuple[str, int]:
        """Start the session, for this thread and those that wait for it."""
        with self._change():
            doubtful, self._doubtful_token = self._doubtful_token, None
            if doubtful and not self._end(doubtful):
                self._unknown_session_until = time.monotonic() + UNKNOWN_SESSION_SECONDS
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
                    self.number = number = self.number + 1
                    self._calls_under_way += 1
            if not is_wanted:
                self._end(token)
                raise _closed()
        threading.Thread(target=self._end_when_idle, args=(token,), daemon=True).start()
        return token, number

    def _started_when_free(self) -> str:
        settings = self._settings
        if missing := settings.missing_credentials:
            also = "".join(f", and no {key}" for key in missing[1:])
            raise SettingsError(
                f"No {missing[0]} for VM Backup{settings.described} is known{also}.",
                *map(settings.to_set, missing),
            )
        wait_seconds = settings.session_wait_seconds
        if wait_seconds:
            # The session that is open may be this client's own.
            wait_seconds = max(wait_seconds, self._unknown_session_until - time.monotonic())
        # After one wait in vain, later resources ask once and do not wait again.
        was_waited_for = isinstance(self._failure, BusyError)
        give_up_at = time.monotonic() + (0 if was_waited_for else wait_seconds)
        login = _login(settings)
        busy_answers = 0
        while True:
            if login.failure:
                raise copy.copy(login.failure)
            try:
                token = self._started()
            except (RefusedError, LostAnswerError) as failure:
                pause = self._pause_before_another_login(failure, login, wait_seconds)
                left = give_up_at - time.monotonic()
                if _is_busy(failure) and left > 0:
                    pause = min(pause, left)
                    busy_answers += 1
                    if busy_answers == 2:
                        self._when_busy(wait_seconds)
                elif pause > left:
                    raise self._not_started(failure, login, wait_seconds) from None
            else:
                login.unexplained = 0
                return token
            self._transport.pause(pause)

    def _pause_before_another_login(
        self, failure: RefusedError | LostAnswerError, login: _Login, wait_seconds: float
    ) -> float:
        """How long to wait after a failed login; raises what another login cannot help."""
        settings = self._settings
        if isinstance(failure, LostAnswerError) and failure.status is None:
            raise failure
        if _refuses_account(failure):
            login.failure = LoginError(
                f"VM Backup refused the login of {settings.account} to "
                f"{settings.server_address}:{settings.server_port}: {failure}",
                settings.to_check("username", "password", "domain", "serverAddress", "serverPort"),
                Hint.RUN_PROGRAM,
            )
            raise copy.copy(login.failure)
        if _is_busy(failure):
            return BUSY_POLL_SECONDS
        login.unexplained += 1
        if login.unexplained > len(UNEXPLAINED_LOGIN_PAUSES):
            login.failure = self._not_started(failure, login, wait_seconds)
            raise copy.copy(login.failure)
        if isinstance(failure, LostAnswerError):
            raise failure  # a session may have been started
        return UNEXPLAINED_LOGIN_PAUSES[login.unexplained - 1]

    def _not_started(
        self, failure: RefusedError | LostAnswerError, login: _Login, wait_seconds: float
    ) -> VmBackupError:
        settings = self._settings
        if isinstance(failure, LostAnswerError):
            return failure
        if _is_busy(failure):
            within = f" within {wait_seconds:.3g} seconds" if wait_seconds else ""
            return BusyError(
                f"VM Backup accepted no session{within}: {failure} "
                "Something else holds the API: a VM Backup Management Console that is logged in "
                '(it is logged off after one hour, or never with "Remember me"), another API '
                "client such as a monitoring exporter (for as long as it runs), or the session of "
                "a run that was killed, or stopped with Ctrl-C in a look-up (five minutes). Close "
                "the Console or stop the other client.",
                settings.to_set("sessionWaitSeconds", purpose="To wait longer"),
                refusal=str(failure),
            )
        tries = "once" if login.unexplained == 1 else f"{login.unexplained} times"
        return BusyError(
            f"VM Backup started no session for {settings.account} at {settings.server_address}:"
            f"{settings.server_port}: {failure} The login was tried {tries}. The reason may be "
            "temporary, such as maintenance or a restart of VM Backup. If it stays, look for these "
            "words in the logs of VM Backup.",
            settings.to_check("serverAddress", "serverPort", "username", "domain"),
            refusal=str(failure),
        )

    def _started(self) -> str:
        answer = self._transport.exchange(
            "POST", "sessions/start", login_body(self._settings), is_slow=True
        )
        token = answer.get("Data")
        if not isinstance(token, str) or not is_guid(token):
            raise LostAnswerError("VM Backup started a session but sent no session token.")
        token = token.strip("{}")
        self._transport.hide_token(token)
        return token

    def _end_when_idle(self, token: str) -> None:
        with self._condition:
            while token in (self._token, self._doubtful_token):
                now = time.monotonic()
                idle_since = now if self._calls_under_way else self._last_call_at
                if now >= idle_since + IDLE_SECONDS:
                    break
                self._condition.wait(idle_since + IDLE_SECONDS - now)
            is_left = token in (self._token, self._doubtful_token)
            if not is_left or self._is_changing or self._is_closed:
                return
            self._token = self._doubtful_token = None
            self._is_changing = True
        with self._change():
            self._end(token)

    def _end(self, token: str) -> bool:
        """End a session; whether it is known to be over."""
        # Only this session: `sessions/end` without a token ends other tools' sessions too (seen).
        # If this fails, the server ends the session after five idle minutes (seen).
        path = f"sessions/end/{token}"
        try:
            try:
                self._transport.exchange("POST", path, ends_session_within=END_SECONDS)
            except LostAnswerError:
                self._transport.disconnect()  # the server may be about to close the connection
                self._transport.exchange("POST", path, ends_session_within=END_SECONDS)
        except (RefusedError, NoAnswerError) as error:
            return isinstance(error, InvalidTokenError)
        return True


def login_body(settings: Settings) -> dict[str, object]:
    """The body of ``sessions/start``."""
    return {
        "ServerAddress": settings.server_address,
        "ServerPort": str(settings.server_port),
        "Username": settings.username,
        "Password": settings.password,
        "Domain": settings.domain,
    }


# What is known of logins, for the whole process: several clients may use one account.


@dataclass
class _Login:
    """The logins of one account to one server.

    Attributes:
        failure: why no other login is tried; None if it may be.
        unexplained: how many logins in a row had an answer that does not tell why they failed.
    """

    failure: VmBackupError | None = None
    unexplained: int = 0


_logins: defaultdict[tuple[object, ...], _Login] = defaultdict(_Login)
forget_logins = _logins.clear


def _login(settings: Settings) -> _Login:
    return _logins[
        settings.base_url,
        settings.server_address,
        settings.server_port,
        settings.account,
        settings.password,
    ]


def _refuses_account(failure: RefusedError | LostAnswerError) -> bool:
    if isinstance(failure, LostAnswerError):
        return failure.refuses_session
    return not _is_busy(failure) and bool(_REFUSES_ACCOUNT.search(str(failure)))


def _is_busy(failure: RefusedError | LostAnswerError) -> bool:
    return isinstance(failure, RefusedError) and (failure.is_busy or sounds_busy(str(failure)))


def sounds_busy(words: str) -> bool:
    """Whether a server's words say that something else holds the API."""
    return bool(_SOUNDS_BUSY.search(words))


def _closed() -> StoppedError:
    return StoppedError("The session with VM Backup is closed: the run is over or was interrupted.")


# The end of the process. On Windows, Pulumi ends its provider host with Ctrl-Break, and a user may
# close the window. Python then runs no exit handlers, and sessions would stay open until the server
# ends them.

_at_process_end: list[Callable[[], None]] = []
_before_sessions_end: list[Callable[[], None]] = []


def at_process_end(function: Callable[[], None], *, before_sessions_end: bool = False) -> None:
    """Call a function when the process ends, on Windows also by an event of the console.

    Args:
        function: the function.
        before_sessions_end: whether it still needs the sessions. Where exit handlers run, it must
            have been called before.
    """
    atexit.register(function)
    (_before_sessions_end if before_sessions_end else _at_process_end).append(function)


def not_at_process_end(function: Callable[[], None]) -> None:
    """Undo :func:`at_process_end`."""
    atexit.unregister(function)
    for functions in (_at_process_end, _before_sessions_end):
        while function in functions:
            functions.remove(function)


def end_process() -> None:
    """Call the functions now, the last one first, for a process without exit handlers."""
    for function in (*reversed(_before_sessions_end), *reversed(_at_process_end)):
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
