"""The simulated API: the answer to each call."""

from __future__ import annotations

import errno
import json
import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from werkzeug.exceptions import HTTPException
from werkzeug.routing import Map, Rule, RuleFactory, Submount
from werkzeug.wrappers import Request, Response

from ..facts import MOST_AT_A_TIME, Answer, spelled
from ..settings import NEWEST_VERSION
from .behavior import Behavior
from .data import Inventory, InventoryError
from .faults import CONNECTION, Fault
from .like import like_facts
from .spelling import GUID, plain_guid, respelled

if TYPE_CHECKING:
    from .http_server import CallerConnection

log = logging.getLogger(__name__)

BASE_PATHS = {"8": "/api", "9.0": "/api", "9.1": "/api/rest"}
PORTS = {"8": 35113, "9.0": 36015, "9.1": 36013}
SERVER_PORTS = {"8": "35107", "9.0": "36014", "9.1": "36014"}

# All session tokens begin with this, so that a test can search for leaks.
# They hold no letter, so that the search finds them in any case.
TOKEN_PREFIX = "53551047"  # noqa: S105  # of a server that holds nothing


_INVALID_HOST = (
    "<!DOCTYPE HTML><html><body><h2>Bad Request - Invalid Hostname</h2><hr>"
    "<p>HTTP Error 400. The request hostname is invalid.</p></body></html>"
)
_PAGE = "<!DOCTYPE HTML><html><head><title>{0}</title></head><body><h1>{0}</h1></body></html>"


@dataclass(frozen=True)
class Call:
    """One HTTP exchange that the server has seen.

    Attributes:
        method: the HTTP method.
        path: the URL's path, with ``[token]`` for the token.
        status: the HTTP status of the answer; 0 if no answer was sent.
    """

    method: str
    path: str
    status: int


@dataclass(frozen=True)
class Login:
    """A call of ``sessions/start``, whatever was answered.

    Attributes:
        username, domain: those of its body; None where it has none.
    """

    username: object
    domain: object


def new_token() -> str:
    """The token of a new session."""
    return TOKEN_PREFIX + str(uuid.uuid4())[len(TOKEN_PREFIX) :]


def envelope(
    code: str | None = None,
    message: str | None = None,
    details: str | None = None,
    *,
    is_success: bool = False,
) -> dict[str, Any]:
    """What each answer of the API is."""
    return {
        "Success": is_success,
        "ErrorCode": code,
        "ErrorMessage": message,
        "ErrorAdditionalDetails": details,
    }


class _OtherAnswerError(Exception):
    """An answer without the API's envelope.

    Args:
        status: the HTTP status.
        title: the title of an HTML page; an empty text for an empty body.
    """

    def __init__(self, status: int, title: str = "") -> None:
        super().__init__(title)
        body = _PAGE.format(title) if title else ""
        self.response = Response(body, status, mimetype="text/html")


class _ToldAnswerError(Exception):
    """An answer as the facts about a server tell it."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(str(answer))
        self.answer = answer


class _RefusedCallError(Exception):
    def __init__(
        self, code: str, message: str, details: str | None = None, *, status: int = 200
    ) -> None:
        super().__init__(message)
        self.status = status
        self.envelope = envelope(code, message, details)


class Simulator:
    """A VM Backup server in memory; a WSGI application for :func:`serve`.

    Args:
        inventory: what the server holds; the sample if left out.
        api_version: ``"8"``, ``"9.0"`` or ``"9.1"``. It sets the base path, and the server port
            that ``sessions/start`` must name.
        username, password: the only account that can start a session.
        session_seconds: how many seconds a session lives without a call.
        behavior: the answers to odd calls; what is known of the version if left out.
        state_file: the file for the inventory, written after each change; None for no file.

    Attributes:
        behavior: the answers to odd calls. This and the next four may be changed at any time, also
            by ``PATCH /simulator`` while it is served.
        faults: the faults from now on; a call gets the first one that matches.
        console_connected: whether the Management Console is connected, so that no session starts.
        hosts_off: the names of hosts that are off, so that ``vms/list`` lacks their VMs; all else
            works.
        answer_seconds: how many seconds an answer takes; parallel calls wait in parallel.
        username, password: the account that can start a session from now on.
        session_seconds: how many seconds a session lives without a call, from now on.
        calls: all calls so far, oldest first.
        logins: all calls of ``sessions/start`` so far, refused ones too, oldest first.
        tokens: all session tokens so far, in lower case; they begin with TOKEN_PREFIX.
        sessions: the open sessions: the time of last use, by token. Clear it to simulate a restart
            of the server.
        connections: how many TCP connections :func:`serve` has accepted.
    """

    def __init__(
        self,
        inventory: Inventory | None = None,
        *,
        api_version: str = "9.1",
        username: str = "Administrator",
        password: str = "simulator",  # noqa: S107  # of a server that holds nothing
        session_seconds: float = 300,
        behavior: Behavior | None = None,
        state_file: Path | None = None,
    ) -> None:
        self.inventory = inventory or Inventory.sample()
        # Its defaults are what is known of the newest version.
        is_newest = api_version == NEWEST_VERSION
        self.behavior = behavior or (Behavior() if is_newest else Behavior.like(f"v{api_version}"))
        self.faults: list[Fault] = []
        self.console_connected = False
        self.hosts_off: set[str] = set()
        self.answer_seconds = 0.0
        self.username = username
        self.password = password
        self.session_seconds = session_seconds
        self.base_path = BASE_PATHS[api_version]
        self.calls: list[Call] = []
        self.logins: list[Login] = []
        self.tokens: list[str] = []
        self.sessions: dict[str, float] = {}
        self.connections = 0
        self._server_port = SERVER_PORTS[api_version]
        self._state_file = state_file
        self._lock = threading.Lock()
        # The assignments before each change that lists may not show yet, with its time and kind.
        self._before: list[tuple[float, str, dict[tuple[str, str], None]]] = []
        self._turns = threading.Condition()
        self._listings_under_way = 0
        self._urls = Map(
            [Submount(self.base_path, self._rules())], strict_slashes=False, merge_slashes=False
        )

    def save_state(self) -> None:
        """Write the state file, if there is one.

        Raises:
            InventoryError: it cannot be written.
        """
        with self._lock:
            self._save()

    def _rules(self) -> list[RuleFactory]:
        def rule(path: str, method: str, answer: Callable[..., Mapping[str, Any]]) -> Rule:
            return Rule(path, methods=[method], endpoint=answer)

        flags = "<int:primary>/<int:offsite>"
        of_vm = "/vms/backuplocations/<token>/<vm_ref>"
        return [
            rule("/protocol/version", "GET", self._tell_version),
            rule("/sessions/start", "POST", self._start_session),
            rule("/sessions/end/<token>", "POST", self._end_session),
            rule("/sessions/end", "POST", self._end_all_sessions),
            rule("/vms/list/<token>", "GET", self._list_vms),
            rule("/vms/list/<token>/<int:configured>", "GET", self._list_vms),
            rule("/vms/altaro-ref/<token>/<uuid>", "GET", self._vm_by_hypervisor_uuid),
            rule("/vms/hypervisor-uuid/<token>/<vm_ref>", "GET", self._vm_by_ref),
            rule("/backuplocations/<token>", "GET", self._list_locations_plain),
            rule(f"/backuplocations/<token>/{flags}", "GET", self._list_locations),
            rule(f"{of_vm}/{flags}", "GET", self._list_vm_locations),
            rule(of_vm, "GET", self._list_vm_locations_plain),
            rule(f"{of_vm}/<location_id>", "POST", self._assign),
            rule(f"{of_vm}/<location_id>", "DELETE", self._unassign),
        ]

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        request = Request(environ)
        request.get_data()  # only after that, a wait notices that the caller is gone
        # A base URL that ends with a slash makes two of them, which servers accept (seen).
        requested = request.path.replace(f"{self.base_path}//", f"{self.base_path}/", 1)
        path = GUID.sub("[guid]", requested)
        fault = None
        is_any_host = self.behavior.facts.get("hostHeader") == "any"
        response: Response | None = None if is_any_host else refused_host(request)
        if not response:
            try:
                answer, found = self._urls.bind_to_environ(environ).match(requested)
                arguments = dict(found)
            except HTTPException as error:
                response = Response(error.get_body(), error.code, mimetype="text/html")
            else:
                path = requested.replace(arguments.get("token", "\0"), "[token]")
                if request.method == "POST" and answer == self._start_session:
                    body = json_body(request)
                    arguments["body"] = given = body if isinstance(body, dict) else {}
                    self.logins.append(Login(given.get("Username"), given.get("Domain")))
                fault = self._meet_fault(f"{request.method} {path.removeprefix(self.base_path)}")
                if fault and fault.kind == "hold":
                    response = self._held(fault, environ, answer, arguments)
                    fault = None
                else:
                    seconds = self._seconds_of(answer)
                    if fault and fault.kind in ("busy", "refused"):
                        answer, arguments = partial(_refuse, fault), {}
                    elif fault and not fault.acted and fault.kind != "session over":
                        answer, arguments = dict, {}
                    with self._listing_turn(answer):
                        if seconds:
                            environ[CONNECTION].wait(seconds)
                        response = self._answer(answer, arguments)
        if self.answer_seconds:
            environ[CONNECTION].wait(self.answer_seconds)
        if fault and fault.kind in ("html", "error"):
            status, title = (200, "Sign in") if fault.kind == "html" else (500, "Server error")
            response = Response(_PAGE.format(title), status, mimetype="text/html")
        is_answered = response is not None and (
            fault is None or fault.kind not in ("reset", "stall")
        )
        call = Call(request.method, path, response.status_code if response and is_answered else 0)
        self.calls.append(call)
        log.info("%s %s %s", call.method, call.path, call.status)
        if fault:
            with self._lock:
                fault.hits += 1
        if response is None or not is_answered:
            connection: CallerConnection = environ[CONNECTION]
            if fault and fault.kind == "stall":
                connection.wait(until=lambda: fault not in self.faults)
            connection.reset()
        if fault and fault.kind == "cut short":
            return _cut_short(response, environ, start_response)
        return response(environ, start_response)

    def _meet_fault(self, call: str) -> Fault | None:
        with self._lock:
            fault = next((each for each in tuple(self.faults) if each.meets(call)), None)
            if fault and fault.kind == "session over":
                self.sessions.clear()
            return fault

    def _held(
        self,
        fault: Fault,
        environ: Mapping[str, Any],
        answer: Callable[..., Mapping[str, Any]],
        arguments: Mapping[str, Any],
    ) -> Response | None:
        """The answer to a call that waits until its fault is removed."""
        response = self._answer(answer, arguments) if fault.acted else None
        with self._lock:
            fault.hits += 1
        environ[CONNECTION].wait(until=lambda: fault not in self.faults)
        return response or self._answer(answer, arguments)

    def _seconds_of(self, answer: Callable[..., Mapping[str, Any]]) -> float:
        """How long the facts say that an answer takes."""
        key = {
            self._start_session: "loginSeconds",
            self._list_vms: "vmListSeconds",
            self._list_vm_locations: "listingSeconds",
            self._assign: "writeSeconds",
            self._unassign: "writeSeconds",
        }.get(answer, "")
        return float(self.behavior.facts.get(key, 0))

    @contextmanager
    def _listing_turn(self, answer: Callable[..., Mapping[str, Any]]) -> Iterator[None]:
        """One of the listings that the facts say are answered at a time."""
        at_a_time = self.behavior.facts.get("parallelListings", MOST_AT_A_TIME)
        if answer != self._list_vm_locations or at_a_time >= MOST_AT_A_TIME:
            yield
            return
        with self._turns:
            self._turns.wait_for(lambda: self._listings_under_way < at_a_time)
            self._listings_under_way += 1
        try:
            yield
        finally:
            with self._turns:
                self._listings_under_way -= 1
                self._turns.notify_all()

    def _odd(self, key: str, refusal: Exception | None) -> Mapping[str, Any]:
        """Answer an odd call: refuse it, or accept it where ``refusal`` is None.

        The facts may say how.
        """
        answer = self.behavior.facts.get(key)
        if answer is not None and answer.is_accepted is (refusal is None):
            raise _ToldAnswerError(answer)
        if refusal:
            raise refusal
        return {}

    def _as_told(self, key: str, otherwise: Exception) -> Exception:
        """The answer to an odd call as the facts tell it; ``otherwise`` if they do not."""
        answer = self.behavior.facts.get(key)
        return otherwise if answer is None else _ToldAnswerError(answer)

    def _refuse_if_told(self, key: str) -> None:
        """Refuse a usual call if the facts say so."""
        answer = self.behavior.facts.get(key)
        if answer is not None and not answer.is_accepted:
            raise _ToldAnswerError(answer)

    def _answer(
        self, answer: Callable[..., Mapping[str, Any]], arguments: Mapping[str, Any]
    ) -> Response | None:
        told = envelope(is_success=True)
        status = 200
        with self._lock:
            try:
                told |= answer(**arguments)
            except _RefusedCallError as refusal:
                told |= refusal.envelope
                status = refusal.status
            except _OtherAnswerError as other:
                return other.response
            except _ToldAnswerError as known:
                return _told(known.answer)
            if self.behavior.spelling == "other":
                told = respelled(told)
            return Response(json.dumps(told), status, mimetype="application/json")

    # Sessions

    def _tell_version(self) -> Mapping[str, Any]:
        return {"Data": self.behavior.facts.get("protocolVersion", "1.0")}

    def _start_session(self, body: Mapping[str, object]) -> Mapping[str, Any]:
        if str(body.get("ServerPort")) != self._server_port:
            raise _RefusedCallError("ConnectionFailed", "Unable to connect to the VM Backup server")
        if (body.get("Username"), body.get("Password")) != (self.username, self.password):
            if self.behavior.wrong_password == "unauthorized":  # noqa: S105  # an answer
                raise _OtherAnswerError(401)
            raise _RefusedCallError(
                "LoginFailed",
                "The user name or password is incorrect",
                status=500 if self.behavior.wrong_password == "server error" else 200,  # noqa: S105
            )
        facts = self.behavior.facts
        if isinstance(body.get("ServerPort"), int):
            self._refuse_if_told("numericServerPort")
        if self.console_connected:
            raise _busy()
        if any(map(self._is_open, self.sessions)):
            if facts.get("firstSession") == "ends":
                self.sessions.clear()
            if self.behavior.second_session == "refuse":
                self._odd("secondSession", _busy())
        token = new_token()
        self.tokens.append(token)
        self.sessions[token] = time.monotonic()
        return {"Data": spelled(token, facts.get("tokenSpelling", ""))}

    def _end_session(self, token: str) -> Mapping[str, Any]:
        told = self.behavior.facts.get("endedSessionEnd")
        if told and plain_guid(token) in self.tokens and not self._is_open(plain_guid(token) or ""):
            raise _ToldAnswerError(told)
        ended = self._use_session(token)
        del self.sessions[ended]
        return {"ClosedSessions": [{"SessionToken": ended}]}

    def _end_all_sessions(self) -> Mapping[str, Any]:
        ended = list(filter(self._is_open, self.sessions))
        self.sessions.clear()
        # With none open, it is null (seen).
        return {"ClosedSessions": [{"SessionToken": token} for token in ended] or None}

    def _use_session(self, spelled: str) -> str:
        """Let a session live on; returns its token as it is kept."""
        token = plain_guid(spelled) or spelled
        if not self._is_open(token):
            self.sessions.pop(token, None)
            over = _over(self.behavior)
            if self.behavior.invalid_token == "envelope":  # noqa: S105  # an answer
                self._odd("endedToken" if token in self.tokens else "unknownToken", over)
            raise over
        self.sessions[token] = time.monotonic()
        return token

    def _is_open(self, token: str) -> bool:
        used_at = self.sessions.get(token)
        return used_at is not None and time.monotonic() - used_at <= self.session_seconds

    # Virtual machines

    def _list_vms(self, token: str, configured: int = 0) -> Mapping[str, Any]:
        self._use_session(token)
        facts = self.behavior.facts
        listed = self.inventory.virtual_machines.values() if self.behavior.vm_list == "all" else ()
        wanted = facts.get("configuredList", "") if configured else "all VMs"
        vms = [
            vm
            for vm in listed
            if vm.get("Configured") or wanted == "all VMs"
            if vm.get("HostName") not in self.hosts_off
        ]
        vms = {"other VMs": vms[:1], "nothing": []}.get(wanted, vms)
        return {"VirtualMachines": like_facts(vms, facts)}

    def _vm_by_hypervisor_uuid(self, token: str, uuid: str) -> Mapping[str, Any]:
        self._use_session(token)
        wanted = _guid(uuid)
        vms = self.inventory.virtual_machines.values()
        # A replica has the UUID of its VM but no ref, which is what is asked for (unknown).
        for vm in sorted(vms, key=lambda vm: not vm.get("Configured")):
            if plain_guid(str(vm.get("HypervisorVirtualMachineUuid"))) == wanted:
                return {"VirtualMachineIdentificationDetails": _identification(vm)}
        raise _RefusedCallError("InvalidParameter", "The virtual machine was not found")

    def _vm_by_ref(self, token: str, vm_ref: str) -> Mapping[str, Any]:
        self._use_session(token)
        vm = self.inventory.virtual_machines[self._known_vm(vm_ref)]
        return {"VirtualMachineIdentificationDetails": _identification(vm)}

    def _known_vm(self, vm_ref: str) -> str:
        ref = _guid(vm_ref)
        if ref not in self.inventory.virtual_machines:
            raise _no_vm()
        return ref

    # Backup locations and their assignments

    def _list_locations(self, token: str, primary: int, offsite: int) -> Mapping[str, Any]:
        self._use_session(token)
        return self._locations(list(self.inventory.backup_locations), primary, offsite)

    def _list_locations_plain(self, token: str) -> Mapping[str, Any]:
        self._use_session(token)
        self._refuse_if_told("locationListPlain")
        offsite = self.behavior.facts.get("locationListForms") != "differ"
        return self._locations(list(self.inventory.backup_locations), 1, offsite)

    def _list_vm_locations(
        self, token: str, vm_ref: str, primary: int, offsite: int
    ) -> Mapping[str, Any]:
        self._use_session(token)
        facts = self.behavior.facts
        vm = _guid(vm_ref)
        if vm not in self.inventory.virtual_machines:
            told = facts.get("unknownVmListing")
            if told and told.is_accepted and told.form == "list":
                return self._locations(list(self.inventory.kinds), primary, offsite)
            self._odd(
                "unknownVmListing", _no_vm() if self.behavior.unknown_vm == "refuse" else None
            )
        key = {(1, 1): "vmListing", (1, 0): "vmListingPrimary"}.get(
            (primary, offsite), "vmListingOffsite"
        )
        self._refuse_if_told(key)
        if facts.get("vmListingForms") == "differ":
            primary = offsite = 1
        return self._vm_locations(vm, primary, offsite)

    def _list_vm_locations_plain(self, token: str, vm_ref: str) -> Mapping[str, Any]:
        # No public client leaves out the flags, so nobody knows the answer.
        told = self.behavior.facts.get("vmListingPlain", Answer("page", 404))
        if not told.is_accepted:
            raise _ToldAnswerError(told)
        self._use_session(token)
        return self._vm_locations(self._known_vm(vm_ref), 1, 1)

    def _vm_locations(self, vm: str, primary: int, offsite: int) -> Mapping[str, Any]:
        assigned = self._listed_assignments()
        found = self._locations(
            [each for each in self.inventory.kinds if (vm, each) in assigned], primary, offsite
        )
        if found["BackupLocations"]:
            return found
        written = self.behavior.facts.get("emptyListing", "empty list")
        return {"null list": {"BackupLocations": None}, "no list": {}}.get(written, found)

    def _listed_assignments(self) -> Mapping[tuple[str, str], None]:
        now = time.monotonic()
        for changed_at, key, before in self._before:
            if changed_at + self._lag(key) > now:
                return before
        return self.inventory.assignments

    def _lag(self, key: str) -> float:
        """How long lists lag behind a change."""
        lag = self.behavior.lag_seconds
        return lag if key == "appearSeconds" else self.behavior.facts.get(key, lag)

    def _locations(self, ids: list[str], primary: int, offsite: int) -> Mapping[str, Any]:
        wanted = {"primary": primary, "offsite": offsite}
        locations = [
            self.inventory.backup_locations[location_id]
            for location_id in ids
            if wanted[self.inventory.kinds[location_id]]
        ]
        return {"BackupLocations": like_facts(locations, self.behavior.facts)}

    def _assign(self, token: str, vm_ref: str, location_id: str) -> Mapping[str, Any]:
        self._use_session(token)
        vm, location = _guid(vm_ref), _guid(location_id)
        kinds = self.inventory.kinds
        if vm not in self.inventory.virtual_machines:
            raise self._as_told("unknownVmAssign", _no_vm())
        if not self.inventory.virtual_machines[vm].get("Configured"):
            raise _RefusedCallError("InvalidParameter", "The virtual machine is not configured")
        if location not in kinds:
            no_location = _RefusedCallError("InvalidParameter", "The backup location was not found")
            raise self._as_told("unknownLocationAssign", no_location)
        assignments = dict(self.inventory.assignments)
        if (vm, location) in assignments:
            refusal = _RefusedCallError(
                "AlreadyAssigned", "The virtual machine is assigned already"
            )
            return self._odd(
                "secondAssign", refusal if self.behavior.second_post == "refuse" else None
            )
        others = [each for each in self.inventory.locations_of(vm) if kinds[each] == "primary"]
        if kinds[location] == "primary" and others and self.behavior.second_primary != "allow":
            if self.behavior.second_primary == "refuse":
                self._odd(
                    "secondPrimaryAnswer",
                    _RefusedCallError(
                        "PrimaryLocationExists", "The virtual machine has a location"
                    ),
                )
            for other in others:
                del assignments[vm, other]
        assignments[vm, location] = None
        self._change(assignments, "appearSeconds")
        return {}

    def _unassign(self, token: str, vm_ref: str, location_id: str) -> Mapping[str, Any]:
        self._use_session(token)
        vm, location = _guid(vm_ref), _guid(location_id)
        if vm not in self.inventory.virtual_machines:
            raise self._as_told("unknownVmUnassign", _no_vm())
        assignments = dict(self.inventory.assignments)
        if (vm, location) in assignments:
            del assignments[vm, location]
            self._change(assignments, "disappearSeconds")
            return {}
        refusal = _RefusedCallError(
            "NotAssigned", "The virtual machine is not assigned to the location"
        )
        told = self.behavior.facts.get("unknownLocationUnassign")
        if told and location not in self.inventory.kinds:
            raise _ToldAnswerError(told)
        is_accepted = self.behavior.unassigned_delete == "accept"
        return self._odd("secondUnassign", None if is_accepted else refusal)

    def _change(self, assignments: dict[tuple[str, str], None], key: str) -> None:
        """Change the assignments; ``key`` is the fact that tells how long lists lag behind it."""
        before = self.inventory.assignments
        self.inventory.assignments = assignments
        try:
            self._save()
        except InventoryError as error:
            self.inventory.assignments = before
            log.error("%s", error)
            raise _RefusedCallError("InternalError", str(error)) from None
        now = time.monotonic()
        self._before = [each for each in self._before if each[0] + self._lag(each[1]) > now]
        if self._lag(key):
            self._before.append((now, key, before))

    def _save(self) -> None:
        if self._state_file:
            self.inventory.save(self._state_file)


def _cut_short(
    response: Response, environ: dict[str, Any], start_response: Callable[..., Any]
) -> Iterator[bytes]:
    body = b"".join(response(environ, start_response))
    yield body[: len(body) // 2]
    raise ConnectionAbortedError(errno.ECONNABORTED, "the answer is cut short")


def refused_host(request: Request) -> Response | None:
    """The refusal of a request whose Host header is not localhost (seen); None for others."""
    if request.host.partition(":")[0].lower() == "localhost":
        return None
    return Response(_INVALID_HOST, 400, mimetype="text/html")


def json_body(request: Request) -> object:
    """The JSON value of a request; None if it is not JSON."""
    try:
        return request.get_json(force=True, silent=True)
    except RecursionError:  # nested too deeply for json
        return None


def _guid(value: str) -> str:
    guid = plain_guid(value)
    if guid is None:
        raise _RefusedCallError("InvalidParameter", "The parameter is not a GUID")
    return guid


def _no_vm() -> _RefusedCallError:
    return _RefusedCallError("InvalidParameter", "The virtual machine was not found")


def _told(answer: Answer) -> Response | None:
    """An answer as the facts tell it; None for no answer."""
    if answer.form == "none":
        return None
    if answer.form == "other":
        return Response("Something else", answer.status, mimetype="text/plain")
    if answer.form in ("page", "empty"):
        title = "Server error" if answer.form == "page" else ""
        return _OtherAnswerError(answer.status, title).response
    words = (answer.code, answer.message, answer.details)
    told = envelope(*words, is_success=answer.form != "refused")
    if answer.form in ("empty list", "null list"):
        told["BackupLocations"] = [] if answer.form == "empty list" else None
    return Response(json.dumps(told), answer.status, mimetype="application/json")


def _busy() -> _RefusedCallError:
    return _RefusedCallError(
        "SessionRefused", "Another session is open", "AnotherConsoleIsRegistered"
    )


def _over(behavior: Behavior) -> Exception:
    """The answer to the token of a session that is over."""
    return {
        "envelope": _RefusedCallError("InvalidToken", "Invalid Token"),
        "other words": _RefusedCallError("SessionExpired", "Log in again to go on"),
        "unauthorized": _OtherAnswerError(401),
        "forbidden": _OtherAnswerError(403),
        "page": _OtherAnswerError(500, "Server error"),
    }[behavior.invalid_token]


def _refuse(fault: Fault) -> Mapping[str, Any]:
    """Refuse a call that meets a fault of the kind ``busy`` or ``refused``."""
    if fault.kind == "busy":
        raise _busy()
    raise _RefusedCallError("MaintenanceMode", "The operation is not possible at the moment")


def _identification(vm: Mapping[str, Any]) -> Mapping[str, Any]:
    keys = (
        "VirtualMachineName",
        "HostName",
        "AltaroVirtualMachineRef",
        "HypervisorVirtualMachineUuid",
        "AltaroHypervisorRef",
    )
    return {key: vm.get(key) for key in keys}
