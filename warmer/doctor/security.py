"""Who can get at a cache, and what they could do with it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass

from warmer.doctor.check import CacheCheck
from warmer.doctor.finding import Finding, NotApplicable, error, info, ok, warning
from warmer.doctor.project import Cache, Project
from warmer.doctor.words import DJANGO_REDIS, option, set_option
from warmer.stores.looks import CommandRefused

EVERYWHERE = {"", "*", "0.0.0.0", "::", "::*"}  # noqa: S104 - recognised, not bound
SERIALIZER = '"warmer.serializers.MsgspecSerializer"'
# Where others can write what is unpickled here.
SHARED = ("memcached", "filebased", "db.DatabaseCache")


@dataclass(frozen=True)
class Exposure(CacheCheck):
    """Without a password the server is reached from its own machine only."""

    id = "exposure"

    def look(self, cache: Cache, project: Project) -> Iterator[Finding]:
        redis, place = cache.redis, cache.redis.place
        if not redis.lets_in_without_password():
            yield ok("a password is required")
            return
        try:
            bind, protected = redis.setting("bind"), redis.setting("protected-mode") == "yes"
        except CommandRefused as refused:
            yield from _unknown(cache, str(refused))
            return
        fix = (
            f"{set_option(place, 'requirepass', 'PASSWORD')}\nand "
            f"REDIS_URL=redis://:PASSWORD@HOST:PORT/{place.database} in the project. Or in redis.conf, "
            "where only this machine needs it: bind 127.0.0.1"
        )
        if place.path and not public_addresses(bind):
            yield ok("a unix socket and this machine's own address only")
        else:
            yield without_password(bind, protected=protected, fix=fix)


def without_password(bind: str, *, protected: bool, fix: str) -> Finding:
    """Return what it means that a server with no password listens where its option `bind` says."""
    if not public_addresses(bind):
        return ok(f"no password, but it listens on this machine only (bind {bind})")
    if protected:
        return info(
            f"No password, and it listens on {bind or 'every address'}; protected mode keeps other machines "
            "out.",
            why="It serves its own machine only. Whoever turns protected mode off opens it to all.",
            fix=fix,
        )
    return error(
        f"No password, protected mode is off, and it listens on {bind or 'every address'}.",
        why="Whoever reaches this port reads and writes every key, and can take over the machine "
        "(CONFIG SET dir, MODULE LOAD).",
        fix=fix,
    )


def public_addresses(bind: str) -> list[str]:
    """Return which addresses of an option `bind` are reached from other machines."""
    return [each for each in bind.split() or [""] if _is_public(each.removeprefix("-"))]


@dataclass(frozen=True)
class Pickle(CacheCheck):
    """What is read from the cache cannot run code."""

    id = "pickle"
    needs_redis = False
    after = ("backend",)

    def look(self, cache: Cache, project: Project) -> Iterator[Finding]:
        if cache.server is None:
            if not any(each in cache.backend for each in SHARED):
                raise NotApplicable("it is in the memory of this process")
            yield info(
                f"{cache.backend} pickles its values.",
                why="Whoever can write where it keeps them can run code in every web process.",
                fix=f"{option(cache.alias, 'BACKEND', value=DJANGO_REDIS)}\n"
                f"{option(cache.alias, 'OPTIONS', 'SERIALIZER', value=SERIALIZER)}",
            )
        elif cache.server.pickles:
            yield warning(
                "Values are pickled.",
                why="Whoever can write to this server runs code in every web process and worker; and a "
                "value of an older release may not load.",
                fix=_plain_data(cache),
            )
        else:
            yield ok("values are plain data")


def _plain_data(cache: Cache) -> str:
    line = option(cache.alias, "OPTIONS", "SERIALIZER", value=SERIALIZER)
    after = (
        "\nwith 'pip install warmer[msgspec]', and another KEY_PREFIX, so that the releases do not read each "
        "other's values; then 'manage.py warm_cache'."
    )
    if cache.backend.startswith("django_redis"):
        return line + after
    return f"{option(cache.alias, 'BACKEND', value=DJANGO_REDIS)}\n{line}{after}"


def _unknown(cache: Cache, refused: str) -> Iterator[Finding]:
    place = cache.redis.place
    fix = "requirepass PASSWORD\nin redis.conf, or in the console of the provider."
    if place.path or not _is_public(place.host):
        yield info(
            f"No password. Whether it listens beyond this machine is not known. {refused}.",
            why="If it does, whoever reaches the port reads and writes every key.",
            fix=fix,
        )
    else:
        yield warning(
            f"No password, and it is reached over the network. {refused}.",
            why="Whoever reaches the port reads and writes every key.",
            fix=fix,
        )


def _is_public(address: str) -> bool:
    """Say whether an address is reached from other machines."""
    if address in EVERYWHERE:
        return True
    try:
        return not ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address != "localhost"
