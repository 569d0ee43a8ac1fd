"""Serves a simulator over real HTTP."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cheroot.server import HTTPConnection
from cheroot.ssl.builtin import BuiltinSSLAdapter
from cheroot.wsgi import Server

from .api import Simulator

log = logging.getLogger(__name__)

# Where a server that listens at every address is called from this machine.
_REACHABLE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104


class _QuietServer(Server):
    bind_error: OSError | None = None

    def error_log(
        self,
        msg: str = "",
        level: int = logging.INFO,  # noqa: ARG002  # cheroot names it
        traceback: bool = False,
    ) -> None:
        log.debug("%s", msg, exc_info=traceback)

    def bind_socket(self, socket_: socket.socket, bind_addr: Any) -> Any:  # type: ignore[override]
        try:
            socket_.bind(bind_addr)
        except OSError as error:
            socket_.close()  # cheroot leaves it open
            self.bind_error = error
            raise
        return socket_


@contextmanager
def serve(
    simulator: Simulator,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    certificate: Path | None = None,
    key: Path | None = None,
) -> Iterator[str]:
    """Serve a simulator in threads until the block ends.

    Args:
        simulator: what answers.
        host: the address to listen at.
        port: the TCP port; 0 for any free one.
        certificate: a PEM file with a certificate, to answer https.
        key: the certificate's key, when that is in another file.

    Yields:
        The base URL, for ``vmbackup:baseUrl``.

    Raises:
        OSError: nothing can listen there, or the certificate cannot be used.
    """

    class Connection(HTTPConnection):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            simulator.connections += 1
            super().__init__(*args, **kwargs)

    server = _QuietServer(
        (host, port),
        simulator,
        request_queue_size=128,  # with cheroot's 5, a burst of clients connects a second late
        shutdown_timeout=1,  # is waited for a client that is connected and says nothing
    )
    server.ConnectionClass = Connection
    server.expiration_interval = 0.02  # so that it ends soon after it is told to
    if certificate:
        try:
            server.ssl_adapter = BuiltinSSLAdapter(str(certificate), str(key or certificate))
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
