"""Whether a cache can be used: its library, its server, the login, the database, a write."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec

from warmer.doctor.check import CacheCheck
from warmer.doctor.finding import Finding, error, ok, warning
from warmer.doctor.project import Cache, Project
from warmer.doctor.reasons import REASONS, WRITES
from warmer.doctor.words import DJANGO_REDIS, option
from warmer.exceptions import StoreUnavailable
from warmer.humanize import duration
from warmer.stores.looks import Reach
from warmer.stores.trial import write_and_read_back

# The first part of a backend's path -> what pip installs for it.
PACKAGES = {
    "django_redis": "django-redis",
    "django.core.cache.backends.redis": "redis",
    "django.core.cache.backends.memcached.PyMemcacheCache": "pymemcache",
    "django.core.cache.backends.memcached.PyLibMCCache": "pylibmc",
}
MODULES = {"django-redis": "django_redis"}
# More, and requests pile up behind a server that hangs until no worker of the web server is free.
LONGEST_WAIT = 10.0


@dataclass(frozen=True)
class Backend(CacheCheck):
    """The library that the settings name is there, and all processes share the cache."""

    id = "backend"
    needs_redis = False
    after = ()

    def look(self, cache: Cache, project: Project) -> Iterator[Finding]:
        missing = _missing_package(cache.backend)
        if missing:
            yield error(
                f"The settings name {cache.backend}, but {missing} is not installed.",
                why="Every use of this cache raises an error: pages that read it fail, and nothing is "
                "warmed.",
                fix=f"pip install {missing}\nin this Python, and into the requirements file of the deploy.",
            )
        elif cache.problem:
            yield error(
                f"The backend {cache.backend} cannot be used: {cache.problem}.",
                why="Every use of this cache raises an error.",
                fix=f"{option(cache.alias, 'BACKEND', value='...')}\nmust name a class that can be "
                "imported, with OPTIONS that it knows.",
            )
        elif "dummy" in cache.backend:
            yield error(
                f"{cache.backend} keeps nothing.",
                why="Every read is a miss and goes to the database; a warm has no effect.",
                fix=_use_redis(cache),
            )
        elif "locmem" in cache.backend:
            yield warning(
                f"{cache.backend} is in the memory of one process.",
                why="Each web process and each worker has a cache of its own: what a worker warms, no page "
                "reads, and an invalidation reaches one process only.",
                fix=_use_redis(cache),
            )
        else:
            yield ok(cache.backend)


@dataclass(frozen=True)
class Reachability(CacheCheck):
    """The server answers with this address, login and database."""

    id = "reachability"
    needs_redis = False
    after = ("backend",)

    def look(self, cache: Cache, project: Project) -> Iterator[Finding]:
        if cache.server is None:
            yield _tried(cache)
            return
        found = cache.server.reach()
        if found.how != Reach.ANSWERS:
            reason = REASONS.get(found.how, REASONS[Reach.OTHER])
            yield error(**reason.filled(cache.server.place, found.detail))
            return
        yield ok(f"{cache.server.place.text} answers")


@dataclass(frozen=True)
class Writes(CacheCheck):
    """The server takes a key, gives it back and removes it."""

    id = "writes"

    def look(self, cache: Cache, project: Project) -> Iterator[Finding]:
        found = cache.redis.accepts_writes()
        if found.how == Reach.ANSWERS:
            yield ok("a key was written, read back and removed")
        else:
            reason = WRITES.get(found.how, WRITES[Reach.OTHER])
            yield error(**reason.filled(cache.redis.place, found.detail))


@dataclass(frozen=True)
class Timeouts(CacheCheck):
    """A client does not wait for a server that hangs for longer than a page may take."""

    id = "timeouts"
    after = ("backend",)

    def look(self, cache: Cache, project: Project) -> Iterator[Finding]:
        place = cache.redis.place
        longest = {"socket_timeout": place.timeout, "socket_connect_timeout": place.connect_timeout}
        for name, seconds in longest.items():
            if seconds is None or seconds > LONGEST_WAIT:
                so_long = "for ever" if seconds is None else "so long"
                yield warning(
                    f"{name} is {'not set' if seconds is None else duration(seconds)}.",
                    why=f"When the server hangs or the network drops packets, every request waits {so_long}, "
                    "until no process of the web server is free.",
                    fix=_timeout_line(cache, name),
                )
                return
        assert place.timeout is not None
        assert place.connect_timeout is not None
        yield ok(
            f"a client waits {duration(place.connect_timeout)} to connect, {duration(place.timeout)} for an "
            "answer"
        )


def _tried(cache: Cache) -> Finding:
    try:
        came_back = write_and_read_back(cache.alias)
    except StoreUnavailable as problem:
        return error(
            str(problem),
            why="Every read goes to the database, and nothing can be warmed.",
            fix=f"{option(cache.alias, 'LOCATION', value='...')}\nmust lead to where the cache is, and this "
            "user must be allowed to write there.",
        )
    if not came_back:
        return error(
            "What was just written cannot be read back.",
            why="Every read goes to the database: the cache is full, or drops its errors.",
            fix=f"{option(cache.alias, 'LOCATION', value='...')}\nmust lead to a cache that is up and has "
            "room.",
        )
    return ok("a key was written, read back and removed")


def _missing_package(backend: str) -> str:
    for start, package in PACKAGES.items():
        if backend.startswith(start):
            needed = {package, "redis"} if package == "django-redis" else {package}
            for name in sorted(needed):
                if find_spec(MODULES.get(name, name)) is None:
                    return name
    return ""


def _use_redis(cache: Cache) -> str:
    return f"{option(cache.alias, 'BACKEND', value=DJANGO_REDIS)}\nwith the server's address as LOCATION."


def _timeout_line(cache: Cache, name: str) -> str:
    if cache.backend.startswith("django_redis"):
        return option(cache.alias, "OPTIONS", name.upper(), value="2")
    return option(cache.alias, "OPTIONS", name, value="2")
