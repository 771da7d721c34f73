"""What is left of a cache after a restart of its server."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from django.conf import settings

from warmer.doctor.check import CacheCheck
from warmer.doctor.finding import Finding, error, info, ok, warning
from warmer.doctor.project import Cache, Project
from warmer.doctor.words import command, set_option

SESSIONS_IN_CACHE = "django.contrib.sessions.backends.cache"


def keeps_sessions(cache: Cache) -> bool:
    """Say whether sessions are in this cache and nowhere else."""
    return (
        settings.SESSION_ENGINE == SESSIONS_IN_CACHE
        and getattr(settings, "SESSION_CACHE_ALIAS", "default") == cache.alias
    )


@dataclass(frozen=True)
class Persistence(CacheCheck):
    """`save` and `appendonly`: what is set, and whether the last attempt worked."""

    id = "persistence"

    def look(self, cache: Cache, project: Project) -> Iterator[Finding]:
        redis, place = cache.redis, cache.redis.place
        yield from failures(redis.info, partial(command, place))
        save, appends = redis.setting("save"), redis.setting("appendonly") == "yes"
        if not save and not appends:
            yield _nothing_is_kept(cache)
        elif appends and redis.setting("appendfsync") == "always":
            yield warning(
                "appendfsync is 'always'.",
                why="Every write to the cache waits for the disk: a warm is many times slower. With "
                "'everysec' a machine that crashes loses the last second or two, and with it the "
                "invalidations of then.",
                fix=set_option(place, "appendfsync", "everysec"),
            )
        elif save and not appends and any(spec.cache == cache.alias for spec in project.specs):
            yield _kept_by_saves_alone(cache, save)
        else:
            yield ok(what_is_kept(save=save, appends=appends))


def what_is_kept(*, save: str, appends: bool) -> str:
    """Return what a server keeps on disk, in the words of its options; empty: nothing."""
    return ", ".join([*([f"save {save!r}"] if save else []), *(["appendonly yes"] if appends else [])])


def failures(found: Mapping[str, Any], redis_cli: Callable[[str], str]) -> Iterator[Finding]:
    """Yield what a server's INFO says of attempts to write to the disk that failed.

    Args:
        redis_cli: gives the line that asks the server for something.
    """
    if found.get("rdb_last_bgsave_status", "ok") != "ok":
        yield error(
            "The last save to disk (RDB) failed.",
            why="After a restart the keys are those of an older save; and with "
            "'stop-writes-on-bgsave-error' the server refuses every write.",
            fix=f"{redis_cli('CONFIG GET dir')}\nIs that folder there, writable, and the disk not "
            f"full? The server's log has the cause. Then:\n{redis_cli('BGSAVE')}",
        )
    for name in ("aof_last_write_status", "aof_last_bgrewrite_status"):
        if found.get("aof_enabled") and found.get(name, "ok") != "ok":
            yield error(
                f"The append-only file cannot be written ({name} is {found[name]!r}).",
                why="The server refuses writes, or loses them at a restart.",
                fix=f"{redis_cli('INFO persistence')}\nIs the disk full? The server's log has the "
                f"cause. Then:\n{redis_cli('BGREWRITEAOF')}",
            )


def _kept_by_saves_alone(cache: Cache, save: str) -> Finding:
    place = cache.redis.place
    forgets = command(place, "CONFIG SET", "save", '""')
    return warning(
        f"Keys are kept on disk by {what_is_kept(save=save, appends=False)} alone.",
        why="A server that crashes comes back with keys and fences as they were at the last save: "
        "invalidations since then are undone, and readers get old values until their timeout.",
        fix=f"{set_option(place, 'appendonly', 'yes')}\nOr, for a cache that may start empty: {forgets}, the "
        "same in redis.conf, and delete its dump.rdb, which is loaded all the same.",
    )


def _nothing_is_kept(cache: Cache) -> Finding:
    seen = "Nothing is kept on disk: save is empty, and appendonly is 'no'."
    fix = f"{set_option(cache.redis.place, 'appendonly', 'yes')}"
    if keeps_sessions(cache):
        return warning(
            seen,
            why="A restart of the server signs out every user: sessions are in this cache and nowhere else.",
            fix=f'SESSION_ENGINE = "django.contrib.sessions.backends.cached_db"\nin the settings, or: {fix}',
        )
    return info(
        seen,
        why="After a restart every key is cold, until beat or 'manage.py warm_cache' has run. For a cache "
        "that may be meant so.",
        fix=fix,
    )
