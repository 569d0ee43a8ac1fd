"""Single calls, and what they are answered: whatever it is."""

from __future__ import annotations

import re
import secrets
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from ..client import Client
from ..errors import REFUSES_SESSION, LostAnswerError, VmBackupError
from ..facts import FACTS, Answer, AnswerForm, Facts, Value
from ..models import LOCATION_FIELDS, VM_FIELDS
from ..settings import Settings
from ..standins import Kind, StandIns
from ..transport import SESSION_IS_OVER, on_one_line, read_json, redact


@dataclass(frozen=True)
class Reply:
    """What came back for one call.

    Attributes:
        answer: what the answer is.
        envelope: the answer itself; empty if it is no JSON object.
        sent_at, heard_at: when it was sent and answered, by time.monotonic().
    """

    answer: Answer
    envelope: Mapping[str, Any]
    sent_at: float
    heard_at: float

    @property
    def seconds(self) -> float:
        """How long the answer took."""
        return self.heard_at - self.sent_at

    def items(self, key: str) -> list[Mapping[str, Any]]:
        """The objects of a list of the answer; none if there is no such list."""
        listed = self.envelope.get(key)
        if not isinstance(listed, list):
            return []
        return [each for each in listed if isinstance(each, dict)]


def says_over(answer: Answer) -> bool:
    """Whether the package takes an answer for one to the token of a session that is over."""
    return SESSION_IS_OVER in answer.words or answer.status in REFUSES_SESSION


class LostWriteError(VmBackupError):
    """Nobody knows whether the server made a change; that is found out when the VM is restored."""


class Calls:
    """Sends the calls of a probe in the session of a client.

    Args:
        client: sends them.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self._refusals: set[Answer] = set()

    def learn_refusals(self, found: Found) -> None:
        """Learn how the server answers to tokens that no session has."""
        answers = map(found.answer, ("unknownToken", "endedToken"))
        self._refusals |= {answer for answer in answers if answer}

    def ask(
        self, method: str, resource: str, *segments: str, wanted: str = "", is_slow: bool = False
    ) -> Reply:
        """Send a read in the session; once more in a new one if the old one may be over.

        Args:
            method: the HTTP method.
            resource: what comes before the token in the path.
            segments: what comes after it.
            wanted: the list that the answer holds.
            is_slow: whether the call is known to be slow.
        """
        call = partial(
            self._in_session, method, resource, *segments, wanted=wanted, is_slow=is_slow
        )
        reply, token = call()
        if self._may_be_over(reply.answer):
            self.client.forget_session(token)
            reply, _ = call()
        return reply

    def write(self, method: str, vm_ref: str, location_id: str) -> Reply:
        """Send a POST or DELETE of an assignment.

        It is sent again only if the server says in words that the token is not valid: the server
        has looked at nothing else then.

        Raises:
            LostWriteError: no answer came, or one that may be due to the session.
        """
        call = partial(self._in_session, method, "vms/backuplocations", vm_ref, location_id)
        reply, token = call()
        if SESSION_IS_OVER in reply.answer.words:
            self.client.forget_session(token)
            reply, token = call()
        may_be_over = self._may_be_over(reply.answer) and not self._lives(token)
        if reply.answer.form == "none" or may_be_over:
            raise LostWriteError(
                f"The answer to a {method} was: {reply.answer}. Nobody knows whether the server "
                "did it, so the probe stops. `vmbackup doctor` checks the connection."
            )
        return reply

    def _in_session(
        self, method: str, resource: str, *segments: str, wanted: str = "", is_slow: bool = False
    ) -> tuple[Reply, str]:
        """The reply to a call in the session, and the token of that."""
        with self.client.session_token() as token:
            path = "/".join((resource, token, *segments))
            return self.send(method, path, wanted=wanted, is_slow=is_slow), token

    def _lives(self, token: str) -> bool:
        """Whether the server accepts a token."""
        return self.send("GET", f"backuplocations/{token}/1/0").answer.is_accepted

    def _may_be_over(self, answer: Answer) -> bool:
        return says_over(answer) or answer in self._refusals

    def send(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        wanted: str = "",
        is_slow: bool = False,
    ) -> Reply:
        """Send a call as it is.

        Raises:
            UnreachableError: nothing was sent.
            StoppedError: the client is stopped.
        """
        sent_at = time.monotonic()
        try:
            status, content = self.client.send(method, path, body, is_slow=is_slow)
        except LostAnswerError:
            return Reply(Answer("none", 0), {}, sent_at, time.monotonic())
        heard_at = time.monotonic()
        value = read_json(content)
        envelope = value if isinstance(value, dict) else {}
        return Reply(_read(status, content, envelope, wanted), envelope, sent_at, heard_at)


def _read(status: int, content: bytes, envelope: Mapping[str, Any], wanted: str) -> Answer:
    success = envelope.get("Success")
    if not isinstance(success, bool):
        return Answer(_other_form(content), status)
    words = [
        redact(on_one_line(str(envelope[key]))) if envelope.get(key) else None
        for key in ("ErrorCode", "ErrorMessage", "ErrorAdditionalDetails")
    ]
    if not success:
        return Answer("refused", status, *words)
    if not wanted:
        return Answer("accepted", status)
    return Answer(_list_form(envelope, wanted), status)


def _list_form(envelope: Mapping[str, Any], wanted: str) -> AnswerForm:
    listed = envelope.get(wanted)
    if isinstance(listed, list):
        return "list" if listed else "empty list"
    return "null list" if listed is None and wanted in envelope else "no list"


def _other_form(content: bytes) -> AnswerForm:
    if not content.strip():
        return "empty"
    return "page" if re.search(rb"<(!doctype )?html", content[:200], re.IGNORECASE) else "other"


def made_up_guid() -> str:
    """A GUID of no VM, no location and no session."""
    return str(uuid.uuid4())


# What was found


class Found:
    """The values of facts that were found so far.

    Args:
        settings: how the server is reached.

    Attributes:
        values: the values, by key.
        not_found: why a fact is not known, by key.
    """

    def __init__(self, settings: Settings) -> None:
        self.values: dict[str, Value] = {}
        self.not_found: dict[str, str] = {}
        self._api_version = settings.api_version
        self._stand_ins = StandIns(secrets.token_bytes(), redact, with_names=False)
        self._stand_ins.learn_settings(settings)

    def add(self, key: str, value: Value) -> None:
        """Add the value of a fact."""
        self.values[key] = value
        self.not_found.pop(key, None)

    def answer(self, key: str) -> Answer | None:
        """The answer that is the value of a fact; None if it is not known."""
        value = self.values.get(key)
        return value if isinstance(value, Answer) else None

    def seconds(self, key: str) -> float:
        """The duration that is the value of a fact; 0 if it is not known."""
        value = self.values.get(key)
        return value if isinstance(value, float) else 0.0

    def miss(self, why: str, *keys: str) -> None:
        """Say why facts are not known."""
        self.not_found.update({key: why for key in keys if key not in self.values})

    def learn(self, kind: Kind, names: Iterable[object]) -> None:
        """Keep names that the server has told out of the facts."""
        for name in names:
            if isinstance(name, str):
                self._stand_ins.learn(kind, name)

    @property
    def facts(self) -> Facts:
        """The facts, without names, GUIDs, tokens and addresses."""
        missing = {
            key: _NOT_ASKED
            for key, fact in FACTS.items()
            if fact.step != "none" and key not in self.values
        }
        return Facts(
            self._api_version,
            {key: self._without_names(value) for key, value in self.values.items()},
            dict.fromkeys(self.values, "found"),
            missing
            | {key: _masked(self._stand_ins.prose(why)) for key, why in self.not_found.items()},
        )

    def _without_names(self, value: Value) -> Value:
        if isinstance(value, Answer):
            words = {
                "ErrorCode": value.code,
                "ErrorMessage": value.message,
                "ErrorAdditionalDetails": value.details,
            }
            masked = {
                key: _masked(text) if text else None
                for key, text in self._stand_ins.answer(words, "").items()
            }
            return replace(
                value,
                code=masked["ErrorCode"],
                message=masked["ErrorMessage"],
                details=masked["ErrorAdditionalDetails"],
            )
        if isinstance(value, Mapping):
            return {
                key: types
                for key, types in value.items()
                if key in (*VM_FIELDS, *LOCATION_FIELDS) or self._stand_ins.text(key) == key
            }
        return value


def _masked(text: str) -> str:
    text = re.sub(r"(?i)\blocalhost:\d+", "[address]", text)
    return _STAND_IN.sub(r"[\1]", _GUID.sub("[guid]", text))


_NOT_ASKED = "not tried: the probe ended before"
# Stand-ins as StandIns makes them; for readers, their kinds are enough.
_STAND_IN = re.compile(r"\b([A-Za-z]+)-[0-9a-f]{10}\b")
_GUID = re.compile(r"\{?\b[0-9a-f]{8}(-?)(?:[0-9a-f]{4}\1){3}[0-9a-f]{12}\b\}?", re.IGNORECASE)
