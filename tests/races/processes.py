"""Other processes on the database and the cache of the test."""

import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from django.conf import settings
from django.db import connection


def start(arguments: Sequence[object], **options: Any) -> Any:
    """Start Python with some arguments, on the database of the test."""
    environment = {"DJANGO_SETTINGS_MODULE": "config.settings", "DATABASE_URL": address_of_the_database()}
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        env=os.environ | environment,
        cwd=settings.BASE_DIR,
        text=True,
        **options,
    )


def run(code: str) -> int:
    """Run code in a process of its own; return how it ended."""
    process = start(["-c", code])
    try:
        return process.wait(timeout=60)
    finally:
        process.kill()


def address_of_the_database() -> str:
    """Return the `DATABASE_URL` of the database that this test uses."""
    used = connection.settings_dict
    if connection.vendor == "sqlite":
        return f"sqlite:///{used['NAME']}"
    login = used["USER"] + (f":{used['PASSWORD']}" if used["PASSWORD"] else "")
    host = used["HOST"].replace("/", "%2F")
    return f"postgres://{login}@{host}:{used['PORT']}/{used['NAME']}"
