"""Multi-table inheritance: what a path of a child means for a row of its parent's table."""

from __future__ import annotations

from typing import Any

from django.db.models import Model
from django.db.models.constants import LOOKUP_SEP


def concrete(model: Any) -> type[Model]:
    """Return the model whose table a model uses: itself, or for a proxy the model behind it."""
    return model._meta.concrete_model  # type: ignore[no-any-return]


def tables_of(model: type[Model]) -> list[type[Model]]:
    """Return the models whose tables hold a row of a model: itself, and those that it inherits from."""
    return list(dict.fromkeys(map(concrete, (model, *model._meta.get_parent_list()))))


def path_from_parent(path: str, child: type[Model], parent: type[Model]) -> str | None:
    """Return a path that begins at a child as one that begins at its parent.

    Returns:
        None when no path leads there: a hidden link has no name.
    """
    steps = path.split(LOOKUP_SEP)
    own = _own(steps, child, parent)
    if own is None and (down := _down(parent, child)) is not None:
        own = [*down, *steps]
    return None if own is None else LOOKUP_SEP.join(own)


def _own(steps: list[str], child: Any, parent: Any) -> list[str] | None:
    """Return the path as one of the parent's, if it begins with a field that the parent has itself."""
    field = child._meta.pk if steps[0] == "pk" else child._meta.get_field(steps[0])
    if concrete(field.model) in tables_of(parent):
        return [field.name, *steps[1:]]
    if not (field.concrete and field.is_relation and field.remote_field.parent_link):
        return None
    return _own(steps[1:] or [field.target_field.name], field.related_model, parent)


def _down(parent: Any, child: Any) -> list[str] | None:
    """Return the steps from a parent's row to that of its child; None where a step has no name."""
    steps: list[str] = []
    for each in child._meta.get_base_chain(concrete(parent)):
        link = child._meta.parents[each]
        if link.remote_field.hidden:
            return None
        steps.insert(0, link.related_query_name())
        child = each
    return steps
