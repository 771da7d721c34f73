"""Try any Django cache: write a key, read it back, remove it."""

from __future__ import annotations

import secrets

from django.core.cache import caches

from warmer.exceptions import StoreUnavailable
from warmer.report import describe

TRIAL_SECONDS = 10
OWN_VERSION = "warmer-doctor"


def write_and_read_back(alias: str) -> bool:
    """Say whether what is written to a cache can be read.

    Raises:
        StoreUnavailable: it raises an error.
    """
    written = secrets.token_hex(8)
    try:
        cache = caches[alias]
        cache.set("trial", written, TRIAL_SECONDS, version=OWN_VERSION)  # type: ignore[arg-type]
        found = cache.get("trial", version=OWN_VERSION)  # type: ignore[arg-type]
        cache.delete("trial", version=OWN_VERSION)  # type: ignore[arg-type]
    except Exception as error:  # a backend's own errors have no common base
        raise StoreUnavailable(f"The cache {alias!r} does not serve: {describe(error)}") from error
    return bool(found == written)
