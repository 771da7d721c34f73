"""The safety of a server's data: who can access it, and what survives a restart, a crash or a failover."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from warmer import tasks
from warmer.doctor.check import SESSIONS_FIX, Finding, cache_check, error, info, ok, project_check, warning
from warmer.doctor.project import Cache, NotApplicable, Project, setting_of
from warmer.humanize import counted
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
# Replicas report every second; one that lags more than this has lost its link.
LONGEST_LAG_SECONDS = 10
SENTINEL_CLI = "redis-cli -h HOST -p 26379 SENTINEL"
# The field of INFO that shows a failure -> the command that tries again.
WRITES_TO_DISK = {
    "rdb_last_bgsave_status": "BGSAVE",
    "aof_last_write_status": "BGREWRITEAOF",
    "aof_last_bgrewrite_status": "BGREWRITEAOF",
}
NOTHING = "Nothing is kept on disk: save is empty, and appendonly is 'no'."


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
    ours = cache.setting("BACKEND", value='"warmer.stores.redis.backend.RedisCache"')
    if cache.server is None:
        yield info(f"{cache.backend} may pickle its values.", why=PICKLE_WHY, fix=ours)
    elif "pickle" in fallback.lower():
        fix = f"{cache.setting('OPTIONS', 'FALLBACK_SERIALIZER', value='None')}\n{OTHER_APPS}"
        yield warning("Values that are not plain data are pickled.", why=PICKLE_WHY, fix=fix)
    elif pickles(cache.alias):
        fix = cache.setting("OPTIONS", "SERIALIZER", value='"warmer.serializers.MsgspecSerializer"')
        fix += f"\nwith a backend of django-redis, or {ours}, pip install 'warmer[msgspec]', and another "
        fix += "KEY_PREFIX, because another release cannot read these values; then 'manage.py warm_cache'. "
        fix += OTHER_APPS
        yield warning("Values are pickled.", why=PICKLE_WHY, fix=fix)
    elif cache.holds_all_sessions and not fallback and "warmer." in f"{cache.backend} {options}":
        message = "Sessions are stored only in this cache, which keeps plain data only."
        why = "A session that holds anything else, such as a SafeString, is lost at the next request."
        fix = f"{SESSIONS_FIX}\nor another cache."
        yield info(message, why=why, fix=fix)


@project_check()
def celery_pickle(project: Project) -> Iterator[Finding]:
    """Workers accept the format that is sent, and no pickles."""
    if problem := tasks.problem_of_formats():
        yield error(problem.message, why=problem.why, fix=problem.fix)


@cache_check()
def persistence(cache: Cache) -> Iterator[Finding]:
    """The server keeps its data on disk as the jobs need it."""
    server = cache.redis
    append = server.place.config_set("appendonly", "yes")
    yield from _failures(server)
    save, appends = server.setting("save"), server.setting("appendonly") == "yes"
    if appends and server.setting("appendfsync") == "always":
        why = "Every write waits for the disk. 'everysec' loses a second or two in a crash."
        fix = server.place.config_set("appendfsync", "everysec")
        yield warning("appendfsync is 'always'.", why=why, fix=fix)
    elif appends:
        yield ok(f"save {save!r}, appendonly yes")
    elif save and cache.specs:
        message = f"Only save {save!r} keeps the keys on disk."
        why = "A crash undoes the invalidations since the last save, so every key is invalidated."
        fix = f'{append}\nOr start empty: {server.place.redis_cli} CONFIG SET save "", the same in '
        fix += "redis.conf, and delete its dump.rdb."
        yield warning(message, why=why, fix=fix)
    elif save:
        yield ok(f"save {save!r}, appendonly no")
    elif cache.holds_all_sessions:
        why = "A restart of the server logs out every user: sessions are stored nowhere else."
        yield warning(NOTHING, why=why, fix=f"{SESSIONS_FIX}\nor: {append}")
    else:
        why = "After a restart every key is cold until beat or 'manage.py warm_cache' has run."
        yield info(NOTHING, why=why, fix=append)


@project_check(after=("broker",))
def broker_persistence(project: Project) -> Iterator[Finding]:
    """The broker's messages survive a restart of its server."""
    server = project.redis
    yield from _failures(server)
    if not server.setting("save") and server.setting("appendonly") != "yes":
        why = "A restart of the server loses every queued message: runs, and the project's other tasks."
        yield warning(NOTHING, why=why, fix=server.place.config_set("appendonly", "yes"))


@cache_check()
def replication(cache: Cache) -> Iterator[Finding]:
    """The cache is on a primary, and its replicas keep up."""
    server = cache.redis
    found, place = server.info, server.place
    if found.get("role") == "slave":
        primary = f"{found.get('master_host')}:{found.get('master_port')}"
        message = f"{place.text} is a replica of {primary} (link {found.get('master_link_status')})."
        why = "A replica refuses writes, so nothing is warmed or invalidated."
        fix = cache.setting("LOCATION", value=f'"redis://{primary}/{place.database}"')
        fix += f"\nOr, after a failover, promote this server:\n{place.redis_cli} REPLICAOF NO ONE"
        yield error(message, why=why, fix=fix)
        return
    replicas = [found.get(f"slave{number}") for number in range(int(found.get("connected_slaves", 0)))]
    late = [
        f"{each['ip']}:{each['port']} ({each['state']}, {each['lag']} s behind)"
        for each in replicas
        if each and (each["state"] != "online" or each["lag"] > LONGEST_LAG_SECONDS)
    ]
    if late:
        message = f"Replicas do not keep up: {', '.join(late)}."
        why = "After a failover keys are cold, and the latest invalidations are undone."
        fix = f"{place.redis_cli} INFO replication\nCheck the replica's log and network. A full resync "
        fix += "that never ends needs a larger 'repl-backlog-size'."
        yield warning(message, why=why, fix=fix)
    else:
        yield ok(f"a primary with {counted(len(replicas), 'replica')}")


@cache_check(once=True, after=("backend",))
def sentinel(cache: Cache) -> Iterator[Finding]:
    """Enough Sentinels answer, and they agree on a master that is up."""
    sentinels, name = cache.redis.sentinels, cache.redis.place.service
    if not sentinels:
        raise NotApplicable("the settings name no Sentinel")
    states = [each.state for each in sentinels if not each.problem]
    if not states:
        raise NotApplicable("no Sentinel knows the master, see reachability")
    masters = sorted({each.master for each in sentinels if not each.problem})
    if len(masters) > 1:
        message = f"The Sentinels name different masters: {', '.join(masters)}."
        why = "Clients write to different servers: an invalidation misses half of the readers."
        fix = f"{SENTINEL_CLI} reset {name}\non the Sentinel that is alone in its view."
        yield error(message, why=why, fix=fix)
    if any(state["is_odown"] for state in states):
        why = "Nothing can be read or written until a replica takes its place."
        fix = f"{SENTINEL_CLI} failover {name}\nif there is a replica. Otherwise start the master again."
        yield error(f"The Sentinels agree that the master {masters[0]} is down.", why=why, fix=fix)
    if not any(state["num-slaves"] for state in states):
        why = "If it fails, nothing can take its place."
        fix = f"redis-cli -h HOST-OF-A-SECOND-SERVER REPLICAOF {masters[0].replace(':', ' ')}"
        yield warning(f"The master {masters[0]} has no replica.", why=why, fix=fix)
    quorum, known = (max(state[name] for state in states) for name in ("quorum", "num-other-sentinels"))
    silent = [f"{each.address} ({each.problem})" for each in sentinels if each.problem]
    if silent or known + 1 < 3:
        severity = error if len(states) < quorum else warning
        but = f", but not {'; '.join(silent)}" if silent else ""
        message = f"{len(states)} of {counted(max(known + 1, len(sentinels)), 'Sentinel')} answer{but}."
        why = f"A failover needs {quorum} of them and a majority of all, so there should be three."
        fix = "redis-sentinel /etc/redis/sentinel.conf\non the hosts that do not answer, or on more hosts, "
        fix += "with the same 'monitor' line."
        yield severity(message, why=why, fix=fix)


def _failures(server: Server) -> Iterator[Finding]:
    """Yield failed writes to disk."""
    found, cli = server.info, server.place.redis_cli
    for name, again in WRITES_TO_DISK.items():
        is_used = found.get("aof_enabled") or name.startswith("rdb_")
        if is_used and found.get(name, "ok") != "ok":
            message = f"The last write to disk failed: {name} is {found[name]!r}."
            why = "A restart brings back older keys. Until then the server may refuse every write."
            fix = f"{cli} CONFIG GET dir\nDoes the folder exist, and is the disk full? The server's log "
            fix += f"has the cause. Then:\n{cli} {again}"
            yield error(message, why=why, fix=fix)


def _exposure(server: Server, setting: str) -> Finding:
    if not server.serves_without_password():
        return ok("a password is required")
    bind = server.setting("bind")
    if bind and all(each.removeprefix("-") in OWN_MACHINE for each in bind.split()):
        return ok(f"no password, but it listens on its own machine only (bind {bind})")
    where = f"it listens on {bind or 'every address'}"
    fix = f"{server.place.config_set('requirepass', 'PASSWORD')}\nand the password in {setting}. Or in "
    fix += "redis.conf, if only its own machine needs it: bind 127.0.0.1"
    if server.setting("protected-mode") == "yes":
        message = f"No password, and {where}; only protected mode keeps other machines out."
        return info(message, why="Turning protected mode off opens it to everybody.", fix=fix)
    message = f"No password, protected mode is off, and {where}."
    why = "Anyone who can reach the port can read and write every key, and take over the machine "
    return error(message, why=f"{why}(MODULE LOAD).", fix=fix)
