"""`@warm` and `@warm_many`, and the job objects that they return."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Generic, ParamSpec, TypeVar

from django.apps import apps
from django.db.models import Model, QuerySet

from warmer import invalidation, reading, receivers, runner
from warmer.conf import conf
from warmer.exceptions import DeclarationError
from warmer.keys import Id, KeyTemplate
from warmer.registry import jobs
from warmer.report import Report
from warmer.spec import Dependency, DependsOn, JobSpec, OnChange

QUARTER_HOUR = timedelta(minutes=15)
HOUR = timedelta(hours=1)

P = ParamSpec("P")
R = TypeVar("R")
M = TypeVar("M", bound=Mapping[Any, Any])


class _Job(Generic[P, R]):
    """What single and keyed jobs share: the spec, and the loader as a plain call."""

    def __init__(self, spec: JobSpec) -> None:
        self.spec = spec
        functools.update_wrapper(self, spec.loader)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the loader itself, past the cache."""
        result: R = self.spec.loader(*args, **kwargs)
        return result

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.spec.name} '{self.spec.key}'>"

    @property
    def name(self) -> str:
        """The job's name."""
        return self.spec.name


class SingleJob(_Job[[], R]):
    """A job with one key, made by `@warm`."""

    def get(self, default: Any = None) -> Any:
        """Return the value: cached, or else loaded once and stored; `default` when there is none.

        The cache being down is no error: the value is then loaded.

        Raises:
            Exception: whatever the loader raises.
        """
        return reading.get(self.spec, None, default)

    def warm(self, ids: None = None, /, *, only_missing: bool = False) -> Report:
        """Load and write the key now, in this process; return what happened to it."""
        if ids is not None:
            raise TypeError(f"{self.name!r} has one key: call warm() without ids")
        return runner.warm(self.spec, only_missing=only_missing)

    def invalidate(self) -> None:
        """See that no reader gets the old value any more.

        Raises:
            StoreUnavailable: the cache does not answer.
        """
        invalidation.invalidate(self.spec, None)


class KeyedJob(_Job[[Sequence[Any]], M]):
    """A job with a key for each id, made by `@warm_many`."""

    def key(self, id: Id) -> str:
        """Return an id's cache key.

        Raises:
            InvalidId: the id cannot be part of a key.
        """
        return self.spec.key.key(id)

    def get(self, id: Id, default: Any = None) -> Any:
        """Return an id's value: cached, or else loaded once and stored; `default` when it has none.

        Any id may be read, not only those that are warmed. The cache being down is no error: the
        value is then loaded.

        Raises:
            InvalidId: the id cannot be part of a key.
            Exception: whatever the loader raises.
        """
        return reading.get(self.spec, id, default)

    def get_many(self, ids: Iterable[Id]) -> dict[Id, Any]:
        """Return the values of many ids, in one round trip; ids without a value are left out.

        Raises:
            InvalidId: an id cannot be part of a key.
            Exception: whatever the loader raises.
        """
        return reading.get_many(self.spec, ids)

    def warm(self, ids: Iterable[Id] | None = None, /, *, only_missing: bool = False) -> Report:
        """Load and write keys now, in this process; return what happened to each.

        Args:
            ids: default: the job's declared ids.
            only_missing: leave keys alone that are cached.

        Raises:
            InvalidId: an id cannot be part of a key; nothing was warmed.
        """
        if ids is not None:
            ids = list(ids)
            for id in ids:
                self.spec.key.key(id)
        return runner.warm(self.spec, ids, only_missing=only_missing)

    def invalidate(self, ids: Iterable[Id] | None = None) -> None:
        """See that no reader gets the old values any more.

        Args:
            ids: default: every key of the job. Nothing old can be written any more at once; the keys
                themselves are then swept, and a reader can see an old value until that is through.

        Raises:
            InvalidId: an id cannot be part of a key; nothing was invalidated.
            StoreUnavailable: the cache does not answer.
        """
        invalidation.invalidate(self.spec, ids)


def warm(
    key: str,
    /,
    *,
    name: str | None = None,
    cache: str | None = None,
    timeout: timedelta = HOUR,
    every: timedelta | None = QUARTER_HOUR,
    depends_on: DependsOn = (),
    on_change: OnChange = "invalidate",
    required: bool = True,
    queue: str | None = None,
    jitter: timedelta = timedelta(0),
    cache_absent: timedelta | None = None,
    refresh_when: float | None = None,
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
        on_change: "invalidate", or "refresh": also queue one warm, once changes pause.
        required: whether a failure fails `manage.py warm_cache`, and so the deploy.
        queue: the Celery queue; default `WARMER_QUEUE`, "warming".
        jitter: by how much the key's life may be shortened, at random, so that keys that were
            written together do not expire together.
        cache_absent: how long it is cached that there is no value, which otherwise every read asks the
            database again. An invalidation ends it, so the creation of a row does when `depends_on`
            names its model.
        refresh_when: the fraction of its life below which the schedule refreshes a key, e.g. 0.5: a key with
            more left is looked at, and not loaded. Default: all are refreshed.
        max_batches_per_second: how fast the job's batches may follow each other, on all workers together, so
            that a run does not crowd out the site at its database. Default: as they come.

    Raises:
        DeclarationError: the declaration cannot work; the message says what to write instead.
    """

    _refuse_bare(key, "warm")

    def declare(loader: Callable[[], R]) -> SingleJob[R]:
        spec = _spec(
            loader,
            key=key,
            keyed=False,
            ids=None,
            name=name,
            cache=cache,
            timeout=timeout,
            every=every,
            depends_on=depends_on,
            batch_size=1,
            on_change=on_change,
            required=required,
            queue=queue,
            jitter=jitter,
            cache_absent=cache_absent,
            refresh_when=refresh_when,
            max_batches_per_second=max_batches_per_second,
        )
        job = SingleJob[R](spec)
        _register(job)
        return job

    return declare


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
    batch_size: int | None = None,
    on_change: OnChange = "invalidate",
    required: bool = True,
    queue: str | None = None,
    jitter: timedelta = timedelta(0),
    cache_absent: timedelta | None = None,
    refresh_when: float | None = None,
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
            `{Post: "id", Comment: "post_id"}`: the path of a field, or a function of the instance.
        batch_size: how many ids are loaded and written together; default `WARMER_BATCH_SIZE`, 500.

    For the other options, and what is raised, see `warm`.
    """

    _refuse_bare(key, "warm_many")

    def declare(loader: Callable[[Sequence[Any]], M]) -> KeyedJob[M]:
        spec = _spec(
            loader,
            key=key,
            keyed=True,
            ids=ids,
            name=name,
            cache=cache,
            timeout=timeout,
            every=every,
            depends_on=depends_on,
            batch_size=conf.BATCH_SIZE if batch_size is None else batch_size,
            on_change=on_change,
            required=required,
            queue=queue,
            jitter=jitter,
            cache_absent=cache_absent,
            refresh_when=refresh_when,
            max_batches_per_second=max_batches_per_second,
        )
        job = KeyedJob[M](spec)
        _register(job)
        return job

    return declare


def _refuse_bare(key: object, decorator: str) -> None:
    """Refuse `@warm` without a call, which takes the loader for the key and would declare nothing."""
    if callable(key):
        name = getattr(key, "__qualname__", repr(key))
        raise DeclarationError(
            f"@{decorator} on {name} has no arguments: a key is a text, e.g. @{decorator}('popular_posts')."
        )


def _register(job: SingleJob[Any] | KeyedJob[Any]) -> None:
    jobs.register(job)
    if apps.models_ready:  # else the app's `ready()` does it
        receivers.listen(job.spec)


def _spec(
    loader: Callable[..., Any],
    *,
    key: str,
    keyed: bool,
    ids: Any,
    name: str | None,
    cache: str | None,
    depends_on: DependsOn,
    queue: str | None,
    **options: Any,
) -> JobSpec:
    code = getattr(loader, "__code__", None)
    declared_at = f"{loader.__module__}:{code.co_firstlineno if code else '?'}"
    job_name = name if name is not None else getattr(loader, "__name__", "")
    try:
        template = KeyTemplate.parse(key, keyed=keyed)
        if keyed:
            _check_ids(ids)
        dependencies = _dependencies(depends_on)
    except DeclarationError as error:
        raise DeclarationError(f"The job {job_name!r} ({declared_at}): {error}.") from None
    return JobSpec(
        name=job_name,
        key=template,
        loader=loader,
        ids=ids,
        cache=cache or conf.CACHE,
        depends_on=dependencies,
        queue=queue or conf.QUEUE,
        declared_at=declared_at,
        **options,
    )


def _check_ids(ids: object) -> None:
    if callable(ids) or isinstance(ids, QuerySet):
        return
    if isinstance(ids, Iterator):
        raise DeclarationError(
            f"ids={ids!r} would be at its end after one run: give the function that makes it, "
            "without calling it"
        )
    raise DeclarationError(
        f"ids={ids!r}: expected a function that gives the ids, e.g. top_user_ids, or a queryset"
    )


def _dependencies(depends_on: object) -> tuple[Dependency, ...]:
    if isinstance(depends_on, Mapping):
        pairs = list(depends_on.items())
    elif isinstance(depends_on, list | tuple | set | frozenset):
        pairs = [(model, None) for model in depends_on]
    else:
        raise DeclarationError(
            f"depends_on={depends_on!r}: expected a list of models, e.g. [Post], or a mapping from "
            "model to what gives the ids, e.g. {Post: 'id'}"
        )
    dependencies = []
    for model, source in pairs:
        if not isinstance(model, str) and not (isinstance(model, type) and issubclass(model, Model)):
            raise DeclarationError(
                f"depends_on names {model!r}: expected a model, or its label 'app_label.ModelName'"
            )
        if isinstance(depends_on, Mapping) and not (isinstance(source, str) or callable(source)):
            raise DeclarationError(
                f"depends_on maps {model!r} to {source!r}: expected the path of a field, e.g. 'id', or a "
                "function of the instance"
            )
        dependencies.append(Dependency(model=model, ids=source))
    return tuple(dependencies)
