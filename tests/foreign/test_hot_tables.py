"""Tables that change faster than a job can be loaded, or by thousands of rows at once."""

import pytest

from tests.foreign.project import ASKING, ForeignProject

# No load ends before the next change.
JOB = """
from threading import Condition

changed, changes, loads = Condition(), 0, 0

def note(**kwargs):
    global changes
    with changed:
        changes += 1
        changed.notify_all()

@warm("hot", depends_on=[Person])
def hot():
    global loads
    found = list(Person.objects.values_list("name", flat=True))
    with changed:
        loads += 1
        before = changes
        changed.notify_all()
        changed.wait_for(lambda: changes > before, timeout=50)
    return found
"""
READ = """
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from django.db import connection
from people import warming
from people.models import Person
from warmer.signals import keys_invalidated

keys_invalidated.connect(warming.note)
person, done = Person.objects.create(name="0"), Event()

def change():
    number = 0
    while not done.is_set():
        with warming.changed:
            loads = warming.loads
        done.wait(0.3)  # those who wait look who loads the key
        if warming.loads:
            number += 1
            person.name = str(number)
            person.save()
        with warming.changed:
            warming.changed.wait_for(lambda: done.is_set() or warming.loads > loads, timeout=1)
    connection.close()

def read(_):
    found = [int(name) for name in warming.hot.get()]
    connection.close()
    return found

result = []
with ThreadPoolExecutor(21) as threads:
    writer = threads.submit(change)
    try:
        for _ in range(12):
            before = warming.loads
            found = list(threads.map(read, range(20)))
            result.append(warming.loads - before)
    finally:
        done.set()
    writer.result()
"""
OVERVIEW = """
from warmer.tasks import observe_jobs
observe_jobs()
result = pages(User.objects.create_superuser("ada", password="x"))["overview"].content.decode()
"""


@pytest.mark.usefixtures("on_postgresql")
def test_hot_table__readers_do_not_wait_for_each_other(foreign: ForeignProject) -> None:
    foreign.add("people/warming.py", JOB)
    foreign.manage("migrate")
    loads = foreign.run(READ)
    # Each time, twenty readers came at once. One after the other, they would take twenty loads.
    assert sum(loads) <= 10 * len(loads), loads
    assert "changes faster than it can be loaded" in foreign.run(ASKING + OVERVIEW)
    foreign.check()


# Calls, not seconds, which depend on what else the machine does.
COUNT = """
    import cProfile
    import pstats
    from django.db import transaction
    from people.models import Person
    from people.warming import names

    def calls(changes):
        with cProfile.Profile() as profile:
            with transaction.atomic():
                for number in range(changes):
                    Person.objects.update_or_create(pk=number + 1, defaults={"name": str(changes)})
        return pstats.Stats(profile).total_calls

    calls(10)
    result = [calls(1_000), calls(2_000), len(names.get())]
    """


@pytest.mark.parametrize("capture", ["signals", "triggers"])
def test_savepoints__cost_is_linear(foreign: ForeignProject, capture: str) -> None:
    foreign.settings(f"WARMER_CAPTURE = '{capture}'")
    once, twice, count = foreign.run(COUNT)
    assert count == 2_000
    assert twice < 2.5 * once  # the first creates rows, too
    foreign.check()
