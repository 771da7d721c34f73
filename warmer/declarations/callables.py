"""The functions of a declaration: whether they can be called as they will be."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from warmer.exceptions import DeclarationError


def check_loader(loader: Callable[..., Any], *, keyed: bool) -> None:
    """Refuse a loader that cannot be called with what its job gives it.

    Raises:
        DeclarationError: it is async, or takes other arguments.
    """
    if _is_async(loader):
        raise DeclarationError(
            "the loader is async, and would be called without being awaited: write 'def', or wrap it, e.g. "
            "in asgiref.sync.async_to_sync"
        )
    if keyed and not _takes(loader, []):
        raise DeclarationError(
            f"the loader takes {_arguments(loader)}, and is called with one argument, the list of ids: write "
            "e.g. 'def load(ids)'; a job with one key is declared by @warm"
        )
    if not keyed and not _takes(loader):
        raise DeclarationError(
            f"the loader takes {_arguments(loader)}, and is called without arguments: write e.g. "
            "'def load()'; a job with a key for each id is declared by @warm_many"
        )


def check_ids(ids: Callable[..., Any]) -> None:
    """Refuse a function of the ids that cannot be called without arguments, or not without `await`.

    Raises:
        DeclarationError: it is so.
    """
    if _is_async(ids):
        raise DeclarationError(
            f"ids={ids!r} is async, and would be called without being awaited: write 'def', or wrap it, e.g. "
            "in asgiref.sync.async_to_sync"
        )
    if not _takes(ids):
        raise DeclarationError(
            f"ids={ids!r} takes {_arguments(ids)}, and is called without arguments: write e.g. "
            "'def top_ids()', or give functools.partial of it"
        )


def _is_async(function: Callable[..., Any]) -> bool:
    plain: Any = function
    while isinstance(plain, functools.partial):
        plain = plain.func
    called = getattr(type(plain), "__call__", None)  # noqa: B004 - of an object that is no function
    return any(
        inspect.iscoroutinefunction(each) or inspect.isasyncgenfunction(each) for each in (plain, called)
    )


def _signature(function: Callable[..., Any]) -> inspect.Signature | None:
    """Return how a function is called; None where Python cannot tell, as of many that are written in C."""
    try:
        # Not that of what a decorator wraps: the decorator may give it arguments of its own.
        return inspect.signature(function, follow_wrapped=False)
    except (TypeError, ValueError):
        return None


def _takes(function: Callable[..., Any], *arguments: Any) -> bool:
    signature = _signature(function)
    if signature is None:
        return True
    try:
        signature.bind(*arguments)
    except TypeError:
        return False
    return True


def _arguments(function: Callable[..., Any]) -> str:
    signature = _signature(function)
    names = signature.parameters if signature is not None else ()
    return f"({', '.join(names)})" if names else "no argument"
