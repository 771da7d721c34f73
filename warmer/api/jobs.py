"""The job objects that `@warm` and `@warm_many` return."""

import functools
import os
from asyncio import _get_running_loop
from collections.abc import Iterable, Mapping
from typing import Any, Generic, TypeVar, overload

from asgiref.sync import sync_to_async
from django.core.exceptions import SynchronousOnlyOperation

from warmer import invalidation
from warmer.context import settings_context
from warmer.declarations.spec import JobSpec
from warmer.filling import pipeline, read_through
from warmer.keys import Id
from warmer.report import Report

I = TypeVar("I", bound=Id)  # noqa: E741 - the type of an id
V = TypeVar("V")
D = TypeVar("D")


class _Job:
    """Base class of both kinds of jobs."""

    # A template would call the job, and so its loader, before it looks up `get`.
    do_not_call_in_templates = True

    def __init__(self, spec: JobSpec) -> None:
        self.spec = spec
        functools.update_wrapper(self, spec.loader)  # type: ignore[arg-type]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.spec.name} '{self.spec.key}'>"

    def __reduce__(self) -> str:
        """Copy and pickle a job as Python does a function: by its name.

        Django copies a form's fields, with `choices=job.get`, for each form.
        """
        return str(getattr(self, "__qualname__", self.name))

    @property
    def name(self) -> str:
        """The job's name."""
        return self.spec.name

    def _refuse_in_a_loop(self, call: str) -> None:
        """Refuse to block an event loop, even on a warm key: the mistake must not surface only on a cold one.

        `get_running_loop` raises if there is none, which takes twenty times as long.
        """
        if _get_running_loop() is not None and not os.environ.get("DJANGO_ALLOW_ASYNC_UNSAFE"):
            raise SynchronousOnlyOperation(
                f"{call}() would block the event loop: write 'await {self.name}.a{call}(...)'."
            )


class SingleJob(_Job, Generic[V]):
    """A job with one key, made by `@warm`. The methods that begin with `a` are for async code."""

    def __call__(self) -> V | None:
        """Call the loader itself, bypassing the cache."""
        with settings_context():
            value: V | None = self.spec.loader()
        return value

    @overload
    def get(self) -> V | None: ...
    @overload
    def get(self, default: D) -> V | D: ...
    def get(self, default: Any = None) -> Any:
        """Return the cached value, or load and store it; `default` if there is no value.

        If the cache is down, the value is loaded.

        Raises:
            Exception: whatever the loader raises.
        """
        self._refuse_in_a_loop("get")
        return read_through.get(self.spec, None, default)

    def warm(self, *, only_missing: bool = False) -> Report:
        """Load and write the key now, in this process.

        Args:
            only_missing: skip the key if it is cached.

        Returns:
            What happened to the key.
        """
        self._refuse_in_a_loop("warm")
        return pipeline.warm(self.spec, only_missing=only_missing)

    warm.alters_data = True  # type: ignore[attr-defined]  # templates do not call it

    def invalidate(self, *, immediately: bool = False) -> None:
        """Make sure that no reader gets the old value any more; in a transaction, at its commit.

        Args:
            immediately: do not wait for the commit. A read before the commit caches the old value again.

        Raises:
            StoreUnavailable: the cache does not answer, and no transaction is open.
        """
        self._refuse_in_a_loop("invalidate")
        invalidation.invalidate(self.spec, None, immediately=immediately)

    invalidate.alters_data = True  # type: ignore[attr-defined]

    @overload
    async def aget(self) -> V | None: ...
    @overload
    async def aget(self, default: D) -> V | D: ...
    async def aget(self, default: Any = None) -> Any:
        """Return what `get` returns, without blocking the event loop."""
        return await sync_to_async(read_through.get)(self.spec, None, default)

    async def awarm(self, *, only_missing: bool = False) -> Report:
        """Do what `warm` does, without blocking the event loop."""
        return await sync_to_async(self.warm)(only_missing=only_missing)

    async def ainvalidate(self, *, immediately: bool = False) -> None:
        """Do what `invalidate` does, without blocking the event loop."""
        await sync_to_async(self.invalidate)(immediately=immediately)


class KeyedJob(_Job, Generic[I, V]):
    """A job with a key for each id, made by `@warm_many`.

    The methods that begin with `a` are for async code.
    """

    def __call__(self, ids: list[I]) -> Mapping[I, V]:
        """Call the loader itself, bypassing the cache."""
        with settings_context():
            values: Mapping[I, V] = self.spec.loader(ids)
        return values

    def key(self, id: I) -> str:
        """Return the cache key of an id.

        Raises:
            InvalidId: the id cannot be part of a key.
        """
        return self.spec.key.key(id)

    @overload
    def get(self, id: I) -> V | None: ...
    @overload
    def get(self, id: I, default: D) -> V | D: ...
    def get(self, id: Any, default: Any = None) -> Any:
        """Return the cached value of an id, or load and store it; `default` if the id has no value.

        Any id may be read, not only those that are warmed. If the cache is down, the value is loaded.

        Raises:
            InvalidId: the id cannot be part of a key.
            Exception: whatever the loader raises.
        """
        self._refuse_in_a_loop("get")
        return read_through.get(self.spec, id, default)

    def get_many(self, ids: Iterable[I]) -> dict[I, V]:
        """Return the values of many ids, in one round trip if all are cached.

        Ids without a value are left out.

        Raises:
            InvalidId: an id cannot be part of a key.
            Exception: whatever the loader raises.
        """
        self._refuse_in_a_loop("get_many")
        return read_through.get_many(self.spec, self._several(ids, "get_many"))

    def warm(self, ids: Iterable[I] | None = None, /, *, only_missing: bool = False) -> Report:
        """Load and write keys now, in this process.

        Args:
            ids: default: the declared ids.
            only_missing: skip keys that are cached.

        Returns:
            What happened to each key.

        Raises:
            InvalidId: an id cannot be part of a key; no key was warmed.
        """
        self._refuse_in_a_loop("warm")
        if ids is not None:
            ids = list(self._several(ids, "warm"))
            for id in ids:
                self.key(id)
        return pipeline.warm(self.spec, ids, only_missing=only_missing)

    warm.alters_data = True  # type: ignore[attr-defined]

    def invalidate(self, ids: Iterable[I] | None = None, *, immediately: bool = False) -> None:
        """Make sure that no reader gets the old values any more; in a transaction, at its commit.

        Args:
            ids: default: every key of the job. From then on no old value can be written; the keys are deleted
                one after the other, so readers may see old values until all are gone.
            immediately: do not wait for the commit. A read before the commit caches the old value again.

        Raises:
            InvalidId: an id cannot be part of a key; nothing was invalidated.
            StoreUnavailable: the cache does not answer, and no transaction is open.
        """
        self._refuse_in_a_loop("invalidate")
        checked = None if ids is None else self._several(ids, "invalidate")
        invalidation.invalidate(self.spec, checked, immediately=immediately)

    invalidate.alters_data = True  # type: ignore[attr-defined]

    @overload
    async def aget(self, id: I) -> V | None: ...
    @overload
    async def aget(self, id: I, default: D) -> V | D: ...
    async def aget(self, id: Any, default: Any = None) -> Any:
        """Return what `get` returns, without blocking the event loop."""
        return await sync_to_async(read_through.get)(self.spec, id, default)

    async def aget_many(self, ids: Iterable[I]) -> dict[I, V]:
        """Return what `get_many` returns, without blocking the event loop."""
        return await sync_to_async(self.get_many)(ids)

    async def awarm(self, ids: Iterable[I] | None = None, /, *, only_missing: bool = False) -> Report:
        """Do what `warm` does, without blocking the event loop."""
        return await sync_to_async(self.warm)(ids, only_missing=only_missing)

    async def ainvalidate(self, ids: Iterable[I] | None = None, *, immediately: bool = False) -> None:
        """Do what `invalidate` does, without blocking the event loop."""
        await sync_to_async(self.invalidate)(ids, immediately=immediately)

    def _several(self, ids: Any, call: str) -> Any:
        """Return `ids`, or raise if it is a single id: a string would be treated as its characters."""
        if isinstance(ids, str | bytes) or not isinstance(ids, Iterable):
            raise TypeError(f"{call}() takes a list of ids: write {self.name}.{call}([{ids!r}])")
        return ids
