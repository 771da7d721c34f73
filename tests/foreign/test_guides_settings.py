"""The foreign project as it comes, with the guide's settings: what every other module here starts from."""

import pytest

from tests.foreign.project import ForeignProject

ADD = "from people.models import Person; [Person.objects.create(name=n) for n in ('Ada', 'Bob')]"


def test_project__warms_on_a_worker(foreign: ForeignProject) -> None:
    foreign.manage("migrate")
    foreign.run(ADD)
    with foreign.worker():
        foreign.manage("warm_cache", "--workers")
        foreign.manage("cache_doctor")
    assert foreign.run("from people.warming import names; result = names.get()") == ["Ada", "Bob"]
    assert "no issues" in foreign.manage("check")


@pytest.mark.usefixtures("on_postgresql")
def test_project__serves_its_health(foreign: ForeignProject) -> None:
    foreign.manage("migrate")
    with foreign.web() as web:
        assert web.get("/healthz").status == 200
        assert web.get("/readyz").status == 200
        pod = "10.42.8.201:8000"
        assert web.get("/readyz", headers={"Host": pod}).status == 400  # of the pod's address
        assert web.get("/readyz", headers={"Host": "example.org"}).status == 200  # by `httpHeaders`


def test_cache__in_the_memory_of_each_process_is_reported(foreign: ForeignProject) -> None:
    foreign.settings("CACHES['warm'] = {'BACKEND': 'django.core.cache.backends.locmem.LocMemCache'}")
    assert "warmer.W009" in foreign.manage("check")
    assert "in the memory of" in " ".join(foreign.manage("cache_doctor", status=1).split())
