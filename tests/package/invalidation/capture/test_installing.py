"""Installing only widens, pruning narrows, removing removes; what is missing is left to signals."""

import json
from contextlib import nullcontext
from typing import Any
from unittest.mock import Mock

import pytest
from django.core.management import CommandError, call_command
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext

from tests.package.invalidation.capture import outsiders
from tests.package.invalidation.capture.things import EVERY, INSERT, Things, execute, problem_of, things, unapplied
from tests.support.fixtures import install_triggers
from tests.support.keyed import by_function, cached, gone, job
from warmer import jobs
from warmer.exceptions import TriggersRefused
from warmer.invalidation import triggers
from warmer.models import ChangeRecord
from warmer.signals import triggers_changed

pytestmark = pytest.mark.usefixtures("db")


def declare(known: Things) -> None:
    """Declare a second job on the things, which needs more of them to be recorded."""
    by_function("other:{id}", known.model, lambda row: row.owner, "owner", "text")


def sources_recorded() -> set[str]:
    """Return what a change of a thing is recorded as."""
    outsiders.run("DELETE FROM warmer_changerecord", "INSERT INTO myapp_thing (owner, text) VALUES (1, '')")
    return set(ChangeRecord.objects.values_list("source", flat=True))


BOTH = {"myapp_thing", "myapp_thing(id,owner,text)"}


def test_install__only_widens_and_prune_narrows(known: Things) -> None:
    declare(known)
    assert install_triggers() == ["myapp_thing"]
    assert sources_recorded() == BOTH
    jobs.unregister("other")  # it is another release's or another service's
    assert (install_triggers(), triggers.problems("default")) == ([], [])
    assert sources_recorded() == BOTH
    job("wide:{id}", {known.model: "text"})
    assert install_triggers() == ["myapp_thing"]
    jobs.unregister("wide")
    assert (install_triggers(), sources_recorded()) == ([], BOTH)
    record = ChangeRecord.objects.get(source="myapp_thing")
    assert json.loads(record.rows or "") == [{"owner": "1", "text": ""}]
    assert triggers.prune("default") == ["myapp_thing"]
    assert sources_recorded() == {"myapp_thing"}
    assert triggers.prune("default") == []


def test_remove__removes_the_triggers_of_jobs_that_are_gone(known: Things) -> None:
    jobs.unregister("things")
    assert "myapp_thing" in triggers.remove("default")
    outsiders.run("INSERT INTO myapp_thing (owner, text) VALUES (1, '')")
    assert not ChangeRecord.objects.exists()
    question = {
        "postgresql": "SELECT proname FROM pg_proc WHERE proname LIKE 'warmer%%thing%%'",
        "sqlite": "SELECT name FROM sqlite_master WHERE type = 'trigger' AND name LIKE '%%thing%%'",
    }
    with connection.cursor() as cursor:
        cursor.execute(question[connection.vendor], [])
        assert cursor.fetchall() == []
    assert triggers.remove("default") == []


def test_command__installs_invalidates_and_removes(
    known: Things, capsys: pytest.CaptureFixture[str], settings: Any
) -> None:
    """Changes of before it were missed."""
    call_command("warm_triggers", "--remove")
    call_command("warm_triggers", "--sql")
    assert "CREATE" in capsys.readouterr().out
    with pytest.raises(CommandError, match="warm_triggers"):
        call_command("warm_triggers", "--check")
    assert known.gone_by(call_command, "warm_triggers") == EVERY
    call_command("warm_triggers", "--check")
    triggers.remove("default")
    settings.WARMER_CAPTURE = "signals"
    with pytest.raises(CommandError, match="set WARMER_CAPTURE"):
        call_command("warm_triggers", "--check")


def test_script__does_what_install_does(known: Things) -> None:
    triggers.remove("default")
    with outsiders.outsider() as other:
        script = triggers.script("default")
        other.executescript(script) if connection.vendor == "sqlite" else other.execute(script)
    triggers.forget_installed()
    assert triggers.problems("default") == []
    assert known.relayed() == EVERY  # what was missed until then is not known
    assert known.gone_by(known.model.objects.create, owner=1) == {1}


@pytest.mark.parametrize("install", [triggers.catch_up, triggers.prune])
def test_install__records_what_was_missed_with_the_triggers(known: Things, install: Any) -> None:
    """So a process that is killed after it installed them loses nothing."""
    triggers.remove("default")
    found: list[int] = []

    def count(**_: Any) -> None:
        found.extend(number for (number,) in outsiders.fetch("SELECT count(*) FROM warmer_changerecord"))

    triggers_changed.connect(count)
    assert install("default")
    assert found[0] >= 1
    assert (known.gone(), unapplied()) == (EVERY, 0)


@pytest.mark.parametrize("is_restored", [False, True])
def test_triggers__that_are_missing_are_a_problem_and_signals_tell(known: Things, is_restored: bool) -> None:
    known.model.objects.create(owner=3)  # nobody listens from here on
    known.warm()
    if is_restored:  # from a dump, under a running process
        of_table = " ON myapp_thing" if connection.vendor == "postgresql" else "_myapp_thing"
        outsiders.run(*(f"DROP TRIGGER warmer_{event}{of_table}" for event in ("insert", "update", "delete")))
    else:
        triggers.remove("default")
    assert problem_of()
    known.model.objects.create(owner=1)
    with transaction.atomic():
        known.model.objects.create(owner=2)
        assert known.gone() == {1}
    assert known.gone() == {1, 2}


def test_triggers__that_record_less_than_a_job_needs_are_a_problem_and_signals_tell(known: Things) -> None:
    """As when a release runs before it migrates, or imports a job's module late."""
    known.model.objects.create(owner=3)  # nobody listens from here on
    declare(known)
    keys = cached("other:1", "other:2")
    known.model.objects.create(owner=1)
    assert gone(*keys) == {"other:1"}
    assert "less" in problem_of().why
    triggers.on_migrated(using="default")  # what was not told by a signal was missed until now
    assert gone(*keys) == {*keys}


class Refuses:
    """A router that keeps the things off every database."""

    def allow_migrate(self, _db: str, _app: str, model_name: str | None = None, **_: Any) -> bool | None:
        return False if model_name == "thing" else None


def test_table__that_a_router_refuses_is_no_problem_and_signals_tell(settings: Any) -> None:
    with things(is_captured=False) as known:
        assert [each.table for each in triggers.problems("default")] == ["myapp_thing"]
        settings.DATABASE_ROUTERS = [Refuses()]
        triggers.forget_installed()
        assert (triggers.problems("default"), install_triggers()) == ([], [])
        known.model.objects.create(owner=1)
        assert known.gone() == {1}


def test_table__that_was_renamed_is_a_problem_and_captured_again(known: Things) -> None:
    """Its triggers write records of the old name."""
    execute("ALTER TABLE myapp_thing RENAME TO myapp_renamed")
    known.model._meta.db_table = "myapp_renamed"
    jobs.version += 1  # the process is another one
    triggers.forget_installed()
    assert "no triggers" in problem_of("myapp_renamed").why
    known.model.objects.create(owner=1)
    assert known.gone() == {1}, "signals tell meanwhile"
    assert triggers.catch_up("default") == ["myapp_renamed"]
    assert (known.gone(), triggers.problems("default")) == (EVERY, [])
    known.warm()
    ChangeRecord.objects.all().delete()
    outsiders.run("UPDATE myapp_renamed SET owner = 2")
    assert known.relayed() == {1, 2}
    assert set(ChangeRecord.objects.values_list("source", flat=True)) == {"myapp_renamed"}


def test_prune__of_a_table_that_was_replaced_leaves_the_triggers_of_the_new_one(
    known: Things, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a migration that keeps the old one under another name: on PostgreSQL, both call one function."""
    triggers.on_migrating(using="default", plan=["replace"])
    execute("ALTER TABLE myapp_thing RENAME TO myapp_old")
    with connection.schema_editor() as editor:
        editor.create_model(known.model)
    try:
        triggers.on_migrated(using="default", plan=["replace"])
        with monkeypatch.context() as failing:
            failing.setattr(triggers._vendor("default"), "create", Mock(return_value=["no SQL"]))
            with nullcontext() if connection.vendor == "sqlite" else pytest.raises(TriggersRefused, match="myapp_old"):
                triggers.prune("default")
        assert triggers.problems("default") == []
        triggers.prune("default")
        assert triggers.problems("default") == []
        known.warm()
        execute("INSERT INTO myapp_old (id, owner, text) VALUES (1, 1, '')")
        outsiders.run(INSERT.replace("1", "2"))
        assert known.relayed() == {2}
    finally:
        execute("DROP TABLE myapp_old")


@pytest.mark.parametrize("ask", [triggers.problems, lambda using: triggers.on_migrated(using=using)])
def test_installed__is_found_by_one_query_and_nothing_is_invalidated(known: Things, ask: Any) -> None:
    """Each flush of a `TransactionTestCase` sends `post_migrate`."""
    with CaptureQueriesContext(connection) as queries:
        assert not ask("default")
    assert len(queries) == 1
    execute("SELECT 1")
    assert known.relayed() == set()
