"""The file with the certificates to trust, in each form in which Windows exports certificates."""

from __future__ import annotations

import base64
import re
import ssl
from collections.abc import Iterable
from pathlib import Path

from .files import text_of

_BLOCK = re.compile(
    r"-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----([\w+/=\s]+)-----END ", re.ASCII
)
# What a file without a certificate is instead: the first of these that its text begins with or has.
_OTHERS = {
    r"\A\s*\Z": "is empty",
    "-----BEGIN (NEW )?CERTIFICATE REQUEST-----": "holds a request for a certificate only",
    "-----BEGIN [A-Z ]*PRIVATE KEY-----": "holds a private key only, which belongs on the server",
    # In DER: the identifier of signed data (1.2.840.113549.1.7.2), and the number 3.
    r"-----BEGIN PKCS7-----|\A0.{1,5}?\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02": "is a PKCS #7 "
    "file (.p7b), which is not read",
    r"\A0.{1,5}?\x02\x01\x030": "is a PKCS #12 file (.pfx), which holds a private key too",
    "": "holds no certificate that can be read",
}


class PinningContext(ssl.SSLContext):
    """A TLS context for the certificates of a file.

    It trusts those themselves, and those that they issued. It does not compare names: what is in
    the file itself is trusted whatever its names are, so tls.check_names() compares them.

    Attributes:
        pinned: the certificates of the file, as DER.
    """

    pinned: frozenset[bytes] = frozenset()

    @classmethod
    def of(cls, certificates: Iterable[bytes]) -> PinningContext:
        """A context for some certificates, as DER."""
        context = cls(ssl.PROTOCOL_TLS_CLIENT)  # requires a certificate that is trusted
        context.check_hostname = False
        context.pinned = frozenset(certificates)
        context.load_verify_locations(cadata=b"".join(context.pinned))
        # The certificate of a server need not be one of an authority.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        return context


def trusting(path: str) -> PinningContext:
    """The TLS context that trusts the certificates of a file, and no others.

    The file is PEM, also in UTF-16 or with a mark at its beginning, or a certificate as DER.

    Raises:
        ValueError: the file holds no certificate; the message is the end of a sentence.
        OSError: the file cannot be read.
    """
    content = Path(path).read_bytes()
    try:
        text = text_of(content)
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    try:
        return PinningContext.of(_certificates(content, text))
    except (ssl.SSLError, ValueError):
        is_ = next(words for form, words in _OTHERS.items() if re.search(form, text, re.DOTALL))
        raise ValueError(
            f'{is_}: export the certificate as "Base-64 encoded X.509 (.CER)", which is PEM'
        ) from None


def _certificates(content: bytes, text: str) -> list[bytes]:
    """The certificates of a file as DER; ValueError if they are damaged."""
    blocks = [base64.b64decode(block) for block in _BLOCK.findall(text)]
    # After the certificate, a block may say what it is trusted for.
    return [_split(block)[0] for block in blocks] or _split(content)


def _split(der: bytes) -> list[bytes]:
    """Certificates that stand one after another as DER; anything else as it is."""
    found = []
    while der:
        # Each has 256 bytes to 64 KiB, and so a length of two bytes.
        end = 4 + int.from_bytes(der[2:4], "big") if der.startswith(b"0\x82") else len(der)
        found.append(der[:end])
        der = der[end:]
    return found
