"""A receiver of webhooks: a real HTTP server of a test's own, which fails, hangs, dies and comes back when told."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple, Self

from tests.servers.server import free_port


class Delivery(NamedTuple):
    """One request as it arrived."""

    headers: dict[str, str]
    body: bytes

    @property
    def message(self) -> dict[str, Any]:
        """The body as JSON."""
        parsed: dict[str, Any] = json.loads(self.body)
        return parsed

    @property
    def id(self) -> str:
        """Of the message."""
        return self.headers["x-kodosumi-delivery"]


class Receiver:
    """Runs inside ``with``.

    Args:
        port: where it listens; 0 for a free one. certificate: with key, in one PEM file; makes it speak TLS.

    Attributes:
        deliveries: every request so far, in order of arrival, those without a good answer included.
        answer: gives the status of the answer to a delivery.
        hanging: while set, no request is answered.
    """

    def __init__(self, port: int = 0, certificate: Path | None = None) -> None:
        self.deliveries: list[Delivery] = []
        self.answer: Callable[[Delivery], int] = lambda _: 204
        self.hanging = False
        self._resumed = threading.Condition()
        self._certificate = certificate
        self._server: ThreadingHTTPServer | None = None
        # Chosen now and not by the system: while it has stopped, no client may be given its port.
        self.port = port or free_port()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where it is told; ends as no message should ever show."""
        scheme = "https" if self._certificate else "http"
        return f"{scheme}://127.0.0.1:{self.port}/hook?token=hidden"

    def ids(self) -> list[str]:
        """Ids of all deliveries, in order."""
        return [delivery.id for delivery in self.deliveries]

    def start(self) -> None:
        """Listens, again on the same port after :meth:`stop`."""
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), self._handler())
        self._server.daemon_threads = True
        if self._certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self._certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        """Listens no more; idempotent."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
        self.resume()

    def resume(self) -> None:
        """Answers what hangs."""
        with self._resumed:
            self.hanging = False
            self._resumed.notify_all()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                delivery = Delivery({name.lower(): value for name, value in self.headers.items()}, body)
                receiver.deliveries.append(delivery)
                with receiver._resumed:
                    receiver._resumed.wait_for(lambda: not receiver.hanging, 60)
                try:
                    self.send_response(receiver.answer(delivery))
                    self.send_header("location", "/elsewhere")
                    self.send_header("content-length", "0")
                    self.end_headers()
                except OSError:
                    # whoever asked has gone
                    self.close_connection = True

            do_GET = do_POST

            def log_message(self, format: str, *args: object) -> None: ...

        return Handler
