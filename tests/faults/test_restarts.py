"""A server of the cache that starts again, and how a process tells that it did."""

import shutil
from collections.abc import Callable
from typing import Any

import pytest

from embedded.waiting import wait_until
from tests.faults.conftest import Site, work
from warmer.invalidation import Relay, captures_by_triggers
from warmer.models import ChangeRecord
from warmer.stores import incarnation_of

pytestmark = pytest.mark.django_db(transaction=True)


with_log = pytest.mark.parametrize("options", [{"appendonly": "yes", "appendfsync": "everysec"}], ids=["log"])


def lose_the_end(site: Site) -> None:
    """Lose what the server wrote to its append-only file, and the disk did not, as the machine crashes."""
    site.warm()
    server = site.proxy.server
    file, kept = server.folder / "appendonlydir", server.folder / "kept"

    def is_written() -> bool:
        with server.client() as client:
            return client.info("persistence")["aof_buffer_length"] == 0

    # While the disk is slow, the server holds back what it appends.
    wait_until(is_written, what="the server has written its file")
    shutil.copytree(file, kept)
    site.save(*site.posts[:7], title="new")
    server.kill()
    shutil.rmtree(file)
    kept.rename(file)
    site.crash()
    assert site.wrong() == 8


@with_log
def test_restart__with_a_log_applies_the_last_changes_again(site: Site, relay: Relay) -> None:
    lose_the_end(site)
    work(relay)
    assert site.wrong() == 0
    # Signals record no change in autocommit.
    assert site.cached() == (13 if captures_by_triggers() else 0)


@with_log
def test_restart__with_a_log_while_no_worker_ran(site: Site, relay: Relay) -> None:
    lose_the_end(site)
    ChangeRecord.objects.all().delete()  # that is long ago
    work(Relay())
    assert (site.wrong(), site.cached()) == (0, 0)


def test_restart__without_data_invalidates_nothing(site: Site, relay: Relay, caplog: Any) -> None:
    site.warm()
    site.crash()
    site.warm()
    work(relay)
    assert site.cached() == 21
    assert "warmer.invalidation.relay" not in {record.name for record in caplog.records}


def test_incarnation__of_a_server_that_was_demoted_is_its_successors(site: Site, relay: Relay) -> None:
    before = incarnation_of("default")
    old, new = site.proxy.server, site.replica()
    site.promote(new)
    with old.client() as client:
        client.replicaof("127.0.0.1", new.port)  # the open connections stay
    assert incarnation_of("default") is None
    after = incarnation_of("default")
    assert before
    assert after
    assert before.id not in after.id


def without_the_right_to_ask(site: Site) -> None:
    with site.proxy.server.client() as client:
        client.execute_command("ACL SETUSER", "default", "-info")


@pytest.mark.parametrize("lose", [without_the_right_to_ask, lambda site: site.proxy.server.kill()])
def test_incarnation__is_unknown(site: Site, lose: Callable[[Site], None]) -> None:
    lose(site)
    assert incarnation_of("default") is None
    Relay().notice()
