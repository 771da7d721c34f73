"""A job's ids, in batches: as a stream, with what cannot be an id set aside."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from warmer.exceptions import InvalidId
from warmer.keys import MAX_KEY_LENGTH, Id
from warmer.loading import counted_queries
from warmer.report import Outcome, Report, describe
from warmer.spec import JobSpec


class Batches(Iterator[list[Id]]):
    """The batches of a job; of a single job, one batch without ids.

    Memory holds one batch at a time. `report` counts what finding the ids cost so far, and the ids
    that cannot be part of a key, as failed.

    Args:
        ids: the ids to use instead of the declared ones.
    """

    def __init__(self, spec: JobSpec, ids: Iterable[Id] | None = None) -> None:
        self.report = Report(job=spec.name)
        self._spec = spec
        self._stream = self._find(ids)

    def __next__(self) -> list[Id]:
        # The query runs at the first step, or, of a server-side cursor, at every one.
        with counted_queries() as count:
            try:
                return next(self._stream)
            finally:
                self.report += Report(job=self._spec.name, queries=count.queries)

    def _find(self, given: Iterable[Id] | None) -> Iterator[list[Id]]:
        if not self._spec.keyed:
            yield []
            return
        source = given
        if source is None:
            assert self._spec.ids is not None
            source = self._spec.ids()
        batch: list[Id] = []
        for id in source:
            try:
                self._spec.key.key(id)
            except InvalidId as error:
                self._reject(id, error)
                continue
            batch.append(id)
            if len(batch) == self._spec.batch_size:
                yield batch
                batch = []
        if batch:
            yield batch

    def _reject(self, id: object, error: InvalidId) -> None:
        shown = f"{self._spec.key} with the id {_shortened(id)}"
        rejected = Report.of(
            self._spec.name, {shown: Outcome.FAILED}, errors={shown: describe(error)}, batches=0
        )
        self.report += rejected


def _shortened(id: object) -> str:
    try:
        text = repr(id)
    except ValueError:  # an int of more digits than Python writes
        return "of very many digits"
    return text if len(text) <= MAX_KEY_LENGTH else f"{text[:MAX_KEY_LENGTH]}..."
