"""Transactions with thousands of savepoints: what warmer adds grows with the number of changes, not faster."""

import pytest

from tests.foreign.project import ForeignProject

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
    once, twice, count = foreign.run(COUNT, seconds=180)
    assert count == 2_000
    assert twice < 2.5 * once  # the first creates rows, too
    foreign.check()
