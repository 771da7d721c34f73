"""Count pending changes, and limit the number of their records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import chain

from django.db import connections
from django.db.models import Count, Max, Min, Q
from django.db.models.functions import Now

from warmer.conf import conf
from warmer.invalidation import records
from warmer.invalidation.records import Record, ask_one, read_committed, rows_of, visit
from warmer.invalidation.sources import sources
from warmer.report import describe

ROLL_OUT = timedelta(days=1)
"""How long a change is kept for a process that declares its job, e.g. while a release is rolled out."""


@dataclass(frozen=True, kw_only=True)
class Backlog:
    """The pending changes of declared jobs.

    Attributes:
        age: how long the oldest has been pending.
        by_job: how many affect each job, by its name.
        answered: the databases that answered.
        unanswered: the databases that do not answer, whose pending changes are unknown, with the reasons.
    """

    count: int = 0
    age: timedelta = timedelta(0)
    by_job: Counter[str] = field(default_factory=Counter)
    answered: Collection[str] = ()
    unanswered: Mapping[str, str] = field(default_factory=dict)

    def __add__(self, other: Backlog) -> Backlog:
        """Return the pending changes of both: they are of different databases."""
        return Backlog(
            count=self.count + other.count,
            age=max(self.age, other.age),
            by_job=self.by_job + other.by_job,
            answered=[*self.answered, *other.answered],
            unanswered={**self.unanswered, **other.unanswered},
        )


def backlog(*using: str) -> Backlog:
    """Return the pending changes of some databases, by default of all, with one query for each."""
    count, age, by_job = 0, timedelta(0), Counter[str]()
    found, failed = visit(_waiting, using)
    for source, key, number, waited in chain.from_iterable(found.values()):
        count += number
        age = max(age, waited)
        specs = sources().by_key[key] if key else [each.spec for each in sources().by_name[source].dependents]
        for name in {spec.name for spec in specs}:
            by_job[name] += number
    unanswered = {alias: describe(error) for alias, error in failed.items()}
    return Backlog(count=count, age=age, by_job=by_job, answered=list(found), unanswered=unanswered)


def _waiting(using: str) -> list[tuple[str, str, int, timedelta]]:
    rows = rows_of(using).filter(_is_declared(), applied_at=None).order_by()
    return list(rows.values_list("source", "key").annotate(n=Count("pk"), age=Now() - Min("recorded_at")))


def _is_declared() -> Q:
    return Q(source__in=list(sources().by_name)) | Q(key__in=list(sources().by_key))


def purge(*, using: str, thoroughly: bool = False) -> None:
    """Delete a page of the changes that were applied before the last `WARMER_REPLAY`.

    Args:
        thoroughly: delete all, and those that were kept for a day for a process that declares their jobs.
    """
    due = Q(applied_at__lt=Now() - conf.REPLAY)
    if thoroughly:
        due |= Q(applied_at=None, recorded_at__lt=Now() - ROLL_OUT) & ~_is_declared()
    locks = connections[using].features.has_select_for_update_skip_locked
    while True:
        with read_committed(using, transaction_wanted=locks):
            rows = rows_of(using).filter(due).order_by("pk")
            if locks:
                rows = rows.select_for_update(skip_locked=True)
            numbers = list(rows.values_list("pk", flat=True)[: records.PAGE])
            rows_of(using).filter(pk__in=numbers).delete()
        if not thoroughly or len(numbers) < records.PAGE:
            return


def collapse(*, using: str) -> bool:
    """Replace the records of each source with more than `WARMER_FENCE_RECORDS` pending by one for every key;
    return whether there was any."""
    rows = rows_of(using).filter(applied_at=None).order_by()
    counts = rows.values_list("source", "key").annotate(n=Count("pk"), last=Max("pk"))
    with read_committed(using):
        crowded = list(counts.filter(n__gt=conf.FENCE_RECORDS))
    for source, key, _count, last in crowded:
        with read_committed(using, transaction_wanted=True):
            records.write([Record(source=source, key=key)], using=using)
            rows.filter(source=source, key=key, pk__lte=last).delete()
    return bool(crowded)


def is_read_only(using: str) -> bool:
    """Return whether a PostgreSQL database rejects every write, as a standby does."""
    connection = connections[using]
    return connection.vendor == "postgresql" and ask_one(connection, "SHOW transaction_read_only") == "on"
