"""Who can access a server, and what they could do there."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from warmer import tasks
from warmer.doctor.check import SESSIONS_FIX, Finding, cache_check, error, info, ok, project_check, warning
from warmer.doctor.project import Cache, NotApplicable, Project
from warmer.exceptions import CommandRefused
from warmer.humanize import duration
from warmer.stores import pickles

if TYPE_CHECKING:
    from warmer.stores.inspection import Server

EVERY_ADDRESS = {"", "*", "0.0.0.0", "::", "::*"}  # noqa: S104 - recognised, not bound
# Places where others may be able to write data that is unpickled here.
SHARED = ("memcached", "filebased", "db.DatabaseCache")
PICKLE_WHY = "Anyone who can write to its storage can run code in every web process and worker."
# The consequences of the fix for the rest of the project.
OTHER_APPS = (
    "Other apps' values that are not plain data, such as pages and model instances, are then not cached. "
    "To keep them, give warmer an alias of its own instead, see the guide."
)


@cache_check()
def exposure(cache: Cache) -> Iterator[Finding]:
    """A server without a password is reachable only from its own machine."""
    yield _exposure(cache.redis, "REDIS_URL")


@project_check(after=("broker",))
def broker_exposure(project: Project) -> Iterator[Finding]:
    """Without a password, only its own machine can reach the broker."""
    yield _exposure(project.redis, "CELERY_BROKER_URL")


@cache_check(once=True, after=("backend",))
def pickle(cache: Cache) -> Iterator[Finding]:
    """Values are plain data."""
    if not cache.specs:
        raise NotApplicable("no job uses this cache")
    if "locmem" in cache.backend or "dummy" in cache.backend:
        raise NotApplicable("the cache is in the memory of this process")
    if cache.server is None and not any(each in cache.backend for each in SHARED):
        raise NotApplicable(f"how {cache.backend} keeps its values is not known here")
    options = cache.options.get("OPTIONS", {})
    fallback = str(options.get("FALLBACK_SERIALIZER") or "")
    if cache.server is None:
        yield info(f"{cache.backend} pickles its values.", why=PICKLE_WHY, fix=_plain_data(cache))
    elif "pickle" in fallback.lower():
        fix = f"{cache.setting('OPTIONS', 'FALLBACK_SERIALIZER', value='None')}\n{OTHER_APPS}"
        yield warning("Values that are not plain data are pickled.", why=PICKLE_WHY, fix=fix)
    elif pickles(cache.alias):
        fix = (
            f"{_plain_data(cache)}\nwith 'pip install warmer[msgspec]' and another KEY_PREFIX, because "
            f"another release cannot read these values; then 'manage.py warm_cache'. {OTHER_APPS}"
        )
        yield warning("Values are pickled.", why=PICKLE_WHY, fix=fix)
    elif cache.holds_all_sessions and not fallback and "warmer." in f"{cache.backend} {options}":
        yield info(
            "Sessions are stored only in this cache, which keeps plain data only.",
            why="A session that holds anything else, such as a SafeString, is lost at the next request.",
            fix=f"{SESSIONS_FIX}\nor another cache.",
        )


@cache_check(once=True, after=("backend", "reachability", "writes"))
def fences(cache: Cache) -> Iterator[Finding]:
    """No other program writes to the fences of jobs."""
    cli, noted = cache.redis.place.redis_cli, dict[str, float]()
    for spec in cache.specs:
        if not cache.redis.is_node and cache.redis.ask("EXISTS", spec.store.fence_key):
            spec.store.token(())  # this replaces a damaged fence that has not been used since
        noted = spec.store.damages.noted() if spec.store.damages else {}
    for text, at in noted.items():
        yield warning(
            f"The fence {text} ({duration(time.time() - at)} ago).",
            why="Another program writes to this cache. The fence was replaced: no old value is stored, "
            "and what was being loaded is loaded again.",
            fix=f"{cli} CLIENT LIST\nshows who is connected. Give other programs a server, a database or "
            "an ACL user of their own. This warning ends after 3 days.",
        )


@project_check()
def celery_pickle(project: Project) -> Iterator[Finding]:
    """Workers accept the format that is sent, and no pickles."""
    if problem := tasks.problem_of_formats():
        yield error(problem.message, why=problem.why, fix=problem.fix)


def _plain_data(cache: Cache) -> str:
    if cache.backend.startswith(("django_redis", "warmer")):
        return cache.setting("OPTIONS", "SERIALIZER", value='"warmer.serializers.MsgspecSerializer"')
    return cache.setting("BACKEND", value='"warmer.stores.redis.backend.RedisCache"')


def _exposure(server: Server, variable: str) -> Finding:
    if not server.serves_without_password():
        return ok("a password is required")
    place = server.place
    why = (
        "Anyone who can reach the port can read and write every key, and take over the machine (MODULE LOAD)."
    )
    try:
        bind, is_protected = server.setting("bind"), server.setting("protected-mode") == "yes"
    except CommandRefused as refused:
        severity = warning if not place.path and _is_public(place.host) else info
        fix = "requirepass PASSWORD\nin redis.conf, or in your provider's console."
        return severity(f"No password, and unknown addresses. {refused}.", why=why, fix=fix)
    if not any(_is_public(each.removeprefix("-")) for each in bind.split() or [""]):
        return ok(f"no password, but it listens on its own machine only (bind {bind})")
    fix = (
        f"{place.config_set('requirepass', 'PASSWORD')}\nand {variable}=redis://:PASSWORD@HOST:PORT/"
        f"{place.database} in the project. Or in redis.conf, if only its own machine needs it: bind 127.0.0.1"
    )
    where = f"it listens on {bind or 'every address'}"
    if is_protected:
        message = f"No password, and {where}; only protected mode keeps other machines out."
        return info(message, why="Turning protected mode off opens it to everybody.", fix=fix)
    return error(f"No password, protected mode is off, and {where}.", why=why, fix=fix)


def _is_public(address: str) -> bool:
    """Return whether other machines can reach an address."""
    if address in EVERY_ADDRESS:
        return True
    try:
        return not ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address != "localhost"
