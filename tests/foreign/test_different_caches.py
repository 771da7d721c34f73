"""Processes whose settings name different caches, as by a forgotten environment file, or each its own memory."""

from embedded.waiting import wait_until
from tests.foreign.project import ForeignProject

PREFIX_OF_THE_ENVIRONMENT = """
    CACHES["warm"]["KEY_PREFIX"] = os.environ.get("PREFIX", "")
    """
DIFFERENT = "use different caches"
ADD = """
    from people.models import Person
    from people.warming import names
    Person.objects.create(name="Ada")
    result = names.get()
    """
# No process of the project makes this change, so a worker has to apply it.
CHANGE = "UPDATE people_person SET name = 'Bob'"
CACHED = "from django.core.cache import caches; result = caches['warm'].get('names')"
WAITING = "SELECT count(*) FROM warmer_changerecord WHERE applied_at IS NULL"


def test_worker_with_another_prefix__does_nothing_for_web(foreign: ForeignProject) -> None:
    foreign.settings(PREFIX_OF_THE_ENVIRONMENT)
    assert foreign.run(ADD) == ["Ada"]
    assert "no issues" in foreign.manage("check")

    foreign.environment["PREFIX"] = "old"
    with foreign.worker() as worker:
        del foreign.environment["PREFIX"]
        said = foreign.manage("warm_cache", "people", "--workers", status=1)
        assert f"and web {DIFFERENT}: 'key' is stored as ':1:key' on " in said
        assert "and as 'old:1:key' on the worker." in said
        found = foreign.doctor()["same-cache"]
        assert (found["severity"], DIFFERENT in found["message"]) == ("error", True)
        foreign.sql(CHANGE)
        worker.wait_for("Recorded changes wait")
    assert (foreign.run(CACHED), foreign.sql(WAITING)) == (["Ada"], 1)

    with foreign.worker():
        wait_until(lambda: foreign.sql(WAITING) == 0, what="the right worker applies it")
        assert foreign.run(CACHED) is None
        foreign.manage("warm_cache", "--workers")
        assert foreign.run(CACHED) == ["Bob"]

        foreign.environment["PREFIX"] = "shell"
        foreign.manage("warm_cache", "--inline")
        del foreign.environment["PREFIX"]
        foreign.sql(CHANGE.replace("Bob", "Eve"))
        found = foreign.doctor()["same-cache"]
        assert (found["severity"], found["fix"].partition("\n")[0]) == ("error", "manage.py warm_cache")
        foreign.manage("warm_cache", "people", "--inline")
        wait_until(lambda: foreign.sql(WAITING) == 0, what="the worker applies it")
        assert foreign.run(CACHED) is None


def test_cache__in_the_memory_of_each_process_is_reported(foreign: ForeignProject) -> None:
    foreign.settings("CACHES['warm'] = {'BACKEND': 'django.core.cache.backends.locmem.LocMemCache'}")
    assert "warmer.W009" in foreign.manage("check")
    assert "in the memory of" in " ".join(foreign.manage("cache_doctor", status=1).split())
