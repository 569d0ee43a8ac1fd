"""The file with the certificates to trust, in each form in which Windows exports certificates."""

from __future__ import annotations

import codecs
import re
import ssl
from pathlib import Path

from .files import text_of

_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_BLOCK = re.compile("-----BEGIN CERTIFICATE-----[ -~\r\n]+?-----END CERTIFICATE-----")
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


def trusting(path: str) -> ssl.SSLContext:
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
    is_pem = b"-----BEGIN " in content and not content.startswith(_MARKS)
    data = "\n".join(_BLOCK.findall(text)) or content
    try:
        if not content:  # for which the system's certificates would be trusted
            raise ssl.SSLError
        if is_pem:
            return ssl.create_default_context(cafile=path)
        return ssl.create_default_context(cadata=data)
    except ssl.SSLError:
        is_ = next(words for form, words in _OTHERS.items() if re.search(form, text, re.DOTALL))
        raise ValueError(
            f'{is_}: export the certificate as "Base-64 encoded X.509 (.CER)", which is PEM'
        ) from None
