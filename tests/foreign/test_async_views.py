"""Views under uvicorn: many readers at once, on cold and on warm keys; and health."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.foreign.project import ForeignProject

READERS = 50

# The loader returns once every reader has come, which a blocked event loop would keep from coming.
VIEWS = f"""
    import threading

    from django.http import JsonResponse
    from django.urls import path

    from people.models import Person
    from people.warming import people
    from warmer import warm

    come, all_came, loads = [], threading.Event(), []

    @warm("slow", depends_on=[Person])
    def slow():
        loads.append(1)
        return {{"together": all_came.wait(50), "names": list(Person.objects.values_list("name", flat=True))}}

    async def read(request):
        come.append(1)
        if len(come) == {READERS}:
            all_came.set()
        return JsonResponse({{"slow": await slow.aget(), "loads": len(loads)}})

    async def read_several(request):
        return JsonResponse(await people.aget_many([1, 2, 404]))

    async def rename(request):
        person = await Person.objects.aget(pk=1)
        person.name = "Grace"
        await person.asave()
        return JsonResponse(await people.aget(person.pk))

    async def block(request):
        return JsonResponse(people.get(1))

    urlpatterns = [path(view.__name__, view) for view in (read, read_several, rename, block)]
"""


@pytest.fixture
def site(foreign: ForeignProject) -> ForeignProject:
    foreign.write("mysite/urls.py", VIEWS)
    foreign.settings("DEBUG = True  # the page of an error has its message")
    foreign.run("from people.models import Person; [Person.objects.create(name=n) for n in ('Ada', 'Bob')]")
    return foreign


def test_async_views__many_at_once(site: ForeignProject) -> None:
    with site.web() as web, ThreadPoolExecutor(READERS) as threads:

        def read_at_once() -> set[str]:
            answers = list(threads.map(lambda _: web.get("/read"), range(READERS)))
            assert {answer.status for answer in answers} == {200}, web.process.output()
            return {answer.body for answer in answers}

        loaded_once = {'{"slow": {"together": true, "names": ["Ada", "Bob"]}, "loads": 1}'}
        assert read_at_once() == loaded_once  # cold
        assert read_at_once() == loaded_once  # warm

        assert {"1", "2"} == set(json.loads(web.get("/read_several").body))
        assert '"name": "Grace"' in web.get("/rename").body
        for _ in range(2):  # cold, and warm
            refused = web.get("/block")
            assert refused.status == 500
            assert "await people.aget(" in refused.body
            web.get("/read_several")
    errors = {line.split()[1] for line in site.check().splitlines() if line.startswith("  error ")}
    # No worker runs; what `migrate` left to one is an error once it is late.
    assert {"workers"} <= errors <= {"workers", "pending-invalidations"}


@pytest.mark.usefixtures("on_postgresql")
def test_project__serves_its_health(foreign: ForeignProject) -> None:
    foreign.manage("migrate")
    with foreign.web() as web:
        assert web.get("/healthz").status == 200
        assert web.get("/readyz").status == 200
        pod = "10.42.8.201:8000"
        assert web.get("/readyz", headers={"Host": pod}).status == 400  # of the pod's address
        assert web.get("/readyz", headers={"Host": "example.org"}).status == 200  # by `httpHeaders`
