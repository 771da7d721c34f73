"""Two jobs to declare, one with a key and one with a key for each id, and what is said of a refusal."""

from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest

from warmer import DeclarationError, jobs, warm, warm_many
from warmer.api import KeyedJob, SingleJob

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


def lonely() -> str:
    """Load the one value."""
    return "value"


def crowd(ids: Sequence[int]) -> Mapping[int, str]:
    """Load a value for each id."""
    return {id: f"value {id}" for id in ids}


def crowd_ids() -> Sequence[int]:
    """Give the ids of the crowd."""
    return [1, 2]


def warm_lonely(key: Any = "lonely", /, **options: Any) -> SingleJob[str]:
    """Declare the job with one key."""
    return warm(key, **options)(lonely)


def warm_crowd(key: Any = "crowd:{id}", /, **options: Any) -> KeyedJob[int, str]:
    """Declare the job with a key for each id."""
    return warm_many(key, **{"ids": crowd_ids, **options})(crowd)


def refusal(declare: Callable[[], object]) -> str:
    """Return the message of a declaration that is refused and leaves the registry as it is."""
    before = dict(jobs)
    with pytest.raises(DeclarationError) as caught:
        declare()
    assert dict(jobs) == before
    return str(caught.value)
