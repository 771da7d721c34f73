"""Replicas and Sentinels: whether a server that fails would be replaced."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from warmer.doctor.check import CacheCheck
from warmer.doctor.finding import Finding, NotApplicable, error, ok, warning
from warmer.doctor.project import Cache, Project
from warmer.doctor.words import command
from warmer.humanize import counted
from warmer.stores.looks import SentinelSeen

# Redis asks its replicas every second; one that is further behind has lost its link.
LONGEST_LAG_SECONDS = 10
ASK = "redis-cli -h HOST -p 26379 SENTINEL"


@dataclass(frozen=True)
class Replication(CacheCheck):
    """The cache is at a primary, and its replicas keep up."""

    id = "replication"

    def look(self, cache: Cache, project: Project) -> Iterator[Finding]:
        info, place = cache.redis.info, cache.redis.place
        if info.get("role") == "slave":
            primary = f"{info.get('master_host')}:{info.get('master_port')}"
            broken = info.get("master_link_status") != "up"
            yield error(
                f"{place.text} is a replica of {primary}" + (", and its link is down." if broken else "."),
                why="A replica refuses writes, so nothing is warmed or invalidated"
                + (", and what it holds gets older and older." if broken else "."),
                fix=f"REDIS_URL=redis://{primary}/{place.database}\nthe primary; after a failover, or to "
                f"make this one the primary:\n{command(place, 'REPLICAOF NO ONE')}",
            )
            return
        count = int(info.get("connected_slaves", 0))
        replicas = [info[f"slave{number}"] for number in range(count) if f"slave{number}" in info]
        late = [
            f"{each['ip']}:{each['port']} ({each['state']}, {each['lag']} s behind)"
            for each in replicas
            if each["state"] != "online" or each["lag"] > LONGEST_LAG_SECONDS
        ]
        if late:
            yield warning(
                f"Replicas that do not keep up: {', '.join(late)}.",
                why="If the primary fails now, one of these takes its place: keys are cold, and what was "
                "invalidated last is there again.",
                fix=f"{command(place, 'INFO replication')}\nLook at the replica's log and network; a full "
                "resync that never ends wants a larger 'repl-backlog-size' and "
                "'client-output-buffer-limit'.",
            )
        else:
            yield ok(f"a primary with {counted(count, 'replica')}" if count else "a primary without replicas")


@dataclass(frozen=True)
class Sentinels(CacheCheck):
    """Enough Sentinels answer, and they agree on a master that is up."""

    id = "sentinel"
    after = ("backend",)

    def look(self, cache: Cache, project: Project) -> Iterator[Finding]:
        seen = cache.redis.sentinels
        if not seen:
            raise NotApplicable("the settings name no Sentinel")
        name = cache.redis.place.service
        answering = [each for each in seen if not each.problem]
        if not answering:
            yield error(
                f"None of {counted(len(seen), 'Sentinel')} tells of {name!r}: {_silent(seen)}.",
                why="No client finds the master, and nobody would replace it.",
                fix=f"{ASK} masters\non each: is it up, and is {name!r} among the names? SENTINELS and the "
                "name in the settings must be theirs.",
            )
            return
        found = [*_master(answering, name), *_quorum(seen, answering), *_spare(answering)]
        yield from found or [ok(f"{answering[0].others + 1} Sentinels agree on {answering[0].master}")]


def _master(answering: Sequence[SentinelSeen], name: str) -> Iterator[Finding]:
    masters = sorted({each.master for each in answering})
    if len(masters) > 1:
        yield error(
            f"The Sentinels name different masters: {', '.join(masters)}.",
            why="Some clients write to one server and some to the other: an invalidation misses half of "
            "the readers.",
            fix=f"{ASK} reset {name}\non the one that is alone in its view.",
        )
    if any(each.agreed_down for each in answering):
        yield error(
            f"The Sentinels agree that the master {masters[0]} is down.",
            why="Nothing can be read or written until a replica takes its place; without one, never.",
            fix=f"{ASK} failover {name}\nwhere there is a replica; else start the master again.",
        )
    elif any(each.down for each in answering):
        yield warning(
            f"A Sentinel cannot reach the master {masters[0]}.",
            why="If enough come to say so, they put a replica in its place.",
            fix=f"{ASK} master {name}\nand look at the network between the two.",
        )


def _quorum(seen: Sequence[SentinelSeen], answering: Sequence[SentinelSeen]) -> Iterator[Finding]:
    quorum, known = max(each.quorum for each in answering), max(each.others for each in answering) + 1
    if len(answering) < len(seen):
        problem = error if len(answering) < quorum else warning
        yield problem(
            f"{len(answering)} of {counted(len(seen), 'Sentinel')} answer, and {quorum} must agree that a "
            f"master is down. Not: {_silent(seen)}.",
            why="Without that number, and a majority of all, nobody replaces a master that fails.",
            fix="redis-sentinel /etc/redis/sentinel.conf\non the hosts that do not answer.",
        )
    if known < 3:
        yield warning(
            f"Only {counted(known, 'Sentinel')} watch the master."
            if known > 1
            else "Only 1 Sentinel watches the master.",
            why="A failover needs a majority: with fewer than three, the loss of one machine prevents it.",
            fix="redis-sentinel /etc/redis/sentinel.conf\non further hosts, with the same 'sentinel "
            "monitor' line.",
        )


def _spare(answering: Sequence[SentinelSeen]) -> Iterator[Finding]:
    if not any(each.replicas for each in answering):
        master = answering[0].master
        yield warning(
            f"The master {master} has no replica.",
            why="When it fails there is nothing to put in its place.",
            fix=f"redis-cli -h HOST-OF-A-SECOND-SERVER REPLICAOF {master.replace(':', ' ')}",
        )


def _silent(seen: Sequence[SentinelSeen]) -> str:
    return "; ".join(f"{each.address} ({each.problem})" for each in seen if each.problem)
