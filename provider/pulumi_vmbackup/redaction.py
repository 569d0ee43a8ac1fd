"""Keeps session tokens and passwords out of every text that leaves the package.

The API carries the session token in the URL path (documented), so whatever prints a URL prints the
token: urllib3 does, in its debug and retry messages and in some warnings.
"""

from __future__ import annotations

import html
import json
import logging
import re
from urllib.parse import quote, quote_plus

_LOGGERS_THAT_PRINT_URLS = (
    "urllib3.connection",
    "urllib3.connectionpool",
    "urllib3.poolmanager",
    "urllib3.response",
    "urllib3.util.retry",
)


class _Redactor(logging.Filter):
    def __init__(self) -> None:
        super().__init__()
        self._secrets: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def add(self, secret: str) -> None:
        """Replace this text from now on, in any case, also where it is escaped."""
        self._secrets |= {
            secret,
            quote(secret, safe=""),
            quote_plus(secret),
            html.escape(secret),
            html.escape(secret).replace("&#x27;", "&#39;"),  # as .NET writes it
            json.dumps(secret)[1:-1],
        }
        longest_first = sorted(self._secrets, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)), re.IGNORECASE)

    def redact(self, text: str) -> str:
        """The text with each known secret replaced by ``[secret]``."""
        return self._pattern.sub("[secret]", text) if self._pattern else text

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg = self.redact(record.getMessage())
        record.args = None
        return True


_redactor = _Redactor()
add_secret = _redactor.add
redact = _redactor.redact

for _name in _LOGGERS_THAT_PRINT_URLS:
    logging.getLogger(_name).addFilter(_redactor)
