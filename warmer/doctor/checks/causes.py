"""The meaning of a Redis server's errors, and what to do about them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from warmer.doctor.check import Finding, error

if TYPE_CHECKING:
    from warmer.stores import Place

COLD = "Every read goes to the database, nothing can be warmed, and invalidations wait."
READ_ONLY = "Nothing can be warmed or invalidated: readers see old values."
# All commands that warmer sends, directly and in its scripts. The doctor's page lists them too.
LEAST_RIGHTS = (
    "+ping +select +hello +mget +get +set +del +unlink +exists +pttl +expire +pexpire +scan +time "
    "+eval +evalsha +multi +exec +hgetall +hincrby +zadd +zcard +zrange +zrangebyscore +zrem "
    "+zremrangebyscore +zrevrangebyscore +zscore"
)


# A pattern that matches an error, or one that led to it, as `Class: text` -> the fix, with the attributes of
# `Place` in braces. The first match counts, and the last one matches everything.
CAUSES = {
    "is a Sentinel": "REDIS_URL=redis-sentinel://HOST:26379,HOST2:26379/NAME-OF-THE-MASTER/0\n"
    "asks the Sentinels for it.",
    "MasterNotFoundError.*(Authentication|NOAUTH)": (
        'CACHES["{alias}"]["OPTIONS"]["SENTINEL_KWARGS"] = {{"password": "PASSWORD"}}\n'
        "The Sentinels require a password of their own."
    ),
    "MasterNotFoundError": "redis-cli -h HOST -p 26379 SENTINEL masters\n"
    "lists the names that they know, not {service!r}.",
    "DENIED|protected mode": "requirepass PASSWORD\n"
    "in redis.conf, then restart the server and put the password in REDIS_URL.",
    "AuthenticationError|NOAUTH|invalid username-password|invalid password|without any password": (
        "REDIS_URL=redis://USER:PASSWORD@HOST:PORT/{database}\n"
        "with the server's 'requirepass' or a user of its ACL, or no password if it has none. Escape special "
        "characters: %40 for @, %2F for /."
    ),
    "DB index": "REDIS_URL=redis://HOST:PORT/0\nor raise 'databases' in redis.conf. Clusters have only 0.",
    "max number of clients|Too many connections|No connection available": (
        "{redis_cli} CONFIG GET maxclients\n{redis_cli} CLIENT LIST\nRaise it, or lower max_connections."
    ),
    "BusyLoadingError|LOADING": "{redis_cli} INFO persistence\n'loading_eta_seconds' says how long it takes.",
    "ReadOnlyError|READONLY": "{redis_cli} INFO replication\n"
    "It is a replica: name its 'master_host' in REDIS_URL.",
    "OutOfMemoryError|OOM ": "{redis_cli} CONFIG SET maxmemory-policy allkeys-lru\n"
    "and in redis.conf, for its next start: maxmemory-policy allkeys-lru",
    "MISCONF.*AOF": "{redis_cli} CONFIG GET dir\n"
    "Free space on the disk of this folder: the server then accepts writes again within a second.",
    "MISCONF": "{redis_cli} CONFIG SET stop-writes-on-bgsave-error no\n"
    "allows writes now. The server's log says why it cannot save: a full disk, a missing folder, or too "
    "little memory for the fork.",
    "NoPermissionError|NOPERM|no permissions|user executing the script": (
        f"ACL SETUSER {{user}} ~* {LEAST_RIGHTS}\nin redis-cli, as an administrator: what warmer needs."
    ),
    "[Uu]nknown (Redis )?command": "redis-server /etc/redis/redis.conf\n"
    "Remove the line 'rename-command' of this command from the file and restart the server. fakeredis needs "
    "'pip install fakeredis[lua]'.",
    "NodeOfCluster|CrossSlot|Moved|AskError|ClusterDown|CROSSSLOT|MOVED": (
        'CACHES["{alias}"]["LOCATION"] = "redis-cluster://{host}:{port}"\n'
        "The server is in cluster mode, for which BACKEND is 'warmer.stores.redis.backend.RedisCache'. Name "
        "a second node, too: HOST:PORT,HOST:PORT. If that is set already: 'redis-cli --cluster check "
        "{host}:{port}' names the slots that no node serves."
    ),
    "gaierror|Name or service not known|unreachable|No route": "getent hosts {host}\n"
    "Correct the host in REDIS_URL, or the DNS or network of this machine.",
    "ConnectionRefusedError|Connection refused|FileNotFoundError": (
        "systemctl status redis    (or: docker compose ps)\n"
        "Nothing listens there. Start the server, or correct REDIS_URL, or the server's 'bind', 'port' or "
        "'unixsocket'."
    ),
    "WRONG_VERSION_NUMBER|record layer failure": "REDIS_URL=redis://HOST:PORT/{database}\n"
    "The server does not use TLS: use redis://, not rediss://.",
    "Timeout connecting": "nc -vz {host} {port}\n"
    "A firewall drops the packets, the address is wrong, or the machine is down. With rediss://: the server "
    "may not use TLS.",
    "SSLError|CertVerificationError|CERTIFICATE_VERIFY_FAILED": (
        "REDIS_URL=rediss://HOST:PORT/{database}?ssl_ca_certs=/path/to/ca.pem\n"
        "with the authority that signed the certificate: openssl s_client -connect {host}:{port} shows it. "
        "?ssl_cert_reqs=none checks nothing: anyone between the two can read and change everything."
    ),
    "TimeoutError|Timeout reading": "{redis_cli} --latency\n"
    "The server accepts connections but hangs: look for a long command, swapping or a stopped process.",
    "Connection closed|[Cc]onnection reset|Broken pipe": "REDIS_URL=rediss://HOST:PORT/{database}\n"
    "with two 's', if the server requires TLS: it closes plain connections. Otherwise its log says why.",
    "InvalidResponse": "REDIS_URL=redis://HOST:PORT/{database}\nwith the port of the Redis server.",
    "ValueError|TypeError": "REDIS_URL=redis://:PASSWORD@HOST:PORT/0\nand OPTIONS must be valid.",
    "": "{redis_cli} PING\nshows whether the server or this project's settings are at fault.",
}
# A part of the pattern -> why it matters, if that is not `COLD`.
_WHY = {
    **dict.fromkeys(("READONLY", "MISCONF", "NOPERM"), READ_ONLY),
    "OOM": "A full server refuses every write: nothing is warmed, and each miss goes to the database.",
    "CROSSSLOT": "A script can only use keys of one slot: nothing can be warmed or invalidated.",
}


def explain(problem: Exception, place: Place, alias: str) -> Finding:
    """Return the finding for an error of a cache's server."""
    text = "\n".join(f"{type(each).__name__}: {each}" for each in _chain(problem))
    words = {"redis_cli": place.redis_cli, "alias": alias, "user": place.username or "default"}
    why = next((why for part, why in _WHY.items() if part in _cause(text)), COLD)
    return error(f"{str(problem).rstrip('.')}.", why=why, fix=fix_for(text, **asdict(place), **words))


def fix_for(text: str, /, **words: object) -> str:
    """Return the fix for an error, from its text and the texts of the errors that led to it.

    Args:
        words: fill in the placeholders; missing ones are left out.
    """
    return CAUSES[_cause(text)].format_map(defaultdict(str, words))


def _cause(text: str) -> str:
    return next(each for each in CAUSES if re.search(each, text))


def _chain(problem: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and the errors that led to it."""
    while problem is not None:
        yield problem
        problem = problem.__cause__ or problem.__context__
