"""Whether a cache can be used: its library, its server, the login, a write, the timeouts; and why not."""

import re
import secrets
import time
from collections.abc import Iterator
from dataclasses import asdict

from django.conf import settings

from warmer.conf import conf
from warmer.doctor.check import Finding, cache_check, error, ok, warning
from warmer.doctor.project import Cache, setting_of
from warmer.exceptions import CommandRefused, NodeOfCluster, StoreUnavailable
from warmer.humanize import duration
from warmer.keys import KeyTemplate
from warmer.report import Outcome, masked
from warmer.stores import Place, is_local, keeps_nothing, open_store, varying_names

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
    "Remove the line 'rename-command' of this command from the file and restart the server. For fakeredis, "
    "run: pip install 'fakeredis[lua]'",
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
MISSING = re.compile(r"(?:No module named|needs) '?(django_redis|redis|msgspec|pymemcache|pylibmc)\b")
LONGEST_TIMEOUT = 10.0
# A server that is making room may evict the keys of the probe like any others.
PROBES, PROBE_PAUSE = 5, 0.1
PROBE_KEY_SECONDS = 30.0


@cache_check(once=True, after=())
def backend(cache: Cache) -> Iterator[Finding]:
    """The backend's library is installed, and all processes share the cache."""
    if cache.problem:
        yield unusable(cache.alias, cache.problem)
    elif cache.specs and (finding := unsuitable(cache.alias)):
        yield finding
    else:
        where = "" if cache.server else masked(str(cache.options.get("LOCATION", "")))
        yield ok(f"{cache.backend} at {where}" if where else cache.backend)


def unusable(alias: str, problem: str) -> Finding:
    """Return why a cache cannot be used at all; also a system check."""
    if "['LOCATION']" in problem:
        fix = f'{setting_of(alias, "LOCATION")} = "redis://:PASSWORD@HOST:6379/0"'
        fix += "\nor rediss:// for TLS, or unix://. Only warmer's backend takes redis-cluster://."
    elif "decode_responses" in problem:
        fix = f"Remove decode_responses from the OPTIONS or the LOCATION of CACHES[{alias!r}]."
    else:
        fix = f"{setting_of(alias, 'BACKEND')} = ...\nmust name a class that can be imported, e.g. "
        fix += "'django_redis.cache.RedisCache', and accept its OPTIONS. Install what is missing."
    message, fix = f"{_named(alias)} cannot be used: {problem}.", _installing(problem) or fix
    return error(message, why="Every use raises an error.", fix=fix, check="warmer.E002")


def unsuitable(alias: str) -> Finding | None:
    """Return why a usable cache does not suit jobs, if it does not; also a system check."""
    use_redis = f'{setting_of(alias, "BACKEND")} = "warmer.stores.redis.backend.RedisCache"\n'
    if names := varying_names(alias):
        message = f"The KEY_FUNCTION of the cache {alias!r} returns different names for one key: "
        message += f"{names[0]!r} and {names[1]!r}."
        why = "They depend on the caller, e.g. its tenant: workers do not find what a request cached."
        fix = (
            f"{setting_of(alias, 'KEY_FUNCTION')} = None\nor another cache for jobs, and put the tenant into "
        )
        return error(message, why=why, fix=f"{fix}the id: see the guide.", check="warmer.E005")
    if keeps_nothing(alias):
        fix = f"{use_redis}or a FileBasedCache, for development without a server."
        return error(f"{_named(alias)} keeps nothing.", why=COLD, fix=fix, check="warmer.W006")
    if is_local(alias):
        message = f"{_named(alias)} is in the memory of one process."
        why = "Each process has its own: web processes do not see what a worker warms or invalidates."
        fix = f"{use_redis}or add 'warmer.W009' to SILENCED_SYSTEM_CHECKS if there is one process only."
        return warning(message, why=why, fix=fix, check="warmer.W009")
    return None


@cache_check(after=("backend",))
def reachability(cache: Cache) -> Iterator[Finding]:
    """The server answers with this address, login and database; any other cache keeps a key."""
    if cache.server is None:
        yield _try_writing(cache)
        return
    place = cache.server.place
    try:
        cache.server.ask("PING")
        if "sentinel_masters" in cache.server.info:
            raise StoreUnavailable(f"{place.text} is a Sentinel, which keeps no keys")
        if cache.server.info.get("cluster_enabled") and not cache.server.is_node:
            raise NodeOfCluster(f"{place.text} {NodeOfCluster.advice}")
    except CommandRefused:
        pass  # but it accepted the login
    except StoreUnavailable as problem:
        if "MISCONF" not in str(problem):  # a server that cannot save rejects PING like a write
            yield explain(problem, place, cache.alias)
            return
    yield ok(f"{place.text} answers")


@cache_check(once=True)
def writes(cache: Cache) -> Iterator[Finding]:
    """The server runs the scripts of the fence, and accepts, returns and deletes keys, as a job uses it."""
    server = cache.redis
    try:  # besides the fence, invalidating a whole job needs these
        server.ask("SCAN", 0, "COUNT", 1)
        server.ask("UNLINK", server.local("warmer-doctor:none"))
    except (CommandRefused, StoreUnavailable) as problem:
        yield explain(problem, server.place, cache.alias)
    else:
        yield _try_writing(cache)


@cache_check(once=True, after=("backend",))
def timeouts(cache: Cache) -> Iterator[Finding]:
    """A client does not wait for a hanging server longer than is acceptable for a page."""
    place = cache.redis.place
    waits = {"socket_timeout": place.timeout, "socket_connect_timeout": place.connect_timeout}
    for name, seconds in waits.items():
        if seconds is None or seconds > LONGEST_TIMEOUT:
            message = f"{name} is {'not set' if seconds is None else duration(seconds)}."
            why = "When the server hangs, every request waits that long, until no web process is free."
            fix = cache.setting("OPTIONS", name.upper(), value="0.5")
            fix += "\nor, with Django's own backend or CONNECTION_POOL_KWARGS, in lower case there."
            yield warning(message, why=why, fix=fix)
            return
    connect, answer = duration(place.connect_timeout or 0), duration(place.timeout or 0)
    yield ok(f"a client waits {connect} to connect, {answer} for an answer")


def probe(alias: str) -> float:
    """Use two keys of our own under a fence, as jobs do, delete them, and return the seconds that it took.

    Raises:
        StoreUnavailable: the cache does not answer, rejects a key or a command, or does not keep the keys.
    """
    name = f"warmer-probe-{secrets.token_hex(4)}"
    template = KeyTemplate.parse(f"{name}:{{id}}", keyed=True)
    seconds = PROBE_KEY_SECONDS
    store = open_store(alias=alias, template=template, timeout=seconds, absent_timeout=seconds)
    values = {template.key(id): secrets.token_hex(8) for id in ("1", "2")}
    for _ in range(PROBES):
        started = time.perf_counter()
        try:
            claim = store.claim([*values], seconds=seconds)
            written = store.write(claim.token, values, claim=claim)
            found = store.lookup([*values]).values
            store.fresh([*values], seconds=1)
            store.remaining([*values])
            store.overtaken(store.token(values), [*values])
            store.invalidate([*values])
        finally:
            store.forget(values)
        if written.errors:
            raise StoreUnavailable(f"Writing to the cache {alias!r} failed: {min(written.errors.values())}")
        # With WARMER_REPLICA_LAG, a new fence rejects every write, so only the answer can be checked.
        superseded = Outcome.SUPERSEDED in written.outcomes.values()
        if found == values or (conf.REPLICA_LAG and superseded):
            return time.perf_counter() - started
        time.sleep(PROBE_PAUSE)
    raise StoreUnavailable(
        f"The cache {alias!r} does not keep what is written: reading it back finds nothing"
    )


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


def _try_writing(cache: Cache) -> Finding:
    try:
        return ok(f"read/write OK ({1000 * probe(cache.alias):.1f} ms)")
    except StoreUnavailable as problem:
        if cache.server is not None:
            return explain(problem, cache.server.place, cache.alias)
        fix = cache.setting("LOCATION", value="...") + "\nmust lead to a cache that is up and has room."
        fix = _installing(str(problem)) or fix  # Django's RedisCache imports redis at its first call
        return error(f"{str(problem).rstrip('.')}.", why=COLD, fix=fix)


def _installing(problem: str) -> str:
    """Return how to install the package that an error names; empty if it names none."""
    if missing := MISSING.search(problem):
        return f"pip install {missing[1].replace('_', '-')}\nin this Python, and add it to your requirements."
    return ""


def _named(alias: str) -> str:
    return f"The cache {alias!r} ({settings.CACHES[alias].get('BACKEND')})"
