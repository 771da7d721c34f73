"""Beat sends what is due, with the schedule that is in the database."""

import pytest
from django.core.cache import cache
from django_celery_beat.models import IntervalSchedule, PeriodicTask
from pytest_celery import CeleryTestContainer
from redis import Redis

from embedded.waiting import wait_until
from tests.system import site
from tests.system.nodes import Worker
from tests.system.project import Project, ended
from warmer.models import WarmingRun

ENTRY = "warm user_profiles"


def test_beat__fires_the_schedule_of_the_database_as_an_operator_set_it(
    project: Project, worker: Worker, request: pytest.FixtureRequest, redis_client: Redis
) -> None:
    PeriodicTask.objects.exclude(name=ENTRY).update(enabled=False)
    entry = PeriodicTask.objects.get(name=ENTRY)
    entry.interval = IntervalSchedule.objects.create(every=1, period=IntervalSchedule.SECONDS)
    entry.save()
    assert "kept as an operator set it" in project.manage("warm_schedule")
    users = site.fill()
    key = site.profile_key(users[0])
    cache.set(key, {"email": "old@example.org"}, 60)

    beat: CeleryTestContainer = request.getfixturevalue("beat_container")

    wait_until(lambda: WarmingRun.objects.exists(), what="beat has a run started")
    run = ended(WarmingRun.objects.earliest("id"))
    assert (run.job, run.trigger, run.state, run.written) == ("user_profiles", "schedule", "complete", 100)
    assert run.worker == worker.hostname()
    assert cache.get(key)["email"] == users[0].email
    assert 60 < site.lifetimes(redis_client, key)[key] <= 3600
    wait_until(lambda: WarmingRun.objects.count() > 1, what="beat fires again")
    assert set(WarmingRun.objects.values_list("job", flat=True)) == {"user_profiles"}
    assert "--scheduler" not in beat.attrs["Config"]["Cmd"]
    assert "DatabaseScheduler" in beat.logs()
