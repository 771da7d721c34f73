"""Every kind of change, in autocommit and in transactions: what is cached then is what the loaders give."""

from __future__ import annotations

from contextlib import suppress

import pytest
from django.db import connection, transaction

from tests.package.invalidation.capture.kinds import KINDS
from tests.package.invalidation.capture.world import UNTOUCHED, World
from tests.support.transactions import Rollback
from warmer.invalidation import Relay
from warmer.models import ChangeRecord

CASES = [
    (name, mode)
    for name, kind in KINDS.items()
    for mode in ("autocommit", "atomic", "rolled back")
    if kind.only in ("", connection.vendor) and (mode == "autocommit" or not kind.is_elsewhere)
]


@pytest.mark.parametrize(("name", "mode"), CASES)
def test_change__leaves_no_wrong_value(name: str, mode: str, world: World) -> None:
    kind = KINDS[name]
    loaded, cached = world.loaded(), world.cached()
    assert len(cached) == len(loaded)
    if mode == "autocommit":
        kind.change(world)
    else:
        with suppress(Rollback), transaction.atomic():
            kind.change(world)
            assert world.cached() == cached, "nothing is applied before the commit"
            if mode == "rolled back":
                raise Rollback
    if kind.by_relay:
        Relay().poll()
    if mode == "rolled back":
        assert (world.cached(), world.loaded()) == (cached, loaded)
        return
    assert world.loaded() != loaded, "the change changes nothing"
    assert world.wrong() == {}
    assert not ChangeRecord.objects.filter(applied_at=None).exists()
    untouched = world.jobs["writer"].key(UNTOUCHED)
    assert untouched in world.cached() or kind.of_every_row, "no more is invalidated than has changed"
