"""The relay and the purge: whose fault stops what, and what is left for another poll."""

from datetime import timedelta
from itertools import chain, repeat
from typing import Any
from unittest.mock import DEFAULT, Mock

import pytest
from django.db import OperationalError, connection, models
from django.utils import timezone

from tests.package.invalidation.capture import outsiders
from tests.package.invalidation.capture.things import EVERY, INSERT, Things, execute, unapplied
from tests.support.keyed import received
from warmer.exceptions import StoreUnavailable
from warmer.invalidation import Relay, apply, records, relay, upkeep
from warmer.invalidation.records import fingerprint
from warmer.invalidation.sources import sources
from warmer.models import ChangeRecord
from warmer.stores.redis.store import RedisStore

pytestmark = pytest.mark.usefixtures("db")


# -- the relay ------------------------------------------------------------------------------------------
def test_relay__applies_a_change_with_the_id_of_one_that_it_had_applied_once_more(known: Things) -> None:
    """As after a flush, which starts the ids over."""
    ours = Relay()
    record = ChangeRecord.objects.create(
        source="myapp_thing", rows='[{"owner": "5"}]', applied_by="another", applied_at=timezone.now()
    )
    ours.poll()
    assert known.gone() == {5}
    ChangeRecord.objects.all().delete()
    ours.poll()
    ChangeRecord.objects.create(pk=record.pk, source="myapp_thing", rows='[{"owner": "1"}]')
    ours.poll()
    assert (known.gone(), unapplied()) == ({1, 5}, 0)


def test_relay__goes_on_with_other_databases_when_one_fails(known: Things, monkeypatch: pytest.MonkeyPatch) -> None:
    outsiders.run(INSERT)
    monkeypatch.setattr(records, "written", lambda: ["away", "default"])
    monkeypatch.setattr(records, "are_kept", Mock(side_effect=chain([OperationalError("away")], repeat(True))))
    with pytest.raises(OperationalError, match="away"):
        Relay().poll()
    assert (known.gone(), unapplied()) == ({1}, 0)


def test_relay__ends_a_poll_while_others_go_on_writing(known: Things, monkeypatch: pytest.MonkeyPatch) -> None:
    def change_meanwhile(*_: Any, **__: Any) -> Any:
        assert applied.call_count < 5
        outsiders.run(INSERT)
        return DEFAULT

    outsiders.run(INSERT)
    applied = Mock(wraps=apply.apply, side_effect=change_meanwhile)
    monkeypatch.setattr(relay, "apply", applied)
    Relay().poll()
    assert (applied.call_count, unapplied()) == (1, 1)


def test_relay__holds_no_transaction_while_it_sweeps(known: Things, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[bool] = []
    sweep = RedisStore.sweep

    def look(*arguments: Any, **_: Any) -> None:
        found.append(connection.in_atomic_block)
        if arguments:
            sweep(*arguments)

    monkeypatch.setattr(RedisStore, "sweep", look)
    for applied_by in ("", "another"):
        known.warm()
        ChangeRecord.objects.create(
            source="myapp_thing", applied_by=applied_by, applied_at=timezone.now() if applied_by else None
        )
        with received(look):
            Relay().poll()
        assert known.gone() == EVERY
    assert found == [False] * 4


def test_receiver__that_writes_is_applied_in_this_process(known: Things) -> None:
    written: list[int] = []

    def write(**_: Any) -> None:
        if not written:
            written.append(2)
            execute(INSERT.replace("1", "2"))

    with received(write):
        execute(INSERT)
    assert (written, known.gone(), unapplied()) == ([2], {1, 2}, 0)


def test_purge__removes_a_page_and_a_worker_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "PAGE", 10)
    now = timezone.now()
    long_ago = now - timedelta(days=2)
    for each in (
        {"source": "old", "applied_at": long_ago},
        {"source": "recent", "applied_at": now},
        {"source": "unknown", "recorded_at": long_ago},
        {"source": "myapp_post", "recorded_at": long_ago},  # as while a cache is down for days
        {"source": "unknown for an hour", "recorded_at": now - timedelta(hours=1)},
    ):
        ChangeRecord.objects.bulk_create([ChangeRecord(**each) for _ in range(25)])

    def left() -> dict[str, int]:
        rows = ChangeRecord.objects.order_by().values_list("source")
        return dict(rows.annotate(models.Count("pk")))

    assert "myapp_post" in sources().by_name
    kept = {"recent": 25, "unknown for an hour": 25, "myapp_post": 25}
    upkeep.purge(using="default")
    assert left() == kept | {"old": 15, "unknown": 25}
    upkeep.purge(using="default", thoroughly=True)
    assert left() == kept


def test_relay__keeps_few_records_of_a_job_that_is_gone(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its triggers record changes until they are pruned, and every poll would read past them."""
    settings.WARMER_FENCE_RECORDS = 20
    monkeypatch.setattr(apply, "_next_purge", {})
    ChangeRecord.objects.bulk_create([ChangeRecord(source="gone", rows='[{"id": "1"}]') for _ in range(21)])
    Relay().poll()
    assert list(ChangeRecord.objects.values_list("source", "rows", "applied_by")) == [("gone", None, "")]


def test_purge__is_made_at_commits_too_now_and_then(known: Things, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a worker the records would only grow."""
    monkeypatch.setattr(apply, "_next_purge", {})
    for is_due in (True, False):
        old = ChangeRecord.objects.create(source="old", applied_at=timezone.now() - timedelta(days=2))
        known.model.objects.create(owner=1)
        assert ChangeRecord.objects.filter(pk=old.pk).exists() != is_due


@pytest.mark.parametrize("applied_by", ["", "0123456789abcdef"], ids=["nobody", "another"])
def test_relay__goes_on_with_the_next_page_when_a_cache_is_away(
    applied_by: str, known: Things, monkeypatch: pytest.MonkeyPatch
) -> None:
    outsiders.run(INSERT, INSERT.replace("1", "2"))
    ours = Relay()
    if applied_by:
        first = ChangeRecord.objects.earliest("pk")
        ChangeRecord.objects.filter(pk=first.pk).update(applied_by=applied_by, applied_at=timezone.now())
    answers = chain([StoreUnavailable("away")], repeat(DEFAULT))
    monkeypatch.setattr(records, "PAGE", 1)
    monkeypatch.setattr(relay, "apply", Mock(wraps=apply.apply, side_effect=answers))
    with pytest.raises(StoreUnavailable):
        ours.poll()
    assert known.gone() == {2}
    found = ChangeRecord.objects.order_by("pk").values_list("applied_by", flat=True)
    assert list(found) == [applied_by, fingerprint()]
    ours.poll()
    assert (known.gone(), unapplied()) == ({1, 2}, 0)
