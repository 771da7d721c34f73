"""The fingerprint of a process: what it declares, and which caches it reaches.

A record says who applied it. A process with another fingerprint, such as an old release, a second service or
a shell with another cache, cannot have invalidated what this one keeps.
"""

from __future__ import annotations

import hashlib
from types import CodeType
from typing import Any

from django.conf import settings

from warmer.declarations.registry import jobs
from warmer.invalidation.sources import sources
from warmer.stores import place_of

_known: tuple[Any, str] | None = None


def fingerprint() -> str:
    """Return the fingerprint of this process: 16 hexadecimal digits."""
    global _known
    basis = (jobs.version, id(settings.CACHES))
    if _known is None or _known[0] != basis:
        _known = basis, _make()
    return _known[1]


def _function(function: Any) -> str:
    """Return a text that differs for functions that do something else, also where both are lambdas."""
    code = getattr(function, "__code__", None)
    if code is None:
        return f"{type(function).__module__}.{type(function).__qualname__}"
    return f"{function.__qualname__} {_constant(code)}"


def _constant(value: Any) -> str:
    """Return a constant of a function, or its code, as a text that is the same in every process."""
    if isinstance(value, CodeType):
        return f"{value.co_code.hex()} {value.co_names} {_constant(value.co_consts)}"
    if isinstance(value, tuple | frozenset):
        parts = [_constant(each) for each in value]
        return str(parts if isinstance(value, tuple) else sorted(parts))
    return repr(value)


def _make() -> str:
    parts = [f"{spec.key} {place_of(spec.cache)}" for spec in jobs.specs()]
    for name, source in sources().by_name.items():
        for each in source.dependents:
            function = _function(each.function) if each.function else ""
            columns = ",".join(field.column for field in each.fields)
            parts.append(f"{name} {each.spec.key} {columns} {each.path} {function}")
    return hashlib.sha256("\n".join(sorted(parts)).encode()).hexdigest()[:16]
