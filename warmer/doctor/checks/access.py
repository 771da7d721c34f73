"""Who can access a server, and what they could do there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from warmer import tasks
from warmer.doctor.check import SESSIONS_FIX, Finding, cache_check, error, info, ok, project_check, warning
from warmer.doctor.project import Cache, NotApplicable, Project, setting_of
from warmer.stores import is_local, keeps_nothing, pickles

if TYPE_CHECKING:
    from warmer.stores.inspection import Server

OWN_MACHINE = {"127.0.0.1", "::1", "localhost"}
PICKLE_WHY = "Anyone who can write to its storage can run code in every web process and worker."
# The consequences of the fix for the rest of the project.
OTHER_APPS = (
    "Other apps' values that are not plain data, such as pages and model instances, are then not cached. "
    "To keep them, give warmer an alias of its own instead, see the guide."
)


@cache_check()
def exposure(cache: Cache) -> Iterator[Finding]:
    """A server without a password is reachable only from its own machine."""
    yield _exposure(cache.redis, setting_of(cache.alias, "LOCATION"))


@project_check(after=("broker",))
def broker_exposure(project: Project) -> Iterator[Finding]:
    """Without a password, only its own machine can reach the broker."""
    yield _exposure(project.redis, "CELERY_BROKER_URL")


@cache_check(once=True, after=("backend",))
def pickle(cache: Cache) -> Iterator[Finding]:
    """Values are plain data."""
    if not cache.specs:
        raise NotApplicable("no job uses this cache")
    if is_local(cache.alias) or keeps_nothing(cache.alias):
        raise NotApplicable("the cache is in the memory of this process")
    options = cache.options.get("OPTIONS", {})
    fallback = str(options.get("FALLBACK_SERIALIZER") or "")
    plain = cache.setting("OPTIONS", "SERIALIZER", value='"warmer.serializers.MsgspecSerializer"')
    ours = cache.setting("BACKEND", value='"warmer.stores.redis.backend.RedisCache"')
    plain += f"\nwith a backend of django-redis, or {ours}"
    if cache.server is None:
        yield info(f"{cache.backend} may pickle its values.", why=PICKLE_WHY, fix=ours)
    elif "pickle" in fallback.lower():
        fix = f"{cache.setting('OPTIONS', 'FALLBACK_SERIALIZER', value='None')}\n{OTHER_APPS}"
        yield warning("Values that are not plain data are pickled.", why=PICKLE_WHY, fix=fix)
    elif pickles(cache.alias):
        fix = (
            f"{plain}, 'pip install warmer[msgspec]', and another KEY_PREFIX, because "
            f"another release cannot read these values; then 'manage.py warm_cache'. {OTHER_APPS}"
        )
        yield warning("Values are pickled.", why=PICKLE_WHY, fix=fix)
    elif cache.holds_all_sessions and not fallback and "warmer." in f"{cache.backend} {options}":
        yield info(
            "Sessions are stored only in this cache, which keeps plain data only.",
            why="A session that holds anything else, such as a SafeString, is lost at the next request.",
            fix=f"{SESSIONS_FIX}\nor another cache.",
        )


@project_check()
def celery_pickle(project: Project) -> Iterator[Finding]:
    """Workers accept the format that is sent, and no pickles."""
    if problem := tasks.problem_of_formats():
        yield error(problem.message, why=problem.why, fix=problem.fix)


def _exposure(server: Server, setting: str) -> Finding:
    if not server.serves_without_password():
        return ok("a password is required")
    bind = server.setting("bind")
    if bind and all(each.removeprefix("-") in OWN_MACHINE for each in bind.split()):
        return ok(f"no password, but it listens on its own machine only (bind {bind})")
    where = f"it listens on {bind or 'every address'}"
    fix = (
        f"{server.place.config_set('requirepass', 'PASSWORD')}\nand the password in {setting}. Or in "
        "redis.conf, if only its own machine needs it: bind 127.0.0.1"
    )
    if server.setting("protected-mode") == "yes":
        message = f"No password, and {where}; only protected mode keeps other machines out."
        return info(message, why="Turning protected mode off opens it to everybody.", fix=fix)
    return error(
        f"No password, protected mode is off, and {where}.",
        why="Anyone who can reach the port can read and write every key, and take over the machine "
        "(MODULE LOAD).",
        fix=fix,
    )
