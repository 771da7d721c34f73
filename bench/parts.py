"""Where the time of warming goes: reading rows, encoding values, writing them, each alone.

What reading and encoding take is the same for everyone who writes the same values, so it bounds how much
faster than another one can be.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from django.core.cache import caches

from bench.measure import Benchmark, Comparison, Contender
from bench.profiles import BATCH, TIMEOUT_SECONDS, WHOLE, create_users, key_of, load_all
from bench.warm import one_call

MILLISECONDS = TIMEOUT_SECONDS * 1000
READING, ENCODING, WRITING = "reading", "encoding", "writing what was encoded before"

CACHES = {
    "default": "MessagePack, exact",
    "json": "JSON, compressed",
    "pickled": "pickle, not compressed",
}

Part = Callable[[], Any]
Encoded = dict[str, bytes]


def benchmark(rows: int) -> Benchmark:
    """Return the parts; what a part needs of another one is made before."""
    ids = create_users(rows)
    profiles = list(WHOLE.of_rows())
    encode = _cache("default").client.encode
    batches = [
        {key_of(profile["id"]): encode(profile) for profile in profiles[at : at + BATCH]}
        for at in range(0, len(profiles), BATCH)
    ]
    parts: list[tuple[str, str, str, Part]] = [
        (READING, "objects", "model objects", lambda: list(WHOLE.of_users())),
        (READING, "values", ".values() rows", lambda: list(WHOLE.of_rows())),
        (READING, "by_ids", ".values() rows, each batch by its ids", partial(load_all, ids)),
        *(
            (ENCODING, f"encode_{alias}", title, partial(_encode, alias, profiles))
            for alias, title in CACHES.items()
        ),
        (WRITING, "sets", "SET, one by one", partial(_one_by_one, batches)),
        (WRITING, "pipeline", "SET, a pipeline a batch", partial(_pipelines, batches)),
        (WRITING, "lua", "one Lua call a batch", partial(_calls, batches)),
    ]
    contenders = [
        Contender(
            name=name,
            group=group,
            title=title,
            run=run,
            operations=rows,
            prepare=_client().flushdb,
            verify=partial(_expect, rows if group == WRITING else 0),
        )
        for group, name, title, run in parts
    ]
    comparisons = [
        Comparison(subject="values", against="objects", kind="speed"),
        Comparison(subject="encode_default", against="encode_json", kind="speed"),
        Comparison(subject="encode_default", against="encode_pickled", kind="speed"),
        Comparison(subject="lua", against="sets", kind="speed"),
        Comparison(subject="lua", against="pipeline", kind="speed"),
    ]
    return Benchmark(operation="profile", shows="time", contenders=contenders, comparisons=comparisons)


def _encode(alias: str, profiles: list[Any]) -> None:
    encode = _cache(alias).client.encode
    for profile in profiles:
        encode(profile)


def _one_by_one(batches: list[Encoded]) -> None:
    client = _client()
    for batch in batches:
        for key, value in batch.items():
            client.set(key, value, px=MILLISECONDS)


def _pipelines(batches: list[Encoded]) -> None:
    for batch in batches:
        pipeline = _client().pipeline()
        for key, value in batch.items():
            pipeline.set(key, value, px=MILLISECONDS)
        pipeline.execute()


def _calls(batches: list[Encoded]) -> None:
    write = one_call(_client())
    for batch in batches:
        write(keys=list(batch), args=[MILLISECONDS, *batch.values()])


def _expect(keys: int) -> None:
    if _client().dbsize() != keys:
        raise AssertionError(f"{_client().dbsize()} keys were written instead of {keys}")


def _cache(alias: str) -> Any:
    return caches[alias]


def _client() -> Any:
    return _cache("default").client.get_client(write=True)
