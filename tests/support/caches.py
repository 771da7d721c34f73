"""The settings of a cache at an address that a test chooses."""

from typing import Any

from django.conf import settings

from config.redis_url import cache_settings

WAITS = ("socket_timeout", "socket_connect_timeout", "timeout")


def caches_at(url: str) -> dict[str, Any]:
    """Return `CACHES` with a cache at a URL, as patient as the suite's own.

    On a busy machine an answer may take longer than the half second that a site waits.
    """
    own = settings.CACHES["default"]["OPTIONS"]["CONNECTION_POOL_KWARGS"]
    entry = cache_settings(url, max_connections=5)
    entry["OPTIONS"]["CONNECTION_POOL_KWARGS"] |= {name: own[name] for name in WAITS}
    return {"default": entry}
