"""Convert `REDIS_URL` and `CELERY_BROKER_URL` to the settings of the cache and of Celery."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from django.core.exceptions import ImproperlyConfigured

from config.environment import env
from warmer.report import masked_address

# The allowed parameters of a URL, by its scheme.
_TLS = {"ssl_ca_certs", "ssl_cert_reqs", "ssl_certfile", "ssl_check_hostname", "ssl_keyfile"}
_SENTINEL = {"sentinel_username", "sentinel_password"}
PARAMETERS: dict[str, set[str]] = {
    "redis": {"db"},
    "rediss": {"db"} | _TLS,
    "unix": {"db"},
    "redis-sentinel": _SENTINEL,
    "rediss-sentinel": _SENTINEL | _TLS,
    "redis-cluster": set(),
    "rediss-cluster": _TLS,
}
BROKER, KEPT_BROKER = "CELERY_BROKER_URL", "WARMER_GIVEN_BROKER_URL"

# If a Sentinel does not answer within this time, the next one is tried.
SENTINEL_SECONDS = 0.5

_SENTINEL_ADDRESS = re.compile(
    r"[a-z-]+://(?:(?P<login>[^/?#]*)@)?(?P<hosts>[^/?#@]+)/(?P<master>[^/?#@]+)(?:/(?P<database>[0-9]+))?/?"
    r"(?:\?(?P<query>[^#@]*))?"
)
_CLUSTER_ADDRESS = re.compile(
    r"(?P<servers>(?P<scheme>[a-z-]+)://(?:[^/?#]*@)?(?P<hosts>[^/?#@]+))(?:/0?)?(?:\?(?P<query>[^#@]*))?"
)
_HOST_AND_PORT = re.compile(r"(?:\[(?P<ipv6>[0-9a-fA-F:.]+)\]|(?P<name>[^:\[\]]+))(?::(?P<port>[0-9]+))?")


@dataclass(frozen=True, kw_only=True)
class SentinelAddress:
    """The address of a Redis behind Sentinels.

    Attributes:
        login: the Sentinels' own `username` and `password`.
        tls: the TLS parameters for the Sentinels and the master; empty without TLS.
    """

    sentinels: tuple[tuple[str, int], ...]
    master: str
    database: int
    username: str | None
    password: str | None
    login: dict[str, str]
    tls: dict[str, str]

    @property
    def client_options(self) -> dict[str, Any]:
        """The TLS options for redis-py."""
        if not self.tls:
            return {}
        checks = self.tls.get("ssl_check_hostname", "true") == "true"
        return {"ssl": True, **self.tls, "ssl_check_hostname": checks}


def cache_settings(url: str, *, max_connections: int) -> dict[str, Any]:
    """Return the `CACHES` entry for a Redis URL.

    Args:
        url: `redis://`, `rediss://`, `unix://`, or
            `redis-sentinel://host:26379,host2:26379/mymaster/1` or
            `redis-cluster://host:6379,host2:6379` (`rediss-sentinel://`, `rediss-cluster://`: with TLS).
        max_connections: the maximum number of connections per process.

    Raises:
        ImproperlyConfigured: the URL cannot be used; the message says why and shows no password.
    """
    is_cluster = url.partition("://")[0].endswith("-cluster")
    parts = None if is_cluster else _split(url, "REDIS_URL")
    pool: dict[str, Any] = {"max_connections": max_connections, "health_check_interval": 30}
    options: dict[str, Any] = {
        "COMPRESSOR": "warmer.serializers.LongValueCompressor",
        "CONNECTION_POOL_KWARGS": pool,
    }
    if is_cluster:
        location = _cluster_location(url)
    elif parts is None:
        address = sentinel_address(url, "REDIS_URL")
        location = f"redis://{address.master}/{address.database}"
        pool |= address.client_options
        options |= {
            "CLIENT_CLASS": "django_redis.client.SentinelClient",
            "CONNECTION_FACTORY": "django_redis.pool.SentinelConnectionFactory",
            "SENTINELS": list(address.sentinels),
            "SENTINEL_KWARGS": {
                "socket_timeout": SENTINEL_SECONDS,
                **address.login,
                **address.client_options,
            },
        }
        if address.username:
            options["USERNAME"] = address.username
        if address.password:
            options["PASSWORD"] = address.password
    else:
        location = _join(parts, _parameters(parts.scheme, parts.query, "REDIS_URL"))
    return {
        "BACKEND": "warmer.stores.redis.backend.RedisCache",
        "LOCATION": location,
        "OPTIONS": options,
    }


def broker_of_environment(default: str = "") -> dict[str, Any]:
    """Return `broker_settings` of `CELERY_BROKER_URL`, and replace the variable with the URL for Celery.

    Celery reads this variable itself, and prefers it to every setting. The given URL is kept in a variable of
    our own for child processes, e.g. of `runserver`, because Celery's format cannot express all of it.
    """
    url, kept = env(BROKER), env(KEPT_BROKER)
    if kept and url == broker_settings(kept)["url"]:
        url = kept
    broker = broker_settings(url or default)
    if url and os.environ[BROKER] != broker["url"]:
        os.environ |= {BROKER: broker["url"], KEPT_BROKER: url}
    return broker


def broker_settings(url: str) -> dict[str, Any]:
    """Return Celery's `broker_url` with its `broker_transport_options`.

    URLs that `cache_settings` accepts are converted to Celery's own format; any other URL is passed on
    unchanged.
    """
    if url.partition("://")[0].endswith("-cluster"):
        raise ImproperlyConfigured(
            f"{BROKER} is {masked_address(url)!r}: Celery cannot use a Redis Cluster. Give it a "
            "server of its own, e.g. redis://host:6379/0."
        )
    if not url or ("://" in url and url.partition("://")[0] not in PARAMETERS):
        return {"url": url, "transport_options": {}}
    parts = _split(url, BROKER)
    if parts is not None:
        query = _parameters(parts.scheme, parts.query, BROKER)
        database = query.pop("db", "")
        if parts.scheme == "unix":
            parts = parts._replace(scheme="redis+socket")
            query = {"virtual_host": database} if database else {}
        elif database:
            parts = parts._replace(path=f"/{database}")
        return {"url": _join(parts, query), "transport_options": {}}
    address = sentinel_address(url, BROKER)
    password = quote(address.password or "", safe="")
    login = f"{quote(address.username or '', safe='')}:{password}@" if password else ""
    tls = f"?{urlencode(address.tls, safe='/')}" if address.tls else ""
    hosts = [
        f"sentinel://{login}{f'[{host}]' if ':' in host else host}:{port}/{address.database}{tls}"
        for host, port in address.sentinels
    ]
    # The Sentinels are tried in turn; redis-py would retry a hanging one for some 40 s.
    waits = {
        "socket_timeout": SENTINEL_SECONDS,
        "socket_connect_timeout": SENTINEL_SECONDS,
        "retry": None,
    }
    sentinel_kwargs = waits | address.login | address.client_options
    return {
        "url": ";".join(hosts),
        "transport_options": {"master_name": address.master, "sentinel_kwargs": sentinel_kwargs},
    }


def sentinel_address(url: str, variable: str) -> SentinelAddress:
    """Parse `redis-sentinel://[user:password@]host:26379,host2:26379/mymaster/1`."""
    found = _SENTINEL_ADDRESS.fullmatch(url)
    if found is None:
        raise ImproperlyConfigured(
            f"{variable} is {masked_address(url)!r}: expected "
            "redis-sentinel://host:26379,host2:26379/NAME-OF-THE-MASTER/DATABASE-NUMBER."
        )
    master = found["master"]
    if master != master.lower():
        raise ImproperlyConfigured(
            f"{variable} names the master {master!r}: django-redis takes the name for a host and makes its "
            "letters small, so Sentinel would not know it. Give the master a name in small letters."
        )
    username, _, password = (found["login"] or "").partition(":")
    query = _parameters(url.partition("://")[0], found["query"] or "", variable)
    login = {name: query.pop(f"sentinel_{name}", "") for name in ("username", "password")}
    return SentinelAddress(
        sentinels=tuple(_host_and_port(host, url, variable) for host in found["hosts"].split(",")),
        master=master,
        database=int(found["database"] or 0),
        username=unquote(username) or None,
        password=unquote(password) or None,
        login={name: value for name, value in login.items() if value},
        tls=query,
    )


def _cluster_location(url: str) -> str:
    found = _CLUSTER_ADDRESS.fullmatch(url)
    if found is None:
        raise ImproperlyConfigured(
            f"REDIS_URL is {masked_address(url)!r}: expected redis-cluster://:password@host:6379,host2:6379. "
            "A cluster has no database but 0."
        )
    for host in found["hosts"].split(","):
        _host_and_port(host, url, "REDIS_URL")
    query = _parameters(found["scheme"], found["query"] or "", "REDIS_URL")
    return found["servers"] + (f"?{urlencode(query, safe='/')}" if query else "")


def _split(url: str, variable: str) -> SplitResult | None:
    """Parse a URL; return None for one of Sentinels, which `urlsplit` cannot parse."""
    scheme = url.partition("://")[0] if "://" in url else ""
    if scheme not in PARAMETERS:
        raise ImproperlyConfigured(
            f"{variable} is {masked_address(url)!r}: expected an address that begins with "
            + ", ".join(f"{each}://" for each in PARAMETERS)
            + "."
        )
    if scheme.endswith("sentinel"):
        return None
    try:
        parts = urlsplit(url)
        if scheme != "unix":
            _ = parts.port  # raises if it is invalid
        if "@" in parts.query + parts.fragment + (parts.path if scheme != "unix" else ""):
            raise ValueError("a password that is not escaped")
    except ValueError:
        raise ImproperlyConfigured(
            f"{variable} is {masked_address(url)!r}, which cannot be read. Expected e.g. "
            "redis://:password@host:6379/0, with the special characters of a password written as %2F, %40 "
            "and the like."
        ) from None
    return parts


def _parameters(scheme: str, query: str, variable: str) -> dict[str, str]:
    """Return the parameters of a URL, in a form that both redis-py and kombu accept."""
    found, known = dict(parse_qsl(query, keep_blank_values=True)), PARAMETERS[scheme]
    if unknown := sorted(found.keys() - known):
        raise ImproperlyConfigured(
            f"{variable} has the parameter {unknown[0]!r}: {scheme}:// knows {', '.join(sorted(known))}."
        )
    if not found.get("db", "0").isdigit():
        raise ImproperlyConfigured(f"{variable} has db={found['db']!r}: expected an integer.")
    if known >= _TLS:
        # Unlike redis-py, kombu does not verify the certificate by default.
        reqs = found.get("ssl_cert_reqs", "required")
        found["ssl_cert_reqs"] = reqs.lower().removeprefix("cert_")
        if found["ssl_cert_reqs"] not in ("none", "optional", "required"):
            raise ImproperlyConfigured(
                f"{variable} has ssl_cert_reqs={reqs!r}: expected none, optional or required."
            )
    if "ssl_check_hostname" in found:
        is_off = found["ssl_check_hostname"].lower() in ("0", "f", "false", "n", "no")
        found["ssl_check_hostname"] = "false" if is_off else "true"
    return found


def _join(parts: SplitResult, query: dict[str, str]) -> str:
    text = f"{parts.scheme}://{parts.netloc}{parts.path}"
    return f"{text}?{urlencode(query, safe='/')}" if query else text


def _host_and_port(text: str, url: str, variable: str) -> tuple[str, int]:
    found = _HOST_AND_PORT.fullmatch(text.strip())
    if found is None:
        raise ImproperlyConfigured(
            f"{variable} is {masked_address(url)!r}: each server is HOST or HOST:PORT, and an IPv6 "
            "address stands in brackets."
        )
    return found["ipv6"] or found["name"], int(found["port"] or 26379)
