"""Processes whose settings name different caches, or each its own memory; and two environments on one server."""

import shutil
from dataclasses import replace
from pathlib import Path

from django.core.cache import cache  # its keys are those of the foreign project's `warm`

from embedded.waiting import wait_until
from tests.foreign.project import ForeignProject

PREFIX_OF_THE_ENVIRONMENT = """
    CACHES["warm"]["KEY_PREFIX"] = os.environ.get("PREFIX", "")
    """
DIFFERENT = "use different caches"
ADD = """
    from people.models import Person
    from people.warming import names
    Person.objects.create(name="{}")
    result = names.get()
    """
OWN_DATABASES = """
    CACHES["warm"]["LOCATION"] = f"{REDIS}/2"
    CELERY_BROKER_URL = f"{REDIS}/3"
    """
# No process of the project makes this change, so a worker has to apply it.
CHANGE = "UPDATE people_person SET name = 'Bob'"
WAITING = "SELECT count(*) FROM warmer_changerecord WHERE applied_at IS NULL"


def test_worker_with_another_prefix__does_nothing_for_web(foreign: ForeignProject) -> None:
    foreign.settings(PREFIX_OF_THE_ENVIRONMENT)
    assert foreign.run(ADD.format("Ada")) == ["Ada"]
    foreign.check()

    foreign.environment["PREFIX"] = "old"
    with foreign.worker() as worker:
        del foreign.environment["PREFIX"]
        said = foreign.manage("warm_cache", "people", "--workers", status=1)
        assert f"and web {DIFFERENT}: 'key' is stored as ':1:key' on " in said
        assert "and as 'old:1:key' on the worker." in said
        found = foreign.examine()[1]["same-cache"]
        assert (found["severity"], DIFFERENT in found["message"]) == ("error", True)
        foreign.sql(CHANGE)
        worker.wait_for("Recorded changes wait")
    assert (cache.get("names"), foreign.sql(WAITING)) == (["Ada"], 1)

    with foreign.worker():
        wait_until(lambda: foreign.sql(WAITING) == 0, what="the right worker applies it")
        assert cache.get("names") is None
        foreign.manage("warm_cache", "--workers")
        assert cache.get("names") == ["Bob"]

        foreign.environment["PREFIX"] = "shell"
        foreign.manage("warm_cache", "--inline")
        del foreign.environment["PREFIX"]
        foreign.sql(CHANGE.replace("Bob", "Eve"))
        found = foreign.examine()[1]["same-cache"]
        assert (found["severity"], found["fix"].partition("\n")[0]) == ("error", "manage.py warm_cache")
        foreign.manage("warm_cache", "people", "--inline")
        wait_until(lambda: foreign.sql(WAITING) == 0, what="the worker applies it")
        assert cache.get("names") is None


def test_cache__in_the_memory_of_each_process_is_reported(foreign: ForeignProject) -> None:
    foreign.settings("CACHES['warm'] = {'BACKEND': 'django.core.cache.backends.locmem.LocMemCache'}")
    checked, found = foreign.manage_each("check", "cache_doctor")
    assert "warmer.W009" in checked
    assert "in the memory of" in " ".join(found.split())
    assert "exit 1: " in found


def test_staging__needs_a_cache_and_a_broker_of_its_own(foreign: ForeignProject, tmp_path: Path) -> None:
    """Production and a staging copy of it are on one Redis server."""
    staging = replace(foreign, folder=tmp_path / "staging")
    shutil.copytree(foreign.folder, staging.folder)
    assert foreign.run(ADD.format("Ada")) == ["Ada"]
    with foreign.worker() as worker:
        staging.manage("warm_cache", "names", "--workers", "--no-wait")
        worker.wait_for("Run 1 is not in this worker's database")

        staging.settings(OWN_DATABASES)
        assert staging.run(ADD.format("Bob")) == ["Bob"]
        with staging.worker():
            staging.manage("warm_cache", "people", "--workers")
        assert "people: complete" in foreign.manage("warm_cache", "--workers")
    for each in (foreign, staging):
        each.manage("cache_audit")
