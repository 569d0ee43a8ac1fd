"""http_server.py: connections, https, unusable addresses, and an end without leftovers."""

from __future__ import annotations

import gc
import socket
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
import trustme
from marks import UNDER_WINE
from sample import DC01, DISK_E, NAS01, PASSWORD, SQL01
from simulator.caller import LOGIN, Caller, wait_for

from pulumi_vmbackup.simulator import Behavior, Simulator, serve


def port_of(base_url: str) -> int:
    port = urlsplit(base_url).port
    assert port
    return port


def threads() -> set[threading.Thread]:
    return set(threading.enumerate())


# Connections


def test_many_calls_go_over_one_connection(simulator: Simulator, base_url: str) -> None:
    with Caller(base_url) as api:
        api.log_in()
        for _ in range(20):
            assert api("GET /vms/list/[token]")["Success"]
            assert api(f"POST /vms/backuplocations/[token]/{SQL01}/{NAS01}")["Success"]
    assert len(simulator.calls) == 41
    assert simulator.connections == 1


def test_refusals_and_bodies_that_nobody_reads_keep_the_connection(
    simulator: Simulator, base_url: str
) -> None:
    with Caller(base_url) as api:
        api("POST /sessions/start", {**LOGIN, "Password": "wrong"})
        api("GET /vms/list/[token]")
        api.send("GET /nothing")
        api.send("PUT /vms/list/[token]", {"x": "y" * 10_000})
        api("POST /sessions/end", {"x": "y" * 10_000})
        api.http.headers["Host"] = "vmb01"
        assert api.send("POST /sessions/start", LOGIN).status_code == 400
        api.http.headers["Host"] = "localhost"
        assert api("GET /protocol/version")["Success"]
    assert len(simulator.calls) == 7
    assert simulator.connections == 1


def test_each_client_has_its_own_connection(simulator: Simulator, base_url: str) -> None:
    simulator.behavior = Behavior(second_session="accept")
    clients = 40  # more than the server has threads

    def call(api: Caller) -> bool:
        return all(api("GET /vms/list/[token]")["Success"] for _ in range(5))

    with ExitStack() as stack, ThreadPoolExecutor(clients) as pool:
        apis = [stack.enter_context(Caller(base_url)) for _ in range(clients)]
        assert all(pool.map(call, [api.log_in() for api in apis]))
    assert simulator.connections >= clients
    assert len(simulator.calls) == clients * 6


def test_two_simulators_do_not_mix() -> None:
    one, other = Simulator(password=PASSWORD), Simulator(password="another")
    with serve(one) as first, serve(other) as second, Caller(first) as api:
        api.log_in()
        api.base_url = second
        assert api.refusal("GET /vms/list/[token]") == "Invalid Token"
        assert api("POST /sessions/start", LOGIN)["ErrorCode"] == "LoginFailed"
    assert [len(one.calls), len(other.calls)] == [1, 2]


# Addresses


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("localhost", "localhost"),
        ("0.0.0.0", "127.0.0.1"),
        ("::1", "[::1]"),
        ("::", "[::1]"),
    ],
)
def test_the_base_url_has_an_address_at_which_the_simulator_answers(
    host: str, address: str, simulator: Simulator
) -> None:
    if ":" in host and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    with serve(simulator, host=host) as base_url, Caller(base_url) as api:
        assert base_url == f"http://{address}:{port_of(base_url)}/api/rest"
        assert api("GET /protocol/version")["Success"]


def has_ipv6() -> bool:
    with suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
        return True
    return False


def test_a_chosen_port_is_taken(simulator: Simulator, free_port: int) -> None:
    with serve(simulator, port=free_port) as base_url, Caller(base_url) as api:
        assert port_of(base_url) == free_port
        assert api("GET /protocol/version")["Success"]


def test_the_port_is_free_again_at_once(simulator: Simulator, free_port: int) -> None:
    for _ in range(3):
        with serve(simulator, port=free_port) as base_url, Caller(base_url) as api:
            assert api("GET /protocol/version")["Success"]


@pytest.fixture
def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


def open_sockets() -> set[socket.socket]:
    sockets = (each for each in gc.get_objects() if isinstance(each, socket.socket))
    return {each for each in sockets if each.fileno() != -1}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_port_in_use_is_an_error_that_names_it_and_leaves_nothing_behind(
    host: str, simulator: Simulator
) -> None:
    with serve(Simulator(), host=host) as base_url:
        port = port_of(base_url)
        threads_before, sockets_before = threads(), open_sockets()
        with pytest.raises(OSError, match=f"cannot listen at {host} port {port}: ") as raised:
            serve(simulator, host=host, port=port).__enter__()
        assert str(raised.value).endswith(".")
        assert threads() <= threads_before
        assert open_sockets() <= sockets_before


@pytest.mark.skipif(sys.platform != "win32", reason="other systems share no port by default")
def test_no_other_program_takes_over_its_port(simulator: Simulator) -> None:
    with serve(simulator) as base_url, socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(OSError, match="WinError"):
            other.bind(("127.0.0.1", port_of(base_url)))


def test_an_address_of_another_machine_is_an_error_that_names_it(simulator: Simulator) -> None:
    with pytest.raises(OSError, match=r"cannot listen at 192\.0\.2\.1 port 0: .*\.$"):
        serve(simulator, host="192.0.2.1").__enter__()


# https


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def pem(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of certificates and keys."""
    folder = tmp_path_factory.mktemp("pem")
    mine = authority.issue_cert("127.0.0.1", "localhost")
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    mine.private_key_and_cert_chain_pem.write_to_path(str(folder / "both.pem"))
    mine.cert_chain_pems[0].write_to_path(str(folder / "certificate.pem"))
    mine.private_key_pem.write_to_path(str(folder / "key.pem"))
    other = authority.issue_cert("localhost")
    other.private_key_pem.write_to_path(str(folder / "other-key.pem"))
    (folder / "nonsense.pem").write_text("-----BEGIN CERTIFICATE-----\nnonsense\n")
    (folder / "folder.pem").mkdir()
    return folder


@pytest.mark.parametrize(
    ("certificate", "key"), [("both.pem", None), ("certificate.pem", "key.pem")]
)
def test_https_is_answered_with_the_certificate(
    certificate: str, key: str | None, simulator: Simulator, pem: Path
) -> None:
    with (
        serve(simulator, certificate=pem / certificate, key=pem / key if key else None) as base_url,
        Caller(base_url, verify=str(pem / "ca.pem")) as api,
    ):
        assert base_url == f"https://127.0.0.1:{port_of(base_url)}/api/rest"
        assert api.log_in().locations_of(DC01) == [DISK_E]
        api("POST /sessions/end/[token]")
    assert simulator.connections == 1


def test_plain_http_to_an_https_port_does_not_stop_the_server(
    simulator: Simulator, pem: Path
) -> None:
    with (
        serve(simulator, certificate=pem / "both.pem") as base_url,
        Caller(base_url, verify=str(pem / "ca.pem")) as api,
    ):
        with suppress(requests.ConnectionError):
            plain = requests.get(base_url.replace("https", "http"), timeout=5)
            assert plain.status_code == 400
        with pytest.raises(requests.exceptions.SSLError):
            requests.get(f"{base_url}/protocol/version", timeout=5)
        assert api("GET /protocol/version")["Success"]
    assert len(simulator.calls) == 1


@pytest.mark.parametrize(
    "sent", [b"", b"\x16\x03\x01\x02\x00\x01"], ids=["nothing", "half a hello"]
)
def test_a_client_that_does_not_finish_its_handshake_delays_neither_others_nor_the_end(
    sent: bytes, simulator: Simulator, pem: Path
) -> None:
    with ExitStack() as clients:
        with serve(simulator, certificate=pem / "both.pem") as base_url:
            silent = ("127.0.0.1", port_of(base_url))
            clients.enter_context(socket.create_connection(silent, timeout=5)).sendall(sent)
            began = time.monotonic()
            with Caller(base_url, verify=str(pem / "ca.pem")) as api:
                assert api("GET /protocol/version")["Success"]
            assert time.monotonic() - began < 8  # cheroot waits for ten seconds
        # Wine wakes up no thread that waits for a socket that another one closes.
        assert UNDER_WINE or time.monotonic() - began < 8


@pytest.mark.parametrize(
    ("certificate", "key"),
    [
        ("missing.pem", None),
        ("nonsense.pem", None),
        ("folder.pem", None),
        ("certificate.pem", None),
        ("key.pem", None),
        ("certificate.pem", "missing.pem"),
        ("certificate.pem", "other-key.pem"),
        ("certificate.pem", "nonsense.pem"),
        ("missing.pem", "key.pem"),
    ],
)
def test_a_certificate_that_cannot_be_used_is_an_error_that_names_it(
    certificate: str, key: str | None, simulator: Simulator, pem: Path
) -> None:
    before = threads()
    with pytest.raises(OSError, match="cannot be used") as raised:
        serve(simulator, certificate=pem / certificate, key=pem / key if key else None).__enter__()
    sentence = str(raised.value)
    assert sentence.startswith(
        f"The certificate {pem / certificate} with the key {pem / (key or certificate)} cannot be "
        "used: "
    )
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert threads() <= before


# The end


@pytest.fixture
def no_thread_is_left() -> Iterator[None]:
    before = threads()
    yield
    wait_for(lambda: threads() <= before)


@pytest.mark.usefixtures("no_thread_is_left")
def test_no_thread_is_left_after_the_block(simulator: Simulator) -> None:
    with serve(simulator) as base_url, Caller(base_url) as api:
        api.log_in()


@pytest.mark.usefixtures("no_thread_is_left")
def test_no_thread_is_left_after_a_block_without_a_call(simulator: Simulator) -> None:
    with serve(simulator):
        pass


@pytest.mark.usefixtures("no_thread_is_left")
def test_no_thread_is_left_after_an_error_in_the_block(simulator: Simulator) -> None:
    with pytest.raises(ZeroDivisionError), serve(simulator):
        raise ZeroDivisionError


@pytest.mark.usefixtures("no_thread_is_left")
def test_the_end_waits_for_no_client(simulator: Simulator) -> None:
    with ExitStack() as clients:
        with serve(simulator) as base_url:
            kept = clients.enter_context(Caller(base_url))
            kept.log_in()
            silent = ("127.0.0.1", port_of(base_url))
            clients.enter_context(socket.create_connection(silent, timeout=5))
        with pytest.raises(requests.ConnectionError):
            kept.send("GET /protocol/version")


@pytest.mark.usefixtures("no_thread_is_left")
def test_the_end_waits_for_no_answer_that_takes_long(simulator: Simulator) -> None:
    simulator.answer_seconds = 3600
    with ThreadPoolExecutor(1) as pool:
        with serve(simulator) as base_url, Caller(base_url) as api:
            slow = pool.submit(api.send, "POST /sessions/start", LOGIN)
            wait_for(lambda: len(simulator.sessions) == 1)
        assert slow.result().status_code == 200


def test_an_answer_takes_long_only_while_its_caller_waits(
    simulator: Simulator, base_url: str
) -> None:
    simulator.answer_seconds = 60
    with socket.create_connection(("127.0.0.1", port_of(base_url)), timeout=5) as connection:
        connection.sendall(b"GET /api/rest/protocol/version HTTP/1.1\r\nHost: localhost\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(12) == b"HTTP/1.1 200"
