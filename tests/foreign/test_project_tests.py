"""The project's own tests, with the cache that the guide gives them."""

import re
from pathlib import Path

from embedded.redis_server import RedisServer
from tests.foreign.project import ForeignProject

GUIDE = (Path(__file__).parents[2] / "docs/guide.md").read_text()
# Each test creates a row with the same id as the others, and another name.
TESTS = """
from django.core.cache import caches
from django.test import TestCase, TransactionTestCase
from people.models import Person
from people.warming import names, people

class Cleared:
    def setUp(self):
        super().setUp()
        caches["warm"].clear()

    def check(self, name):
        with self.captureOnCommitCallbacks(execute=True):
            Person.objects.create(id=1, name="new")
        assert (people.get(1)["name"], names.get()) == ("new", ["new"])
        with self.captureOnCommitCallbacks(execute=True):
            Person.objects.update(name=name)
        assert (people.get(1)["name"], names.get()) == (name, [name])

    def test_one(self):
        self.check("one")

    def test_two(self):
        self.check("two")

class RolledBack(Cleared, TestCase):
    pass

class Prepared(Cleared, TestCase):
    @classmethod
    def setUpTestData(cls):
        Person.objects.create(id=2, name="prepared")

    def check(self, name):
        assert people.get(2)["name"] == "prepared"
        Person.objects.update(name=name)
        assert people.get(2)["name"] == name
        people.warm([2])

class Committed(Cleared, TransactionTestCase):
    captureOnCommitCallbacks = TestCase.captureOnCommitCallbacks
"""


def test_project_tests__see_nothing_of_each_other_and_leave_the_cache_alone(
    foreign: ForeignProject, redis_server: RedisServer
) -> None:
    [block] = re.findall(r"```python\n(# mysite/settings.py, or .*?)```", GUIDE, re.DOTALL)
    foreign.settings(block)
    foreign.write("people/tests.py", TESTS)
    assert "OK" in foreign.manage("test", "--parallel", "1")
    assert "System check identified no issues" in foreign.manage("test", "--parallel", "2")
    with redis_server.client() as client:
        assert client.keys("*person*") == []
