"""The project, set up as in production on servers of its own: a Redis, and a database or two."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import django
from django.core.management import call_command
from django.db import connections

from embedded.postgres_server import PostgresServer
from embedded.redis_server import RedisServer

# As a cache in production: it may evict, and writes nothing to disk.
CACHE_OPTIONS = {"maxmemory": "4gb", "maxmemory-policy": "allkeys-lru"}

# A commit waits for the disk, as in production.
DURABLE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}


@contextmanager
def running_site(database: str = "sqlite") -> Iterator[RedisServer]:
    """Set up Django, once a process, with an empty database and an empty cache.

    Args:
        database: "sqlite", or "postgresql" where several processes write at once: neither waits for the
            disk. "both": SQLite as "default" and PostgreSQL as "postgresql", which both do.
    """
    folder = tempfile.TemporaryDirectory(prefix="warmer-bench-")
    postgres = PostgresServer(options=DURABLE if database == "both" else None)
    try:
        url, second = f"sqlite:///{folder.name}/db.sqlite3", ""
        if database == "postgresql":
            url = postgres.start().create_database("bench")
        elif database == "both":
            second = postgres.start().create_database("bench")
        with RedisServer(options=CACHE_OPTIONS) as server:
            os.environ |= {
                "DJANGO_SETTINGS_MODULE": "bench.settings",
                "DJANGO_ENV": "production",
                "SECRET_KEY": "only-for-benchmarks-" + "0123456789" * 4,
                "ALLOWED_HOSTS": "localhost",
                "DATABASE_URL": url,
                "BENCH_SECOND_DATABASE_URL": second,
                "REDIS_URL": server.url(0),
                "CELERY_BROKER_URL": server.url(1),
            }
            django.setup()
            for alias in connections:
                call_command("migrate", database=alias, verbosity=0)
            yield server
            connections.close_all()
    finally:
        postgres.stop()
        folder.cleanup()
