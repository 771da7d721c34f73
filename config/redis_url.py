"""Convert `REDIS_URL` and `CELERY_BROKER_URL` to the settings of the cache and of Celery."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
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

# An address with several servers, which `urlsplit` cannot parse.
_SERVERS = re.compile(
    r"(?P<start>(?P<scheme>[a-z-]+)://(?:(?P<login>[^/?#]*)@)?(?P<hosts>[^/?#@]+))(?P<path>/[^?#@]*)?"
    r"(?:\?(?P<query>[^#@]*))?"
)
_MASTER = re.compile(r"/(?P<name>[^/]+)(?:/(?P<database>[0-9]+))?/?")
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
    pool: dict[str, Any] = {"max_connections": max_connections, "health_check_interval": 30}
    options: dict[str, Any] = {
        "COMPRESSOR": "warmer.serializers.LongValueCompressor",
        "CONNECTION_POOL_KWARGS": pool,
    }
    scheme = _scheme(url, "REDIS_URL")
    if scheme.endswith("cluster"):
        location = _cluster_location(url)
    elif scheme.endswith("sentinel"):
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
        login = {"USERNAME": address.username, "PASSWORD": address.password}
        options |= {name: value for name, value in login.items() if value}
    else:
        parts, query = _split(url, "REDIS_URL")
        location = _join(parts, query)
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
    if not url or ("://" in url and url.partition("://")[0] not in PARAMETERS):
        return {"url": url, "transport_options": {}}
    scheme = _scheme(url, BROKER)
    if scheme.endswith("cluster"):
        fix = "Give it a server of its own, e.g. redis://host:6379/0."
        raise _refused(BROKER, url, f": Celery cannot use a Redis Cluster. {fix}")
    if not scheme.endswith("sentinel"):
        parts, query = _split(url, BROKER)
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
    waits = dict.fromkeys(("socket_timeout", "socket_connect_timeout"), SENTINEL_SECONDS) | {"retry": None}
    sentinel_kwargs = waits | address.login | address.client_options
    return {
        "url": ";".join(hosts),
        "transport_options": {"master_name": address.master, "sentinel_kwargs": sentinel_kwargs},
    }


def sentinel_address(url: str, variable: str) -> SentinelAddress:
    """Parse `redis-sentinel://[user:password@]host:26379,host2:26379/mymaster/1`."""
    found = _SERVERS.fullmatch(url)
    path = _MASTER.fullmatch(found["path"] or "") if found else None
    if found is None or path is None:
        expected = "redis-sentinel://host:26379,host2:26379/NAME-OF-THE-MASTER/DATABASE-NUMBER."
        raise _refused(variable, url, f": expected {expected}")
    master = path["name"]
    if master != master.lower():
        raise ImproperlyConfigured(
            f"{variable} names the master {master!r}: django-redis takes the name for a host and makes its "
            "letters small, so Sentinel would not know it. Give the master a name in small letters."
        )
    username, _, password = (found["login"] or "").partition(":")
    query = _parameters(found["scheme"], found["query"] or "", variable)
    login = {name: query.pop(f"sentinel_{name}", "") for name in ("username", "password")}
    return SentinelAddress(
        sentinels=tuple(_hosts_and_ports(found["hosts"], url, variable)),
        master=master,
        database=int(path["database"] or 0),
        username=unquote(username) or None,
        password=unquote(password) or None,
        login={name: value for name, value in login.items() if value},
        tls=query,
    )


def _cluster_location(url: str) -> str:
    found = _SERVERS.fullmatch(url)
    if found is None or found["path"] not in (None, "/", "/0"):
        expected = "redis-cluster://:password@host:6379,host2:6379. A cluster has no database but 0."
        raise _refused("REDIS_URL", url, f": expected {expected}")
    list(_hosts_and_ports(found["hosts"], url, "REDIS_URL"))  # raises if one is malformed
    query = _parameters(found["scheme"], found["query"] or "", "REDIS_URL")
    return found["start"] + (f"?{urlencode(query, safe='/')}" if query else "")


def _refused(variable: str, url: str, why: str) -> ImproperlyConfigured:
    return ImproperlyConfigured(f"{variable} is {masked_address(url)!r}{why}")


def _scheme(url: str, variable: str) -> str:
    """Return the scheme of a URL, which is one of `PARAMETERS`."""
    scheme, separator, _ = url.partition("://")
    if not separator or scheme not in PARAMETERS:
        known = ", ".join(f"{each}://" for each in PARAMETERS)
        raise _refused(variable, url, f": expected an address that begins with {known}.")
    return scheme


def _split(url: str, variable: str) -> tuple[SplitResult, dict[str, str]]:
    """Parse the URL of a single server; return its parts and its parameters."""
    try:
        parts = urlsplit(url)
        is_socket = parts.scheme == "unix"
        if not is_socket:
            _ = parts.port  # raises if it is invalid
        if "@" in parts.query + parts.fragment + ("" if is_socket else parts.path):
            raise ValueError("a password that is not escaped")
    except ValueError:
        expected = "Expected e.g. redis://:password@host:6379/0, with the special characters of a password "
        expected += "written as %2F, %40 and the like."
        raise _refused(variable, url, f", which cannot be read. {expected}") from None
    return parts, _parameters(parts.scheme, parts.query, variable)


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


def _hosts_and_ports(hosts: str, url: str, variable: str) -> Iterator[tuple[str, int]]:
    for host in hosts.split(","):
        if (found := _HOST_AND_PORT.fullmatch(host.strip())) is None:
            expected = "each server is HOST or HOST:PORT, with IPv6 addresses in brackets."
            raise _refused(variable, url, f": {expected}")
        yield found["ipv6"] or found["name"], int(found["port"] or 26379)
