"""Serves a simulator over real HTTP."""

from __future__ import annotations

import logging
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


class _QuietServer(Server):
    def error_log(self, msg: str = "", level: int = logging.INFO, traceback: bool = False) -> None:
        log.debug("%s", msg, exc_info=traceback)


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
        OSError: the port is taken, or the certificate cannot be used.
    """

    class Connection(HTTPConnection):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            simulator.connections += 1
            super().__init__(*args, **kwargs)

    server = _QuietServer((host, port), simulator)
    server.ConnectionClass = Connection
    server.expiration_interval = 0.05  # so that it ends soon after it is told to
    if certificate:
        try:
            server.ssl_adapter = BuiltinSSLAdapter(str(certificate), str(key or certificate))
        except OSError as error:
            raise OSError(
                f"The certificate {certificate} with the key {key or certificate} cannot be used: "
                f"{error.strerror}."
            ) from None
    server.prepare()
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        scheme = "https" if certificate else "http"
        address = f"[{host}]" if ":" in host else host
        yield f"{scheme}://{address}:{server.bind_addr[1]}{simulator.base_path}"
    finally:
        server.stop()
        thread.join()
