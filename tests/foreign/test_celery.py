"""Celery as a project may have set it up: apps, brokers, serializers, workers that do not answer."""

from typing import Any

import pytest

from embedded.waiting import wait_until
from tests.foreign.project import ForeignProject

NO_NAMESPACE = """
import os
from celery import Celery
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
app = Celery("mysite")
app.config_from_object("django.conf:settings")
app.autodiscover_tasks()
"""
# Nothing of a module is found, as where it is not installed.
HIDDEN = """
import sys
from importlib.machinery import PathFinder

class Hiding(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] == "msgspec" else super().find_spec(name, path, target)

sys.meta_path = [Hiding if each is PathFinder else each for each in sys.meta_path]
"""


def examine(foreign: ForeignProject) -> tuple[str, dict[str, Any]]:
    said, found = foreign.examine()
    return said, {check: each for check, each in found.items() if each["severity"] == "error"}


def test_celery_app__none_reads_the_setting(foreign: ForeignProject) -> None:
    for break_it in (
        lambda: foreign.write("mysite/__init__.py", ""),
        lambda: [
            foreign.write("mysite/__init__.py", "from mysite.celery import app as celery_app"),
            foreign.write("mysite/celery.py", NO_NAMESPACE),
        ],
    ):
        break_it()
        said, errors = examine(foreign)
        assert "warmer.W010) No Celery app reads CELERY_BROKER_URL" in said
        assert 'namespace="CELERY"' in said
        broker = errors["broker"]
        assert broker["message"] == "No Celery app reads CELERY_BROKER_URL: tasks go to amqp://localhost:5672//."
        assert broker["fix"].startswith("app.config_from_object(")
    assert "No Celery app reads CELERY_BROKER_URL" in foreign.manage("warm_cache", "--workers", status=1)
    foreign.settings("BROKER_URL = CELERY_BROKER_URL")  # what an app without a namespace reads
    said, errors = examine(foreign)
    assert "no issues" in said
    assert "broker" not in errors


def test_pickle_only__fix_of_the_doctor_leaves_workers_running(foreign: ForeignProject) -> None:
    foreign.settings(
        """
        CELERY_TASK_SERIALIZER = CELERY_RESULT_SERIALIZER = "pickle"
        CELERY_ACCEPT_CONTENT = ["pickle"]
        """
    )
    found = examine(foreign)[1]["celery-pickle"]
    assert found["message"] == "Celery accepts 'pickle'."
    lines = found["fix"].splitlines()[:2]

    foreign.settings(lines[0])  # half of it: no worker could be asked
    said, errors = examine(foreign)
    assert "do not accept" in said
    assert "do not accept" in errors["celery-pickle"]["message"]

    foreign.settings(lines[1])
    with foreign.worker():
        foreign.manage("warm_cache", "--workers")
        said, errors = examine(foreign)
    assert "no issues" in said
    assert errors.keys() <= {"beat"}


def test_msgspec__missing_a_save_is_done_and_the_check_names_it(foreign: ForeignProject) -> None:
    foreign.write("sitecustomize.py", HIDDEN)
    foreign.environment["PYTHONPATH"] = str(foreign.folder)
    done = foreign.run(
        """
        from people.models import Person
        from people.warming import names
        Person.objects.create(name="Ada")
        result = names.get()
        """
    )
    assert done == ["Ada"]
    said, errors = examine(foreign)
    assert "exit 1: " in said
    assert "warmer.E002" in said
    assert 'pip install "warmer[msgspec]"' in said
    found = errors["backend"]
    assert 'pip install "warmer[msgspec]"' in found["message"]
    assert found["fix"].startswith("pip install msgspec\n")


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("redis-sentinel://:s3cret@127.0.0.1:26379/mymaster/1", "No such transport: redis-sentinel"),
        ("redis://:s3cret/unescaped@127.0.0.1/1", "he broker's address cannot be parsed"),
    ],
)
def test_broker_of_the_environment__that_celery_cannot_use(foreign: ForeignProject, address: str, why: str) -> None:
    foreign.environment["CELERY_BROKER_URL"] = address
    said = foreign.manage("warm_cache")  # in its own process
    assert why in said
    checked, doctor = (" ".join(said.split()) for said in foreign.manage_each("check", "cache_doctor"))
    assert "warmer.W017" in checked
    assert why in checked
    assert why in doctor
    assert "FAILED" not in doctor.upper().replace("BROKER FAILED", "")
    assert "Celery itself reads this variable of the environment" in doctor
    assert "s3cret" not in said + checked + doctor


BLOCKING_LOADER = """
    from pathlib import Path
    from time import monotonic, sleep

    @warm("blocking")
    def blocking():
        Path("loading").touch()
        until = monotonic() + 60
        while not Path("release").exists() and monotonic() < until:
            sleep(0.05)
        return 1
    """


def test_worker_without_remote_control__takes_what_is_queued(foreign: ForeignProject) -> None:
    foreign.settings("CELERY_WORKER_ENABLE_REMOTE_CONTROL = False")
    foreign.add("people/warming.py", BLOCKING_LOADER)
    said, found = foreign.examine()
    assert "no issues" in said
    assert found["workers"]["severity"] == "error"
    with foreign.worker("--pool", "solo") as worker:
        said = foreign.manage("warm_cache", "--workers", status=1)
        assert "No worker answered. Nothing was warmed." in said
        assert "use --workers --no-wait" in said
        foreign.run("from warmer.tasks import request_run; request_run('blocking', 'admin')")
        wait_until((foreign.folder / "loading").exists, what="the worker is busy")
        said = foreign.manage("warm_cache", "people", "names", "--workers", "--no-wait")
        assert "The runs are queued, though no worker answered." in said
        workers = foreign.examine()[1]["workers"]
        assert (workers["severity"], "no worker answered, but one worked" in workers["message"]) == ("warning", True)
        (foreign.folder / "release").touch()
        worker.wait_for("): complete, ", count=3)


def test_queue_length__with_a_prefix_of_the_broker(foreign: ForeignProject) -> None:
    foreign.settings("CELERY_BROKER_TRANSPORT_OPTIONS['global_keyprefix'] = 'site1:'\nWARMER_METRICS = True")
    metrics = foreign.run("""
        from django.test import Client
        from warmer.tasks import request_run
        for name in ("people", "names"):
            request_run(name, "admin")
        result = Client().get("/metrics").content.decode()
    """)
    assert 'warmer_queue_messages{queue="warming"} 2.0' in metrics
    assert "queue 'warming': 2 messages waiting" in foreign.check()  # nobody takes them
