"""Cache and broker behind Sentinels that have a password of their own, as the environment names them."""

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from celery import Celery

from embedded.processes import ProcessGroup
from embedded.redis_server import RedisServer
from embedded.waiting import wait_until
from tests.package.doctor.sentinels import Sentinel
from tests.system.project import ROOT, SECONDS, Project, database_url
from warmer.models import WarmingRun

PASSWORD, SENTINEL_PASSWORD = "s3cret-w0rd", "an0ther"


@contextmanager
def worker_ready(environment: dict[str, str], log: Path) -> Iterator[None]:
    """Run a worker that has begun to consume."""
    with log.open("wb") as output:
        command = shlex.split(f"{sys.executable} -m celery -A config worker -l INFO --concurrency 1")
        group = ProcessGroup(command, output=output, env=os.environ | environment, cwd=ROOT)
    try:

        def is_ready() -> bool:
            assert group.poll() is None, log.read_text()
            return " ready." in log.read_text()

        wait_until(is_ready, seconds=SECONDS, what="the worker is ready")
        yield
    finally:
        group.end()


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
        environment = {
            "DJANGO_ENV": "test",
            "CELERY_TASK_ALWAYS_EAGER": "0",
            "REDIS_URL": f"{at}/0{login}",
            "CELERY_BROKER_URL": f"{at}/1{login}",
            "DATABASE_URL": database_url(),
            "PYTHONUNBUFFERED": "1",
        }
        project = Project(environment=environment, app=Celery("unused"))
        with worker_ready(environment, tmp_path / "worker.log"):
            project.manage("warm_cache", "--workers", "popular_posts")
            said = project.manage("cache_doctor")  # it exits with 1 where it finds an error
        assert client.exists(":1:popular_posts")
    run = WarmingRun.objects.get()
    assert (run.state, run.written) == ("complete", 1)
    assert PASSWORD not in said
    assert SENTINEL_PASSWORD not in said
