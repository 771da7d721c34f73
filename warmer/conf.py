"""Settings: `conf.X` is the project's `WARMER_X`, or else the default that stands here."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.conf import settings


class Settings:
    """Defaults as typed class attributes, read live so that `override_settings` works."""

    CACHE: str = "default"
    """The alias in `CACHES` of a job that names none."""

    QUEUE: str = "warming"
    """The Celery queue of a job that names none."""

    BATCH_SIZE: int = 500
    """How many ids a batch has when a job does not say."""

    BATCHES_OUT: int = 32
    """Into how many lanes the batches of a run are divided, each with one message at a time. More than there
    are worker processes."""

    MAX_BATCHES_PER_SECOND: float = 0.0
    """How fast batches may follow each other, of all jobs and on all workers together; 0: as they come.
    A job has `max_batches_per_second` of its own besides."""

    FENCE_ATTEMPTS: int = 4
    """How often a batch is loaded when invalidations overtake it, before its keys are left cold."""

    FENCE_RECORDS: int = 10_000
    """How many invalidated keys a job's fence remembers; an older token is refused."""

    FENCE_AGE: timedelta = timedelta(hours=1)
    """For how long it remembers them: longer than loading and writing a batch may take."""

    REPLICA_LAG: timedelta = timedelta(0)
    """By how much what loaders read may lag behind the database that is written, as a replica does: an
    invalidated key is not filled for so long, and reads of it load past the cache."""

    READ_WAIT: timedelta = timedelta(seconds=10)
    """How long a read waits for a value that another reader is loading, before it loads the value for
    itself without storing it. Longer than the slowest loader takes for a batch."""

    READ_CLAIM: timedelta = timedelta(seconds=5)
    """How long a reader that loads a missing value keeps others waiting when it was killed: then one of
    them takes over. A loader that takes longer runs a second time."""

    RUN_EXPIRY: timedelta = timedelta(hours=1)
    """How long a requested run may wait for a worker (a scheduled one: until the next is due)."""

    STALL_TIMEOUT: timedelta = timedelta(minutes=10)
    """A running run without any progress for so long has lost its worker. Longer than the broker
    takes to deliver a killed worker's message again."""

    RUN_RETENTION: timedelta = timedelta(days=30)
    """How long an ended run is kept. The newest run of each job is kept for ever."""

    REFRESH_DELAY: timedelta = timedelta(seconds=2)
    """How long a re-warm after a change waits for further changes."""

    CAPTURE: str = ""
    """How changes are captured: by the "signals" of Django, or by "triggers" in the database (PostgreSQL,
    SQLite), which also see `update()`, bulk operations, raw SQL and other programs. Empty: signals, and a
    system check says what they miss."""

    REPLAY: timedelta = timedelta(seconds=60)
    """How long an applied change stays in the database. Meanwhile a worker whose jobs or caches differ from
    those of the process that applied it, such as another release, applies it once more."""

    REPORTED_FAILURES: int = 20
    """How many failed keys a report names, and how many wrong ones an audit; all are counted."""

    AUDIT_SAMPLE: int = 0
    """How many keys of each job the scheduled audit compares with the database. 0: it is off."""

    AUDIT_EVERY: timedelta = timedelta(hours=1)
    """How often the scheduled audit looks, until an operator changes its entry in the schedule."""

    COUNT_READS: bool = True
    """Whether it is counted how often each job is read, and misses. It is looked at when a process starts."""

    EFFECTIVENESS_SAMPLE: int = 200
    """How many keys of each job readers watch, to tell which share of them is read at all. 0: it is off."""

    METRICS: bool = False
    """Whether `/metrics` answers; it needs the extra `warmer[metrics]`."""

    METRICS_TOKEN: str = ""
    """What a scrape must show as `Authorization: Bearer`. Empty: nothing is asked for."""

    READY_REQUIRES_WARM: bool = False
    """Whether `/readyz` waits until every required job was warmed: until one of its runs, other than
    those after a change, ended complete since `WARMER_READY_WARM_SINCE`."""

    READY_WARM_SINCE: str = ""
    """The moment since when a warm counts for `/readyz`, e.g. that of the deploy, as ISO 8601 with its
    offset. Empty: as long before the process started as the job's timeout is."""

    SERVER_TIMING: bool = False
    """Whether every response says in a `Server-Timing` header how it used the caches, and not only those
    to staff; by the middleware."""

    LOG_CACHE_TIME: timedelta = timedelta(milliseconds=100)
    """A request that spends longer in the caches is logged by the middleware. 0: none is."""

    LOG_CACHE_CALLS: int = 100
    """A request that calls the caches more often is logged by the middleware. 0: none is."""

    def __getattribute__(self, name: str) -> Any:
        default = super().__getattribute__(name)
        return getattr(settings, f"WARMER_{name}", default) if name.isupper() else default


conf = Settings()
