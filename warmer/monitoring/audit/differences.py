"""Find where two values differ: the paths of the fields, never their values."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from django.db.models import Model

# For more differences, look at the value itself.
MAX_DEPTH = 6
MAX_PATHS = 10
MORE = "..."
# A key of another form is data, e.g. an e-mail address, not the name of a field.
_NAME = re.compile(r"[\w-]{1,60}")
_PLAIN = frozenset([str, int, float, bool, type(None)])


def differences(cached: Any, current: Any) -> tuple[str, ...]:
    """Return the paths at which a value differs from the cached one; empty if they are equal.

    Mappings, objects and lists are compared part by part, e.g. `address.city` or `tags[2]`; other differences
    are named by type. At most `MAX_PATHS` are listed, then `...`.
    """
    paths = tuple(islice(_walk("", cached, current, 0), MAX_PATHS + 1))
    return paths if len(paths) <= MAX_PATHS else (*paths[:MAX_PATHS], MORE)


def _walk(path: str, cached: Any, current: Any, depth: int) -> Iterator[str]:
    if type(cached) in _PLAIN and type(cached) is type(current) and cached == current:
        return  # a shortcut for most fields of most values
    was, now = type(cached).__name__, type(current).__name__
    old, new = _parts(cached), _parts(current)
    is_list = isinstance(cached, list | tuple) or isinstance(current, list | tuple)
    is_unlike = is_list and type(cached) is not type(current)
    if depth >= MAX_DEPTH or old is None or new is None or is_unlike:
        if not _equal(cached, current):
            yield f"{path} ({was}, now {now})".strip() if was != now else path or was
    elif is_list and len(old) != len(new):
        yield f"{path} (length)".strip()
    else:
        for name, value in old.items():
            step = f"{path}[{name}]" if is_list else _step(path, name)
            if name in new:
                yield from _walk(step, value, new[name], depth + 1)
            else:
                yield f"{step} (no longer there)"
        yield from (f"{_step(path, name)} (new)" for name in new if name not in old)


def _parts(value: Any) -> Mapping[Any, Any] | None:
    """Return the fields of a mapping or an object, the items of a list; None: it is compared as a whole."""
    if isinstance(value, Mapping):
        return value
    if isinstance(value, list | tuple):
        return dict(enumerate(value))
    # Model instances are equal if their primary keys are; objects without `__eq__` never are.
    plain: Any = type(value).__eq__
    if isinstance(value, Model) or (plain is object.__eq__ and hasattr(value, "__dict__")):
        return {name: field for name, field in vars(value).items() if not name.startswith("_")}
    return None


def _equal(cached: Any, current: Any) -> bool:
    if isinstance(cached, bool) != isinstance(current, bool):
        return False  # True equals 1 in Python, but looks different on a page
    if isinstance(cached, float) and isinstance(current, float) and cached != cached:
        return current != current
    return bool(cached == current)


def _step(path: str, name: Any) -> str:
    text = str(name) if isinstance(name, str | int) and _NAME.fullmatch(str(name)) else "*"
    return f"{path}.{text}" if path else text
