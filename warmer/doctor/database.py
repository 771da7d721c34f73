"""The database that keeps the runs and the changes, and its clock."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import DatabaseError, InterfaceError, connections, router

from warmer.doctor.check import ProjectCheck
from warmer.doctor.finding import Finding, NotApplicable, error, ok, warning
from warmer.doctor.project import Project
from warmer.humanize import duration
from warmer.models import WarmingRun
from warmer.report import describe

# The moment itself: in a transaction, CURRENT_TIMESTAMP is the time of its beginning on some.
CLOCKS = {
    "sqlite": "SELECT strftime('%Y-%m-%dT%H:%M:%f+00:00', 'now')",
    "postgresql": "SELECT clock_timestamp()",
    "mysql": "SELECT DATE_FORMAT(UTC_TIMESTAMP(6), '%Y-%m-%dT%H:%i:%s.%f+00:00')",
    "oracle": "SELECT SYS_EXTRACT_UTC(SYSTIMESTAMP) FROM DUAL",
}
# Leases and due times are in seconds; a server with NTP is off by milliseconds.
SKEW = timedelta(seconds=2)
LARGE_SKEW = timedelta(seconds=30)


@dataclass(frozen=True)
class Database(ProjectCheck):
    """The database answers, and warmer's tables are there."""

    id = "database"
    subject = "database"

    def look(self, project: Project) -> Iterator[Finding]:
        alias = router.db_for_write(WarmingRun)
        connection = connections[alias]
        try:
            with connection.cursor() as cursor:
                tables = connection.introspection.table_names(cursor)
        except (DatabaseError, InterfaceError) as problem:
            yield error(
                f"The database {alias!r} does not answer: {describe(problem)}.",
                why="No page and no loader works; nothing can be warmed.",
                fix="DATABASE_URL=postgres://USER:PASSWORD@HOST:5432/NAME\nmust lead to a server that is up.",
            )
            return
        if WarmingRun._meta.db_table not in tables:
            yield error(
                f"The database {alias!r} has no tables of warmer.",
                why="No run can be kept, so none starts, and no invalidation survives a cache that is away.",
                fix=f"manage.py migrate --database {alias}",
            )
        else:
            yield ok(f"{connection.vendor} answers, with warmer's tables")


@dataclass(frozen=True)
class ClockSkew(ProjectCheck):
    """This process and the database agree what time it is."""

    id = "clock-skew"
    subject = "database"
    after = ("database",)

    def look(self, project: Project) -> Iterator[Finding]:
        alias = router.db_for_write(WarmingRun)
        connection = connections[alias]
        if connection.vendor not in CLOCKS:
            raise NotApplicable(f"how to ask {connection.vendor} for the time is not known")
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1" if connection.vendor != "oracle" else "SELECT 1 FROM DUAL")  # connects
            began = time.monotonic()
            before = project.now()
            cursor.execute(CLOCKS[connection.vendor])
            theirs = _moment(cursor.fetchone()[0])
            took = timedelta(seconds=time.monotonic() - began)
        skew = before + took / 2 - theirs
        if abs(skew) <= SKEW + took:
            yield ok(f"{abs(skew).total_seconds():.1f} s")
            return
        problem = error if abs(skew) >= LARGE_SKEW else warning
        side = "ahead of" if skew > timedelta(0) else "behind"
        yield problem(
            f"The clock of this machine is {duration(abs(skew).total_seconds())} {side} the database's.",
            why="Machines judge each other's runs by these times: a living run is taken for lost, or a "
            "lost one for living, and what is due is sent early or late.",
            fix="timedatectl set-ntp true\non both machines; 'chronyc tracking' shows how far each is off.",
        )


def _moment(value: Any) -> datetime:
    found = datetime.fromisoformat(value) if isinstance(value, str) else value
    assert isinstance(found, datetime)
    return found if found.tzinfo else found.replace(tzinfo=UTC)
