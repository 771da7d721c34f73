"""TLS in front of a Redis server: the embedded one is built without it."""

import contextlib
import select
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

from embedded.ports import LOOPBACK

# Kept as a file, so that nobody needs a program that makes one.
CERTIFICATE = Path(__file__).with_name("loopback.pem")


@contextlib.contextmanager
def in_front_of(port: int, pem: Path) -> Iterator[int]:
    """Take TLS connections and pass what they say on to a port; give the port to connect to."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    with socket.create_server((LOOPBACK, 0)) as listener:
        thread = threading.Thread(target=_serve, args=(listener, context, port), daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)  # ends the accept
        thread.join()


def _serve(listener: socket.socket, context: ssl.SSLContext, port: int) -> None:
    with contextlib.ExitStack() as links, contextlib.suppress(OSError):
        while True:
            link = links.enter_context(listener.accept()[0])
            threading.Thread(target=_pass_on, args=(link, context, port), daemon=True).start()


def _pass_on(link: socket.socket, context: ssl.SSLContext, port: int) -> None:
    with contextlib.suppress(OSError), link:
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
