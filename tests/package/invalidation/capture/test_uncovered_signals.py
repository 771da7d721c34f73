"""What Django's signals do not tell: each case leaves an old value in the cache, or a change to a worker."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.models.signals import pre_save

from tests.package.invalidation.capture import outsiders
from tests.package.invalidation.capture.things import Things, things, unapplied
from tests.support.transactions import Rollback
from warmer.invalidation import Relay
from warmer.testing import at

pytestmark = pytest.mark.usefixtures("db")

UPDATE = "UPDATE myapp_thing SET owner = 2"


@pytest.fixture
def signalled(settings: Any) -> Iterator[Things]:
    settings.WARMER_CAPTURE = "signals"
    with things(is_captured=False) as known:
        yield known


def test_signals__row_that_another_transaction_moves_meanwhile(signalled: Things) -> None:
    """It invalidates 1 and 2, and a reader caches 2, before this one moves the row on to 3."""
    thing = signalled.model.objects.create(owner=1)

    def move(**_: Any) -> None:
        outsiders.run(UPDATE)
        signalled.warm()

    pre_save.connect(move, sender=signalled.model)
    thing.owner = 3
    thing.save()
    assert signalled.gone() == {1, 3}


def test_signals__save_in_autocommit_of_a_process_that_is_killed(signalled: Things) -> None:
    def die() -> None:
        raise SystemExit

    with at("committed", die), pytest.raises(SystemExit):
        signalled.model.objects.create(owner=1)
    Relay().poll()
    assert (signalled.model.objects.count(), signalled.gone()) == (1, set())


def test_signals__read_after_a_change_without_a_signal_is_stored(signalled: Things) -> None:
    signalled.model.objects.create(owner=1)
    with pytest.raises(Rollback), transaction.atomic():
        signalled.model.objects.update(text="never")
        signalled.job.get(1)
        raise Rollback
    assert signalled.gone() == set()


def test_signals__in_a_transaction_managed_by_hand_are_recorded_and_relayed_after_it(settings: Any) -> None:
    connection.close()
    settings.WARMER_CAPTURE = "signals"
    try:
        with things(is_captured=False) as known:
            transaction.set_autocommit(False)
            try:
                known.model.objects.create(owner=1)
                transaction.rollback()
                known.model.objects.create(owner=2)
                assert known.gone() == set()
                transaction.commit()
            finally:
                transaction.rollback()
                transaction.set_autocommit(True)
            assert (known.gone(), unapplied()) == (set(), 1)
            Relay().poll()
            assert (known.gone(), unapplied()) == ({2}, 0)
    finally:
        connection.close()
