"""The options of `@warm` and `@warm_many`, defined once."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, Literal, Required, TypedDict

from django.db.models import Model, QuerySet

from warmer.exceptions import DeclarationError, did_you_mean

Duration = timedelta | float
"""A `timedelta` or a number of seconds."""
OnChange = Literal["invalidate", "refresh"]
IdsOfChange = str | Callable[[Any], Any]
DependsOn = Sequence[type[Model] | str] | Mapping[type[Model] | str, IdsOfChange]
Fields = Mapping[type[Model] | str, Sequence[str]]


class Options(TypedDict, total=False):
    """What `@warm` takes besides the key. Durations are a `timedelta` or a number of seconds."""

    name: str
    """The job's name. Default: the name of the function."""

    cache: str
    """The alias in `CACHES`. Default: `WARMER_CACHE`, which is "default"."""

    timeout: Duration
    """How long a key lives. Default: one hour."""

    every: Duration | None
    """How often beat refreshes the job; shorter than `timeout`. None: not scheduled. Default: 15 minutes."""

    depends_on: DependsOn
    """The models that the loader reads. A list: any change affects every key. A mapping says how to get the
    ids from a changed row, e.g. `{Post: "id", Comment: "post_id"}`: by the path of a field, or a function of
    the row. The function is called with the old and the new row, which have only its `fields` and the primary
    key."""

    fields: Fields | None
    """The fields of each model that matter, e.g. `{User: ["email", "first_name"]}`. An update that changes
    neither these nor the columns that give the ids invalidates nothing. Default: all fields."""

    on_change: OnChange
    """"invalidate" (the default), or "refresh": also queue a run for the changed keys once changes pause."""

    required: bool
    """Whether a failure fails `manage.py warm_cache`, and so the deploy. Default: True."""

    queue: str
    """The Celery queue. Default: `WARMER_QUEUE`, which is "warming"."""

    jitter: Duration
    """Shorten the timeout of each key by a random amount up to this, so that keys written together do not
    expire together. Default: 0."""

    negative_timeout: Duration | None
    """How long to remember that a key has no value. An invalidation ends this, so creating a row of a model
    in `depends_on` does. Default: None, every read of such a key runs the loader."""

    refresh_below: float | None
    """The schedule refreshes only keys with less than this fraction of their timeout left, e.g. 0.5.
    Default: None, it refreshes every key."""

    max_batches_per_second: float | None
    """The maximum rate of the job's batches, across all workers, to protect the database. Default: None, no
    limit."""


class ManyOptions(Options, total=False):
    """What `@warm_many` takes besides the key."""

    ids: Required[Callable[[], Iterable[Any]] | QuerySet[Any]]
    """The ids to keep warm: a function that returns or yields them, or a queryset. Each run evaluates it
    again and streams the result, so millions of ids are fine."""

    batch_size: int
    """How many ids are loaded and written together. Default: `WARMER_BATCH_SIZE`, which is 500."""


def check_known(options: Mapping[str, Any], *, keyed: bool) -> None:
    """Reject options that do not exist.

    Raises:
        DeclarationError: an option is unknown, belongs to `@warm_many` only, or `ids` is missing.
    """
    known = (ManyOptions if keyed else Options).__annotations__
    for name in options.keys() - known:
        if name in ManyOptions.__annotations__:
            raise DeclarationError(f"{name} is an option of @warm_many; @warm declares a job with one key")
        hint = did_you_mean(name, known) or f"the options are {', '.join(known)}"
        raise DeclarationError(f"unknown option {name}: {hint}")
    if keyed and "ids" not in options:
        raise DeclarationError(
            "ids is missing: give a function that returns the ids, e.g. ids=top_user_ids, or a queryset"
        )


def seconds(name: str, value: Any) -> timedelta:
    """Return a duration as a `timedelta`.

    Raises:
        DeclarationError: it is neither a `timedelta` nor a number.
    """
    with suppress(TypeError, OverflowError, ValueError):
        if not isinstance(value, bool):  # `every=True` is no number of seconds
            return value if isinstance(value, timedelta) else timedelta(seconds=value)
    raise DeclarationError(
        f"{name}={value!r}: expected a timedelta or a number of seconds, e.g. timedelta(minutes=15) or 900"
    )
