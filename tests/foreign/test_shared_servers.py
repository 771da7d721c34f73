"""Two environments of the project on one Redis server, such as production and a staging copy of it."""

import shutil
from dataclasses import replace
from pathlib import Path

from tests.foreign.project import ForeignProject

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


def test_staging__needs_a_cache_and_a_broker_of_its_own(foreign: ForeignProject, tmp_path: Path) -> None:
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
