"""Cache and broker behind Sentinels that have a password of their own, as the environment names them."""

import sys
from pathlib import Path

import pytest
from celery import Celery
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from embedded.redis_server import RedisServer
from tests.package.doctor.sentinels import Sentinel
from tests.support.processes import environment, running
from tests.system.project import Project
from warmer.models import WarmingRun

PASSWORD, SENTINEL_PASSWORD = "s3cret-w0rd", "an0ther"


@pytest.mark.django_db(transaction=True)
def test_sentinel__run_on_a_worker_and_doctor(tmp_path: Path) -> None:
    with (
        RedisServer() as master,
        master.client() as client,
        Sentinel(
            folder=tmp_path, master=master.port, password=SENTINEL_PASSWORD, master_password=PASSWORD, quorum=1
        ) as sentinel,
    ):
        client.config_set("requirepass", PASSWORD)  # of connections that are made from now on
        at = f"redis-sentinel://:{PASSWORD}@127.0.0.1:{sentinel.port}/mymaster"
        login = f"?sentinel_password={SENTINEL_PASSWORD}"
        variables = environment(
            DJANGO_ENV="test",
            CELERY_TASK_ALWAYS_EAGER="0",
            REDIS_URL=f"{at}/0{login}",
            CELERY_BROKER_URL=f"{at}/1{login}",
            PYTHONUNBUFFERED="1",
        )
        # The doctor waits five minutes for beat's first report, which the session may have spent already.
        PeriodicTask.objects.update(date_changed=timezone.now())
        project = Project(environment=variables, app=Celery("unused", set_as_current=False))
        command = [sys.executable, "-m", *["celery", "-A", "config", "worker", "-l", "INFO", "--concurrency", "1"]]
        with running(*command, log=tmp_path / "worker.log", env=variables, ready=" ready."):
            project.manage("warm_cache", "--workers", "popular_posts")
            said = project.manage("cache_doctor")  # it exits with 1 where it finds an error
        assert client.exists(":1:popular_posts")
    run = WarmingRun.objects.get()
    assert (run.state, run.written) == ("complete", 1)
    assert PASSWORD not in said
    assert SENTINEL_PASSWORD not in said
