"""What changes while an audit looks is not called wrong."""

from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from django.core.cache import cache
from django.db import transaction

from tests.package.monitoring.audit.conftest import counts, declare
from tests.support.commands import execute
from tests.support.others import in_thread
from users.warming import user_profiles
from warmer import invalidation, warm, warm_many
from warmer.monitoring import comparison
from warmer.monitoring.audit import UncommittedChanges, audit
from warmer.testing import at, hold

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


def test_changed__once_while_it_was_loaded_is_judged_at_the_next_look(job: Any, source: Any) -> None:
    job.warm()

    def change() -> None:
        source[2] = "another"
        job.invalidate([2])

    with at("loaded", change):
        found = audit(job.spec)
    assert counts(found) == {"right": 9, "missing": 1}


@pytest.mark.parametrize("sample", [None, 10])
def test_changed__at_each_of_a_bounded_number_of_looks_is_not_judged(
    any_cache: str, source: Any, monkeypatch: pytest.MonkeyPatch, sample: int | None
) -> None:
    monkeypatch.setattr(comparison, "ATTEMPTS", 3)
    pauses: list[float] = []
    monkeypatch.setattr(comparison, "time", SimpleNamespace(sleep=pauses.append))
    job = declare(source, batch_size=10)
    job.warm()
    loads: list[int] = []

    def change() -> None:
        loads.append(1)
        source[2] = len(loads)
        job.invalidate([2])
        cache.set("thing:2", "old")

    with at("loaded", change, times=100):
        found = audit(job.spec, sample=sample)
    assert (len(loads), len(pauses), found.queries) == (3, 2, 0)
    # Without a fence for each key, the others of the batch are not judged either.
    assert counts(found) == ({"right": 9, "changed": 1} if any_cache == "redis" else {"changed": 10})
    assert (found.ok, found.wrong_keys) == (True, [])


def test_changed__and_not_yet_invalidated_is_not_wrong(make_user: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    user = make_user(first_name="Ada")
    user_profiles.warm()
    clock = SimpleNamespace(sleep=lambda seconds: release())
    monkeypatch.setattr(comparison, "time", clock)

    def save() -> None:
        user.first_name = "Grace"
        user.save()

    def release() -> None:
        point.release()
        thread.join()

    with hold("committed") as point:
        thread = in_thread(save)
        point.wait()
        # In the database it is Grace, in the cache Ada, and the fence does not know yet.
        found = audit(user_profiles.spec)
    thread.join()
    assert counts(found) == {"missing": 1}


def test_changed__wrong_at_a_later_look_is_looked_at_again(any_cache: str) -> None:
    loaded = iter(["new", "other", "new"])
    job = warm("answer", name="answer")(lambda: next(loaded))
    cache.set("answer", "new")

    def invalidate() -> None:
        job.invalidate()
        cache.set("answer", "new")

    # The first look is overtaken, the second comes between a commit and its invalidation.
    with at("loaded", invalidate):
        found = audit(job.spec)
    assert counts(found) == {"right": 1}


def test_changed__still_wrong_at_the_next_look_is_wrong(job: Any, source: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    job.warm()
    source[2] = "another"
    asked: list[Sequence[str]] = []
    look = type(job.spec.store).lookup
    monkeypatch.setattr(type(job.spec.store), "lookup", lambda self, keys: asked.append(list(keys)) or look(self, keys))
    assert counts(audit(job.spec, sample=10, seed=1)) == {"right": 9, "wrong": 1}
    # Four reads for the key: twice at each of two looks; the second look is for this key alone.
    assert sum(keys == ["thing:2"] for keys in asked) == 3
    assert sum("thing:2" in keys for keys in asked) == 4


@pytest.mark.parametrize(
    ("meanwhile", "verdict"),
    [
        (lambda: cache.delete("thing:2"), "missing"),
        (lambda: cache.set("thing:2", "another"), "right"),
        (lambda: cache.set("thing:2", "a third"), "wrong"),
    ],
)
@pytest.mark.parametrize("cached", ["old", None])
def test_changed__expired_or_filled_between_read_and_load(
    any_cache: str, source: Any, meanwhile: Callable[[], None], verdict: str, cached: Any
) -> None:
    source[2] = "another"

    def loader(ids: Sequence[int]) -> Mapping[int, Any]:
        meanwhile()
        return {id: source[id] for id in ids}

    job = warm_many("thing:{id}", ids=lambda: [2], name="things")(loader)
    if cached is not None:
        cache.set("thing:2", cached)
    assert counts(audit(job.spec)) == {verdict: 1}


def test_changed__fence_that_was_lost_meanwhile_is_looked_at_again(job: Any, any_cache: str) -> None:
    job.warm()
    with at("loaded", cache.clear):
        found = audit(job.spec)
    assert counts(found) == {"missing": 10}


def test_transaction__that_changed_something_is_refused(make_user: Any) -> None:
    user = make_user()
    user_profiles.warm()
    with transaction.atomic():
        user.first_name = "Grace"
        user.save()
        with pytest.raises(UncommittedChanges, match="this transaction changed what it reads"):
            audit(user_profiles.spec)
        done = execute("cache_audit", "user_profiles")
    assert (done.status, "Audit after the commit" in done.out) == (1, True)
    assert counts(audit(user_profiles.spec)) == {"missing": 1}


def test_transaction__with_a_snapshot_is_refused(job: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(invalidation, "is_pending", lambda spec: True)
    with pytest.raises(UncommittedChanges, match="older snapshot"):
        audit(job.spec)
