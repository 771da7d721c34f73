"""Every kind of change, in autocommit and in transactions: what is cached then is what the loaders give."""

from contextlib import suppress

import pytest
from django.db import connection, transaction

from tests.package.invalidation.capture.changes import KINDS, Kind, captured
from tests.package.invalidation.capture.world import World
from tests.support.transactions import Rollback
from warmer.invalidation import Relay, captures_by_triggers
from warmer.models import ChangeRecord

EVERY = {name: Kind(change=change) for name, change in captured().items()}
if captures_by_triggers():
    EVERY |= {f"sql_{name}": kind for name, kind in KINDS.items() if kind.only in ("", connection.vendor)}
CASES = [
    (name, mode)
    for name, kind in EVERY.items()
    for mode in ("autocommit", "atomic", "rolled back")
    if mode == "autocommit" or not kind.is_elsewhere
]


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_change__leaves_no_wrong_value(name: str, mode: str, world: World) -> None:
    kind = EVERY[name]
    loaded, cached = world.loaded(), world.cached()
    assert len(cached) == len(loaded)

    def change() -> None:
        while world.loaded() == loaded:  # a random change may be none
            kind.change(world)

    if mode == "autocommit":
        change()
    else:
        with suppress(Rollback), transaction.atomic():
            change()
            assert world.cached().items() >= cached.items(), "nothing is applied before the commit"
            if mode == "rolled back":
                raise Rollback
    if mode == "rolled back":
        assert world.loaded().items() >= loaded.items()
        assert world.cached().items() >= cached.items()
        return
    if kind.is_elsewhere:
        Relay().poll()
    assert world.wrong() == {}
    assert not ChangeRecord.objects.filter(applied_at=None).exists()
    assert cached.keys() & world.cached().keys(), "not every key is invalidated"
