"""The randomised race: real processes on the real cache server and PostgreSQL, for a set time.

Seeded; `--race-seconds 3600 --race-seed N` runs it for an hour, and again as it was.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection

from embedded.waiting import wait_until
from myapp.models import Post
from myapp.warming import popular_posts, posts
from tests.support.processes import Actors, environment
from warmer.invalidation import backlog
from warmer.invalidation.records import fingerprint

pytestmark = pytest.mark.django_db(transaction=True)

ROWS = 30
ACTORS = [
    *[("writer", "this")] * 3,
    *[("runner", "this")] * 2,
    *[("reader", "this"), ("reader", "next"), ("evictor", "this"), ("mortal", "this"), ("stranger", "")],
    *[("writer", "next"), ("relay", "this"), ("relay", "next")],
]
DONE = (
    *("save", "savepoint", "update", "bulk_update", "upsert", "raw_sql", "rollback", "delete"),
    *("save_alone", "update_alone", "raw_sql_alone", "changes of a stranger", "relayed"),
    *("killed at token_taken", "killed at loaded", "killed at written"),
    *("killed at committed", "killed at invalidated"),
    *("runs", "written", "reads", "looks", "evictions"),
)


# What a flush of the cache heals would not be found at rest. And readers go on after the last change: the
# relays invalidate once more what another release applied, and nothing would be cached at rest.
PARTS = {"evictor": 0.7, "reader": 1, "runner": 1}


def test_race__no_wrong_value_during_it_and_none_at_rest(
    make_post: Any, pytestconfig: pytest.Config, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [make_post(views=1) for _ in range(ROWS)]
    seconds, seed = pytestconfig.getoption("race_seconds"), pytestconfig.getoption("race_seed")
    connection.close()
    commands = [
        ["-m", f"tests.races.{'stranger' if role == 'stranger' else 'actor'}", role, release]
        + [seed + place, seconds * PARTS.get(role, 0.9), rows[0].pk, rows[-1].pk]
        for place, (role, release) in enumerate(ACTORS)
    ]
    with Actors(commands, env=environment()) as actors:
        actors.go()
        *others, one, other = range(len(ACTORS))
        told = [actors.result(number, seconds + 120) for number in others]
        wait_until(lambda: backlog().count == 0, what="the relays have applied what others left")
        told += [actors.result(relay) for relay in (one, other)]

    counts = sum((Counter(each["counts"]) for each in told), Counter[str]())
    wrong = [text for each in told for text in each["wrong"]] + _wrong_at_rest(rows)
    with capsys.disabled():
        figures = ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items()))
        print(f"\nrace of {seconds} s, seed {seed}: {figures}; {len(wrong)} wrong values")
    assert wrong == []
    assert [name for name in DONE if not counts[name]] == []
    assert counts["failed"] == 0
    assert len({each["fingerprint"] for each in told} - {""}) == 2
    assert {each["fingerprint"] for each in told} > {fingerprint()}


def _wrong_at_rest(rows: list[Post]) -> list[str]:
    found = posts([row.pk for row in rows])
    true: Mapping[str, Any] = {
        **{posts.key(id): value for id, value in found.items()},
        **{f"next:{id}": value["views"] for id, value in found.items()},
        "popular_posts": popular_posts(),
    }
    cached = cache.get_many(list(true))
    assert {key.partition(":")[0] for key in cached} >= {"post", "next"}
    return [f"{key}: {value} is cached, {true[key]} is true" for key, value in cached.items() if value != true[key]]
