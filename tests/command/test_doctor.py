"""``vmbackup doctor``: which cause it names, for each thing that can be wrong on the way."""

from __future__ import annotations

import json
import logging
import platform
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest
import requests
import trustme
from click.testing import CliRunner
from sample import DC01, PASSWORD
from simulator.caller import Caller

from pulumi_vmbackup.command.group import vmbackup
from pulumi_vmbackup.settings import VERSIONS
from pulumi_vmbackup.simulator import Behavior, Fault, Simulator, serve

log = logging.getLogger(__name__)

pytestmark = pytest.mark.usefixtures("login")

STEPS = ["settings", "name", "port", "protocol", "Host header", "API", "login", "listing"]
STEPS += ["assignments", "logout"]
TLS_STEPS = [*STEPS[:4], "certificate", *STEPS[4:]]


class Doctor:
    """Runs the command and reads its lines."""

    def __init__(self) -> None:
        self.output = ""

    def __call__(self, *options: str) -> tuple[list[str], str]:
        """The steps that went well, and the text of the one that failed with its advice."""
        result = CliRunner().invoke(vmbackup, ["doctor", *options])
        assert result.stderr == ""
        assert isinstance(result.exception, SystemExit | None)
        log.debug("%s", result.output)
        self.output = result.stdout
        good: list[str] = []
        failed: list[str] = []
        for line in result.stdout.splitlines():
            if line.startswith("ok     "):
                assert not failed
                good.append(line[7:20].strip())
            else:
                failed.append(line.removeprefix("failed").strip())
        assert len(failed) in (0, 2)
        assert result.exit_code == (1 if failed else 0)
        return good, " | ".join(" ".join(text.split()) for text in failed)


@pytest.fixture
def doctor() -> Doctor:
    return Doctor()


@pytest.fixture
def closed_port() -> Iterator[Callable[[], int]]:
    """Makes ports at which nothing listens, and which nothing else can take."""
    taken: list[socket.socket] = []

    def closed_port() -> int:
        taken.append(socket.socket())
        taken[-1].bind(("127.0.0.1", 0))
        return int(taken[-1].getsockname()[1])

    yield closed_port
    for each in taken:
        each.close()


@pytest.fixture(autouse=True)
def documented(closed_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Moves the documented addresses away from what may run on the machine of the tests."""
    for version in VERSIONS:
        is_at(version, closed_port(), monkeypatch)


def is_at(version: str, port: int, monkeypatch: pytest.MonkeyPatch) -> str:
    path = {"8": "/api", "9.0": "/api", "9.1": "/api/rest"}[version]
    moved = VERSIONS[version]._replace(base_url=f"http://localhost:{port}{path}")
    monkeypatch.setitem(VERSIONS, version, moved)
    return moved.base_url


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def https_url(simulator: Simulator, authority: trustme.CA, tmp_path: Path) -> Iterator[str]:
    certificate = tmp_path / "certificate.pem"
    authority.issue_cert("127.0.0.1", "localhost").private_key_and_cert_chain_pem.write_to_path(
        str(certificate)
    )
    with serve(simulator, certificate=certificate) as url:
        yield url


def path_of(authority: trustme.CA, folder: Path) -> str:
    file = folder / "authority.pem"
    authority.cert_pem.write_to_path(str(file))
    return str(file)


# Success


def test_each_step_is_shown_up_to_the_listing(
    doctor: Doctor, base_url: str, simulator: Simulator
) -> None:
    assert doctor() == (STEPS, "")
    port = base_url.split(":")[2].partition("/")[0]
    assert [line[7:].rstrip() for line in doctor.output.splitlines()] == [
        f"settings     {base_url} (from VMBACKUP_BASE_URL in the environment), account "
        "Administrator (from VMBACKUP_USERNAME in the environment), password set (from "
        "VMBACKUP_PASSWORD in the environment)",
        "name         127.0.0.1 is 127.0.0.1",
        f"port         port {port} of 127.0.0.1 accepts connections",
        f"protocol     port {port} speaks http",
        f'Host header  "localhost:{port}" is accepted',
        f"API          a VM Backup API with protocol version 1.0 answers at {base_url}",
        "login        VM Backup at LOCALHOST:36014 accepts the account",
        "listing      8 virtual machines, 7 of them configured, 2 primary and 2 offsite backup "
        "locations",
        "assignments  DC01 is assigned to 1 backup location",
        "logout       the session is ended",
    ]
    assert (len(simulator.tokens), len(simulator.sessions)) == (1, 0)


def test_https_with_a_trusted_certificate_is_fine(
    doctor: Doctor, https_url: str, authority: trustme.CA, tmp_path: Path
) -> None:
    ca_file = path_of(authority, tmp_path)
    assert doctor("--base-url", https_url, "--ca-file", ca_file) == (TLS_STEPS, "")
    assert f"caFile {ca_file} (from the option --ca-file)" in doctor.output
    assert f"it is for 127.0.0.1 and trusted by {ca_file}" in doctor.output


def test_a_given_session_is_used_and_left_open(
    doctor: Doctor, simulator: Simulator, base_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Caller(base_url) as other:
        monkeypatch.setenv("VMBACKUP_SESSION_TOKEN", other.log_in().token)
        assert doctor() == (STEPS, "")
        assert list(simulator.sessions) == [other.token]
        assert other.token not in doctor.output


def test_a_certificate_in_another_form_than_pem_is_fine_and_another_file_is_named(
    doctor: Doctor, https_url: str, authority: trustme.CA, tmp_path: Path
) -> None:
    file = tmp_path / "vmbackup.cer"
    file.write_bytes(ssl.PEM_cert_to_DER_cert(authority.cert_pem.bytes().decode()))
    options = ["--base-url", https_url, "--ca-file", str(file)]
    assert doctor(*options) == (TLS_STEPS, "")
    file.write_bytes(authority.private_key_pem.bytes())
    good, failed = doctor(*options)
    assert good == []
    assert failed.startswith(f"settings they cannot be used | The value '{file}' of the option")
    assert " holds a private key only, which belongs on the server: export the certi" in failed


# Settings and account


def test_a_setting_that_cannot_be_used_is_the_first_step(doctor: Doctor) -> None:
    good, failed = doctor("--api-version", "7")
    assert good == []
    assert failed.startswith(
        "settings they cannot be used | The value '7' of the option --api-version is not a known "
        "API version: use 8, 9.0, 9.1"
    )


def test_a_wrong_password_is_in_the_servers_words(
    doctor: Doctor, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VMBACKUP_PASSWORD", "wrong-one")
    good, failed = doctor()
    assert good == STEPS[:6]
    assert failed == (
        "login VM Backup refuses the account | VM Backup refused the login of Administrator to "
        'LOCALHOST:36014: the server says "LoginFailed / The user name or password is incorrect". '
        "Check --username, VMBACKUP_PASSWORD, --domain, --server-address and --server-port."
    )
    # Sent once: Windows locks accounts after a few.
    assert [call.path for call in simulator.calls].count("/api/rest/sessions/start") == 1
    assert "wrong-one" not in doctor.output


def test_missing_credentials_are_found_after_the_way_to_the_server(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VMBACKUP_PASSWORD")
    good, failed = doctor()
    assert good == STEPS[:6]
    assert failed.startswith(
        "login there are no credentials | No password for VM Backup is known. Set VMBACKUP_PASSWORD"
    )


def test_a_connected_management_console_is_not_waited_for(
    doctor: Doctor, simulator: Simulator, base_url: str
) -> None:
    simulator.behavior = Behavior(second_session="refuse")
    with Caller(base_url) as console:
        console.log_in()
        good, failed = doctor()
        assert list(simulator.sessions) == [console.token]
    assert good == STEPS[:6]
    assert failed.startswith(
        "login VM Backup accepts no session now | VM Backup accepted no session: "
        'the server says "SessionRefused / Another session is open / AnotherConsoleIsRegistered". '
        "Something else holds the API: a VM Backup Management Console"
    )
    assert failed.endswith("Close the Console or stop the other client.")
    assert [call.path for call in simulator.calls].count("/api/rest/sessions/start") == 2


class UnlistedSimulator(Simulator):
    def _list_vms(self, token: str, configured: int = 0) -> dict[str, object]:  # noqa: ARG002
        return {}


def test_a_login_without_a_listing_is_no_success(doctor: Doctor) -> None:
    simulator = UnlistedSimulator(password=PASSWORD)
    with serve(simulator) as base_url:
        good, failed = doctor("--base-url", base_url)
    assert good == STEPS[:7]
    assert failed == (
        "listing no listing came back | The server's answer has no list of VirtualMachines."
    )
    assert not simulator.sessions


@pytest.mark.parametrize(
    ("call", "step", "seen"),
    [
        ("GET /vms/list", "listing", "no listing came back"),
        ("GET /backuplocations/[token]/1/0", "listing", "no listing came back"),
        ("GET /backuplocations/[token]/0/1", "listing", "no listing came back"),
        (
            "GET /vms/backuplocations",
            "assignments",
            "the backup locations of DC01 did not come back",
        ),
    ],
)
def test_each_read_that_runs_depend_on_is_tried(
    call: str, step: str, seen: str, doctor: Doctor, simulator: Simulator
) -> None:
    simulator.faults = [Fault("html", call, times=None)]
    good, failed = doctor()
    assert good == STEPS[: STEPS.index(step)]
    assert failed.startswith(f"{step} {seen} | http://127.0.0.1:")
    assert " gave an answer that is not the VM Backup API's (HTTP " in failed
    assert not simulator.sessions


def test_the_locations_of_a_vm_are_asked_for_in_the_form_that_is_known(
    doctor: Doctor, simulator: Simulator
) -> None:
    doctor()
    assert f"/api/rest/vms/backuplocations/[token]/{DC01}/1/1" in [
        call.path for call in simulator.calls
    ]
    assert {call.method for call in simulator.calls if "vms" in call.path} == {"GET"}


def test_a_server_without_virtual_machines_is_no_success(
    doctor: Doctor, simulator: Simulator
) -> None:
    simulator.inventory.virtual_machines.clear()
    good, failed = doctor()
    assert good == STEPS[:7]
    assert failed.startswith(
        "listing the server lists no virtual machine | A server that was restarted, or whose hosts "
        "are off, lists none for a while: wait"
    )
    assert not simulator.sessions


def test_a_server_without_configured_virtual_machines_is_named(
    doctor: Doctor, simulator: Simulator
) -> None:
    for vm in simulator.inventory.virtual_machines.values():
        vm["Configured"] = False
    assert doctor() == (STEPS, "")
    assert "listing      8 virtual machines, 0 of them configured" in doctor.output
    assert "assignments  not tried: no virtual machine is configured in VM Backup" in doctor.output
    assert not [call for call in simulator.calls if "/vms/backuplocations/" in call.path]


def test_a_session_that_cannot_be_ended_is_no_success(doctor: Doctor, simulator: Simulator) -> None:
    simulator.faults = [Fault("error", "POST /sessions/end", times=None, acted=False)]
    good, failed = doctor()
    assert good == STEPS[:-1]
    assert failed.startswith("logout the session cannot be ended | Until it ends by itself after ")
    assert len(simulator.sessions) == 1


# Name and port


def test_a_proxy_is_named_without_its_password(
    doctor: Doctor, closed_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = f"127.0.0.1:{closed_port()}"
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:pa55@{proxy}")
    good, failed = doctor("--base-url", "https://vmb01.invalid:36013/api/rest")
    assert good == ["settings", "proxy"]
    assert f"vmb01.invalid is reached through the proxy {proxy}" in doctor.output
    assert "The proxy on the way to https://vmb01.invalid:36013/api/rest refuses or does" in failed
    assert "pa55" not in doctor.output


def test_a_name_that_cannot_be_resolved(doctor: Doctor) -> None:
    good, failed = doctor("--base-url", "https://vmb01.invalid:36013/api/rest")
    assert good == STEPS[:1]
    assert failed.startswith("name vmb01.invalid cannot be resolved (")
    assert failed.endswith("| Correct the host name in --base-url.")


def test_a_stopped_service(doctor: Doctor, closed_port: Callable[[], int]) -> None:
    port = closed_port()
    good, failed = doctor("--base-url", f"http://127.0.0.1:{port}/api/rest")
    assert good == STEPS[:2]
    assert failed.startswith(
        f"port port {port} of 127.0.0.1 refuses connections: nothing listens there | On the VM "
        "Backup machine, start the Windows services of VM Backup (before V9.1, the API is a "
        "service of its own, which is off by default). If VM Backup runs on another machine, open"
    )


@pytest.mark.parametrize(
    ("version", "service"),
    [("8", "Altaro VM Backup API Service"), ("9.0", "Hornetsecurity VM Backup API Service")],
)
def test_the_stopped_service_has_the_name_that_it_has_in_this_version(
    version: str, service: str, doctor: Doctor, closed_port: Callable[[], int]
) -> None:
    url = f"http://127.0.0.1:{closed_port()}/api"
    _, failed = doctor("--base-url", url, "--api-version", version)
    assert f'start the Windows service "{service}" (it is off by default). If VM' in failed


def test_a_stopped_service_and_an_api_of_another_version_at_its_documented_address(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VMBACKUP_BASE_URL")
    with serve(Simulator(api_version="9.0")) as url:
        found = is_at("9.0", int(url.split(":")[2].partition("/")[0]), monkeypatch)
        good, failed = doctor("--api-version", "8")
    assert good == STEPS[:2]
    assert failed.endswith(
        f"| An API of version 9.0 answers at {found}: set the option --api-version to 9.0."
    )


# http, https and the certificate


def test_plain_http_to_an_https_port(doctor: Doctor, https_url: str) -> None:
    good, failed = doctor("--base-url", https_url.replace("https", "http"))
    assert good == STEPS[:3]
    port = https_url.split(":")[2].partition("/")[0]
    assert failed == (
        f"protocol port {port} speaks https, not http | The address is {https_url}: set the option "
        f"--base-url to {https_url}."
    )


def test_https_to_a_plain_port(
    doctor: Doctor, base_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VMBACKUP_BASE_URL", base_url.replace("http", "https"))
    good, failed = doctor()
    assert good == STEPS[:3]
    assert "speaks http, not https | " in failed
    assert failed.endswith(f"set VMBACKUP_BASE_URL in the environment to {base_url}.")


@contextmanager
def listening(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """Answers on a thread until the block ends, and gives the port."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        thread = threading.Thread(target=answer, args=(server,))
        thread.start()
        yield server.getsockname()[1]
        # Linux ends the wait for a connection by the first, Windows by the second.
        with suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()


def saying(words: bytes) -> Callable[[socket.socket], None]:
    """A server that says this to each client at once, and closes the connection."""

    def answer(server: socket.socket) -> None:
        with suppress(OSError):
            while True:
                with server.accept()[0] as connected, suppress(OSError):
                    connected.sendall(words)
                    connected.shutdown(socket.SHUT_WR)
                    connected.recv(65536)

    return answer


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_port_of_something_else(doctor: Doctor, scheme: str) -> None:
    with listening(saying(b"SSH-2.0-OpenSSH_for_Windows_9.5\r\n")) as port:
        good, failed = doctor("--base-url", f"{scheme}://127.0.0.1:{port}/api/rest")
    assert good == STEPS[:3]
    assert failed == (
        f"protocol port {port} speaks neither http nor https: it says "
        '"SSH-2.0-OpenSSH_for_Windows_9.5" | Something else listens there: correct the port in '
        "--base-url."
    )


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_port_that_closes_each_connection_may_be_a_tunnel(doctor: Doctor, scheme: str) -> None:
    with listening(saying(b"")) as port:
        good, failed = doctor("--base-url", f"{scheme}://127.0.0.1:{port}/api/rest")
    assert good == STEPS[:3]
    assert failed.startswith(
        f"protocol port {port} closes each connection without an answer | A tunnel does so if "
        "nothing listens at its other end: on the VM Backup machine, start the Windows services"
    )
    assert failed.endswith(
        f"If something else listens at port {port}, correct the port in --base-url."
    )


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("does", ["accept", "wait"])
def test_a_server_that_hangs_is_not_taken_for_something_else(
    doctor: Doctor, scheme: str, does: str
) -> None:
    connections: list[socket.socket] = []

    def hang(server: socket.socket) -> None:
        with suppress(OSError):
            while does == "accept":
                connections.append(server.accept()[0])

    options = ["--timeout-seconds", "0.2", "--api-version", "9.0"]
    with listening(hang) as port:
        good, failed = doctor("--base-url", f"{scheme}://127.0.0.1:{port}/api", *options)
    for each in connections:
        each.close()
    assert good == STEPS[:3]
    assert failed == (
        f"protocol port {port} accepts connections and does not answer within 0.2 seconds | The "
        'server hangs: restart the Windows service "Hornetsecurity VM Backup API Service" on the '
        "VM Backup machine. If that does not help, restart the machine."
    )


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_slow_server_is_waited_for(
    doctor: Doctor,
    scheme: str,
    simulator: Simulator,
    base_url: str,
    https_url: str,
    authority: trustme.CA,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pulumi_vmbackup.command.port.LONGEST_LOOK_SECONDS", 0.1)
    simulator.answer_seconds = 0.25
    url = base_url if scheme == "http" else https_url
    options = ["--base-url", url, "--ca-file", path_of(authority, tmp_path)]
    assert doctor(*options) == (STEPS if scheme == "http" else TLS_STEPS, "")


def test_a_server_whose_tls_is_slow_is_waited_for(
    doctor: Doctor, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pulumi_vmbackup.command.port.LONGEST_LOOK_SECONDS", 0.1)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    def answer(server: socket.socket) -> None:
        with suppress(OSError):
            while True:
                with server.accept()[0] as connected, suppress(OSError):
                    time.sleep(0.25)
                    with context.wrap_socket(connected, server_side=True) as secured:
                        secured.recv(65536)

    with listening(answer) as port:
        url = f"https://127.0.0.1:{port}/api/rest"
        good, failed = doctor("--base-url", url, "--ca-file", path_of(authority, tmp_path))
    assert good == TLS_STEPS[:5]
    assert failed.startswith(f"API no answer came | The connection to {url} broke before")


def test_a_server_that_hangs_after_the_handshake(
    doctor: Doctor, simulator: Simulator, https_url: str, authority: trustme.CA, tmp_path: Path
) -> None:
    simulator.answer_seconds = 0.5
    options = ["--ca-file", path_of(authority, tmp_path), "--timeout-seconds", "0.2"]
    good, failed = doctor("--base-url", https_url, *options)
    assert good == TLS_STEPS[:5]
    assert failed.startswith(
        f"API no answer came | {https_url} did not answer within 0.2 seconds: restart the Windows "
        "services of VM Backup if this goes on."
    )


@pytest.fixture
def polite_port(authority: trustme.CA) -> Iterator[int]:
    """An https port that answers HTTP 400 to plain http, as those of nginx do."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)

    def answer(server: socket.socket) -> None:
        with suppress(OSError):
            while True:
                with server.accept()[0] as connected:
                    if connected.recv(1, socket.MSG_PEEK) == b"\x16":  # a TLS handshake
                        context.wrap_socket(connected, server_side=True).close()
                    else:
                        connected.recv(65536)
                        connected.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with listening(answer) as port:
        yield port


def test_plain_http_to_an_https_port_that_answers_it(doctor: Doctor, polite_port: int) -> None:
    good, failed = doctor("--base-url", f"http://127.0.0.1:{polite_port}/api/rest")
    assert good == STEPS[:3]
    assert failed.startswith(f"protocol port {polite_port} speaks https, not http | ")


def test_an_untrusted_certificate(doctor: Doctor, https_url: str, simulator: Simulator) -> None:
    good, failed = doctor("--base-url", https_url)
    assert good == STEPS[:4]
    assert failed.startswith("certificate the certificate of port ")
    assert " is not accepted: unable to get local issuer certificate | " in failed
    assert " Its SHA-256 fingerprint begins with " in failed
    assert failed.endswith(
        "To trust this certificate only, give --ca-file or set VMBACKUP_CA_FILE, to the file that "
        "`vmbackup doctor --save-certificate FILE` writes."
    )
    assert not simulator.calls


def test_a_certificate_that_the_ca_file_does_not_hold(
    doctor: Doctor, https_url: str, tmp_path: Path
) -> None:
    ca_file = path_of(trustme.CA(), tmp_path)
    good, failed = doctor("--base-url", https_url, "--ca-file", ca_file)
    assert good == STEPS[:4]
    assert f"| {https_url} presents another certificate (SHA-256 " in failed
    assert f"...) than the one in {ca_file} (SHA-256 " in failed
    assert "...): either it was renewed, or this is another server. Compare its " in failed
    assert failed.endswith("with `vmbackup doctor --save-certificate FILE`.")


def test_a_certificate_for_another_name(
    doctor: Doctor, simulator: Simulator, authority: trustme.CA, tmp_path: Path
) -> None:
    certificate = tmp_path / "certificate.pem"
    authority.issue_cert("vmb01.contoso.example").private_key_and_cert_chain_pem.write_to_path(
        str(certificate)
    )
    with serve(simulator, certificate=certificate) as url:
        good, failed = doctor("--base-url", url, "--ca-file", path_of(authority, tmp_path))
    assert good == STEPS[:4]
    assert (
        f"| The certificate of {url} is for vmb01.contoso.example, not for 127.0.0.1. To trust this"
    ) in failed


# Host header and API


def test_a_wrong_host_header(doctor: Doctor, base_url: str, simulator: Simulator) -> None:
    good, failed = doctor("--host-header", "vmb01.contoso.example")
    assert good == STEPS[:4]
    port = base_url.split(":")[2].partition("/")[0]
    assert failed == (
        'Host header "vmb01.contoso.example" is refused (HTTP 400, "hostname is invalid") | The '
        "API must be addressed as localhost: remove the option --host-header, or set it to "
        f"localhost:{port}."
    )
    assert not simulator.tokens


def test_the_address_of_another_version_on_the_same_port(doctor: Doctor, base_url: str) -> None:
    wrong = base_url.removesuffix("/rest")
    good, failed = doctor("--base-url", wrong, "--api-version", "9.0")
    assert good == STEPS[:5]
    assert failed == (
        f"API no VM Backup API is at {wrong} (HTTP 404) | An API of version 9.1 answers at "
        f"{base_url}: set the option --base-url to {base_url}, and set the option --api-version "
        "to 9.1."
    )


def test_the_path_of_two_versions_names_both(doctor: Doctor) -> None:
    with serve(Simulator(api_version="9.0")) as url:
        _, failed = doctor("--base-url", f"{url}/rest")
    assert f"| An API of version 8 or 9.0 answers at {url}: set the option --base-url" in failed


def test_an_https_api_at_another_documented_address(
    doctor: Doctor, authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("VMBACKUP_BASE_URL")
    certificate = tmp_path / "certificate.pem"
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(certificate))
    with serve(Simulator(api_version="8"), certificate=certificate) as url:
        port = int(url.split(":")[2].partition("/")[0])
        is_at("8", port, monkeypatch)
        good, failed = doctor()
    assert good == STEPS[:2]
    assert (
        f"| An API of version 8 answers at https://localhost:{port}/api: give --base-url or set "
        f"VMBACKUP_BASE_URL to https://localhost:{port}/api, and give --api-version or set "
        "VMBACKUP_API_VERSION to 8."
    ) in failed


def test_the_documented_address_of_the_default_version_needs_no_setting(
    doctor: Doctor, base_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = is_at("9.1", int(base_url.split(":")[2].partition("/")[0]), monkeypatch)
    _, failed = doctor("--base-url", found.removesuffix("/rest"))
    assert failed.endswith(
        f"| An API of version 9.1 answers at {found}: remove the option --base-url."
    )


def test_an_address_of_something_else(doctor: Doctor, base_url: str) -> None:
    wrong = base_url.replace("/api/rest", "/elsewhere")
    good, failed = doctor("--base-url", wrong, "--host-header", "localhost")
    assert good == STEPS[:5]
    assert f"An API of version 9.1 answers at {base_url}" in failed


def test_a_password_in_another_setting_is_not_shown(
    doctor: Doctor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VMBACKUP_DOMAIN", PASSWORD)
    doctor()
    assert "account [secret]\\Administrator" in doctor.output
    assert PASSWORD not in doctor.output


# The report


@pytest.fixture
def report(tmp_path: Path) -> Callable[..., tuple[str, str]]:
    """Runs the command with a report: what it printed, and the report."""

    def report(*options: str, fails: bool = False, group: tuple[str, ...] = ()) -> tuple[str, str]:
        file = tmp_path / "report.md"
        arguments = [*group, "doctor", "--report", str(file), *options]
        result = CliRunner().invoke(vmbackup, arguments)
        log.debug("%s", result.output)
        assert result.exit_code == fails, result.output
        assert result.stdout.endswith(
            f"\nThe report is in {file}. Look through it before you attach it to a bug report.\n"
        )
        return result.stdout, file.read_text("utf-8")

    return report


Report = Callable[..., tuple[str, str]]


def section(report: str, name: str) -> list[str]:
    text = report.partition(f"\n## {name}\n\n")[2].partition("\n## ")[0]
    return [line for line in text.splitlines() if line]


def test_a_report_has_versions_settings_findings_and_exchanges(
    report: Report, base_url: str
) -> None:
    printed, text = report()
    versions = dict(line[2:].split(": ", 1) for line in section(text, "Versions"))
    assert [*versions] == [
        "pulumi-vmbackup",
        "pulumi",
        "requests",
        "urllib3",
        "Pulumi CLI",
        "Python",
        "OpenSSL",
        "operating system",
    ]
    assert versions["Python"] == platform.python_version()
    assert versions["requests"] == requests.__version__
    settings = section(text, "Settings")
    assert f"- baseUrl: {base_url} (from VMBACKUP_BASE_URL in the environment)" in settings
    assert "- password: set (from VMBACKUP_PASSWORD in the environment)" in settings
    assert "- sessionToken: not set" in settings
    assert "- allowMassRemoval: false" in settings
    findings = section(text, "Findings")
    assert [line[7:20].strip() for line in findings[1:-1]] == STEPS
    # As they were printed, but for the names.
    for line, as_printed in zip(findings[1:-1], printed.splitlines(), strict=False):
        without = re.sub(r"Administrator|DC01", "NAME", as_printed)
        assert re.sub(r"\b(?:user|VM)-[0-9a-f]{10}\b", "NAME", line) == without
    exchanges = section(text, "The last 50 exchanges of the recording")
    paths = [json.loads(line)["path"].partition("/[token]/")[0] for line in exchanges[1:-1][1:2]]
    assert paths == ["sessions/start"]
    assert len(exchanges) == 2 + 7


def test_a_report_holds_no_secret_and_no_name(
    report: Report, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VMBACKUP_DOMAIN", "Globex")
    _, text = report("--server-address", "localhost")
    assert "Administrator" not in text
    assert "Globex" not in text
    for secret in (PASSWORD, *simulator.tokens, "DC01", "HV-01", "VMBackups", DC01):
        assert secret.lower() not in text.lower()


def test_with_names_they_stay_in_the_report(report: Report) -> None:
    _, text = report(group=("--with-names",))
    assert "account Administrator" in text
    assert '"VirtualMachineName": "DC01"' in text
    assert PASSWORD not in text


def test_a_failure_is_reported_too(
    report: Report, monkeypatch: pytest.MonkeyPatch, simulator: Simulator
) -> None:
    monkeypatch.setenv("VMBACKUP_USERNAME", r"GLOBEX\hugo")
    _, text = report(fails=True)
    assert any(line.startswith("failed login ") for line in section(text, "Findings"))
    assert '"LoginFailed / The user name or password is incorrect"' in text
    assert "hugo" not in text
    assert "GLOBEX" not in text
    assert not simulator.tokens


def test_settings_that_cannot_be_used_are_reported(report: Report) -> None:
    printed, text = report("--server-port", "x", fails=True)
    assert section(text, "Settings") == ["They cannot be used: see the findings."]
    assert section(text, "Findings")[1].startswith("failed settings")
    assert section(text, "The last 50 exchanges of the recording") == ["```text", "```"]
    assert printed.startswith("failed settings")


def test_names_that_only_a_certificate_has_are_replaced(
    report: Report, simulator: Simulator, authority: trustme.CA, tmp_path: Path
) -> None:
    certificate = tmp_path / "certificate.pem"
    chain = authority.issue_cert("backupserver", "vmb.contoso.example")
    chain.private_key_and_cert_chain_pem.write_to_path(str(certificate))
    with serve(simulator, certificate=certificate) as url:
        printed, text = report(
            "--base-url", url, "--ca-file", path_of(authority, tmp_path), fails=True
        )
    assert "is for backupserver, vmb.contoso.example, not for" in printed
    assert re.search(r"is for host-[0-9a-f]{10}, host-[0-9a-f]{10}, not for 127.0.0.1", text)
    assert "backupserver" not in text
    assert "contoso" not in text
    assert str(tmp_path) not in text


def test_the_end_of_a_recording_is_in_the_report_with_its_stand_ins(
    report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "run.jsonl"
    group = ("--record", str(file))
    for _ in range(9):
        _, text = report(group=group)
    exchanges = section(text, "The last 50 exchanges of the recording")[1:-1]
    recorded = file.read_text("utf-8").splitlines()
    assert len(recorded) == 63
    assert [line.partition("... and ")[0] for line in exchanges] == [
        line[:2000] for line in recorded[-50:]
    ]
    told = (tmp_path / "run.jsonl.names").read_text("utf-8").splitlines()[1:]
    names = {line["name"]: line["stand_in"] for line in map(json.loads, told)}
    assert f"{names['DC01']} is assigned to 1 backup location" in text
    monkeypatch.setenv("VMBACKUP_RECORD", str(file))
    assert f"{names['DC01']} is assigned to 1 backup location" in report()[1]
    # It was recorded with names: the report has none all the same.
    _, text = report(group=("--with-names", *group))
    assert "DC01" in text
    _, text = report()
    assert "DC01" not in text
    assert "Administrator" not in text


def test_without_a_recording_no_other_file_is_left(
    report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    report()
    assert [each.name for each in tmp_path.iterdir()] == ["report.md"]


def test_a_report_and_a_certificate_are_two_things(tmp_path: Path, simulator: Simulator) -> None:
    options = ["--report", str(tmp_path / "report.md"), "--save-certificate", "x.pem"]
    result = CliRunner().invoke(vmbackup, ["doctor", *options])
    assert result.exit_code == 1
    assert result.stderr == (
        "vmbackup: --save-certificate does nothing else: give --report without it.\n"
    )
    assert not simulator.calls


def test_a_report_that_cannot_be_written_is_refused_before_anything_is_sent(
    tmp_path: Path, simulator: Simulator
) -> None:
    file = tmp_path / "missing" / "report.md"
    result = CliRunner().invoke(vmbackup, ["doctor", "--report", str(file)])
    assert result.exit_code == 1
    assert result.stderr == (
        f"vmbackup: There is no folder {file.parent} for --report: create it first.\n"
    )
    assert not simulator.calls
