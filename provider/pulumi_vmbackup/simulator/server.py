"""Serves a simulator over real HTTP."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from werkzeug.serving import WSGIRequestHandler, make_server

from .api import Simulator


@contextmanager
def serve(
    simulator: Simulator,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    ssl_context: ssl.SSLContext | None = None,
) -> Iterator[str]:
    """Serve a simulator in a thread until the block ends.

    Args:
        simulator: what answers.
        host: the address to listen at.
        port: the TCP port; 0 for any free one.
        ssl_context: a server's context with a certificate, to answer https.

    Yields:
        The base URL, for ``vmbackup:baseUrl``.

    Raises:
        OSError: the port is taken.
    """
    open_sockets: set[socket.socket] = set()

    class Handler(WSGIRequestHandler):
        disable_nagle_algorithm = True  # head and body are two writes

        def setup(self) -> None:
            simulator.connections += 1
            open_sockets.add(self.request)
            super().setup()

        def finish(self) -> None:
            open_sockets.discard(self.request)
            super().finish()

        def log_request(self, *_args: Any) -> None:
            """The simulator logs its calls itself, without their tokens."""

    # werkzeug exits the process when it cannot bind a port, so it is bound here.
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, port), family=family)
    server = make_server(
        host,
        port,
        simulator,
        threaded=True,
        request_handler=Handler,
        ssl_context=ssl_context,
        fd=listener.fileno(),
    )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        scheme = "https" if ssl_context else "http"
        address = f"[{host}]" if ":" in host else host
        yield f"{scheme}://{address}:{listener.getsockname()[1]}{simulator.base_path}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        listener.close()
        for connection in list(open_sockets):  # kept alive by clients
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
