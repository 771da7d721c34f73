"""The meaning of a Redis server's errors, and what to do about them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from warmer.doctor.check import Finding, error

if TYPE_CHECKING:
    from warmer.stores.inspection import Place

COLD = "Every read goes to the database, nothing can be warmed, and invalidations wait."
READ_ONLY = "Nothing can be warmed or invalidated: readers see old values."
# All commands that warmer sends, directly and in its scripts. The doctor's page lists them too.
LEAST_RIGHTS = (
    "+ping +select +hello +mget +get +set +del +unlink +exists +pttl +expire +pexpire +scan +time "
    "+eval +evalsha +multi +exec +hgetall +hincrby +zadd +zcard +zrange +zrangebyscore +zrem "
    "+zremrangebyscore +zrevrangebyscore +zscore"
)


@dataclass(frozen=True)
class Cause:
    """A cause of failures.

    Attributes:
        error: a pattern that matches the error, or one that led to it, as `Class: text`.
        fix, why: the finding, with the attributes of `Place` in braces.
    """

    error: str
    fix: str
    why: str = COLD

    def fix_for(self, **words: object) -> str:
        """Return the fix with its placeholders filled in; missing ones are left out."""
        return self.fix.format_map(defaultdict(str, words))


# The first match counts.
CAUSES = (
    Cause(
        "is a Sentinel",
        "REDIS_URL=redis-sentinel://HOST:26379,HOST2:26379/NAME-OF-THE-MASTER/0\nasks the Sentinels for it.",
    ),
    Cause(
        "MasterNotFoundError.*(Authentication|NOAUTH)",
        'CACHES["{alias}"]["OPTIONS"]["SENTINEL_KWARGS"] = {{"password": "PASSWORD"}}\n'
        "The Sentinels require a password of their own.",
    ),
    Cause(
        "MasterNotFoundError",
        "redis-cli -h HOST -p 26379 SENTINEL masters\nlists the names that they know, not {service!r}.",
    ),
    Cause(
        "DENIED|protected mode",
        "requirepass PASSWORD\nin redis.conf, then restart the server and put the password in REDIS_URL.",
    ),
    Cause(
        "AuthenticationError|NOAUTH|invalid username-password|invalid password|without any password",
        "REDIS_URL=redis://USER:PASSWORD@HOST:PORT/{database}\nwith the server's 'requirepass' or a user of "
        "its ACL, or no password if it has none. Escape special characters: %40 for @, %2F for /.",
    ),
    Cause(
        "DB index", "REDIS_URL=redis://HOST:PORT/0\nor raise 'databases' in redis.conf. Clusters have only 0."
    ),
    Cause(
        "max number of clients|Too many connections|No connection available",
        "{redis_cli} CONFIG GET maxclients\n{redis_cli} CLIENT LIST\nRaise it, or lower max_connections.",
    ),
    Cause(
        "BusyLoadingError|LOADING",
        "{redis_cli} INFO persistence\n'loading_eta_seconds' says how long it takes.",
    ),
    Cause(
        "ReadOnlyError|READONLY",
        "{redis_cli} INFO replication\nIt is a replica: name its 'master_host' in REDIS_URL.",
        READ_ONLY,
    ),
    Cause(
        "OutOfMemoryError|OOM ",
        "{redis_cli} CONFIG SET maxmemory-policy allkeys-lru\nand in redis.conf, for its next start: "
        "maxmemory-policy allkeys-lru",
        "A full server refuses every write: nothing is warmed, and each miss goes to the database.",
    ),
    Cause(
        "MISCONF",
        "{redis_cli} CONFIG SET stop-writes-on-bgsave-error no\nallows writes now. The server's log says why "
        "it cannot save: a full disk, a missing folder, or too little memory for the fork.",
        READ_ONLY,
    ),
    Cause(
        "NoPermissionError|NOPERM|no permissions|user executing the script",
        f"ACL SETUSER {{user}} ~* {LEAST_RIGHTS}\nin redis-cli, as an administrator: what warmer needs.",
        READ_ONLY,
    ),
    Cause(
        "[Uu]nknown (Redis )?command",
        "redis-server /etc/redis/redis.conf\nRemove the line 'rename-command' of this command from the file "
        "and restart the server. fakeredis needs 'pip install fakeredis[lua]'.",
    ),
    Cause(
        "NodeOfCluster|CrossSlot|Moved|AskError|ClusterDown|CROSSSLOT|MOVED",
        'CACHES["{alias}"]["LOCATION"] = "redis-cluster://{host}:{port}"\nThe server is in cluster mode, for '
        "which BACKEND is 'warmer.stores.redis.backend.RedisCache'. Name a second node, too: HOST:PORT,"
        "HOST:PORT. If that is set already: 'redis-cli --cluster check {host}:{port}' names the slots that "
        "no node serves.",
        "A script can only use keys of one slot: nothing can be warmed or invalidated.",
    ),
    Cause(
        "gaierror|Name or service not known|unreachable|No route",
        "getent hosts {host}\nCorrect the host in REDIS_URL, or the DNS or network of this machine.",
    ),
    Cause(
        "ConnectionRefusedError|Connection refused|FileNotFoundError",
        "systemctl status redis    (or: docker compose ps)\nNothing listens there. Start the server, or "
        "correct REDIS_URL, or the server's 'bind', 'port' or 'unixsocket'.",
    ),
    Cause(
        "WRONG_VERSION_NUMBER|record layer failure",
        "REDIS_URL=redis://HOST:PORT/{database}\nThe server does not use TLS: write one 's'.",
    ),
    Cause(
        "Timeout connecting",
        "nc -vz {host} {port}\nA firewall drops the packets, the address is wrong, or the machine is down. "
        "With rediss://: the server may not use TLS.",
    ),
    Cause(
        "SSLError|CertVerificationError|CERTIFICATE_VERIFY_FAILED",
        "REDIS_URL=rediss://HOST:PORT/{database}?ssl_ca_certs=/path/to/ca.pem\nwith the authority that "
        "signed the certificate: openssl s_client -connect {host}:{port} shows it. ?ssl_cert_reqs=none "
        "checks nothing: anyone between the two can read and change everything.",
    ),
    Cause(
        "TimeoutError|Timeout reading",
        "{redis_cli} --latency\nThe server accepts connections but hangs: look for a long command, swapping "
        "or a stopped process.",
    ),
    Cause(
        "Connection closed|[Cc]onnection reset|Broken pipe",
        "REDIS_URL=rediss://HOST:PORT/{database}\nwith two 's', if the server requires TLS: it closes plain "
        "connections. Otherwise its log says why.",
    ),
    Cause("InvalidResponse", "REDIS_URL=redis://HOST:PORT/{database}\nwith the port of the Redis server."),
    Cause("ValueError|TypeError", "REDIS_URL=redis://:PASSWORD@HOST:PORT/0\nand OPTIONS must be valid."),
)
UNKNOWN = Cause("", "{redis_cli} PING\nshows whether the server or this project's settings are at fault.")


def explain(problem: Exception, place: Place, alias: str) -> Finding:
    """Return the finding for an error of a cache's server."""
    cause = cause_of("\n".join(f"{type(each).__name__}: {each}" for each in _chain(problem)))
    fix = cause.fix_for(
        **asdict(place), redis_cli=place.redis_cli, alias=alias, user=place.username or "default"
    )
    return error(f"{str(problem).rstrip('.')}.", why=cause.why, fix=fix)


def cause_of(text: str) -> Cause:
    """Return the cause of an error, based on its text and the texts of the errors that led to it."""
    return next((each for each in CAUSES if re.search(each.error, text)), UNKNOWN)


def _chain(problem: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and the errors that led to it."""
    while problem is not None:
        yield problem
        problem = problem.__cause__ or problem.__context__
