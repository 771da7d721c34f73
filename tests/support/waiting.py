"""Changes that wait to be applied, and changes that nothing captures."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.db.models import Max

from tests.support.fixtures import install_triggers
from tests.support.transactions import unwatched
from warmer import jobs
from warmer.invalidation import captures_by_triggers, triggers
from warmer.models import ChangeRecord


def make_waiting(job: str, ids: Sequence[Any] | None = None, **columns: Any) -> ChangeRecord:
    """Record that keys of a job are to be invalidated, and leave it to a worker. None: every key."""
    rows = None if ids is None else json.dumps(ids)
    return ChangeRecord.objects.create(key=str(jobs[job].spec.key), rows=rows, **columns)


def waiting() -> list[tuple[str, str | None]]:
    """Return what waits: the source or the key of each record, and its rows."""
    found = ChangeRecord.objects.filter(applied_at=None).order_by("pk")
    return [(each.source or each.key, each.rows) for each in found]


@contextmanager
def uncaptured() -> Iterator[None]:
    """Let a block change rows by statements that nothing captures, as where triggers are disabled."""
    last = ChangeRecord.objects.aggregate(last=Max("pk"))["last"] or 0
    with unwatched():
        yield
        ChangeRecord.objects.filter(pk__gt=last).delete()


@contextmanager
def without_triggers() -> Iterator[None]:
    """Run a block on a database that has lost its triggers, as by a dump that was restored."""
    triggers.remove("default")
    try:
        yield
    finally:
        if captures_by_triggers():
            install_triggers()
