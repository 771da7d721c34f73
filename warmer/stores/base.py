"""The interface of a store: one job's keys in one cache, with the fence that guards their writes.

A claim says which reader loads a missing key, so that the others can wait for it. It is a short-lived record
next to the key, valid as long as a write with its token would pass the fence, so an invalidation of the key
voids it. It does not replace the fence: losing a claim costs a second load, and nothing else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from warmer.keys import KeyTemplate
from warmer.report import Outcome
from warmer.stores.breaker import Breaker, breaker_of

if TYPE_CHECKING:
    from warmer.stores.counters import RedisCounters


Keys = Collection[str]
Values = Mapping[str, Any]
"""Key -> value."""


# The holder of a claim whose load has ended without a value.
NOBODY = "-"
# How long that is kept for waiting readers: longer than the pause between two polls, even on a busy machine.
NOTE_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class Token:
    """The state of a fence before a load; a write passes it to prove that nothing overtook the load.

    On a cluster, `slots` holds the state of each slot's fence.
    """

    generation: str
    counter: int = 0
    slots: Mapping[int, Token] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Claim:
    """The answer to a reader that wants to load keys.

    Attributes:
        mine: the keys that this reader has to load.
        theirs: the keys that others are loading, with the ids of their claims.
        values: values that have been cached in the meantime.
        absent: the keys now known to have no value.
    """

    id: str
    token: Token
    mine: tuple[str, ...]
    theirs: Mapping[str, str]
    values: Mapping[str, Any]
    absent: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Record:
    """The record of a claim next to its key, as text.

    Attributes:
        holder: the id of the claim; `NOBODY` when its load is over and found no value.
        after_absence: whether the previous load found no value, so that a reader that waited for it learns
            its result even after the next one has begun.
    """

    holder: str
    token: Token
    after_absence: bool = False

    def __str__(self) -> str:
        token = self.token
        return f"{self.holder} {token.generation} {token.counter} {int(self.after_absence)}"

    @classmethod
    def parse(cls, text: str | bytes) -> Record | None:
        """Read a record; None: it is not one of ours."""
        parts = (text.decode(errors="replace") if isinstance(text, bytes) else text).split(" ")
        if len(parts) != 4 or not parts[2].isdecimal():
            return None
        token = Token(generation=parts[1], counter=int(parts[2]))
        return cls(holder=parts[0], token=token, after_absence=parts[3] == "1")

    def tells_absence_to(self, awaited: str) -> bool:
        """Return whether the load of the claim `awaited`, or a later one, found no value."""
        return self.after_absence and self.holder != awaited


@dataclass(frozen=True, kw_only=True)
class Cached:
    """Cached values, keys known to have no value, and, if requested, claims of keys that are being loaded."""

    values: Values
    absent: frozenset[str] = frozenset()
    claims: Mapping[str, Record] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Written:
    """The outcome of a write for each key, from the cache's own answers, and the time for its serializer."""

    outcomes: Mapping[str, Outcome]
    errors: Mapping[str, str] = field(default_factory=dict)
    encode_seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class UnderWay:
    """A write whose answer may be outstanding.

    Attributes:
        end: waits for the cache's answer and returns the result; raises `StoreUnavailable` if there is none.
        abandon: stops waiting; the write may or may not have taken effect. Does nothing after `end`.
    """

    end: Callable[[], Written]
    abandon: Callable[[], None] = lambda: None


class Peeked(Enum):
    """Results of a peek at a key other than a value."""

    NOTHING = "nothing is cached"
    NO_VALUE = "the cache knows that the key has no value"


@dataclass(kw_only=True, eq=False, repr=False)
class Store(ABC):
    """One job's keys in one cache.

    Keys are the job's logical keys, as declared; the store adds the cache's prefix and version.
    Every method raises `StoreUnavailable` when the cache does not answer.

    Attributes:
        alias: the cache's name in `CACHES`.
        template: the job's key template. Stores with the same one share a fence.
        timeout: seconds that a written key lives.
        jitter: the most seconds by which a key's timeout is shortened, at random.
        absent_timeout: seconds for which the cache remembers that a key has no value; None: it does not.
        fence_key: the name of the fence in the cache; on a cluster, the end of its fences' names.
        lists_keys: whether the cache can list the keys of the job, as `sweep` requires.
        counters: the counts of the job's reads; None: this cache keeps none.
    """

    alias: str
    template: KeyTemplate
    timeout: float
    jitter: float = 0.0
    absent_timeout: float | None = None
    fence_key: str = field(init=False)
    lists_keys: bool = field(init=False, default=False)
    counters: RedisCounters | None = field(init=False, default=None)
    breaker: Breaker = field(init=False)

    def __post_init__(self) -> None:
        self.fence_key = f"warmer-fence:{self.template.fence}"
        self.breaker = breaker_of(self.alias)

    @abstractmethod
    def ping(self) -> None:
        """Return once the cache has answered."""

    @abstractmethod
    def token(self, keys: Keys) -> Token:
        """Return the state of the fence for the keys to load; a write of any other key may be rejected.

        Take it before the first read of the database.
        """

    @abstractmethod
    def lookup(self, keys: Sequence[str], *, claims: bool = False) -> Cached:
        """Return what is cached and, with `claims`, who loads which keys; unreadable values are missing."""

    def peek(self, key: str) -> Any:
        """Look up one key as fast as possible: return its value, or a `Peeked`."""
        cached = self.lookup([key])
        if key in cached.values:
            return cached.values[key]
        return Peeked.NO_VALUE if key in cached.absent else Peeked.NOTHING

    @abstractmethod
    def claim(self, keys: Sequence[str], *, seconds: float) -> Claim:
        """Take a token and, of keys that a lookup did not find, claim those that nobody else is loading.

        A claim lasts for a number of seconds unless something ends it.
        """

    @abstractmethod
    def write(self, token: Token, values: Values, absent: Keys = (), claim: Claim | None = None) -> Written:
        """Write what was loaded after `token`, unless an invalidation overtook it.

        Args:
            token: the fence's state before the load.
            absent: keys that have no value; they are deleted.
            claim: the reader's claim, which ends with the write, even an empty or rejected one. Readers that
                wait for an absent key learn that it has no value.

        Returns:
            The outcome of every key: `written`, `no_value`, `superseded` or `failed`.
        """

    def begin_write(self, token: Token, values: Values, absent: Keys = ()) -> UnderWay:
        """Begin a write, without waiting for the answer if the cache allows that.

        Until it ends, the calling thread may do other work, but must not take a token, which would wait for
        the write. For the arguments and the result see `write`.
        """
        written = self.write(token, values, absent)
        return UnderWay(end=lambda: written)

    @abstractmethod
    def invalidate(self, keys: Keys) -> None:
        """Delete the keys, and reject later writes of values that were loaded before."""

    @abstractmethod
    def sweep(self) -> None:
        """Delete every key of a keyed job. Drop its fence first, so that no old value comes back."""

    @abstractmethod
    def forget(self, keys: Keys | None = None) -> None:
        """Delete the fence of a job, which voids all of its tokens.

        Args:
            keys: all keys that the job ever had, if known; this may save work.
        """

    @abstractmethod
    def remaining(self, keys: Sequence[str]) -> dict[str, float | None]:
        """Return the remaining seconds of cached keys (None: the cache does not know)."""

    def size(self, key: str) -> int | None:
        """Return the bytes of a cached value (None: the cache does not know)."""
        return None

    def fresh(self, keys: Sequence[str], *, seconds: float) -> Keys:
        """Return the cached keys with at least this many seconds left; 0: all cached keys.

        A key whose remaining time is unknown is fresh only with 0.
        """
        left = self.remaining(keys).items()
        return [key for key, rest in left if not seconds or (rest is not None and rest >= seconds)]

    @abstractmethod
    def turn(self, *, per_second: float, name: str) -> float:
        """Take the next of a number of turns per second; return the seconds until it comes.

        All callers with the same name share the turns: across processes if the cache can count them (Redis),
        otherwise within this process.
        """

    @abstractmethod
    def overtaken(self, token: Token, keys: Sequence[str]) -> set[str]:
        """Return the keys that were invalidated after the token was taken."""

    @abstractmethod
    def as_cached(self, value: Any) -> Any:
        """Return the value as it would be read back after a write."""

    def cached_ids(self) -> Iterator[str]:
        """Yield the id part of each cached key of a keyed job, as strings.

        Some may come twice, and some may not be ids, because other code may write keys of this form. Yields
        nothing if the cache cannot list its keys (see `lists_keys`).
        """
        return iter(())

    @classmethod
    def invalidate_together(cls, invalidations: Sequence[Invalidation]) -> None:
        """Invalidate for several jobs of one cache, in as few round trips as the cache allows.

        If that is all keys of a job, it supersedes fills in progress and leaves the keys to `sweep`.
        """
        for each in invalidations:
            each.store.invalidate(each.keys or ())


@dataclass(frozen=True, kw_only=True)
class Invalidation:
    """The keys of one store to invalidate; None: all keys of a keyed job."""

    store: Store
    keys: Keys | None
