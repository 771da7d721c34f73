"""One process of the randomised race: `python -m tests.races.actor ROLE SEED SECONDS FIRST_ID LAST_ID`.

A row's `views` is its version: every change raises it, under the row's lock. So a value is stale when its
version is below that of a change which was committed, and invalidated, before the value was read.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable

import django

django.setup()

from django.core.cache import cache  # noqa: E402
from django.db import transaction  # noqa: E402

from myapp.models import Post  # noqa: E402
from myapp.warming import posts  # noqa: E402
from warmer import invalidate_for  # noqa: E402


class Actor:
    """A role with its own random numbers and counts."""

    def __init__(self, seed: int, ids: range) -> None:
        self.random = random.Random(seed)
        self.ids = ids
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []

    def act(self, role: str, seconds: float) -> None:
        """Play the role for a time."""
        step: Callable[[], None] = getattr(self, role)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            step()

    # -- roles ---------------------------------------------------------------------------------
    def writer(self) -> None:
        """Change a row in one of the ways, and look at what is cached after the commit."""
        id = self.random.choice(self.ids)
        way = self.random.choice(["save", "save", "update", "rollback", "delete", "savepoint"])
        version = getattr(self, f"_{way}")(id)
        self.counts[way] += 1
        if version is not None:
            self._look(id, at_least=version)

    def runner(self) -> None:
        """Warm some or all of the rows."""
        some = self.random.sample(self.ids, self.random.randint(1, len(self.ids)))
        report = posts.warm(some, only_missing=self.random.random() < 0.3)
        for outcome in ("written", "fresh", "fenced", "absent", "failed"):
            self.counts[outcome] += getattr(report, outcome)
        self.counts["runs"] += 1

    def reader(self) -> None:
        """Read one or several rows through the cache."""
        if self.random.random() < 0.5:
            posts.get(self.random.choice(self.ids))
        else:
            posts.get_many(self.random.sample(self.ids, 5))
        self.counts["reads"] += 1

    def evictor(self) -> None:
        """Take away what a cache server may lose at any time."""
        server = cache.client.get_client()
        match self.random.randrange(12):
            case 0:
                server.flushdb()
            case 1:
                server.script_flush()
            case 2 | 3 | 4:
                server.delete(posts.spec.store.fence_key)
            case _:
                server.delete(cache.make_key(posts.key(self.random.choice(self.ids))))
        self.counts["evictions"] += 1
        time.sleep(0.02)

    # -- ways of changing a row; each returns the version that it committed ---------------------------
    def _save(self, id: int) -> int | None:
        with transaction.atomic():
            post = self._locked(id)
            if post is None:
                return None
            post.views += 1
            post.save()
        return post.views

    def _savepoint(self, id: int) -> int | None:
        other = self.random.choice(self.ids)
        with transaction.atomic():
            # Both at once, in order: two writers that lock each other's second row would deadlock.
            list(Post.objects.select_for_update().filter(pk__in=[id, other]).order_by("pk"))
            version = self._save(id)
            with transaction.atomic():
                self._save(other)
                transaction.set_rollback(True)
        return version

    def _update(self, id: int) -> int | None:
        with transaction.atomic():
            post = self._locked(id)
            if post is None:
                return None
            Post.objects.filter(pk=id).update(views=post.views + 1)
            invalidate_for(post)
        return post.views + 1

    def _rollback(self, id: int) -> None:
        with transaction.atomic():
            self._save(id)
            transaction.set_rollback(True)

    def _delete(self, id: int) -> int | None:
        with transaction.atomic():
            post = self._locked(id)
            if post is None:
                return None
            version = post.views
            post.delete()
        self._look(id, at_least=version + 1)
        with transaction.atomic():
            post.pk, post.views = id, version + 1
            post.save(force_insert=True)
        return version + 1

    def _locked(self, id: int) -> Post | None:
        return Post.objects.select_for_update().filter(pk=id).first()

    def _look(self, id: int, *, at_least: int) -> None:
        value = cache.get(posts.key(id))
        self.counts["looks"] += 1
        if value is not None and value["views"] < at_least:
            self.wrong.append(f"post {id}: version {value['views']} was cached after {at_least}")


if __name__ == "__main__":
    role, seed, seconds, first, last = sys.argv[1:]
    actor = Actor(int(seed), range(int(first), int(last) + 1))
    actor.act(role, float(seconds))
    print(json.dumps({"counts": actor.counts, "wrong": actor.wrong}))
