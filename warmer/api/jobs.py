"""The job objects that `@warm` and `@warm_many` return."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Generic, ParamSpec, TypeVar

from warmer import invalidation
from warmer.declarations.spec import JobSpec
from warmer.filling import pipeline, read_through
from warmer.keys import Id
from warmer.report import Report

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
        return read_through.get(self.spec, None, default)

    def warm(self, ids: None = None, /, *, only_missing: bool = False) -> Report:
        """Load and write the key now, in this process; return what happened to it."""
        if ids is not None:
            raise TypeError(f"{self.name!r} has one key: call warm() without ids")
        return pipeline.warm(self.spec, only_missing=only_missing)

    def invalidate(self, *, immediately: bool = False) -> None:
        """Make sure that no reader gets the old value any more; inside a transaction at its commit.

        Args:
            immediately: do not wait for the commit. Whoever reads the key before the commit caches the old
                value again.

        Raises:
            StoreUnavailable: the cache does not answer, and no transaction is open.
        """
        invalidation.invalidate(self.spec, None, immediately=immediately)


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
        return read_through.get(self.spec, id, default)

    def get_many(self, ids: Iterable[Id]) -> dict[Id, Any]:
        """Return the values of many ids, in one round trip; ids without a value are left out.

        Raises:
            InvalidId: an id cannot be part of a key.
            Exception: whatever the loader raises.
        """
        return read_through.get_many(self.spec, self._checked(ids, "get_many"))

    def warm(self, ids: Iterable[Id] | None = None, /, *, only_missing: bool = False) -> Report:
        """Load and write keys now, in this process; return what happened to each.

        Args:
            ids: default: the job's declared ids.
            only_missing: leave keys alone that are cached.

        Raises:
            InvalidId: an id cannot be part of a key; nothing was warmed.
        """
        if ids is not None:
            ids = list(self._checked(ids, "warm"))
            for id in ids:
                self.spec.key.key(id)
        return pipeline.warm(self.spec, ids, only_missing=only_missing)

    def invalidate(self, ids: Iterable[Id] | None = None, *, immediately: bool = False) -> None:
        """Make sure that no reader gets the old values any more; inside a transaction at its commit.

        Args:
            immediately: do not wait for the commit. Whoever reads a key before the commit caches the old
                value again.
            ids: default: every key of the job. Nothing old can be written any more at once; the keys
                themselves are then swept, and a reader can see an old value until that is through.

        Raises:
            InvalidId: an id cannot be part of a key; nothing was invalidated.
            StoreUnavailable: the cache does not answer, and no transaction is open.
        """
        checked = None if ids is None else self._checked(ids, "invalidate")
        invalidation.invalidate(self.spec, checked, immediately=immediately)

    def _checked(self, ids: Iterable[Id], call: str) -> Iterable[Id]:
        """Return ids, if they are several: one id is no list of its letters."""
        if isinstance(ids, str | bytes) or not isinstance(ids, Iterable):
            raise TypeError(f"ids is a list of ids, e.g. {self.name}.{call}([{ids!r}]): {ids!r} is none")
        return ids
