"""One process of the randomised race: `python -m tests.races.actor ROLE RELEASE SEED SECONDS FIRST LAST`.

A row's `views` is its version: every change raises it, under the row's lock. So a value is stale when its
version is below that of a change which was committed, and invalidated, before the value was read. What is
rolled back is titled `NEVER`, so nobody may ever read it.

FIRST and LAST are ids. The release "next" declares one job more. The process says "ready", begins when it is
sent a line, and prints what it did as JSON.
"""

import json
import os
import random
import select
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from itertools import cycle
from typing import Any

import django

django.setup()

from django.core.cache import cache  # noqa: E402
from django.db import DatabaseError, connection, transaction  # noqa: E402
from django.db.models import F  # noqa: E402

from myapp.models import Post  # noqa: E402
from myapp.warming import popular_posts, posts  # noqa: E402
from warmer import failpoints, warm_many  # noqa: E402
from warmer.invalidation import Relay  # noqa: E402
from warmer.invalidation.records import fingerprint  # noqa: E402

NEVER = "rolled back"
UPDATE = f"UPDATE {Post._meta.db_table} SET views = views + 1 WHERE id = %s RETURNING views"
IN_A_TRANSACTION = ("save", "savepoint", "update", "bulk_update", "upsert", "raw_sql", "rollback", "delete")
IN_AUTOCOMMIT = ("save_alone", "update_alone", "raw_sql_alone")


def declare_next() -> Any:

    @warm_many("next:{id}", ids=list, name="next", depends_on={Post: "id"})
    def views(ids: Any) -> dict[int, int]:
        return dict(Post.objects.filter(pk__in=ids).values_list("pk", "views"))

    return views


class Actor:
    """A role with its own random numbers and counts."""

    def __init__(self, release: str, seed: int, ids: range) -> None:
        self.next = declare_next() if release == "next" else None
        self.random = random.Random(seed)
        self.ids = ids
        self.relaying = Relay()
        self.points = cycle(failpoints.NAMES)
        self.counts: Counter[str] = Counter()
        self.wrong: list[str] = []

    def act(self, role: str, seconds: float) -> None:
        """Play the role for a time; the relay, or without a time any role, until the input is closed."""
        step: Callable[[], None] = getattr(self, role)
        end, goes_on = time.monotonic() + seconds, role == "relay" or not seconds
        while time.monotonic() < end or (goes_on and not select.select([sys.stdin], [], [], 0)[0]):
            step()
        if role == "relay":
            step()

    # -- roles ---------------------------------------------------------------------------------
    def writer(self) -> None:
        """Change a row in one of the ways, and look at what is cached after the commit."""
        id = self.random.choice(self.ids)
        way = self.random.choice(IN_A_TRANSACTION + IN_AUTOCOMMIT)
        version = getattr(self, f"_{way}")(id)
        self.counts[way] += 1
        if version is not None:
            self._look(id, at_least=version)
        if self.next is not None:
            self.next.get_many(self.random.sample(self.ids, 5))

    def mortal(self) -> None:
        """Fill or change a row in a process that is killed at a named point."""
        point, id = next(self.points), self.random.choice(self.ids)
        way = self.random.choice(("save", "raw_sql") + IN_AUTOCOMMIT)
        child = os.fork()
        if not child:
            try:
                failpoints.hooks[point] = lambda _job: os.kill(os.getpid(), signal.SIGKILL)
                posts.warm([id])
                getattr(self, f"_{way}")(id)
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        self.counts[f"killed at {point}"] += os.WIFSIGNALED(status)

    def relay(self) -> None:
        self.counts["relayed"] += self.relaying.poll()
        time.sleep(0.05)

    def runner(self) -> None:
        some = self.random.sample(self.ids, self.random.randint(1, len(self.ids)))
        report = posts.warm(some, only_missing=self.random.random() < 0.3)
        for outcome in ("written", "skipped", "superseded", "no_value", "failed"):
            self.counts[outcome] += getattr(report, outcome)
        self.counts["runs"] += 1

    def reader(self) -> None:
        popular_posts.get()
        self._check(posts.get(self.random.choice(self.ids)))
        for value in posts.get_many(self.random.sample(self.ids, 5)).values():
            self._check(value)
        if self.next is not None:
            self.next.get_many(self.random.sample(self.ids, 5))
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

    # -- ways of changing a row; each returns the version that it committed, or a lower one -----------
    def _change(self, id: int, change: Callable[[Post], object]) -> int | None:
        with transaction.atomic():
            post = Post.objects.select_for_update().filter(pk=id).first()
            if post is None:
                return None
            post.views += 1
            change(post)
        return post.views

    def _save(self, id: int, title: str = "") -> int | None:
        def save(post: Post) -> None:
            post.title = title or post.title
            post.save()

        return self._change(id, save)

    def _savepoint(self, id: int) -> int | None:
        other = self.random.choice(self.ids)
        with transaction.atomic():
            # Both at once, in order: two writers that lock each other's second row would deadlock.
            list(Post.objects.select_for_update().filter(pk__in=[id, other]).order_by("pk"))
            version = self._save(id)
            with transaction.atomic():
                self._save(other, NEVER)
                transaction.set_rollback(True)
        return version

    def _update(self, id: int) -> int | None:
        return self._change(id, lambda post: Post.objects.filter(pk=id).update(views=F("views") + 1))

    def _bulk_update(self, id: int) -> int | None:
        return self._change(id, lambda post: Post.objects.bulk_update([post], ["views"]))

    def _upsert(self, id: int) -> int | None:
        options: Any = {"update_conflicts": True, "update_fields": ["views"], "unique_fields": ["id"]}
        return self._change(id, lambda post: Post.objects.bulk_create([post], **options))

    def _raw_sql(self, id: int) -> int | None:
        with transaction.atomic():
            return self._raw_sql_alone(id)

    def _rollback(self, id: int) -> None:
        with transaction.atomic():
            self._save(id, NEVER) if self.random.random() < 0.5 else self._raw_sql_alone(id, NEVER)
            posts.get(id)
            transaction.set_rollback(True)

    def _delete(self, id: int) -> int | None:
        deleted: list[Post] = []

        def delete(post: Post) -> None:
            post.delete()
            deleted.append(post)

        version = self._change(id, delete)
        if version is None:
            return None
        self._look(id, at_least=version)
        with transaction.atomic():
            deleted[0].pk = id
            deleted[0].save(force_insert=True)
        return version

    def _save_alone(self, id: int) -> int | None:
        post = Post.objects.filter(pk=id).first()
        if post is None:
            return None
        version = post.views + 1
        post.views = F("views") + 1  # type: ignore[assignment]
        try:
            post.save(update_fields=["views"])
        except DatabaseError:  # another has deleted it
            return None
        return version

    def _update_alone(self, id: int) -> int | None:
        version = Post.objects.filter(pk=id).values_list("views", flat=True).first()
        changed = Post.objects.filter(pk=id).update(views=F("views") + 1)
        return version + 1 if changed and version is not None else None

    def _raw_sql_alone(self, id: int, title: str = "") -> int | None:
        sql = UPDATE.replace("views = views", f"title = '{title}', views = views") if title else UPDATE
        with connection.cursor() as cursor:
            cursor.execute(sql, [id])
            row = cursor.fetchone()
        return row and row[0]

    # -- what is cached ----------------------------------------------------------------------------
    def _look(self, id: int, *, at_least: int) -> None:
        value = cache.get(posts.key(id))
        self.counts["looks"] += 1
        self._check(value)
        if value is not None and value["views"] < at_least:
            self.wrong.append(f"post {id}: version {value['views']} was cached after {at_least}")

    def _check(self, value: Any) -> None:
        if value is not None and value["title"] == NEVER:
            self.wrong.append(f"post {value['id']}: what was rolled back was cached")


if __name__ == "__main__":
    role, release, seed, seconds, first, last = sys.argv[1:]
    actor = Actor(release, int(seed), range(int(first), int(last) + 1))
    print("ready", flush=True)
    sys.stdin.readline()
    actor.act(role, float(seconds))
    print(json.dumps({"counts": actor.counts, "wrong": actor.wrong, "fingerprint": fingerprint()}))
