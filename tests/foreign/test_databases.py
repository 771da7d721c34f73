"""Projects with several databases: replicas, an empty `default`, our tables apart, one that is away."""

from typing import Any

import psycopg
import pytest
from django.core.cache import cache  # its keys are those of the foreign project's `warm`

from embedded.postgres_server import PostgresServer
from embedded.server import LOG_NAME
from embedded.waiting import wait_until
from tests.foreign.project import ASKING, Database, ForeignProject, NewDatabase
from tests.foreign.replica import Replica

ROUTER = """
OURS = ("warmer", "django_celery_beat")

class Router:
    def db_for_read(self, model, **hints):
        return {read}

    def db_for_write(self, model, **hints):
        return {write}

    def allow_relation(self, one, other, **hints):
        return True

    def allow_migrate(self, database, app_label, model_name=None, **hints):
        return {migrate}

class Strict(Router):
    def db_for_read(self, model, **hints):
        return "replica"

    def allow_migrate(self, database, app_label, **hints):
        return (database == "ops") == (app_label in OURS)
"""
JOB = """
@warm("ticks", every=timedelta(seconds=1))
def ticks():
    return True
"""
BEGIN = """
from django.contrib.auth.models import User
from django.core.management import call_command
from people.models import Person
for database in {migrated}:
    call_command("migrate", database=database, verbosity=0)
User.objects.create_superuser("ada", password="x")
for name in ("Ada", "Bob"):
    Person.objects.create(name=name)
call_command("warm_cache", "--inline")
call_command("warm_schedule")
"""
ASK = """
found = pages(User.objects.using("{users}").get())
result = {{
    "status": {{name: page.status_code for name, page in found.items()}},
    **{{name: page.content.decode() for name, page in found.items()}},
    "warm": output("warm_cache", "--workers"),
    "doctor": output("cache_doctor"),
    "stats": output("cache_stats"),
    "checks": [warning.id for warning in run_checks(databases=["{users}"])],
}}
with override_settings(DATABASE_ROUTERS=["mysite.routers.Strict"]):
    result["strict"] = [warning.id for warning in run_checks()]
"""
LACKING = """
found = run_checks(databases=["default", "ops"])
result = {
    "checks": [warning.id for warning in found],
    "hints": "".join(warning.hint for warning in found),
    "triggers": output("warm_triggers", "--check"),
    "doctor": output("cache_doctor"),
}
"""
NAMES = "from people.warming import names; result = names.get()"
BACKLOG = "from warmer.invalidation import backlog; found = backlog(); result = [found.count, list(found.answered)]"
WAITING = "SELECT count(*) FROM warmer_changerecord WHERE applied_at IS NULL"
RENAME = "UPDATE people_person SET name = 'Eve' WHERE name = 'Bob'"


def route(foreign: ForeignProject, **answers: str) -> None:
    foreign.write("mysite/routers.py", ROUTER.format(**answers))


def begin(foreign: ForeignProject, databases: dict[str, Database], *, migrated: list[str], **answers: str) -> None:
    """Set the databases and the answers of a router, migrate, add people, warm them in this process."""
    foreign.settings(f"DATABASES = {databases!r}\nDATABASE_ROUTERS = ['mysite.routers.Router']\nWARMER_METRICS = True")
    route(foreign, **answers)
    foreign.add("people/warming.py", JOB)
    foreign.run(BEGIN.format(migrated=migrated))


def ask(foreign: ForeignProject, *, users: str = "default") -> Any:
    """Return what the project's faces say; every page answers, and a worker warms."""
    seen = foreign.run(ASKING + ASK.format(users=users))
    assert set(seen["status"].values()) == {200}
    assert "complete" in seen["warm"]
    return seen


def execute(database: Database, statement: str) -> Any:
    """Run a statement as another program does, and return its first value."""
    place = {"host": database["HOST"], "dbname": database["NAME"], "user": database["USER"]}
    with psycopg.connect(**place, autocommit=True) as connection:  # type: ignore[arg-type]
        cursor = connection.execute(statement)  # type: ignore[call-overload]
        return cursor.fetchone()[0] if cursor.description else None


def rename_bob(database: Database) -> None:
    """Change a row as another program does, and wait until a worker has applied the change."""
    execute(database, RENAME)
    wait_until(lambda: execute(database, WAITING) == 0, what="a worker applies the change")


@pytest.fixture
def main(new_database: NewDatabase) -> Database:
    """The database that the project writes to."""
    return new_database()


def test_default__is_empty_and_others_are_away_or_read_only(foreign: ForeignProject, main: Database) -> None:
    databases = {
        "default": {},
        "main": main,
        "away": main | {"PORT": 1},
        "frozen": main | {"OPTIONS": {"options": "-c default_transaction_read_only=on"}},
        "mirror": main | {"TEST": {"MIRROR": "main"}},
    }
    begin(foreign, databases, migrated=["main"], read="'main'", write="'main'", migrate="True")
    with foreign.worker() as worker:
        seen = ask(foreign, users="main")
        for name, said in {"overview": "Database away", "doctor": "'away'", "stats": "'away'"}.items():
            assert said in seen[name]
            assert "'frozen'" not in seen[name]
            assert "'mirror'" not in seen[name]
        assert "exit 1: database 'away'" in seen["stats"]
        assert 'warmer_database_up{database="away"} 0.0' in seen["metrics"]
        assert 'warmer_database_up{database="main"} 1.0' in seen["metrics"]
        assert "warmer.W008" not in seen["checks"]
        assert "warmer.W013" in seen["checks"]
        rename_bob(main)
        assert foreign.run(NAMES) == ["Ada", "Eve"], worker.output()


def test_our_tables__on_a_database_with_a_replica_that_lags(
    foreign: ForeignProject, main: Database, new_database: NewDatabase
) -> None:
    # The replica is never synchronised: it stays as empty as it is.
    databases = {"default": main, "ops": new_database(), "replica": new_database()}
    write = "'ops' if model._meta.app_label in OURS else 'default'"
    begin(
        foreign,
        databases,
        migrated=["default", "ops"],
        read=f"'replica' if model._meta.app_label == 'warmer' else {write}",
        write=write,
        migrate="(database == 'ops') == (app_label in OURS) or model_name == 'changerecord'",
    )
    with foreign.worker("-B") as worker:
        seen = ask(foreign)
        assert {"warmer.W008", "warmer.W011", "warmer.W012"}.isdisjoint(seen["checks"])
        assert {"warmer.W011", "warmer.W012"} <= set(seen["strict"])
        worker.wait_for("of ticks (schedule): complete")
        rename_bob(main)
        assert foreign.run(NAMES) == ["Ada", "Eve"], worker.output()


def test_replica__that_streams_and_lags(foreign: ForeignProject, main: Database, postgres: PostgresServer) -> None:
    with Replica(postgres, options={"log_statement": "all"}) as replica:
        databases = {"default": main, "replica": main | {"HOST": str(replica.folder)}}
        reads = "'replica' if model._meta.app_label in ('warmer', {also}) else 'default'"
        answers = {"write": "'default'", "migrate": "True"}
        replica.pause()  # while our tables are made, too
        begin(foreign, databases, migrated=["default"], read=reads.format(also="''"), **answers)
        route(foreign, read=reads.format(also="'people'"), **answers)
        replica.pause()

        with foreign.worker("-B") as worker:
            seen = ask(foreign)
            assert {"warmer.W008", "warmer.W011", "warmer.W012"}.isdisjoint(seen["checks"])
            assert "warmer.W012" in seen["strict"]  # beat reads from the replica
            for name in ("overview", "doctor", "stats"):
                assert "'replica'" not in seen[name]
            worker.wait_for("of ticks (schedule): complete")

            foreign.settings("from datetime import timedelta\nWARMER_REPLICA_LAG = timedelta(hours=1)")
            rename_bob(main)
            assert foreign.run(NAMES) == ["Ada", "Bob"]  # the loader reads from the replica
            assert cache.get("names") is None
            replica.catch_up()
            assert foreign.run(NAMES) == ["Ada", "Eve"], worker.output()

        execute(main, RENAME.replace("Bob", "Ada"))
        replica.catch_up()  # with the record
        assert foreign.run(BACKLOG) == [1, ["default"]]
        said = (replica.folder / LOG_NAME).read_text()
        assert 'FROM "people_person"' in said
        for ours in ('"warmer_', "FROM warmer_", "UPDATE warmer_", '"django_celery_beat_'):
            assert ours not in said


def test_router__that_kept_our_table_off_a_database_that_was_migrated(
    foreign: ForeignProject, main: Database, new_database: NewDatabase
) -> None:
    answers = dict.fromkeys(("read", "write"), "'ops' if model._meta.app_label == 'people' else 'default'")
    strict = "(database == 'ops') == (app_label == 'people')"
    both = ["default", "ops"]
    begin(foreign, {"default": main, "ops": new_database()}, migrated=both, migrate=strict, **answers)
    assert foreign.run(ASKING + LACKING)["checks"] == ["warmer.W011"]
    route(foreign, migrate=f"{strict} or model_name == 'changerecord'", **answers)
    migrate = "from django.core.management import call_command\ncall_command('migrate', database='ops', verbosity=0)\n"
    lacking = foreign.run(migrate + ASKING + LACKING)  # nothing to apply: it is recorded as applied
    assert lacking["checks"] == ["warmer.W011"]
    fix = "'manage.py migrate warmer zero --fake --database ops'"
    assert fix in lacking["hints"]
    assert fix in lacking["triggers"]
    assert "warning  capture" in lacking["doctor"]
    fake = "from django.core.management import call_command\n"
    fake += "call_command('migrate', 'warmer', 'zero', fake=True, database='ops', verbosity=0)\n"
    captured = foreign.run(fake + migrate + ASKING + LACKING)
    assert captured["checks"] == []
    assert "ops: every table is captured" in captured["triggers"]
    assert "warning  capture" not in captured["doctor"]
