"""The fence of a real store against a model, over random sequences of what can happen to it.

Each step is one call that is atomic on the server; what can come between two such calls is another step.
The model is told of every commit and of every invalidation, and knows for each held token what the fence
must say: a write too many is a stale value, a refusal too many is a cold key for no reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import combinations
from typing import Any, ClassVar
from unittest.mock import patch

import hypothesis.strategies as st
import pytest
from django.core.cache import caches
from django.core.cache.backends.locmem import LocMemCache
from django.test import override_settings
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from redis import Redis

from warmer.keys import KeyTemplate, beside
from warmer.report import Outcome
from warmer.stores import Invalidation, Store, Token, invalidate_together, open_store

# More than the records of most of the fences here, so that these are trimmed.
IDS = range(6)
# The keys of one are within the pattern of the other's; only the second caches that a row is not there.
TEMPLATES = {"plain": "thing:{id}", "absences": "thing:{id}:more"}
JOBS = tuple(TEMPLATES)
ONE = st.sampled_from(IDS)
# Few kinds of them, so that two that are drawn have much to do with each other: none, one, two, all but one,
# and all; drawn as one choice, which is much faster than `st.sets`.
SOME = st.sampled_from(
    [set(some) for size in (0, 1, len(IDS) - 1, len(IDS)) for some in combinations(IDS, size)]
    + [{id, id + 1} for id in IDS[:-1]]
)
JOB = st.sampled_from(JOBS)
LOSSES = (
    "invalidate_all",
    "invalidate_all_and_keys_of_the_other",
    "sweep",
    "evict_keys",
    "evict_fence",
    "flush",
    "flush_scripts",
)
# Hypothesis's own profile for CI (where `CI` is set) makes every run the same.
BOUNDED = settings(
    deadline=None,
    max_examples=120,
    stateful_step_count=30,
    suppress_health_check=[HealthCheck.too_slow],
)


@dataclass(kw_only=True, eq=False)
class Fill:
    """A held token, what was loaded after it, and what has happened since it was taken.

    A version is negative where the row does not exist.
    """

    job: str
    token: Token
    loaded: dict[int, int] = field(default_factory=dict)
    invalidated: set[int] = field(default_factory=set)
    fence_lost: bool = False


@dataclass(kw_only=True)
class Job:
    """A store, and what must be in it.

    Attributes:
        cached: id -> the version that is cached, also of an absence.
        at_least: id -> the version committed last before the last invalidation that was applied.
        unswept: id -> the same, once the keys of a job that was invalidated as a whole are swept.
    """

    store: Store
    cached: dict[int, int] = field(default_factory=dict)
    at_least: dict[int, int] = field(default_factory=lambda: dict.fromkeys(IDS, 0))
    unswept: dict[int, int] = field(default_factory=lambda: dict.fromkeys(IDS, 0))

    def key(self, id: int) -> str:
        return self.store.template.key(id)


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
            if outcomes[id] is Outcome.WRITTEN or (
                outcomes[id] is Outcome.NO_VALUE and job.store.absent_timeout
            ):
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
            id: Outcome.SUPERSEDED
            if id in fill.invalidated
            else Outcome.NO_VALUE
            if version < 0
            else Outcome.WRITTEN
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
            [
                Invalidation(store=job.store, keys=[job.key(id) for id in sorted(ids)])
                for job in self.jobs.values()
            ]
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
        self.jobs[job].store.invalidate_all()
        self.note_whole(job)
        self.note_swept(job)

    def invalidate_all_and_keys_of_the_other(self, job: str, ids: set[int]) -> None:
        (other,) = {*JOBS} - {job}
        keys = [self.jobs[other].key(id) for id in ids]
        invalidate_together(
            [
                Invalidation(store=self.jobs[job].store, keys=None),
                Invalidation(store=self.jobs[other].store, keys=keys),
            ]
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
        """Return the keys that are marked as absent."""
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


class RedisFence(Fence):
    per_key = True

    def __init__(self, server: Redis) -> None:
        super().__init__()
        self.server = server

    def delete_fence(self, store: Any) -> None:
        self.server.delete(store.fence_key)

    def marked(self, keys: Sequence[str]) -> set[str]:
        made = [beside(str(caches["default"].make_key(key)), "absent") for key in keys]
        return {key for key, mark in zip(keys, self.server.mget(made), strict=True) if mark is not None}

    def flush_scripts(self, job: str, ids: set[int]) -> None:
        self.server.script_flush()


class SteppedCache(LocMemCache):
    """A cache in which something can happen just before or just after `set_many`."""

    before: ClassVar[Callable[[], object] | None] = None
    after: ClassVar[Callable[[], object] | None] = None

    def set_many(self, *args: Any, **kwargs: Any) -> list[Any]:
        if step := SteppedCache.before:
            step()
        failed = super().set_many(*args, **kwargs)
        if step := SteppedCache.after:
            step()
        return failed


class GenericFence(Fence):
    """The weaker rule: an invalidation refuses every fill of its job, and a sweep finds nothing."""

    per_key = False

    def delete_fence(self, store: Any) -> None:
        caches["default"].delete(store._fence_key)

    def marked(self, keys: Sequence[str]) -> set[str]:
        names = {beside(key, "absent"): key for key in keys}
        return {names[name] for name in caches["default"].get_many(names)}

    @rule(fill=Fence.fills, when=st.sampled_from(["before", "after"]), id=ONE)
    def write_overtaken_on_its_way(self, fill: Fill, when: str, id: int) -> None:
        """An invalidation comes between the two looks that this store takes at its fence."""
        if max(fill.loaded.values(), default=0) <= 0:
            return  # nothing to set, so there is no moment to step into

        def step() -> None:
            self.change(id, exists=True)
            self.invalidate(fill.job, {id})

        in_time = not fill.fence_lost
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(SteppedCache, when, staticmethod(step))
            outcomes = self.outcomes_of(fill, fill.loaded)
        assert set(outcomes.values()) == {Outcome.SUPERSEDED}
        if in_time:  # it began to write, and took all of it back
            for written in fill.loaded:
                self.jobs[fill.job].cached.pop(written, None)


def open_job(name: str) -> Store:
    return open_store(
        alias="default",
        fence=name,
        template=KeyTemplate.parse(TEMPLATES[name], keyed=True),
        timeout=3600.0,
        absent_timeout=3600.0 if name == "absences" else None,
    )


def test_fence__redis(redis_client: Redis) -> None:
    run_state_machine_as_test(lambda: RedisFence(redis_client), settings=BOUNDED)


def test_fence__a_cache_without_scripts() -> None:
    backend = f"{__name__}.{SteppedCache.__name__}"
    with override_settings(CACHES={"default": {"BACKEND": backend, "LOCATION": "state machine"}}):
        run_state_machine_as_test(GenericFence, settings=BOUNDED)
