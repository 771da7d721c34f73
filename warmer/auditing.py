"""Audits: what is cached, compared with what the loader gives now.

A batch is looked at under the fence: take the token, read the cache, load, read again what does not agree,
and ask which keys were invalidated since the token. Those are looked at again, and so is what is wrong: a
change reaches the database a moment before its invalidation reaches the cache, so a key is wrong only when
it still is at the next look.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from django.db import DatabaseError, InterfaceError, OperationalError
from django.db.models import Max
from django.utils import timezone

from warmer import invalidation, pending
from warmer.batching import Batches
from warmer.conf import conf
from warmer.differences import differences
from warmer.exceptions import InvalidId, StoreUnavailable, WarmerError
from warmer.isolation import reads_a_snapshot
from warmer.keys import Batch, Id
from warmer.loading import Loaded, counted_queries, halved, load
from warmer.models import CacheAudit, Trigger
from warmer.points import reach
from warmer.report import Failure, describe
from warmer.sampling import Sample, Seen, percent_right, wrong_at_most
from warmer.spec import JobSpec
from warmer.stores import Cached

# An invalidation follows its commit within milliseconds: what is still wrong after so long is wrong.
PAUSE_SECONDS = 0.1
# At an audit an hour, the last four days.
KEPT_PER_JOB = 100
NO_VALUE = "(no value any more)"
HAS_VALUE = "(cached as having no value)"

Interrupts = tuple[type[Exception], ...]


class UncommittedChanges(WarmerError):
    """An open transaction reads something else than what is committed now."""


class Verdict(StrEnum):
    """What an audit says of one key."""

    RIGHT = "right"
    WRONG = "wrong"
    MISSING = "missing"
    ABSENT = "absent"
    CHANGED = "changed"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class WrongKey:
    """A key whose cached value is not what the loader gives, and the fields that differ."""

    key: str
    fields: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Audit:
    """What an audit of one job found.

    Attributes:
        whole: every declared key was looked at, and not a sample of them.
        sampled: how many keys were looked at: the sum of the six counts that follow.
        right: cached, and what the loader gives.
        wrong: cached, and not what the loader gives, or the loader has no value for it any more; or it is
            cached that there is no value (`cache_absent`), and there is one.
        missing: the loader has a value, and nothing is cached.
        absent: the loader has no value, and no value is cached.
        changed: invalidated again and again while the audit looked, so not judged.
        failed: the loader raised, or the value cannot be cached or compared, so not judged.
        undeclared: how many of the keys that were looked at are not among the declared ids.
        repaired: how many wrong keys were invalidated.
        wrong_keys, failures: the first of them, at most `WARMER_REPORTED_FAILURES`.
        note: what was not looked at, and why.
        error: why the audit ended early; empty when it did not.
    """

    job: str
    whole: bool = True
    sampled: int = 0
    right: int = 0
    wrong: int = 0
    missing: int = 0
    absent: int = 0
    changed: int = 0
    failed: int = 0
    undeclared: int = 0
    repaired: int = 0
    batches: int = 0
    queries: int = 0
    seconds: float = 0.0
    wrong_keys: tuple[WrongKey, ...] = ()
    failures: tuple[Failure, ...] = ()
    note: str = ""
    error: str = ""

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong, and nothing failed."""
        return not (self.wrong or self.failed or self.error)

    @property
    def right_at_least(self) -> float | None:
        """The share of what was judged that is right; of a sample, the least at 95 % confidence.

        None when nothing was judged. Missing keys are not judged: they are cold, not wrong.
        """
        judged = self.right + self.wrong
        if not judged:
            return None
        return 1 - (self.wrong / judged if self.whole else wrong_at_most(self.wrong, judged))

    @property
    def share(self) -> str:
        """The share that is right as text, in as many digits as the keys that were judged support."""
        judged = self.right + self.wrong
        if not judged:
            return "nothing judged"
        if self.whole:
            return percent_right(self.wrong / judged)
        most = wrong_at_most(self.wrong, judged)
        return "too few to tell" if most >= 1 else f"at least {percent_right(most)}"

    def __add__(self, other: Audit) -> Audit:
        limit = conf.REPORTED_FAILURES
        return replace(
            self,
            wrong_keys=(self.wrong_keys + other.wrong_keys)[:limit],
            failures=(self.failures + other.failures)[:limit],
            **{name: getattr(self, name) + getattr(other, name) for name in _SUMMED},
        )

    def as_dict(self) -> dict[str, Any]:
        """Return the audit as plain data."""
        return asdict(self) | {"share": self.share, "right_at_least": self.right_at_least}


_COUNTED = tuple(verdict.value for verdict in Verdict)
_SUMMED = ("sampled", *_COUNTED, "undeclared", "repaired", "batches", "queries")
_KEPT = ("whole", "sampled", *_COUNTED, "undeclared", "repaired", "queries", "error")

Progress = Callable[[Audit], None]


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
    if pending.is_pending(spec):
        raise UncommittedChanges(
            f"{spec.name!r} cannot be audited here: this transaction changed what it reads, and the "
            "cache knows of a change when it is committed. Audit after the commit."
        )
    if reads_a_snapshot():
        raise UncommittedChanges(
            f"{spec.name!r} cannot be audited here: this transaction reads the database as it was at "
            "its beginning. Audit outside of it."
        )
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


def keep(found: Audit, trigger: Trigger, *, began: datetime) -> CacheAudit:
    """Keep a result in the database, and forget the oldest of the job."""
    row = CacheAudit.objects.create(
        job=found.job,
        trigger=trigger,
        started_at=began,
        wrong_keys=[asdict(each) for each in found.wrong_keys],
        failures=[asdict(each) for each in found.failures],
        **{name: getattr(found, name) for name in _KEPT},
    )
    of_job = CacheAudit.objects.filter(job=found.job)
    surplus = of_job.order_by("-pk").values_list("pk", flat=True)[KEPT_PER_JOB : KEPT_PER_JOB + 1]
    for last in surplus:
        of_job.filter(pk__lte=last).delete()
    return row


def kept(row: CacheAudit) -> Audit:
    """Return an audit as it was kept."""
    return Audit(
        job=row.job,
        seconds=(row.finished_at - row.started_at).total_seconds(),
        wrong_keys=tuple(WrongKey(key=each["key"], fields=tuple(each["fields"])) for each in row.wrong_keys),
        failures=tuple(Failure(**each) for each in row.failures),
        **{name: getattr(row, name) for name in _KEPT},
    )


def last_audits(names: Iterable[str]) -> dict[str, CacheAudit]:
    """Return the last audit of each job that had one, in one query."""
    newest = CacheAudit.objects.filter(job__in=list(names)).values("job").annotate(last=Max("pk"))
    rows = CacheAudit.objects.filter(pk__in=newest.values("last"))
    return {row.job: row for row in rows}


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
        declared = _Declared(self.spec)
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
        batch = _Batch(spec=self.spec, interrupts=self.interrupts)
        with counted_queries() as count:
            batch.look(keys)
        verdicts = batch.verdicts
        if not declared:  # a key that a reader brought need not be there
            gone = (Verdict.MISSING, Verdict.ABSENT)
            verdicts = {key: verdict for key, verdict in verdicts.items() if verdict not in gone}
        wrong = [key for key, verdict in verdicts.items() if verdict is Verdict.WRONG]
        failed = [key for key, verdict in verdicts.items() if verdict is Verdict.FAILED]
        if wrong and self.repair:
            self._repair([keys[key] for key in wrong])
        limit = conf.REPORTED_FAILURES
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

    def _repair(self, wrong: Sequence[Id | None]) -> None:
        ids = [id for id in wrong if id is not None]
        invalidation.invalidate(self.spec, ids if self.spec.keyed else None)


@dataclass(kw_only=True)
class _Batch:
    """The work on one batch: the verdict on each key, as it becomes known.

    `wrong` and `errors` say why a key is so; they also hold what a later look found otherwise.
    """

    spec: JobSpec
    interrupts: Interrupts
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    wrong: dict[str, tuple[str, ...]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)

    def look(self, left: Batch) -> None:
        """Look at keys until each is judged, a bounded number of times."""
        store = self.spec.store
        ends: Interrupts = (OperationalError, InterfaceError, *self.interrupts)
        suspected: set[str] = set()
        for attempt in range(max(2, conf.FENCE_ATTEMPTS)):
            if attempt:
                time.sleep(PAUSE_SECONDS)
            token = store.token()
            reach("token_taken", self.spec.name)
            cached = store.look(list(left))
            try:
                loaded = load(self.spec, left)
            except ends:
                raise
            except Exception as error:  # noqa: BLE001 - the one boundary: a loader may raise anything
                self._narrow(left, error)
                return
            reach("loaded", self.spec.name)
            judged = {key: self._judge(key, cached, loaded) for key in left}
            # A key may have expired, or been filled, since it was read.
            unsure = [key for key, verdict in judged.items() if verdict in (Verdict.WRONG, Verdict.MISSING)]
            cached = store.look(unsure)
            judged |= {key: self._judge(key, cached, loaded) for key in unsure}
            overtaken = store.overtaken(token, list(left))
            wrong = {key for key, verdict in judged.items() if verdict is Verdict.WRONG} - overtaken
            again = overtaken | (wrong - suspected)
            suspected = wrong
            self.verdicts |= {key: verdict for key, verdict in judged.items() if key not in again}
            left = {key: id for key, id in left.items() if key in again}
            if not left:
                break
        self.verdicts |= dict.fromkeys(left, Verdict.CHANGED)

    def _judge(self, key: str, cached: Cached, loaded: Loaded) -> Verdict:
        if key not in loaded.values:
            if cached.values.get(key) is None:
                return Verdict.ABSENT
            self.wrong[key] = (NO_VALUE,)
            return Verdict.WRONG
        if key in cached.absent:
            self.wrong[key] = (HAS_VALUE,)
            return Verdict.WRONG
        if key not in cached.values:
            return Verdict.MISSING
        try:
            differing = differences(cached.values[key], self.spec.store.as_cached(loaded.values[key]))
        except Exception as error:  # noqa: BLE001 - a value's own `__eq__`, or a serializer
            self.errors[key] = f"its value cannot be compared: {describe(error)}"
            return Verdict.FAILED
        if not differing:
            return Verdict.RIGHT
        self.wrong[key] = differing
        return Verdict.WRONG

    def _narrow(self, left: Batch, error: Exception) -> None:
        halves = halved(left, error)
        for half in halves:
            self.look(half)
        if not halves:
            self.verdicts |= dict.fromkeys(left, Verdict.FAILED)
            self.errors |= dict.fromkeys(left, describe(error))


class _Declared(Iterable[Id]):
    """A job's declared ids, as a stream that remembers which passed by and of what type they are."""

    def __init__(self, spec: JobSpec) -> None:
        self._spec = spec
        self._seen = Seen()
        self._parsers: set[Callable[[str], Id]] = set()

    def __iter__(self) -> Iterator[Id]:
        for id in self._spec.find_ids():
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
