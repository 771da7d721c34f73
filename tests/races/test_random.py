"""The randomised race: real processes on the real cache server and PostgreSQL, for a set time.

Seeded; `--race-seconds 3600 --race-seed N` runs it for an hour, and again as it was.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from typing import Any

import pytest
from django.conf import settings
from django.core.cache import cache
from django.db import connection

from myapp.models import Post
from myapp.warming import posts
from tests.integration.test_outbox import address_of_the_test_database

pytestmark = pytest.mark.django_db(transaction=True)

ROWS = 30
ACTORS = ["writer"] * 3 + ["runner"] * 2 + ["reader"] * 2 + ["evictor"]


def test_race__no_wrong_value_during_it_and_none_at_rest(
    make_post: Any, pytestconfig: pytest.Config, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [make_post(views=1) for _ in range(ROWS)]
    seconds, seed = pytestconfig.getoption("race_seconds"), pytestconfig.getoption("race_seed")
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "DATABASE_URL": address_of_the_test_database(),
    }
    connection.close()
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.races.actor", role]
            + [str(number) for number in (seed + place, seconds, rows[0].pk, rows[-1].pk)],
            env=environment,
            cwd=settings.BASE_DIR,
            stdout=subprocess.PIPE,
            text=True,
        )
        for place, role in enumerate(ACTORS)
    ]
    counts: Counter[str] = Counter()
    wrong: list[str] = []
    try:
        for process in processes:
            out, _ = process.communicate(timeout=seconds + 120)
            assert process.returncode == 0
            told = json.loads(out.splitlines()[-1])
            counts.update(told["counts"])
            wrong += told["wrong"]
    finally:
        for process in processes:
            process.kill()
            process.communicate()

    at_rest = _wrong_at_rest(rows)
    with capsys.disabled():
        figures = ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items()))
        print(f"\nrace of {seconds} s, seed {seed}: {figures}; {len(wrong) + len(at_rest)} wrong values")
    assert wrong == []
    assert at_rest == []
    for done in ("save", "update", "rollback", "delete", "savepoint", "runs", "reads", "evictions"):
        assert counts[done] > 0, f"nothing was raced: no {done}"
    assert counts["written"] > 0
    assert counts["failed"] == 0


def _wrong_at_rest(rows: list[Post]) -> list[str]:
    true = posts([row.pk for row in rows])
    cached = cache.get_many([posts.key(row.pk) for row in rows])
    return [
        f"{key}: {value.get('views')} is cached, {true[id]['views']} is true"
        for id in true
        if (value := cached.get(key := posts.key(id))) is not None and value != true[id]
    ]
