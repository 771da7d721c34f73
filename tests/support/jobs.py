"""Jobs of a test's own: fixtures that leave the registry as it was, and specs that are in no registry."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from warmer import jobs
from warmer.declarations.registry import Registry
from warmer.declarations.spec import JobSpec
from warmer.keys import KeyTemplate


@pytest.fixture
def registry() -> Iterator[Registry]:
    """The registry, with the project's jobs: what a test declares or takes away is undone."""
    before = dict(jobs)
    yield jobs
    for name in list(jobs):
        jobs.unregister(name)
    for job in before.values():
        jobs.register(job)


@pytest.fixture
def empty_registry(registry: Registry) -> Registry:
    for name in list(registry):
        registry.unregister(name)
    return registry


def make_spec(key: str = "thing:{id}", **options: Any) -> JobSpec:
    """Return the spec of a job that is in no registry; keyed when its key holds `{id}`."""
    keyed = "{id}" in key
    defaults: dict[str, Any] = {
        "name": "things",
        "key": KeyTemplate.parse(key, keyed=keyed),
        "loader": (lambda ids: {id: str(id) for id in ids}) if keyed else (lambda: "thing"),
        "ids": (lambda: range(3)) if keyed else None,
        "cache": "default",
        "timeout": timedelta(hours=1),
        "every": timedelta(minutes=15),
        "depends_on": (),
        "batch_size": 500,
        "on_change": "invalidate",
        "required": True,
        "queue": "warming",
        "jitter": timedelta(0),
        "declared_at": "somewhere:1",
    }
    return JobSpec(**defaults | options)
