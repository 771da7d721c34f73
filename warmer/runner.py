"""One run in this process: ids -> batches -> (token -> loader -> write) -> report."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from warmer import pending
from warmer.batching import Batches
from warmer.conf import conf
from warmer.exceptions import StoreUnavailable
from warmer.isolation import reads_a_snapshot
from warmer.keys import Id
from warmer.loading import counted_queries, halved, load
from warmer.points import reach
from warmer.report import Outcome, Report, describe
from warmer.spec import JobSpec

logger = logging.getLogger(__name__)

# Between the loads of a batch that invalidations overtake: doubled each time, so 0.14 s in all.
FIRST_PAUSE_SECONDS = 0.02

Progress = Callable[[Report], None]
Interrupts = tuple[type[Exception], ...]


def warm(
    spec: JobSpec,
    ids: Iterable[Id] | None = None,
    *,
    only_missing: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Load and write a job's keys, here and now.

    Args:
        ids: the ids to warm instead of the declared ones.
        only_missing: leave keys alone that are cached.
        progress: called with the report so far after each batch.

    Returns:
        What happened to every key.

    Raises:
        Exception: whatever the declared `ids` raises.
    """
    began = time.monotonic()
    batches = Batches(spec, ids)
    report = Report(job=spec.name)
    for batch in batches:
        report += warm_batch(spec, batch, only_missing=only_missing)
        if progress is not None:
            progress(report)
    return (report + batches.report).timed(time.monotonic() - began)


def warm_batch(
    spec: JobSpec, ids: Sequence[Id], *, only_missing: bool = False, interrupts: Interrupts = ()
) -> Report:
    """Load and write one batch. A row that fails costs one key; errors are counted, not raised.

    Args:
        ids: the batch's ids, each fit for a key; of a single job, none.
        only_missing: leave keys alone that are cached.
        interrupts: errors that end the work, e.g. of a time limit; the keys that are left have failed.
    """
    batch = _Batch(spec=spec, interrupts=interrupts)
    began = time.monotonic()
    # What a load sees there may never be committed, or is no longer so.
    may_store = not (pending.is_pending(spec) or reads_a_snapshot())
    with counted_queries() as count:
        if may_store:
            batch.warm(ids, only_missing=only_missing)
        else:
            batch.refuse(ids)
    if batch.errors:
        key, error = next(iter(batch.errors.items()))
        logger.error(
            "%s: %d of %d keys failed; %s: %s", spec.name, len(batch.errors), len(batch.outcomes), key, error
        )
    return Report.of(
        spec.name,
        batch.outcomes,
        errors=batch.errors,
        queries=count.queries,
        seconds=time.monotonic() - began,
    )


@dataclass(kw_only=True)
class _Batch:
    """The work on one batch: the outcome of each key, as it becomes known."""

    spec: JobSpec
    interrupts: Interrupts
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)

    def warm(self, ids: Sequence[Id], *, only_missing: bool) -> None:
        left = self._by_key(ids)
        ends: Interrupts = (StoreUnavailable, *self.interrupts)
        try:
            if only_missing:
                fresh = self.spec.store.remaining(list(left))
                self.outcomes |= dict.fromkeys(fresh, Outcome.FRESH)
                left = {key: id for key, id in left.items() if key not in fresh}
            if left:
                self._load_and_write(left)
        except ends as error:
            self._fail([key for key in left if key not in self.outcomes], error)

    def refuse(self, ids: Sequence[Id]) -> None:
        """Store nothing: every key is fenced."""
        self.outcomes |= dict.fromkeys(self._by_key(ids), Outcome.FENCED)

    def _load_and_write(self, left: dict[str, Id | None]) -> None:
        """Load and write keys, again for those that an invalidation overtook, a bounded number of times."""
        for attempt in range(conf.FENCE_ATTEMPTS):
            if attempt:
                time.sleep(FIRST_PAUSE_SECONDS * 2 ** (attempt - 1))
            token = self.spec.store.token()
            reach("token_taken", self.spec.name)
            try:
                loaded = load(self.spec, [id for id in left.values() if id is not None])
            except self.interrupts:
                raise
            except Exception as error:  # noqa: BLE001 - the one boundary: a loader may raise anything
                self._narrow(left, error)
                return
            reach("loaded", self.spec.name)
            written = self.spec.store.write(token, loaded.values, loaded.absent)
            reach("written", self.spec.name)
            self.outcomes |= written.outcomes
            self.errors |= written.errors
            left = {key: id for key, id in left.items() if written.outcomes[key] is Outcome.FENCED}
            if not left:
                return

    def _narrow(self, left: dict[str, Id | None], error: Exception) -> None:
        """Halve a batch whose loader raised, until what fails is one key."""
        halves = halved(left, error)
        for half in halves:
            self._load_and_write(half)
        if not halves:
            self._fail(left, error)

    def _fail(self, keys: Iterable[str], error: Exception) -> None:
        why = describe(error)
        for key in keys:
            self.outcomes[key] = Outcome.FAILED
            self.errors[key] = why

    def _by_key(self, ids: Sequence[Id]) -> dict[str, Id | None]:
        if not self.spec.keyed:
            return {self.spec.key.key(): None}
        return {self.spec.key.key(id): id for id in ids}
