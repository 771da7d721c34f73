"""Wrong keys count as repaired after an audit that repairs, a complete run, or an invalidation of the job."""

from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone

from tests.package.monitoring.audit.conftest import declare
from warmer.invalidation import Backlog
from warmer.models import CacheAudit, State, Trigger, WarmingRun
from warmer.monitoring import audit
from warmer.monitoring.alerts import firing
from warmer.monitoring.snapshot import snapshot
from warmer.tasks.upkeep import observe_jobs

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


def is_wrong(job: str = "things") -> bool:
    """Return whether a job is wrong after the next look of a worker; the alert and the state say the same."""
    observe_jobs()
    alerts = firing(snapshot(down=(), backlog=Backlog()))
    fires_for = next((names for alert, names in alerts.items() if alert.name == "WarmerKeysWrong"), [])
    assert (job in fires_for) == CacheAudit.objects.with_wrong_keys([job]).exists()
    return job in fires_for


@pytest.fixture
def wrong(job: Any, source: Any) -> Any:
    """The job, of whose keys an audit found two wrong."""
    job.warm()
    for number in (2, 3):
        source[number] = "another"
    audit.perform(job.spec, Trigger.SCHEDULE)
    assert is_wrong()
    return job


def complete_run(job: Any, **fields: Any) -> None:
    now = timezone.now()
    fields = {"job": job.name, "trigger": "schedule", "started_at": now, "expires_at": now} | fields
    WarmingRun.objects.create(**{"state": State.COMPLETE} | fields)


@pytest.mark.parametrize("repair", [complete_run, lambda job: audit.perform(job.spec, Trigger.COMMAND, repair=True)])
def test_repairs__are_noticed(wrong: Any, repair: Callable[[Any], object]) -> None:
    repair(wrong)
    assert not is_wrong()
    assert CacheAudit.objects.filter(wrong=2).latest("pk").repaired == 2


@pytest.mark.parametrize("fields", [{"skipped": 1}, {"only_keys": ["thing:2"]}, {"state": State.INCOMPLETE}])
def test_repairs__are_not_those_of_a_run_that_left_keys_out(wrong: Any, fields: dict[str, Any]) -> None:
    complete_run(wrong, **fields)
    assert is_wrong()


def test_repairs__by_invalidating_the_whole_job(wrong: Any) -> None:
    wrong.invalidate()
    # Another cache cannot find the keys of a job, so they stay.
    assert is_wrong() != wrong.spec.store.lists_keys


def test_repairs__of_a_key_that_only_readers_had_cached(source: Any) -> None:
    job = declare(source, ids=lambda: [1])
    job.warm([1, 2])
    source[2] = "another"
    found = audit.perform(job.spec, Trigger.SCHEDULE)
    assert (found.wrong, found.undeclared) == (1, 1)
    complete_run(job)
    assert is_wrong(), "a run writes the declared keys only"
    audit.perform(job.spec, Trigger.COMMAND, repair=True)
    assert not is_wrong()
