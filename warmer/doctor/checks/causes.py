"""The meaning of a Redis server's errors, and what to do about them."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import TYPE_CHECKING

from warmer.doctor.check import Finding, error
from warmer.doctor.project import setting_of

if TYPE_CHECKING:
    from warmer.stores import Place

COLD = "Nothing can be warmed or invalidated: readers load values, or see old ones."
# All commands that warmer sends, directly and in its scripts. The doctor's page lists them too.
LEAST_RIGHTS = (
    "+ping +select +hello +mget +get +set +del +unlink +exists +pttl +expire +pexpire +scan +time "
    "+eval +evalsha +multi +exec +hgetall +hincrby +zadd +zcard +zrange +zrangebyscore +zrem "
    "+zremrangebyscore +zrevrangebyscore +zscore"
)
# A pattern that matches an error, or one that led to it, as `Class: text` -> the fix, with the attributes of
# `Place` and the name of the setting in braces. The first match counts, and the last one matches everything.
CAUSES = {
    "is a Sentinel": 'CACHES["{alias}"]["OPTIONS"]["SENTINELS"] = [("HOST", 26379), ("HOST2", 26379)]\n'
    'with LOCATION = "redis://NAME-OF-THE-MASTER/0" asks the Sentinels for it.',
    "MasterNotFoundError.*(Authentication|NOAUTH)": (
        'CACHES["{alias}"]["OPTIONS"]["SENTINEL_KWARGS"] = {{"password": "PASSWORD"}}\n'
        "The Sentinels require a password of their own."
    ),
    "MasterNotFoundError": "redis-cli -h HOST -p 26379 SENTINEL masters\n"
    "lists the names that they know, not {service!r}.",
    "DENIED|protected mode": "requirepass PASSWORD\n"
    "in redis.conf, then restart the server and put the password in the address.",
    "AuthenticationError|NOAUTH|invalid username-password|invalid password|without any password": (
        '{setting} = "redis://USER:PASSWORD@HOST:PORT/{database}"\n'
        "with the server's 'requirepass' or a user of its ACL, or no password if it has none. Escape special "
        "characters: %40 for @, %2F for /."
    ),
    "DB index": '{setting} = "redis://HOST:PORT/0"\n'
    "or raise 'databases' in redis.conf. Clusters have only 0.",
    "max number of clients|Too many connections|No connection available": (
        "{redis_cli} CONFIG GET maxclients\n{redis_cli} CLIENT LIST\nRaise it, or lower max_connections."
    ),
    "BusyLoadingError|LOADING": "{redis_cli} INFO persistence\n'loading_eta_seconds' says how long it takes.",
    "ReadOnlyError|READONLY": "{redis_cli} INFO replication\n"
    "It is a replica: put its 'master_host' in the address.",
    "OutOfMemoryError|OOM ": "{redis_cli} CONFIG SET maxmemory-policy allkeys-lru\n"
    "and in redis.conf, for its next start: maxmemory-policy allkeys-lru",
    "MISCONF": "{redis_cli} CONFIG SET stop-writes-on-bgsave-error no\n"
    "allows writes now, unless the AOF fails. The server's log says why it cannot save: a full disk, a "
    "missing folder, or too little memory for the fork.",
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
    "Correct the host in the address, or the DNS or network of this machine.",
    "ConnectionRefusedError|Connection refused|FileNotFoundError": (
        "systemctl status redis    (or: docker compose ps)\n"
        "Nothing listens there. Start the server, or correct the address, or the server's 'bind', 'port' or "
        "'unixsocket'."
    ),
    "Timeout connecting": "nc -vz {host} {port}\n"
    "A firewall drops the packets, the address is wrong, or the machine is down. With rediss://: the server "
    "may not use TLS.",
    "CertVerificationError|CERTIFICATE_VERIFY_FAILED": (
        '{setting} = "rediss://HOST:PORT/{database}?ssl_ca_certs=/path/to/ca.pem"\n'
        "with the authority that signed the certificate: openssl s_client -connect {host}:{port} shows it. "
        "?ssl_cert_reqs=none checks nothing: anyone between the two can read and change everything."
    ),
    "SSLError|WRONG_VERSION_NUMBER|record layer failure": '{setting} = "redis://HOST:PORT/{database}"\n'
    "The server does not use TLS: use redis://, not rediss://. Otherwise its log says which TLS it requires.",
    "TimeoutError|Timeout reading": "{redis_cli} --latency\n"
    "The server accepts connections but hangs: look for a long command, swapping or a stopped process.",
    "Connection closed|[Cc]onnection reset|Broken pipe": '{setting} = "rediss://HOST:PORT/{database}"\n'
    "if the server requires TLS: it closes plain connections. Otherwise its log says why.",
    "": "{redis_cli} PING\nshows whether a Redis server answers there, or this project's settings are wrong.",
}


def explain(problem: Exception, place: Place, alias: str) -> Finding:
    """Return the finding for an error of a cache's server."""
    chain: list[BaseException] = [problem]
    while led_to := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(led_to)
    text = "\n".join(f"{type(each).__name__}: {each}" for each in chain)
    fix = fix_for(text, place, setting_of(alias, "LOCATION"), alias=alias)
    return error(f"{str(problem).rstrip('.')}.", why=COLD, fix=fix)


def fix_for(text: str, place: Place, setting: str, *, alias: str = "") -> str:
    """Return the fix for an error, from its text and the texts of the errors that led to it.

    Args:
        setting: the setting that has the address.
        alias: the name of the cache in `CACHES`.
    """
    words = asdict(place) | {"redis_cli": place.redis_cli, "user": place.username or "default"}
    fix = next(fix for pattern, fix in CAUSES.items() if re.search(pattern, text))
    return fix.format(setting=setting, alias=alias, **words)
