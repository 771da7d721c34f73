"""A failover or a crash of the cache that loses acknowledged invalidations leaves no wrong value."""

import logging
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache

from embedded.ports import LOOPBACK
from embedded.redis_server import RedisServer
from embedded.waiting import wait_until
from myapp.models import Post
from tests.faults.conftest import AT_ONCE, Site, in_step_with, work
from tests.package.doctor.sentinels import Sentinel
from tests.support.caches import caches_at
from tests.support.others import worker
from warmer import jobs, warm
from warmer.invalidation import Relay
from warmer.invalidation.relay import on_migrated
from warmer.models import JobServers, WarmingRun
from warmer.report import Outcome
from warmer.stores import breaker

pytestmark = pytest.mark.django_db(transaction=True)
Lose = Callable[[Site], None]


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


def assert_made_up_for(site: Site, relay: Relay) -> None:
    """Make sure that the last `save()` is lost, and no more so after the relay's work."""
    assert site.wrong() == 8
    work(relay)
    assert site.wrong() == 0


faults = pytest.mark.parametrize("lose", [fail_over_to_a_replica_behind, crash_with_an_old_save])


@faults
def test_lost_invalidations__are_made_up_for_once(site: Site, relay: Relay, lose: Lose, caplog: Any) -> None:
    other = Relay()
    work(other)
    lose(site)
    with caplog.at_level(logging.WARNING, logger="warmer"):
        assert_made_up_for(site, relay)
    assert [record.name for record in caplog.records].count("warmer.invalidation.relay") == 1
    site.warm()
    for each in (relay, other, Relay()):  # once is enough
        work(each)
        assert site.cached() == 21


@pytest.mark.parametrize("known", [True, False], ids=["while no worker ran", "before the first worker ran"])
@faults
def test_lost_invalidations__to_the_next_worker(
    site: Site, lose: Lose, known: bool, request: pytest.FixtureRequest
) -> None:
    if known:
        request.getfixturevalue("relay")
    lose(site)
    assert_made_up_for(site, Relay())


@pytest.mark.parametrize("plan", [[], None])
def test_first_worker__leaves_alone_what_a_new_release_warmed(site: Site, plan: list[Any] | None) -> None:
    site.fail_over(site.replica())
    on_migrated(using="default", plan=plan)
    site.warm()
    work(Relay())
    assert site.cached() == (21 if plan is not None else 0)  # a flush of the tables begins nothing


def test_lost_invalidations__of_a_job_that_is_refreshed_are_loaded_at_once(site: Site, relay: Relay) -> None:
    options: Any = {"depends_on": [Post], "on_change": "refresh"}
    warm("refreshed", name="refreshed", **options)(lambda: site.every_title()).warm()
    fail_over_to_a_replica_behind(site)
    assert cache.get("refreshed") == ["old"] * len(site.posts)
    work(relay)
    runs = WarmingRun.objects.filter(job="refreshed").values("trigger", "state", "error", "superseded", "failed")
    assert cache.get("refreshed") == site.every_title(), list(runs)


def test_lost_invalidations__are_noticed_by_a_worker(site: Site) -> None:
    with worker():
        wait_until(JobServers.objects.exists, what="the worker knows the server")
        crash_with_an_old_save(site)
        wait_until(lambda: site.wrong() == 0, what="no value is wrong")


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
        in_step_with(replica, old.port)
        # A replica that was cut off for longer than ten times this is not promoted.
        sentinel = after.enter_context(
            Sentinel(folder=tmp_path, master=old.port, name=name, quorum=1, down_after_ms=1000)
        )
        wait_until(lambda: sentinel.state().get("num-slaves") == 1, what="it knows the replica")
        url = f"redis-sentinel://{LOOPBACK}:{sentinel.port}/{name}/0"
        settings.CACHES = caches_at(url)
        relay = Relay()
        work(relay)
        site.warm()
        assert client.wait(1, 25_000) == 1
        # The replica may not log in again, so what follows is not replicated.
        replica.config_set("masterauth", "wrong")
        client.acl_setuser("replica", enabled=False)
        replica.config_set("masteruser", "replica")
        client.client_kill_filter(_type="replica")
        site.save(*site.posts[:7], title="new")
        old.kill()
        wait_until(lambda: sentinel.state().get("port") == new.port, what="it is promoted")
        breaker.forget()
        assert_made_up_for(site, relay)


def test_failback__to_the_server_before_is_noticed_too(site: Site, relay: Relay) -> None:
    first, second = site.proxy.server, site.replica()
    work(relay)
    site.move_to(second)
    site.promote(second)
    site.warm()
    site.replicate(first)
    site.save(*site.posts[:7], title="new")
    site.fail_over(first)
    assert_made_up_for(site, relay)


def test_address__leads_back_to_a_server_that_missed_changes(site: Site, relay: Relay) -> None:
    first, second = site.proxy.server, site.servers.enter_context(RedisServer())
    site.warm()
    site.move_to(second)
    work(relay)
    site.save(*site.posts[:7], title="new")
    site.move_to(first)
    assert_made_up_for(site, relay)


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
