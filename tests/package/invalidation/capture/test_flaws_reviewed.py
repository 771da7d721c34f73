"""What a review of the capture found, as it is on every database."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.contenttypes.fields import GenericForeignKey, GenericRelation
from django.contrib.contenttypes.models import ContentType
from django.core.cache import cache
from django.db import OperationalError, connection, connections, models, transaction
from django.db.models import QuerySet
from django.utils import timezone

from tests.package.invalidation.capture import outsiders
from tests.package.invalidation.capture.things import EVERY, Things, execute, install, things
from tests.support.tables import queries_of, tables_of
from warmer import jobs, warm_many
from warmer.checks import check_triggers
from warmer.exceptions import DeclarationError, StoreUnavailable
from warmer.invalidation import Relay, apply, databases, records, relay, triggers
from warmer.invalidation.records import fingerprint
from warmer.models import ChangeRecord
from warmer.signals import keys_invalidated

INSERT = "INSERT INTO myapp_thing (owner, text) VALUES (1, '')"


@pytest.fixture(autouse=True)
def no_records(db: None) -> None:
    """Leave none of migrations."""
    ChangeRecord.objects.all().delete()


@pytest.fixture
def known() -> Iterator[Things]:
    with things() as known:
        yield known


def unapplied() -> int:
    return ChangeRecord.objects.filter(applied_at=None).count()


def counted(function: Callable[..., Any], calls: list[None]) -> Callable[..., Any]:
    def count(*arguments: Any, **named: Any) -> Any:
        calls.append(None)
        return function(*arguments, **named)

    return count


# -- declarations ---------------------------------------------------------------------------------------
def test_fingerprint__tells_lambdas_apart_by_what_they_do(known: Things) -> None:
    def of(function: Callable[[Any], Any]) -> str:
        options: Any = {"depends_on": {known.model: function}, "fields": {known.model: ["owner", "text"]}}
        warm_many("other:{id}", ids=list, name="others", **options)(lambda ids: {})
        try:
            return fingerprint()
        finally:
            jobs.unregister("others")

    found = [
        of(lambda row: row.owner),
        of(lambda row: row.text),
        of(lambda row: row.owner if row.text == "a" else None),
        of(lambda row: row.owner if row.text == "b" else None),
    ]
    assert len(set(found)) == len(found)
    assert of(lambda row: row.owner) == found[0]


def test_path__that_cannot_be_followed_is_refused_and_the_job_forgotten() -> None:
    class Label(models.Model):
        content_type = models.ForeignKey(ContentType, models.CASCADE)
        object_id = models.IntegerField()
        labelled = GenericForeignKey()

        class Meta:
            app_label = "myapp"

    class Labelled(models.Model):
        labels = GenericRelation(Label, related_query_name="things")

        class Meta:
            app_label = "myapp"

    options: Any = {"name": "labelled", "depends_on": {Label: "things__id"}}
    with tables_of(Label, Labelled):
        try:
            with pytest.raises(DeclarationError, match="'labelled'"):
                warm_many("labelled:{id}", ids=list, **options)(lambda ids: {})
            assert "labelled" not in jobs
            assert triggers.problems("default") == []
        finally:
            if "labelled" in jobs:
                jobs.unregister("labelled")


# -- what is installed ----------------------------------------------------------------------------------
def test_problems__name_a_table_that_is_not_found_and_the_check_does_not() -> None:
    with things(is_made=False, is_captured=False):
        (problem,) = [each for each in triggers.problems("default") if each.table == "myapp_thing"]
        assert (problem.is_found, problem.why) == (False, "is not found")
        assert "myapp_thing" not in str(list(check_triggers(databases=["default"])))


def test_delete__of_a_queryset_keeps_the_fast_path_of_django(known: Things) -> None:
    known.model.objects.create(owner=1)  # the first signal shows that there are triggers
    known.model.objects.bulk_create([known.model(owner=1) for _ in range(50)])
    known.warm()
    with queries_of(known.model) as queries:
        known.model.objects.all().delete()
    (query,) = queries
    assert query.startswith("DELETE")
    assert known.gone() == {1}


@pytest.mark.parametrize(("capture", "gone"), [("triggers", set()), ("signals", {1})])
def test_delete__that_leaves_far_rows_gives_ids_by_a_reverse_path_with_signals_only(
    settings: Any, capture: str, gone: set[int]
) -> None:
    """After the commit nothing leads from the row to its far rows."""

    class Near(models.Model):
        class Meta:
            app_label = "myapp"

    class Far(models.Model):
        near = models.ForeignKey(Near, models.DO_NOTHING, db_constraint=False, related_name="far")
        owner = models.IntegerField()

        class Meta:
            app_label = "myapp"

    settings.WARMER_CAPTURE = capture
    with tables_of(Near, Far):
        triggers.forget_installed()
        job = warm_many("near:{id}", ids=list, name="near", depends_on={Near: "far__owner"})(
            lambda ids: dict.fromkeys(ids, "cached")
        )
        try:
            if capture == "triggers":
                install()
            near: Any = QuerySet(Near).create()
            QuerySet(Far).create(near=near, owner=1)
            Relay().poll()
            job.warm([1])
            near.delete()
            Relay().poll()
            assert {id for id in (1,) if cache.get(job.key(id)) is None} == gone
        finally:
            jobs.unregister("near")
            triggers.forget_installed()


# -- the relay ------------------------------------------------------------------------------------------
def test_relay__goes_on_with_other_databases_when_one_fails(
    known: Things, monkeypatch: pytest.MonkeyPatch
) -> None:
    outsiders.run(INSERT)

    class OneIsAway:
        def __iter__(self) -> Iterator[str]:
            return iter(["away", "default"])

        def __getitem__(self, using: str) -> Any:
            if using == "away":
                raise OperationalError("away")
            return connections[using]

    for module in (databases, records, relay):
        monkeypatch.setattr(module, "connections", OneIsAway())
    with pytest.raises(OperationalError, match="away"):
        Relay().poll()
    assert (known.gone(), unapplied()) == ({1}, 0)


def test_relay__goes_on_with_the_next_page_when_a_cache_is_away(
    known: Things, monkeypatch: pytest.MonkeyPatch
) -> None:
    outsiders.run(INSERT, INSERT.replace("1", "2"))
    answers = [StoreUnavailable("away")]

    def fail_once(*arguments: Any, **named: Any) -> Any:
        if answers:
            raise answers.pop()
        return apply.apply(*arguments, **named)

    monkeypatch.setattr(records, "PAGE", 1)
    monkeypatch.setattr(relay, "apply", fail_once)
    with pytest.raises(StoreUnavailable):
        Relay().poll()
    assert known.gone() == {2}
    assert list(ChangeRecord.objects.order_by("pk").values_list("applied_by", flat=True)) == [
        "",
        fingerprint(),
    ]
    Relay().poll()
    assert (known.gone(), unapplied()) == ({1, 2}, 0)


@contextmanager
def received(receiver: Callable[..., None]) -> Iterator[None]:
    keys_invalidated.connect(receiver)
    try:
        yield
    finally:
        keys_invalidated.disconnect(receiver)


def test_relay__holds_no_transaction_while_it_sweeps(known: Things, monkeypatch: pytest.MonkeyPatch) -> None:
    found: list[bool] = []
    sweep = apply._sweep

    def look(*arguments: Any, **_: Any) -> None:
        found.append(connection.in_atomic_block)
        if arguments:
            sweep(*arguments)

    monkeypatch.setattr(apply, "_sweep", look)
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
        {"source": "unknown for an hour", "recorded_at": now - timedelta(hours=1)},
    ):
        ChangeRecord.objects.bulk_create([ChangeRecord(**each) for _ in range(25)])

    def left() -> dict[str, int]:
        rows = ChangeRecord.objects.order_by().values_list("source")
        return dict(rows.annotate(models.Count("pk")))

    kept = {"recent": 25, "unknown for an hour": 25}
    records.purge(using="default")
    assert left() == kept | {"old": 15, "unknown": 25}
    records.purge(using="default", thoroughly=True)
    assert left() == kept


# -- transactions ---------------------------------------------------------------------------------------
def test_signals__in_a_transaction_managed_by_hand_are_recorded_and_relayed_after_it(settings: Any) -> None:
    connection.close()
    settings.WARMER_CAPTURE = "signals"
    try:
        with things(is_captured=False) as known:
            transaction.set_autocommit(False)
            try:
                known.model.objects.create(owner=1)
                transaction.rollback()
                known.model.objects.create(owner=2)
                assert known.gone() == set()
                transaction.commit()
            finally:
                transaction.rollback()
                transaction.set_autocommit(True)
            assert (known.gone(), unapplied()) == (set(), 1)
            Relay().poll()
            assert (known.gone(), unapplied()) == ({2}, 0)
    finally:
        connection.close()
