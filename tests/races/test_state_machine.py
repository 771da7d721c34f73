"""The fence of a real store against a model, over random sequences of what can happen to it."""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import hypothesis.strategies as st
import pytest
from django.core.cache import caches
from django.core.cache.backends.locmem import LocMemCache
from django.test import override_settings
from hypothesis import HealthCheck, settings
from hypothesis.stateful import rule, run_state_machine_as_test
from redis import Redis

from tests.races.fence_machine import Fence
from tests.races.fence_model import ONE, Fill
from warmer.keys import beside
from warmer.report import Outcome

# Hypothesis's own profile for CI (where `CI` is set) makes every run the same.
BOUNDED = settings(
    deadline=None, max_examples=120, stateful_step_count=30, suppress_health_check=[HealthCheck.too_slow]
)


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
        caches["default"].delete(store.fence_key)

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


def test_fence__redis(redis_client: Redis) -> None:
    run_state_machine_as_test(lambda: RedisFence(redis_client), settings=BOUNDED)


def test_fence__a_cache_without_scripts() -> None:
    backend = f"{__name__}.{SteppedCache.__name__}"
    with override_settings(CACHES={"default": {"BACKEND": backend, "LOCATION": "state machine"}}):
        run_state_machine_as_test(GenericFence, settings=BOUNDED)
