"""A cache server that comes back with an old save, and one that is replaced behind its address."""

from embedded.redis_server import RedisServer
from embedded.waiting import wait_until
from tests.foreign.project import ForeignProject
from tests.support.proxy import Proxy

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
VIEWS = """
    from django.http import JsonResponse
    from django.urls import path
    from people.models import Person
    from people.warming import names

    async def read(request):
        return JsonResponse(await names.aget(), safe=False)

    async def rename(request):
        person = await Person.objects.aget(name="Ada")
        person.name = "Eve"
        await person.asave()
        return await read(request)

    urlpatterns = [path(view.__name__, view) for view in (read, rename)]
    """
APPLIED = "SELECT applied_at IS NOT NULL FROM warmer_changerecord ORDER BY id DESC"
KNOWN = "SELECT count(*) FROM warmer_jobservers"


def test_crash__with_an_old_save(foreign: ForeignProject) -> None:
    with RedisServer() as server:
        foreign.settings(f"CACHES['warm']['LOCATION'] = '{server.url()}'")
        with foreign.worker() as worker:
            assert foreign.run(FILL) == [["Ada", "Bob"], "Ada"]
            wait_until(lambda: foreign.sql(KNOWN) == 2, what="the worker knows the server")
            with server.client() as client:
                client.save()
            assert foreign.run(CHANGE) is None
            server.kill()
            server.start()
            worker.wait_for("every key of 2 jobs is invalidated")
            wait_until(lambda: foreign.run(READ) == [["Eve", "Bob"], "Eve"], what="no value is old")
            foreign.check(doctor=0)


def test_failover__behind_one_address(foreign: ForeignProject) -> None:
    at_once = {"shutdown-timeout": "0"}  # it would wait for its replica
    with RedisServer() as old, RedisServer(options=at_once) as new, Proxy(old) as proxy:
        foreign.settings(f"CACHES['warm']['LOCATION'] = '{proxy.url}'")
        foreign.write("mysite/urls.py", VIEWS)
        assert foreign.run(FILL)[0] == ["Ada", "Bob"]
        with foreign.web() as web:
            assert web.get("/read").body == '["Ada", "Bob"]'
            with old.client() as client:
                client.replicaof("127.0.0.1", new.port)
            proxy.server = new  # the connections that are open still lead to the demoted server
            assert web.get("/rename").body == '["Eve", "Bob"]', web.process.output()
            with new.client() as client:
                assert client.exists(":1:names")
            assert web.get("/read").body == '["Eve", "Bob"]'
        assert foreign.sql(APPLIED)
        assert "ok       writes" in foreign.check()
