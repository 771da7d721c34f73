"""Convert `DATABASE_URL` to Django's database settings."""

from __future__ import annotations

from importlib import import_module
from typing import Any
from urllib.parse import unquote, urlsplit

import dj_database_url
from django.core.exceptions import ImproperlyConfigured

from warmer.report import masked_address

# Web, worker and beat write the same SQLite file: readers must not block the writer (WAL), and a transaction
# takes the write lock at its start, when SQLite still waits for it.
SQLITE_OPTIONS = {
    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    "transaction_mode": "IMMEDIATE",
    "timeout": 20,
}

# A hanging server still accepts connections; by default, psycopg would wait 130 s for it.
POSTGRESQL_OPTIONS = {"connect_timeout": 5}

EXPECTED = "expected e.g. postgres://user:password@host:5432/name or sqlite:////absolute/path.sqlite3."


def database_settings(url: str) -> dict[str, Any]:
    """Return the `DATABASES` entry for an address such as `postgres://user:password@host/name`.

    Raises:
        ImproperlyConfigured: the address cannot be used; the message shows no password.
    """
    try:
        settings: dict[str, Any] = dict(dj_database_url.parse(url, conn_max_age=60))
    except ValueError:
        raise ImproperlyConfigured(f"DATABASE_URL is {masked_address(url)!r}: {EXPECTED}") from None
    if not settings["ENGINE"].endswith("sqlite3"):
        _find_socket(settings, url)
    if settings["ENGINE"].startswith("django.db.backends."):
        _check_driver(settings["ENGINE"], url)
    if settings["ENGINE"].endswith("sqlite3"):
        settings["OPTIONS"] = SQLITE_OPTIONS | settings.get("OPTIONS", {})
    elif settings["ENGINE"].endswith("postgresql"):
        settings["CONN_HEALTH_CHECKS"] = True
        settings["OPTIONS"] = POSTGRESQL_OPTIONS | settings.get("OPTIONS", {})
        if _has_pool(settings.get("OPTIONS", {}), url):
            settings["CONN_MAX_AGE"] = 0  # Django does not allow a pool together with persistent connections
    return settings


def _find_socket(settings: dict[str, Any], url: str) -> None:
    """Set HOST to the folder of a unix socket, from any of three common forms.

    `?host=/cloudsql/NAME` (libpq's), `user@//cloudsql/NAME/database` (Google's), or `%2F` for each `/`.
    """
    host = urlsplit(url).netloc.rpartition("@")[2].partition(":")[0]
    folder, _, name = settings["NAME"].rpartition("/")
    if host.lower().startswith("%2f"):
        settings["HOST"] = unquote(host)  # `urlsplit` lowercases the host
    elif not host and folder.startswith("/"):
        settings |= {"HOST": folder, "NAME": name}
    elif not host and "host" in settings.get("OPTIONS", {}):
        settings["HOST"] = settings["OPTIONS"].pop("host")


def _has_pool(options: dict[str, Any], url: str) -> bool:
    pool = options.get("pool", False)
    if not isinstance(pool, bool):
        raise ImproperlyConfigured(f"DATABASE_URL is {masked_address(url)!r}: pool must be true or false.")
    return pool


def _check_driver(engine: str, url: str) -> None:
    """Reject a database whose driver is not installed, before the first query fails."""
    try:
        import_module(f"{engine}.base")
    except (ImportError, ImproperlyConfigured) as error:
        why = str(error).partition("\n")[0].rstrip(".")
        raise ImproperlyConfigured(
            f"DATABASE_URL is {masked_address(url)!r}, and its driver cannot be loaded ({why}): {EXPECTED}"
        ) from None
