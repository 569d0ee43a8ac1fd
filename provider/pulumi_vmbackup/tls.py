"""The server's certificate: which one is trusted, and what is said of one that is not.

A certificate in ``vmbackup:caFile`` itself is trusted whatever its names are, like a key in ssh's
known_hosts: many servers have one that they signed themselves, for the name of the computer.
"""

from __future__ import annotations

import hashlib
import socket
import ssl
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any
from urllib.parse import SplitResult, urlsplit

from urllib3 import PoolManager
from urllib3.util import parse_url
from urllib3.util.ssl_match_hostname import CertificateError, match_hostname

from .certificates import PinningContext, trusting
from .errors import SettingsError, UnreachableError
from .settings import Settings

# How long an error waits for the certificate that it shows.
_LONGEST_SECONDS = 5.0
SAVE_COMMAND = "`vmbackup doctor --save-certificate FILE`"
# Numbers of OpenSSL (X509_V_...), which the ssl module does not name.
_WRONG_NAME = (62, 64)
_WRONG_TIME = (9, 10)
_NO_CHECK_TIME = 0x200000
# Of a file with more certificates, no fingerprint is shown.
_MOST_FINGERPRINTS = 3
_MOST_NAMES = 5
_LONGEST_NAME = 253


# What is trusted


def trust(settings: Settings) -> ssl.SSLContext:
    """The TLS context that checks the server's certificate; check_names() must complete it.

    Raises:
        SettingsError: the certificates to trust cannot be read.
    """
    ca_file = settings.ca_file
    try:
        context = trusting(ca_file) if ca_file else ssl.create_default_context()
    except (OSError, ValueError) as error:  # one damaged certificate in the store of Windows
        raise SettingsError(
            f"The certificates that {ca_file or 'this system'} holds cannot be read ({error}).",
            settings.to_set("caFile", "a PEM file with the certificate of the server"),
        ) from None
    # Since 3.13, Python refuses certificates without some formal extensions. Windows products make
    # such certificates for themselves. Trust and host name are still checked.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def check_names(connected: ssl.SSLSocket, context: ssl.SSLContext, host: str) -> bool:
    """Refuse a certificate for another host, unless the file holds exactly this certificate.

    Call it after the handshake, which has checked the trust, and before anything is sent.

    Args:
        connected: the connection.
        context: the context of trust().
        host: the host of the address.

    Returns:
        Whether the file holds exactly this certificate, so that its names do not matter.

    Raises:
        ssl.SSLCertVerificationError: the certificate is for another host.
    """
    if not isinstance(context, PinningContext):
        return False  # the handshake has compared the names
    if connected.getpeercert(binary_form=True) in context.pinned:
        return True
    host = host.strip("[]").partition("%")[0].rstrip(".")
    certificate: Any = connected.getpeercert()
    try:
        match_hostname(certificate, host, context.hostname_checks_common_name)
    except CertificateError as error:
        refused = ssl.SSLCertVerificationError(1, str(error))
        refused.verify_code, refused.verify_message = _WRONG_NAME[0], str(error)
        raise refused from None
    return False


class _ChecksNames:
    """A part of an HTTPS connection of urllib3: it checks the names before anything is sent."""

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]
        # Through a proxy, `host` is the proxy's.
        check_names(self.sock, self.ssl_context, self.server_hostname)  # type: ignore[attr-defined]


def pool_arguments(settings: Settings, context: ssl.SSLContext) -> dict[str, Any]:
    """The arguments of urllib3's PoolManager for a context of trust()."""
    if not isinstance(context, PinningContext):
        return {"ssl_context": context}
    # urllib3 leaves the names to check_each_connection().
    host = parse_url(settings.base_url).host
    return {"ssl_context": context, "assert_hostname": False, "server_hostname": host}


def check_each_connection(manager: PoolManager) -> None:
    """Make a PoolManager with pool_arguments() check the names of each new connection."""
    if not isinstance(manager.connection_pool_kw["ssl_context"], PinningContext):
        return
    # A SOCKS proxy has classes of its own.
    pool: Any = manager.pool_classes_by_scheme["https"]
    connection = type("CheckedConnection", (_ChecksNames, pool.ConnectionCls), {})
    checked = type("CheckedPool", (pool,), {"ConnectionCls": connection})
    manager.pool_classes_by_scheme = {**manager.pool_classes_by_scheme, "https": checked}


# What the server presents


@dataclass(frozen=True)
class Certificate:
    """A certificate that a server presents, trusted or not.

    Attributes:
        der: the certificate itself.
        subject: its subject, such as ``CN=VMBACKUP01``.
        names: the hosts that it is for.
        valid_from, valid_until: when it is valid.
    """

    der: bytes
    subject: str
    names: tuple[str, ...]
    valid_from: datetime
    valid_until: datetime

    @property
    def is_valid_now(self) -> bool:
        """Whether it is valid by the clock of this machine."""
        return self.valid_from <= datetime.now(timezone.utc) <= self.valid_until

    @property
    def validity(self) -> str:
        """When it is valid, as a part of a sentence."""
        return f"from {_shown(self.valid_from)} to {_shown(self.valid_until)}"

    @property
    def names_shown(self) -> str:
        """Its names as a part of a sentence."""
        more = len(self.names) - _MOST_NAMES
        shown = [*self.names[:_MOST_NAMES], *([f"{more} more"] if more > 0 else [])]
        return ", ".join(shown) or "no host"


def fingerprint(der: bytes) -> str:
    """The SHA-256 fingerprint of a certificate, as ``openssl x509 -fingerprint`` shows it."""
    return hashlib.sha256(der).digest().hex(":").upper()


def presented(settings: Settings, timeout: float) -> Certificate:
    """The certificate that the server presents. Nothing but TLS handshakes is sent.

    Args:
        settings: how to reach the server.
        timeout: how many seconds to wait for the connection, and for each part of the handshake.

    Raises:
        ssl.SSLCertVerificationError: TLS cannot use it, even if it is trusted.
        OSError: no certificate came.
    """
    der = presented_der(settings, timeout)
    # The ssl module reads a certificate only if it is trusted.
    context = PinningContext.of([der])
    context.verify_flags |= _NO_CHECK_TIME
    with connect(urlsplit(settings.base_url), context, timeout) as connected:
        found: Any = connected.getpeercert()
    subject = [(key, _printable(text)) for part in found["subject"] for key, text in part]
    return Certificate(
        der=der,
        subject=", ".join(
            f"{'CN' if key == 'commonName' else key}={text}" for key, text in subject
        ),
        names=tuple(_printable(str(name)) for _, name in found.get("subjectAltName", ()))
        or tuple(text for key, text in subject if key == "commonName"),
        valid_from=_time(found["notBefore"]),
        valid_until=_time(found["notAfter"]),
    )


def presented_der(settings: Settings, timeout: float) -> bytes:
    """The same certificate as DER only, whatever it is.

    Raises:
        OSError: no certificate came.
    """
    with connect(urlsplit(settings.base_url), untrusting(), timeout) as connected:
        return connected.getpeercert(binary_form=True) or b""


def untrusting() -> ssl.SSLContext:
    """The TLS context for a look at a server: it takes any certificate, so nothing may be sent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def connect(url: SplitResult, context: ssl.SSLContext, timeout: float) -> ssl.SSLSocket:
    """Connect to a server without a proxy, and do nothing but the TLS handshake.

    Raises:
        OSError: the connection or the handshake failed.
    """
    host = url.hostname or ""
    plain = socket.create_connection((host, port_of(url)), timeout)
    try:
        return context.wrap_socket(plain, server_hostname=host)
    except BaseException:
        plain.close()
        raise


def port_of(url: SplitResult) -> int:
    """The port of an address."""
    return url.port or (443 if url.scheme == "https" else 80)


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)[:_LONGEST_NAME]


def _time(text: str) -> datetime:
    return datetime.fromtimestamp(ssl.cert_time_to_seconds(text), timezone.utc)


def _shown(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC"


# Why it is refused


def refusal(settings: Settings, error: ssl.SSLCertVerificationError) -> UnreachableError:
    """Why the server's certificate is refused, and what to do. Nothing was sent.

    The server is asked for its certificate once more, because Python does not tell which it was.
    """
    base_url = settings.base_url
    certificate = der = None
    pinned: frozenset[bytes] = frozenset()
    patience = min(settings.timeout_seconds, _LONGEST_SECONDS)
    with suppress(OSError, ValueError):  # as behind a proxy
        pinned = trusting(settings.ca_file).pinned if settings.ca_file else pinned
        der = presented_der(settings, patience)
        certificate = presented(settings, patience)
    to_save = settings.to_set(
        "caFile", f"the file that {SAVE_COMMAND} writes", purpose="To trust this certificate only"
    )
    if error.verify_code in _WRONG_NAME:
        is_for = f"is for {certificate.names_shown}" if certificate else "is for another host"
        return UnreachableError(
            f"The certificate of {base_url} {is_for}, not for {urlsplit(base_url).hostname}.",
            to_save,
        )
    if error.verify_code in _WRONG_TIME:
        if certificate and not certificate.is_valid_now:
            then = f" Then save the new one with {SAVE_COMMAND}." if der in pinned else ""
            return UnreachableError(wrong_time(settings, certificate) + then)
        return UnreachableError(
            f"A certificate in the chain of {base_url} is not valid now ({error.verify_message}): "
            "renew it on the server."
        )
    if pinned and der and der not in pinned:
        return UnreachableError(
            f"{base_url} presents another certificate ({_short(der)}) than "
            f"{_those_in(settings.ca_file, pinned)}: either it was renewed, or this is another "
            "server. Compare its fingerprint on the server, and save the new certificate with "
            f"{SAVE_COMMAND}."
        )
    begins = f" Its SHA-256 fingerprint begins with {fingerprint(der)[:23]}." if der else ""
    return UnreachableError(
        f"The certificate of {base_url} is not accepted ({error.verify_message}).{begins}", to_save
    )


def wrong_time(settings: Settings, certificate: Certificate) -> str:
    """What is wrong with a certificate that is not valid now, as a sentence."""
    now = datetime.now(timezone.utc)
    return (
        f"The certificate of {settings.base_url} is valid {certificate.validity}, and the clock of "
        f"this machine says {_shown(now)}: correct the clock, or renew the certificate on the "
        "server."
    )


def _short(der: bytes) -> str:
    return f"SHA-256 {fingerprint(der)[:23]}..."


def _those_in(ca_file: str | None, pinned: frozenset[bytes]) -> str:
    if len(pinned) > _MOST_FINGERPRINTS:
        return f"the {len(pinned)} in {ca_file}"
    which = "the one" if len(pinned) == 1 else f"the {len(pinned)}"
    return f"{which} in {ca_file} ({', '.join(map(_short, sorted(pinned)))})"
