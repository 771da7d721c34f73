"""The settings of a cache at an address that a test chooses."""

from typing import Any

from config.redis_url import cache_settings

# As in the suite's own settings: on a busy machine, an answer may take longer than the half second that a site
# waits.
PATIENT = dict.fromkeys(("socket_timeout", "socket_connect_timeout"), 20)


def caches_at(url: str) -> dict[str, Any]:
    """Return `CACHES` with a patient cache at a URL, which is not that of a cluster."""
    entry = cache_settings(url, max_connections=5)
    entry["OPTIONS"]["CONNECTION_POOL_KWARGS"] |= {**PATIENT, "timeout": 20}
    return {"default": entry}
