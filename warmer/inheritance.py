"""Models whose rows are spread over the tables of their parents: what a change means to whom.

A row of a child is one of its parents, too, and the other way round: a change of a parent's row is one of
the child that inherits from it, if there is one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from django.db.models import Model
from django.db.models.constants import LOOKUP_SEP

from warmer.spec import Dependency


def concrete(model: Any) -> type[Model]:
    """Return the model itself, of a proxy."""
    return model._meta.concrete_model  # type: ignore[no-any-return]


def rows_of(model: type[Model]) -> set[type[Model]]:
    """Return the models that a row of a model is one of: itself, and those it inherits from."""
    return {concrete(each) for each in (model, *model._meta.get_parent_list())}


def as_child_has_it(dependency: Dependency, child: type[Model]) -> Dependency:
    """Return a dependency on a model as it is for rows of one that inherits from it."""
    model: Any = dependency.model
    if dependency.ids != "pk" or _own(["pk"], concrete(child), model) == [model._meta.pk.name]:
        return dependency
    # Of several parents only the first one's key is that of the child.
    return replace(dependency, ids=model._meta.pk.name)


def as_parent_has_it(dependency: Dependency, parent: type[Model]) -> Dependency:
    """Return a dependency on a model as it is for rows of one that it inherits from.

    A path goes on from the parent, if need be to its child. A function wants the child, which is not at
    hand: so it is as a list, and any change concerns every key.
    """
    child = concrete(dependency.model)
    ids = None
    if isinstance(dependency.ids, str):
        steps = dependency.ids.split(LOOKUP_SEP)
        own = _own(steps, child, parent)
        down = _down(parent, child)
        if own is not None:
            ids = LOOKUP_SEP.join(own)
        elif down is not None:
            ids = LOOKUP_SEP.join([*down, *steps])
    return Dependency(model=parent, ids=ids)


def _own(steps: list[str], child: Any, parent: Any) -> list[str] | None:
    """Return a path of a child as one of its parent, if it begins with what the parent has itself."""
    field = child._meta.pk if steps[0] == "pk" else child._meta.get_field(steps[0])
    if concrete(field.model) in rows_of(parent):
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
