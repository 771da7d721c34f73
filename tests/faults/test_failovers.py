"""A failover or a crash of the cache that loses acknowledged invalidations leaves no wrong value."""

import logging
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache

from config.redis_url import cache_settings
from embedded.ports import LOOPBACK
from embedded.redis_server import RedisServer
from embedded.waiting import wait_until
from tests.faults.conftest import AT_ONCE, SECONDS, Site
from tests.package.doctor.sentinels import Sentinel
from warmer import jobs
from warmer.invalidation import Relay, captures_by_triggers
from warmer.invalidation.relay import on_migrated
from warmer.models import ChangeRecord, JobServers
from warmer.report import Outcome
from warmer.stores import breaker, incarnation_of
from warmer.tasks import relaying

pytestmark = pytest.mark.django_db(transaction=True)
Lose = Callable[[Site], None]


def work(relay: Relay) -> None:
    """Do what a worker does twice a second."""
    relay.notice()
    relay.poll()


@pytest.fixture
def relay(site: Site) -> Relay:
    """The relay of a worker that has seen the server as it is now."""
    JobServers.objects.all().delete()  # those of the other tests' cache
    on_migrated(using="default", plan=[])
    relay = Relay()
    work(relay)
    return relay


def fail_over_to_a_replica_behind(site: Site) -> None:
    site.warm()
    replica = site.replica()
    site.save(*site.posts[:7], title="new")
    site.fail_over(replica)


def crash_with_an_old_save(site: Site) -> None:
    site.warm()
    with site.proxy.server.client() as client:
        client.save()
    site.save(*site.posts[:7], title="new")
    site.crash()


faults = pytest.mark.parametrize("lose", [fail_over_to_a_replica_behind, crash_with_an_old_save])


@faults
def test_lost_invalidations__are_made_up_for(site: Site, relay: Relay, lose: Lose, caplog: Any) -> None:
    lose(site)
    assert site.wrong() == 8
    with caplog.at_level(logging.WARNING, logger="warmer"):
        work(relay)
    assert site.wrong() == 0
    assert [record.name for record in caplog.records].count("warmer.invalidation.relay") == 1
    site.warm()
    work(relay)
    assert site.cached() == 21


@faults
def test_lost_invalidations__stay_lost_with_the_replay_switched_off(
    site: Site, relay: Relay, lose: Lose, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Relay, "notice", lambda self: None)
    lose(site)
    work(relay)
    assert site.wrong() == 8


@pytest.mark.usefixtures("relay")
@faults
def test_lost_invalidations__while_no_worker_ran(site: Site, lose: Lose) -> None:
    lose(site)
    work(Relay())
    assert site.wrong() == 0


@faults
def test_lost_invalidations__before_the_first_worker_ran(site: Site, lose: Lose) -> None:
    lose(site)
    work(Relay())
    assert site.wrong() == 0


@pytest.mark.parametrize("plan", [[], None])
def test_first_worker__leaves_alone_what_a_new_release_warmed(site: Site, plan: list[Any] | None) -> None:
    site.fail_over(site.replica())
    on_migrated(using="default", plan=plan)
    site.warm()
    work(Relay())
    assert site.cached() == (21 if plan is not None else 0)  # a flush of the tables begins nothing


@faults
def test_lost_invalidations__are_made_up_for_once(site: Site, relay: Relay, lose: Lose) -> None:
    other = Relay()
    work(other)
    lose(site)
    work(relay)
    site.warm()
    work(other)
    work(Relay())
    assert site.cached() == 21


def test_lost_invalidations__are_noticed_by_a_worker(site: Site) -> None:
    relaying.start()
    try:
        wait_until(JobServers.objects.exists, seconds=SECONDS, what="the worker knows the server")
        crash_with_an_old_save(site)
        wait_until(lambda: site.wrong() == 0, seconds=SECONDS, what="no value is wrong")
    finally:
        relaying.stop()
        wait_until(lambda: not relaying._open, seconds=SECONDS, what="the worker has ended")


@pytest.mark.parametrize("mends", [True, False])
@pytest.mark.parametrize("name", ["titles", "every_title"])
def test_token__of_a_clock_that_ran_ahead(
    site: Site, relay: Relay, name: str, mends: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock of the old primary is 30 seconds ahead of that of the replica that is promoted."""
    site.warm()
    store = jobs[name].spec.store
    key, old = (site.titles.key(site.posts[0]), "old") if name == "titles" else ("titles", ["old"])
    replica = site.replica()
    with site.proxy.server.client() as client:
        for member, count in client.zrange(store.fence_key, 0, -1, withscores=True):
            if count >= 0:
                client.zadd(store.fence_key, {member: count + 30 * 10**6})
    token = store.token([key])
    site.fail_over(replica)
    if not mends:
        monkeypatch.setattr(Relay, "notice", lambda self: None)
    work(relay)
    site.save(site.posts[0], title="new")
    outcome = Outcome.SUPERSEDED if mends else Outcome.WRITTEN
    assert store.write(token, {key: old}).outcomes == {key: outcome}
    assert site.wrong() == (0 if mends else 1)


def test_sentinel__promotes_a_replica_behind(site: Site, settings: Any, tmp_path: Path) -> None:
    old, new = site.proxy.server, site.servers.enter_context(RedisServer(options=AT_ONCE))
    # django-redis keeps a pool for good by the master's name.
    name = f"of-port-{old.port}"
    with old.client() as client, new.client() as replica, ExitStack() as after:
        replica.replicaof(LOOPBACK, old.port)
        in_step = lambda: replica.info("replication")["master_link_status"] == "up"  # noqa: E731
        wait_until(in_step, seconds=SECONDS, what="the replica is in step")
        # A replica that was cut off for longer than ten times this is not promoted.
        sentinel = after.enter_context(
            Sentinel(folder=tmp_path, master=old.port, name=name, quorum=1, down_after_ms=1000)
        )
        wait_until(lambda: sentinel.state().get("num-slaves") == 1, seconds=60, what="it knows the replica")
        url = f"redis-sentinel://{LOOPBACK}:{sentinel.port}/{name}/0"
        settings.CACHES = {"default": cache_settings(url, max_connections=5)}
        relay = Relay()
        work(relay)
        site.warm()
        client.wait(1, 1000)
        # The replica may not log in again, so what follows is not replicated.
        replica.config_set("masterauth", "wrong")
        client.acl_setuser("replica", enabled=False)
        replica.config_set("masteruser", "replica")
        client.client_kill_filter(_type="replica")
        site.save(*site.posts[:7], title="new")
        old.kill()
        wait_until(lambda: sentinel.state().get("port") == new.port, seconds=60, what="it is promoted")
        breaker.forget()
        assert site.wrong() == 8
        work(relay)
        assert site.wrong() == 0


def test_failback__to_the_server_before_is_noticed_too(site: Site, relay: Relay) -> None:
    first, second = site.proxy.server, site.replica()
    work(relay)
    site.move_to(second)
    site.promote(second)
    site.warm()
    site.replicate(first)
    site.save(*site.posts[:7], title="new")
    site.fail_over(first)
    assert site.wrong() == 8
    work(relay)
    assert site.wrong() == 0


def test_address__leads_back_to_a_server_that_missed_changes(site: Site, relay: Relay) -> None:
    first, second = site.proxy.server, site.servers.enter_context(RedisServer())
    site.warm()
    site.move_to(second)
    work(relay)
    site.save(*site.posts[:7], title="new")
    site.move_to(first)
    assert site.wrong() == 8
    work(relay)
    assert site.wrong() == 0


def test_two_servers__of_two_workers_are_not_invalidated_in_turns(site: Site, relay: Relay) -> None:
    first, second = site.proxy.server, site.servers.enter_context(RedisServer())
    site.move_to(second)
    site.warm()
    other = Relay()
    work(other)
    site.warm()
    work(Relay())
    work(other)
    assert site.cached() == 21
    site.move_to(first)
    site.warm()
    work(Relay())
    assert site.cached() == 21


def test_change__of_a_process_that_still_reached_the_server_before(site: Site, relay: Relay) -> None:
    fail_over_to_a_replica_behind(site)
    work(relay)
    site.warm()
    site.save(site.posts[0], title="newer")
    cache.set(site.titles.key(site.posts[0]), "new")  # as if the invalidation had not come here
    work(relay)
    assert site.wrong() == 0
    site.warm()
    work(relay)
    assert site.cached() == 21


class TestLog:
    """A server that keeps its keys in an append-only file, and crashes with the machine."""

    @pytest.fixture
    def options(self) -> dict[str, str]:
        return {"appendonly": "yes", "appendfsync": "everysec"}

    def lose_the_end(self, site: Site) -> None:
        """Lose what the server wrote to its file, and the disk did not."""
        site.warm()
        server = site.proxy.server
        file, kept = server.folder / "appendonlydir", server.folder / "kept"

        def is_written() -> bool:
            with server.client() as client:
                return client.info("persistence")["aof_buffer_length"] == 0

        # While the disk is slow, the server holds back what it appends.
        wait_until(is_written, seconds=SECONDS, what="the server has written its file")
        shutil.copytree(file, kept)
        site.save(*site.posts[:7], title="new")
        server.kill()
        shutil.rmtree(file)
        kept.rename(file)
        site.crash()

    def test_restart__applies_the_last_changes_again(self, site: Site, relay: Relay) -> None:
        self.lose_the_end(site)
        assert site.wrong() == 8
        work(relay)
        assert site.wrong() == 0
        # Signals record no change in autocommit.
        assert site.cached() == (13 if captures_by_triggers() else 0)

    def test_restart__while_no_worker_ran(self, site: Site, relay: Relay) -> None:
        self.lose_the_end(site)
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


def test_incarnation__is_unknown_without_the_right_to_ask(site: Site) -> None:
    with site.proxy.server.client() as client:
        client.execute_command("ACL SETUSER", "default", "-info")
    assert incarnation_of("default") is None
    work(Relay())


def test_incarnation__is_unknown_while_the_server_is_away(site: Site) -> None:
    site.proxy.server.kill()
    assert incarnation_of("default") is None
    Relay().notice()
