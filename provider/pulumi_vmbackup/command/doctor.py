"""``vmbackup doctor``: checks the connection step by step, up to the first failure."""

from __future__ import annotations

import hashlib
import socket
import ssl
import time
from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Literal, NamedTuple
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

import click
from rich.text import Text

from ..catalog import Lists
from ..client import Client, ProtocolAnswer
from ..errors import BusyError, LoginError, NoAnswerError, SettingsError, VmBackupError
from ..settings import (
    NEWEST_VERSION,
    VERSIONS,
    Settings,
    is_loopback,
)
from ..tls import trust
from .connection import Connection, connecting
from .output import print_output
from .wording import how_to_set, name_of, one_line, worded

# How long to wait for a port that may be closed, or for a TLS handshake.
LONGEST_PROBE_SECONDS = 5.0
# Error codes of OpenSSL (X509_V_ERR_*), which the ssl module does not name.
_WRONG_NAME = (62, 64)
_WRONG_TIME = (9, 10)

Scheme = Literal["http", "https"]


@dataclass(frozen=True)
class Finding:
    """The result of one step.

    Attributes:
        step: its name, such as ``port``.
        seen: the result, as a sentence or part of one.
        ok: whether the step succeeded, so that the next one follows.
        advice: what to do if it failed, as full sentences.
    """

    step: str
    seen: str
    ok: bool = True
    advice: str = ""


@click.command("doctor", short_help="Check the connection to the server.")
@connecting
def doctor(connection: Connection) -> None:
    """Check the connection to the server step by step, and say what is wrong and what to do."""
    try:
        settings, sources = connection.read()
    except SettingsError as error:
        _print_finding(Finding("settings", "they cannot be used", False, worded(error)))
        raise click.exceptions.Exit(1) from None
    finding = None
    with closing(examine(settings, sources)) as findings:
        for finding in findings:
            _print_finding(finding)
    if finding is None or not finding.ok:
        raise click.exceptions.Exit(1)


def _print_finding(finding: Finding) -> None:
    word = ("ok     ", "green") if finding.ok else ("failed ", "bold red")
    line = Text.assemble(word, (f"{finding.step:12} ", "bold"), one_line(finding.seen))
    print_output(line)
    if finding.advice:
        print_output(Text(f"       {'':12} {one_line(finding.advice)}"))


def examine(settings: Settings, sources: Mapping[str, str]) -> Generator[Finding, None, None]:
    """Check the connection; the last finding is ok only if the server sent its lists.

    Args:
        settings: the settings of the connection.
        sources: where they come from, by key, as setting_sources() returns them.
    """
    with closing(_way(settings, sources)) as way, closing(_session(settings)) as session:
        for finding in chain(way, session):
            yield finding
            if not finding.ok:
                return


def _way(settings: Settings, sources: Mapping[str, str]) -> Generator[Finding, None, None]:
    """The steps without credentials, up to an API that answers."""
    yield Finding("settings", _describe(settings, sources))
    url = urlsplit(settings.base_url)
    proxy = _proxy(settings, url)
    if proxy:
        yield Finding("proxy", f"{url.hostname} is reached through {proxy}")
    else:
        yield _resolve(settings, url)
        yield _connect(settings, sources, url)
        yield _speak(settings, sources, url)
        if url.scheme == "https":
            yield _check_certificate(settings, url)
    try:
        with Client(settings) as client:
            answer = client.ask_protocol()
    except NoAnswerError as error:
        yield Finding("API", "no answer came", ok=False, advice=worded(error))
        return
    yield _check_host_header(settings, sources, url, answer)
    yield _check_api(settings, sources, answer)


def _session(settings: Settings) -> Generator[Finding, None, None]:
    """The steps with credentials: start a session, list, end the session."""
    # One try shows whether something else holds the API.
    settings = replace(settings, session_wait_seconds=0)
    with Client(settings) as client:
        yield _log_in(client, settings)
        yield _list(client)


# Settings


def _describe(settings: Settings, sources: Mapping[str, str]) -> str:
    address = sources.get("baseUrl") or sources.get("apiVersion") or "the default"
    parts = [f"{settings.base_url} (from {address})"]
    if settings.session_token:
        parts.append(f"session token set (from {sources.get('sessionToken')})")
    elif settings.username:
        parts.append(f"account {settings.account} (from {sources.get('username')})")
        if settings.password:
            parts.append(f"password set (from {sources.get('password', 'the prompt')})")
        else:
            parts.append("no password")
    else:
        parts.append("no account")
    parts += [
        f"{key} {value} (from {sources[key]})"
        for key, value in (("caFile", settings.ca_file), ("hostHeader", settings.host_header))
        if key in sources
    ]
    name = f"connection {settings.connection!r}: " if settings.connection else ""
    return name + ", ".join(parts)


def _proxy(settings: Settings, url: SplitResult) -> str | None:
    """The proxy that the client uses, without a user name and password."""
    if settings.is_local or proxy_bypass(url.hostname or ""):
        return None
    proxies = getproxies()
    proxy = proxies.get(url.scheme) or proxies.get("all")
    return f"the proxy {proxy.rpartition('@')[2].rpartition('//')[2]}" if proxy else None


# The port


def _resolve(settings: Settings, url: SplitResult) -> Finding:
    try:
        found = socket.getaddrinfo(url.hostname, _port(url), type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        return Finding(
            "name",
            f"{url.hostname} cannot be resolved ({reason})",
            ok=False,
            advice=f"Correct the host name in {_name(settings, 'baseUrl')}.",
        )
    addresses = dict.fromkeys(str(each[4][0]) for each in found)
    return Finding("name", f"{url.hostname} is {', '.join(addresses)}")


def _connect(settings: Settings, sources: Mapping[str, str], url: SplitResult) -> Finding:
    port = _port(url)
    try:
        with socket.create_connection((url.hostname or "", port), _patience(settings)) as connected:
            address = connected.getpeername()[0]
        return Finding("port", f"port {port} of {address} accepts connections")
    except TimeoutError:
        seen = f"port {port} of {url.hostname} does not answer"
    except ConnectionRefusedError:
        seen = f"port {port} of {url.hostname} refuses connections: nothing listens there"
    except OSError as error:
        seen = f"port {port} of {url.hostname} cannot be reached ({error.strerror or error})"
    advice = _elsewhere(settings, sources) or (
        'Start the Windows service "VM Backup API Service" on the VM Backup machine: before V9.1 '
        "it is off by default. " + _other_machine(settings, url)
    )
    return Finding("port", seen, ok=False, advice=advice)


def _other_machine(settings: Settings, url: SplitResult) -> str:
    version = VERSIONS[settings.api_version]
    port = urlsplit(version.base_url).port
    if settings.is_local:
        return (
            "If VM Backup runs on another machine, open a tunnel to it first, such as "
            f"`ssh -L {_port(url)}:localhost:{port} ...` for V{settings.api_version}."
        )
    return (
        "The API answers on the VM Backup machine itself only, so a port of another machine is "
        f"reached through a tunnel, such as `ssh -L {port}:localhost:{port} ...` for "
        f"V{settings.api_version}, and "
        f"{_name(settings, 'baseUrl')} {version.base_url}."
    )


def _speak(settings: Settings, sources: Mapping[str, str], url: SplitResult) -> Finding:
    speaks = _scheme_of(settings, url)
    port = _port(url)
    if speaks == url.scheme:
        return Finding("protocol", f"port {port} speaks {speaks}")
    if speaks is None:
        return Finding(
            "protocol",
            f"port {port} speaks neither http nor https",
            ok=False,
            advice=f"Something else listens there: correct the port in "
            f'{_name(settings, "baseUrl")}, or start the "VM Backup API Service" again if it '
            "hangs.",
        )
    right_url = settings.base_url.replace(url.scheme, speaks, 1)
    seen = f"port {port} speaks {speaks}, not {url.scheme}"
    if speaks == "http" and not is_loopback(url.hostname):
        advice = (
            "Plain http would send the password unencrypted to another machine: open a tunnel such "
            f"as `ssh -L {port}:localhost:{port} ...`, and use http://localhost:{port}{url.path}."
        )
    else:
        advice = f"The address is {right_url}: {_set(settings, sources, 'baseUrl', right_url)}."
    return Finding("protocol", seen, ok=False, advice=advice)


def _scheme_of(settings: Settings, url: SplitResult) -> Scheme | None:
    """The protocol of the port. The expected one goes first: servers log the other as an error."""
    if url.scheme == "https":
        if _speaks_tls(settings, url):
            return "https"
        return "http" if _http_status(settings, url) else None
    status = _http_status(settings, url)
    # An https port may answer 400 to plain http.
    if status and status != 400:
        return "http"
    if _speaks_tls(settings, url):
        return "https"
    return "http" if status else None


def _speaks_tls(settings: Settings, url: SplitResult) -> bool:
    try:
        return bool(_certificate(settings, url))
    except ssl.SSLError as error:
        # TLS too, but of another version, or the server wants a client certificate.
        return any(word in (error.reason or "") for word in ("ALERT", "UNSUPPORTED_PROTOCOL"))
    except OSError:
        return False


def _http_status(settings: Settings, url: SplitResult) -> int | None:
    """The status of an answer to plain http; None if no answer or another protocol comes."""
    host = settings.host_header or url.netloc
    request = (
        f"GET {url.path}/protocol/version HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    )
    address = (url.hostname or "", _port(url))
    answer = b""
    with suppress(OSError), socket.create_connection(address, _patience(settings)) as connected:
        connected.sendall(request.encode("ascii", "replace"))
        give_up_at = time.monotonic() + _patience(settings)
        while len(answer) < 12 and time.monotonic() < give_up_at:
            if not (received := connected.recv(12)):
                break
            answer += received
    is_http = answer.startswith(b"HTTP/") and answer[9:12].isdigit()
    return int(answer[9:12]) if is_http else None


# The certificate


def _check_certificate(settings: Settings, url: SplitResult) -> Finding:
    context = trust(settings)
    try:
        _handshake(settings, url, context)
    except ssl.SSLCertVerificationError as error:
        return Finding(
            "certificate",
            f"the certificate of port {_port(url)} is not accepted: {error.verify_message}",
            ok=False,
            advice=_certificate_advice(settings, url, error.verify_code),
        )
    except OSError as error:
        return Finding(
            "certificate",
            f"the TLS handshake with port {_port(url)} fails "
            f"({getattr(error, 'reason', None) or error.strerror or error})",
            ok=False,
            advice="The server's TLS is too old for this machine's OpenSSL, or it wants a client "
            "certificate: bring its TLS settings up to date.",
        )
    trusted_by = settings.ca_file or "the system"
    return Finding("certificate", f"it is for {url.hostname} and trusted by {trusted_by}")


def _certificate_advice(settings: Settings, url: SplitResult, code: int) -> str:
    if code in _WRONG_NAME:
        names = _names_of_certificate(settings, url)
        is_for = f"It is for {', '.join(names)}: use" if names else "Use"
        return (
            f"{is_for} a name that the certificate holds as the host of "
            f"{_name(settings, 'baseUrl')}, or give the server a certificate for {url.hostname}."
        )
    if code in _WRONG_TIME:
        return (
            "Check the clock of this machine; if it is right, give the server a certificate that "
            "is valid now."
        )
    fingerprint = ""
    with suppress(OSError):
        digest = hashlib.sha256(_certificate(settings, url)).hexdigest().upper()
        fingerprint = f" Its SHA-256 fingerprint is {digest}."
    held = (
        f"{settings.ca_file} does not hold it or its issuer"
        if settings.ca_file
        else "This machine does not trust its issuer, as with any self-signed certificate"
    )
    return (
        f'{held}: on the VM Backup machine, export the certificate in certlm.msc as "Base-64 '
        f'encoded X.509 (.CER)", and {how_to_set(settings.to_set("caFile"))} to that file.'
        f"{fingerprint}"
    )


def _names_of_certificate(settings: Settings, url: SplitResult) -> list[str]:
    context = trust(settings)
    context.check_hostname = False
    try:
        with _tls(settings, url, context) as connected:
            found = connected.getpeercert() or {}
    except OSError:
        return []
    return [str(each[1]) for each in found.get("subjectAltName", ())]


def _certificate(settings: Settings, url: SplitResult) -> bytes:
    """The server's certificate as DER, trusted or not; no HTTP request is sent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with _tls(settings, url, context) as connected:
        return connected.getpeercert(binary_form=True) or b"none"


def _handshake(settings: Settings, url: SplitResult, context: ssl.SSLContext) -> None:
    with _tls(settings, url, context):
        pass


def _tls(settings: Settings, url: SplitResult, context: ssl.SSLContext) -> ssl.SSLSocket:
    host = url.hostname or ""
    plain = socket.create_connection((host, _port(url)), _patience(settings))
    try:
        return context.wrap_socket(plain, server_hostname=host)
    except BaseException:
        plain.close()
        raise


# The API


def _check_host_header(
    settings: Settings, sources: Mapping[str, str], url: SplitResult, answer: ProtocolAnswer
) -> Finding:
    sent = settings.host_header or url.netloc
    if not answer.refuses_host:
        return Finding("Host header", f'"{sent}" is accepted')
    wanted = f"localhost:{_port(url)}"
    source = sources.get("hostHeader")
    if source and settings.is_local:
        remedy = f"remove {source}, or set it to {wanted}"
    else:
        remedy = _set(settings, sources, "hostHeader", wanted)
    return Finding(
        "Host header",
        f'"{sent}" is refused (HTTP {answer.status}, "hostname is invalid")',
        ok=False,
        advice=f"The API must be addressed as localhost: {remedy}.",
    )


def _check_api(settings: Settings, sources: Mapping[str, str], answer: ProtocolAnswer) -> Finding:
    if answer.is_api:
        version = f" with protocol version {answer.version}" if answer.version else ""
        return Finding("API", f"a VM Backup API{version} answers at {settings.base_url}")
    elsewhere = _elsewhere(settings, sources)
    if answer.status == 404:
        seen = f"no VM Backup API is at {settings.base_url} (HTTP 404)"
    else:
        seen = (
            f"the answer at {settings.base_url} is not from a VM Backup API (HTTP {answer.status})"
        )
    advice = (
        f"Check {_name(settings, 'apiVersion')}, which chooses the address, and baseUrl; none of "
        f"the documented addresses of {urlsplit(settings.base_url).hostname} answers."
    )
    return Finding("API", seen, ok=False, advice=elsewhere or advice)


class _Place(NamedTuple):
    """An address at which an API may answer, and the versions that have this address."""

    base_url: str
    versions: tuple[str, ...]


def _elsewhere(settings: Settings, sources: Mapping[str, str]) -> str:
    """Advice to use an API that answers at another address of the machine; empty if none does."""
    url = urlsplit(settings.base_url)
    documented = {version: urlsplit(each.base_url) for version, each in VERSIONS.items()}
    places = []
    for path in dict.fromkeys(each.path for each in documented.values()):
        # Through a tunnel, a port may belong to any version.
        of_path = {key: each for key, each in documented.items() if each.path == path}
        exact = tuple(key for key, each in of_path.items() if each.port == _port(url))
        places.append(_Place(url._replace(path=path).geturl(), exact or tuple(of_path)))
    for version, each in documented.items():
        places.append(_Place(_at(url, each.port, each.path), (version,)))
    ports = dict.fromkeys(_port(urlsplit(each.base_url)) for each in places)
    # At once: Windows takes two seconds for each address that refuses.
    with ThreadPoolExecutor(len(ports)) as threads:
        accepts = dict(
            zip(ports, threads.map(partial(_accepts, settings, url), ports), strict=True)
        )
    tried = {settings.base_url}
    for place in places:
        if place.base_url not in tried and accepts[_port(urlsplit(place.base_url))]:
            tried.add(place.base_url)
            found = _api_at(settings, place.base_url)
            if found:
                return _take(settings, sources, _Place(found, place.versions))
    return ""


def _accepts(settings: Settings, url: SplitResult, port: int) -> bool:
    """Whether a port of the machine accepts connections."""
    try:
        socket.create_connection((url.hostname or "", port), _patience(settings)).close()
    except OSError:
        return False
    return True


def _api_at(settings: Settings, base_url: str) -> str | None:
    """The base URL, with http or https, if a VM Backup API answers there."""
    url = urlsplit(base_url)
    settings = replace(settings, timeout_seconds=_patience(settings))
    if settings.is_local:
        settings = replace(settings, host_header=f"localhost:{_port(url)}")
    scheme = _scheme_of(settings, url)
    if scheme is None or (scheme == "http" and not settings.is_local):
        return None
    found = url._replace(scheme=scheme).geturl()
    try:
        with Client(replace(settings, base_url=found)) as client:
            return found if client.ask_protocol().is_api else None
    except NoAnswerError:
        # Perhaps its certificate is not trusted yet; a later step tells.
        return found if scheme == "https" else None


def _take(settings: Settings, sources: Mapping[str, str], place: _Place) -> str:
    versions = " or ".join(place.versions)
    what = []
    if len(place.versions) > 1 or place.base_url != VERSIONS[versions].base_url:
        what.append(_set(settings, sources, "baseUrl", place.base_url))
    elif "baseUrl" in sources:
        what.append(f"remove {sources['baseUrl']}")
    if "apiVersion" in sources or versions != NEWEST_VERSION:
        what.append(_set(settings, sources, "apiVersion", versions))
    return f"An API of version {versions} answers at {place.base_url}: {', and '.join(what)}."


# The session


def _log_in(client: Client, settings: Settings) -> Finding:
    if settings.session_token:
        return Finding("login", "none: the session of the given token is used")
    try:
        client.log_in()
    except BusyError as error:
        return Finding(
            "login",
            f"VM Backup accepts no session now: {error.refusal}",
            ok=False,
            advice="A VM Backup Management Console is connected to this server: close it, on every "
            "machine, or wait for the other program that holds a session.",
        )
    except LoginError as error:
        return Finding("login", "VM Backup refuses the account", ok=False, advice=worded(error))
    except SettingsError as error:
        return Finding("login", "there are no credentials", ok=False, advice=worded(error))
    except VmBackupError as error:
        return Finding("login", "no session was started", ok=False, advice=worded(error))
    return Finding(
        "login",
        f"VM Backup at {settings.server_address}:{settings.server_port} accepts the account",
    )


def _list(client: Client) -> Finding:
    try:
        lists = Lists()
        vms, primary, offsite = (
            lists.get(name, client) for name in ("virtual machines", "primary", "offsite")
        )
    except VmBackupError as error:
        return Finding("listing", "no listing came back", ok=False, advice=worded(error))
    configured = sum(vm.is_assignable for vm in vms)
    return Finding(
        "listing",
        f"{len(vms)} virtual machines, {configured} of them configured, {len(primary)} primary and "
        f"{len(offsite)} offsite backup locations",
    )


def _set(settings: Settings, sources: Mapping[str, str], key: str, value: str) -> str:
    """How to set a setting so that it wins: where it is set now, if it is."""
    where = f"set {sources[key]}" if key in sources else how_to_set(settings.to_set(key))
    return f"{where} to {value}"


def _name(settings: Settings, key: str) -> str:
    return name_of(key, settings.connection)


def _at(url: SplitResult, port: int | None, path: str) -> str:
    host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
    return f"{url.scheme}://{host}:{port}{path}"


def _port(url: SplitResult) -> int:
    return url.port or (443 if url.scheme == "https" else 80)


def _patience(settings: Settings) -> float:
    return min(settings.timeout_seconds, LONGEST_PROBE_SECONDS)
