"""What jobs declare, and what is captured for them."""

import runpy
from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from typing import Any

import pytest
from django.contrib.contenttypes.fields import GenericForeignKey, GenericRelation
from django.contrib.contenttypes.models import ContentType
from django.db import models
from django.db.models import QuerySet

from tests.package.invalidation.capture import outsiders
from tests.package.invalidation.capture.things import Things, jobs_of_a_test, things
from tests.support.fixtures import install_triggers
from tests.support.keyed import by_function, cached, gone, job
from tests.support.tables import OwnModel, queries_of, tables_of
from warmer import jobs, warm_many
from warmer.exceptions import DeclarationError
from warmer.invalidation import Relay, triggers
from warmer.invalidation.records import fingerprint

pytestmark = pytest.mark.usefixtures("db")


# -- declarations ---------------------------------------------------------------------------------------
def fingerprint_with(known: Things, function: Callable[[Any], Any]) -> str:
    """Return the fingerprint of a process with a job that depends on things by a function."""
    with jobs_of_a_test():
        by_function("other:{id}", known.model, function, "owner", "text")
        return fingerprint()


def test_fingerprint__tells_lambdas_apart_by_what_they_do(known: Things) -> None:
    def decorated(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return wraps(function)(lambda row: function(row))

    of = partial(fingerprint_with, known)
    functions: list[Callable[[Any], Any]] = [
        lambda row: row.owner,
        lambda row: row.text,
        lambda row: row.owner if row.text == "a" else None,
        lambda row: row.owner if row.text == "b" else None,
        lambda row: row.owner if row.text in ("a", "b") else None,
        lambda row: row.owner if row.text in ("a", "c") else None,
        lambda row: row.owner if row.text in {"d", "e"} else None,
        lambda row: row.owner if row.text in {"d", "f"} else None,
        lambda row: max(row.owner + number for number in (1,)),
        lambda row: max(row.owner - number for number in (1,)),
        partial(lambda row, other: row.owner, other=1),
        partial(lambda row, other: row.text, other=1),
        decorated(lambda row: [row.owner, 1]),
        decorated(lambda row: [row.owner, 2]),
        partial(getattr, name="owner"),  # without any code
    ]
    found = list(map(of, functions))
    assert len(set(found)) == len(found)
    assert list(map(of, functions)) == found


def test_fingerprint__is_of_what_runs_when_a_deploy_has_replaced_the_file(known: Things, tmp_path: Path) -> None:
    file = tmp_path / "release.py"
    file.write_text("def owners(row):\n    return row.owner\n")
    owners = runpy.run_path(str(file))["owners"]
    before = fingerprint_with(known, owners)
    for release in ("def owners(row):\n    return row.text\n", "OWNERS = (\n    'owner',\n"):
        file.write_text(release)
        assert fingerprint_with(known, owners) == before


def test_path__that_cannot_be_followed_is_refused_and_the_job_forgotten() -> None:
    class Label(OwnModel):
        content_type = models.ForeignKey(ContentType, models.CASCADE)
        object_id = models.IntegerField()
        labelled = GenericForeignKey()

    class Labelled(OwnModel):
        labels = GenericRelation(Label, related_query_name="things")

    options: Any = {"name": "labelled", "depends_on": {Label: "things__id"}}
    with tables_of(Label, Labelled), jobs_of_a_test():
        with pytest.raises(DeclarationError, match="'labelled'"):
            warm_many("labelled:{id}", ids=list, **options)(lambda ids: {})
        assert "labelled" not in jobs
        assert triggers.problems("default") == []


# -- what is installed ----------------------------------------------------------------------------------
def test_problems__do_not_name_a_table_that_is_not_migrated_yet() -> None:
    with things(is_made=False, is_captured=False):
        assert triggers.problems("default") == []


def test_delete__of_a_queryset_keeps_the_fast_path_of_django(known: Things) -> None:
    known.model.objects.create(owner=1)  # the first signal shows that there are triggers
    known.model.objects.bulk_create([known.model(owner=1) for _ in range(50)])
    known.warm()
    with queries_of(known.model) as queries:
        known.model.objects.all().delete()
    (query,) = queries
    assert query.startswith("DELETE")
    assert known.gone() == {1}


@pytest.mark.parametrize("capture", ["triggers", "signals"])
def test_delete__that_leaves_far_rows_gives_ids_by_a_reverse_path_with_signals_only(
    settings: Any, capture: str
) -> None:
    """After the commit nothing leads from the row to its far rows."""

    class Near(OwnModel):
        pass

    class Far(OwnModel):
        near = models.ForeignKey(Near, models.DO_NOTHING, db_constraint=False, related_name="far")
        owner = models.IntegerField()

    settings.WARMER_CAPTURE = capture
    with tables_of(Near, Far), jobs_of_a_test():
        job("near:{id}", {Near: "far__owner"})
        if capture == "triggers":
            install_triggers()
        near: Any = QuerySet(Near).create()
        QuerySet(Far).create(near=near, owner=1)
        Relay().poll()
        (key,) = cached("near:1")
        near.delete()
        Relay().poll()
        assert gone(key) == ({key} if capture == "signals" else set())


def test_fields__that_the_table_does_not_have_yet_lose_no_change() -> None:
    """As after a `migrate` to an earlier migration, while the models are ahead."""
    columns = {"owner": models.IntegerField(null=True), "text": models.TextField(), "extra": models.TextField()}
    outsiders.run("CREATE TABLE myapp_thing (id integer PRIMARY KEY, owner integer, text text)")
    try:
        with things(columns=columns, fields=["text", "extra"], is_made=False) as ahead:
            outsiders.run("INSERT INTO myapp_thing VALUES (1, 1, '')")
            assert ahead.relayed() >= {1}
            ahead.warm()
            outsiders.run("UPDATE myapp_thing SET owner = 2")
            assert ahead.relayed() >= {1, 2}
    finally:
        outsiders.run("DROP TABLE myapp_thing")
