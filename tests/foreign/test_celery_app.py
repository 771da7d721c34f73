"""Celery apps that are not set up as the guide says, and a serializer whose library is missing."""

from typing import Any

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
FINDINGS = """
from warmer.doctor.diagnosis import diagnose
from warmer.doctor.project import Project
found = diagnose(Project())
result = {each.check: [str(each.severity), each.message, each.fix] for each in found if each.severity.is_bad}
"""


def findings(foreign: ForeignProject) -> dict[str, Any]:
    """Return the doctor's errors, by check: severity, message and fix; none may be of a check that broke."""
    found: dict[str, Any] = foreign.run(FINDINGS)
    assert {severity for severity, *_ in found.values()} <= {"error"}, found
    return found


def test_celery_app__none_reads_the_setting(foreign: ForeignProject) -> None:
    for break_it in (
        lambda: foreign.write("mysite/__init__.py", ""),
        lambda: [
            foreign.write("mysite/__init__.py", "from mysite.celery import app as celery_app"),
            foreign.write("mysite/celery.py", NO_NAMESPACE),
        ],
    ):
        break_it()
        said = foreign.manage("check")
        assert "warmer.W010) No Celery app reads CELERY_BROKER_URL" in said
        assert 'namespace="CELERY"' in said
        _, message, fix = findings(foreign)["broker"]
        assert message == "No Celery app reads CELERY_BROKER_URL: tasks go to amqp://localhost:5672//."
        assert fix.startswith("app.config_from_object(")
    assert "No Celery app reads CELERY_BROKER_URL" in foreign.manage("warm_cache", "--workers", status=1)
    foreign.settings("BROKER_URL = CELERY_BROKER_URL")  # what an app without a namespace reads
    assert "no issues" in foreign.manage("check")
    assert "broker" not in findings(foreign)


def test_pickle_only__fix_of_the_doctor_leaves_workers_running(foreign: ForeignProject) -> None:
    foreign.settings(
        """
        CELERY_TASK_SERIALIZER = CELERY_RESULT_SERIALIZER = "pickle"
        CELERY_ACCEPT_CONTENT = ["pickle"]
        """
    )
    _, message, fix = findings(foreign)["celery-pickle"]
    assert message == "Celery accepts 'pickle'."
    lines = fix.splitlines()[:2]

    foreign.settings(lines[0])  # half of it: no worker could be asked
    assert "do not accept" in foreign.manage("check")
    assert "do not accept" in findings(foreign)["celery-pickle"][1]

    foreign.settings(lines[1])
    with foreign.worker():
        foreign.manage("warm_cache", "--workers")
        assert findings(foreign).keys() <= {"beat"}
    assert "no issues" in foreign.manage("check")


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
    said = foreign.manage("check", status=1)
    assert "warmer.E002" in said
    assert "pip install warmer[msgspec]" in said
    _, message, fix = findings(foreign)["backend"]
    assert message.endswith("need msgspec, which is not installed.")
    assert fix.startswith("pip install msgspec\n")
