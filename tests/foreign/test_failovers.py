"""A cache server that crashes, and comes back with an old save, while a worker of the project runs."""

from embedded.redis_server import RedisServer
from embedded.waiting import wait_until
from tests.foreign.project import SECONDS, ForeignProject

FILL = """
    from people.models import Person
    from people.warming import names, people
    ada, bob = Person.objects.create(name="Ada"), Person.objects.create(name="Bob")
    result = [names.get(), people.get(ada.pk)["name"]]
    """
CHANGE = """
    from people.models import Person
    Person.objects.filter(name="Ada").update(name="Eve")
    from django.core.cache import caches
    result = caches["warm"].get("names")
    """
READ = "from people.warming import names, people; result = [names.get(), people.get(1)['name']]"
KNOWN = "from warmer.models import JobServers; result = JobServers.objects.count()"


def test_crash__with_an_old_save(foreign: ForeignProject) -> None:
    with RedisServer() as server:
        foreign.settings(f"CACHES['warm']['LOCATION'] = '{server.url()}'")
        assert "no issues" in foreign.manage("check")
        with foreign.worker() as worker:
            assert foreign.run(FILL) == [["Ada", "Bob"], "Ada"]
            wait_until(lambda: foreign.run(KNOWN) == 2, seconds=SECONDS, what="the worker knows the server")
            with server.client() as client:
                client.save()
            assert foreign.run(CHANGE) is None
            server.kill()
            server.start()
            wait_until(
                lambda: "every key of 2 jobs is invalidated" in worker.output(),
                seconds=SECONDS,
                what="the worker notices",
            )
            wait_until(lambda: foreign.run(READ) == [["Eve", "Bob"], "Eve"], seconds=SECONDS, what="no value is old")
            foreign.manage("cache_doctor")
