"""The comparison of a batch: a verdict on each of its keys.

It is done under the fence: take the token, read the cache, load, read again the keys that differ, and check
which keys were invalidated since the token. These are compared again, and so are wrong keys: a change reaches
the database a moment before its invalidation reaches the cache, so a key is wrong only if it still is the
next time.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from django.db import InterfaceError, OperationalError

from warmer.declarations.spec import JobSpec
from warmer.failpoints import reach
from warmer.filling.loading import Loaded, halved, load
from warmer.filling.pipeline import ATTEMPTS, Interrupts
from warmer.keys import Batch
from warmer.models import Verdict
from warmer.monitoring.audit.differences import differences
from warmer.report import describe
from warmer.stores import Cached

# An invalidation follows its commit within milliseconds, so a key that is wrong after this pause is wrong.
PAUSE_SECONDS = 0.1
NO_VALUE = "(no value any more)"
HAS_VALUE = "(cached as having no value)"


@dataclass(kw_only=True)
class Comparison:
    """The verdicts on one batch, as they become known.

    Attributes:
        wrong: key -> the fields that differ. May include keys that turned out right the next time.
        errors: key -> why it could not be judged. May include such keys, too.
    """

    spec: JobSpec
    interrupts: Interrupts = ()
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    wrong: dict[str, tuple[str, ...]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)

    def judge(self, left: Batch) -> None:
        """Compare keys until each has a verdict, a limited number of times."""
        store = self.spec.store
        interrupts: Interrupts = (OperationalError, InterfaceError, *self.interrupts)
        suspected: set[str] = set()
        for attempt in range(max(2, ATTEMPTS)):
            if attempt:
                time.sleep(PAUSE_SECONDS)
            token = store.token(left)
            reach("token_taken", self.spec.name)
            cached = store.lookup(list(left))
            try:
                loaded = load(self.spec, left)
            except interrupts:
                raise
            except Exception as error:  # noqa: BLE001 - the one boundary: a loader may raise anything
                self._narrow(left, error)
                return
            reach("loaded", self.spec.name)
            judged = {key: self._verdict(key, cached, loaded) for key in left}
            # A key may have expired, or been filled, since it was read.
            unsure = [key for key, verdict in judged.items() if verdict in (Verdict.WRONG, Verdict.MISSING)]
            cached = store.lookup(unsure)
            judged |= {key: self._verdict(key, cached, loaded) for key in unsure}
            overtaken = store.overtaken(token, list(left))
            wrong = {key for key, verdict in judged.items() if verdict is Verdict.WRONG} - overtaken
            again = overtaken | (wrong - suspected)
            suspected = wrong
            self.verdicts |= {key: verdict for key, verdict in judged.items() if key not in again}
            left = {key: id for key, id in left.items() if key in again}
            if not left:
                return
        self.verdicts |= dict.fromkeys(left, Verdict.CHANGED)

    def _verdict(self, key: str, cached: Cached, loaded: Loaded) -> Verdict:
        if key not in loaded.values:
            return Verdict.NO_VALUE if cached.values.get(key) is None else self._is_wrong(key, NO_VALUE)
        if key in cached.absent:
            return self._is_wrong(key, HAS_VALUE)
        try:
            expected = self.spec.store.as_cached(loaded.values[key])
        except Exception as error:  # noqa: BLE001 - a serializer's own
            return self._has_failed(key, f"its value cannot be encoded: {describe(error)}")
        if key not in cached.values:
            return Verdict.MISSING
        try:
            differing = differences(cached.values[key], expected)
        except Exception as error:  # noqa: BLE001 - a value's own `__eq__`
            return self._has_failed(key, f"its value cannot be compared: {describe(error)}")
        return self._is_wrong(key, *differing) if differing else Verdict.RIGHT

    def _is_wrong(self, key: str, *fields: str) -> Verdict:
        self.wrong[key] = fields
        return Verdict.WRONG

    def _has_failed(self, key: str, error: str) -> Verdict:
        self.errors[key] = error
        return Verdict.FAILED

    def _narrow(self, left: Batch, error: Exception) -> None:
        """Halve a batch whose loader raised, until the failing part is a single key."""
        halves = halved(left, error)
        for half in halves:
            self.judge(half)
        if not halves:
            self.verdicts |= dict.fromkeys(left, Verdict.FAILED)
            self.errors |= dict.fromkeys(left, describe(error))
