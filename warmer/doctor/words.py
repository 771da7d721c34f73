"""Commands and settings to paste."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from warmer.stores.looks import Place

KB = 1024
MB = 1024 * KB
DJANGO_REDIS = '"django_redis.cache.RedisCache"'
MINUTE, HOUR, DAY = 60, 3600, 86_400


def command(place: Place, *words: str) -> str:
    """Return a redis-cli command to a server; a password it asks for."""
    parts = ["redis-cli"]
    if place.service:
        parts += ["-h", "HOST-OF-THE-MASTER"]
    elif place.path:
        parts += ["-s", place.path]
    else:
        parts += ["-h", place.host, "-p", str(place.port)]
    if place.tls:
        parts.append("--tls")
    if place.username:
        parts += ["--user", place.username]
    if place.has_password:
        parts.append("--askpass")
    return " ".join([*parts, *words])


def set_option(place: Place, name: str, value: str) -> str:
    """Return how to change a server's option: now, and for its next start."""
    return set_option_by(partial(command, place), name, value)


def set_option_by(redis_cli: Callable[[str], str], name: str, value: str) -> str:
    """Return the same of a server that is asked by the line which `redis_cli` gives."""
    shown = value if value else '""'
    change = redis_cli(f"CONFIG SET {name} {shown}")
    return f"{change}\nand in redis.conf, for its next start: {name} {shown}"


def option(alias: str, *names: str, value: str) -> str:
    """Return a line for the settings, e.g. `CACHES["default"]["OPTIONS"]["X"] = value`."""
    return "CACHES" + "".join(f'["{name}"]' for name in (alias, *names)) + f" = {value}"
