"""The options that a declaration gives: whether there are such, and all that there must be."""

from __future__ import annotations

import difflib
import functools
import inspect
import sys
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from warmer.exceptions import DeclarationError

P = ParamSpec("P")
T = TypeVar("T")

_KEYS = {"warm": "popular_posts", "warm_many": "user:{id}:profile"}
_ONLY_KEYED = {
    "ids": "a job with one key has no ids",
    "batch_size": "a job with one key has no batches",
}


def with_known_options(decorator: Callable[P, T]) -> Callable[P, T]:
    """Have a decorator refuse what it does not know, as any declaration that cannot work is refused."""
    parameters = inspect.signature(decorator).parameters

    @functools.wraps(decorator)
    def declare(*args: P.args, **kwargs: P.kwargs) -> T:
        if args and callable(args[0]):
            raise DeclarationError(_bare(decorator.__name__, args[0]))
        if why := _why_not(decorator.__name__, parameters, args, kwargs):
            frame = sys._getframe(1)
            place = f"{frame.f_globals.get('__name__')}:{frame.f_lineno}"
            end = "" if why.endswith("?") else "."
            raise DeclarationError(f"@{decorator.__name__} ({place}): {why}{end}")
        return decorator(*args, **kwargs)

    return declare


def _bare(decorator: str, loader: object) -> str:
    """Say what is wrong with `@warm` without a call, which takes the loader for the key."""
    name = getattr(loader, "__qualname__", repr(loader))
    return f"@{decorator} on {name} has no arguments: a key is a text, e.g. @{decorator}('popular_posts')."


def _why_not(decorator: str, parameters: Any, args: tuple[Any, ...], given: dict[str, Any]) -> str:
    example = f"@{decorator}({_KEYS[decorator]!r}, ...)"
    options = [name for name in parameters if name != "key"]
    if "key" in given or not args:
        return f"the key is the first argument, and has no name: write {example}"
    if len(args) > 1:
        names = ", ".join(options)
        return f"{args[1]!r} is given without a name, as only the key is, e.g. {example}: there are {names}"
    for name in given:
        if name not in options:
            return _unknown(name, options)
    if decorator == "warm_many" and "ids" not in given:
        return (
            "ids is missing: give a function that gives the ids, e.g. ids=top_user_ids, or a queryset; a job "
            "with one key is declared by @warm"
        )
    return ""


def _unknown(name: str, options: list[str]) -> str:
    if name in _ONLY_KEYED:
        return f"{name} is an option of @warm_many: {_ONLY_KEYED[name]}"
    nearest = difflib.get_close_matches(name, options, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]}?" if nearest else f"there are {', '.join(options)}"
    return f"there is no option {name}: {hint}"
