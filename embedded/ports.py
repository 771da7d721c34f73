"""Choose a free port, or explain why a server cannot listen on a given one."""

import errno
import random
import socket

LOOPBACK = "127.0.0.1"

# Below the ports that the system assigns to clients (Linux: from 32768): a client that keeps trying the port
# of a stopped server could get that very port, connect to itself, and block the server's restart. And below
# 55536, because a cluster node also listens on its port + 10000.
FIRST_PORT, LAST_PORT = 20_000, 32_000

# Not the shared generator: a test run seeds it, and parallel processes would choose the same ports.
_random = random.SystemRandom()


def free_port() -> int:
    """Return a free port of the loopback address."""
    for _ in range(200):
        port = _random.randint(FIRST_PORT, LAST_PORT)
        if port_problem(LOOPBACK, port) is None:
            return port
    raise OSError(f"200 tries found no free port between {FIRST_PORT} and {LAST_PORT}.")


def port_problem(host: str, port: int) -> str | None:
    """Return why a server cannot listen there, e.g. "is taken"; None if it can."""
    try:
        socket.create_server((host, port)).close()
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        return "is taken" if taken else f"cannot be used on HOST={host} ({error.strerror})"
    return None


if __name__ == "__main__":
    print(free_port())
