"""The questions that change nothing on the server."""

from __future__ import annotations

import re
import socket
import ssl
import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from urllib3.util.ssl_match_hostname import CertificateError, match_hostname

from .. import session
from ..client import Client
from ..errors import NoAnswerError, VmBackupError
from ..facts import (
    FACTS,
    GUID_SPELLINGS,
    MOST_AT_A_TIME,
    Answer,
    guid_spelling,
    json_type,
    rounded,
    time_spelling,
)
from ..models import is_guid, vm_ref
from ..session import at_process_end, login_body, not_at_process_end, sounds_busy
from ..settings import Settings
from ..tls import connect, port_of, presented, trust
from .calls import Calls, Found, Reply, made_up_guid

LISTED = "BackupLocations"
# How many VMs are asked for their locations, to find one that has some.
_MOST_VMS = 10
# How many calls at a time are tried. An answer that comes at once tells nothing about that.
_AT_A_TIME = (2, 4, MOST_AT_A_TIME)
_SHORTEST_TO_COMPARE = 0.05
_MUCH_LONGER = 1.6
_TRIES = 3


def read_facts(client: Client, found: Found, say: Callable[[str], None]) -> None:
    """Find out what needs no change of the server.

    Args:
        client: the client; its session is ended at the end.
        found: gets the facts, as far as they were found when this is left by an error.
        say: is told what is asked next.

    Raises:
        VmBackupError: the server could not be asked.
    """
    calls = Calls(client)
    say("a session")
    client.log_in()
    say("the connection")
    _read_connection(client, found, say)
    say("a token that no session has")
    unknown = calls.send("GET", f"backuplocations/{_hidden(client, made_up_guid())}/1/0")
    found.add("unknownToken", unknown.answer)
    calls.learn_refusals(found)
    _read_lists(calls, found, say)
    _read_sessions(calls, found, say)


# The connection


def _read_connection(client: Client, found: Found, say: Callable[[str], None]) -> None:
    settings = client.settings
    url = urlsplit(settings.base_url)
    path = url.path if url.path in ("/api", "/api/rest") else "another"
    found.add("apiPath", path)
    found.add("scheme", url.scheme)
    if url.scheme == "https":
        _read_certificate(settings, found, say)
    else:
        why = "the API answers plain http"
        found.miss(why, "certificateName", "certificateTrust")
    answer = client.ask_protocol()
    if not answer.is_api:
        found.miss(
            f"protocol/version answers HTTP {answer.status}", "protocolVersion", "hostHeader"
        )
        return
    if answer.version and re.fullmatch(r"\d+(\.\d+)*", answer.version):
        found.add("protocolVersion", answer.version)
    else:
        found.miss("protocol/version answers no version number", "protocolVersion")
    computer = socket.gethostname()
    hosts = [f"127.0.0.1:{port_of(url)}", *([computer] if computer.isascii() else [])]
    try:
        refused = [_refuses_host(settings, host) for host in hosts]
    except NoAnswerError:
        found.miss("no answer came to another Host header", "hostHeader")
    else:
        found.add("hostHeader", "localhost only" if any(refused) else "any")


def _refuses_host(settings: Settings, host: str) -> bool:
    with Client(replace(settings, host_header=host)) as client:
        answer = client.ask_protocol()
        return answer.refuses_host or not answer.is_api


def _read_certificate(settings: Settings, found: Found, say: Callable[[str], None]) -> None:
    url = urlsplit(settings.base_url)
    try:
        certificate = presented(settings, settings.timeout_seconds)
    except (OSError, ValueError):
        found.miss("the certificate cannot be read", "certificateName", "certificateTrust")
        return
    say(f"the certificate is for {certificate.names_shown}, {certificate.validity}")
    found.learn("host", certificate.names)
    found.add("certificateName", _whom_for(certificate.names, url.hostname or ""))
    context = trust(replace(settings, ca_file=None))
    context.check_hostname = False
    try:
        connect(url, context, settings.timeout_seconds).close()
    except ssl.SSLCertVerificationError:
        found.add("certificateTrust", "nobody")
    except OSError:
        found.miss("the TLS handshake failed", "certificateTrust")
    else:
        found.add("certificateTrust", "the system")


def _whom_for(names: tuple[str, ...], host: str) -> str:
    if not names:
        return "no name"
    certificate: Any = {"subjectAltName": tuple((_kind_of_name(name), name) for name in names)}
    try:
        match_hostname(certificate, host)
    except CertificateError:
        return "another name"
    return "the host of the address"


def _kind_of_name(name: str) -> str:
    try:
        ip_address(name)
    except ValueError:
        return "DNS"
    return "IP Address"


# The lists


def _read_lists(calls: Calls, found: Found, say: Callable[[str], None]) -> None:
    say("the list of VMs")
    listed = calls.ask("GET", "vms/list", wanted="VirtualMachines", is_slow=True)
    vms = listed.items("VirtualMachines")
    found.learn("VM", (vm.get("VirtualMachineName") for vm in vms))
    found.learn("host", (vm.get("HostName") for vm in vms))
    _add_seconds(found, "vmListSeconds", [listed])
    if vms:
        found.add("vmFields", _fields(vms))
        _add_spelling(found, "vmRefSpelling", vms, "AltaroVirtualMachineRef")
        _add_time_spelling(found, vms)
        _read_configured_list(calls, found, vms)
    else:
        found.miss(
            f"the server lists no VM ({listed.answer})",
            "vmFields",
            "vmRefSpelling",
            "timeSpelling",
            "configuredList",
        )
    say("the backup locations")
    _read_locations(calls, found)
    say("the locations of a VM")
    configured = [vm for vm in vms if vm.get("Configured") is not False]
    refs = filter(None, (vm_ref(vm.get("AltaroVirtualMachineRef")) for vm in configured))
    _read_listings(calls, found, list(refs)[:_MOST_VMS])


def _read_configured_list(calls: Calls, found: Found, vms: list[Mapping[str, Any]]) -> None:
    reply = calls.ask("GET", "vms/list", "1", wanted="VirtualMachines", is_slow=True)
    if not reply.answer.is_accepted:
        found.miss(f"vms/list/[token]/1 answers: {reply.answer}", "configuredList")
        return

    def ids(listed: Iterable[Mapping[str, Any]]) -> set[tuple[object, ...]]:
        keys = ("AltaroVirtualMachineRef", "VirtualMachineName", "HostName")
        return {tuple(str(vm.get(key)) for key in keys) for vm in listed}

    configured = ids(vm for vm in vms if vm.get("Configured") is not False)
    got = ids(reply.items("VirtualMachines"))
    found.add(
        "configuredList",
        "the configured VMs"
        if got == configured
        else "all VMs"
        if got == ids(vms)
        else "other VMs"
        if got
        else "nothing",
    )


def _read_locations(calls: Calls, found: Found) -> None:
    primary = calls.ask("GET", "backuplocations", "1", "0", wanted=LISTED)
    offsite = calls.ask("GET", "backuplocations", "0", "1", wanted=LISTED)
    plain = calls.ask("GET", "backuplocations", wanted=LISTED)
    listed = [*primary.items(LISTED), *offsite.items(LISTED)]
    found.learn("path", (location.get("LocationPath") for location in listed))
    found.add("locationListPlain", plain.answer)
    if plain.answer.is_accepted:
        is_same = _ids(plain.items(LISTED)) == _ids(listed)
        found.add("locationListForms", "agree" if is_same else "differ")
    else:
        found.miss("backuplocations without flags gives no list", "locationListForms")
    if listed:
        found.add("locationFields", _fields(listed))
        _add_spelling(found, "locationIdSpelling", listed, "BackupLocationId")
    else:
        found.miss("the server lists no location", "locationFields", "locationIdSpelling")


def _read_listings(calls: Calls, found: Found, refs: list[str]) -> None:
    unknown = calls.ask(
        "GET", "vms/backuplocations", made_up_guid(), "1", "1", wanted=LISTED
    ).answer
    found.add("unknownVmListing", unknown)
    if not refs:
        found.miss(
            "no VM is configured",
            "vmListing",
            "vmListingPrimary",
            "vmListingOffsite",
            "vmListingPlain",
            "vmListingForms",
            "emptyListing",
            "listingSeconds",
            "parallelListings",
        )
        return
    # The VM with the most locations tells the most.
    by_ref = {
        ref: calls.ask("GET", "vms/backuplocations", ref, "1", "1", wanted=LISTED) for ref in refs
    }
    ref = max(by_ref, key=lambda each: len(by_ref[each].items(LISTED)))
    both = by_ref[ref]
    primary = calls.ask("GET", "vms/backuplocations", ref, "1", "0", wanted=LISTED)
    offsite = calls.ask("GET", "vms/backuplocations", ref, "0", "1", wanted=LISTED)
    plain = calls.ask("GET", "vms/backuplocations", ref, wanted=LISTED)
    _add_list(found, "vmListing", both)
    _add_list(found, "vmListingPrimary", primary)
    _add_list(found, "vmListingOffsite", offsite)
    _add_list(found, "vmListingPlain", plain)
    _compare_listings(found, both, primary, offsite, plain)
    empty = [
        reply.answer.form
        for reply in (*by_ref.values(), primary, offsite, plain)
        if reply.answer.is_accepted and reply.answer.form != "list"
    ]
    if empty:
        found.add("emptyListing", empty[0])
    else:
        found.miss("each VM that was asked has locations of both kinds", "emptyListing")
    if _add_seconds(found, "listingSeconds", [both, primary, offsite]):
        _read_parallel(calls, found, ref, both.seconds)
    else:
        found.miss("no list came", "parallelListings")


def _add_seconds(found: Found, key: str, calls: list[Reply]) -> bool:
    """Add how long accepted calls took; whether there are any."""
    seconds = [reply.seconds for reply in calls if reply.answer.is_accepted]
    if seconds:
        found.add(key, rounded(statistics.median(seconds)))
    else:
        found.miss(f"the answer was: {calls[0].answer}", key)
    return bool(seconds)


def _add_list(found: Found, key: str, reply: Reply) -> None:
    """Add the answer to a listing; how an empty one is written is a fact of its own."""
    if not reply.answer.is_accepted:
        found.add(key, reply.answer)
    elif reply.answer.form != "no list":
        found.add(key, replace(reply.answer, form="list"))
    else:
        found.miss("no list came for a VM that may have no location of this kind", key)


def _compare_listings(
    found: Found, both: Reply, primary: Reply, offsite: Reply, plain: Reply
) -> None:
    if not (both.answer.is_accepted and primary.answer.is_accepted and offsite.answer.is_accepted):
        found.miss("not all of them are lists", "vmListingForms")
        return
    ids = _ids(both.items(LISTED))
    agree = ids == _ids(primary.items(LISTED)) | _ids(offsite.items(LISTED))
    agree &= not _ids(primary.items(LISTED)) & _ids(offsite.items(LISTED))
    if plain.answer.is_accepted:
        agree &= ids == _ids(plain.items(LISTED))
    if not ids:
        found.miss("no VM that was asked has a location", "vmListingForms")
    else:
        found.add("vmListingForms", "agree" if agree else "differ")


def _read_parallel(calls: Calls, found: Found, ref: str, seconds: float) -> None:
    if seconds < _SHORTEST_TO_COMPARE:
        found.miss("the answers come too fast to tell", "parallelListings")
        return
    # The first listing may take longer than later ones.
    alone = min(seconds, _least_seconds(calls, ref, 1))
    answered = 1
    for count in _AT_A_TIME:
        if _least_seconds(calls, ref, count) > _MUCH_LONGER * alone:
            break
        answered = count
    found.add("parallelListings", answered)


def _least_seconds(calls: Calls, ref: str, count: int) -> float:
    """How long so many listings at a time take; the least of some tries."""
    return min(_seconds_of(calls, ref, count) for _ in range(_TRIES))


def _seconds_of(calls: Calls, ref: str, count: int) -> float:

    def ask(_: int) -> Reply:
        return calls.ask("GET", "vms/backuplocations", ref, "1", "1", wanted=LISTED)

    with ThreadPoolExecutor(count) as threads:
        replies = list(threads.map(ask, range(count)))
    if not all(each.answer.is_accepted for each in replies):
        return float("inf")
    return max(each.heard_at for each in replies) - min(each.sent_at for each in replies)


def _ids(locations: Iterable[Mapping[str, Any]]) -> set[str]:
    return {str(location.get("BackupLocationId")).lower() for location in locations}


def _fields(items: list[Mapping[str, Any]]) -> dict[str, tuple[str, ...]]:
    types: dict[str, set[str]] = {}
    for item in items:
        for key, value in item.items():
            types.setdefault(key, set()).add(json_type(value))
    return {key: tuple(sorted(each)) for key, each in types.items()}


def _add_time_spelling(found: Found, vms: Iterable[Mapping[str, Any]]) -> None:
    times = [
        value
        for vm in vms
        for key, value in vm.items()
        if key.endswith("Time") and isinstance(value, str) and value
    ]
    if times:
        found.add("timeSpelling", time_spelling(times[0]))
    else:
        found.miss("no VM has a time", "timeSpelling")


def _add_spelling(found: Found, key: str, items: Iterable[Mapping[str, Any]], field: str) -> None:
    guids = [str(item[field]) for item in items if is_guid(item.get(field))]
    spellings = filter(None, map(guid_spelling, guids))
    spelling = next((each for each in spellings if each in GUID_SPELLINGS), None)
    if spelling:
        found.add(key, spelling)
    else:
        found.miss("no GUID shows it", key)


# The sessions

_LOGIN_FACTS = [
    key
    for key, each in FACTS.items()
    if each.part == "sessions" and each.step == "reads" and key != "unknownToken"
]


def _read_sessions(calls: Calls, found: Found, say: Callable[[str], None]) -> None:
    client = calls.client
    settings = client.settings
    if settings.session_token:
        found.miss("the session of a given token is not ended", *_LOGIN_FACTS)
        return
    say("a second session")
    tries = [_second_session(calls)]
    if tries[0][1] == "ends":  # or another tool has ended it
        tries.append(_second_session(calls))
    answer, first_session = tries[0]
    if len(set(tries)) == 1:
        found.add("secondSession", answer)
        found.add("firstSession", first_session)
    else:
        found.miss("another program may have ended the session", "secondSession", "firstSession")
    say("a session that was ended")
    client.end_session()
    numeric = {**login_body(settings), "ServerPort": settings.server_port}

    def is_busy(refusal: Answer) -> bool:
        return sounds_busy(refusal.words) or refusal == answer

    with _logged_in_when_free(calls, numeric, is_busy) as (token, reply):
        if token or not is_busy(reply.answer):
            found.add("numericServerPort", reply.answer)
    if not token:
        with _logged_in_when_free(calls, login_body(settings), is_busy) as (token, reply):
            pass
    if not token:
        found.miss(f"no session was started: {reply.answer}", *_LOGIN_FACTS)
        return
    found.add("loginSeconds", rounded(reply.seconds))
    spelling = guid_spelling(str(reply.envelope["Data"]))
    if spelling:
        found.add("tokenSpelling", spelling)
    else:
        found.miss("the token does not show it", "tokenSpelling")
    ended = calls.send("GET", f"backuplocations/{token}/1/0")
    if ended.answer.is_accepted:
        found.miss("the session could not be ended", "endedToken", "endedSessionEnd")
        return
    found.add("endedToken", ended.answer)
    found.add("endedSessionEnd", calls.send("POST", f"sessions/end/{token}").answer)


def _second_session(calls: Calls) -> tuple[Answer, str]:
    """The answer to a second login, and what becomes of the first session."""
    with calls.client.session_token() as first:
        with _logged_in(calls, login_body(calls.client.settings)) as (_, reply):
            still = calls.send("GET", f"backuplocations/{first}/1/0", wanted=LISTED)
        if not still.answer.is_accepted:
            calls.client.forget_session(first)
    return reply.answer, "goes on" if still.answer.is_accepted else "ends"


@contextmanager
def _logged_in_when_free(
    calls: Calls, body: Mapping[str, object], is_busy: Callable[[Answer], bool]
) -> Iterator[tuple[str, Reply]]:
    """The same, but a server may refuse it for a while after another session has ended (seen)."""
    give_up_at = time.monotonic() + calls.client.settings.session_wait_seconds
    while True:
        with _logged_in(calls, body) as (token, reply):
            if token or not is_busy(reply.answer) or time.monotonic() > give_up_at:
                yield token, reply
                return
        calls.client.pause(session.BUSY_POLL_SECONDS)


@contextmanager
def _logged_in(calls: Calls, body: Mapping[str, object]) -> Iterator[tuple[str, Reply]]:
    """Another session, if the server starts one: its token, or ``""``, and the answer."""
    reply = calls.send("POST", "sessions/start", body, is_slow=True)
    token = reply.envelope.get("Data")
    if not reply.answer.is_accepted or not isinstance(token, str) or not is_guid(token):
        yield "", reply
        return
    token = _hidden(calls.client, token.strip("{}"))
    end = partial(_end, calls, token)
    at_process_end(end)
    try:
        yield token, reply
    finally:
        not_at_process_end(end)
        end()


def _end(calls: Calls, token: str) -> None:
    with suppress(VmBackupError):  # the server ends it after five idle minutes (seen)
        calls.send("POST", f"sessions/end/{token}")


def _hidden(client: Client, token: str) -> str:
    client.hide_token(token)
    return token
