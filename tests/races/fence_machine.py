"""A model of the fence of a store, and what can happen to it.

Each step is one call that is atomic on the server; what can come between two such calls is another step.
The model is told of every commit and of every invalidation, and knows for each held token what the fence
must say: a write too many is a stale value, a refusal too many is a cold key for no reason.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from datetime import timedelta
from typing import Any, ClassVar
from unittest.mock import patch

import hypothesis.strategies as st
from django.core.cache import caches
from django.test import override_settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.races.fence_model import IDS, JOB, JOBS, LOSSES, ONE, SOME, Fill, Job, open_job
from tests.support.stores import invalidate_all
from warmer.report import Outcome
from warmer.stores import Invalidation, invalidate_together


class Fence(RuleBasedStateMachine):
    """Two jobs in one cache, over the same rows; every commit makes a new version of one row."""

    per_key: ClassVar[bool]
    """Whether an invalidation fences its own keys only, and a sweep finds a job's keys."""

    fills = Bundle("fills")

    def __init__(self) -> None:
        super().__init__()
        caches["default"].clear()
        self.jobs = {name: Job(store=open_job(name)) for name in JOBS}
        self.versions = dict.fromkeys(IDS, 1)
        self.rows = {id: 1 if id % 2 else -1 for id in IDS}
        self.held: list[Fill] = []

    @initialize(records=st.sampled_from([1, 3, 4, 10_000]), age=st.sampled_from([None, timedelta(0)]))
    def limit_records(self, records: int, age: timedelta | None) -> None:
        self.records = 1 if age is not None else records  # at no age every record is soon forgotten
        self.overridden = ExitStack()
        self.overridden.enter_context(override_settings(WARMER_FENCE_RECORDS=records))
        if age is not None:
            self.overridden.enter_context(patch("warmer.stores.redis.scripts.FENCE_AGE", age))

    def teardown(self) -> None:
        self.overridden.close()

    # The database.

    @rule(id=ONE, exists=st.booleans())
    def change(self, id: int, exists: bool) -> None:
        self.versions[id] += 1
        self.rows[id] = self.versions[id] if exists else -self.versions[id]

    # A fill: its token, its loads and its writes, in full or in part, once or again.

    @rule(target=fills, job=JOB, ids=SOME)
    def take_token(self, job: str, ids: set[int]) -> Fill:
        declared = self.jobs[job]
        fill = Fill(job=job, token=declared.store.token([declared.key(id) for id in IDS]))
        self.held.append(fill)
        self.load(fill, ids)
        return fill

    @rule(fill=fills, ids=SOME)
    def load(self, fill: Fill, ids: set[int]) -> None:
        fill.loaded |= {id: self.rows[id] for id in ids}

    @rule(fill=fills, ids=SOME)
    def write(self, fill: Fill, ids: set[int]) -> None:
        batch = {id: version for id, version in fill.loaded.items() if id in ids} or fill.loaded
        if not batch:
            return  # not `assume`, which would end the whole sequence
        job = self.jobs[fill.job]
        overtaken = job.store.overtaken(fill.token, [job.key(id) for id in batch])
        outcomes = self.outcomes_of(fill, batch)
        self.check(fill, batch, outcomes)
        assert overtaken == {job.key(id) for id in batch if outcomes[id] is Outcome.SUPERSEDED}
        for id, version in batch.items():
            if outcomes[id] is Outcome.WRITTEN or (outcomes[id] is Outcome.NO_VALUE and job.store.absent_timeout):
                job.cached[id] = version
            elif outcomes[id] is Outcome.NO_VALUE:
                job.cached.pop(id, None)

    @precondition(lambda self: self.held)
    @rule()
    def write_in_full(self) -> None:
        """Write the newest, whose fence stands most often."""
        self.write(self.held[-1], set(IDS))

    @rule(job=JOB, ids=SOME)
    def fill_in_one_go(self, job: str, ids: set[int]) -> None:
        self.write(self.take_token(job, ids), ids)

    @rule(job=JOB, id=ONE, exists=st.booleans())
    def fill_that_is_overtaken(self, job: str, id: int, exists: bool) -> None:
        fill = self.take_token(job, set(IDS))
        self.change(id, exists)
        self.invalidate(job, {id})
        self.write(fill, set(IDS))

    @rule(job=JOB)
    def fill_whose_fence_is_made_anew(self, job: str) -> None:
        fill = self.take_token(job, set(IDS))
        self.evict_fence(job, set())
        self.take_token(job, set())
        self.write(fill, set(IDS))

    def outcomes_of(self, fill: Fill, batch: dict[int, int]) -> dict[int, Outcome]:
        job = self.jobs[fill.job]
        written = job.store.write(
            fill.token,
            {job.key(id): version for id, version in batch.items() if version > 0},
            [job.key(id) for id, version in batch.items() if version < 0],
        )
        assert written.errors == {}
        assert set(written.outcomes) == {job.key(id) for id in batch}
        return {id: written.outcomes[job.key(id)] for id in batch}

    def check(self, fill: Fill, batch: dict[int, int], outcomes: dict[int, Outcome]) -> None:
        """Compare what the fence said with what it must say."""
        refused = dict.fromkeys(batch, Outcome.SUPERSEDED)
        if fill.fence_lost:
            assert outcomes == refused
            return
        # Only a token that is overtaken by half of what the fence remembers may be refused as a whole.
        if outcomes == refused and len(fill.invalidated) >= (self.records + 1) // 2:
            return
        assert outcomes == {
            id: Outcome.SUPERSEDED if id in fill.invalidated else Outcome.NO_VALUE if version < 0 else Outcome.WRITTEN
            for id, version in batch.items()
        }

    # Invalidations, each some time after its commit.

    @rule(job=JOB, ids=SOME)
    def invalidate(self, job: str, ids: set[int]) -> None:
        self.jobs[job].store.invalidate([self.jobs[job].key(id) for id in ids])
        self.note_invalidated(job, ids)

    @rule(ids=SOME)
    def invalidate_both(self, ids: set[int]) -> None:
        invalidate_together(
            [Invalidation(store=job.store, keys=[job.key(id) for id in sorted(ids)]) for job in self.jobs.values()]
        )
        for name in JOBS:
            self.note_invalidated(name, ids)

    def note_invalidated(self, job: str, ids: set[int]) -> None:
        for id in ids:
            self.jobs[job].cached.pop(id, None)
            self.jobs[job].at_least[id] = self.versions[id]
        for fill in self.held:
            if fill.job == job:
                fill.invalidated |= ids
        if not self.per_key:
            self.lose_fence(job)

    def note_swept(self, job: str) -> None:
        if self.per_key:
            self.jobs[job].cached.clear()
            for id, version in self.jobs[job].unswept.items():
                self.jobs[job].at_least[id] = max(self.jobs[job].at_least[id], version)

    def lose_fence(self, job: str) -> None:
        for fill in self.held:
            fill.fence_lost |= fill.job == job

    # What loses a fence or keys. Together it is one step among the others, so that a fence lives for a while.

    @rule(what=st.sampled_from(LOSSES), job=JOB, ids=SOME)
    def lose(self, what: str, job: str, ids: set[int]) -> None:
        getattr(self, what)(job, ids)

    def invalidate_all(self, job: str, ids: set[int]) -> None:
        invalidate_all(self.jobs[job].store)
        self.note_whole(job)
        self.note_swept(job)

    def invalidate_all_and_keys_of_the_other(self, job: str, ids: set[int]) -> None:
        (other,) = {*JOBS} - {job}
        keys = [self.jobs[other].key(id) for id in ids]
        invalidate_together(
            [Invalidation(store=self.jobs[job].store, keys=None), Invalidation(store=self.jobs[other].store, keys=keys)]
        )
        self.note_whole(job)
        self.note_invalidated(other, ids)

    def sweep(self, job: str, ids: set[int]) -> None:
        self.jobs[job].store.sweep()
        self.note_swept(job)

    def evict_keys(self, job: str, ids: set[int]) -> None:
        for id in ids:
            caches["default"].delete(self.jobs[job].key(id))
            if self.jobs[job].cached.get(id, 0) > 0:
                del self.jobs[job].cached[id]

    def evict_fence(self, job: str, ids: set[int]) -> None:
        self.delete_fence(self.jobs[job].store)
        self.lose_fence(job)

    def flush(self, job: str, ids: set[int]) -> None:
        caches["default"].clear()
        for name in JOBS:
            self.jobs[name].cached.clear()
            self.lose_fence(name)

    def flush_scripts(self, job: str, ids: set[int]) -> None:
        """A cache without scripts has none to forget."""

    def delete_fence(self, store: Any) -> None:
        raise NotImplementedError

    def marked(self, keys: Sequence[str]) -> set[str]:
        raise NotImplementedError

    def note_whole(self, job: str) -> None:
        self.lose_fence(job)
        self.jobs[job].unswept = dict(self.versions)

    # What must hold after every step.

    @invariant()
    def cache_holds_what_the_outcomes_said_and_nothing_old(self) -> None:
        for job in self.jobs.values():
            values = {job.key(id): version for id, version in job.cached.items() if version > 0}
            absent = {job.key(id) for id, version in job.cached.items() if version < 0}
            look = job.store.lookup([job.key(id) for id in IDS])
            assert (look.values, look.absent) == (values, absent)
            # A mark that a value hides would show once the value is evicted.
            assert self.marked([job.key(id) for id in IDS]) == absent
            assert [id for id, version in job.cached.items() if abs(version) < job.at_least[id]] == []
