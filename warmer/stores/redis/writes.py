"""One call of `write.lua`: its arguments, and what its answer says of each key."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis import Redis

from warmer.report import Outcome, describe
from warmer.stores.base import Written
from warmer.stores.claims import NOTE_SECONDS, Claim
from warmer.stores.redis.scripts import WRITE
from warmer.stores.token import Token

OUTCOMES = {
    "w": Outcome.WRITTEN,
    "a": Outcome.NO_VALUE,
    "f": Outcome.SUPERSEDED,
    "e": Outcome.FAILED,
}


@dataclass(frozen=True, kw_only=True)
class Encoded:
    """Values as the cache encodes them, and why some could not be."""

    values: Mapping[str, Any]
    errors: Mapping[str, str]
    seconds: float


def encode_all(values: Mapping[str, Any], encode: Callable[[Any], Any]) -> Encoded:
    """Encode values; one that cannot be costs its own key only."""
    began = time.perf_counter()
    errors: dict[str, str] = {}
    try:
        encoded = {key: encode(value) for key, value in values.items()}
    except Exception:  # noqa: BLE001 - a serializer's own: find out which value it is
        encoded = {}
        for key, value in values.items():
            try:
                encoded[key] = encode(value)
            except Exception as error:  # noqa: BLE001 - a serializer's own
                errors[key] = f"its value cannot be encoded: {describe(error)}"
    return Encoded(values=encoded, errors=errors, seconds=time.perf_counter() - began)


@dataclass(frozen=True, kw_only=True)
class WriteCall:
    """What is sent, and the keys in the order of the answer."""

    names: Sequence[str]
    keys: Sequence[str]
    args: Sequence[Any]
    encoded: Encoded

    @classmethod
    def make(
        cls,
        token: Token,
        encoded: Encoded,
        absent: Collection[str],
        claim: Claim | None,
        *,
        fence: str,
        places: Callable[[Sequence[str]], list[str]],
        lives: Sequence[int],
        absence_ms: int,
        head: int,
    ) -> WriteCall:
        """Put the arguments together.

        Args:
            places: gives, of logical names, what the server calls them and what stands beside them.
            lives: the milliseconds that the values live; one for all, or one each.
            head: how many characters stand before the logical name in what the server calls it; -1: it is
                not so that something just stands before it.
        """
        names = [*encoded.values, *absent]
        if claim is not None:
            told = {*names}
            names += [key for key in claim.mine if key not in told]
        args: list[Any] = [token.generation, token.counter, absence_ms]
        args += (claim.id if claim else "", int(NOTE_SECONDS * 1000))
        args += (lives[0] if len(lives) == 1 else "", head, len(encoded.values), len(absent))
        args += encoded.values.values()
        if len(lives) != 1:
            args += lives
        if head < 0:
            args += names
        return cls(names=names, keys=[fence, *places(names)], args=args, encoded=encoded)

    def __call__(self, server: Redis) -> Written:
        """Send it and wait for the answer."""
        return self.read(WRITE(keys=self.keys, args=self.args, client=server))

    def read(self, answer: Any) -> Written:
        """Return what an answer says."""
        letters, refusal = answer
        encoded = self.encoded
        if letters.count(b"w") == len(self.names):
            outcomes = dict.fromkeys(self.names, Outcome.WRITTEN)
        else:
            told = zip(self.names, letters.decode(), strict=True)
            outcomes = {key: OUTCOMES[letter] for key, letter in told if letter in OUTCOMES}
        errors = dict(encoded.errors)
        if refusal:
            why = f"the cache refused it: {refusal.decode()}"
            errors |= {key: why for key, outcome in outcomes.items() if outcome is Outcome.FAILED}
        outcomes |= dict.fromkeys(encoded.errors, Outcome.FAILED)
        return Written(outcomes=outcomes, errors=errors, encode_seconds=encoded.seconds)
