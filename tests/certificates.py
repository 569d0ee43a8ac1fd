"""Certificates as servers make them for themselves, and servers that present them."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from sample import PASSWORD

from pulumi_vmbackup.simulator import Simulator, serve

NOW = datetime.now(timezone.utc)


@dataclass(frozen=True)
class Made:
    """A certificate with its key, as servers make them for themselves."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(Encoding.DER)

    def write_server(self, folder: Path) -> Path:
        file = folder / f"{self.certificate.serial_number}.pem"
        key = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        file.write_bytes(self.pem + key)
        return file


def made(
    computer: str = "VMBACKUP01",
    *,
    key: ec.EllipticCurvePrivateKey | None = None,
    issuer: Made | None = None,
    extensions: tuple[x509.ExtensionType, ...] = (),
    days: tuple[int, int] = (-1, 365),
) -> Made:
    key = key or ec.generate_private_key(ec.SECP256R1())
    attributes = [x509.NameAttribute(x509.NameOID.COMMON_NAME, computer)] if computer else []
    name = x509.Name(attributes)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer.certificate.subject if issuer else name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + timedelta(days[0]))
        .not_valid_after(NOW + timedelta(days[1]))
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return Made(builder.sign(issuer.key if issuer else key, SHA256()), key)


def for_hosts(*hosts: str) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([x509.DNSName(host) for host in hosts])


IS_AUTHORITY = x509.BasicConstraints(ca=True, path_length=None)
IS_NONE = x509.BasicConstraints(ca=False, path_length=None)
PRIVATE_CA = made("Contoso CA", extensions=(IS_AUTHORITY,))


@contextmanager
def serving(certificate: Made, folder: Path) -> Iterator[str]:
    with serve(Simulator(password=PASSWORD), certificate=certificate.write_server(folder)) as url:
        yield url.replace("127.0.0.1", "localhost")


class Recorder:
    """A TLS server that never answers, and what it got after each handshake.

    Attributes:
        received: what came over TLS, or over plain TCP, by connection.
    """

    def __init__(self, certificate: Path) -> None:
        self.received: list[bytes] = []
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._record)
        self._thread.start()

    def close(self) -> None:
        with suppress(OSError):  # Linux ends the wait for a connection by this, Windows by close
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _record(self) -> None:
        with suppress(OSError):
            while True:
                with self._listener.accept()[0] as plain:
                    plain.settimeout(10)
                    got = b""
                    with suppress(OSError):
                        if plain.recv(1, socket.MSG_PEEK) != b"\x16":  # not a handshake
                            got = plain.recv(65536)
                        with self._context.wrap_socket(plain, server_side=True) as connected:
                            got += connected.recv(65536)
                    self.received.append(got)


@contextmanager
def recording(certificate: Made, folder: Path) -> Iterator[Recorder]:
    recorder = Recorder(certificate.write_server(folder))
    try:
        yield recorder
    finally:
        recorder.close()
