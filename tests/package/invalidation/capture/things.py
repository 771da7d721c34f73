"""A table of things, made for one test, with a job that depends on it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from django.apps import apps
from django.core.cache import cache
from django.db import connection, models

from tests.support.fixtures import install_triggers
from tests.support.tables import tables_of
from tests.support.transactions import unwatched
from warmer import jobs, warm_many
from warmer.invalidation import Relay, triggers
from warmer.models import ChangeRecord

IDS = range(1, 7)
EVERY = set(IDS)
INSERT = "INSERT INTO myapp_thing (owner, text) VALUES (1, '')"


class Things:
    """The model, its table and its job, whose ids are owners."""

    def __init__(self, model: Any, job: Any) -> None:
        self.model = model
        self.job = job
        self.table: str = model._meta.db_table
        self.name = connection.ops.quote_name(self.table)

    def warm(self) -> None:
        """Cache every key."""
        self.job.warm(IDS)

    def gone(self) -> set[int]:
        """Return the ids whose keys are invalidated."""
        cached = cache.get_many([self.job.key(id) for id in IDS])
        return {id for id in IDS if self.job.key(id) not in cached}

    def gone_by(self, change: Callable[..., object], *args: Any, **kwargs: Any) -> set[int]:
        """Cache every key, make a change, and return the ids whose keys are invalidated."""
        self.warm()
        change(*args, **kwargs)
        return self.gone()

    def relayed(self) -> set[int]:
        """Apply what waits as a worker does, and return the ids whose keys are invalidated."""
        Relay().poll()
        return self.gone()


@contextmanager
def jobs_of_a_test() -> Iterator[None]:
    """Forget the jobs that a block declares, and before and after it which triggers there are."""
    before = set(jobs)
    triggers.forget_installed()
    try:
        yield
    finally:
        for name in set(jobs) - before:
            jobs.unregister(name)
        triggers.forget_installed()


@contextmanager
def things(
    *,
    columns: dict[str, "models.Field[Any, Any]"] | None = None,
    depends_on: str | Callable[[Any], Any] = "owner",
    fields: list[str] | None = None,
    table: str = "myapp_thing",
    is_made: bool = True,
    is_captured: bool = True,
) -> Iterator[Things]:
    """Make a model `Thing` with its table, a job that depends on it, and triggers.

    Args:
        columns: the model's fields; default: `owner` and `text`.
        is_made: make the table; else the test does.
        is_captured: install triggers; else the test does.
    """
    if columns is None:
        columns = {"owner": models.IntegerField(null=True), "text": models.TextField(default="")}
    meta = type("Meta", (), {"app_label": "myapp", "db_table": table, "managed": is_made})
    model: Any = type("Thing", (models.Model,), {"__module__": __name__, "Meta": meta, **columns})
    try:
        with tables_of(model) if is_made else nullcontext(), jobs_of_a_test():
            job = warm_many(
                "thing:{id}",
                ids=lambda: IDS,
                name="things",
                every=None,  # a migration would leave an entry in beat
                depends_on={model: depends_on},
                fields=None if fields is None else {model: fields},
            )(lambda ids: dict.fromkeys(ids, "cached"))
            if is_captured:
                install_triggers()
            found = Things(model, job)
            found.warm()
            yield found
    finally:
        apps.all_models["myapp"].pop("thing", None)
        apps.clear_cache()


def field_of_type(kind: str) -> Any:
    """Return a field whose column has a type of the database's."""
    return type("OddField", (models.TextField,), {"db_type": lambda self, connection: kind})()


def problem_of(table: str = "myapp_thing") -> triggers.Problem:
    """Return the one problem of a table."""
    (problem,) = [each for each in triggers.problems("default") if each.table == table]
    return problem


def execute(*statements: Any) -> None:
    """Run SQL in this process, without parameters."""
    with connection.cursor() as cursor:
        for each in statements:
            cursor.execute(each)


def fetch(statement: str, parameters: Any = None) -> list[tuple[Any, ...]]:
    """Return rows of this process's connection, unseen by the watcher."""
    with unwatched(), connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall())


@contextmanager
def without_our_table() -> Iterator[None]:
    """Run a block in a database without the table of records."""
    with connection.schema_editor() as editor:
        editor.delete_model(ChangeRecord)
    try:
        yield
    finally:
        with connection.schema_editor() as editor:
            editor.create_model(ChangeRecord)


def unapplied() -> int:
    """Return how many records are not applied."""
    return ChangeRecord.objects.filter(applied_at=None).count()
