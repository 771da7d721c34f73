"""What was measured on: figures mean nothing without it."""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from django.db import connections

# SQLite's words for the numbers that it answers with.
SYNCHRONOUS = ("off", "normal", "full", "extra")


def machine() -> dict[str, str | int | float]:
    """Return the processor, its cores, the system, and how busy it is."""
    return {
        "cpu": _cpu() or platform.machine(),
        "cores": os.cpu_count() or 1,
        "system": f"{platform.system()} {platform.machine()}",
        "load": round(os.getloadavg()[0], 1),
    }


def versions(server: str, peers: Iterable[str] = ()) -> dict[str, str]:
    """Return the versions of what takes part; Django is set up.

    Args:
        server: that of the Redis server.
        peers: other distributions.
    """
    return {
        "Python": platform.python_version(),
        "Django": version("django"),
        "redis-py": version("redis"),
        "hiredis": version("hiredis"),
        "django-redis": version("django-redis"),
        "server": server,
        **_databases(),
        **{peer: version(peer) for peer in peers},
    }


def _databases() -> dict[str, str]:
    """Return the databases, each with what says whether a commit waits for the disk."""
    found = {}
    for connection in connections.all():
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                version, fsync, commit = (
                    _one(cursor, f"SHOW {name}") for name in ("server_version", "fsync", "synchronous_commit")
                )
                version = str(version).split()[0]
                found["PostgreSQL"] = f"{version} (fsync={fsync}, synchronous_commit={commit})"
            else:
                journal, synchronous = (
                    _one(cursor, f"PRAGMA {name}") for name in ("journal_mode", "synchronous")
                )
                level = SYNCHRONOUS[synchronous]
                found["SQLite"] = f"{sqlite3.sqlite_version} (journal_mode={journal}, synchronous={level})"
    return found


def _one(cursor: Any, sql: str) -> Any:
    cursor.execute(sql)
    return cursor.fetchone()[0]


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        lines = (line.partition(":") for line in info.read_text().splitlines())
        return next((value.strip() for name, _, value in lines if name.strip() == "model name"), "")
    if platform.system() == "Darwin":
        asked = subprocess.run(
            ["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, check=False
        )
        return asked.stdout.strip()
    return platform.processor()
