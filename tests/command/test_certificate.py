"""``vmbackup doctor --save-certificate``: what it shows, asks and writes."""

from __future__ import annotations

import logging
import os
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from certificates import (
    IS_AUTHORITY,
    PRIVATE_CA,
    Made,
    for_hosts,
    made,
    recording,
    serving,
)
from click.testing import CliRunner, Result
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import ExtendedKeyUsageOID
from sample import PASSWORD

from pulumi_vmbackup.command.group import vmbackup
from pulumi_vmbackup.tls import fingerprint

log = logging.getLogger(__name__)

SELF_SIGNED = made(extensions=(for_hosts("VMBACKUP01", "vmbackup01.contoso.example"),))


def run(*arguments: str, answer: str = "") -> Result:
    result = CliRunner().invoke(vmbackup, arguments, input=answer)
    log.debug("%s", result.output)
    assert isinstance(result.exception, SystemExit | None)
    return result


def save(file: Path | str, *options: str, answer: str = "") -> Result:
    return run("doctor", "--save-certificate", str(file), *options, answer=answer)


@pytest.fixture
def url(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with serving(SELF_SIGNED, tmp_path) as url:
        monkeypatch.setenv("VMBACKUP_BASE_URL", url)
        yield url


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "vmbackup.pem"


def test_the_certificate_is_shown_and_written_after_a_yes(url: str, file: Path) -> None:
    result = save(file, answer="y\n")
    assert result.exit_code == 0
    shown = result.stdout.splitlines()
    certificate = SELF_SIGNED.certificate
    start, end = (
        f"{time:%Y-%m-%d %H:%M} UTC"
        for time in (certificate.not_valid_before_utc, certificate.not_valid_after_utc)
    )
    assert shown[:6] == [
        f"{url} presents this certificate:",
        "  subject  CN=VMBACKUP01",
        "  names    VMBACKUP01, vmbackup01.contoso.example",
        f"  valid    from {start} to {end}",
        f"  SHA-256  {fingerprint(SELF_SIGNED.der)}",
        "Compare the fingerprint with the server's own before you trust it. In PowerShell on the "
        "VM Backup machine, this shows it (if the API listens at port 36013 there):",
    ]
    assert shown[6].strip() == '$tcp = New-Object Net.Sockets.TcpClient("localhost", 36013)'
    assert shown[-2].strip() == '[BitConverter]::ToString($sha).Replace("-", ":")'
    assert shown[-1] == (
        f"Wrote {file}. To trust this certificate, give --ca-file or set VMBACKUP_CA_FILE to "
        f"{file}."
    )
    assert result.stderr.startswith(
        f"Does the server show the same fingerprint, and shall {file} be written? [y/N]: "
    )
    assert file.read_bytes() == SELF_SIGNED.pem


def test_the_fingerprint_is_the_one_that_other_tools_show() -> None:
    shown = SELF_SIGNED.certificate.fingerprint(SHA256()).hex(":").upper()
    assert fingerprint(SELF_SIGNED.der) == shown


@pytest.mark.usefixtures("url")
def test_with_the_file_doctor_and_all_commands_work(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VMBACKUP_USERNAME", "Administrator")
    monkeypatch.setenv("VMBACKUP_PASSWORD", PASSWORD)
    assert run("doctor").exit_code == 1
    save(file, answer="y\n")
    monkeypatch.setenv("VMBACKUP_CA_FILE", str(file))
    result = run("doctor")
    assert result.exit_code == 0
    shown = f"it is the one in {file}, with the fingerprint {fingerprint(SELF_SIGNED.der)}"
    assert f"ok     certificate  {shown}\n" in result.stdout
    for command in ("vms", "locations", "assignments", "snapshot --output -"):
        assert run(*command.split()).exit_code == 0


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("", "Nobody said yes, so {} was not written."),
        ("n\n", "The answer was no, so {} was not written."),
        ("\n", "The answer was no, so {} was not written."),
        ("what\n", "Nobody said yes, so {} was not written."),
    ],
)
@pytest.mark.usefixtures("url")
def test_without_a_yes_nothing_is_written(answer: str, says: str, file: Path) -> None:
    result = save(file, answer=answer)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == f"vmbackup: {says.format(file)}"
    assert not file.exists()


@pytest.mark.usefixtures("url")
def test_a_process_without_a_terminal_ends_with_a_sentence(file: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pulumi_vmbackup.command",
            "doctor",
            "--save-certificate",
            str(file),
        ],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env=dict(os.environ),
    )
    assert done.returncode == 1
    assert done.stderr.endswith(f"\nvmbackup: Nobody said yes, so {file} was not written.\n")
    assert "Traceback" not in done.stderr
    assert not file.exists()


@pytest.mark.usefixtures("url")
def test_the_question_says_that_a_file_is_replaced(file: Path) -> None:
    file.write_text("old")
    refused = save(file, answer="n\n")
    assert f"and shall {file}, which exists, be replaced? [y/N]: " in refused.stderr
    assert file.read_text() == "old"
    assert save(file, answer="y\n").exit_code == 0
    assert file.read_bytes() == SELF_SIGNED.pem


def test_a_renewed_certificate_is_noticed_and_saved_over_the_old_one(
    url: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = made()
    file.write_bytes(old.pem)
    monkeypatch.setenv("VMBACKUP_CA_FILE", str(file))
    monkeypatch.setenv("VMBACKUP_USERNAME", "Administrator")
    monkeypatch.setenv("VMBACKUP_PASSWORD", PASSWORD)
    says = (
        f"{url} presents another certificate (SHA-256 {fingerprint(SELF_SIGNED.der)[:23]}...) than "
        f"the one in {file} (SHA-256 {fingerprint(old.der)[:23]}...): either it was renewed, or "
        "this is another server. Compare its fingerprint on the server, and save the new "
        "certificate with `vmbackup doctor --save-certificate FILE`."
    )
    assert says in run("vms").stderr
    assert says in run("doctor").stdout
    saved = save(file, answer="y\n")
    assert saved.stdout.endswith(
        f"To trust this certificate, set VMBACKUP_CA_FILE in the environment to {file}.\n"
    )
    assert run("doctor").exit_code == 0


@pytest.mark.parametrize("ca_file", ["missing.pem", "empty.pem", "."])
@pytest.mark.usefixtures("url")
def test_the_setting_may_name_the_file_before_it_is_written(
    ca_file: str, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (file.parent / "empty.pem").touch()
    monkeypatch.chdir(file.parent)
    monkeypatch.setenv("VMBACKUP_CA_FILE", ca_file)
    assert save(file, answer="y\n").exit_code == 0
    assert save(file, "--ca-file", ca_file, answer="y\n").exit_code == 0


@pytest.mark.parametrize("variable", ["USERNAME", "PASSWORD", "SESSION_TOKEN"])
def test_it_needs_no_credentials_and_sends_nothing_but_handshakes(
    variable: str, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"VMBACKUP_{variable}", "no token, and no password")
    with recording(SELF_SIGNED, tmp_path) as recorder:
        address = f"https://localhost:{recorder.port}/api/rest"
        assert save(file, "--base-url", address, answer="y\n").exit_code == 0
    assert recorder.received == [b"", b""]


@pytest.mark.parametrize(
    "certificate",
    [
        made(extensions=(IS_AUTHORITY,)),
        made(issuer=PRIVATE_CA),
        made(""),
        made("Müller\x1b[31m"),
    ],
    ids=["authority", "issued", "no name", "control characters"],
)
def test_each_kind_of_certificate_is_shown_and_saved(
    certificate: Made, file: Path, tmp_path: Path
) -> None:
    with serving(certificate, tmp_path) as address:
        result = save(file, "--base-url", address, answer="y\n")
        assert result.exit_code == 0
        assert "\x1b" not in result.output
        options = ["--base-url", address, "--ca-file", str(file), "--username", "Administrator"]
        assert "ok     certificate  it is the one in " in run("doctor", *options).stdout
    assert file.read_bytes() == certificate.pem


@pytest.mark.parametrize("days", [(-30, -1), (1, 30)])
def test_a_certificate_that_is_not_valid_now_is_not_saved(
    days: tuple[int, int], file: Path, tmp_path: Path
) -> None:
    with serving(made(days=days), tmp_path) as address:
        result = save(file, "--base-url", address, answer="y\n")
    assert result.exit_code == 1
    assert f"vmbackup: The certificate of {address} is valid from " in result.stderr
    assert "correct the clock, or renew the certificate on the server." in result.stderr
    assert not file.exists()


def test_a_certificate_that_no_client_can_use_is_not_saved(file: Path, tmp_path: Path) -> None:
    for_clients = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
    with serving(made(extensions=(for_clients,)), tmp_path) as address:
        result = save(file, "--base-url", address, answer="y\n")
    assert result.stderr == (
        f"vmbackup: The certificate of {address} cannot be used (unsuitable certificate purpose), "
        "so it is not saved: give the server another one.\n"
    )
    assert not file.exists()


def test_plain_http_has_no_certificate(base_url: str, file: Path) -> None:
    result = save(file, "--base-url", base_url, answer="y\n")
    assert result.exit_code == 1
    assert result.stderr == (
        f"vmbackup: {base_url} is plain http, so its server presents no certificate: "
        "--save-certificate needs an address with https://. `vmbackup doctor` without it says what "
        "the port speaks. Give --base-url or set VMBACKUP_BASE_URL, to that address.\n"
    )


def test_an_address_without_a_certificate_is_one_sentence(base_url: str, file: Path) -> None:
    for address in (base_url.replace("http:", "https:"), "https://vmb01.invalid:36013/api/rest"):
        result = save(file, "--base-url", address, answer="y\n")
        assert result.exit_code == 1
        assert result.stderr.startswith(f"vmbackup: No certificate came from {address} (")
        assert "run `vmbackup doctor` without --save-certificate" in result.stderr


@pytest.mark.usefixtures("url")
def test_a_file_that_cannot_be_written_is_said_before_the_question(tmp_path: Path) -> None:
    result = save(tmp_path / "missing" / "vmbackup.pem", answer="y\n")
    assert result.stderr == (
        f"vmbackup: There is no folder {tmp_path / 'missing'} for --save-certificate: create it "
        "first.\n"
    )
    assert result.stdout == ""


@pytest.mark.usefixtures("url")
def test_what_is_saved_is_pem_with_this_certificate_only(file: Path) -> None:
    save(file, answer="y\n")
    assert ssl.PEM_cert_to_DER_cert(file.read_text("ascii")) == SELF_SIGNED.der
