"""Repairs: what is wrong is invalidated, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.cache import cache

from tests.integration.auditing.things import counts
from warmer import warm
from warmer.monitoring.audit.audits import audit

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


def test_repair__invalidates_what_is_wrong_and_nothing_else(job: Any, source: Any) -> None:
    job.warm()
    for number in (2, 3, 9):
        source[number] = "another"
    found = audit(job.spec, repair=True)
    assert (found.wrong, found.repaired, found.ok) == (3, 3, False)
    assert sorted(cache.get_many([f"thing:{number}" for number in range(10)])) == [
        f"thing:{number}" for number in (0, 1, 4, 5, 6, 7, 8)
    ]
    assert counts(audit(job.spec, repair=True)) == {"right": 7, "missing": 3}


def test_repair__is_fenced(job: Any, source: Any) -> None:
    job.warm()
    token = job.spec.store.token()
    source[2] = "another"
    audit(job.spec, repair=True)
    job.spec.store.write(token, {"thing:2": "old"})
    assert cache.get("thing:2") is None


def test_repair__of_a_single_job(any_cache: str) -> None:
    answer = warm("answer", name="answer")(lambda: 42)
    cache.set("answer", 41)
    assert audit(answer.spec, repair=True).repaired == 1
    assert cache.get("answer") is None


def test_repair__deletes_what_has_no_value_any_more(job: Any, source: Any) -> None:
    job.warm()
    del source[2]
    found = audit(job.spec, repair=True)
    lists_keys = job.spec.store.lists_keys  # else the key of an id that is no longer declared is not found
    assert (found.sampled, found.repaired) == ((10, 1) if lists_keys else (9, 0))
    assert (cache.get("thing:2") is None) == lists_keys
