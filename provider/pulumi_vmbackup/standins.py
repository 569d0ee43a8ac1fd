"""Stand-ins for names and GUIDs, so that a recording or a report can be given to others.

A stand-in is made with a random key: who has the key or the names can tell which name it stands
for, and nobody else can find out by guessing. The same name always has the same stand-in.
"""

from __future__ import annotations

import hashlib
import hmac
import html
import platform
import re
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Literal
from urllib.parse import quote, urlsplit

from .models import LOCATION_FIELDS, NO_GUID, VM_FIELDS
from .recording import SESSION_START, TOKEN, Exchange, without_token
from .settings import (
    RECORD,
    SETTINGS,
    VERSIONS,
    WITH_NAMES,
    Settings,
    environment_variable,
    is_loopback,
)

Kind = Literal["VM", "host", "path", "user", "domain", "server", "address", "name", "text"]

# Of the other kinds are words that may have been no names.
_LEARNED: tuple[Kind, ...] = ("VM", "host", "path", "user", "domain", "address", "name")
_DIGITS = 10  # of a stand-in: two of 10,000 names are the same with a chance of 1 in 20,000
_SHORTEST_NAME_IN_CAPITALS = 5  # shorter ones are mostly words such as HTTP
_SHORTEST_PART = 6  # of a session token that is cut off
_LONGEST_TEXT = 20_000  # of an error message, whose escapes may be fifty times as long
_LONGEST_RAW_TEXT = 2**20
_HIDDEN = (TOKEN, "[secret]")
_CONTROL = ("Cc", "Cf")

# What a text may have in the places where a GUID has dashes and braces.
_SEPARATOR = r"(?:-|%2D|[_\u2010-\u2015\u2212])?"
_HEX = "[0-9a-f]"
_GUID = (
    r"(?P<open>[{(]|%7B|%28)?"
    rf"(?P<a>{_HEX}{{8}})(?P<separator>{_SEPARATOR})(?P<b>{_HEX}{{4}})(?P=separator)"
    rf"(?P<c>{_HEX}{{4}})(?P=separator)(?P<d>{_HEX}{{4}})(?P=separator)(?P<e>{_HEX}{{12}})"
    r"(?P<close>[)}]|%7D|%29)?"
)
_IS_GUID = re.compile(_GUID, re.IGNORECASE)
_NO_DIGITS = NO_GUID.replace("-", "")

# Fields of an answer

_IS_SECRET = re.compile(r"token|session|passw|pwd|secret|credential", re.IGNORECASE)
_TEXT_FIELDS = ("ErrorMessage", "ErrorAdditionalDetails")
# The names of the fields that public clients read.
_API_FIELDS = frozenset(
    [
        *("Success", "ErrorCode", *_TEXT_FIELDS),
        *("Data", "ClosedSessions", "SessionToken", "VirtualMachines", "BackupLocations"),
        "VirtualMachineIdentificationDetails",
        *(*VM_FIELDS, *LOCATION_FIELDS),
    ]
)
_TIME = r"\d{4}-\d\d-\d\d(?:[-T ]\d\d[-:]\d\d[-:]\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:?\d\d)?)?"
_CODE = r"[A-Za-z]+(?:_[A-Za-z]+)*(?:_?\d{1,6})?|-?\d{1,12}|0x[0-9A-Fa-f]{1,8}"
# Text that says nothing about anybody, by the field that holds it.
_SAFE = [
    (re.compile(r".*Time"), re.compile(_TIME)),
    (
        re.compile(r".*Result|Status"),
        re.compile(r"Success|Warning|Error|Failed|Unknown|[A-Z]+(?:_[A-Z]+)*_\d{1,6}"),
    ),
    (re.compile(r"ErrorCode"), re.compile(_CODE)),
    (re.compile(r".*(?:Size\w*|Duration|Percentage)"), re.compile(r"-?\d+(?:\.\d+)?")),
    (re.compile(r"Configured|Success"), re.compile(r"(?i:true|false)|[01]")),
    (re.compile(r"Data"), re.compile(r"\d{1,4}(?:\.\d{1,6}){0,2}")),
]
_KINDS: list[tuple[str, Kind]] = [
    (r"VirtualMachineName|RestoreAsName", "VM"),
    (r"(?i:.*(?:path|location|folder|share|file).*)", "path"),
    (r"(?i:.*(?:user|account|owner|login).*)", "user"),
    (r"(?i:.*domain.*)", "domain"),
    (r"(?i:.*(?:host|server|computer|machine|node|cluster).*)", "host"),
    (r"(?i:.*address.*)", "address"),
    (r"(?i:.*name.*)", "name"),
]

# Pieces of a text

# Programs read these words; they tell nobody's name.
_WORDS_OF_API = r"\bInvalid Token\b|\bAnotherConsoleIsRegistered\b|\bhostname is invalid\b"
_TAG = (
    r"</?(?:html|head|title|body|h[1-6]|p|div|span|hr|br|b|i|pre|a|meta|style|table|tr|td|th|ul|li"
    r"|center|font|code)\b|<!DOCTYPE\b"
)
_KEEP = (
    rf"\[(?:token|secret)\]|{_WORDS_OF_API}|{_TAG}|\b{_TIME}(?![\w-])|"
    r"(?<![\w:])\d\d?:\d\d(?::\d\d)?(?![\w:])"
)
_NO_SPACE = r"[^\s\"'<>|?*]"
# A piece with a backslash, or one that begins as names do, still belongs to a path with spaces.
_REST_OF_PATH = rf"{_NO_SPACE}*(?:\s{_NO_SPACE}*\\{_NO_SPACE}*)*(?:\s(?-i:[A-Z0-9(_])[\w().-]*)*"
_PIECES = rf"""(?P<url>[a-z][a-z0-9+.-]*://[^\s"'<>]+)
|(?P<guid>{_GUID})
|(?P<path>(?:\\\\|\b[a-z]:[\\/]){_REST_OF_PATH}|(?<![\w<./])/{{1,2}}[^\s"'<>/]+(?:/[^\s"'<>/]*)+|[\w.-]{{2,}}:/[^\s"'<>]+)
|(?P<mail>[\w.+-]+@[\w-]+(?:\.[\w-]+)*)
|(?P<account>[\w.-]+\\{{1,2}}[\w.$-]+(?:\\{_NO_SPACE}*)*)
|(?P<address>(?<![\w.])\d{{1,3}}(?:\.\d{{1,3}}){{3}}(?![\w.]*\w)
|(?<![\w:])(?:{_HEX}{{0,4}}:){{2,7}}{_HEX}{{0,4}}(?:%\w+)?(?![\w:]))
"""
_LONGEST_QUOTE = "{1,300}"  # so that a quotation mark without a second one takes no time
_QUOTED = "|".join(
    rf"{before}{first}[^{last}]{_LONGEST_QUOTE}[{last}]{after}"
    for before, first, last, after in (
        ("", '"', '"', ""),
        (r"(?<!\w)", "'", "'", r"(?!\w)"),
        (r"(?<!\w)", "`", "`", r"(?!\w)"),
        ("", "\u201c", "\u201d", ""),
        ("", "\u201e", "\u201c\u201d", ""),
        ("", "\u00ab", "\u00bb", ""),
        (r"(?<!\w)", "\u2018", "\u2019", r"(?!\w)"),
    )
)
_WORD = r"(?P<word>[\w$-]+(?:\.[\w$-]+)*)"
_FINGERPRINT = r"(?:[0-9A-F]{2}:){7,31}[0-9A-F]{2}"
_HIDDEN_WITH_NAMES = re.compile(rf"(?P<keep>\[(?:token|secret)\])|(?P<guid>{_GUID})", re.IGNORECASE)
_IDENTIFIER = re.compile(r"(?:[A-Z][a-z]+){2,}")
# These are no names even after a word such as "VM".
_OF_API = re.compile(
    r"Altaro[A-Za-z]*|(?:[A-Z][a-z]+)+(?:Ref|Id|Uuid|Guid|Token|Parameter|Exception|Error)"
)
_OF_DOTNET = re.compile(r"(?:System|Microsoft|Altaro|Hornetsecurity)(?:\.[A-Za-z]+)+")
_HEX_NUMBER = re.compile(r"0x[0-9A-Fa-f]+")
_BEFORE_A_NAME = re.compile(
    r"\b(?:VM|virtual machine|machine|host|server|computer|node|cluster|user|account|domain|share|"
    r"datastore|volume|named|called)s?:?\s+$",
    re.IGNORECASE,
)
# Words that follow those and are no names, and words in capitals that are none.
_NO_NAME = re.compile(
    "access|account|api|backups?|cannot|console|could|database|disk|doctype|does|domain|errors?|"
    "failed|file|has|host|https|id|invalid|is|json|localhost|location|login|machine|management|may|"
    "must|names?|not|operation|password|refused|server|service|session|status|storage|token|unable|"
    "users?|version|virtual|vms?|warning|was|windows"
)
# Folders that many paths have, so that they tell nothing, and texts stay readable.
_NO_FOLDER_NAME = re.compile(
    "backups?|daily|data|disk|offsite|primary|shares?|storage|vms?|vmbackups?|weekly|home|mnt|opt|"
    "srv|tmp|users|var|volumes"
)
_WORDS_OF_SETTINGS = frozenset(
    [*SETTINGS, *map(environment_variable, SETTINGS), RECORD, WITH_NAMES, "HTTPS_PROXY", "NO_PROXY"]
)
_BASE_PATHS = frozenset(urlsplit(each.base_url).path for each in VERSIONS.values())


class StandIns:
    """Puts stand-ins in the place of names and GUIDs, and ``[token]`` in that of session tokens.

    Args:
        key: the secret that stand-ins are made with.
        redact: replaces passwords and tokens that this process knows.
        with_names: whether names and GUIDs stay. Passwords and session tokens never do.

    Attributes:
        new: stand-ins that were made since this was last emptied, each with its name.
    """

    def __init__(self, key: bytes, redact: Callable[[str], str], *, with_names: bool) -> None:
        self._key = key
        self._redact = redact
        self._with_names = with_names
        self._names: dict[str, Kind] = {}  # by the name without regard to case
        self._forms: dict[str, str] = {}  # the name, by each form in which a text may have it
        self._told: set[str] = set()
        self._tokens: set[str] = set()
        self._guids: set[str] = set()  # those that are no tokens for sure
        self.new: list[tuple[str, str]] = []

    # What is known

    def add_token(self, token: str) -> None:
        """Replace this session token from now on, in any spelling."""
        self._tokens.add(re.sub(r"[^0-9a-f]", "", token.lower()))

    def learn(self, kind: Kind, name: str | None) -> None:
        """Replace this name in texts from now on, as a whole word and in any case."""
        name = self._redact(name or "").strip()
        if not name or is_loopback(name) or _IS_GUID.fullmatch(name) or name in _HIDDEN:
            return
        if name.casefold() in self._names:
            return
        self._names[name.casefold()] = kind
        self.of(kind, name)
        doubled = name.replace("\\", "\\\\")
        for form in (name, doubled, quote(name, safe=""), quote(name)):
            self._forms[form.casefold()] = name
        for piece_kind, piece in _pieces(kind, name):
            self.learn(piece_kind, piece)

    def learn_settings(self, settings: Settings) -> None:
        """Learn the names in the settings of a connection, and that of this computer."""
        if not _NO_NAME.fullmatch(platform.node().casefold()):
            self.learn("host", platform.node())
        self.learn("user", settings.username)
        self.learn("domain", settings.domain)
        self.learn("host", settings.server_address)
        self.learn("host", urlsplit(settings.base_url).hostname)
        self.learn("host", (settings.host_header or "").partition(":")[0])
        self.learn("path", settings.ca_file)
        self.learn("path", settings.inventory_file)
        self.learn("name", settings.connection)
        if settings.session_token:
            self.add_token(settings.session_token)

    def took_over(self, stand_in: str, name: str) -> None:
        """Learn a name that another process has told."""
        self._told.add(stand_in)
        for kind in _LEARNED:
            if stand_in.startswith(f"{kind}-"):
                self.learn(kind, name)

    # Stand-ins

    def of(self, kind: Kind, name: str) -> str:
        """The stand-in of a name, such as ``VM-7c1f02ab5e``; the name itself with names."""
        if self._with_names or name in self._told:
            return name
        return self._tell(f"{kind}-{self._digits(name.casefold())[:_DIGITS]}", name)

    def server(self, settings: Settings) -> str:
        """The stand-in of the server that settings lead to."""
        return self.of("server", settings.server)

    def base_path(self, settings: Settings) -> str:
        """The path of the base URL; another one than documented may hold a name."""
        return self._base_path(urlsplit(settings.base_url).path)

    def _base_path(self, path: str) -> str:
        if path in ("", *_BASE_PATHS) or self._with_names or path[1:] in self._told:
            return path
        return f"/{self.of('path', path)}"

    def path(self, path: str) -> str:
        """The path of a call, with ``[token]`` for the session token, which it learns."""
        path, token = without_token(path)
        if token:
            self.add_token(token)
        return "/".join(
            self._guid(found, is_token=False) if (found := _IS_GUID.fullmatch(segment)) else segment
            for segment in path.split("/")
        )

    def answer(self, answer: Any, path: str) -> Any:
        """An answer of the API.

        Args:
            answer: its JSON value.
            path: the path of its call.
        """
        if not self._with_names:
            self._learn_from(answer)
        return self._value(answer, "", is_secret=False, is_session_start=path == SESSION_START)

    def exchange(self, exchange: Exchange) -> Exchange:
        """The same exchange, which another process may have recorded with names."""
        return replace(
            exchange,
            server=self.of("server", exchange.server),
            base_path=self._base_path(exchange.base_path),
            path=self.path(exchange.path),
            answer=self.answer(exchange.answer, exchange.path),
            text=None if exchange.text is None else self.text(exchange.text),
        )

    def text(self, text: str) -> str:
        """A text of the server, such as an error message or a page."""
        return self._text(text, prose=False)

    def prose(self, text: str) -> str:
        """A sentence of this package, which may quote the server."""
        return self._text(text, prose=True)

    # Answers

    def _learn_from(self, value: Any, field: str = "") -> None:
        if isinstance(value, dict):
            for key, each in value.items():
                self._learn_from(each, key)
        elif isinstance(value, list):
            for each in value:
                self._learn_from(each, field)
        elif isinstance(value, str) and not _is_safe(field, value):
            kind = _kind(field)
            if kind != "text" and field not in _TEXT_FIELDS and not _IS_SECRET.search(field):
                self.learn(kind, value)

    def _value(self, value: Any, field: str, *, is_secret: bool, is_session_start: bool) -> Any:
        if isinstance(value, dict):
            return {
                self._field(key): self._value(
                    each,
                    key,
                    is_secret=is_secret
                    or _IS_SECRET.search(key) is not None
                    or (is_session_start and key == "Data"),
                    is_session_start=is_session_start,
                )
                for key, each in value.items()
            }
        if isinstance(value, list):
            return [
                self._value(each, field, is_secret=is_secret, is_session_start=is_session_start)
                for each in value
            ]
        if value is None or isinstance(value, bool) or value == "":
            return value
        if is_secret:
            return TOKEN
        return self._of_field(field, value) if isinstance(value, str) else value

    def _field(self, key: str) -> str:
        key = self._redact(key)
        kind = self._names.get(key.casefold())
        if kind and key not in _API_FIELDS:  # a replay needs these
            return self.of(kind, key)
        return key if key.isascii() and key.isalpha() else self.text(key)

    def _of_field(self, field: str, value: str) -> str:
        redacted = self._redact(value)
        if found := _IS_GUID.fullmatch(value):
            # A password may be a GUID, too.
            is_secret = redacted != value and _digits_of(found) not in self._tokens
            return redacted if is_secret else self._guid(found, is_token=False)
        if field in _TEXT_FIELDS:
            return self.text(value)
        if self._with_names:
            # A name keeps its own spelling, unless it hides a token.
            plain = _plain(redacted)
            text = plain if _IS_GUID.search(plain) else redacted
            return _IS_GUID.sub(lambda found: self._guid(found, is_token=False), text)
        known = self._names.get(value.casefold())
        if _is_safe(field, value) and not (known and field == "ErrorCode"):
            return redacted
        if field == "ErrorCode":
            return self.text(value)
        kind = _kind(field)
        return self.of(known or kind if kind == "text" else kind, redacted)

    # Texts

    def _text(self, text: str, *, prose: bool) -> str:
        text = self._redact(_plain(text[:_LONGEST_RAW_TEXT]))
        if len(text) > _LONGEST_TEXT:
            # No half of a token or a name may be left.
            text = f"{text[:_LONGEST_TEXT].rpartition(' ')[0]} ..."
        pattern = _HIDDEN_WITH_NAMES if self._with_names else self._pattern(text, prose=prose)
        return pattern.sub(lambda found: self._piece(found, prose=prose), text)

    def _pattern(self, text: str, *, prose: bool) -> re.Pattern[str]:
        folded = " ".join(text.casefold().split())
        there = sorted(
            (form for form in self._forms if " ".join(form.split()) in folded),
            key=len,
            reverse=True,
        )
        names = "|".join(re.escape(form).replace(r"\ ", r"\s+") for form in there)
        known = rf"|(?P<known>(?<![\w$-])(?:{names})(?![\w\\$-]))" if there else ""
        keep = f"{_FINGERPRINT}|{_KEEP}" if prose else _KEEP
        pieces = _PIECES.replace("\n", "")
        return re.compile(
            rf"(?P<keep>{keep}){known}|{pieces}|(?P<quoted>{_QUOTED})|{_WORD}", re.IGNORECASE
        )

    def _piece(self, found: re.Match[str], *, prose: bool) -> str:
        piece = found[0]
        groups = found.groupdict()
        if groups["keep"] is not None or is_loopback(piece):
            return piece
        if groups["guid"] is not None:
            return self._guid(found, is_token=None)
        if groups.get("known") is not None:
            return self._known(piece)
        if groups["url"] is not None:
            return self._url(piece)
        if groups["quoted"] is not None:
            return self._quoted(piece, prose=prose)
        if groups["word"] is not None:
            return self._word(piece, found.string[: found.start()], prose=prose)
        kind: Kind = "path"
        if groups["account"] is not None and len(parts := re.split(r"\\+", piece)) == 2:
            return f"{self._known(parts[0], 'domain')}\\{self._known(parts[1], 'user')}"
        if groups["mail"] is not None:
            kind = "user"
        elif groups["address"] is not None:
            kind = "address"
        bare = piece.rstrip(".,;:)\\/")
        return self._known(bare, kind) + piece[len(bare) :].lstrip("\\/")

    def _known(self, name: str, kind: Kind = "text") -> str:
        """The stand-in of a piece of a text; the one of its name, if that is known."""
        folded = " ".join(name.casefold().split())
        name = self._forms.get(name.casefold()) or self._forms.get(folded) or name
        return self.of(self._names.get(name.casefold(), kind), name)

    def _url(self, url: str) -> str:
        bare = url.rstrip(".,;:)")
        try:
            parts = urlsplit(bare)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            return self.of("address", bare) + url[len(bare) :]
        at = host if is_loopback(host) else self._known(host, "host")
        at = f"[{at}]" if ":" in at else at
        path = parts.path.rstrip("/")
        if path not in ("", *_BASE_PATHS):
            path = f"/{self.of('path', path)}"
        return f"{parts.scheme}://{at}{f':{port}' if port else ''}{path}{url[len(bare) :]}"

    def _quoted(self, quoted: str, *, prose: bool) -> str:
        first, inner, last = quoted[0], quoted[1:-1], quoted[-1]
        if prose and first in '"`':
            # What the server says, or a command.
            return f"{first}{self._text(inner, prose=first == '`')}{last}"
        if re.fullmatch(r"\[(?:token|secret)\]", inner) or inner.isspace():
            return quoted
        if prose and inner in _WORDS_OF_SETTINGS:
            return quoted
        if found := _IS_GUID.fullmatch(inner):
            return f"{first}{self._guid(found, is_token=None)}{last}"
        if re.fullmatch(_WORDS_OF_API, inner):
            return quoted
        return f"{first}{self._known(inner)}{last}"

    def _word(self, word: str, before: str, *, prose: bool) -> str:
        folded = word.casefold()
        if len(word) >= _SHORTEST_PART and any(folded in token for token in self._tokens):
            return TOKEN
        if folded in self._names:
            return self._known(word)
        if not any(map(str.isalpha, word)) or _NO_NAME.fullmatch(folded):
            return word
        if prose:
            return word if _is_plain_in_prose(word) else self._known(word)
        if any(each.fullmatch(word) for each in (_HEX_NUMBER, _OF_DOTNET, _OF_API)):
            return word
        is_identifier = _IDENTIFIER.fullmatch(word) is not None
        is_plain = word.isalpha() and (
            word[1:] == word[1:].lower()
            or (word.isupper() and len(word) < _SHORTEST_NAME_IN_CAPITALS)
        )
        is_named = word != word.lower() and _BEFORE_A_NAME.search(before[-40:])
        return word if (is_identifier or is_plain) and not is_named else self._known(word)

    # GUIDs

    def _guid(self, found: re.Match[str], *, is_token: bool | None) -> str:
        """The stand-in of a GUID in its own spelling.

        ``is_token`` is None if it may be a session token that this process does not know.
        """
        digits = _digits_of(found)
        if digits in self._tokens:
            return TOKEN
        if digits == _NO_DIGITS or _with_dashes(digits) in self._told:
            return found[0]
        if is_token is False:
            self._guids.add(digits)
        is_known = digits in self._guids
        if self._with_names and is_known:
            return found[0]
        made = self._digits(digits)
        made = f"{made[:12]}4{made[13:16]}8{made[17:32]}"  # a random GUID, as RFC 9562 has it
        plain = _with_dashes(made)
        if is_known and not self._with_names:
            self._tell(plain, _with_dashes(digits))
        separator = found["separator"]
        spelled = plain.replace("-", separator)
        if any(map(str.isupper, "".join(found.group(*"abcde")))):
            spelled = plain.upper().replace("-", separator)
        return f"{found['open'] or ''}{spelled}{found['close'] or ''}"

    def _digits(self, text: str) -> str:
        content = text.encode("utf-8", "surrogatepass")
        return hmac.new(self._key, content, hashlib.sha256).hexdigest()

    def _tell(self, stand_in: str, name: str) -> str:
        if stand_in not in self._told:
            self._told.add(stand_in)
            self.new.append((stand_in, _IS_GUID.sub(self._without_token, name)))
        return stand_in

    def _without_token(self, found: re.Match[str]) -> str:
        """A GUID of a name for the file with the names, which holds no token either."""
        is_token = _digits_of(found) in self._tokens
        return TOKEN if is_token else found[0]


def _pieces(kind: Kind, name: str) -> list[tuple[Kind, str]]:
    """The names that are parts of a name: those of a path, an account and a computer."""
    if kind == "path":
        parts = [each for each in re.split(r"[\\/]+", name) if each and not each.endswith(":")]
        is_unc = name.startswith(("\\\\", "//"))
        hosts: list[tuple[Kind, str]] = [("host", each) for each in parts[:1] if is_unc]
        folders = parts[len(hosts) :]
        return hosts + [
            ("name", each) for each in folders if not _NO_FOLDER_NAME.fullmatch(each.lower())
        ]
    if kind == "user" and "\\" in name:
        domain, _, user = name.partition("\\")
        return [("domain", domain), ("user", user)]
    if kind == "user" and "@" in name:
        user, _, domain = name.rpartition("@")
        return [("domain", domain), ("user", user)]
    if kind in ("host", "VM") and re.fullmatch(r"[A-Za-z][\w-]*(\.[A-Za-z][\w-]*)+", name):
        computer, _, domain = name.partition(".")
        return [(kind, computer), ("domain", domain)]
    return []


def _kind(field: str) -> Kind:
    return next((kind for pattern, kind in _KINDS if re.fullmatch(pattern, field)), "text")


def _is_safe(field: str, value: str) -> bool:
    return any(name.fullmatch(field) and safe.fullmatch(value) for name, safe in _SAFE)


def _is_plain_in_prose(word: str) -> bool:
    """Whether a word of this package's own sentences is no name, unless it is a known one."""
    bare = word.strip("-")
    if bare in _WORDS_OF_SETTINGS:
        return True
    if bare.replace("-", "").isalpha():
        return not bare.isupper() or len(bare) < _SHORTEST_NAME_IN_CAPITALS or bare == "DELETE"
    return re.fullmatch(r"(?:V|v|TLSv)?\d[\d.]*x?|SHA-256", bare) is not None


def _plain(text: str) -> str:
    """A text without escapes of HTML, and without characters that nobody sees."""
    text = html.unescape(text)
    return "".join(
        "" if unicodedata.category(c) in _CONTROL and not c.isspace() else c for c in text
    )


def _digits_of(found: re.Match[str]) -> str:
    return "".join(found.group(*"abcde")).lower()


def _with_dashes(digits: str) -> str:
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
