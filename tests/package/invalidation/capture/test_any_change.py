"""Every way in which Django changes rows, in any order: what is cached then is what the database says.

Seeded; `--race-seconds 3600 --race-seed N` runs it longer, and the changes of one thread again as they were.
"""

import itertools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Thread

import pytest
from django.core.exceptions import ObjectDoesNotExist
from django.db import Error, transaction

from tests.package.invalidation.capture.changes import Change, captured_also_together, captured_one
from tests.package.invalidation.capture.world import World
from tests.support.others import apart, await_end_or_lock, in_thread

THREADS = 3
CHANGES_OF_ONE = 8
REFUSED = (Error, ObjectDoesNotExist, ValueError)
"""How a change fails whose rows another has deleted meanwhile."""

Rounds = Callable[[int], Iterator[int]]


@pytest.fixture
def rounds(world: World, pytestconfig: pytest.Config) -> Rounds:
    """Return a function that counts rounds for the time that was asked for; before each, every key is cached."""

    def count(fewest: int) -> Iterator[int]:
        end = time.monotonic() + pytestconfig.getoption("race_seconds") / 3
        for number in itertools.count(1):
            world.warm()
            yield number
            if number >= fewest and time.monotonic() >= end:
                print(f"{number} rounds")
                return

    return count


def test_changes__of_every_kind_leave_nothing_wrong(world: World, rounds: Rounds) -> None:
    for number in rounds(40):
        name, change = world.random.choice([*captured_also_together().items()])
        change(world)
        assert world.wrong() == {}, f"after step {number}: {name}"


def test_changes__one_while_another_is_not_committed_leave_nothing_wrong(
    world: World, rounds: Rounds, pytestconfig: pytest.Config
) -> None:
    """Of few rows, so that the two meet; and readers come in between."""
    pair = Pair(world, world.another(pytestconfig.getoption("race_seed") + 1))
    for number in rounds(10):
        world.keep_few()
        world.warm()
        (first, ours), (second, theirs) = world.random.choices([*captured_also_together().items()], k=2)
        pair.change(ours, theirs)
        assert world.wrong() == {}, f"after step {number}: {second} while {first} was not committed"
    print(f"{len(pair.refused)} refused")


class Pair:
    """Two that change the same rows at once: the other one amid our transaction."""

    def __init__(self, ours: World, theirs: World) -> None:
        self.ours = ours
        self.theirs = theirs
        self.jobs = list(ours.jobs.values())
        self.refused: list[str] = []

    def change(self, first: Change, second: Change) -> None:
        """Make both changes; the second is committed, and read, before the first, or waits for it."""
        others: list[Thread] = []

        def amid() -> None:
            others.append(in_thread(partial(self._change_theirs, second)))
            await_end_or_lock(others[0])
            if self.ours.random.random() < 0.5:
                captured_one(self.ours)(self.ours)
            for job in self.ours.random.sample(self.jobs, 4):  # what is not committed is read, and not stored
                assert job.get_many(self.ours.ids()) == job(self.ours.ids()), job.spec.name

        self._change(self.ours, first, amid)
        for other in others:
            other.join()

    def _change_theirs(self, change: Change) -> None:
        self._change(self.theirs, change, lambda: None)
        for job in self.jobs:
            job.get_many(self.theirs.ids())

    def _change(self, world: World, change: Change, then: Callable[[], None]) -> None:
        try:
            with transaction.atomic():
                change(world)
                then()
        except REFUSED as error:
            self.refused.append(str(error))


def test_changes__of_several_at_once_leave_nothing_wrong(
    world: World, rounds: Rounds, pytestconfig: pytest.Config
) -> None:
    """Each is a transaction; some fail, as rows that they found are gone by then."""
    seed, jobs = pytestconfig.getoption("race_seed"), list(world.jobs.values())
    worlds = [world.another(seed * THREADS + number) for number in range(THREADS)]
    refused: list[str] = []

    def run(world: World) -> None:
        for _ in range(CHANGES_OF_ONE):
            try:
                with transaction.atomic():
                    world.random.choice([*captured_also_together().values()])(world)
            except REFUSED as error:
                refused.append(str(error))
            world.random.choice(jobs).get_many(world.ids())

    with ThreadPoolExecutor(THREADS) as threads:
        for number in rounds(3):
            list(threads.map(apart(run), worlds))  # raises what one of them raised
            assert world.wrong() == {}, f"after round {number}"
    print(f"{len(refused)} refused")
