"""One HTTP exchange with the API: TLS, limits, the envelope, redaction, and what an error means.

The only module that imports requests, which takes some 30 ms. :class:`.client.Client` imports it
late, so that a preview that sends nothing does not load it. Grades of API facts: see client.py.
"""

from __future__ import annotations

import html
import json
import logging
import os
import re
import ssl
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.exceptions import NameResolutionError, NewConnectionError

from .errors import (
    REFUSES_SESSION,
    InvalidTokenError,
    LostAnswerError,
    NoAnswerError,
    RefusedError,
    StoppedError,
    UnreachableError,
)
from .models import normalize_guid
from .settings import RECORD, Settings
from .tls import check_each_connection, pool_arguments, refusal, trust

if TYPE_CHECKING:
    from .recorder import Recorder
    from .recording import Failure

LONGEST_ANSWER_BYTES = 64 * 2**20
# A login and the list of VMs may take a minute (seen); the other calls take seconds.
SLOW_CALL_FACTOR = 3
_LONGEST_QUOTE = 500
_BUSY = "AnotherConsoleIsRegistered"  # seen
SESSION_IS_OVER = "Invalid Token"  # seen
_HOST_IS_REFUSED = b"hostname is invalid"  # seen
# Windows delivers Ctrl-C only between waits.
_WAIT_SLICE_SECONDS = 0.5


class Transport:
    """Sends requests to one API and reads the envelope of its answers; for any number of threads.

    Args:
        settings: how to reach the server.

    Raises:
        SettingsError: the exchanges are to be recorded, and the file cannot be written.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._recorder = _recorder(settings)
        self._http = _http_session(settings)
        self._is_stopped = self._is_closed = False
        self._condition = threading.Condition()
        self._free_turns = settings.parallel_requests
        self._waiting_calls: deque[object] = deque()
        if settings.password:
            add_secret(settings.password)
        if settings.session_token:
            self.hide_token(settings.session_token)

    def close(self) -> None:
        """Close the connections. Nothing is sent afterwards."""
        self.stop(for_good=True)
        self.disconnect()

    def disconnect(self) -> None:
        """Close the connections that no call uses now; the next call opens a new one."""
        self._http.close()

    def stop(self, *, for_good: bool = False) -> None:
        """Begin no other call, also none that waits for its turn.

        A session can still be ended. So can a call be sent that tells what an earlier one did,
        unless it is stopped for good.
        """
        with self._condition:
            self._is_stopped = True
            self._is_closed |= for_good
            self._condition.notify_all()

    def pause(self, seconds: float) -> None:
        """Wait before another try.

        Raises:
            StoppedError: the transport is stopped, maybe meanwhile.
        """
        pause_until = time.monotonic() + seconds
        with self._condition:
            while (left := pause_until - time.monotonic()) > 0 and not self._is_stopped:
                self._condition.wait(min(left, _WAIT_SLICE_SECONDS))
            if self._is_stopped:
                raise _stopped()

    def hide_token(self, token: str) -> None:
        """Redact a session token, with and without its dashes."""
        for spelling in (token, normalize_guid(token), normalize_guid(token).replace("-", "")):
            add_secret(spelling)

    def exchange(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        is_slow: bool = False,
        after_stop: bool = False,
        ends_session_within: float | None = None,
    ) -> Mapping[str, Any]:
        """Send a request and return the envelope of its answer.

        Args:
            method: the HTTP method.
            path: the path below the base URL.
            body: what to send as JSON.
            is_slow: whether the call is known to be slow; it gets three times as long.
            after_stop: whether the call tells what an earlier one did, see :meth:`stop`.
            ends_session_within: for the call that ends a session, how many seconds to wait at
                most. It does not wait for its turn, and is sent after :meth:`stop` too.

        Raises:
            RefusedError: the server says no; InvalidTokenError if the session is over.
            UnreachableError: nothing was sent.
            LostAnswerError: no answer came, or it is not one of the API, or it refuses the session
                by its HTTP status.
            StoppedError: the transport is stopped.
        """
        status, content = self.send(
            method,
            path,
            body,
            is_slow=is_slow,
            after_stop=after_stop,
            ends_session_within=ends_session_within,
        )
        answer = read_json(content)
        if not isinstance(answer, dict) or not isinstance(answer.get("Success"), bool):
            raise self._foreign_answer(status, content)
        if answer["Success"] and status < 300:
            return answer
        words = [
            str(answer[key])
            for key in ("ErrorCode", "ErrorMessage", "ErrorAdditionalDetails")
            if answer.get(key)
        ]
        shown = " / ".join(on_one_line(redact(word)) for word in words)
        says = (
            f'the server says "{shown}".'
            if words
            else f"the server gives no reason (HTTP {status})."
        )
        if any(SESSION_IS_OVER in word for word in words):
            raise InvalidTokenError(says)
        if status in REFUSES_SESSION:
            raise LostAnswerError(says, status=status)
        raise RefusedError(says, is_busy=_BUSY in words, status=status)

    def send(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        is_slow: bool = False,
        after_stop: bool = False,
        ends_session_within: float | None = None,
    ) -> tuple[int, bytes]:
        """Send a request; return the status and the content of any answer.

        Raises:
            NoAnswerError: see :meth:`exchange`.
            StoppedError: the transport is stopped.
        """
        timeout = self._settings.timeout_seconds * (SLOW_CALL_FACTOR if is_slow else 1)
        try:
            if ends_session_within is not None:
                timeout = min(timeout, ends_session_within)
                return self._send(method, path, body, timeout)
            with self._turn(after_stop=after_stop):
                return self._send(method, path, body, timeout)
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            failure = self._explain(error, timeout)
        # Outside the except block: the error that requests raised holds the URL, and so the token.
        raise failure

    @contextmanager
    def _turn(self, *, after_stop: bool) -> Iterator[None]:
        """One of the calls that may be under way at a time, so that the server is not flooded.

        First come, first served: a thread that has just had a turn would else have the next one.
        """
        call = object()

        def is_over() -> bool:
            return self._is_closed or (self._is_stopped and not after_stop)

        def is_next() -> bool:
            return bool(self._free_turns) and self._waiting_calls[0] is call

        with self._condition:
            self._waiting_calls.append(call)
            try:
                while not is_next() and not is_over():
                    self._condition.wait(_WAIT_SLICE_SECONDS)
                if is_over():
                    raise _stopped()
                self._free_turns -= 1
            finally:
                self._waiting_calls.remove(call)
                self._condition.notify_all()
        try:
            yield
        finally:
            with self._condition:
                self._free_turns += 1
                self._condition.notify_all()

    def _send(
        self, method: str, path: str, body: Mapping[str, object] | None, timeout: float
    ) -> tuple[int, bytes]:
        if self._recorder is None:
            return self._request(method, path, body, timeout)
        sent_at = time.monotonic()
        try:
            status, content = self._request(method, path, body, timeout)
        except BaseException as error:
            seconds = time.monotonic() - sent_at
            self._recorder.add(self._settings, method, path, seconds, failure=_failure(error))
            raise
        seconds = time.monotonic() - sent_at
        self._recorder.add(self._settings, method, path, seconds, status=status, content=content)
        return status, content

    def _request(
        self, method: str, path: str, body: Mapping[str, object] | None, timeout: float
    ) -> tuple[int, bytes]:
        answer_until = time.monotonic() + timeout
        with self._http.request(
            method,
            f"{self._settings.base_url}/{path}",
            json=body,
            timeout=timeout,
            allow_redirects=False,
            stream=True,
        ) as response:
            content = bytearray()
            # Reads what has come so far, so that an answer that trickles in is given up too.
            while chunk := response.raw.read1(65536, decode_content=True):
                content += chunk
                if len(content) > LONGEST_ANSWER_BYTES:
                    raise LostAnswerError(
                        f"The answer of {self._settings.base_url} is longer than "
                        f"{LONGEST_ANSWER_BYTES // 2**20} MiB, so it was not read."
                    )
                if time.monotonic() > answer_until:
                    raise requests.ReadTimeout
            return response.status_code, bytes(content)

    def _foreign_answer(self, status: int, content: bytes) -> LostAnswerError:
        failure = self._explained_answer(status, content)
        failure.status = status
        return failure

    def _explained_answer(self, status: int, content: bytes) -> LostAnswerError:
        settings = self._settings
        base_url = settings.base_url
        if status in REFUSES_SESSION:
            return LostAnswerError(f"The server at {base_url} answers HTTP {status}.")
        if refuses_host(content):
            return LostAnswerError(
                f"{base_url} refuses the Host header (HTTP {status}): the API must be addressed as "
                "localhost.",
                settings.to_set("hostHeader", "localhost:<port>"),
            )
        if 300 <= status < 400:
            return LostAnswerError(
                f"{base_url} answers with a redirect (HTTP {status}), which is not followed "
                "because the address holds the session token.",
                settings.to_check("baseUrl"),
            )
        where = settings.to_check("apiVersion", "baseUrl")
        if status == 404:
            return LostAnswerError(f"No VM Backup API is at {base_url} (HTTP 404).", where)
        return LostAnswerError(
            f"{base_url} gave an answer that is not the VM Backup API's (HTTP {status}, "
            f"{len(content)} bytes). If other calls work, check {settings.service}.",
            where,
        )

    def _explain(self, error: Exception, timeout: float) -> NoAnswerError:
        settings = self._settings
        base_url = settings.base_url
        failure, cause = _failure(error), _tls_error(error)
        if isinstance(cause, ssl.SSLCertVerificationError):
            return refusal(settings, cause)
        if failure == "tls":
            return LostAnswerError(
                f"TLS with {base_url} fails ({getattr(cause, 'reason', None) or 'no reason'}). "
                "Check whether the address should begin with http://."
            )
        if failure == "name":
            return UnreachableError(
                f"The host name of {base_url} cannot be resolved.", settings.to_check("baseUrl")
            )
        if failure == "proxy":
            return UnreachableError(
                f"The proxy on the way to {base_url} refuses or does not answer: check HTTPS_PROXY "
                "and NO_PROXY, and on Windows the proxy settings of the system."
            )
        if failure == "refused":
            return UnreachableError(
                f"No VM Backup API answers at {base_url}: on the VM Backup machine, "
                f"{settings.to_start_service}. The API answers on that machine only, so from "
                "another machine it needs a tunnel.",
                settings.to_check("apiVersion", "baseUrl"),
            )
        if failure == "timeout":
            return LostAnswerError(
                f"{base_url} did not answer within {timeout:g} seconds: restart {settings.service} "
                "if this goes on.",
                settings.to_set("timeoutSeconds", purpose="To wait longer"),
            )
        return LostAnswerError(
            f"The connection to {base_url} broke before the answer was complete: check "
            f"{settings.service}, and whether the address should begin with https://."
        )


def _failure(error: BaseException) -> Failure:
    """Why no answer came, as far as the error of requests or urllib3 tells."""
    if isinstance(error, requests.exceptions.SSLError):
        is_refusal = isinstance(_tls_error(error), ssl.SSLCertVerificationError)
        return "certificate" if is_refusal else "tls"
    reason = _reason(error)
    if isinstance(reason, NameResolutionError):
        return "name"
    if isinstance(error, requests.exceptions.ProxyError):
        return "proxy"
    if isinstance(reason, NewConnectionError) or isinstance(error, requests.ConnectTimeout):
        return "refused"
    if isinstance(error, (requests.Timeout, urllib3.exceptions.TimeoutError)):
        return "timeout"
    if isinstance(error, LostAnswerError):
        return "too long"
    is_broken = isinstance(error, (requests.RequestException, urllib3.exceptions.HTTPError))
    return "reset" if is_broken else "interrupted"


def _reason(error: BaseException) -> Any:
    return getattr(error.args[0], "reason", None) if error.args else None


def _tls_error(error: BaseException) -> Any:
    """The error of the ssl module behind one of requests; None if there is none."""
    if not isinstance(error, requests.exceptions.SSLError):
        return None
    reason = _reason(error)
    return reason.args[0] if reason and reason.args else reason


def _recorder(settings: Settings) -> Recorder | None:
    """What records the exchanges of this process; None if nothing does."""
    if not os.environ.get(RECORD):
        return None
    from .recorder import recorder_of_process

    recorder = recorder_of_process(os.environ, redact)
    recorder.learn(settings)
    return recorder


def _stopped() -> StoppedError:
    return StoppedError("The connection to VM Backup is closed: the run is over.")


def refuses_host(content: bytes) -> bool:
    """Whether an answer says that the server wants another Host header."""
    return _HOST_IS_REFUSED in content


class _TrustAdapter(HTTPAdapter):
    """Trusts what the system trusts, or one PEM file, instead of the list in requests.

    Companies put their own authorities into the Windows store.
    """

    def __init__(self, settings: Settings, connections: int) -> None:
        self._arguments = pool_arguments(settings, trust(settings))
        super().__init__(pool_connections=1, pool_maxsize=connections, pool_block=True)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **(self._arguments | kwargs))
        check_each_connection(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        is_new = proxy not in self.proxy_manager
        manager = super().proxy_manager_for(proxy, **(self._arguments | kwargs))
        if is_new:
            check_each_connection(manager)
        return manager

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:  # noqa: ARG002
        conn.cert_reqs = "CERT_REQUIRED"


def _http_session(settings: Settings) -> requests.Session:
    session = requests.Session()
    session.trust_env = False  # no .netrc; a proxy only for other machines
    if not settings.is_local:
        session.proxies.update(requests.utils.get_environ_proxies(settings.base_url))
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.headers["Accept"] = "application/json"
    session.headers["Accept-Encoding"] = "identity"  # or an answer could exceed the limit
    if settings.host_header:
        session.headers["Host"] = settings.host_header
    connections = settings.parallel_requests + 1  # one more, to end the session
    if settings.base_url.startswith("https:"):  # reading the system's certificates takes 20 ms
        session.mount("https://", _TrustAdapter(settings, connections))
    else:
        session.mount(
            "http://", HTTPAdapter(pool_connections=1, pool_maxsize=connections, pool_block=True)
        )
    return session


def read_json(content: bytes) -> Any:
    """The JSON value of an answer; None if it is not JSON."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def on_one_line(text: str) -> str:
    """A server's text, shortened, on one line, without characters that control a terminal."""
    printable = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(printable.split())[:_LONGEST_QUOTE]


# Redaction: the session token is in the URL path (documented). urllib3 prints URLs in its debug and
# retry messages and in some warnings.

_LOGGERS_THAT_PRINT_URLS = (
    "urllib3.connection",
    "urllib3.connectionpool",
    "urllib3.poolmanager",
    "urllib3.response",
    "urllib3.util.retry",
)


# A shorter password may be a part of any word. It is replaced only where it is named as one.
_SHORTEST_UNMISTAKABLE = 4
_NAMED = r"""(?P<before>["'`]|\b(?:password|pwd)["']?\s?[:=]\s?["']?)"""


class _Redactor(logging.Filter):
    def __init__(self) -> None:
        super().__init__()
        self._secrets: set[str] = set()
        self._pattern: re.Pattern[str] | None = None  # of all secrets, once it is needed
        self._lock = threading.Lock()

    def add(self, secret: str) -> None:
        """Replace this text from now on, in any case and in escaped forms too.

        A text of less than four characters is replaced only in quotes, or after ``password:``.
        """
        forms = {
            secret,
            quote(secret, safe=""),
            quote_plus(secret),
            html.escape(secret),
            html.escape(secret).replace("&#x27;", "&#39;"),  # as .NET writes it
            json.dumps(secret)[1:-1],
        }
        with self._lock:
            self._secrets |= forms
            self._pattern = None

    def redact(self, text: str) -> str:
        """The text with each known secret replaced by ``[secret]``."""
        pattern = self._pattern or self._compiled()
        return pattern.sub(_replacement, text) if pattern else text

    def _compiled(self) -> re.Pattern[str] | None:
        with self._lock:  # else, a pattern without a new secret may replace one with it
            if self._secrets and not self._pattern:
                longest_first = sorted(self._secrets, key=len, reverse=True)
                alternatives = [re.escape(each) for each in longest_first if not _is_short(each)]
                if short := [re.escape(each) for each in longest_first if _is_short(each)]:
                    alternatives.append(rf"{_NAMED}(?:{'|'.join(short)})(?!\w)")
                self._pattern = re.compile("|".join(alternatives), re.IGNORECASE)
            return self._pattern

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = self.redact(record.getMessage())
        record.args = None
        return True

    def forget(self) -> None:
        """Forget all secrets, as a new process does."""
        self._secrets.clear()
        self._pattern = None


def _is_short(secret: str) -> bool:
    return len(secret) < _SHORTEST_UNMISTAKABLE


def _replacement(found: re.Match[str]) -> str:
    return (found.groupdict().get("before") or "") + "[secret]"


_redactor = _Redactor()
add_secret = _redactor.add
redact = _redactor.redact
forget_secrets = _redactor.forget

for _name in _LOGGERS_THAT_PRINT_URLS:
    logging.getLogger(_name).addFilter(_redactor)
