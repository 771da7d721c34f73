"""Persistence, replicas and Sentinels: the data that survives a restart, a crash or a failover."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from warmer.doctor.check import SESSIONS_FIX, Finding, cache_check, error, info, ok, project_check, warning
from warmer.doctor.project import Cache, NotApplicable, Project
from warmer.humanize import counted

if TYPE_CHECKING:
    from warmer.stores.inspection import Sentinel, Server

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
        yield warning(
            f"Only save {save!r} keeps the keys on disk.",
            why="A crash undoes the invalidations since the last save, so every key is invalidated.",
            fix=f'{append}\nOr start empty: {server.place.redis_cli} CONFIG SET save "", the same in '
            "redis.conf, and delete its dump.rdb.",
        )
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
        yield error(
            f"{place.text} is a replica of {primary} (link {found.get('master_link_status')}).",
            why="A replica refuses writes, so nothing is warmed or invalidated.",
            fix=cache.setting("LOCATION", value=f'"redis://{primary}/{place.database}"')
            + f"\nOr, after a failover, promote this server:\n{place.redis_cli} REPLICAOF NO ONE",
        )
        return
    replicas = [found.get(f"slave{number}") for number in range(int(found.get("connected_slaves", 0)))]
    late = [
        f"{each['ip']}:{each['port']} ({each['state']}, {each['lag']} s behind)"
        for each in replicas
        if each and (each["state"] != "online" or each["lag"] > LONGEST_LAG_SECONDS)
    ]
    if late:
        yield warning(
            f"Replicas do not keep up: {', '.join(late)}.",
            why="After a failover keys are cold, and the latest invalidations are undone.",
            fix=f"{place.redis_cli} INFO replication\nCheck the replica's log and network. A full resync "
            "that never ends needs a larger 'repl-backlog-size'.",
        )
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
        yield error(
            f"The Sentinels name different masters: {', '.join(masters)}.",
            why="Clients write to different servers: an invalidation misses half of the readers.",
            fix=f"{SENTINEL_CLI} reset {name}\non the Sentinel that is alone in its view.",
        )
    if any(state["is_odown"] for state in states):
        why = "Nothing can be read or written until a replica takes its place."
        fix = f"{SENTINEL_CLI} failover {name}\nif there is a replica. Otherwise start the master again."
        yield error(f"The Sentinels agree that the master {masters[0]} is down.", why=why, fix=fix)
    if not any(state["num-slaves"] for state in states):
        why = "If it fails, nothing can take its place."
        fix = f"redis-cli -h HOST-OF-A-SECOND-SERVER REPLICAOF {masters[0].replace(':', ' ')}"
        yield warning(f"The master {masters[0]} has no replica.", why=why, fix=fix)
    yield from _quorum(sentinels, states)


def _failures(server: Server) -> Iterator[Finding]:
    """Yield failed writes to disk."""
    found, cli = server.info, server.place.redis_cli
    for name, again in WRITES_TO_DISK.items():
        is_used = found.get("aof_enabled") or name.startswith("rdb_")
        if is_used and found.get(name, "ok") != "ok":
            yield error(
                f"The last write to disk failed: {name} is {found[name]!r}.",
                why="A restart brings back older keys. Until then the server may refuse every write.",
                fix=f"{cli} CONFIG GET dir\nDoes the folder exist, and is the disk full? The server's log "
                f"has the cause. Then:\n{cli} {again}",
            )


def _quorum(sentinels: Sequence[Sentinel], states: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Yield whether Sentinels do not answer, or are too few."""
    quorum, known = (max(state[name] for state in states) for name in ("quorum", "num-other-sentinels"))
    silent = [f"{each.address} ({each.problem})" for each in sentinels if each.problem]
    if silent or known + 1 < 3:
        severity = error if len(states) < quorum else warning
        but = f", but not {'; '.join(silent)}" if silent else ""
        yield severity(
            f"{len(states)} of {counted(max(known + 1, len(sentinels)), 'Sentinel')} answer{but}.",
            why=f"A failover needs {quorum} of them and a majority of all, so there should be three.",
            fix="redis-sentinel /etc/redis/sentinel.conf\non the hosts that do not answer, or on more hosts, "
            "with the same 'monitor' line.",
        )
