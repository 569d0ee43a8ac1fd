"""certificates.py: which files are trusted, and what is said of the others."""

from __future__ import annotations

import codecs
import re
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    load_pem_private_key,
    pkcs7,
    pkcs12,
)
from cryptography.x509 import load_pem_x509_certificate
from sample import PASSWORD

from pulumi_vmbackup.catalog import Lists
from pulumi_vmbackup.certificates import trusting
from pulumi_vmbackup.client import Client
from pulumi_vmbackup.command.wording import worded
from pulumi_vmbackup.errors import SettingsError, UnreachableError
from pulumi_vmbackup.settings import Settings, read_settings
from pulumi_vmbackup.simulator import Simulator, serve

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
