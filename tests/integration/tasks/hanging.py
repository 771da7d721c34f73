"""A broker that hangs: what is said of it, and how long nobody waits for it."""

from __future__ import annotations

from embedded.redis_server import RedisServer
from tests.integration.doctor.looking import PASSWORD

SOON = 0.3


def names_it(text: str, server: RedisServer) -> bool:
    assert PASSWORD not in text
    return f"redis://127.0.0.1:{server.port}/0" in text and "Timeout" in text
