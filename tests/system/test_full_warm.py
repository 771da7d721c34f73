"""A worker warms the whole site, in many batches and on many workers."""

from datetime import timedelta

import pytest
from django.core.cache import cache
from pytest_celery import CeleryWorkerCluster
from redis import Redis

from tests.system import site
from tests.system.nodes import Worker
from tests.system.project import Project, ended
from tests.system.slowapp import gate
from warmer import runs
from warmer.models import Trigger, WarmingRun


@pytest.mark.environment(WARMER_BATCH_SIZE=9)
def test_warm_cache__warms_every_job_on_a_worker_in_batches(
    project: Project, worker: Worker, redis_client: Redis
) -> None:
    assert not {"-Q", "--queues"} & set(worker.container.attrs["Config"]["Cmd"])
    expired = runs.open_run("posts", Trigger.SCHEDULE, expires_in=timedelta(seconds=-1)).run
    project.send("warmer.close_stalled_runs")  # to the queue of whatever names none
    assert ended(expired).state == "expired"
    users = site.fill()

    said = project.manage("warm_cache", "--workers", "--trigger", "deploy")  # to the queue "warming"

    profiles = site.lifetimes(redis_client, "user:*:profile")
    assert set(profiles) == {site.profile_key(user) for user in users}
    posts = site.lifetimes(redis_client, "post:*")
    popular = site.lifetimes(redis_client, "popular_posts")
    assert (len(profiles), len(posts), len(popular)) == (site.WARM_USERS, site.POPULAR_POSTS, 1)
    for key, seconds in (profiles | posts | popular).items():
        assert 0 < seconds <= 3600, key

    by_job = {run.job: run for run in WarmingRun.objects.exclude(pk=expired.pk)}
    assert {(run.state, run.trigger, run.worker) for run in by_job.values()} == {
        ("complete", "deploy", worker.hostname())
    }
    assert {job: (run.written, run.report.keys) for job, run in by_job.items()} == {
        "user_profiles": (100, 100),
        "posts": (12, 12),
        "popular_posts": (1, 1),
    }
    assert "user_profiles: complete, 100 keys" in said
    run = by_job["user_profiles"]
    assert (run.batches_total, run.batches_done) == (12, 12)
    assert run.queries == 12 + 1  # one for the ids
    assert sorted(run.batches.values_list("number", flat=True)) == list(range(1, 13))

    assert cache.get(site.profile_key(users[0]))["email"] == users[0].email
    assert [post["views"] for post in cache.get("popular_posts")] == list(range(11, 1, -1))


class TestTwoWorkers:
    """Two workers of two processes each, and three batches: neither can do them all at once."""

    @pytest.fixture
    def celery_worker_cluster(self, celery_worker: Worker, second_worker: Worker) -> CeleryWorkerCluster:
        return CeleryWorkerCluster(celery_worker, second_worker)

    @pytest.mark.environment(EXTRA_APPS="tests.system.slowapp")
    def test_workers__share_the_batches_of_a_run(
        self, project: Project, worker: Worker, second_worker: Worker, redis_client: Redis
    ) -> None:
        gate.hold(*gate.IDS)
        run = project.request("slow_items")
        gate.await_loads(*gate.IDS)
        gate.release()

        ended(run)

        assert (run.state, run.batches_done, run.written) == ("complete", 3, 12)
        workers = set(run.batches.values_list("worker", flat=True))
        assert workers == {worker.hostname(), second_worker.hostname()}
        assert len(site.lifetimes(redis_client, "slow:*")) == 12
