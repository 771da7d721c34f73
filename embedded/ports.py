"""Choose a free port, or say why a wanted one cannot be used."""

from __future__ import annotations

import random
import socket

LOOPBACK = "127.0.0.1"
# Where a server listens that listens everywhere, and where a client of this machine finds it.
EVERYWHERE = {"": LOOPBACK, "0.0.0.0": LOOPBACK, "::": "::1"}  # noqa: S104

# Below the ports that the system hands out to clients (Linux: from 32768): a client which keeps
# trying the port of a stopped server could be given that very port, connect to itself, and keep
# the server from coming back. And below 55536: a cluster node also listens on its port + 10000.
FIRST_PORT, LAST_PORT = 20_000, 32_000

# Not the shared generator: a test run seeds it, and parallel processes would choose the same ports.
_random = random.SystemRandom()


def free_port() -> int:
    """Return a port of the loopback address on which nothing listens just now."""
    for _ in range(200):
        port = _random.randint(FIRST_PORT, LAST_PORT)
        if why_unusable(LOOPBACK, port) is None:
            return port
    raise OSError(f"200 tries found no free port between {FIRST_PORT} and {LAST_PORT}.")


def why_not_here(host: str) -> str | None:
    """Return why no server of this machine can listen at a host; None when it can."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.bind(address)
    except socket.gaierror as error:
        return f"it is unknown ({error.strerror})"
    except OSError as error:
        return f"it is no address of this machine ({error.strerror})"
    return None


def why_unusable(host: str, port: int) -> str | None:
    """Return why a server cannot listen there ("is taken"), or None when it can."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except socket.gaierror as error:
        return f"cannot be used: the host {host!r} is unknown ({error.strerror})"
    if _something_answers(host, port):
        return "is taken"
    with socket.socket(family, kind, protocol) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(address)
            # Linux lets two sockets bind one address with SO_REUSEADDR; only one of them may listen.
            probe.listen()
        except PermissionError:
            return "may not be used by this user"
        except OSError as error:
            taken = error.errno is not None and "in use" in (error.strerror or "").lower()
            return "is taken" if taken else f"cannot be used on {host} ({error.strerror})"
    return None


def _something_answers(host: str, port: int) -> bool:
    """Ask as a client does: BSD lets a bind to 127.0.0.1 succeed beside a listener on 0.0.0.0."""
    try:
        with socket.create_connection((EVERYWHERE.get(host, host), port), 1):
            return True
    except OSError:
        return False


if __name__ == "__main__":
    print(free_port())
