"""The look at a batch: a verdict on each of its keys.

A batch is looked at under the fence: take the token, read the cache, load, read again what does not agree,
and ask which keys were invalidated since the token. Those are looked at again, and so is what is wrong: a
change reaches the database a moment before its invalidation reaches the cache, so a key is wrong only when
it still is at the next look.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from django.db import InterfaceError, OperationalError

from warmer.declarations.spec import JobSpec
from warmer.failpoints import reach
from warmer.filling.loading import Loaded, halved, load
from warmer.filling.pipeline import ATTEMPTS
from warmer.keys import Batch
from warmer.monitoring.audit.differences import differences
from warmer.monitoring.audit.findings import Verdict
from warmer.report import describe
from warmer.stores import Cached

# An invalidation follows its commit within milliseconds: what is still wrong after so long is wrong.
PAUSE_SECONDS = 0.1
NO_VALUE = "(no value any more)"
HAS_VALUE = "(cached as having no value)"

Interrupts = tuple[type[Exception], ...]


@dataclass(kw_only=True)
class Looks:
    """The looks at one batch: the verdict on each key, as it becomes known.

    `wrong` and `errors` say why a key is so; they also hold what a later look found otherwise.
    """

    spec: JobSpec
    interrupts: Interrupts
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    wrong: dict[str, tuple[str, ...]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)

    def look(self, left: Batch) -> None:
        """Look at keys until each is judged, a bounded number of times."""
        store = self.spec.store
        ends: Interrupts = (OperationalError, InterfaceError, *self.interrupts)
        suspected: set[str] = set()
        for attempt in range(max(2, ATTEMPTS)):
            if attempt:
                time.sleep(PAUSE_SECONDS)
            token = store.token()
            reach("token_taken", self.spec.name)
            cached = store.look(list(left))
            try:
                loaded = load(self.spec, left)
            except ends:
                raise
            except Exception as error:  # noqa: BLE001 - the one boundary: a loader may raise anything
                self._narrow(left, error)
                return
            reach("loaded", self.spec.name)
            judged = {key: self._judge(key, cached, loaded) for key in left}
            # A key may have expired, or been filled, since it was read.
            unsure = [key for key, verdict in judged.items() if verdict in (Verdict.WRONG, Verdict.MISSING)]
            cached = store.look(unsure)
            judged |= {key: self._judge(key, cached, loaded) for key in unsure}
            overtaken = store.overtaken(token, list(left))
            wrong = {key for key, verdict in judged.items() if verdict is Verdict.WRONG} - overtaken
            again = overtaken | (wrong - suspected)
            suspected = wrong
            self.verdicts |= {key: verdict for key, verdict in judged.items() if key not in again}
            left = {key: id for key, id in left.items() if key in again}
            if not left:
                break
        self.verdicts |= dict.fromkeys(left, Verdict.CHANGED)

    def _judge(self, key: str, cached: Cached, loaded: Loaded) -> Verdict:
        if key not in loaded.values:
            if cached.values.get(key) is None:
                return Verdict.ABSENT
            self.wrong[key] = (NO_VALUE,)
            return Verdict.WRONG
        if key in cached.absent:
            self.wrong[key] = (HAS_VALUE,)
            return Verdict.WRONG
        try:
            expected = self.spec.store.as_cached(loaded.values[key])
        except Exception as error:  # noqa: BLE001 - a serializer's own
            self.errors[key] = f"its value cannot be encoded: {describe(error)}"
            return Verdict.FAILED
        if key not in cached.values:
            return Verdict.MISSING
        try:
            differing = differences(cached.values[key], expected)
        except Exception as error:  # noqa: BLE001 - a value's own `__eq__`
            self.errors[key] = f"its value cannot be compared: {describe(error)}"
            return Verdict.FAILED
        if not differing:
            return Verdict.RIGHT
        self.wrong[key] = differing
        return Verdict.WRONG

    def _narrow(self, left: Batch, error: Exception) -> None:
        halves = halved(left, error)
        for half in halves:
            self.look(half)
        if not halves:
            self.verdicts |= dict.fromkeys(left, Verdict.FAILED)
            self.errors |= dict.fromkeys(left, describe(error))
