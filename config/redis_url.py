"""Turn `REDIS_URL` and `CELERY_BROKER_URL` into the settings of the cache and of Celery."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, parse_qs, quote, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

SENTINEL = "redis-sentinel"
SCHEMES = ("redis", "rediss", "unix", SENTINEL)

# A request must not wait for a cache that does not answer: a load from the database takes less.
SOCKET_TIMEOUT_SECONDS = 2
POOL_WAIT_SECONDS = 2


@dataclass(frozen=True, kw_only=True)
class SentinelAddress:
    """Where a Redis behind Sentinel is found."""

    sentinels: tuple[tuple[str, int], ...]
    master: str
    database: int
    username: str | None
    password: str | None


def cache_settings(url: str, *, max_connections: int) -> dict[str, Any]:
    """Return the `CACHES` entry for a Redis address.

    Args:
        url: `redis://`, `rediss://`, `unix://`, or
            `redis-sentinel://host:26379,host2:26379/mymaster/1`.
        max_connections: the most connections that one process opens.

    Raises:
        ImproperlyConfigured: the address cannot be used; the message says why and shows no password.
    """
    parts = _split(url, "REDIS_URL")
    pool: dict[str, Any] = {
        "max_connections": max_connections,
        "retry_on_timeout": True,
        "socket_timeout": SOCKET_TIMEOUT_SECONDS,
        "socket_connect_timeout": SOCKET_TIMEOUT_SECONDS,
        "health_check_interval": 30,
    }
    options: dict[str, Any] = {
        "CLIENT_CLASS": "django_redis.client.DefaultClient",
        "SERIALIZER": "warmer.serializers.MsgspecSerializer",
        "COMPRESSOR": "warmer.serializers.LongValueCompressor",
        "CONNECTION_POOL_KWARGS": pool,
        # A site goes on without its cache: `cache.get` is then a miss, and a session is read from
        # the database. `warmer` sees every failure all the same: it asks the server itself.
        "IGNORE_EXCEPTIONS": True,
    }
    location = url
    if parts.scheme == SENTINEL:
        address = sentinel_address(url, "REDIS_URL")
        location = f"redis://{address.master}/{address.database}"
        options |= {
            "CLIENT_CLASS": "django_redis.client.SentinelClient",
            "CONNECTION_FACTORY": "django_redis.pool.SentinelConnectionFactory",
            "SENTINELS": list(address.sentinels),
            "SENTINEL_KWARGS": {"socket_timeout": SOCKET_TIMEOUT_SECONDS},
        }
        if address.username:
            options["USERNAME"] = address.username
        if address.password:
            options["PASSWORD"] = address.password
    else:
        # Threads wait for a free connection instead of failing when all are in use.
        options["CONNECTION_POOL_CLASS"] = "redis.BlockingConnectionPool"
        pool["timeout"] = POOL_WAIT_SECONDS
    return {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": location,
        "OPTIONS": options,
    }


def broker_settings(url: str) -> dict[str, Any]:
    """Return Celery's `broker_url` and what goes with it in `broker_transport_options`.

    Any address that Celery knows is passed on as it is; `redis-sentinel://` and `unix://` are
    translated into Celery's own form.
    """
    if url.startswith("unix://"):
        parts = _split(url, "CELERY_BROKER_URL")
        database = parse_qs(parts.query).get("db")
        query = f"?virtual_host={database[0]}" if database else ""
        return {"url": f"redis+socket://{parts.netloc}{parts.path}{query}", "transport_options": {}}
    if not url.startswith(f"{SENTINEL}://"):
        return {"url": url, "transport_options": {}}
    address = sentinel_address(url, "CELERY_BROKER_URL")
    password = quote(address.password or "", safe="")
    login = f"{quote(address.username or '', safe='')}:{password}@" if password else ""
    hosts = [f"sentinel://{login}{host}:{port}/{address.database}" for host, port in address.sentinels]
    # The Sentinels are asked in turn; redis-py would ask one that hangs again and again, for some 40 s.
    waits = {
        "socket_timeout": SOCKET_TIMEOUT_SECONDS,
        "socket_connect_timeout": SOCKET_TIMEOUT_SECONDS,
        "retry": None,
    }
    return {
        "url": ";".join(hosts),
        "transport_options": {"master_name": address.master, "sentinel_kwargs": waits},
    }


def sentinel_address(url: str, variable: str) -> SentinelAddress:
    """Parse `redis-sentinel://[user:password@]host:26379,host2:26379/mymaster/1`."""
    parts = _split(url, variable)
    login, _, hosts = parts.netloc.rpartition("@")
    username, _, password = login.partition(":")
    path = [piece for piece in parts.path.split("/") if piece]
    is_place = len(path) in (1, 2) and (len(path) == 1 or path[1].isdigit())
    if not hosts or not is_place or "@" in parts.path + parts.query + parts.fragment:
        raise ImproperlyConfigured(
            f"{variable} is {masked(url)!r}: expected "
            "redis-sentinel://host:26379,host2:26379/NAME-OF-THE-MASTER/DATABASE-NUMBER."
        )
    if path[0] != path[0].lower():
        raise ImproperlyConfigured(
            f"{variable} names the master {path[0]!r}: django-redis takes the name for a host and makes its "
            "letters small, so Sentinel would not know it. Give the master a name in small letters."
        )
    return SentinelAddress(
        sentinels=tuple(_host_and_port(host, variable) for host in hosts.split(",")),
        master=path[0],
        database=int(path[1]) if len(path) == 2 else 0,
        username=unquote(username) or None,
        password=unquote(password) or None,
    )


def masked(url: str) -> str:
    """Return an address fit for a message: with `***` in place of its password, and without its query.

    It reads the text itself: of an address that cannot be parsed, e.g. as its password is not escaped,
    the password must not be shown either.
    """
    scheme, mark, rest = url.partition("://")
    login, at, place = rest.rpartition("@")
    if not at:
        return f"{scheme}{mark}{rest}".partition("?")[0]
    if re.search(r"[/?#]", login):
        return f"{scheme}{mark}***"
    username, colon, _ = login.partition(":")
    return f"{scheme}{mark}{username}{colon and ':***'}@{place}".partition("?")[0]


def _split(url: str, variable: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        if parts.scheme in ("redis", "rediss"):
            _ = parts.port  # raises when it is none
    except ValueError:
        raise ImproperlyConfigured(
            f"{variable} is {masked(url)!r}, which cannot be read. Expected e.g. "
            "redis://:password@host:6379/0, with the special characters of a password written as %2F, %40 "
            "and the like."
        ) from None
    if parts.scheme not in SCHEMES:
        raise ImproperlyConfigured(
            f"{variable} is {masked(url)!r}: expected an address that begins with "
            + ", ".join(f"{scheme}://" for scheme in SCHEMES)
            + "."
        )
    return parts


def _host_and_port(text: str, variable: str) -> tuple[str, int]:
    host, _, port = text.strip().partition(":")
    if not host or (port and not port.isdigit()):
        raise ImproperlyConfigured(f"{variable}: {text!r} is not HOST or HOST:PORT.")
    return host, int(port or 26379)
