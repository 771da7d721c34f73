"""The comparison of a batch: a verdict on each of its keys, and the paths of the fields that differ.

It is done under the fence: take the token, read the cache, load, read again the keys that differ, and check
which keys were invalidated since the token. These are compared again, and so are wrong keys: a change reaches
the database a moment before its invalidation reaches the cache, so a key is wrong only if it still is the
next time.
"""

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from django.db import InterfaceError, OperationalError
from django.db.models import Model

from warmer.declarations.spec import JobSpec
from warmer.failpoints import reach
from warmer.filling.loading import Loaded, halved, load
from warmer.filling.pipeline import ATTEMPTS, Interrupts
from warmer.keys import Batch
from warmer.models import Verdict
from warmer.report import describe
from warmer.stores import Cached

# An invalidation follows its commit within milliseconds, so a key that is wrong after this pause is wrong.
PAUSE_SECONDS = 0.1
NO_VALUE = "(no value any more)"
HAS_VALUE = "(cached as having no value)"


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """The verdict on a key, with the fields that differ, or why it could not be judged."""

    verdict: Verdict
    fields: tuple[str, ...] = ()
    error: str = ""


def compare(spec: JobSpec, left: Batch, interrupts: Interrupts = ()) -> dict[str, Judgement]:
    """Compare keys until each has a verdict, a limited number of times.

    A batch whose loader raises is halved, until the failing part is a single key.

    Args:
        left: the keys.
        interrupts: errors of a loader that are raised, in addition to those of the database.

    Raises:
        StoreUnavailable: the cache does not answer.
        OperationalError, InterfaceError: the database does not answer.
    """
    store = spec.store
    raised: Interrupts = (OperationalError, InterfaceError, *interrupts)
    found: dict[str, Judgement] = {}
    suspected: set[str] = set()
    for attempt in range(max(2, ATTEMPTS)):
        if attempt:
            time.sleep(PAUSE_SECONDS)
        token = store.token(left)
        reach("token_taken", spec.name)
        cached = store.lookup(list(left))
        try:
            loaded = load(spec, left)
        except raised:
            raise
        except Exception as error:  # noqa: BLE001 - the one boundary: a loader may raise anything
            halves = halved(left, error)
            if not halves:
                failed = Judgement(verdict=Verdict.FAILED, error=describe(error))
                return found | dict.fromkeys(left, failed)
            for half in halves:
                found |= compare(spec, half, interrupts)
            return found
        reach("loaded", spec.name)
        judged = {key: _judge(spec, key, cached, loaded) for key in left}
        # A key may have expired, or been filled, since it was read.
        unsure = [key for key in left if judged[key].verdict in (Verdict.WRONG, Verdict.MISSING)]
        cached = store.lookup(unsure)
        judged |= {key: _judge(spec, key, cached, loaded) for key in unsure}
        overtaken = store.overtaken(token, list(left))
        wrong = {key for key in left if judged[key].verdict is Verdict.WRONG} - overtaken
        again = overtaken | (wrong - suspected)
        suspected = wrong
        found |= {key: each for key, each in judged.items() if key not in again}
        left = {key: id for key, id in left.items() if key in again}
        if not left:
            return found
    return found | dict.fromkeys(left, Judgement(verdict=Verdict.CHANGED))


def _judge(spec: JobSpec, key: str, cached: Cached, loaded: Loaded) -> Judgement:
    if key not in loaded.values:
        is_gone = cached.values.get(key) is None
        return Judgement(verdict=Verdict.NO_VALUE) if is_gone else _wrong(NO_VALUE)
    if key in cached.absent:
        return _wrong(HAS_VALUE)
    try:
        expected = spec.store.as_cached(loaded.values[key])
        if key not in cached.values:
            return Judgement(verdict=Verdict.MISSING)
        fields = differences(cached.values[key], expected)
    except Exception as error:  # noqa: BLE001 - of a serializer, or of a value's own `__eq__`
        text = f"its value cannot be compared: {describe(error)}"
        return Judgement(verdict=Verdict.FAILED, error=text)
    return _wrong(*fields) if fields else Judgement(verdict=Verdict.RIGHT)


def _wrong(*fields: str) -> Judgement:
    return Judgement(verdict=Verdict.WRONG, fields=fields)


# -- where two values differ: the paths of the fields, never their values ----------------------------
# For more differences, look at the value itself.
MAX_PATHS = 10
# A key of another form is data, e.g. an e-mail address, not the name of a field.
_NAME = re.compile(r"[\w-]{1,60}")
_PLAIN = frozenset([str, int, float, bool, type(None)])


def differences(cached: Any, current: Any) -> tuple[str, ...]:
    """Return the paths at which a value differs from the cached one; empty if they are equal.

    Mappings, objects and lists are compared part by part, e.g. `address.city` or `tags[2]`; other differences
    are named by type. At most `MAX_PATHS` are listed.
    """
    return tuple(islice(_walk("", cached, current), MAX_PATHS))


def _walk(path: str, cached: Any, current: Any) -> Iterator[str]:
    if type(cached) in _PLAIN and type(cached) is type(current) and cached == current:
        return  # a shortcut for most fields of most values
    was, now = type(cached).__name__, type(current).__name__
    old, new = _parts(cached), _parts(current)
    is_list = isinstance(cached, list | tuple) or isinstance(current, list | tuple)
    is_unlike = is_list and type(cached) is not type(current)
    if old is None or new is None or is_unlike:
        if not _equal(cached, current):
            yield f"{path} ({was}, now {now})".strip() if was != now else path or was
    elif is_list and len(old) != len(new):
        yield f"{path} (length)".strip()
    else:
        for name, value in old.items():
            step = f"{path}[{name}]" if is_list else _step(path, name)
            if name in new:
                yield from _walk(step, value, new[name])
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
