"""A job as frozen data, validated when it is created."""

import math
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from weakref import WeakSet

from django.conf import settings
from django.core.signals import setting_changed
from django.db.models import Model, QuerySet
from django.utils.functional import cached_property

from warmer.conf import SLOWEST_PACE
from warmer.declarations.options import IdsOfChange, OnChange
from warmer.exceptions import DeclarationError
from warmer.keys import Id, KeyTemplate
from warmer.stores import Store, open_store

DURATIONS = frozenset({"timeout", "every", "jitter", "negative_timeout"})
# The length of the column for names in the table of runs.
MAX_NAME_LENGTH = 100
_NAME = re.compile(rf"[A-Za-z_][\w.-]{{0,{MAX_NAME_LENGTH - 1}}}")


@dataclass(frozen=True, kw_only=True)
class Dependency:
    """A model that a job reads.

    Attributes:
        model: the model, or its label `"app.Model"` until the registry has resolved it.
        ids: how to get the job's ids from a changed row: the path of a field, or a function of the row. None:
            any change affects every key of the job.
        fields: an update that changes neither these fields nor the columns that give the ids is ignored.
            None: every update counts.
    """

    model: type[Model] | str
    ids: IdsOfChange | None = None
    fields: tuple[str, ...] | None = None

    @property
    def label(self) -> str:
        """The model's label, e.g. `myapp.Post`."""
        return self.model if isinstance(self.model, str) else self.model._meta.label

    @property
    def object_model(self) -> type[Model] | None:
        """The model, if its primary keys are the job's ids, so that each key belongs to one object."""
        if isinstance(self.model, str) or self.ids not in ("pk", self.model._meta.pk.attname):
            return None
        return self.model


@dataclass(frozen=True, kw_only=True, eq=False)
class JobSpec:
    """One declared job. For the options see `warmer.declarations.options`.

    Raises:
        DeclarationError: the declaration cannot work; the message says what to write instead.
    """

    name: str
    key: KeyTemplate
    loader: Callable[..., Any]
    declared_at: str
    cache: str
    queue: str
    batch_size: int
    ids: Callable[[], Iterable[Id]] | QuerySet[Any] | None = None
    timeout: timedelta = timedelta(hours=1)
    every: timedelta | None = timedelta(minutes=15)
    depends_on: tuple[Dependency, ...] = ()
    on_change: OnChange = "invalidate"
    required: bool = True
    jitter: timedelta = timedelta(0)
    negative_timeout: timedelta | None = None
    refresh_below: float | None = None
    max_batches_per_second: float | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not _NAME.fullmatch(self.name):  # type: ignore[redundant-expr]
            raise DeclarationError(
                f"a name starts with a letter, has only letters, digits, '_', '.' and '-', and at most "
                f"{MAX_NAME_LENGTH} characters: give name="
            )
        self._check_times()
        if self.cache not in list(settings.CACHES):  # a list has no hash
            raise DeclarationError(
                f"there is no cache {self.cache!r}: CACHES has {', '.join(map(repr, settings.CACHES))}"
            )
        self._check_numbers()
        if self.on_change not in ("invalidate", "refresh"):
            raise DeclarationError(f"on_change={self.on_change!r}: expected 'invalidate' or 'refresh'")
        if self.required not in (True, False):
            raise DeclarationError(f"required={self.required!r}: expected True or False")
        if not isinstance(self.queue, str) or not self.queue:  # type: ignore[redundant-expr]
            raise DeclarationError(f"queue={self.queue!r}: expected the name of a Celery queue")
        if not self.keyed and any(dependency.ids is not None for dependency in self.depends_on):
            raise DeclarationError("a job with one key has no ids: write depends_on=[Model, ...]")

    @cached_property
    def keyed(self) -> bool:
        """Whether the job has a key for each id."""
        return self.key.keyed

    # Django's: that of Python 3.11 has a lock, and a process forked while it is held would wait forever.
    @cached_property
    def store(self) -> Store:
        """The store that keeps the job's keys."""
        _opened.add(self)
        return open_store(
            alias=self.cache,
            template=self.key,
            timeout=self.timeout.total_seconds(),
            jitter=self.jitter.total_seconds(),
            absent_timeout=self.negative_timeout.total_seconds() if self.negative_timeout else None,
        )

    def _check_times(self) -> None:
        for option in ("timeout", "every", "negative_timeout"):
            value = getattr(self, option)
            if value is not None and value < timedelta(seconds=1):
                raise DeclarationError(f"{option}={value}: expected at least a second")
        shortest = self.timeout - self.jitter
        if shortest <= timedelta(0) or self.jitter < timedelta(0):
            raise DeclarationError(
                f"jitter={self.jitter}: expected 0 or more, and less than timeout={self.timeout}"
            )
        if self.every is not None and shortest <= self.every:
            less = " less jitter" if self.jitter else ""
            raise DeclarationError(
                f"timeout={self.timeout}{less} must be longer than every={self.every}, or keys expire "
                "before they are refreshed: raise timeout, or lower every"
            )

    def _check_numbers(self) -> None:
        if not isinstance(self.batch_size, int) or self.batch_size < 1:  # type: ignore[redundant-expr]
            raise DeclarationError(f"batch_size={self.batch_size!r}: expected an integer, at least 1")
        part: Any = self.refresh_below
        if part is not None and not (isinstance(part, int | float) and 0 < part < 1):
            raise DeclarationError(
                f"refresh_below={part!r}: expected a fraction of timeout above 0 and below 1, e.g. 0.5"
            )
        if part is not None and self.every is not None and part * self.timeout < self.every:
            raise DeclarationError(
                f"refresh_below={part!r}: keys with {part * self.timeout} left are skipped and expire before "
                f"the next refresh, every={self.every} later; expected at least "
                f"{math.ceil(100 * (self.every / self.timeout)) / 100:g}"
            )
        pace: Any = self.max_batches_per_second
        if pace is not None and not (isinstance(pace, int | float) and SLOWEST_PACE <= pace < math.inf):
            raise DeclarationError(
                f"max_batches_per_second={pace!r}: expected a number, at least {SLOWEST_PACE}, or None"
            )


@contextmanager
def naming(name: object, declared_at: str) -> Iterator[None]:
    """Make a `DeclarationError` of the block say which job is wrong, and where it is declared."""
    try:
        yield
    except DeclarationError as error:
        raise DeclarationError(f"The job {name!r} ({declared_at}): {error}") from None


# The specs whose store is open.
_opened: WeakSet[JobSpec] = WeakSet()


def _forget_stores(*, setting: str, **_kwargs: Any) -> None:
    if setting == "CACHES":
        for spec in _opened:
            spec.__dict__.pop("store", None)
        _opened.clear()


setting_changed.connect(_forget_stores, dispatch_uid="warmer.declarations.spec")
