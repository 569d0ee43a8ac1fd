"""What the package takes for true about the API, and what was found out about one server.

:data:`FACTS` is the one list of these facts. ``vmbackup probe`` finds their values on a server, and
writes them to a file. The simulator reads that file, and answers as that server does.
docs/server-facts.md shows the list to users.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Literal, get_args

from .errors import ArgumentError
from .files import reason_of, text_of
from .models import shown
from .settings import VERSIONS

FORMAT = 1
"""The version of the file's format."""

Grade = Literal["documented", "seen", "unknown", "found"]
"""How sure a value is: the vendor documents it, public clients of the API rely on it, nobody says,
or ``vmbackup probe`` found it on a server."""

Part = Literal["connection", "sessions", "lists", "assignments"]
Step = Literal["reads", "writes", "second location", "none"]
"""What finds a fact out: ``vmbackup probe``, its options ``--vm`` and ``--location``, its option
``--second-location``, or nothing."""

# Answers

AnswerForm = Literal[
    "accepted",
    "refused",
    "list",
    "empty list",
    "null list",
    "no list",
    "page",
    "empty",
    "other",
    "none",
]
_LISTS = ("list", "empty list", "null list", "no list")


@dataclass(frozen=True)
class Answer:
    """How a server answers a call.

    Attributes:
        form: what the answer is:

            * ``"accepted"``, ``"refused"``: the API's envelope, which says so.
            * ``"list"``, ``"empty list"``, ``"null list"``, ``"no list"``: an envelope that
              accepts, and the list that was asked for, or null in its place, or none.
            * ``"page"``, ``"empty"``, ``"other"``: no envelope, but HTML, nothing or something
              else.
            * ``"none"``: no answer came.
        status: the HTTP status; 0 if no answer came.
        code, message, details: ErrorCode, ErrorMessage and ErrorAdditionalDetails, without names;
            None for none.
    """

    form: AnswerForm
    status: int = 200
    code: str | None = None
    message: str | None = None
    details: str | None = None

    @property
    def is_accepted(self) -> bool:
        """Whether the API did what the call asks for."""
        return self.status < 300 and self.form in ("accepted", *_LISTS)

    @property
    def words(self) -> str:
        """The server's own words, on one line."""
        return " / ".join(filter(None, (self.code, self.message, self.details)))

    def __str__(self) -> str:
        if self.form == "none":
            return "no answer"
        status = f" (HTTP {self.status})" if self.status != 200 else ""
        says = f': "{self.words}"' if self.words else ""
        return f"{_FORMS.get(self.form, self.form)}{status}{says}"


_FORMS: dict[AnswerForm, str] = {
    "page": "an HTML page",
    "empty": "an empty body",
    "other": "not the API's answer",
}


# The values of facts

Value = Answer | str | float | int | Mapping[str, tuple[str, ...]]

JSON_TYPES = ("text", "number", "boolean", "null", "list", "object")
MOST_AT_A_TIME = 8
"""As many calls at a time as a probe tries."""
GUID_SPELLINGS = tuple(
    f"{case} case, {dashes} dashes, {braces} braces"
    for case in ("lower", "upper")
    for dashes in ("with", "without")
    for braces in ("without", "with")
)
TIME_SPELLINGS = ("YYYY-MM-DD-hh-mm-ss", "ISO 8601", "another")


def _answer(value: object) -> Answer:
    if isinstance(value, Answer):
        return value
    if not isinstance(value, dict):
        raise ValueError('use an object such as {"form": "accepted", "status": 200}')
    if unknown := sorted(value.keys() - Answer.__dataclass_fields__.keys()):
        raise ValueError(f"an answer has no {', '.join(unknown)}")
    answer = Answer(**{"form": None, **value})
    if answer.form not in get_args(AnswerForm):
        raise ValueError(f"its form is {shown(answer.form)}: use {_listed(get_args(AnswerForm))}")
    if isinstance(answer.status, bool) or not isinstance(answer.status, int):
        raise ValueError("its status is not a number")
    if not (answer.status == 0) == (answer.form == "none") or not 0 <= answer.status <= 599:
        raise ValueError("its status is not an HTTP status, or 0 where no answer came")
    for words in (answer.code, answer.message, answer.details):
        if words is not None and not isinstance(words, str):
            raise ValueError("its words are not text")
    return answer


def _seconds(value: object) -> float:
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float))
        or not (0 <= value <= 86400)  # which rejects nan too
    ):
        raise ValueError("use a number of seconds from 0 to 86400")
    return float(value)


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 32:
        raise ValueError("use a whole number from 1 to 32")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("use a text")
    return value


def _fields(value: object) -> dict[str, tuple[str, ...]]:
    if not isinstance(value, Mapping):
        raise ValueError("use an object of field names and lists of types")
    fields = {}
    for name, types in value.items():
        if not isinstance(types, (list, tuple)) or not types or set(types) - set(JSON_TYPES):
            raise ValueError(f"the types of {name!r} are not a list of {_listed(JSON_TYPES)}")
        fields[str(name)] = tuple(sorted(set(types)))
    return fields


class _Choice:
    def __init__(self, *choices: str) -> None:
        self.choices = choices

    def __call__(self, value: object) -> str:
        if value not in self.choices:
            raise ValueError(f"use {_listed(self.choices)}")
        return str(value)


def _listed(words: tuple[str, ...]) -> str:
    return f"{', '.join(map(repr, words[:-1]))} or {words[-1]!r}"


# The list


@dataclass(frozen=True)
class Fact:
    """One thing about the API that the package rests on.

    Attributes:
        key: its name in the file of facts.
        what: the fact, as a part of a sentence.
        part: which part of the API it belongs to.
        grade: how sure it is, before a server was asked.
        assumed: what the package takes for true; it handles the rest of the values too, if
            ``if_wrong`` does not say otherwise.
        source: where the fact comes from.
        if_wrong: what happens on a server that differs.
        step: what finds it out.
        check: returns the value as this package holds it; raises ValueError if it is none.
    """

    key: str
    what: str
    part: Part
    grade: Grade
    assumed: str
    source: str
    if_wrong: str
    step: Step
    check: Callable[[object], Value] = field(default=_text, repr=False, compare=False)

    @property
    def choices(self) -> tuple[str, ...]:
        """The values that it may have; empty if it is no choice."""
        return self.check.choices if isinstance(self.check, _Choice) else ()


_DOCUMENTED = "the vendor's documentation"
_SAMPLES = "the samples of the vendor's documentation"
_CLIENTS = "public clients of the API"
_NOBODY = "nobody says"
_NOTHING = "nothing: the package handles each possible value"

_ALL = (
    Fact(
        "apiPath",
        "the path of the API's address",
        "connection",
        "documented",
        "/api/rest since V9.1, /api before",
        _DOCUMENTED,
        "HTTP 404: set `baseUrl`; `vmbackup doctor` looks at the other addresses",
        "reads",
        _Choice("/api", "/api/rest", "another"),
    ),
    Fact(
        "scheme",
        "the protocol of the API's port",
        "connection",
        "documented",
        "the one in `baseUrl`",
        "the documentation writes http; public clients see https on many installations",
        "no answer: `vmbackup doctor` says which one the port speaks",
        "reads",
        _Choice("http", "https"),
    ),
    Fact(
        "certificateName",
        "the host that the certificate is for (https only)",
        "connection",
        "seen",
        "any",
        _CLIENTS,
        "a certificate for another name is refused until `caFile` names it",
        "reads",
        _Choice("the host of the address", "another name", "no name"),
    ),
    Fact(
        "certificateTrust",
        "who trusts the certificate (https only)",
        "connection",
        "seen",
        "the system, or nobody",
        _CLIENTS,
        "a certificate that the system does not trust is refused until `caFile` names it",
        "reads",
        _Choice("the system", "nobody"),
    ),
    Fact(
        "hostHeader",
        "the Host headers that the API accepts",
        "connection",
        "seen",
        "localhost only",
        _CLIENTS,
        _NOTHING,
        "reads",
        _Choice("localhost only", "any"),
    ),
    Fact(
        "protocolVersion",
        "the version that `protocol/version` answers",
        "connection",
        "seen",
        "any",
        _CLIENTS,
        "nothing: only `vmbackup doctor` shows it",
        "reads",
    ),
    Fact(
        "reach",
        "from where the API can be reached",
        "connection",
        "documented",
        "from the VM Backup machine only",
        _DOCUMENTED,
        "nothing: with https, `baseUrl` may name another machine, such as a proxy before it",
        "none",
    ),
    Fact(
        "services",
        "the Windows service that the API needs",
        "connection",
        "seen",
        "before V9.1, one of its own, which is off by default; since V9.1, none",
        "the vendor's documentation, and public clients for its names",
        "an error names a service that the server does not have",
        "none",
    ),
    Fact(
        "failures",
        "how the API tells that a call failed",
        "connection",
        "seen",
        "mostly by HTTP 200 and `Success: false`",
        _CLIENTS,
        "nothing: other statuses, pages and empty answers are errors too",
        "none",
    ),
    Fact(
        "serverPort",
        "the ServerPort of a login",
        "sessions",
        "seen",
        "35107 for V8, 36014 since V9.0",
        _CLIENTS,
        "the login is refused: set `serverPort`",
        "none",
    ),
    Fact(
        "loginSeconds",
        "how long `sessions/start` takes",
        "sessions",
        "seen",
        "at most three times `timeoutSeconds`",
        "a public client waits 60 s",
        "no session is started: set `timeoutSeconds`",
        "reads",
        _seconds,
    ),
    Fact(
        "secondSession",
        "the answer to a login while a session is open",
        "sessions",
        "seen",
        "refused, with AnotherConsoleIsRegistered or in words like these; or accepted",
        "a public client reports a refusal for V9.0 to 9.3, and V7 accepts it; nobody says for V8",
        "after a refusal in other words, the login is tried three times in all, and then fails",
        "reads",
        _answer,
    ),
    Fact(
        "firstSession",
        "what a second login does to the first session",
        "sessions",
        "unknown",
        "it goes on",
        _NOBODY,
        "two tools end each other's sessions, again and again: run one at a time",
        "reads",
        _Choice("goes on", "ends"),
    ),
    Fact(
        "numericServerPort",
        "the answer to a login whose ServerPort is a number",
        "sessions",
        "seen",
        "accepted; this package sends text",
        _CLIENTS,
        _NOTHING,
        "reads",
        _answer,
    ),
    Fact(
        "unknownToken",
        "the answer to a token that belongs to no session",
        "sessions",
        "seen",
        'refused: "Invalid Token"',
        _CLIENTS,
        "after another answer, the package sends one more call before it starts a new session",
        "reads",
        _answer,
    ),
    Fact(
        "endedToken",
        "the answer to the token of a session that was ended",
        "sessions",
        "seen",
        'refused: "Invalid Token"',
        _CLIENTS,
        "as for `unknownToken`",
        "reads",
        _answer,
    ),
    Fact(
        "endedSessionEnd",
        "the answer to `sessions/end` for a session that was ended",
        "sessions",
        "unknown",
        "any",
        _NOBODY,
        _NOTHING,
        "reads",
        _answer,
    ),
    Fact(
        "tokenSpelling",
        "how a session token is spelled",
        "sessions",
        "documented",
        "a GUID, in any spelling",
        _SAMPLES,
        "a token that is no GUID is an error",
        "reads",
        _Choice(*GUID_SPELLINGS),
    ),
    Fact(
        "serverAddress",
        "the ServerAddress of a login",
        "sessions",
        "seen",
        "LOCALHOST",
        _CLIENTS,
        "the login is refused: set `serverAddress`",
        "none",
    ),
    Fact(
        "tokenInPath",
        "where a call has its session token",
        "sessions",
        "documented",
        "in the path of the URL",
        _DOCUMENTED,
        "no call is accepted: report it",
        "none",
    ),
    Fact(
        "idleSession",
        "how long a session lives without a call",
        "sessions",
        "seen",
        "five minutes",
        _CLIENTS,
        "after a run that was killed, the next one waits longer",
        "none",
    ),
    Fact(
        "endAllSessions",
        "what `sessions/end` without a token does",
        "sessions",
        "seen",
        "it ends all sessions, those of other tools too",
        _CLIENTS,
        "nothing: it is never sent",
        "none",
    ),
    Fact(
        "consoleRefusal",
        "the answer to a login while the Management Console is connected",
        "sessions",
        "seen",
        "refused, and for up to 30 s after it was closed",
        _CLIENTS,
        "after a refusal in other words, the login is tried three times in all, and then fails",
        "none",
    ),
    Fact(
        "wrongPassword",
        "the answer to a wrong password",
        "sessions",
        "unknown",
        "HTTP 401 or 403, or words about a password, an account or a login",
        _NOBODY,
        "a process sends the password three times, and Windows may lock the account",
        "none",
    ),
    Fact(
        "domain",
        "the Domain of an account without one",
        "sessions",
        "seen",
        "an empty text",
        "the vendor's help page; some clients send a dot",
        'the login is refused: set `domain` to "."',
        "none",
    ),
    Fact(
        "vmListSeconds",
        "how long `vms/list` takes",
        "lists",
        "seen",
        "at most three times `timeoutSeconds`",
        "a public client waits 60 s",
        "look-ups fail: set `timeoutSeconds`",
        "reads",
        _seconds,
    ),
    Fact(
        "configuredList",
        "what `vms/list` with a 1 lists",
        "lists",
        "seen",
        "the configured VMs",
        _CLIENTS,
        "nothing: it is not sent",
        "reads",
        _Choice("the configured VMs", "all VMs", "other VMs", "nothing"),
    ),
    Fact(
        "vmFields",
        "the fields of a VM in `vms/list`, and their types",
        "lists",
        "seen",
        "those that public clients read; others are ignored",
        _CLIENTS,
        "a missing field is None; a VM without AltaroVirtualMachineRef cannot be assigned",
        "reads",
        _fields,
    ),
    Fact(
        "vmRefSpelling",
        "how an AltaroVirtualMachineRef is spelled",
        "lists",
        "documented",
        "a GUID, in any spelling",
        _SAMPLES,
        _NOTHING,
        "reads",
        _Choice(*GUID_SPELLINGS),
    ),
    Fact(
        "timeSpelling",
        "how the times of a VM are spelled",
        "lists",
        "seen",
        "YYYY-MM-DD-hh-mm-ss or ISO 8601; another one is read as None",
        _CLIENTS,
        "the times of backups are missing in look-ups and tables",
        "reads",
        _Choice(*TIME_SPELLINGS),
    ),
    Fact(
        "timeZone",
        "the time zone of the times of a VM",
        "lists",
        "unknown",
        "that of the server; `vmbackup review` assumes that its machine has the same one",
        _NOBODY,
        "a last backup looks some hours older or newer than it is",
        "none",
    ),
    Fact(
        "emptyVmList",
        "what `vms/list` lists after a restart, or while a host is off",
        "lists",
        "seen",
        "fewer VMs, or none, for a while",
        _CLIENTS,
        "nothing: the package un-assigns no VM because a list does not show it",
        "none",
    ),
    Fact(
        "replicaRef",
        "the AltaroVirtualMachineRef of a replica",
        "lists",
        "seen",
        "null or a GUID of zeros, and the replica is not configured",
        _CLIENTS,
        "two VMs of one name are an error that asks for the host",
        "none",
    ),
    Fact(
        "locationFields",
        "the fields of a backup location, and their types",
        "lists",
        "seen",
        "BackupLocationId and LocationPath; others are ignored",
        _CLIENTS,
        "a location without an id is an error, and one without a path is shown by its id",
        "reads",
        _fields,
    ),
    Fact(
        "locationIdSpelling",
        "how a BackupLocationId is spelled",
        "lists",
        "documented",
        "a GUID, in any spelling",
        _SAMPLES,
        _NOTHING,
        "reads",
        _Choice(*GUID_SPELLINGS),
    ),
    Fact(
        "locationListPlain",
        "the answer to `backuplocations` without flags",
        "lists",
        "documented",
        "a list",
        _DOCUMENTED,
        "nothing: it is not sent",
        "reads",
        _answer,
    ),
    Fact(
        "locationListForms",
        "whether `backuplocations` without flags lists what /1/0 and /0/1 list",
        "lists",
        "documented",
        "agree",
        _DOCUMENTED,
        "nothing: only /1/0 and /0/1 are sent",
        "reads",
        _Choice("agree", "differ"),
    ),
    Fact(
        "locationKind",
        "how a list tells primary from offsite locations",
        "lists",
        "unknown",
        "not at all",
        _NOBODY,
        "nothing: the package asks for each kind, with /1/0 and with /0/1",
        "none",
    ),
    Fact(
        "vmListing",
        "the answer to a listing with /1/1",
        "lists",
        "seen",
        "a list",
        "public clients, against a server of V8",
        "`pulumi refresh` and imports fail, and so do writes whose answer is lost: report it",
        "reads",
        _answer,
    ),
    Fact(
        "vmListingPrimary",
        "the answer to a listing with /1/0",
        "lists",
        "documented",
        "a list",
        _DOCUMENTED,
        "a look-up of primary locations with `vm_ref` fails",
        "reads",
        _answer,
    ),
    Fact(
        "vmListingOffsite",
        "the answer to a listing with /0/1",
        "lists",
        "documented",
        "a list",
        _DOCUMENTED,
        "a look-up of offsite locations with `vm_ref` fails",
        "reads",
        _answer,
    ),
    Fact(
        "vmListingPlain",
        "the answer to a listing without flags",
        "lists",
        "unknown",
        "any",
        "no public client sends it",
        "nothing: it is not sent",
        "reads",
        _answer,
    ),
    Fact(
        "vmListingForms",
        "whether a listing with /1/1 shows what /1/0 and /0/1 show together",
        "lists",
        "unknown",
        "agree",
        _NOBODY,
        "the output may show a wrong kind of a location; for assignments, only /1/1 counts",
        "reads",
        _Choice("agree", "differ"),
    ),
    Fact(
        "emptyListing",
        "the listing of a VM that has no location",
        "lists",
        "unknown",
        "an empty list, or null",
        _NOBODY,
        "an answer without a list is an error, not an empty list",
        "reads",
        _Choice("empty list", "null list", "no list"),
    ),
    Fact(
        "unknownVmListing",
        "the answer to a listing of a VM that does not exist",
        "lists",
        "unknown",
        "refused, or an empty list",
        _NOBODY,
        "if the server lists locations, a VM that is gone seems to exist",
        "reads",
        _answer,
    ),
    Fact(
        "listingSeconds",
        "how long a listing takes",
        "lists",
        "unknown",
        "at most `timeoutSeconds`",
        _NOBODY,
        "refreshes fail: set `timeoutSeconds`",
        "reads",
        _seconds,
    ),
    Fact(
        "parallelListings",
        "how many calls the server answers at a time",
        "lists",
        "unknown",
        "four",
        _NOBODY,
        "if it is less, parallel calls do not help: set `parallelRequests`",
        "reads",
        _count,
    ),
    Fact(
        "postThenDelete",
        "what a POST and then a DELETE of a pair do",
        "assignments",
        "documented",
        "the earlier configuration is restored",
        _DOCUMENTED,
        "`vmbackup probe` with `--vm` cannot restore the VM, and says so",
        "none",
    ),
    Fact(
        "configuredOnly",
        "which VMs can be assigned",
        "assignments",
        "documented",
        "those that are configured in VM Backup",
        _DOCUMENTED,
        "look-ups refuse a VM that the server would accept",
        "none",
    ),
    Fact(
        "writeSeconds",
        "how long a POST or DELETE of an assignment takes",
        "assignments",
        "unknown",
        "at most `timeoutSeconds`",
        _NOBODY,
        "the call is given up, and a listing shows whether it worked: set `timeoutSeconds`",
        "writes",
        _seconds,
    ),
    Fact(
        "appearSeconds",
        "how long a new assignment is missing from the listing",
        "assignments",
        "unknown",
        "at most `settleSeconds`",
        "public scripts wait 5 s before they look",
        "a refresh may drop a new assignment from the state: set `settleSeconds`",
        "writes",
        _seconds,
    ),
    Fact(
        "secondAssign",
        "the answer to a POST of a pair that is assigned",
        "assignments",
        "unknown",
        "accepted, or refused",
        _NOBODY,
        "nothing: after a refusal, a listing shows whether the pair is assigned",
        "writes",
        _answer,
    ),
    Fact(
        "disappearSeconds",
        "how long an assignment is still listed after its DELETE",
        "assignments",
        "unknown",
        "any",
        "public scripts wait 5 s before they look",
        "a refresh right after a run shows it once more",
        "writes",
        _seconds,
    ),
    Fact(
        "secondUnassign",
        "the answer to a DELETE of a pair that is not assigned",
        "assignments",
        "unknown",
        "accepted, or refused",
        _NOBODY,
        "nothing: after a refusal, a listing shows whether the pair is assigned",
        "writes",
        _answer,
    ),
    Fact(
        "secondPrimary",
        "what a second primary location of a VM does",
        "assignments",
        "unknown",
        "any: it is allowed, it is refused, or it moves the VM",
        _NOBODY,
        "if it moves the VM, the next refresh shows that the first pair is gone",
        "second location",
        _Choice("is allowed", "is refused", "moves the VM"),
    ),
    Fact(
        "secondPrimaryAnswer",
        "the answer to a POST of a second primary location",
        "assignments",
        "unknown",
        "any",
        _NOBODY,
        "nothing: the error shows these words",
        "second location",
        _answer,
    ),
    Fact(
        "secondOffsite",
        "how a second offsite location of a VM is listed",
        "assignments",
        "unknown",
        "as one more location",
        _NOBODY,
        "an assignment that is not listed looks removed",
        "none",
    ),
    Fact(
        "unknownLocationAssign",
        "the answer to a POST with a location that does not exist",
        "assignments",
        "unknown",
        "refused",
        _NOBODY,
        "only the next refresh notices a wrong id in a program",
        "writes",
        _answer,
    ),
    Fact(
        "unknownVmAssign",
        "the answer to a POST with a VM that does not exist",
        "assignments",
        "documented",
        "refused",
        f"{_DOCUMENTED}, of another call",
        "only the next refresh notices a wrong id in a program",
        "writes",
        _answer,
    ),
    Fact(
        "unknownLocationUnassign",
        "the answer to a DELETE with a location that does not exist",
        "assignments",
        "unknown",
        "refused",
        _NOBODY,
        "a delete that goes to the wrong server seems to succeed",
        "writes",
        _answer,
    ),
    Fact(
        "unknownVmUnassign",
        "the answer to a DELETE with a VM that does not exist",
        "assignments",
        "unknown",
        "refused",
        _NOBODY,
        "a delete that goes to the wrong server seems to succeed",
        "writes",
        _answer,
    ),
    Fact(
        "acceptedWrite",
        "what an accepted POST or DELETE means",
        "assignments",
        "unknown",
        "it is done, or will be within `settleSeconds`",
        "the vendor says of another call, take-backup, that it is only handed over",
        "`appearSeconds` and `disappearSeconds` tell",
        "none",
    ),
    Fact(
        "maintenance",
        "the answer to a call during maintenance",
        "assignments",
        "unknown",
        "refused, in unknown words",
        "the vendor's help page",
        "the run fails with these words, and the next one goes on",
        "none",
    ),
)

FACTS: dict[str, Fact] = {fact.key: fact for fact in _ALL}
"""All facts by key, in the order of a table."""


# The file


@dataclass(frozen=True)
class Facts:
    """What is known of one server, or of the servers of one version.

    Attributes:
        api_version: the API's version: ``"8"``, ``"9.0"`` or ``"9.1"`` (also for later ones).
        values: the value of each fact that is known, by key.
        grades: how sure each of them is, by key.
        not_found: why a fact that was looked for is not known, by key.
    """

    api_version: str
    values: Mapping[str, Value] = field(default_factory=dict)
    grades: Mapping[str, Grade] = field(default_factory=dict)
    not_found: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, file: Path) -> Facts:
        """Read a file of facts.

        Raises:
            ArgumentError: it cannot be read, or holds no facts.
        """
        try:
            text = text_of(file.read_bytes())
        except OSError as error:
            raise ArgumentError(
                f"The file of facts {file} cannot be read: {reason_of(error, file)}."
            ) from None
        except UnicodeDecodeError as error:
            raise ArgumentError(
                f"The file of facts {file} cannot be read: save it as UTF-8 ({error})."
            ) from None
        return cls.parse(text, str(file))

    @classmethod
    def parse(cls, text: str, source: str) -> Facts:
        """Read facts from their JSON text; ``source`` names it in errors.

        Raises:
            ArgumentError: it holds no facts.
        """

        def unusable(problem: str) -> ArgumentError:
            return ArgumentError(f"The facts in {source} cannot be used: {problem}.")

        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise unusable(f"they are not JSON ({error})") from None
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise unusable(
                f'they have no "format": {FORMAT}; use a file that `vmbackup probe` writes'
            )
        api_version, told = data.get("apiVersion"), data.get("facts")
        if not isinstance(api_version, str) or api_version not in VERSIONS:
            raise unusable(f"their apiVersion is {shown(api_version)}: use {', '.join(VERSIONS)}")
        if not isinstance(told, dict):
            raise unusable("they have no object of facts")
        values, grades = {}, {}
        for key, each in told.items():
            if not isinstance(each, dict) or each.keys() - {"grade", "assumed"} != {"value"}:
                raise unusable(f'{key!r} is no object with a "value" and a "grade"')
            if each.get("grade", "found") not in get_args(Grade):
                raise unusable(
                    f"the grade of {key!r} is {shown(each['grade'])}: use "
                    f"{_listed(get_args(Grade))}"
                )
            try:
                values[key] = checked(key, each["value"])
            except ValueError as error:
                raise unusable(str(error)) from None
            grades[key] = each.get("grade", "found")
        not_found = data.get("notFound", {})
        if not isinstance(not_found, dict):
            raise unusable('"notFound" is no object')
        return cls(api_version, values, grades, {k: str(v) for k, v in not_found.items()})

    def dump(self) -> str:
        """The facts as the JSON text that :meth:`parse` reads."""
        data = {
            "format": FORMAT,
            "apiVersion": self.api_version,
            "facts": {
                key: {
                    "value": _plain(self.values[key]),
                    "grade": self.grades.get(key, "found"),
                    "assumed": fact.assumed,
                }
                for key, fact in FACTS.items()
                if key in self.values
            },
            "notFound": dict(self.not_found),
        }
        return json.dumps(data, indent=2) + "\n"


def checked(key: str, value: object) -> Value:
    """The value of a fact as this package holds it.

    Raises:
        ValueError: there is no such fact, or it has no such value.
    """
    if key not in FACTS or FACTS[key].step == "none":
        raise ValueError(f"there is no fact {key!r}; docs/server-facts.md lists them")
    try:
        return FACTS[key].check(value)
    except ValueError as error:
        raise ValueError(f"the value of {key!r} is {shown(_plain(value))}: {error}") from None


def _plain(value: object) -> object:
    if isinstance(value, Answer):
        return {key: each for key, each in asdict(value).items() if each is not None}
    return value


# How values are read from answers


def json_type(value: object) -> str:
    """The name of a JSON value's type."""
    if value is None:
        return "null"
    for name, kind in _TYPES.items():
        if isinstance(value, kind):
            return name
    return "object"


_TYPES: dict[str, type | tuple[type, ...]] = {
    "boolean": bool,  # before numbers: a bool is an int in Python
    "number": (int, float),
    "text": str,
    "list": list,
}


def guid_spelling(guid: str) -> str | None:
    """How a GUID is spelled, one of GUID_SPELLINGS; None if it has no letter to tell its case."""
    letters = re.sub(r"[^A-Fa-f]", "", guid)
    if not letters or letters not in (letters.lower(), letters.upper()):
        return None
    case = "lower" if letters.islower() else "upper"
    dashes = "with" if "-" in guid else "without"
    braces = "with" if guid.startswith("{") else "without"
    return f"{case} case, {dashes} dashes, {braces} braces"


def spelled(guid: str, spelling: str) -> str:
    """A GUID in one of GUID_SPELLINGS.

    Args:
        guid: in lower case, with dashes, without braces.
        spelling: the spelling.
    """
    if spelling.startswith("upper"):
        guid = guid.upper()
    if "without dashes" in spelling:
        guid = guid.replace("-", "")
    return f"{{{guid}}}" if "with braces" in spelling else guid


def time_spelling(time: str) -> str:
    """How a time is spelled, one of TIME_SPELLINGS."""
    if re.fullmatch(r"\d{4}(-\d\d){5}", time):
        return TIME_SPELLINGS[0]
    is_iso = re.match(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d", time)
    return TIME_SPELLINGS[1 if is_iso else 2]


def rounded(seconds: float) -> float:
    """A duration as facts hold it: tenths of a second are enough, and the same on each try."""
    return math.floor(seconds * 10 + 0.5) / 10
