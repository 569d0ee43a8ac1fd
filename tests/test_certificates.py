"""certificates.py and tls.py: what is trusted, before anything is sent, and what is said if not."""

from __future__ import annotations

import codecs
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path

import pytest
import trustme
from certificates import (
    IS_AUTHORITY,
    IS_NONE,
    NOW,
    PRIVATE_CA,
    Made,
    for_hosts,
    made,
    recording,
    serving,
)
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    load_pem_private_key,
    pkcs7,
    pkcs12,
)
from cryptography.x509 import load_pem_x509_certificate
from sample import OFFSITE01, PASSWORD, SQL01

from pulumi_vmbackup.catalog import Lists
from pulumi_vmbackup.certificates import trusting
from pulumi_vmbackup.client import Client
from pulumi_vmbackup.command.wording import worded
from pulumi_vmbackup.errors import NoAnswerError, SettingsError, UnreachableError
from pulumi_vmbackup.settings import Settings, read_settings
from pulumi_vmbackup.simulator import Simulator, serve
from pulumi_vmbackup.tls import fingerprint

AUTHORITY, OTHER = trustme.CA(), trustme.CA()
PEM, OTHER_PEM = (authority.cert_pem.bytes() for authority in (AUTHORITY, OTHER))
KEY = AUTHORITY.private_key_pem.bytes()
DER = ssl.PEM_cert_to_DER_cert(PEM.decode())
CERTIFICATE = load_pem_x509_certificate(PEM)


@pytest.fixture(scope="module")
def https_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    certificate = tmp_path_factory.mktemp("server") / "certificate.pem"
    issued = AUTHORITY.issue_cert("127.0.0.1").private_key_and_cert_chain_pem
    issued.write_to_path(str(certificate))
    with serve(Simulator(password=PASSWORD), certificate=certificate) as url:
        yield url


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "vmbackup.cer"


def in_utf16(pem: bytes) -> bytes:
    return codecs.BOM_UTF16_LE + pem.decode().replace("\n", "\r\n").encode("utf-16-le")


def settings(https_url: str, file: Path) -> Settings:
    given = {"VMBACKUP_BASE_URL": https_url, "VMBACKUP_CA_FILE": str(file)}
    account = {"VMBACKUP_USERNAME": "Administrator", "VMBACKUP_PASSWORD": PASSWORD}
    return read_settings(lambda _: None, {**given, **account})


@pytest.mark.parametrize(
    "content",
    [
        PEM,
        PEM.replace(b"\n", b"\r\n"),
        DER,
        codecs.BOM_UTF8 + PEM,
        in_utf16(PEM),
        codecs.BOM_UTF8 + PEM + OTHER_PEM,
        in_utf16(OTHER_PEM + PEM),
        "# M\u00fcller\n".encode("latin-1") + PEM,
        codecs.BOM_UTF8 + "# M\u00fcller\n".encode() + PEM,
        KEY + PEM,
    ],
    ids=range(10),
)
def test_a_certificate_is_trusted_in_each_form_that_windows_writes(
    content: bytes, https_url: str, file: Path
) -> None:
    file.write_bytes(content)
    with Client(settings(https_url, file)) as client:
        assert len(Lists().get("virtual machines", client)) == 8


@pytest.mark.parametrize("content", [OTHER_PEM, codecs.BOM_UTF8 + OTHER_PEM, in_utf16(OTHER_PEM)])
def test_nothing_but_the_file_is_trusted(content: bytes, https_url: str, file: Path) -> None:
    file.write_bytes(content)
    with (
        Client(settings(https_url, file)) as client,
        pytest.raises(UnreachableError, match="certificate"),
    ):
        client.log_in()
    assert trusting(str(file)).cert_store_stats()["x509"] == 1


def pfx() -> bytes:
    key = load_pem_private_key(KEY, None)
    return pkcs12.serialize_key_and_certificates(
        b"vmbackup",
        key,  # type: ignore[arg-type]  # one of the kinds that trustme makes
        CERTIFICATE,
        None,
        BestAvailableEncryption(b"x"),
    )


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: b"", "is empty: "),
        (lambda: codecs.BOM_UTF8, "is empty: "),
        (lambda: codecs.BOM_UTF16_LE + b"\r\0\n\0", "is empty: "),
        (lambda: KEY, "holds a private key only, which belongs on the server: "),
        (lambda: in_utf16(KEY), "holds a private key only, which belongs on the server: "),
        (pfx, "is a PKCS #12 file (.pfx), which holds a private key too: "),
        (
            lambda: pkcs7.serialize_certificates([CERTIFICATE], Encoding.DER),
            "is a PKCS #7 file (.p7b), which is not read: ",
        ),
        (
            lambda: pkcs7.serialize_certificates([CERTIFICATE], Encoding.PEM),
            "is a PKCS #7 file (.p7b), which is not read: ",
        ),
        (
            lambda: PEM.replace(b"CERTIFICATE-", b"CERTIFICATE REQUEST-"),
            "holds a request for a certificate only: ",
        ),
        (lambda: DER[:-5], "holds no certificate that can be read: "),
        (lambda: PEM[:200], "holds no certificate that can be read: "),
        (lambda: codecs.BOM_UTF8 + PEM[:200], "holds no certificate that can be read: "),
        (lambda: b"<html>404</html>", "holds no certificate that can be read: "),
        (lambda: b"\xff\xfe\xfa", "holds no certificate that can be read: "),
    ],
    ids=range(14),
)
def test_a_file_of_another_kind_is_one_sentence_that_says_what_it_is_and_what_to_do(
    make: Callable[[], bytes], says: str, https_url: str, file: Path
) -> None:
    file.write_bytes(make())
    with pytest.raises(SettingsError) as raised:
        settings(https_url, file)
    assert str(raised.value) == (
        f"The value '{file}' of VMBACKUP_CA_FILE in the environment {says}export the certificate "
        'as "Base-64 encoded X.509 (.CER)", which is PEM.'
    )


def test_a_path_is_taken_as_windows_gives_it(
    https_url: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_bytes(PEM)
    monkeypatch.setenv("HOME", str(file.parent))
    monkeypatch.setenv("USERPROFILE", str(file.parent))
    for text in (f'"{file}"', f"~/{file.name}", f'"~/{file.name}"'):
        assert settings(https_url, Path(text)).ca_file == str(file)


def test_a_folder_and_a_variable_get_a_clear_answer(
    https_url: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SettingsError, match=re.escape(f"is a folder ({file.parent}): give the")):
        settings(https_url, file.parent)
    monkeypatch.chdir(file.parent)
    for text in (r"%USERPROFILE%\vmbackup.cer", "$HOME/vmbackup.cer", "$env:TEMP/vmbackup.cer"):
        with pytest.raises(SettingsError) as raised:
            settings(https_url, Path(text))
        assert f"is not a file (looked for {Path(text).absolute()}): give the " in str(raised.value)
        assert str(raised.value).endswith(
            "; variables in it are not replaced, only ~ at its beginning."
        )


def test_a_damaged_certificate_in_the_store_of_windows_is_no_traceback(
    https_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*_: object) -> None:
        raise ssl.SSLError(1, "not enough data: cadata does not contain a certificate")

    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", load)
    with pytest.raises(SettingsError) as raised:
        Client(Settings(base_url=https_url))
    assert worded(raised.value) == (
        "The certificates that this system holds cannot be read (not enough data: cadata does not "
        "contain a certificate). Give --ca-file or set VMBACKUP_CA_FILE, to a PEM file with the "
        "certificate of the server."
    )


# The exact certificate in the file


def count_vms(url: str, file: Path) -> int:
    with Client(settings(url, file)) as client:
        return len(client.virtual_machines())


def failure(url: str, file: Path) -> UnreachableError:
    with Client(settings(url, file)) as client, pytest.raises(UnreachableError) as raised:
        client.log_in()
    return raised.value


@pytest.mark.parametrize(
    "certificate",
    [
        made(),
        made(extensions=(IS_AUTHORITY,)),
        made(extensions=(IS_NONE, for_hosts("VMBACKUP01", "vmbackup01.contoso.example"))),
        made(issuer=PRIVATE_CA),
        made(issuer=PRIVATE_CA, extensions=(IS_NONE, for_hosts("vmbackup01.contoso.example"))),
        made(""),
    ],
    ids=["only a CN", "an authority", "other hosts", "issued", "issued for others", "no name"],
)
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_the_exact_certificate_is_trusted_whatever_its_names_are(
    certificate: Made, host: str, file: Path, tmp_path: Path
) -> None:
    file.write_bytes(certificate.pem)
    with serving(certificate, tmp_path) as url:
        assert count_vms(url.replace("localhost", host), file) == 8


@pytest.mark.parametrize(
    "content",
    [
        lambda it: it.der,
        lambda it: in_utf16(it.pem),
        lambda it: codecs.BOM_UTF8 + it.pem,
        lambda it: it.pem.replace(b"\n", b"\r\n"),
        lambda it: b"Server certificate\n" + OTHER_PEM + it.pem + PEM,
        lambda it: in_utf16(OTHER_PEM + it.pem),
        lambda it: DER + it.der + ssl.PEM_cert_to_DER_cert(OTHER_PEM.decode()),
        lambda it: it.pem.replace(b" CERT", b" X509 CERT"),
    ],
    ids=range(8),
)
def test_the_exact_certificate_may_be_in_a_file_of_each_form(
    content: Callable[[Made], bytes], file: Path, tmp_path: Path
) -> None:
    certificate = made(issuer=PRIVATE_CA)
    file.write_bytes(content(certificate))
    with serving(certificate, tmp_path) as url:
        assert count_vms(url, file) == 8


ONE_KEY = ec.generate_private_key(ec.SECP256R1())


@pytest.mark.parametrize(
    ("in_file", "in_use"),
    [
        (made(), made()),
        (made(key=ONE_KEY), made(key=ONE_KEY)),
        (made(extensions=(IS_AUTHORITY,)), made(extensions=(IS_AUTHORITY,))),
        (made(key=ONE_KEY, extensions=(IS_AUTHORITY,)), made(key=ONE_KEY)),
        (made(issuer=PRIVATE_CA), made(issuer=PRIVATE_CA)),
        (made(extensions=(for_hosts("localhost"),)), made(extensions=(for_hosts("localhost"),))),
    ],
    ids=["self-signed", "same key", "authority", "same key, no CA", "issued", "right name"],
)
def test_another_certificate_with_the_same_name_is_refused_and_both_are_shown(
    in_file: Made, in_use: Made, file: Path, tmp_path: Path
) -> None:
    file.write_bytes(in_file.pem)
    with serving(in_use, tmp_path) as url:
        error = failure(url, file)
    assert worded(error) == (
        f"{url} presents another certificate (SHA-256 {fingerprint(in_use.der)[:23]}...) than the "
        f"one in {file} (SHA-256 {fingerprint(in_file.der)[:23]}...): either it was renewed, or "
        "this is another server. Compare its fingerprint on the server, and save the new "
        "certificate with `vmbackup doctor --save-certificate FILE`."
    )


def test_of_a_file_with_many_certificates_their_number_is_shown(file: Path, tmp_path: Path) -> None:
    file.write_bytes(b"".join(made().pem for _ in range(4)))
    with serving(made(), tmp_path) as url:
        assert f" than the 4 in {file}: either it was renewed" in str(failure(url, file))


@pytest.mark.parametrize(
    ("hosts", "host"),
    [(["localhost"], "localhost"), (["*.contoso.example"], "localhost"), ([], "127.0.0.1")],
)
def test_the_names_of_a_certificate_that_an_authority_in_the_file_issued_are_compared(
    hosts: list[str], host: str, file: Path, tmp_path: Path
) -> None:
    file.write_bytes(PRIVATE_CA.pem)
    certificate = made(issuer=PRIVATE_CA, extensions=(for_hosts(*hosts),) if hosts else ())
    with serving(certificate, tmp_path) as url:
        if hosts == [host]:
            assert count_vms(url, file) == 8
            return
        address = url.replace("localhost", host)
        error = failure(address, file)
    assert worded(error) == (
        f"The certificate of {address} is for {', '.join(hosts) or 'VMBACKUP01'}, not for {host}. "
        "To trust this certificate only, give --ca-file or set VMBACKUP_CA_FILE, to the file that "
        "`vmbackup doctor --save-certificate FILE` writes."
    )


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_without_a_file_the_systems_trust_and_the_names_count(
    host: str, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_bytes(PRIVATE_CA.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))  # what OpenSSL takes for the system's
    certificate = made(issuer=PRIVATE_CA, extensions=(for_hosts("localhost"),))
    with serving(certificate, tmp_path) as url:
        given = replace(settings(url, file), ca_file=None, base_url=url.replace("localhost", host))
        with Client(given) as client:
            if host == "localhost":
                assert client.virtual_machines()
                return
            with pytest.raises(UnreachableError, match=r"is for localhost, not for 127\.0\.0\.1"):
                client.log_in()


@pytest.mark.parametrize(
    ("certificate", "shown"),
    [
        (made("VM\nBACKUP\x1b[31m", issuer=PRIVATE_CA), "VM BACKUP [31m"),
        (
            made(issuer=PRIVATE_CA, extensions=(for_hosts(*(f"vm{n}" for n in range(9))),)),
            "vm0, vm1, vm2, vm3, vm4, 4 more",
        ),
    ],
    ids=["control characters", "many names"],
)
def test_the_names_of_a_certificate_are_shown_on_one_short_line(
    certificate: Made, shown: str, file: Path, tmp_path: Path
) -> None:
    file.write_bytes(PRIVATE_CA.pem)
    with serving(certificate, tmp_path) as url:
        error = failure(url, file)
    assert str(error) == f"The certificate of {url} is for {shown}, not for localhost."


def test_a_file_that_is_gone_meanwhile_is_no_traceback(file: Path, tmp_path: Path) -> None:
    file.write_bytes(made().pem)
    with serving(made(), tmp_path) as url, Client(settings(url, file)) as client:
        file.unlink()
        with pytest.raises(UnreachableError, match="is not accepted"):
            client.log_in()


def test_a_common_name_counts_where_there_is_no_other_name_as_before(
    file: Path, tmp_path: Path
) -> None:
    file.write_bytes(PRIVATE_CA.pem)
    with serving(made("localhost", issuer=PRIVATE_CA), tmp_path) as url:
        assert count_vms(url, file) == 8


@pytest.mark.parametrize("days", [(-30, -1), (1, 30)], ids=["over", "not yet"])
@pytest.mark.parametrize("in_file", ["itself", "its issuer"])
def test_the_exact_certificate_is_trusted_only_while_it_is_valid(
    days: tuple[int, int], in_file: str, file: Path, tmp_path: Path
) -> None:
    certificate = made(issuer=PRIVATE_CA, extensions=(for_hosts("localhost"),), days=days)
    file.write_bytes(certificate.pem if in_file == "itself" else PRIVATE_CA.pem)
    with serving(certificate, tmp_path) as url:
        error = failure(url, file)
    start, end = (f"{NOW + timedelta(each):%Y-%m-%d %H:%M} UTC" for each in days)
    assert str(error).startswith(
        f"The certificate of {url} is valid from {start} to {end}, and the clock of this machine "
        f"says {datetime.now(timezone.utc):%Y-%m-%d }"
    )
    then = " Then save the new one with `vmbackup doctor --save-certificate FILE`."
    assert str(error).endswith(
        "correct the clock, or renew the certificate on the server."
        + (then if in_file == "itself" else "")
    )


@pytest.mark.parametrize(
    ("in_file", "in_use"),
    [
        (PRIVATE_CA, made(issuer=PRIVATE_CA, extensions=(for_hosts("vmbackup01"),))),
        (made(), made()),
        (made(days=(-30, -1)), None),
    ],
    ids=["wrong name", "another", "over"],
)
@pytest.mark.parametrize("token", [None, "b0a5ab9c-8d0b-4f5e-bd0c-6a4d51a3ac7e"])
def test_not_a_byte_is_sent_to_a_server_whose_certificate_is_refused(
    in_file: Made, in_use: Made | None, token: str | None, file: Path, tmp_path: Path
) -> None:
    file.write_bytes(in_file.pem)
    with recording(in_use or in_file, tmp_path) as recorder:
        given = replace(
            settings(f"https://localhost:{recorder.port}/api/rest", file), session_token=token
        )
        with Client(given) as client, pytest.raises(UnreachableError):
            client.assign(SQL01, OFFSITE01)
    assert len(recorder.received) > 1
    assert set(recorder.received) == {b""}


def test_a_server_whose_certificate_is_in_the_file_gets_the_login(
    file: Path, tmp_path: Path
) -> None:
    certificate = made()
    file.write_bytes(certificate.pem)
    with recording(certificate, tmp_path) as recorder:
        given = settings(f"https://localhost:{recorder.port}/api/rest", file)
        with Client(given) as client, pytest.raises(NoAnswerError):
            client.log_in()
    assert recorder.received[0].startswith(b"POST /api/rest/sessions/start HTTP/1.1\r\n")


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], str]]:
    """A proxy on the way to a server: takes its address, and gives the one behind the proxy."""
    target: list[int] = []

    def pass_on(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def serve_proxy(listener: socket.socket) -> None:
        with suppress(OSError):
            while True:
                with (
                    listener.accept()[0] as client,
                    socket.create_connection(("127.0.0.1", target[0])) as server,
                ):
                    assert client.recv(65536).startswith(b"CONNECT vmb01.invalid:36013 ")
                    client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                    back = threading.Thread(target=pass_on, args=(server, client))
                    back.start()
                    pass_on(client, server)
                    back.join()

    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=serve_proxy, args=(listener,))
    thread.start()
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{listener.getsockname()[1]}")

    def behind(url: str) -> str:
        target.append(int(url.split(":")[2].partition("/")[0]))
        return "https://vmb01.invalid:36013/api/rest"

    yield behind
    with suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def test_the_exact_certificate_is_trusted_through_a_proxy(
    proxy: Callable[[str], str], file: Path, tmp_path: Path
) -> None:
    certificate = made()
    file.write_bytes(certificate.pem)
    with serving(certificate, tmp_path) as url:
        given = replace(settings(proxy(url), file), host_header="localhost")
        with Client(given) as client:
            assert len(client.virtual_machines()) == 8


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "vmb02.invalid"])
def test_through_a_proxy_the_name_of_the_server_is_compared_and_not_that_of_the_proxy(
    name: str, proxy: Callable[[str], str], file: Path, tmp_path: Path
) -> None:
    address = x509.IPAddress(ip_address("127.0.0.1"))
    names = address if name == "127.0.0.1" else x509.DNSName(name)
    certificate = made(issuer=PRIVATE_CA, extensions=(x509.SubjectAlternativeName([names]),))
    file.write_bytes(PRIVATE_CA.pem)
    with recording(certificate, tmp_path) as recorder:
        error = failure(proxy(f"https://localhost:{recorder.port}/api"), file)
    assert str(error).endswith("is for another host, not for vmb01.invalid.")
    assert set(recorder.received) == {b""}
