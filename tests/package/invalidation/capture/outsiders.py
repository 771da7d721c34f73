"""Connections without `warmer`: another program, another role, a client of the database's own driver."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

from django.db import connection


def run(*statements: str) -> None:
    """Run statements as another program does, each committed."""
    with outsider() as other:
        for each in statements:
            other.execute(each)


def fetch(statement: str) -> list[tuple[Any, ...]]:
    """Return what another program is shown: what is committed."""
    with outsider() as other:
        return list(other.execute(statement).fetchall())


@contextmanager
def outsider(**options: Any) -> Iterator[Any]:
    """A plain connection to the test's database, in autocommit."""
    if connection.vendor == "sqlite":
        with closing(sqlite3.connect(connection.settings_dict["NAME"], isolation_level=None)) as other:
            yield other
        return
    import psycopg

    known = connection.get_connection_params()
    wanted = {name: known[name] for name in ("dbname", "host", "port", "user", "password") if name in known}
    with psycopg.connect(**wanted | options, autocommit=True) as other:
        yield other
