"""Sizes, times, counts and commands as a person writes them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from warmer.stores.looks import Place

KB = 1024
MB = 1024 * KB
GB = 1024 * MB
DJANGO_REDIS = '"django_redis.cache.RedisCache"'
MINUTE, HOUR, DAY = 60, 3600, 86_400


def size(count: float) -> str:
    """Return a number of bytes, e.g. "1.5 GB"."""
    for unit, name in ((GB, "GB"), (MB, "MB"), (KB, "kB")):
        if abs(count) >= unit:
            return f"{count / unit:.3g} {name}" if count < 1000 * unit else f"{count / unit:,.0f} {name}"
    return f"{count:.0f} bytes"


def lasting(seconds: float) -> str:
    """Return a time, e.g. "12 min"."""
    for unit, name in ((DAY, "days"), (HOUR, "h"), (MINUTE, "min")):
        if abs(seconds) >= 2 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds:.0f} s" if abs(seconds) >= 10 else f"{round(seconds, 1):g} s"


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, e.g. "1 key", "2 keys"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


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
