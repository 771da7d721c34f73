"""`@warm` and `@warm_many`."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar, Unpack

from warmer.api.jobs import KeyedJob, SingleJob
from warmer.declarations.options import ManyOptions, Options
from warmer.declarations.registry import Declared, jobs
from warmer.declarations.spec import JobSpec
from warmer.declarations.validation import spec_of
from warmer.exceptions import DeclarationError
from warmer.invalidation import receivers
from warmer.keys import Id

I = TypeVar("I", bound=Id)  # noqa: E741 - the type of an id
V = TypeVar("V")
J = TypeVar("J", bound=Declared)


def warm(key: str, /, **options: Unpack[Options]) -> Callable[[Callable[[], V | None]], SingleJob[V]]:
    """Declare a job with one key.

    The decorated function is the loader: it takes no arguments and returns the value, or None if there is
    none. It alone reads the database, both for warming and for a miss.

    Args:
        key: the cache key, used exactly as written.
        options: name, cache, timeout, every, depends_on, fields, on_change, required, queue, jitter,
            negative_timeout, refresh_below, max_batches_per_second, all optional; see
            `warmer.declarations.options.Options`.

    Raises:
        DeclarationError: the declaration cannot work; the message says what to write instead.
    """
    return _decorator(SingleJob, key, keyed=False, options=options)


def warm_many(
    key: str, /, **options: Unpack[ManyOptions]
) -> Callable[[Callable[[list[I]], Mapping[I, V]]], KeyedJob[I, V]]:
    """Declare a job with a key for each id.

    The decorated function is the loader: it takes a list of ids and returns a mapping from id to value, with
    one query for the whole batch. It leaves out ids that have no value.

    Args:
        key: the key with `{id}` in it, e.g. "user:{id}:profile".
        options: `ids` and, optionally, batch_size and the options of `warm`; see
            `warmer.declarations.options.ManyOptions`.

    Raises:
        DeclarationError: the declaration cannot work; the message says what to write instead.
    """
    return _decorator(KeyedJob, key, keyed=True, options=options)


def _decorator(
    kind: Callable[[JobSpec], J], key: str, *, keyed: bool, options: Mapping[str, Any]
) -> Callable[[Callable[..., Any]], J]:
    decorator = "warm_many" if keyed else "warm"
    if callable(key):
        raise DeclarationError(
            f"@{decorator} on {getattr(key, '__qualname__', key)} has no key: write "
            f"@{decorator}({'user:{id}:profile' if keyed else 'popular_posts'!r}, ...)."
        )

    def declare(loader: Callable[..., Any]) -> J:
        job = kind(spec_of(loader, key=key, keyed=keyed, options=options))
        jobs.register(job)
        try:
            receivers.follow()
        except DeclarationError:
            jobs.unregister(job.spec.name)
            raise
        return job

    return declare
