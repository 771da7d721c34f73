"""Convert a declaration to a job's spec, or reject it."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from django.db.models import Model, QuerySet

from warmer.conf import conf
from warmer.declarations.options import check_known, seconds
from warmer.declarations.spec import DURATIONS, Dependency, JobSpec, naming
from warmer.exceptions import DeclarationError
from warmer.keys import KeyTemplate


def spec_of(loader: Callable[..., Any], *, key: str, keyed: bool, options: Mapping[str, Any]) -> JobSpec:
    """Return the spec of a job.

    Args:
        loader: the decorated function.
        key: the declared key.
        keyed: whether the job has a key for each id.
        options: the declared options, see `Options` and `ManyOptions`.

    Raises:
        DeclarationError: the declaration cannot work; the message says what to write instead.
    """
    code = getattr(inspect.unwrap(loader), "__code__", None)
    module = getattr(loader, "__module__", "?")  # a property has none
    declared_at = f"{module}:{code.co_firstlineno if code else '?'}"
    name = options.get("name") or getattr(loader, "__name__", "")
    with naming(name, declared_at):
        check_known(options, keyed=keyed)
        template = KeyTemplate.parse(key, keyed=keyed)
        given: dict[str, Any] = {
            "cache": conf.CACHE,
            "queue": conf.QUEUE,
            "batch_size": conf.BATCH_SIZE if keyed else 1,
            # For Django's caches, `timeout=None` means that a key never expires, so it is not the default.
            **{k: v for k, v in options.items() if v is not None or k in ("every", "timeout")},
        }
        for option in DURATIONS.intersection(given):
            if given[option] is not None or option == "timeout":
                given[option] = seconds(option, given[option])
        dependencies = _dependencies(options.get("depends_on", ()))
        given["depends_on"] = _with_fields(dependencies, given.pop("fields", None))
        if keyed:
            _check_ids(options["ids"])
            _check_callable("the loader of @warm_many", loader, ["the ids"], "def load(ids)")
        else:
            _check_callable("the loader of @warm", loader, [], "def load()")
        own: dict[str, Any] = {"name": name, "key": template, "loader": loader, "declared_at": declared_at}
        return JobSpec(**given | own)


def _check_ids(ids: object) -> None:
    if isinstance(ids, QuerySet):
        return
    if isinstance(ids, Iterator):
        raise DeclarationError(
            f"ids={ids!r} would be exhausted after one run: give the function itself, without calling it"
        )
    if not callable(ids):
        raise DeclarationError(
            f"ids={ids!r}: expected a function that returns the ids, e.g. top_user_ids, or a queryset"
        )
    _check_callable("ids", ids, [], "def top_ids()")


def _check_callable(what: str, function: Callable[..., Any], arguments: list[str], example: str) -> None:
    """Reject what cannot be called with these arguments, or has to be awaited."""
    if not callable(function):
        raise DeclarationError(
            f"{what} is a {type(function).__name__}, which is not callable: write e.g. '{example}'"
        )
    called = (function, type(function).__call__)  # an object may have an async `__call__`
    if any(inspect.iscoroutinefunction(each) or inspect.isasyncgenfunction(each) for each in called):
        raise DeclarationError(f"{what} is async: write 'def', or wrap it in asgiref.sync.async_to_sync")
    try:
        # Not the signature of a wrapped function: its decorator may add arguments.
        signature = inspect.signature(function, follow_wrapped=False)
    except (TypeError, ValueError):  # as for many functions written in C
        return
    try:
        signature.bind(*arguments)
    except TypeError:
        takes = f"({', '.join(signature.parameters)})" if signature.parameters else "no arguments"
        given = arguments[0] if arguments else "no arguments"
        raise DeclarationError(
            f"{what} takes {takes} but is called with {given}: write e.g. '{example}'"
        ) from None


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
    for model, source in pairs:
        label = _label("depends_on", model)
        if isinstance(depends_on, Mapping) and not (isinstance(source, str) or callable(source)):
            raise DeclarationError(
                f"depends_on maps {model!r} to {source!r}: expected the path of a field, e.g. 'id', or a "
                "function of the row"
            )
        if callable(source):
            what = f"the function of {label} in depends_on"
            _check_callable(what, source, ["a row"], "lambda post: post.author_id")
    return tuple(Dependency(model=model, ids=source) for model, source in pairs)


def _with_fields(dependencies: tuple[Dependency, ...], fields: object) -> tuple[Dependency, ...]:
    """Return the dependencies, each with the fields that matter."""
    if fields is None:
        return dependencies
    example = "fields={User: ['email', 'first_name']}"
    if not isinstance(fields, Mapping):
        raise DeclarationError(
            f"fields={fields!r}: expected a mapping from model to field names, e.g. {example}"
        )
    known = {dependency.label.lower() for dependency in dependencies}  # Django finds models in any case
    by_label: dict[str, tuple[str, ...]] = {}
    for model, names in fields.items():
        label = _label("fields", model)
        if label.lower() not in known:
            raise DeclarationError(f"fields names {label}, but depends_on does not: add it there")
        is_list = isinstance(names, Iterable) and not isinstance(names, str)
        by_label[label.lower()] = listed = tuple(names) if is_list else ()
        if not listed or not all(isinstance(each, str) for each in listed):
            raise DeclarationError(
                f"fields maps {label} to {names!r}: expected a list of names, e.g. {example}"
            )
    return tuple(replace(each, fields=by_label.get(each.label.lower())) for each in dependencies)


def _label(option: str, model: object) -> str:
    if isinstance(model, str):
        return model
    if isinstance(model, type) and issubclass(model, Model):
        return model._meta.label
    raise DeclarationError(f"{option} names {model!r}: expected a model, or its label 'app_label.ModelName'")
