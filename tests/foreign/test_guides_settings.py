"""The foreign project with the guide's settings: its health, and a cache that no other process sees."""

import pytest

from tests.foreign.project import ForeignProject


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
