"""A batch is loaded while the one before is written: what stays true all the same."""

import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any
from unittest.mock import Mock

import pytest
from django.core.cache import cache
from redis import Connection
from redis.exceptions import ConnectionError as RedisConnectionError

from embedded.redis_server import RedisServer
from myapp.models import Post
from tests.package.filling import support
from tests.package.filling.support import squares
from tests.support.fixtures import use_pool
from tests.support.others import in_thread
from warmer import warm_many
from warmer.filling import pipeline
from warmer.filling.loading import Batches
from warmer.report import Report
from warmer.stores.redis.scripts import Sent
from warmer.stores.redis.store import RedisStore
from warmer.testing import at

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


declare = partial(support.declare, batch_size=2)


def assert_answers_are_not_mixed_up() -> None:
    """Fail where a connection was put back with an answer unread: the next call would read it."""
    for number in range(60):
        cache.set("plain", number)
        assert cache.get("plain") == number


def test_warm__loads_a_batch_between_the_last_ones_write_and_its_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []

    def tell(owner: type, name: str, step: str) -> None:
        call = getattr(owner, name)

        def told(*args: Any, **kwargs: Any) -> Any:
            steps.append(step)
            return call(*args, **kwargs)

        monkeypatch.setattr(owner, name, told)

    tell(Sent, "__init__", "sent")
    tell(Sent, "read", "awaited")
    tell(RedisStore, "token", "token")

    def loader(ids: Sequence[int]) -> dict[int, int]:
        steps.append("load")
        return squares(ids)

    assert declare(loader, ids=lambda: range(6)).warm().written == 6
    # The token comes before the write is sent: the server answers it only after the write.
    first, between, last = ["token", "load"], ["token", "sent", "load", "awaited"], ["sent", "awaited"]
    assert steps == [*first, *between, *between, *last]


@pytest.fixture
def one_connection(settings: Any) -> None:
    """Limit a process to one connection to the cache."""
    use_pool(settings, "alone", max_connections=1, timeout=0.01)


@pytest.mark.usefixtures("one_connection")
@pytest.mark.parametrize("missing", [[], [0], [3], [4, 9], range(10)])
@pytest.mark.parametrize("read", range(6))
def test_only_missing__that_is_stopped_anywhere_keeps_no_connection(missing: Sequence[int], read: int) -> None:
    job = declare()
    job.warm()
    cache.delete_many([f"square:{id}" for id in missing])
    batches = pipeline.warm_batches(job.spec, Batches(job.spec), keep_seconds=0.0)
    reports = list(islice(batches, read))
    batches.close()
    if read > 4:  # all
        done = sum(reports, Report(job="square"))
        assert (done.skipped, done.written) == (10 - len(missing), len(missing))
    assert_answers_are_not_mixed_up()
    assert job.warm().written == 10


@pytest.mark.usefixtures("one_connection")
@pytest.mark.parametrize("only_missing", [False, True])
def test_warm__with_a_loader_that_is_interrupted_keeps_no_connection(only_missing: bool) -> None:
    interrupts = iter([0, 1, 0, 1])

    def loader(ids: Sequence[int]) -> dict[int, int]:
        if next(interrupts, 0):
            raise KeyboardInterrupt
        return squares(ids)

    job = declare(loader)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            job.warm(only_missing=only_missing)
        cache.clear()
    assert job.warm().written == 10


@pytest.mark.usefixtures("one_connection")
@pytest.mark.parametrize("call", ["token", "invalidate", "claim", "write", "peek", "lookup"])
def test_call__interrupted_before_its_answer_keeps_no_connection(call: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As by a time limit, or Ctrl-C; what the server answers yet would be taken for the next answer."""
    job = declare()
    job.warm()
    store = job.spec.store
    token = store.token([])
    calls: dict[str, Callable[[], object]] = {
        "token": lambda: store.token([]),
        "invalidate": lambda: job.invalidate([1]),
        "claim": lambda: store.claim(["square:1"], seconds=10),
        "write": lambda: store.write(token, {"square:1": 1}),
        "peek": lambda: store.peek("square:1"),
        "lookup": lambda: store.lookup(["square:1"]),
    }

    with monkeypatch.context() as patch:
        patch.setattr(Connection, "read_response", Mock(side_effect=KeyError("time is up")))
        with pytest.raises(KeyError):
            calls[call]()
    # By which redis-py sees an answer that nobody read, where it has come by then.
    monkeypatch.setattr(Connection, "can_read", lambda *_args, **_options: False)
    assert_answers_are_not_mixed_up()


def test_warm__holds_two_batches_and_not_the_third() -> None:
    class Value(dict[str, int]):
        """Something that can be watched."""

    alive: list[weakref.ref[Value]] = []
    most = 0

    def loader(ids: Sequence[int]) -> Mapping[int, Value]:
        nonlocal most
        most = max(most, sum(ref() is not None for ref in alive))
        values = {id: Value(id=id) for id in ids}
        alive.extend(weakref.ref(value) for value in values.values())
        return values

    report = declare(loader, ids=lambda: range(20), cache="default").warm()
    assert report.keys == 20
    assert most <= 2


def test_warm__server_restarted_while_a_write_is_under_way(redis_server: RedisServer) -> None:
    with at("loaded", redis_server.restart, job="square", times=2):
        report = declare().warm()
    assert report.keys == 10
    assert report.failed == 0
    cached = cache.get_many([f"square:{id}" for id in range(10)])
    assert all(value == int(key.split(":")[1]) ** 2 for key, value in cached.items())


@pytest.mark.parametrize("only_missing", [False, True])
def test_warm__server_that_goes_away_fails_what_is_left(redis_server: RedisServer, only_missing: bool) -> None:
    job = declare()
    job.warm()
    batches = pipeline.warm_batches(job.spec, Batches(job.spec), keep_seconds=0.0 if only_missing else None)
    first = next(batches)
    assert first.skipped if only_missing else first.written
    redis_server.stop()
    left = sum(batches, Report(job="square"))
    assert left.keys == left.failed == 8
    assert "does not answer" in left.failures[0].error


def test_write_under_way__connection_that_fails_is_written_in_the_ordinary_way(monkeypatch: pytest.MonkeyPatch) -> None:
    job = declare(ids=lambda: range(2))
    store = job.spec.store
    writing = store.begin_write(store.token([]), {"square:0": 0})

    def fail(*_args: Any, **_options: Any) -> None:
        monkeypatch.undo()  # once
        raise RedisConnectionError("reset by peer")

    monkeypatch.setattr(Connection, "read_response", fail)
    assert writing.end().outcomes == {"square:0": "written"}


def test_ids__that_are_still_being_read_do_not_keep_a_loader_in_the_past(make_post: Any) -> None:
    """A query of ids that is not read to its end would hold an old snapshot, where SQLite reads."""
    rows = [make_post(title="old") for _ in range(6)]  # of the last ones the query would be read to its end
    numbers = Post.objects.order_by("id").values_list("id", flat=True)

    def change() -> None:
        rows[3].title = "new"
        rows[3].save()

    changed = []

    def loader(ids: Sequence[int]) -> dict[int, str]:
        if not changed:
            in_thread(change).join()
            changed.append(True)
        return dict(Post.objects.filter(pk__in=ids).values_list("pk", "title"))

    job: Any = warm_many(
        "late:{id}", ids=lambda: numbers.iterator(chunk_size=1), name="late", depends_on={Post: "id"}, batch_size=1
    )(loader)
    report = job.warm()
    assert (report.written, report.superseded) == (6, 0)
    assert [cache.get(f"late:{row.pk}") for row in rows] == ["old"] * 3 + ["new"] + ["old"] * 2
