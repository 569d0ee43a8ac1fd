"""Serves a simulator over real HTTP."""

from __future__ import annotations

import errno
import logging
import math
import os
import selectors
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from cheroot.errors import FatalSSLAlert
from cheroot.server import HTTPConnection
from cheroot.ssl.builtin import BuiltinSSLAdapter
from cheroot.wsgi import Gateway_10, Server

from .api import Simulator
from .faults import CONNECTION
from .replay import Replay
from .switches import Switches

log = logging.getLogger(__name__)

_POLL_SECONDS = 0.02
_THREADS = 32  # this many calls may stall without delaying others

# The address from this machine of a server that listens at all addresses.
_REACHABLE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


class _QuietServer(Server):
    bind_error: OSError | None = None

    def error_log(
        self,
        msg: str = "",
        level: int = logging.INFO,  # noqa: ARG002  # cheroot's own name
        traceback: bool = False,
    ) -> None:
        log.debug("%s", msg, exc_info=traceback)

    def clear_stats(self) -> None:
        super().clear_stats()  # type: ignore[no-untyped-call]
        # cheroot keeps these for ever, and with them the server, its threads and the simulator.
        logging.statistics.clear()  # type: ignore[attr-defined]

    def bind_socket(self, socket_: socket.socket, bind_addr: Any) -> Any:  # type: ignore[override]
        if sys.platform == "win32":  # where another server could take over the port
            socket_.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        try:
            socket_.bind(bind_addr)
        except OSError as error:
            socket_.close()  # cheroot leaves it open
            self.bind_error = error
            raise
        return socket_


class _PatientTls(BuiltinSSLAdapter):
    """Leaves the handshake to the thread of the connection.

    cheroot accepts connections and makes their handshakes in one thread, so a client that connects
    and sends nothing would delay the others, and the end of the server, for ten seconds.
    """

    def wrap(self, sock: socket.socket) -> tuple[ssl.SSLSocket, dict[str, str]]:
        try:
            wrapped = self.context.wrap_socket(
                sock, server_side=True, do_handshake_on_connect=False
            )
        except OSError as error:  # the client is gone
            raise FatalSSLAlert(*error.args) from error
        return wrapped, {"wsgi.url_scheme": "https", "HTTPS": "on"}


class _Gateway(Gateway_10):
    def get_environ(self) -> dict[str, Any]:  # type: ignore[override]  # cheroot's stub says None
        return {**super().get_environ(), CONNECTION: self.req.conn}  # type: ignore[no-untyped-call]


class CallerConnection(HTTPConnection):
    """A caller's connection, which faults act on."""

    _is_reset = False

    def communicate(self) -> Any:
        """Answer the calls of the connection that have come."""
        if isinstance(self.socket, ssl.SSLSocket) and self.socket.version() is None:
            try:
                self.socket.do_handshake()
            except OSError as error:
                log.debug("The TLS handshake of a client failed: %s", error)
                return False
        return super().communicate()  # type: ignore[no-untyped-call]

    def wait(self, seconds: float = math.inf, *, until: Callable[[], bool] = lambda: False) -> None:
        """Wait, but no longer than until the caller gives up or the server stops."""
        end = time.monotonic() + seconds
        with selectors.DefaultSelector() as selector:
            # A caller that waits for an answer sends nothing, so a readable socket means that it
            # has closed the connection.
            selector.register(self.socket, selectors.EVENT_READ)
            while not until() and self.server.ready and (left := end - time.monotonic()) > 0:
                if selector.select(min(left, _POLL_SECONDS)):
                    break

    def reset(self) -> NoReturn:
        """Break the connection as a crashing server does."""
        self._is_reset = True
        raise ConnectionResetError(errno.ECONNRESET, "a fault resets the connection")

    def close(self) -> None:
        if self._is_reset:  # with this option, closing sends a reset
            linger = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            for each in (self.rfile, self.wfile, self.socket):
                each.close()
        else:
            super().close()


@contextmanager
def serve(
    simulator: Simulator | Replay,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    certificate: Path | None = None,
    key: Path | None = None,
) -> Iterator[str]:
    """Serve a simulator in threads until the block ends.

    Args:
        simulator: the simulator, or a replay, which has no switches.
        host: the address to listen at.
        port: the TCP port; 0 for any free one.
        certificate: a PEM file with a certificate, to answer https.
        key: the certificate's key, if that is in another file.

    Yields:
        The base URL, for ``vmbackup:baseUrl``.

    Raises:
        OSError: the port cannot be opened, or the certificate cannot be used.
    """

    class CountedConnection(CallerConnection):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            simulator.connections += 1
            super().__init__(*args, **kwargs)

    server = _QuietServer(
        (host, port),
        Switches(simulator) if isinstance(simulator, Simulator) else simulator,
        numthreads=_THREADS,
        request_queue_size=128,  # with cheroot's 5, a burst of clients connects a second late
        shutdown_timeout=1,  # the wait for a connected client that sends nothing
    )
    server.ConnectionClass = CountedConnection
    server.gateway = _Gateway
    server.keep_alive_conn_limit = 4 * _THREADS  # cheroot's default is 10
    server.expiration_interval = _POLL_SECONDS  # so that it stops quickly
    if certificate:
        try:
            server.ssl_adapter = _PatientTls(str(certificate), str(key or certificate))
        except OSError as error:
            raise OSError(
                f"The certificate {certificate} with the key {key or certificate} cannot be used: "
                f"{error.strerror}."
            ) from None
    try:
        server.prepare()
    except OSError as error:
        reason = (server.bind_error or error).strerror
        raise OSError(f"The simulator cannot listen at {host} port {port}: {reason}.") from None
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        scheme = "https" if certificate else "http"
        reachable = _REACHABLE.get(host, host)
        address = f"[{reachable}]" if ":" in reachable else reachable
        yield f"{scheme}://{address}:{server.bind_addr[1]}{simulator.base_path}"
    finally:
        server.stop()
        thread.join()
