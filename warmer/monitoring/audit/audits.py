"""The audit of a job: what is cached, compared with what the loader gives now, batch by batch."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from django.db import DatabaseError, InterfaceError
from django.utils import timezone

from warmer import invalidation
from warmer.declarations.spec import JobSpec
from warmer.exceptions import StoreUnavailable, WarmerError
from warmer.filling.batches import Batches
from warmer.filling.loading import counted_queries
from warmer.keys import Batch
from warmer.models import Trigger
from warmer.monitoring.audit.declared import DeclaredIds
from warmer.monitoring.audit.findings import Audit, Verdict, WrongKey
from warmer.monitoring.audit.keeping import keep
from warmer.monitoring.audit.looks import Interrupts, Looks
from warmer.monitoring.sampling import Sample
from warmer.report import MAX_FAILURES, Failure, describe

Progress = Callable[[Audit], None]


class UncommittedChanges(WarmerError):
    """An open transaction reads something else than what is committed now."""


def audit(
    spec: JobSpec,
    *,
    sample: int | None = None,
    seed: int | None = None,
    repair: bool = False,
    progress: Progress | None = None,
    interrupts: Interrupts = (),
) -> Audit:
    """Compare a job's cached values with what its loader gives now.

    Without `sample` these are the declared ids and, where the cache can list its keys (Redis), the ids
    that readers brought there. A cached key gives its id as text, so those ids are looked at only when
    the declared ids are all of one type, `int`, `str` or `UUID`; else `note` says that they were not.

    Args:
        sample: look at so many of the declared ids, drawn at random.
        seed: draw the same ids again.
        repair: invalidate what is wrong.
        progress: called with what was found so far after each batch.
        interrupts: errors that end the audit, e.g. of a time limit, with what was found so far.

    Raises:
        UncommittedChanges: the open transaction changed what the job reads, or reads a snapshot.
        StoreUnavailable: the cache does not answer.
        OperationalError, InterfaceError: the database does not.
        Exception: whatever the declared `ids` raises.
    """
    _refuse_uncommitted(spec)
    began = time.monotonic()
    work = _Audit(spec=spec, repair=repair, progress=progress, interrupts=interrupts)
    error, note, whole = "", "", True
    try:
        if not spec.keyed:
            work.judge(Batches(spec))
        elif sample is None:
            note = work.judge_all()
        else:
            whole = work.judge_sample(sample, seed)
    except interrupts as interrupt:
        error, whole = describe(interrupt), False
    return replace(work.found, whole=whole, note=note, error=error, seconds=time.monotonic() - began)


def perform(spec: JobSpec, trigger: Trigger, **options: Any) -> Audit:
    """Audit a job and keep the result; ids that cannot be found are an error in it.

    For the options, and what is raised, see `audit`.
    """
    began = timezone.now()
    try:
        found = audit(spec, **options)
    except (StoreUnavailable, UncommittedChanges, DatabaseError, InterfaceError):
        raise
    except Exception as error:  # noqa: BLE001 - the declared ids are the project's own
        found = Audit(job=spec.name, whole=False, error=f"The ids could not be found: {describe(error)}")
    keep(found, trigger, began=began)
    return found


def _refuse_uncommitted(spec: JobSpec) -> None:
    if invalidation.is_pending(spec):
        raise UncommittedChanges(
            f"{spec.name!r} cannot be audited here: this transaction changed what it reads, and the "
            "cache knows of a change when it is committed. Audit after the commit."
        )
    if invalidation.reads_a_snapshot():
        raise UncommittedChanges(
            f"{spec.name!r} cannot be audited here: this transaction reads the database as it was at "
            "its beginning. Audit outside of it."
        )


@dataclass(kw_only=True)
class _Audit:
    """The work on one job, and what it has found so far."""

    spec: JobSpec
    repair: bool
    progress: Progress | None
    interrupts: Interrupts
    found: Audit = field(init=False)

    def __post_init__(self) -> None:
        self.found = Audit(job=self.spec.name)

    def judge_all(self) -> str:
        """Judge the declared ids and those that readers brought; return what was not looked at."""
        declared = DeclaredIds(self.spec)
        self.judge(Batches(self.spec, declared))
        store = self.spec.store
        if not store.lists_keys:
            return "Only the declared ids were looked at: this cache cannot list its keys."
        if declared.parse is None:
            return (
                "Only the declared ids were looked at: they are not all int, all str or all UUID, so the "
                "type of another cached id is not known."
            )
        self.judge(Batches(self.spec, declared.others(store.cached_ids())), declared=False)
        return ""

    def judge_sample(self, size: int, seed: int | None) -> bool:
        """Judge some of the declared ids; say whether that was all of them."""
        sample = Sample(self.spec.find_ids, size=size, seed=seed)
        self.judge(Batches(self.spec, sample))
        return sample.is_whole

    def judge(self, batches: Batches, *, declared: bool = True) -> None:
        """Judge batch by batch."""
        for keys in batches:
            self.found += self._judge_batch(keys, declared=declared)
            if self.progress is not None:
                self.progress(self.found)
        rejected = batches.report
        self.found += Audit(
            job=self.spec.name,
            sampled=rejected.failed,
            failed=rejected.failed,
            queries=rejected.queries,
            failures=rejected.failures,
        )

    def _judge_batch(self, keys: Batch, *, declared: bool) -> Audit:
        batch = Looks(spec=self.spec, interrupts=self.interrupts)
        with counted_queries() as count:
            batch.look(keys)
        verdicts = batch.verdicts
        if not declared:  # a key that a reader brought need not be there
            gone = (Verdict.MISSING, Verdict.ABSENT)
            verdicts = {key: verdict for key, verdict in verdicts.items() if verdict not in gone}
        wrong = [key for key, verdict in verdicts.items() if verdict is Verdict.WRONG]
        failed = [key for key, verdict in verdicts.items() if verdict is Verdict.FAILED]
        if wrong and self.repair:
            ids = [id for key in wrong if (id := keys[key]) is not None]
            invalidation.invalidate(self.spec, ids if self.spec.keyed else None)
        limit = MAX_FAILURES
        counts: dict[str, Any] = Counter(verdict.value for verdict in verdicts.values())
        return Audit(
            job=self.spec.name,
            sampled=len(verdicts),
            undeclared=0 if declared else len(verdicts),
            repaired=len(wrong) if self.repair else 0,
            batches=1,
            queries=count.queries,
            wrong_keys=tuple(WrongKey(key=key, fields=batch.wrong[key]) for key in wrong[:limit]),
            failures=tuple(Failure(key=key, error=batch.errors[key]) for key in failed[:limit]),
            **counts,
        )
