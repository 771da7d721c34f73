"""Database connections that are shared: pgbouncer in transaction mode, and psycopg's pool."""

from collections.abc import Iterator

import pytest

from embedded.postgres_server import PostgresServer
from tests.foreign.pgbouncer import PORT, Pgbouncer
from tests.foreign.project import ForeignProject, NewDatabase

BEGIN = """
    from django.core.management import call_command
    from people.models import Person
    call_command("migrate", verbosity=0)
    Person.objects.bulk_create(Person(name=f"p{{n}}") for n in range({people}))
"""

# More readers than the pool has connections, each of all keys of some batches, in another order.
READ = """
    from concurrent.futures import ThreadPoolExecutor
    from random import Random
    from django.db import connection
    from people.warming import people, unlinked
    def read(job, number):
        ids = list(range(1, 50))
        Random(number).shuffle(ids)
        try:
            return len(job.get_many(ids))
        except Exception as error:
            return repr(error)
        finally:
            connection.close()
    with ThreadPoolExecutor(20) as threads:
        result = [each for job in (people, unlinked) for each in threads.map(read, [job] * 20, range(20))]
"""


@pytest.fixture(scope="module")
def pgbouncer(postgres: PostgresServer) -> Iterator[Pgbouncer]:
    with Pgbouncer(postgres) as server:
        yield server


def test_pgbouncer__in_transaction_mode(
    foreign: ForeignProject, new_database: NewDatabase, pgbouncer: Pgbouncer
) -> None:
    behind = {**new_database(), "HOST": str(pgbouncer.folder), "PORT": PORT, "CONN_MAX_AGE": 60}
    foreign.settings(f"DATABASES = {{'default': {behind!r}}}")
    foreign.run(BEGIN.format(people=5_000))  # more than a cursor on the server gives at once
    assert "complete, 5,000 keys" in foreign.manage("warm_cache", "people", "--inline")
    with foreign.worker():
        foreign.manage("warm_cache", "people", "--workers")
        foreign.check(doctor=0)
    changed = foreign.run("""
        from people.models import Person
        from people.warming import people
        Person.objects.filter(pk=7).update(name="new")
        result = people.get(7)["name"]
    """)
    assert changed == "new"


def test_pool__smaller_than_the_number_of_readers(foreign: ForeignProject, new_database: NewDatabase) -> None:
    pooled = {**new_database(), "OPTIONS": {"pool": {"min_size": 1, "max_size": 2, "timeout": 40}}}
    foreign.settings(f"DATABASES = {{'default': {pooled!r}}}\nWARMER_BATCH_SIZE = 10\n")
    # Who waited in vain would else be helped by these bounds before the pool's.
    foreign.settings("WARMER_READ_WAIT = WARMER_READ_CLAIM = 50")
    foreign.add(
        "people/warming.py",
        """
        @warm_many("unlinked:{id}", ids=Person.objects.values_list("id", flat=True))
        def unlinked(ids):
            return people(ids)
        """,
    )
    foreign.run(BEGIN.format(people=200))
    assert foreign.run(READ) == [49] * 40
    foreign.settings("DATABASES['default']['OPTIONS']['pool'] |= {'max_size': 1, 'timeout': 60}")
    with foreign.worker("--pool", "threads"):  # its relay is a thread beside that of the task
        foreign.manage("warm_cache", "people", "--workers")
        foreign.check(doctor=0)
