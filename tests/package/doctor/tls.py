"""TLS in front of a Redis server: the embedded one is built without it."""

import contextlib
import select
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

from embedded.ports import LOOPBACK

# Kept as a file, so that nobody needs a program that makes one.
CERTIFICATE = Path(__file__).with_name("loopback.pem")


@contextlib.contextmanager
def listening(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """Answer each connection in a thread of its own; yield the port to connect to."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):
                answer(self.request)

    with socketserver.ThreadingTCPServer((LOOPBACK, 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()


def in_front_of(port: int, pem: Path) -> contextlib.AbstractContextManager[int]:
    """Take TLS connections and pass what they say on to a port; yield the port to connect to."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)

    def pass_on(link: socket.socket) -> None:
        link.settimeout(10)
        with (
            context.wrap_socket(link, server_side=True) as client,
            socket.create_connection((LOOPBACK, port), 10) as server,
        ):
            while ready := [client] if client.pending() else select.select([client, server], [], [], 10)[0]:
                for end, other in ((client, server), (server, client)):
                    if end in ready:
                        if not (data := end.recv(65536)):
                            return
                        other.sendall(data)

    return listening(pass_on)
