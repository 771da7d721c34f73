"""The audit of a job: compare cached values with what the loader returns now, batch by batch."""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from django.db import DatabaseError, InterfaceError
from django.utils import timezone

from warmer import invalidation
from warmer.declarations.spec import JobSpec
from warmer.exceptions import InvalidId, StoreUnavailable, WarmerError
from warmer.filling.loading import Batches, QueryCount, find_ids
from warmer.filling.pipeline import Interrupts
from warmer.keys import Batch, Id, plain, type_of
from warmer.models import CacheAudit, Trigger, Verdict
from warmer.monitoring.comparison import compare
from warmer.report import MAX_FAILURES, describe

Progress = Callable[[CacheAudit], None]


class UncommittedChanges(WarmerError):
    """The open transaction does not read the currently committed state."""


def audit(
    spec: JobSpec,
    *,
    sample: int | None = None,
    seed: int | None = None,
    repair: bool = False,
    progress: Progress | None = None,
    interrupts: Interrupts = (),
) -> CacheAudit:
    """Compare a job's cached values with what its loader returns now.

    Without `sample`, compare all declared ids and, if the cache can list its keys (Redis), other ids that
    readers cached. A cached key contains its id as text, so those ids are compared only if the declared ids
    are all `int`, all `str` or all `UUID`; otherwise `note` says that they were skipped.

    Args:
        sample: compare this many of the declared ids, drawn at random.
        seed: draw the same ids again.
        repair: invalidate the wrong keys.
        progress: called with the result so far after each batch.
        interrupts: errors that end the audit but keep the result so far, such as a time limit.

    Returns:
        The result, not saved. If the ids cannot be found, it has the error.

    Raises:
        UncommittedChanges: the open transaction changed something that the job depends on, or reads a
        snapshot. StoreUnavailable: the cache does not answer. OperationalError, InterfaceError: the database
        does not answer.
    """
    if invalidation.is_pending(spec):
        raise UncommittedChanges(
            f"{spec.name!r} cannot be audited here: this transaction changed what it reads, or reads an "
            "older snapshot of the database. Audit after the commit."
        )
    found = CacheAudit(job=spec.name, started_at=timezone.now())
    work = _Audit(spec=spec, found=found, repair=repair, progress=progress, interrupts=interrupts)
    try:
        if not spec.keyed:
            work.compare(Batches(spec))
        elif sample is None:
            work.compare_all()
        else:
            work.compare(Batches(spec, work.drawn(sample, seed)))
    except interrupts as interrupt:
        found.error, found.whole = describe(interrupt), False
    except (StoreUnavailable, DatabaseError, InterfaceError):
        raise
    except Exception as error:  # noqa: BLE001 - the declared ids are the project's own
        found.error, found.whole = f"The ids could not be found: {describe(error)}", False
    found.finished_at = timezone.now()
    return found


def perform(spec: JobSpec, trigger: Trigger, **options: Any) -> CacheAudit:
    """Audit a job and save the result; for the arguments and exceptions see `audit`."""
    found = audit(spec, **options)
    found.trigger = trigger
    found.save()
    return found


@dataclass(kw_only=True)
class _Audit:
    """The audit of one job, with the result so far."""

    spec: JobSpec
    found: CacheAudit
    repair: bool
    progress: Progress | None
    interrupts: Interrupts

    def drawn(self, size: int, seed: int | None) -> Iterator[Id]:
        """Yield a random sample of the declared ids, each equally likely, keeping only the sample in memory.

        Algorithm R: J. S. Vitter, "Random sampling with a reservoir", ACM Transactions on Mathematical
        Software 11 (1985), 37-57.
        """
        dice = random.Random(seed)
        ids = iter(find_ids(self.spec))
        drawn = list(islice(ids, size))
        for count, id in enumerate(ids, size + 1):
            self.found.whole = False
            if (at := dice.randrange(count)) < size:
                drawn[at] = id
        yield from drawn

    def compare_all(self) -> None:
        """Compare the declared ids, then the other cached ones."""
        texts: set[str] = set()
        types: set[Callable[[str], Id]] = set()

        def declared() -> Iterator[Id]:
            for id in map(plain, find_ids(self.spec)):
                types.add(type_of(id))
                texts.add(str(id))
                yield id

        self.compare(Batches(self.spec, declared()))
        if not self.spec.store.lists_keys:
            self.found.note = "Only the declared ids were compared: this cache cannot list its keys."
        elif len(types) != 1:
            why = "they are not all int, all str or all UUID" if types else "there are none"
            self.found.note = (
                f"Only the declared ids were compared: {why}, so the type of another cached id is unknown."
            )
        else:
            self.compare(Batches(self.spec, self._undeclared(texts, *types)), are_declared=False)

    def _undeclared(self, known: set[str], parse: Callable[[str], Id]) -> Iterator[Id]:
        """Yield cached ids that are not declared, each once."""
        for text in self.spec.store.cached_ids():
            try:
                id = parse(text)
                self.spec.key.key(id)
            except (ValueError, InvalidId):
                continue  # the key of another program
            if str(id) == text and text not in known:
                known.add(text)
                yield id

    def compare(self, batches: Batches, *, are_declared: bool = True) -> None:
        """Compare batch by batch."""
        for keys in batches:
            self._compare_batch(keys, are_declared=are_declared)
            if self.progress is not None:
                self.progress(self.found)
        rejected = batches.report  # invalid ids, and the queries that found the ids
        self.found.sampled += rejected.failed
        self.found.failed += rejected.failed
        self.found.queries += rejected.queries
        self._name("failures", [{"key": each.key, "error": each.error} for each in rejected.failures])

    def _compare_batch(self, keys: Batch, *, are_declared: bool) -> None:
        with QueryCount() as count:
            judged = compare(self.spec, keys, self.interrupts)
        if not are_declared:  # a key cached by a reader may have expired
            gone = (Verdict.MISSING, Verdict.NO_VALUE)
            judged = {key: each for key, each in judged.items() if each.verdict not in gone}
        found = self.found
        for verdict, number in Counter(each.verdict.value for each in judged.values()).items():
            setattr(found, verdict, getattr(found, verdict) + number)
        found.sampled += len(judged)
        found.undeclared += 0 if are_declared else len(judged)
        found.queries += count.queries
        wrong = {key: list(each.fields) for key, each in judged.items() if each.verdict is Verdict.WRONG}
        self._name("wrong_keys", [{"key": key, "fields": fields} for key, fields in wrong.items()])
        self._name(
            "failures", [{"key": key, "error": each.error} for key, each in judged.items() if each.error]
        )
        if wrong and self.repair:
            ids = [id for key in wrong if (id := keys[key]) is not None]
            invalidation.invalidate(self.spec, ids if self.spec.keyed else None)
            found.repaired += len(wrong)

    def _name(self, field: str, named: list[dict[str, Any]]) -> None:
        """Add to a list of keys, up to its limit."""
        setattr(self.found, field, [*getattr(self.found, field), *named][:MAX_FAILURES])
