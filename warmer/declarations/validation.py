"""What is written in a declaration, checked and made into a job's spec."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from django.db.models import Model, QuerySet

from warmer.declarations.callables import check_ids, check_loader
from warmer.declarations.spec import Dependency, DependsOn, Fields, JobSpec
from warmer.exceptions import DeclarationError
from warmer.keys import KeyTemplate
from warmer.limits import usable


def spec_of(
    loader: Callable[..., Any],
    *,
    key: str,
    keyed: bool,
    ids: Any,
    name: str | None,
    cache: str | None,
    depends_on: DependsOn,
    fields: Fields | None,
    batch_size: int | None,
    queue: str | None,
    **options: Any,
) -> JobSpec:
    """Return the spec of a job as it was declared; what is None is as the settings say, where these can work.

    For the options see `warmer.warm`.

    Raises:
        DeclarationError: the declaration cannot work; the message says what to write instead.
    """
    code = getattr(loader, "__code__", None)
    declared_at = f"{loader.__module__}:{code.co_firstlineno if code else '?'}"
    job_name = name if name is not None else getattr(loader, "__name__", "")
    try:
        template = KeyTemplate.parse(key, keyed=keyed)
        if keyed:
            _check_ids(ids)
        check_loader(loader, keyed=keyed)
        dependencies = _with_fields(_dependencies(depends_on), fields)
    except DeclarationError as error:
        raise DeclarationError(f"The job {job_name!r} ({declared_at}): {error}.") from None
    return JobSpec(
        name=job_name,
        key=template,
        loader=loader,
        ids=ids,
        cache=cache or usable("CACHE"),
        depends_on=dependencies,
        batch_size=usable("BATCH_SIZE") if batch_size is None else batch_size,
        queue=queue or usable("QUEUE"),
        declared_at=declared_at,
        **options,
    )


def _check_ids(ids: object) -> None:
    if isinstance(ids, QuerySet):
        return
    if callable(ids):
        check_ids(ids)
        return
    if isinstance(ids, Iterator):
        raise DeclarationError(
            f"ids={ids!r} would be at its end after one run: give the function that makes it, "
            "without calling it"
        )
    raise DeclarationError(
        f"ids={ids!r}: expected a function that gives the ids, e.g. top_user_ids, or a queryset"
    )


def _dependencies(depends_on: object) -> tuple[Dependency, ...]:
    if isinstance(depends_on, Mapping):
        pairs = list(depends_on.items())
    elif isinstance(depends_on, list | tuple | set | frozenset):
        pairs = [(model, None) for model in depends_on]
    else:
        raise DeclarationError(
            f"depends_on={depends_on!r}: expected a list of models, e.g. [Post], or a mapping from "
            "model to what gives the ids, e.g. {Post: 'id'}"
        )
    dependencies = []
    for model, source in pairs:
        if not isinstance(model, str) and not (isinstance(model, type) and issubclass(model, Model)):
            raise DeclarationError(
                f"depends_on names {model!r}: expected a model, or its label 'app_label.ModelName'"
            )
        if isinstance(depends_on, Mapping) and not (isinstance(source, str) or callable(source)):
            raise DeclarationError(
                f"depends_on maps {model!r} to {source!r}: expected the path of a field, e.g. 'id', or a "
                "function of the instance"
            )
        dependencies.append(Dependency(model=model, ids=source))
    return tuple(dependencies)


def _with_fields(dependencies: tuple[Dependency, ...], fields: object) -> tuple[Dependency, ...]:
    """Return the dependencies, each with the fields that matter."""
    if fields is None:
        return dependencies
    example = "fields={User: ['email', 'first_name']}"
    if not isinstance(fields, Mapping):
        raise DeclarationError(
            f"fields={fields!r}: expected a mapping from model to its fields, e.g. {example}"
        )
    by_label: dict[str, tuple[str, ...]] = {}
    for model, names in fields.items():
        if not isinstance(model, str) and not (isinstance(model, type) and issubclass(model, Model)):
            raise DeclarationError(f"fields names {model!r}: expected a model, e.g. {example}")
        label = model if isinstance(model, str) else model._meta.label
        if (
            isinstance(names, str)
            or not isinstance(names, Iterable)
            or not all(isinstance(n, str) for n in names)
        ):
            raise DeclarationError(
                f"fields maps {label} to {names!r}: expected a list of names, e.g. {example}"
            )
        by_label[label] = tuple(names)
        if not by_label[label]:
            raise DeclarationError(f"fields maps {label} to no field: name those that the loader reads")
    known = [dependency.label for dependency in dependencies]
    for label in by_label:
        if label not in known:
            raise DeclarationError(f"fields names {label}, which depends_on does not: name it there, too")
    return tuple(replace(each, fields=by_label.get(each.label)) for each in dependencies)
