"""When and by whom a recorded change is applied: nothing is lost, nothing too early, and no write fails."""

from contextlib import nullcontext, suppress
from typing import Any
from unittest.mock import Mock

import pytest
from django.core.cache import cache
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from tests.package.invalidation.capture import outsiders
from tests.package.invalidation.capture.things import INSERT, Things, execute, fetch, unapplied
from tests.package.invalidation.capture.world import World
from tests.support.others import in_thread
from tests.support.transactions import Rollback, rolled_back
from warmer.invalidation import Relay, apply, records
from warmer.invalidation.records import Record
from warmer.invalidation.resolve import resolve
from warmer.invalidation.transactions import watcher
from warmer.models import ChangeRecord

pytestmark = pytest.mark.usefixtures("db")


# -- what goes wrong ------------------------------------------------------------------------------------
@pytest.mark.parametrize("block", [suppress, transaction.atomic])
def test_write__succeeds_whatever_goes_wrong_when_it_is_applied(
    known: Things, block: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(apply, "resolve", lambda *_args, **_kwargs: 1 / 0)
        with block():
            execute(INSERT)
            known.model.objects.create(owner=2)
    assert (known.gone(), unapplied()) == (set(), 2)
    Relay().poll()
    assert (known.gone(), unapplied()) == ({1, 2}, 0)


def test_path__that_cannot_be_followed_leaves_an_open_transaction_and_the_relay_as_they_are(world: World) -> None:
    """As while a release that renamed a column is rolled out: every key."""
    execute("ALTER TABLE myapp_node RENAME owner_id TO author_id")
    try:
        with transaction.atomic():  # as of the project, where a signal of a delete follows the path
            found = resolve([Record(source="myapp_label", rows='[{"id": "1"}]')], using="default")
            assert found[world.jobs["labels"].spec] is None
            assert world.Label.objects.count() == 3
        outsiders.run("UPDATE myapp_node_tags SET tag_id = 3 WHERE node_id = 2")
        outsiders.run("UPDATE myapp_label SET name = 'new' WHERE id = 1")
        Relay().poll()
        assert unapplied() == 0
    finally:
        execute("ALTER TABLE myapp_node RENAME author_id TO owner_id")
    assert world.wrong() == {}


def test_write__leaves_the_records_of_other_services_to_them(known: Things, caplog: Any) -> None:
    theirs = [Record(source="other_table", rows='[{"id": "1"}]'), Record(key="other:{id}", rows="[1]")]
    with transaction.atomic():
        execute(INSERT)
        records.write(theirs, using="default")
    assert (known.gone(), unapplied(), caplog.text) == ({1}, len(theirs), "")


# -- a transaction's own reads --------------------------------------------------------------------------
@pytest.mark.parametrize("past_django", [False, True])
def test_transaction__fills_what_it_did_not_change_and_nothing_else(world: World, past_django: bool) -> None:
    statement = "UPDATE myapp_label SET name = 'new' WHERE id = 1"
    cache.clear()
    with rolled_back():
        world.jobs["labels"].get(1)  # nothing is changed yet
        cache.clear()
        if past_django:  # as a stored procedure does
            connection.connection.execute(statement)
            fetch("SELECT 1")
            execute("SELECT 1")  # a "no" holds until the next statement
        else:
            execute(statement)
        assert world.jobs["labels"].get(1) == [[1, "new"], [4, None]]
        world.jobs["leaf"].get(5)
        world.jobs["owners_of_children"].get(1)
        cached = world.cached()
        assert world.jobs["leaf"].key(5) in cached
        assert world.jobs["owners_of_children"].key(1) in cached
        assert world.jobs["labels"].key(1) not in cached
    assert world.jobs["labels"].get(1) == [[1, "a"], [4, None]]
    assert world.jobs["labels"].key(1) in world.cached()


def test_transaction__applies_at_its_commit_what_only_a_read_found_out(known: Things) -> None:
    with transaction.atomic():
        for owner in "12":
            connection.connection.execute(INSERT.replace("1", owner))
        cache.delete(known.job.key(1))
        known.job.get(1)
    assert known.gone() == {1, 2}


# -- when -----------------------------------------------------------------------------------------------
def test_transaction__that_sql_began_is_applied_when_it_is_committed(known: Things) -> None:
    execute("BEGIN", INSERT, "UPDATE myapp_thing SET owner = 2")
    known.model.objects.create(owner=3)
    assert (outsiders.fetch("SELECT count(*) FROM myapp_thing"), known.gone()) == ([(0,)], set())
    execute("COMMIT", "SELECT 1")
    assert known.gone() == {1, 2, 3}


def test_savepoints__have_one_callback_and_are_applied_at_once(known: Things, monkeypatch: pytest.MonkeyPatch) -> None:
    counted = Mock(wraps=apply._apply_above)
    monkeypatch.setattr(apply, "_apply_above", counted)
    with transaction.atomic():
        for number in range(40):
            with suppress(Rollback), transaction.atomic():
                execute(INSERT)
                with transaction.atomic():
                    execute(INSERT)
                if number % 2:
                    raise Rollback
        assert len(connection.run_on_commit) == 1
    assert (known.gone(), counted.call_count, unapplied()) == ({1}, 1, 0)


def test_callback__of_the_project_that_writes_is_applied_at_its_commit(known: Things) -> None:
    found: list[set[int]] = []

    def write() -> None:
        with transaction.atomic():
            known.model.objects.create(owner=2)
        found.append(known.gone())
        known.model.objects.create(owner=3)
        found.append(known.gone())

    with transaction.atomic():
        transaction.on_commit(write)
        known.model.objects.create(owner=1)
        transaction.on_commit(write)
        floor = ChangeRecord.objects.latest("pk").pk
        apply.floors["default"] = floor  # as another thread leaves it, that has read later records
    assert [2 in found[0], 3 in found[1], known.gone()] == [True, True, {1, 2, 3}]


# -- how much -------------------------------------------------------------------------------------------
def test_commit__leaves_a_backlog_to_a_worker(known: Things, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an outage, or in a new process: the own changes are applied by a few queries."""
    monkeypatch.setattr(records, "PAGE", 10)
    monkeypatch.setattr("warmer.tasks.request_pending", lambda: None)
    apply.floors.clear()
    ChangeRecord.objects.bulk_create(ChangeRecord(source="myapp_thing", rows='[{"owner": "5"}]') for _ in range(1_000))
    with CaptureQueriesContext(connection) as queries:
        execute(INSERT)
    assert len(queries) < 20
    assert 1 in known.gone()
    Relay().poll()
    assert (known.gone(), unapplied()) == ({1, 5}, 0)


def test_commit__is_read_by_its_writer_while_every_key_waits_for_a_worker(
    known: Things, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a new process, where `migrate` has asked for every key and no worker runs."""
    monkeypatch.setattr("warmer.tasks.request_pending", lambda: None)
    apply.floors.clear()
    ChangeRecord.objects.create(source="myapp_thing", rows=None)
    execute(INSERT)
    assert known.gone() == {1}
    Relay().poll()
    assert 2 in known.gone()


def test_commit__reads_records_above_those_that_were_there_before(known: Things) -> None:
    outsiders.run(INSERT)
    Relay().poll()
    execute(INSERT)
    floor = ChangeRecord.objects.latest("pk").pk
    with CaptureQueriesContext(connection) as queries:
        execute("UPDATE myapp_thing SET owner = 2")
    read = [each["sql"] for each in queries if "ORDER BY id" in each["sql"] and "SELECT id, source" in each["sql"]]
    assert len(read) == 1
    assert f"id > {floor} " in read[0]


@pytest.mark.parametrize("in_atomic", [False, True])
def test_floor__of_a_database_that_counts_anew_is_forgotten(known: Things, in_atomic: bool) -> None:
    """As after a flush, a restore, or a failover that lost commits."""
    execute(INSERT)
    apply.floors["default"] += 10_000
    with transaction.atomic() if in_atomic else nullcontext():
        execute("UPDATE myapp_thing SET owner = 2")
        if in_atomic:  # the change is not hidden from its transaction
            cache.delete(known.job.key(2))
            known.job.get(2)
            assert cache.get(known.job.key(2)) is None
    assert known.gone() == {1, 2}
    assert known.gone_by(execute, "UPDATE myapp_thing SET owner = 3") == {2, 3}


# -- connections ----------------------------------------------------------------------------------------
def test_wrapper__stays_when_the_connection_is_made_within_another(known: Things) -> None:
    found: list[Any] = []

    def run() -> None:
        with connection.execute_wrapper(lambda execute, *arguments: execute(*arguments)):
            execute(INSERT)
        found.extend(connection.execute_wrappers)
        execute("UPDATE myapp_thing SET owner = 2")

    in_thread(run).join()
    assert [type(each).__name__ for each in found] == ["Watcher"]
    assert known.gone() == {1, 2}


def test_connection__made_again_is_watched_once(known: Things) -> None:
    for owner in (1, 2, 3):
        connection.close()
        with transaction.atomic():
            known.model.objects.create(owner=owner)
    assert known.gone() == {1, 2, 3}
    assert connection.execute_wrappers.count(watcher("default")) == 1
