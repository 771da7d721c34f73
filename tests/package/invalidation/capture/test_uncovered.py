"""What stays uncovered, as `docs/guarantees.md` names it: each case leaves an old value in the cache."""

from collections.abc import Iterator, Set
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any
from unittest.mock import Mock

import pytest
from django.db import DatabaseError, connection, transaction
from django.db.models.signals import pre_save

from tests.package.invalidation.capture import outsiders
from tests.package.invalidation.capture.things import Things, execute, things, unapplied, without_our_table
from tests.support.fixtures import install_triggers
from tests.support.transactions import managed_by_hand, rolled_back
from warmer import jobs
from warmer.invalidation import Relay, apply, triggers
from warmer.models import ChangeRecord
from warmer.testing import at

pytestmark = pytest.mark.usefixtures("db")

ANY, POSTGRESQL, SQLITE = ("postgresql", "sqlite"), ("postgresql",), ("sqlite",)
INSERT = "INSERT INTO myapp_thing (id, owner, text) VALUES (1, 1, '')"
ANOTHER = "INSERT INTO myapp_thing (id, owner, text) VALUES (2, 2, '')"
REPLACE = "REPLACE INTO myapp_thing (id, owner, text) VALUES (1, 2, '')"
UPDATE = "UPDATE myapp_thing SET owner = 2"


# -- what no trigger records ----------------------------------------------------------------------------
@dataclass(frozen=True, kw_only=True)
class Case:
    """A change that triggers do not record.

    Attributes:
        change: its statements.
        before: what they need, from before the triggers are installed.
        after: what takes it all away.
        table: the table that the job depends on. It is made, unless it has another name than the test's own.
        gone: the ids that are invalidated all the same.
        problem: a part of what the checks say of the table afterwards. Empty: they find nothing wrong.
        is_mended: whether installing once more is enough from there on.
        on: the databases that have it.
    """

    change: tuple[str, ...]
    before: tuple[str, ...] = (INSERT,)
    after: tuple[str, ...] = ()
    table: str = "myapp_thing"
    gone: Set[int] = frozenset()
    problem: str = ""
    is_mended: bool = False
    on: tuple[str, ...] = POSTGRESQL


_PARTED = (
    "CREATE TABLE parted (id int, owner int, text text) PARTITION BY RANGE (owner)",
    "CREATE TABLE low PARTITION OF parted FOR VALUES FROM (0) TO (3)",
    "CREATE TABLE high (id int, owner int, text text)",
    "INSERT INTO parted VALUES (1, 1, '')",
    "INSERT INTO high VALUES (2, 4, '')",
)
_ATTACH = "ALTER TABLE parted ATTACH PARTITION high FOR VALUES FROM (3) TO (6)"
_OF_PARTED: Any = {"before": _PARTED, "after": ("DROP TABLE IF EXISTS parted, low, high",), "table": "parted"}

CASES = {
    "replica_role": Case(
        change=("SET session_replication_role = replica", UPDATE), after=("RESET session_replication_role",)
    ),
    "disabled_trigger": Case(
        change=("ALTER TABLE myapp_thing DISABLE TRIGGER warmer_update", UPDATE), problem="are disabled", is_mended=True
    ),
    "detached_partition": Case(change=("ALTER TABLE parted DETACH PARTITION low",), **_OF_PARTED),
    "dropped_partition": Case(change=("DROP TABLE low",), **_OF_PARTED),
    "attached_partition": Case(change=(_ATTACH, "TRUNCATE high"), problem="partitions", is_mended=True, **_OF_PARTED),
    "rewritten_column": Case(change=("ALTER TABLE myapp_thing ALTER owner TYPE bigint USING owner + 1",)),
    "inheritance_child": Case(
        before=("CREATE TABLE child () INHERITS (myapp_thing)",),
        change=("INSERT INTO child VALUES (1, 1, '')",),
        after=("DROP TABLE child",),
    ),
    "view": Case(
        before=("CREATE TABLE behind (id int, owner int, text text)", "CREATE VIEW front AS SELECT * FROM behind"),
        change=("INSERT INTO behind VALUES (1, 1, '')",),
        after=("DROP VIEW front", "DROP TABLE behind"),
        table="front",
        problem="view",
        on=ANY,
    ),
    "foreign_table": Case(
        before=(
            "CREATE FOREIGN DATA WRAPPER nowhere",
            "CREATE SERVER elsewhere FOREIGN DATA WRAPPER nowhere",
            "CREATE FOREIGN TABLE far (id int, owner int, text text) SERVER elsewhere",
        ),
        change=(),
        after=("DROP FOREIGN DATA WRAPPER nowhere CASCADE",),
        table="far",
        problem="foreign table",
    ),
    "schema_of_a_tenant": Case(
        before=("CREATE SCHEMA tenant", "CREATE TABLE tenant.myapp_thing (LIKE myapp_thing)"),
        change=("SET search_path = tenant, public", INSERT),
        after=("RESET search_path", "DROP SCHEMA tenant CASCADE"),
        problem="has no triggers",
    ),
    "swapped_table": Case(
        change=(
            "CREATE TABLE shadow AS SELECT * FROM myapp_thing",
            "ALTER TABLE myapp_thing RENAME TO old_thing",
            "ALTER TABLE shadow RENAME TO myapp_thing",
            UPDATE,
        ),
        after=("DROP TABLE old_thing",),
        problem="has no triggers",
        on=ANY,
    ),
    "replace": Case(change=(REPLACE,), gone={2}, on=SQLITE),
    "update_or_replace": Case(
        before=(INSERT, ANOTHER), change=("UPDATE OR REPLACE myapp_thing SET id = 1 WHERE id = 2",), gone={2}, on=SQLITE
    ),
    "replace_with_recursive_triggers": Case(  # the remedy: nothing is missed
        change=("PRAGMA recursive_triggers = ON", REPLACE),
        after=("PRAGMA recursive_triggers = OFF",),
        gone={1, 2},
        on=SQLITE,
    ),
}


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if connection.vendor in case.on])
def test_triggers__do_not_record(name: str) -> None:
    case = CASES[name]
    is_made = case.table == "myapp_thing"
    with things(table=case.table, is_made=is_made, is_captured=False) as known:
        try:
            execute(*case.before)
            install_triggers()
            known.warm()
            execute(*case.change)
            assert known.relayed() == case.gone
            found = [each for each in triggers.problems("default") if each.table == case.table]
            assert len(found) == bool(case.problem)
            assert all(case.problem in each.why for each in found)
            if case.is_mended:
                assert install_triggers() == [case.table]
                assert case.table not in {each.table for each in triggers.problems("default")}
        finally:
            execute(*case.after)


def test_triggers__of_a_project_without_warmer_record_for_nobody(known: Things) -> None:
    jobs.unregister("things")
    execute(INSERT)
    Relay().poll()
    assert ChangeRecord.objects.filter(applied_at=None).count() == 1
    with without_our_table(), pytest.raises(DatabaseError) if connection.vendor == "sqlite" else nullcontext():
        execute(UPDATE)
    apply.floors.clear()  # it counts from 1 again


def test_function__that_reads_other_rows_reads_them_after_the_commit() -> None:
    def of_same_text(row: Any) -> list[int]:
        return list(known.model.objects.filter(text=row.text).values_list("owner", flat=True))

    with things(depends_on=of_same_text, fields=["owner", "text"]) as known:
        execute(INSERT, ANOTHER)
        assert known.gone_by(known.model.objects.filter(owner=2).delete) == {1}


# -- what signals do not tell ----------------------------------------------------------------------------
@pytest.fixture
def signalled(settings: Any) -> Iterator[Things]:
    connection.close()  # the next one is not watched
    settings.WARMER_CAPTURE = "signals"
    with things(is_captured=False) as known:
        yield known


def test_signals__row_that_another_transaction_moves_meanwhile(signalled: Things) -> None:
    """It invalidates 1 and 2, and a reader caches 2, before this one moves the row on to 3."""
    thing = signalled.model.objects.create(owner=1)

    def move(**_: Any) -> None:
        outsiders.run(UPDATE)
        signalled.warm()

    pre_save.connect(move, sender=signalled.model)
    thing.owner = 3
    thing.save()
    assert signalled.gone() == {1, 3}


def test_signals__save_in_autocommit_of_a_process_that_is_killed(signalled: Things) -> None:
    with at("committed", Mock(side_effect=SystemExit)), pytest.raises(SystemExit):
        signalled.model.objects.create(owner=1)
    Relay().poll()
    assert (signalled.model.objects.count(), signalled.gone()) == (1, set())


def test_signals__read_after_a_change_without_a_signal_is_stored(signalled: Things) -> None:
    signalled.model.objects.create(owner=1)
    with rolled_back():
        signalled.model.objects.update(text="never")
        signalled.job.get(1)
    assert signalled.gone() == set()


def test_signals__in_a_transaction_managed_by_hand_are_recorded_and_relayed_after_it(signalled: Things) -> None:
    with managed_by_hand():
        signalled.model.objects.create(owner=1)
        transaction.rollback()
        signalled.model.objects.create(owner=2)
        assert signalled.gone() == set()
        transaction.commit()
    assert (signalled.gone(), unapplied()) == (set(), 1)
    Relay().poll()
    assert (signalled.gone(), unapplied()) == ({2}, 0)
