"""Failovers and crashes of the cache while processes write and read: at rest, no value is wrong."""

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event

import pytest
from django.db import transaction

from embedded.waiting import wait_until
from myapp.models import Post
from tests.faults.conftest import Site
from tests.support.others import in_threads, worker
from warmer.invalidation import Relay, backlog
from warmer.models import JobServers

pytestmark = pytest.mark.django_db(transaction=True)


@contextmanager
def traffic(site: Site) -> Iterator[Callable[[int], None]]:
    """Write and read in threads; yield a function that waits for a number of further writes."""
    ended, written = Event(), []

    def write() -> None:
        numbers = random.Random(1)
        while not ended.wait(0.002):
            with transaction.atomic():
                post = Post.objects.select_for_update().get(pk=numbers.choice(site.posts))
                post.title = f"title {len(written)}"
                post.save()
            written.append(post.pk)

    def read() -> None:
        while not ended.wait(0.002):
            site.titles.get_many(site.posts)
            site.every_title.get()

    def wait_for(number: int) -> None:
        enough = len(written) + number
        wait_until(lambda: len(written) >= enough, what=f"{number} further writes")

    threads = in_threads(write, read, read)
    try:
        yield wait_for
    finally:
        ended.set()
        for thread in threads:
            thread.join()


@pytest.mark.parametrize("mends", [True, False])
def test_failover__while_processes_write_and_read(site: Site, mends: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not mends:
        monkeypatch.setattr(Relay, "notice", lambda self: None)
    site.warm()
    with worker():
        if mends:
            wait_until(JobServers.objects.exists, what="the worker knows the server")
        with traffic(site) as wait_for:
            wait_for(20)
            replica = site.replica()
            wait_for(60)
            site.fail_over(replica)
        if mends:
            is_mended = lambda: " " in JobServers.objects.get(job="titles").servers  # noqa: E731
            wait_until(is_mended, what="the worker knows both servers")
        wait_until(lambda: backlog().count == 0, what="nothing waits")
    assert (site.wrong() == 0) is mends
