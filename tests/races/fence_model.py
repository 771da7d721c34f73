"""What the fence of a store must say, and what must be cached, as a model knows it."""

from dataclasses import dataclass, field
from itertools import combinations

import hypothesis.strategies as st

from warmer.keys import KeyTemplate
from warmer.stores import Store, Token, open_store

# More than the records of most of the fences here, so that these are trimmed.
IDS = range(6)
# The keys of one are within the pattern of the other's; only the second caches that a row is not there.
TEMPLATES = {"plain": "thing:{id}", "absences": "thing:{id}:more"}
JOBS = tuple(TEMPLATES)
ONE = st.sampled_from(IDS)
# Few kinds of them, so that two that are drawn have much to do with each other: none, one, two, all but one,
# and all; drawn as one choice, which is much faster than `st.sets`.
SOME = st.sampled_from(
    [set(some) for size in (0, 1, len(IDS) - 1, len(IDS)) for some in combinations(IDS, size)]
    + [{id, id + 1} for id in IDS[:-1]]
)
JOB = st.sampled_from(JOBS)
LOSSES = (
    "invalidate_all",
    "invalidate_all_and_keys_of_the_other",
    "sweep",
    "evict_keys",
    "evict_fence",
    "flush",
    "flush_scripts",
)


@dataclass(kw_only=True, eq=False)
class Fill:
    """A held token, what was loaded after it, and what has happened since it was taken.

    A version is negative where the row does not exist.
    """

    job: str
    token: Token
    loaded: dict[int, int] = field(default_factory=dict)
    invalidated: set[int] = field(default_factory=set)
    fence_lost: bool = False


@dataclass(kw_only=True)
class Job:
    """A store, and what must be in it, by id."""

    store: Store
    # The version that is cached, also of an absence.
    cached: dict[int, int] = field(default_factory=dict)
    # The version committed last before the last invalidation that was applied; and the same once the keys of a job
    # that was invalidated as a whole are swept.
    at_least: dict[int, int] = field(default_factory=lambda: dict.fromkeys(IDS, 0))
    unswept: dict[int, int] = field(default_factory=lambda: dict.fromkeys(IDS, 0))

    def key(self, id: int) -> str:
        return self.store.template.key(id)


def open_job(name: str) -> Store:
    return open_store(
        alias="default",
        template=KeyTemplate.parse(TEMPLATES[name], keyed=True),
        timeout=3600.0,
        absent_timeout=3600.0 if name == "absences" else None,
    )
