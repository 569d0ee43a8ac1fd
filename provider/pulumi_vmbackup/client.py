"""The VM Backup REST API: its calls, its envelope, its sessions, and what to retry.

The only module that knows the API's names, and the only one that imports requests. The grades
(documented, seen, unknown) tell how sure a fact about the API is: the vendor's documentation, what
public clients of the API send and read, or neither.

Modules that each program and each provider process imports import this one only where they make a
client: requests takes some 30 ms to import, and what sends nothing does without.
"""

from __future__ import annotations

import json
import math
import ssl
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from http.cookiejar import DefaultCookiePolicy
from types import TracebackType
from typing import Any, NamedTuple

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.exceptions import NameResolutionError, NewConnectionError

from . import at_exit
from .errors import (
    BusyError,
    InvalidTokenError,
    LoginError,
    LostAnswerError,
    NoAnswerError,
    RefusedError,
    SettingsError,
    UnreachableError,
    VmBackupError,
)
from .models import BackupLocation, Kind, VirtualMachine, normalize_guid
from .redaction import add_secret, redact
from .retries import pauses
from .settings import RUN_PROGRAM, Settings, environment_variable

# An idle session is given up soon, since a server may allow one only (unknown).
IDLE_SECONDS = 2.0
BUSY_POLL_SECONDS = 2.0
# How long a session may live that this client started and was never told the token of: five idle
# minutes (seen), and some seconds more.
UNKNOWN_SESSION_SECONDS = 310.0
# Pulumi gives its provider's process five seconds to end, and ending a session is tried twice.
_END_SECONDS = 2.0
_LONGEST_ANSWER_BYTES = 64 * 2**20
_LONGEST_QUOTE = 500
_BUSY = "AnotherConsoleIsRegistered"  # seen
_SESSION_IS_OVER = "Invalid Token"  # seen
_HOST_IS_REFUSED = b"hostname is invalid"  # seen


class ProtocolAnswer(NamedTuple):
    """What an address answers when it is asked which VM Backup API it is.

    Attributes:
        is_api: whether it is one.
        version: the version of its protocol; None when it does not say.
        refuses_host: whether it is refused to be addressed by this Host header.
        status: the HTTP status.
    """

    is_api: bool
    version: str | None
    refuses_host: bool
    status: int


class Client:
    """One VM Backup API, for any number of threads.

    The session is started by the first call that needs one, shared by all threads, renewed when
    the server has forgotten it, and ended after two seconds without a call, by :meth:`close`, or
    when the process exits. A session given by ``vmbackup:sessionToken`` is neither started nor
    ended.

    All methods may raise SettingsError (no credentials), LoginError, BusyError, RefusedError,
    UnreachableError and LostAnswerError. Reads are tried three times; a write is sent once, since
    only a look at the server can tell whether a lost one arrived.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._http = _http_session(settings)
        self._condition = threading.Condition()
        self._token: str | None = None
        self._calls_under_way = 0
        self._last_call_at = 0.0
        self._start_failure: VmBackupError | None = None
        self._start_failed_at = 0.0
        self._unknown_session_until = 0.0
        if settings.password:
            add_secret(settings.password)
        if settings.session_token:
            _add_token(settings.session_token)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def parallel_requests(self) -> int:
        """How many requests may be under way at a time; more threads wait."""
        return self._settings.parallel_requests

    def close(self) -> None:
        """End the session, if this client started one, and close the connections."""
        with self._condition:
            self._end_session()
        self._http.close()

    # Backup locations and their assignments (documented)

    def assign(self, vm_ref: str, backup_location_id: str) -> None:
        """Assign a VM to a backup location."""
        self._call("POST", "vms/backuplocations", _guids(vm_ref, backup_location_id))

    def unassign(self, vm_ref: str, backup_location_id: str) -> None:
        """Take back the assignment of a VM to a backup location."""
        self._call("DELETE", "vms/backuplocations", _guids(vm_ref, backup_location_id))

    def backup_locations(self, kind: Kind) -> list[BackupLocation]:
        """All primary or all offsite backup locations."""
        return _read_locations(self._get("backuplocations", *_flags(kind)), kind)

    def vm_backup_locations(self, vm_ref: str, kind: Kind | None = None) -> list[BackupLocation]:
        """The backup locations that a VM is assigned to: all, or those of one kind."""
        segments = _guids(vm_ref) + (_flags(kind) if kind else ())
        return _read_locations(self._get("vms/backuplocations", *segments), kind)

    # Virtual machines (seen)

    def virtual_machines(self) -> list[VirtualMachine]:
        """All VMs that VM Backup sees, configured or not."""
        items = _read_items(self._get("vms/list"), "VirtualMachines")
        return [_read_virtual_machine(item) for item in items]

    # The way to the server, without a session or with nothing but one (seen)

    def ask_protocol(self) -> ProtocolAnswer:
        """Ask what answers there, once and without credentials."""
        try:
            status, content = self._send("GET", "protocol/version")
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            failure = self._explain(error)
        else:
            answer = _read_json(content)
            is_api = isinstance(answer, dict) and isinstance(answer.get("Success"), bool)
            version = answer.get("Data") if is_api else None
            return ProtocolAnswer(
                is_api=is_api,
                version=_on_one_line(str(version))[:_LONGEST_QUOTE] if version else None,
                refuses_host=not is_api and _HOST_IS_REFUSED in content,
                status=status,
            )
        raise failure

    def log_in(self) -> None:
        """Start the session now, rather than with the first call that needs one."""
        with self._session():
            pass

    # Calls within a session

    def _get(self, resource: str, *segments: str) -> Mapping[str, Any]:
        for pause in pauses():
            try:
                return self._call("GET", resource, segments)
            except NoAnswerError:
                pass
            except RefusedError as refusal:
                if not refusal.is_server_error:
                    raise
            time.sleep(pause)
        return self._call("GET", resource, segments)

    def _call(self, method: str, resource: str, segments: tuple[str, ...]) -> Mapping[str, Any]:
        try:
            with self._session() as token:
                return self._exchange(method, "/".join((resource, token, *segments)))
        except InvalidTokenError:
            if self._settings.session_token:
                raise SettingsError(
                    f"The session of {self._settings.name_of('sessionToken')} has ended: start "
                    "another one and set "
                    f"{environment_variable('sessionToken', self._settings.connection)} to its "
                    f"token, or leave it out and give a user name and a password. {RUN_PROGRAM}"
                ) from None
        # The server did nothing but look at the token, so nothing is sent twice.
        with self._condition:
            if self._token == token:
                self._token = None
        with self._session() as token:
            return self._exchange(method, "/".join((resource, token, *segments)))

    # Sessions (seen)

    @contextmanager
    def _session(self) -> Iterator[str]:
        asked_at = time.monotonic()
        with self._condition:
            token = self._settings.session_token or self._token
            if token is None:
                token = self._token = self._start_session(asked_at)
                # Now that there are connections: exit handlers run backwards, and urllib3's own
                # closes them.
                at_exit.register(self.close)
                threading.Thread(target=self._end_when_idle, args=(token,), daemon=True).start()
            self._calls_under_way += 1
        try:
            yield token
        finally:
            with self._condition:
                self._calls_under_way -= 1
                self._last_call_at = time.monotonic()

    def _start_session(self, asked_at: float) -> str:
        failure = self._start_failure
        if failure and (isinstance(failure, LoginError) or self._start_failed_at > asked_at):
            # A refused password is not sent again: Windows locks accounts after a few. And
            # threads that waited for this very attempt share its end.
            raise type(failure)(str(failure))
        try:
            token = self._start_session_when_free()
        except LostAnswerError as error:
            # The server may have started one, which then keeps others out until it is idle for
            # long. To the call that needed the session, nothing was sent.
            self._unknown_session_until = time.monotonic() + UNKNOWN_SESSION_SECONDS
            failure = UnreachableError(str(error))
        except VmBackupError as error:
            failure = error
        else:
            self._start_failure, self._unknown_session_until = None, 0.0
            return token
        self._start_failure, self._start_failed_at = failure, time.monotonic()
        raise failure

    def _start_session_when_free(self) -> str:
        settings = self._settings
        for key, value in (("username", settings.username), ("password", settings.password)):
            if not value:
                at = f" at connection {settings.connection!r}" if settings.connection else ""
                raise SettingsError(
                    f"No {key} for VM Backup{at} is known: {settings.ways_to_set(key)}."
                )
        body = {
            "ServerAddress": settings.server_address,
            "ServerPort": str(settings.server_port),
            "Username": settings.username,
            "Password": settings.password,
            "Domain": settings.domain,
        }
        wait_seconds = settings.session_wait_seconds
        if wait_seconds:
            # What keeps others out may be a session of this client's own.
            wait_seconds = max(wait_seconds, self._unknown_session_until - time.monotonic())
        # A server that was waited for in vain is not waited for again by each resource.
        waited = isinstance(self._start_failure, BusyError)
        give_up_at = time.monotonic() + (0 if waited else wait_seconds)
        while True:
            try:
                answer = self._exchange("POST", "sessions/start", body)
                break
            except RefusedError as refusal:
                if refusal.is_server_error:
                    raise LostAnswerError(str(refusal)) from None
                if not refusal.is_busy:
                    raise LoginError(
                        f"VM Backup refused the login of {_account(settings)} to "
                        f"{settings.server_address}:{settings.server_port}: {refusal} Check "
                        f"{settings.name_of('username')}, password, domain, serverAddress and "
                        f"serverPort. {RUN_PROGRAM}"
                    ) from None
                if time.monotonic() + BUSY_POLL_SECONDS > give_up_at:
                    raise BusyError(
                        f"VM Backup accepted no session within {wait_seconds:.3g} seconds: "
                        f"{refusal} Close the VM Backup Management Console, or wait longer with "
                        f"{settings.name_of('sessionWaitSeconds')}; the session of a run that was "
                        "killed ends by itself after five minutes."
                    ) from None
                time.sleep(BUSY_POLL_SECONDS)
        token = answer.get("Data")
        if not isinstance(token, str) or not _is_guid(token):
            raise LostAnswerError("VM Backup started a session but sent no session token.")
        token = token.strip("{}")
        _add_token(token)
        return token

    def _end_when_idle(self, token: str) -> None:
        with self._condition:
            while self._token == token:
                now = time.monotonic()
                idle_since = now if self._calls_under_way else self._last_call_at
                if now < idle_since + IDLE_SECONDS:
                    self._condition.wait(idle_since + IDLE_SECONDS - now)
                else:
                    self._end_session()

    def _end_session(self) -> None:
        token, self._token = self._token, None
        if token is None:
            return
        # Only this session: `sessions/end` without a token ends other tools' as well (seen).
        # Where this fails, the server ends the session itself after five idle minutes (seen).
        with suppress(RefusedError, NoAnswerError):
            try:
                self._exchange("POST", f"sessions/end/{token}", timeout=_END_SECONDS)
            except LostAnswerError:
                self._exchange("POST", f"sessions/end/{token}", timeout=_END_SECONDS)
        # Not before: when the process ends meanwhile, this is waited for at the lock.
        at_exit.unregister(self.close)

    # One HTTP exchange

    def _exchange(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        timeout: float | None = None,
    ) -> Mapping[str, Any]:
        try:
            return self._read_envelope(*self._send(method, path, body, timeout))
        except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
            failure = self._explain(error)
        # Outside of the except block: what requests raised holds the URL, and so the token.
        raise failure

    def _send(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        at_most: float | None = None,
    ) -> tuple[int, bytes]:
        timeout = min(self._settings.timeout_seconds, at_most or math.inf)
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
            # Whatever has come is taken at once, so that an answer that trickles is given up too.
            while chunk := response.raw.read1(65536, decode_content=True):
                content += chunk
                if len(content) > _LONGEST_ANSWER_BYTES:
                    raise LostAnswerError(
                        f"The answer of {self._settings.base_url} is longer than "
                        f"{_LONGEST_ANSWER_BYTES // 2**20} MiB, so it was not read."
                    )
                if time.monotonic() > answer_until:
                    raise requests.ReadTimeout
            return response.status_code, bytes(content)

    def _read_envelope(self, status: int, content: bytes) -> Mapping[str, Any]:
        answer = _read_json(content)
        if not isinstance(answer, dict) or not isinstance(answer.get("Success"), bool):
            raise LostAnswerError(self._explain_foreign_answer(status, content))
        if answer["Success"] and status < 300:
            return answer
        words = [
            str(answer[key])
            for key in ("ErrorCode", "ErrorMessage", "ErrorAdditionalDetails")
            if answer.get(key)
        ]
        shown = " / ".join(_on_one_line(redact(word))[:_LONGEST_QUOTE] for word in words)
        says = (
            f"the server says “{shown}”."
            if words
            else f"the server says no reason (HTTP {status})."
        )
        if any(_SESSION_IS_OVER in word for word in words):
            raise InvalidTokenError(says)
        refusal = RefusedError(says)
        refusal.is_busy = _BUSY in words
        refusal.is_server_error = status >= 500
        raise refusal

    def _explain_foreign_answer(self, status: int, content: bytes) -> str:
        settings = self._settings
        base_url = settings.base_url
        if _HOST_IS_REFUSED in content:
            return (
                f"{base_url} refuses the Host header (HTTP {status}): the API wants to be "
                f"addressed as localhost; {settings.ways_to_set('hostHeader')} to localhost:<port>."
            )
        if 300 <= status < 400:
            return (
                f"{base_url} answers with a redirect (HTTP {status}), which is not followed since "
                f"the address holds the session: correct {settings.name_of('baseUrl')}."
            )
        if status == 404:
            return (
                f"No VM Backup API is at {base_url} (HTTP 404): check "
                f"{settings.name_of('apiVersion')}, which chooses the address, and baseUrl."
            )
        return (
            f"{base_url} gave an answer that is not the VM Backup API's (HTTP {status}, "
            f"{len(content)} bytes): check {settings.name_of('apiVersion')} and baseUrl, or the "
            "“VM Backup API Service” if it happened once."
        )

    def _explain(self, error: Exception) -> NoAnswerError:
        settings = self._settings
        base_url = settings.base_url
        reason = getattr(error.args[0], "reason", None) if error.args else None
        if isinstance(error, requests.exceptions.SSLError):
            # Only a certificate is certainly refused before anything was sent.
            is_refused = isinstance(_tls_cause(reason), ssl.SSLCertVerificationError)
            kind = UnreachableError if is_refused else LostAnswerError
            return kind(
                f"The certificate or TLS of {base_url} is not accepted ({_tls_reason(reason)}): "
                "for a private or self-signed certificate, "
                f"{settings.ways_to_set('caFile')} to its PEM file; check whether the address "
                "wants http instead of https."
            )
        if isinstance(reason, NameResolutionError):
            return UnreachableError(
                f"The host name of {base_url} cannot be resolved: correct "
                f"{settings.name_of('baseUrl')}."
            )
        if isinstance(error, requests.exceptions.ProxyError):
            return UnreachableError(
                f"The proxy on the way to {base_url} refuses or does not answer: check HTTPS_PROXY "
                "and NO_PROXY."
            )
        if isinstance(reason, NewConnectionError) or isinstance(error, requests.ConnectTimeout):
            return UnreachableError(
                f"No VM Backup API answers at {base_url}: start the Windows service “VM Backup API "
                "Service” there (before V9.1 it is off by default), and check "
                f"{settings.name_of('apiVersion')} and baseUrl. The API answers on the VM Backup "
                "machine only, so from another one it needs a tunnel."
            )
        if isinstance(error, requests.Timeout) or "timed out" in str(error):
            return LostAnswerError(
                f"{base_url} did not answer within {self._settings.timeout_seconds:g} seconds: "
                "check the “VM Backup API Service”, or wait longer with "
                f"{settings.name_of('timeoutSeconds')}."
            )
        return LostAnswerError(
            f"The connection to {base_url} broke before the answer was complete: check the “VM "
            "Backup API Service”, and whether the address wants https instead of http."
        )


def trust(ca_file: str | None) -> ssl.SSLContext:
    """What a connection checks the server's certificate with."""
    context = ssl.create_default_context(cafile=ca_file)
    # Python 3.13 began to refuse certificates that miss formal extensions, as those that Windows
    # products make for themselves do. Trust and host name are checked all the same.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


class _TrustAdapter(HTTPAdapter):
    """Trusts what the system trusts, or one PEM file, instead of the list that requests carries.

    Companies put their own authorities into the Windows store.
    """

    def __init__(self, ca_file: str | None, connections: int) -> None:
        self._ssl_context = trust(ca_file)
        super().__init__(pool_connections=1, pool_maxsize=connections, pool_block=True)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._ssl_context, **kwargs)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        return super().proxy_manager_for(proxy, ssl_context=self._ssl_context, **kwargs)

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:  # noqa: ARG002
        conn.cert_reqs = "CERT_REQUIRED"


def _http_session(settings: Settings) -> requests.Session:
    session = requests.Session()
    session.trust_env = False  # no .netrc, and no proxy but for hosts that may need one
    if not settings.is_local:
        session.proxies.update(requests.utils.get_environ_proxies(settings.base_url))
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.headers["Accept"] = "application/json"
    session.headers["Accept-Encoding"] = "identity"  # so that the limit of an answer is one
    if settings.host_header:
        session.headers["Host"] = settings.host_header
    # More threads than connections wait for one, so that the server is not flooded.
    connections = settings.parallel_requests
    session.mount("https://", _TrustAdapter(settings.ca_file, connections))
    session.mount(
        "http://", HTTPAdapter(pool_connections=1, pool_maxsize=connections, pool_block=True)
    )
    return session


def _read_json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _account(settings: Settings) -> str:
    return f"{settings.domain}\\{settings.username}" if settings.domain else f"{settings.username}"


def _tls_cause(reason: BaseException | None) -> object:
    return reason.args[0] if reason and reason.args else reason


def _tls_reason(reason: BaseException | None) -> str:
    cause = _tls_cause(reason)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return cause.verify_message
    return getattr(cause, "reason", None) or "TLS failed"


def _on_one_line(text: str) -> str:
    """A server's text without line breaks and characters that a terminal would obey."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _add_token(token: str) -> None:
    add_secret(token)
    add_secret(token.replace("-", ""))


def _guids(*values: str) -> tuple[str, ...]:
    return tuple(map(normalize_guid, values))


def _flags(kind: Kind) -> tuple[str, str]:
    return ("1", "0") if kind == "primary" else ("0", "1")


def _is_guid(value: object) -> bool:
    try:
        normalize_guid(value)
    except ValueError:
        return False
    return True


def _read_items(answer: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    items = answer.get(key)
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        # Never read as "none": a missing list would let assignments look removed.
        raise LostAnswerError(f"The server's answer has no list of {key}.")
    return items


def _read_locations(answer: Mapping[str, Any], kind: Kind | None) -> list[BackupLocation]:
    return [
        BackupLocation(
            id=_read_guid(item, "BackupLocationId"),
            path=_read_text(item, "LocationPath"),
            kind=kind,
        )
        for item in _read_items(answer, "BackupLocations")
    ]


def _read_virtual_machine(item: Mapping[str, Any]) -> VirtualMachine:
    # A VM that VM Backup does not manage may have no ref of its own (unknown).
    has_ref = _is_guid(item.get("AltaroVirtualMachineRef"))
    return VirtualMachine(
        ref=_read_guid(item, "AltaroVirtualMachineRef") if has_ref else None,
        name=_read_text(item, "VirtualMachineName"),
        host=_read_text(item, "HostName"),
        configured=_read_flag(item, "Configured"),
        hypervisor_uuid=_read_text(item, "HypervisorVirtualMachineUuid"),
        next_backup_time=_read_time(item, "NextBackupTime"),
        next_offsite_copy_time=_read_time(item, "NextOffsiteCopyTime"),
        last_backup_time=_read_time(item, "LastBackupTime"),
        last_backup_result=_read_text(item, "LastBackupResult"),
        last_backup_duration=_read_int(item, "LastBackupDuration"),
        last_backup_transfer_size_compressed=_read_int(item, "LastBackupTransferSizeCompressed"),
        last_backup_transfer_size_uncompressed=_read_int(
            item, "LastBackupTransferSizeUncompressed"
        ),
        last_offsite_copy_time=_read_time(item, "LastOffsiteCopyTime"),
        last_offsite_copy_result=_read_text(item, "LastOffsiteCopyResult"),
        last_offsite_copy_duration=_read_int(item, "LastOffsiteCopyDuration"),
        last_offsite_copy_transfer_size_compressed=_read_int(
            item, "LastOffsiteCopyTransferSizeCompressed"
        ),
        last_offsite_copy_transfer_size_uncompressed=_read_int(
            item, "LastOffsiteCopyTransferSizeUncompressed"
        ),
    )


def _read_guid(item: Mapping[str, Any], key: str) -> str:
    if not _is_guid(item.get(key)):
        raise LostAnswerError(f"The server's answer has an item whose {key} is not a GUID.")
    return normalize_guid(item[key])


def _read_text(item: Mapping[str, Any], key: str) -> str | None:
    value = item.get(key)
    return value if isinstance(value, str) and value else None


def _read_flag(item: Mapping[str, Any], key: str) -> bool | None:
    value = item.get(key)
    return value if isinstance(value, bool) else None


def _read_int(item: Mapping[str, Any], key: str) -> int | None:
    value = item.get(key)
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _read_time(item: Mapping[str, Any], key: str) -> datetime | None:
    try:
        return datetime.strptime(item.get(key) or "", "%Y-%m-%d-%H-%M-%S")  # seen
    except (TypeError, ValueError):
        return None
