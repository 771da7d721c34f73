"""Fixtures of the faults: a site whose cache is on a server of its own, behind an address that can change."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.db import transaction
from redis import Redis

from embedded.ports import LOOPBACK
from embedded.redis_server import RedisServer
from embedded.waiting import wait_until
from myapp.models import Post
from tests.support import keyed
from tests.support.caches import caches_at
from tests.support.fixtures import make_post, make_user, own_jobs
from tests.support.proxy import Proxy
from warmer import warm
from warmer.invalidation import Relay, backlog, captures_by_triggers
from warmer.invalidation.relay import on_migrated
from warmer.models import ChangeRecord, JobServers
from warmer.stores import breaker

__all__ = ["make_post", "make_user", "own_jobs"]

# By default, a server waits for further replicas, and at its end for those that it has.
AT_ONCE = {"repl-diskless-sync-delay": "0", "shutdown-timeout": "0"}


@dataclass(kw_only=True)
class Site:
    """Posts whose titles are cached, by a job with a key for each and by one with a single key."""

    proxy: Proxy  # to which the cache's clients connect
    posts: list[int]
    titles: Any
    every_title: Any
    servers: ExitStack = field(default_factory=ExitStack)

    def warm(self) -> None:
        self.titles.warm()
        self.every_title.warm()
        assert (self.cached(), self.wrong()) == (len(self.posts) + 1, 0)

    def save(self, *posts: int, title: str) -> None:
        """Change titles; the cache acknowledges that their keys are invalidated."""
        with transaction.atomic():
            for post in Post.objects.filter(pk__in=posts):
                post.title = title
                post.save()
        assert (backlog().count, self.wrong()) == (0, 0)

    def cached(self) -> int:
        """Return how many of the keys are cached."""
        return len(self._found())

    def wrong(self) -> int:
        """Return how many of the keys hold what the database does not say."""
        right = {self.titles.key(id): title for id, title in self.titles(self.posts).items()}
        right["titles"] = self.every_title()
        return sum(value != right[key] for key, value in self._found().items())

    def _found(self) -> dict[str, Any]:
        return dict(cache.get_many([*map(self.titles.key, self.posts), "titles"]))

    def move_to(self, server: RedisServer) -> None:
        """Point the address of the cache at a server; the open connections end."""
        with self.proxy.server.client() as client:
            client.client_kill_filter(_type="normal", skipme=True)
        self.lead_to(server)

    def lead_to(self, server: RedisServer) -> None:
        """Point the address of the cache at a server; open connections stay."""
        self.proxy.server = server
        breaker.forget()

    def replica(self) -> RedisServer:
        """Return a server that has all that the cache holds now, and nothing that comes."""
        replica = self.servers.enter_context(RedisServer(options=AT_ONCE))
        self.replicate(replica)
        return replica

    def replicate(self, replica: RedisServer) -> None:
        """Copy all that the cache holds now to a server, then cut it off."""
        with Proxy(self.proxy.server) as link, replica.client() as client:
            in_step_with(client, link.port)

    def fail_over(self, to: RedisServer) -> None:
        self.proxy.server.kill()
        self.promote(to)

    def promote(self, replica: RedisServer) -> None:
        with replica.client() as client:
            client.replicaof("NO", "ONE")
        self.lead_to(replica)

    def crash(self) -> None:
        """Kill the server, and start it again with what it has on disk."""
        self.proxy.server.kill()
        self.proxy.server.start()
        breaker.forget()


@pytest.fixture
def options() -> dict[str, str]:
    return {}


@pytest.fixture
def site(options: dict[str, str], settings: Any, make_post: Any, own_jobs: None) -> Iterator[Site]:
    with RedisServer(options=AT_ONCE | options) as server, Proxy(server) as proxy, ExitStack() as servers:
        settings.CACHES = caches_at(proxy.url)
        posts = [make_post(title="old").pk for _ in range(20)]
        titles = keyed.titles(ids=lambda: posts, name="titles", depends_on={Post: "id"})
        every_title = warm("titles", name="every_title", depends_on=[Post])(
            lambda: list(Post.objects.order_by("pk").values_list("title", flat=True))
        )
        ChangeRecord.objects.all().delete()  # of the posts: it was long ago
        yield Site(proxy=proxy, posts=posts, titles=titles, every_title=every_title, servers=servers)


def in_step_with(replica: Redis, port: int) -> None:
    """Make a server replicate the one at a port; return when it is in step."""
    replica.replicaof(LOOPBACK, port)
    wait_until(lambda: replica.info("replication")["master_link_status"] == "up", what="the replica is in step")


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


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave the soak to PostgreSQL with triggers: its processes write at once, and in every way."""
    is_shown = config.getoption("database") == "postgresql" and captures_by_triggers()
    return True if collection_path.name == "test_soak.py" and not is_shown else None
