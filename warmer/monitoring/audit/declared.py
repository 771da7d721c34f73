"""A job's declared ids, and the other ids that are cached."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from uuid import UUID

from warmer.declarations.spec import JobSpec
from warmer.exceptions import InvalidId
from warmer.keys import Id, plain
from warmer.monitoring.audit.seen import Seen


class DeclaredIds(Iterable[Id]):
    """A job's declared ids, as a stream that remembers which passed by and of what type they are."""

    def __init__(self, spec: JobSpec) -> None:
        self._spec = spec
        self._seen = Seen()
        self._parsers: set[Callable[[str], Id]] = set()

    def __iter__(self) -> Iterator[Id]:
        for id in map(plain, self._spec.find_ids()):
            self._parsers.add(next((each for each in (int, UUID) if isinstance(id, each)), str))
            self._seen.add(str(id))
            yield id

    @property
    def parse(self) -> Callable[[str], Id] | None:
        """What makes an id of its text; None when that is not known. Of use once all have passed."""
        return next(iter(self._parsers)) if len(self._parsers) == 1 else None

    def others(self, texts: Iterable[str]) -> Iterator[Id]:
        """Yield the ids of texts that did not pass, each once."""
        assert self.parse is not None
        for text in texts:
            try:
                id = self.parse(text)
                self._spec.key.key(id)
            except (ValueError, InvalidId):
                continue  # the key is of no id of this job
            if str(id) == text and self._seen.add(text):
                yield id
