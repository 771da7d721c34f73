"""Why a server cannot be used, each reason with what it leads to and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from warmer.doctor.words import command
from warmer.humanize import duration
from warmer.stores.looks import Place, Reach

COLD = "Every read goes to the database, nothing can be warmed, and invalidations wait."


@dataclass(frozen=True, kw_only=True)
class Reason:
    """Texts with places: `{at}`, `{detail}`, `{database}`, `{timeout}`, `{connect_timeout}`, `{service}`,
    and `{cli}`, the start of a redis-cli command."""

    seen: str
    fix: str
    why: str = COLD

    def filled(self, place: Place, detail: str) -> dict[str, str]:
        """Return the texts for a finding."""
        words = {
            "at": place.text,
            "detail": detail,
            "database": place.database,
            "host": place.host or place.path,
            "port": place.port,
            "path": place.path,
            "service": place.service,
            "timeout": "its own time" if place.timeout is None else duration(place.timeout),
            "connect_timeout": "the system's time"
            if place.connect_timeout is None
            else duration(place.connect_timeout),
            "cli": command(place),
        }
        return {name: getattr(self, name).format_map(words) for name in ("seen", "why", "fix")}


REASONS: Mapping[Reach, Reason] = {
    Reach.REFUSED: Reason(
        seen="{at} refuses the connection: nothing listens there.",
        fix="systemctl status redis    (or: docker compose ps)\nStart the server; if it runs, REDIS_URL "
        "has the wrong host or port, or its 'bind' leaves out this address.",
    ),
    Reach.UNKNOWN_HOST: Reason(
        seen="The host of {at} has no address: {detail}.",
        fix="getent hosts {host}\nCorrect the host in REDIS_URL, or the name service of this machine.",
    ),
    Reach.UNREACHABLE: Reason(
        seen="There is no way to {at}: {detail}.",
        fix="ip route get {host}\nCorrect the host in REDIS_URL, or the network of this machine.",
    ),
    Reach.NO_SOCKET: Reason(
        seen="There is no unix socket at {at}.",
        fix="ls -l {path}\nStart the server with 'unixsocket {path}' in redis.conf, or correct REDIS_URL.",
    ),
    Reach.CONNECT_TIMEOUT: Reason(
        seen="{at} took no connection within {connect_timeout}.",
        fix="nc -vz {host} {port}\nA firewall that drops packets, a wrong address, or a machine that is "
        "down: open the port for this machine, or correct REDIS_URL.",
    ),
    Reach.SILENT: Reason(
        seen="{at} takes the connection but gave no answer within {timeout}.",
        fix="{cli} --latency\nThe server hangs: look for a long command (SLOWLOG GET), for swapping and "
        "for a stopped process; restart it if nothing moves.",
    ),
    Reach.PASSWORD_MISSING: Reason(
        seen="{at} wants a password, and the settings give none.",
        fix="REDIS_URL=redis://:PASSWORD@HOST:PORT/{database}\nwith the server's 'requirepass'; write "
        "special characters as %40, %2F and the like.",
    ),
    Reach.PASSWORD_WRONG: Reason(
        seen="{at} does not accept this user and password.",
        fix="REDIS_URL=redis://USER:PASSWORD@HOST:PORT/{database}\nas in the server's 'requirepass' or "
        "ACL; without a user it is the user 'default'. Special characters are written as %40, %2F and the "
        "like.",
    ),
    Reach.PASSWORD_UNWANTED: Reason(
        seen="{at} has no password, and the settings give one.",
        fix="requirepass PASSWORD\nin redis.conf (better), or REDIS_URL without a password. Is it the "
        "right server?",
    ),
    Reach.TLS_WANTED: Reason(
        seen="{at} speaks TLS, and the settings do not.",
        fix="REDIS_URL=rediss://HOST:PORT/{database}\nwith two 's', or the port on which the server speaks "
        "plain text.",
    ),
    Reach.TLS_UNWANTED: Reason(
        seen="{at} speaks plain text, and the settings want TLS.",
        fix="REDIS_URL=redis://HOST:PORT/{database}\nwith one 's', or the server's 'tls-port'.",
    ),
    Reach.CERTIFICATE: Reason(
        seen="The certificate of {at} is not trusted: {detail}.",
        fix="REDIS_URL=rediss://HOST:PORT/{database}?ssl_ca_certs=/path/to/ca.pem\nwith the authority that "
        "signed it, and the host name that stands in it.",
    ),
    Reach.TLS_FAILED: Reason(
        seen="No TLS connection to {at} came about: {detail}.",
        fix="openssl s_client -connect {host}:{port}\nshows what the server offers; it may want a client's "
        "certificate (ssl_certfile and ssl_keyfile in REDIS_URL).",
    ),
    Reach.DATABASE: Reason(
        seen="{at} has no database number {database}.",
        fix="REDIS_URL=redis://HOST:PORT/0\nor a larger 'databases' in redis.conf and a restart. A cluster "
        "and some managed servers have database 0 only.",
    ),
    Reach.PROTECTED: Reason(
        seen="{at} is in protected mode: it has no password, so it serves its own machine only.",
        fix="requirepass PASSWORD\nin redis.conf, a restart, and the password in REDIS_URL.",
    ),
    Reach.NO_CONNECTION_FREE: Reason(
        seen="{at} has no connection free: {detail}.",
        fix="{cli} CONFIG GET maxclients\n{cli} CLIENT LIST\nRaise 'maxclients', or lower the connections "
        "of the pools (max_connections times the processes must fit).",
    ),
    Reach.LOADING: Reason(
        seen="{at} is loading its data from disk.",
        fix="{cli} INFO persistence\n'loading_eta_seconds' says how long it takes; then ask again.",
    ),
    Reach.NO_MASTER: Reason(
        seen="No Sentinel gives out a master {service!r}: {detail}.",
        fix="redis-cli -h HOST -p 26379 SENTINEL masters\non a Sentinel: the name in REDIS_URL must be "
        "among them, and the master must be up.",
    ),
    Reach.NOT_REDIS: Reason(
        seen="What answers at {at} is no Redis server: {detail}.",
        fix="REDIS_URL=redis://HOST:PORT/{database}\nwith the port of the Redis server (6379 by default).",
    ),
    Reach.SENTINEL: Reason(
        seen="{at} is a Sentinel, which keeps no keys.",
        fix="REDIS_URL=redis-sentinel://HOST:26379,HOST2:26379/NAME-OF-THE-MASTER/0\nso that the Sentinels "
        "are asked where the master is.",
    ),
    Reach.SETTINGS: Reason(
        seen="The settings of the connection cannot be used: {detail}.",
        fix="REDIS_URL=redis://:PASSWORD@HOST:PORT/0\nis the form; see OPTIONS of this cache for the rest.",
    ),
    Reach.OTHER: Reason(
        seen="{at} does not answer as it should: {detail}.",
        fix="{cli} PING\nshows whether the server or this project's settings are at fault.",
    ),
}
"""Why no answer comes."""

WRITES: Mapping[Reach, Reason] = {
    Reach.READ_ONLY: Reason(
        seen="{at} is a replica: it takes no writes.",
        why="Nothing can be warmed or invalidated here: readers see old values.",
        fix="{cli} INFO replication\n'master_host' and 'master_port' are what REDIS_URL should name; or "
        "promote this one: REPLICAOF NO ONE.",
    ),
    Reach.FULL: Reason(
        seen="{at} is full ('maxmemory'), and its policy lets nothing go: it refuses every write.",
        why="Nothing can be warmed, and an invalidation cannot be noted: it waits while "
        "readers see old values.",
        fix="{cli} CONFIG SET maxmemory-policy allkeys-lru\nand in redis.conf, for its next start: "
        "maxmemory-policy allkeys-lru",
    ),
    Reach.NOT_SAVED: Reason(
        seen="{at} refuses every write, as it could not save its data to disk.",
        why="Nothing can be warmed or invalidated: readers see old values. It refuses PING too, so a "
        "client that checks its connections cannot even read.",
        fix="{cli} CONFIG SET stop-writes-on-bgsave-error no\nlets writes in now. The cause is in the "
        "server's log: a full disk, a missing folder, or no memory for the fork.",
    ),
    Reach.NOT_ALLOWED: Reason(
        seen="The user of {at} may not write: {detail}.",
        why="Nothing can be warmed or invalidated.",
        fix="{cli} ACL SETUSER USER '~*' +@all -@dangerous\nThe fence needs EVAL, EVALSHA and SCRIPT LOAD "
        "too.",
    ),
    Reach.OTHER: Reason(
        seen="{at} answers, but a write fails: {detail}.",
        why="Nothing can be warmed or invalidated.",
        fix="{cli} SET warmer-trial 1 PX 1000\nshows what the server says.",
    ),
}
"""Why a server that answers takes no write."""
