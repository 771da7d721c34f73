"""Tables for models that a test defines for itself."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

from django.apps import apps
from django.db import connection
from django.db.models import Model
from django.test.utils import CaptureQueriesContext


class OwnModel(Model):
    """The base of models that a test defines for itself."""

    class Meta:
        abstract = True
        app_label = "myapp"


@contextmanager
def tables_of(*models: type[Model]) -> Iterator[Any]:
    """Create the tables of models, in this order; at the end drop them, and forget the models.

    The block gets the models, all that the test defines, as attributes of one object. A proxy has no table.
    """
    managed = [model for model in models if not model._meta.proxy]
    with connection.schema_editor() as editor:
        for model in managed:
            editor.create_model(model)
    try:
        yield SimpleNamespace(**{model.__name__: model for model in models})
    finally:
        with connection.schema_editor() as editor:
            for model in reversed(managed):
                editor.delete_model(model)
        of_app = apps.all_models[models[0]._meta.app_label]
        for name in [name for name, each in of_app.items() if _belongs_to(each, models)]:
            del of_app[name]
        apps.clear_cache()


@contextmanager
def queries_of(model: type[Model]) -> Iterator[list[str]]:
    """Collect the queries of a model's table."""
    found: list[str] = []
    with CaptureQueriesContext(connection) as queries:
        yield found
    table = connection.ops.quote_name(model._meta.db_table)
    found += [each["sql"] for each in queries if table in each["sql"]]


def _belongs_to(model: type[Model], models: tuple[type[Model], ...]) -> bool:
    return model in models or model._meta.auto_created in models
