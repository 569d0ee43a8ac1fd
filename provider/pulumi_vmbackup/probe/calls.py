"""Single calls, and what they are answered: whatever it is."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..client import Client
from ..errors import REFUSES_SESSION, LostAnswerError
from ..facts import FACTS, Answer, AnswerForm, Facts, Value
from ..settings import Settings
from ..transport import SESSION_IS_OVER, on_one_line, read_json, redact


@dataclass(frozen=True)
class Heard:
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


class Calls:
    """Sends the calls of a probe, each of them once, in the session of a client.

    Args:
        client: sends them.
        invalid_token: what the server answers to a token that no session has, once that is known.
    """

    def __init__(self, client: Client) -> None:
        self.client = client
        self.invalid_token: Answer | None = None

    def ask(
        self, method: str, resource: str, *segments: str, wanted: str = "", is_slow: bool = False
    ) -> Heard:
        """Send a call in the session; in a new one if the old one is over.

        Args:
            method: the HTTP method.
            resource: what comes before the token in the path.
            segments: what comes after it.
            wanted: the list that the answer holds.
            is_slow: whether the call is known to be slow.
        """
        for is_last in (False, True):
            with self.client.session_token() as token:
                path = "/".join((resource, token, *segments))
                heard = self.send(method, path, wanted=wanted, is_slow=is_slow)
                if is_last or not self._is_over(heard.answer):
                    return heard
                self.client.forget_session(token)
        raise AssertionError("unreachable")

    def send(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        wanted: str = "",
        is_slow: bool = False,
    ) -> Heard:
        """Send a call as it is.

        Raises:
            UnreachableError: nothing was sent.
            StoppedError: the client is stopped.
        """
        sent_at = time.monotonic()
        try:
            status, content = self.client.send(method, path, body, is_slow=is_slow)
        except LostAnswerError:
            return Heard(Answer("none", 0), {}, sent_at, time.monotonic())
        heard_at = time.monotonic()
        value = read_json(content)
        envelope = value if isinstance(value, dict) else {}
        return Heard(_read(status, content, envelope, wanted), envelope, sent_at, heard_at)

    def _is_over(self, answer: Answer) -> bool:
        return (
            SESSION_IS_OVER in answer.words
            or answer.status in REFUSES_SESSION
            or (self.invalid_token is not None and answer == self.invalid_token)
        )


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


@dataclass
class Found:
    """The values of facts that were found so far.

    Attributes:
        values: the values, by key.
        not_found: why a fact is not known, by key.
        names: the names that the server has told, and those of the settings: the file of facts has
            none of them.
    """

    values: dict[str, Value] = field(default_factory=dict)
    not_found: dict[str, str] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)

    def add(self, key: str, value: Value) -> None:
        """Add the value of a fact."""
        self.values[key] = value
        self.not_found.pop(key, None)

    def answer(self, key: str) -> Answer | None:
        """The answer that is the value of a fact; None if it is not known."""
        value = self.values.get(key)
        return value if isinstance(value, Answer) else None

    def miss(self, why: str, *keys: str) -> None:
        """Say why facts are not known."""
        self.not_found.update({key: why for key in keys if key not in self.values})

    def learn(self, names: Iterable[object]) -> None:
        """Add names, and the parts of paths."""
        for name in names:
            if isinstance(name, str):
                self.names |= {name, *re.split(r"[\\/@]+", name)}

    def facts(self, settings: Settings) -> Facts:
        """The facts, without names, GUIDs, tokens and addresses."""
        self.learn((settings.username, settings.domain, settings.account, settings.server_address))
        mask = _Mask(self.names)
        missing = {key: _NOT_ASKED for key, fact in FACTS.items() if fact.step != "none"}
        for key in self.values:
            missing.pop(key)
        return Facts(
            settings.api_version,
            {key: mask.of(value) for key, value in self.values.items()},
            dict.fromkeys(self.values, "found"),
            missing | self.not_found,
        )


_NOT_ASKED = "not tried: the probe ended before"

_LIKE_NAMES = re.compile(
    r"\\\\\S+|\b[A-Za-z]:[\\/]\S*"  # paths
    r"|\b[\w.-]+\\[\w.$-]+|[\w.+-]+@[\w.-]+"  # accounts
    r"|\bhttps?://\S+|\b\d{1,3}(\.\d{1,3}){3}(:\d+)?\b|\blocalhost(:\d+)?",  # addresses
    re.IGNORECASE,
)
_GUIDS = re.compile(r"\{?\b[0-9a-f]{8}(-?)(?:[0-9a-f]{4}\1){3}[0-9a-f]{12}\b\}?", re.IGNORECASE)


class _Mask:
    """Replaces names, GUIDs and addresses in the words of a server."""

    def __init__(self, names: Iterable[str]) -> None:
        longest_first = sorted((name for name in names if len(name) > 1), key=len, reverse=True)
        words = "|".join(map(re.escape, longest_first))
        self._names = re.compile(rf"(?<!\w)(?:{words})(?!\w)" if words else r"(?!)", re.IGNORECASE)

    def of(self, value: Value) -> Value:
        if isinstance(value, Answer):
            return replace(
                value,
                code=self._text(value.code),
                message=self._text(value.message),
                details=self._text(value.details),
            )
        if isinstance(value, Mapping):
            return {key: types for key, types in value.items() if self._text(key) == key}
        return value

    def _text(self, text: str | None) -> Any:
        if not text:
            return text
        text = _GUIDS.sub("[guid]", text)
        return self._names.sub("[name]", _LIKE_NAMES.sub("[name]", text))
