"""``vmbackup doctor --save-certificate``: saves the server's certificate as the one to trust."""

from __future__ import annotations

import ssl
from urllib.parse import urlsplit

import click
from rich.text import Text

from ..errors import ArgumentError, SettingsError, UnreachableError
from ..settings import SECRET_SETTINGS, VERSIONS, Settings
from ..tls import Certificate, fingerprint, presented, wrong_time
from .connection import Connection
from .output import check_file, print_output, write_file
from .wording import one_line, where_to_set

_OPTION = "--save-certificate"
# Neither is needed, and the file may be the one that is still to be written.
_UNUSED = ("caFile", "username", *SECRET_SETTINGS)
# Windows PowerShell 5.1 has no shorter way.
_FINGERPRINT_ON_SERVER = """\
$tcp = New-Object Net.Sockets.TcpClient("localhost", {port})
$any = {{$true}} -as [Net.Security.RemoteCertificateValidationCallback]
$tls = New-Object Net.Security.SslStream($tcp.GetStream(), $false, $any)
$tls.AuthenticateAsClient("localhost", $null, "Tls12", $false)
$der = $tls.RemoteCertificate.GetRawCertData()
$sha = [Security.Cryptography.SHA256]::Create().ComputeHash($der)
[BitConverter]::ToString($sha).Replace("-", ":")
"""


def save_certificate(connection: Connection, name: str) -> None:
    """Show the certificate that the server presents, and write it after a yes.

    It needs no credentials, and sends nothing but TLS handshakes.

    Args:
        connection: leads to the server.
        name: the file to write.
    """
    file = check_file(name, _OPTION)
    settings, sources = connection.read(without=_UNUSED)
    certificate = _presented(settings)
    _show(settings, certificate)
    exists = ", which exists, be replaced" if file.exists() else " be written"
    question = f"Does the server show the same fingerprint, and shall {file}{exists}?"
    try:
        is_yes = click.confirm(question, err=True)
    except click.Abort:  # also where there is no terminal
        click.echo(err=True)
        raise ArgumentError(f"Nobody said yes, so {file} was not written.") from None
    if not is_yes:
        raise ArgumentError(f"The answer was no, so {file} was not written.")
    write_file(file, ssl.DER_cert_to_PEM_cert(certificate.der), _OPTION)
    to_set = where_to_set(settings.to_set("caFile", str(file)), sources)
    print_output(Text(one_line(f"Wrote {file}. To trust this certificate, {to_set}.")))


def _presented(settings: Settings) -> Certificate:
    base_url = settings.base_url
    if not base_url.startswith("https:"):
        raise SettingsError(
            f"{base_url} is plain http, so its server presents no certificate: {_OPTION} needs an "
            "address with https://. `vmbackup doctor` without it says what the port speaks.",
            settings.to_set("baseUrl", "that address"),
        )
    try:
        certificate = presented(settings, settings.timeout_seconds)
    except ssl.SSLCertVerificationError as error:
        raise UnreachableError(
            f"The certificate of {base_url} cannot be used ({error.verify_message}), so it is not "
            "saved: give the server another one."
        ) from None
    except OSError as error:
        reason = getattr(error, "reason", None) or error.strerror or error
        raise UnreachableError(
            f"No certificate came from {base_url} ({reason}): run `vmbackup doctor` without "
            f"{_OPTION}, which finds the reason."
        ) from None
    if not certificate.is_valid_now:
        raise UnreachableError(wrong_time(settings, certificate))
    return certificate


def _show(settings: Settings, certificate: Certificate) -> None:
    lines = {
        "subject": certificate.subject or "none",
        "names": ", ".join(certificate.names) or "none",
        "valid": certificate.validity,
        "SHA-256": fingerprint(certificate.der),
    }
    print_output(Text(f"{settings.base_url} presents this certificate:"))
    for label, text in lines.items():
        print_output(Text(f"  {label:8} {one_line(text)}"))
    # Through a tunnel, the server's own port is the documented one.
    port = urlsplit(VERSIONS[settings.api_version].base_url).port
    print_output(
        Text(
            "Compare the fingerprint with the server's own before you trust it. In PowerShell on "
            f"the VM Backup machine, this shows it (if the API listens at port {port} there):"
        )
    )
    for line in _FINGERPRINT_ON_SERVER.format(port=port).splitlines():
        print_output(Text(f"  {line}"))
