"""``vmbackup doctor``: checks the connection step by step, up to the first failure."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit
from urllib.request import getproxies, proxy_bypass

import click
from rich.text import Text

from ..client import Client, ProtocolAnswer
from ..errors import (
    ArgumentError,
    BusyError,
    LoginError,
    NoAnswerError,
    SettingsError,
    VmBackupError,
)
from ..models import KINDS, VirtualMachine
from ..names import counted
from ..settings import (
    NEWEST_VERSION,
    VERSIONS,
    Settings,
    is_loopback,
)
from ..tls import check_names, connect, fingerprint, port_of, refusal, trust
from . import certificate
from .connection import Connection, connecting
from .output import check_file, print_output, write_file
from .port import Heard, accepts, listen, patience
from .wording import name_of, one_line, where_to_set, worded


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
@click.option(
    "--save-certificate",
    metavar="FILE",
    help="show the server's certificate, ask, and write it to this file, for --ca-file; do nothing "
    "else",
)
@click.option(
    "--report",
    metavar="FILE",
    help="also write this file for a bug report, without real names, addresses and ids",
)
@connecting
def doctor(connection: Connection, save_certificate: str | None, report: str | None) -> None:
    """Check the connection to the server step by step, and say what is wrong and what to do.

    It changes nothing on the server, so it does not try to assign or un-assign.
    """
    if save_certificate is not None and report is not None:
        raise ArgumentError("--save-certificate does nothing else: give --report without it.")
    if save_certificate is not None:
        certificate.save_certificate(connection, save_certificate)
        return
    is_ok = _reported(connection, report) if report is not None else _examined(connection).is_ok
    if not is_ok:
        raise click.exceptions.Exit(1)


@dataclass
class _Examination:
    """What the doctor has found out.

    Attributes:
        settings: the settings; None if they cannot be used.
        sources: where they come from, by key.
        lines: what was printed.
        is_ok: whether the last step succeeded.
    """

    settings: Settings | None = None
    sources: Mapping[str, str] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    is_ok: bool = False

    def show(self, finding: Finding) -> None:
        word = ("ok     ", "green") if finding.ok else ("failed ", "bold red")
        text = Text.assemble(word, (f"{finding.step:12} ", "bold"), one_line(finding.seen))
        texts = [text]
        if finding.advice:
            texts.append(Text(f"       {'':12} {one_line(finding.advice)}"))
        for each in texts:
            print_output(each)
            self.lines.append(each.plain)
        self.is_ok = finding.ok


def _examined(connection: Connection) -> _Examination:
    found = _Examination()
    try:
        found.settings, found.sources = connection.read()
    except SettingsError as error:
        found.show(Finding("settings", "they cannot be used", False, worded(error)))
        return found
    with closing(examine(found.settings, found.sources)) as findings:
        for finding in findings:
            found.show(finding)
    return found


def _reported(connection: Connection, report: str) -> bool:
    """Examine the connection, and write the report; whether all steps succeeded."""
    from .bug_report import bug_report, recording

    file = check_file(report, "--report")
    with recording():
        found = _examined(connection)
        write_file(file, bug_report(found.settings, found.sources, found.lines), "--report")
    print_output(
        Text(f"The report is in {file}. Look through it before you attach it to a bug report.")
    )
    return found.is_ok


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
    """The steps with credentials: start a session, each read that runs depend on, its end."""
    # One try shows whether something else holds the API.
    settings = replace(settings, session_wait_seconds=0)
    with Client(settings) as client:
        yield _log_in(client, settings)
        vms: list[VirtualMachine] = []
        yield _list(client, vms)
        yield _list_of_one(client, vms)
        yield _log_out(client, settings)


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
        found = socket.getaddrinfo(url.hostname, port_of(url), type=socket.SOCK_STREAM)
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
    port = port_of(url)
    try:
        with socket.create_connection((url.hostname or "", port), patience(settings)) as connected:
            address = connected.getpeername()[0]
        return Finding("port", f"port {port} of {address} accepts connections")
    except TimeoutError:
        seen = f"port {port} of {url.hostname} does not answer"
    except ConnectionRefusedError:
        seen = f"port {port} of {url.hostname} refuses connections: nothing listens there"
    except OSError as error:
        seen = f"port {port} of {url.hostname} cannot be reached ({error.strerror or error})"
    advice = _elsewhere(settings, sources) or (
        f"On the VM Backup machine, {settings.to_start_service}. {_other_machine(settings, url)}"
    )
    return Finding("port", seen, ok=False, advice=advice)


def _other_machine(settings: Settings, url: SplitResult) -> str:
    version = VERSIONS[settings.api_version]
    port = urlsplit(version.base_url).port
    if settings.is_local:
        return (
            "If VM Backup runs on another machine, open a tunnel to it first, such as "
            f"`ssh -L {port_of(url)}:localhost:{port} ...` for V{settings.api_version}."
        )
    return (
        "The API answers on the VM Backup machine itself only, so a port of another machine is "
        f"reached through a tunnel, such as `ssh -L {port}:localhost:{port} ...` for "
        f"V{settings.api_version}, and "
        f"{_name(settings, 'baseUrl')} {version.base_url}."
    )


def _speak(settings: Settings, sources: Mapping[str, str], url: SplitResult) -> Finding:
    heard = listen(settings, url)
    speaks = heard.scheme
    port = port_of(url)
    if speaks == url.scheme:
        return Finding("protocol", f"port {port} speaks {speaks}")
    if speaks is None:
        return _not_http(settings, heard, port)
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


def _not_http(settings: Settings, heard: Heard, port: int) -> Finding:
    if heard.is_silent:
        return Finding(
            "protocol",
            f"port {port} accepts connections and does not answer within "
            f"{settings.timeout_seconds:g} seconds",
            ok=False,
            advice=f"The server hangs: restart {settings.service} on the VM Backup machine. If "
            "that does not help, restart the machine.",
        )
    correct = f"correct the port in {_name(settings, 'baseUrl')}"
    if heard.said:
        said = "".join(c if c.isprintable() else " " for c in heard.said.decode("latin-1"))
        return Finding(
            "protocol",
            f'port {port} speaks neither http nor https: it says "{said.strip()}"',
            ok=False,
            advice=f"Something else listens there: {correct}.",
        )
    return Finding(
        "protocol",
        f"port {port} closes each connection without an answer",
        ok=False,
        advice="A tunnel does so if nothing listens at its other end: on the VM Backup machine, "
        f"{settings.to_start_service}, and check the tunnel's port. If something else listens at "
        f"port {port}, {correct}.",
    )


# The certificate


def _check_certificate(settings: Settings, url: SplitResult) -> Finding:
    context = trust(settings)
    port = port_of(url)
    try:
        with connect(url, context, settings.timeout_seconds) as connected:
            is_exactly_this = check_names(connected, context, url.hostname or "")
            der = connected.getpeercert(binary_form=True) or b""
    except ssl.SSLCertVerificationError as error:
        return Finding(
            "certificate",
            f"the certificate of port {port} is not accepted: {error.verify_message}",
            ok=False,
            advice=worded(refusal(settings, error)),
        )
    except OSError as error:
        return Finding(
            "certificate",
            f"the TLS handshake with port {port} fails "
            f"({getattr(error, 'reason', None) or error.strerror or error})",
            ok=False,
            advice="The server's TLS is too old for this machine's OpenSSL, or it wants a client "
            "certificate: bring its TLS settings up to date.",
        )
    if is_exactly_this:
        seen = f"it is the one in {settings.ca_file}, with the fingerprint {fingerprint(der)}"
    else:
        seen = f"it is for {url.hostname} and trusted by {settings.ca_file or 'the system'}"
    return Finding("certificate", seen)


# The API


def _check_host_header(
    settings: Settings, sources: Mapping[str, str], url: SplitResult, answer: ProtocolAnswer
) -> Finding:
    sent = settings.host_header or url.netloc
    if not answer.refuses_host:
        return Finding("Host header", f'"{sent}" is accepted')
    wanted = f"localhost:{port_of(url)}"
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
        exact = tuple(key for key, each in of_path.items() if each.port == port_of(url))
        places.append(_Place(url._replace(path=path).geturl(), exact or tuple(of_path)))
    for version, each in documented.items():
        places.append(_Place(_at(url, each.port, each.path), (version,)))
    ports = dict.fromkeys(port_of(urlsplit(each.base_url)) for each in places)
    # At once: Windows takes two seconds for each address that refuses.
    with ThreadPoolExecutor(len(ports)) as threads:
        is_open = dict(zip(ports, threads.map(partial(accepts, settings, url), ports), strict=True))
    tried = {settings.base_url}
    for place in places:
        if place.base_url not in tried and is_open[port_of(urlsplit(place.base_url))]:
            tried.add(place.base_url)
            found = _api_at(settings, place.base_url)
            if found:
                return _take(settings, sources, _Place(found, place.versions))
    return ""


def _api_at(settings: Settings, base_url: str) -> str | None:
    """The base URL, with http or https, if a VM Backup API answers there."""
    url = urlsplit(base_url)
    settings = replace(settings, timeout_seconds=patience(settings))
    if settings.is_local:
        settings = replace(settings, host_header=f"localhost:{port_of(url)}")
    scheme = listen(settings, url).scheme
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
            "VM Backup accepts no session now",
            ok=False,
            advice=str(error),  # without the advice to wait: this is one try
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


def _list(client: Client, vms: list[VirtualMachine]) -> Finding:
    """Ask for the lists; adds the VMs to ``vms``."""
    try:
        vms += client.virtual_machines()
        primary, offsite = (client.backup_locations(kind) for kind in KINDS)
    except VmBackupError as error:
        return Finding("listing", "no listing came back", ok=False, advice=worded(error))
    if not vms:
        return Finding(
            "listing",
            "the server lists no virtual machine",
            ok=False,
            advice="A server that was restarted, or whose hosts are off, lists none for a while: "
            "wait some minutes, and look at the hosts in the Management Console. If no host was "
            "added to VM Backup yet, add one there.",
        )
    configured = sum(vm.is_assignable for vm in vms)
    return Finding(
        "listing",
        f"{counted(len(vms), 'virtual machine')}, {configured} of them configured, {len(primary)} "
        f"primary and {len(offsite)} offsite backup locations",
    )


def _list_of_one(client: Client, vms: list[VirtualMachine]) -> Finding:
    """Ask for the locations of one VM, as each refresh does."""
    vm = next((vm for vm in vms if vm.is_assignable), None)
    if vm is None or vm.ref is None:
        return Finding(
            "assignments",
            "not tried: no virtual machine is configured in VM Backup yet, so none can be assigned",
        )
    try:
        locations = client.vm_backup_locations(vm.ref)
    except VmBackupError as error:
        return Finding(
            "assignments",
            f"the backup locations of {vm.name} did not come back",
            ok=False,
            advice=worded(error),
        )
    return Finding(
        "assignments", f"{vm.name} is assigned to {counted(len(locations), 'backup location')}"
    )


def _log_out(client: Client, settings: Settings) -> Finding:
    if settings.session_token:
        return Finding("logout", "none: the session of the given token is left open")
    if client.end_session():
        return Finding("logout", "the session is ended")
    return Finding(
        "logout",
        "the session cannot be ended",
        ok=False,
        advice="Until it ends by itself after five idle minutes, a server may refuse other logins. "
        f"Try again; if this goes on, restart {settings.service} on the VM Backup machine.",
    )


def _set(settings: Settings, sources: Mapping[str, str], key: str, value: str) -> str:
    return where_to_set(settings.to_set(key, value), sources)


def _name(settings: Settings, key: str) -> str:
    return name_of(key, settings.connection)


def _at(url: SplitResult, port: int | None, path: str) -> str:
    host = f"[{url.hostname}]" if ":" in (url.hostname or "") else url.hostname
    return f"{url.scheme}://{host}:{port}{path}"
