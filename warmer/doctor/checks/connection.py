"""Can the cache be used: its library, its server, the login, a write, the timeouts."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

from warmer.doctor.check import CacheCheck, Finding, error, ok, warning
from warmer.doctor.checks.causes import explain
from warmer.doctor.probe import probe
from warmer.doctor.project import Cache
from warmer.exceptions import CommandRefused, StoreUnavailable
from warmer.humanize import duration
from warmer.stores import varying_names

# How a backend's path starts -> the modules that it needs.
MODULES = {
    "django_redis": ("django_redis", "redis"),
    "django.core.cache.backends.redis": ("redis",),
    "warmer.stores.redis": ("django_redis", "redis", "msgspec"),
    "django.core.cache.backends.memcached.PyMemcacheCache": ("pymemcache",),
    "django.core.cache.backends.memcached.PyLibMCCache": ("pylibmc",),
}
LONGEST_TIMEOUT = 10.0


class Backend(CacheCheck, id="backend", after=()):
    """The backend's library is installed, and all processes share the cache."""

    def run(self, cache: Cache) -> Iterator[Finding]:
        needed = [
            module for start, each in MODULES.items() if cache.backend.startswith(start) for module in each
        ]
        if "warmer.serializers" in str(cache.options.get("OPTIONS")):
            needed.append("msgspec")
        missing = [module.replace("_", "-") for module in needed if find_spec(module) is None]
        use_redis = cache.setting("BACKEND", value='"warmer.stores.redis.backend.RedisCache"')
        if missing:
            yield error(
                f"The settings of {cache.backend} need {missing[0]}, which is not installed.",
                why="Every use of this cache raises an error.",
                fix=f"pip install {missing[0]}\nin this Python, and add it to your requirements.",
            )
        elif cache.problem:
            yield error(
                f"The backend {cache.backend} cannot be used: {cache.problem}.",
                why="Every use of this cache raises an error.",
                fix=cache.setting("BACKEND", value="...") + "\nmust be importable and accept its OPTIONS.",
            )
        elif cache.has_jobs and (names := varying_names(cache.alias)):
            yield error(
                f"Its KEY_FUNCTION makes several names of one key: {names[0]!r} and {names[1]!r}.",
                why="They depend on the caller, e.g. its tenant: workers do not find what a request cached.",
                fix=cache.setting("KEY_FUNCTION", value="None")
                + "\nor another cache for jobs. Put the tenant into the id, see the guide.",
            )
        elif cache.has_jobs and "dummy" in cache.backend:
            why = "Every read goes to the database, and warming has no effect."
            yield error(f"{cache.backend} keeps nothing.", why=why, fix=use_redis)
        elif cache.has_jobs and "locmem" in cache.backend:
            why = "Each process has its own: no page reads what a worker warms or sees its invalidations."
            yield warning(f"{cache.backend} is in the memory of one process.", why=why, fix=use_redis)
        else:
            where = "" if cache.server else cache.options.get("LOCATION")
            yield ok(f"{cache.backend} at {where}" if where else cache.backend)


class Reachability(CacheCheck, id="reachability", after=("backend",)):
    """The server answers with this address, login and database; any other cache keeps a key."""

    def run(self, cache: Cache) -> Iterator[Finding]:
        if cache.server is None:
            yield _probe(cache)
            return
        place = cache.server.place
        try:
            cache.server.ask("PING")
            if "sentinel_masters" in cache.server.info:
                raise StoreUnavailable(f"{place.text} is a Sentinel, which keeps no keys")
        except CommandRefused:
            pass  # but it let us in
        except StoreUnavailable as problem:
            if "MISCONF" not in str(problem):  # a server that cannot save refuses PING like a write
                yield explain(problem, place, cache.alias)
                return
        yield ok(f"{place.text} answers")


class Writes(CacheCheck, id="writes"):
    """The server runs the scripts of the fence, and accepts, returns and deletes keys, as a job uses it."""

    def run(self, cache: Cache) -> Iterator[Finding]:
        server = cache.redis
        try:  # the fence aside, whole jobs are invalidated by these
            server.ask("SCAN", 0, "COUNT", 1)
            server.ask("UNLINK", "warmer-doctor:none")
        except (CommandRefused, StoreUnavailable) as problem:
            yield explain(problem, server.place, cache.alias)
        else:
            yield _probe(cache)


class Timeouts(CacheCheck, id="timeouts", after=("backend",)):
    """A client does not wait longer for a hanging server than a page may take."""

    def run(self, cache: Cache) -> Iterator[Finding]:
        place = cache.redis.place
        waits = {"socket_timeout": place.timeout, "socket_connect_timeout": place.connect_timeout}
        for name, seconds in waits.items():
            if seconds is None or seconds > LONGEST_TIMEOUT:
                pool = cache.options.get("OPTIONS", {}).get("CONNECTION_POOL_KWARGS", {})
                names = [name.upper()] if cache.backend.startswith(("django_redis", "warmer")) else [name]
                if name in pool:  # it wins
                    names = ["CONNECTION_POOL_KWARGS", name]
                yield warning(
                    f"{name} is {'not set' if seconds is None else duration(seconds)}.",
                    why="When the server hangs, every request waits that long, until no web process is free.",
                    fix=cache.setting("OPTIONS", *names, value="0.5"),
                )
                return
        connect, answer = duration(place.connect_timeout or 0), duration(place.timeout or 0)
        yield ok(f"a client waits {connect} to connect, {answer} for an answer")


def _probe(cache: Cache) -> Finding:
    try:
        return ok(f"read/write OK ({1000 * probe(cache.alias):.1f} ms)")
    except StoreUnavailable as problem:
        if cache.server is not None:
            return explain(problem, cache.server.place, cache.alias)
        return error(
            f"{str(problem).rstrip('.')}.",
            why="Every read goes to the database, and nothing can be warmed.",
            fix=cache.setting("LOCATION", value="...") + "\nmust lead to a cache that is up and has room.",
        )
