"""`@warm` and `@warm_many`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, TypeVar

from django.db.models import QuerySet

from warmer.api.jobs import KeyedJob, SingleJob
from warmer.api.options import with_known_options
from warmer.declarations.registry import Declared, jobs
from warmer.declarations.spec import DependsOn, Fields, JobSpec, OnChange
from warmer.declarations.validation import spec_of
from warmer.exceptions import DeclarationError
from warmer.invalidation import receivers

QUARTER_HOUR = timedelta(minutes=15)
HOUR = timedelta(hours=1)

R = TypeVar("R")
M = TypeVar("M", bound=Mapping[Any, Any])
J = TypeVar("J", bound=Declared)


@with_known_options
def warm(
    key: str,
    /,
    *,
    name: str | None = None,
    cache: str | None = None,
    timeout: timedelta = HOUR,
    every: timedelta | None = QUARTER_HOUR,
    depends_on: DependsOn = (),
    fields: Fields | None = None,
    on_change: OnChange = "invalidate",
    required: bool = True,
    queue: str | None = None,
    jitter: timedelta = timedelta(0),
    negative_timeout: timedelta | None = None,
    refresh_below: float | None = None,
    max_batches_per_second: float | None = None,
) -> Callable[[Callable[[], R]], SingleJob[R]]:
    """Declare a job with one key.

    The decorated function is the loader: it takes nothing and returns the value, or None when there
    is none. It alone reads the database, for warming and for a miss on read alike.

    Args:
        key: the cache key, exactly as it is in the cache.
        name: the job's name; default: the function's.
        cache: the alias in `CACHES`; default `WARMER_CACHE`, "default".
        timeout: how long the key lives.
        every: how often beat refreshes it; None: not scheduled. Shorter than `timeout`.
        depends_on: the models that the loader reads: any change of them invalidates the key.
        fields: the fields of each model that matter, e.g. `{User: ["email", "first_name"]}`: an update that
            changes none of them, nor what gives the ids, invalidates nothing. Default: all fields.
        on_change: "invalidate", or "refresh": also queue one warm, once changes pause.
        required: whether a failure fails `manage.py warm_cache`, and so the deploy.
        queue: the Celery queue; default `WARMER_QUEUE`, "warming".
        jitter: by how much the key's life may be shortened, at random, so that keys that were
            written together do not expire together.
        negative_timeout: how long it is cached that there is no value, which otherwise every read asks the
            database again. An invalidation ends it, so the creation of a row does when `depends_on`
            names its model.
        refresh_below: the fraction of its life below which the schedule refreshes a key, e.g. 0.5: a key with
            more left is looked at, and not loaded. Default: all are refreshed.
        max_batches_per_second: how fast the job's batches may follow each other, on all workers together, so
            that a run does not crowd out the site at its database. Default: as they come.

    Raises:
        DeclarationError: the declaration cannot work; the message says what to write instead.
    """
    return _decorator(
        SingleJob,
        key,
        keyed=False,
        ids=None,
        name=name,
        cache=cache,
        timeout=timeout,
        every=every,
        depends_on=depends_on,
        fields=fields,
        batch_size=1,
        on_change=on_change,
        required=required,
        queue=queue,
        jitter=jitter,
        negative_timeout=negative_timeout,
        refresh_below=refresh_below,
        max_batches_per_second=max_batches_per_second,
    )


@with_known_options
def warm_many(
    key: str,
    /,
    *,
    ids: Callable[[], Iterable[Any]] | QuerySet[Any],
    name: str | None = None,
    cache: str | None = None,
    timeout: timedelta = HOUR,
    every: timedelta | None = QUARTER_HOUR,
    depends_on: DependsOn = (),
    fields: Fields | None = None,
    batch_size: int | None = None,
    on_change: OnChange = "invalidate",
    required: bool = True,
    queue: str | None = None,
    jitter: timedelta = timedelta(0),
    negative_timeout: timedelta | None = None,
    refresh_below: float | None = None,
    max_batches_per_second: float | None = None,
) -> Callable[[Callable[[Sequence[Any]], M]], KeyedJob[M]]:
    """Declare a job with a key for each id.

    The decorated function is the loader: it takes a list of ids and returns a mapping from id to
    value, in one query for the whole batch; ids without a value it leaves out.

    Args:
        key: the key with `{id}` in it, e.g. "user:{id}:profile".
        ids: the ids to keep warm: a function that gives them, also one by one, or a queryset. Asked for each
            run, and read as a stream, so there may be millions.
        depends_on: the models that the loader reads. A list: any change invalidates every key. A
            mapping from model to what gives the ids of a changed row, e.g.
            `{Post: "id", Comment: "post_id"}`: the path of a field, or a function of the row. The
            function gets the row as it was and as it is, with its `fields` and primary key only.
        batch_size: how many ids are loaded and written together; default `WARMER_BATCH_SIZE`, 500.

    For the other options, and what is raised, see `warm`.
    """
    return _decorator(
        KeyedJob,
        key,
        keyed=True,
        ids=ids,
        name=name,
        cache=cache,
        timeout=timeout,
        every=every,
        depends_on=depends_on,
        fields=fields,
        batch_size=batch_size,
        on_change=on_change,
        required=required,
        queue=queue,
        jitter=jitter,
        negative_timeout=negative_timeout,
        refresh_below=refresh_below,
        max_batches_per_second=max_batches_per_second,
    )


def _decorator(
    kind: Callable[[JobSpec], J], key: str, *, keyed: bool, **options: Any
) -> Callable[[Callable[..., Any]], J]:
    def declare(loader: Callable[..., Any]) -> J:
        job = kind(spec_of(loader, key=key, keyed=keyed, **options))
        jobs.register(job)
        try:
            receivers.follow()
        except DeclarationError:
            jobs.unregister(job.spec.name)
            raise
        return job

    return declare
