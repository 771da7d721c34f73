"""Twenty writers at once on PostgreSQL: no deadlock and no serialization failure, and all is right at rest.

What they do cannot deadlock without warmer: a transaction takes rows of its writer, and at most one kind of
row that others take, in one order. `--race-seconds 150` makes it 30 seconds long.
"""

import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from threading import Event
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import connection, transaction
from django.db.models import F

from myapp.models import Comment, Post
from myapp.warming import posts
from tests.support.others import in_thread, in_threads
from users.models import CustomUser
from warmer import warm_many
from warmer.invalidation import Relay, backlog

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]

WRITERS = 20


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What all writers change, and what came of it."""

    posts: Sequence[Post]
    groups: Sequence[Group]
    members: Any
    done: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)


class Writer:
    """A writer with a user and a post of its own."""

    def __init__(self, shared: Shared, user: CustomUser, post: Post, seed: int) -> None:
        self.shared, self.user, self.post = shared, user, post
        self.random = random.Random(seed)

    def write(self, end: float) -> None:
        """Change rows until a moment, each time in another way."""
        ways = [self.save, self.update, self.comment, self.delete, self.link, self.clear, self.isolated]
        while time.monotonic() < end:
            way = self.random.choice(ways)
            try:
                way()
                self.shared.done[way.__name__] += 1
                posts.get_many([post.pk for post in self.random.sample(self.shared.posts, 3)])
                self.shared.members.get_many([group.pk for group in self.shared.groups])
            except Exception as error:  # noqa: BLE001 - each is counted, and none may be
                self.shared.errors[f"{way.__name__}: {error!r}"] += 1

    def pause(self) -> None:
        time.sleep(self.random.random() / 100)

    def save(self) -> None:
        some = {post.pk for post in self.random.sample(self.shared.posts, 2)}
        with transaction.atomic():
            for post in Post.objects.select_for_update().filter(pk__in=some).order_by("pk"):
                post.views += 1
                post.save()
                self.pause()

    def update(self) -> None:
        Post.objects.filter(pk=self.random.choice(self.shared.posts).pk).update(views=F("views") + 1)

    def comment(self) -> None:
        with transaction.atomic():
            Comment.objects.create(
                post=self.random.choice(self.shared.posts), author=self.user, body=str(self.random.random())
            )
            self.pause()
        if self.random.random() < 0.7:
            Comment.objects.filter(author=self.user).delete()

    def delete(self) -> None:
        """Delete and make anew a post of one's own, with what depends on it."""
        with transaction.atomic():
            Comment.objects.create(post=self.post, author=self.user, body="!")
            self.post.delete()
            self.pause()
            self.post.save(force_insert=True)

    def link(self) -> None:
        one, *some = self.random.sample(self.shared.groups, self.random.randint(1, 3))
        groups = self.user.groups
        with transaction.atomic():
            for change in self.random.sample([groups.add, groups.remove], 2):
                change(one)
                self.pause()
            groups.set(some)
            self.pause()
            one.user_set.add(self.user)

    def clear(self) -> None:
        """Take one group's members away, from the other end."""
        with transaction.atomic():
            self.shared.groups[0].user_set.clear()
            self.pause()

    def isolated(self) -> None:
        """Change one's own rows in a transaction that others must not make fail."""
        with transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            self.user.first_name = str(self.random.random())
            self.user.save()
            self.pause()
            Comment.objects.create(post=self.post, author=self.user, body="!")
            Post.objects.filter(pk=self.post.pk).update(views=F("views") + 1)


def test_writers__no_deadlock_and_no_serialization_failure(
    make_post: Callable[..., Post], pytestconfig: pytest.Config, settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    settings.WARMER_REPLAY = timedelta(seconds=1)  # old records are deleted meanwhile
    members: Any = warm_many("members:{id}", ids=list, depends_on={CustomUser: "groups"})(members_of)
    shared = Shared(
        posts=[make_post() for _ in range(8)],
        groups=[Group.objects.create(name=str(number)) for number in range(4)],
        members=members,
    )
    seed, end, before = pytestconfig.getoption("race_seed"), Event(), deadlocks()
    own = [make_post() for _ in range(WRITERS)]
    until = time.monotonic() + pytestconfig.getoption("race_seconds") / 5
    relay = in_thread(partial(poll_until, end))
    writers = [Writer(shared, post.author, post, seed + number) for number, post in enumerate(own)]
    for thread in in_threads(*(partial(each.write, until) for each in writers)):
        thread.join()
    end.set()
    relay.join()

    assert shared.errors == {}
    assert len(shared.done) == 7
    # Nor any that was not raised, because the change was committed already.
    assert deadlocks() == before
    assert [each for each in caplog.messages if "wait" in each] == []
    assert backlog().count == 0
    for job, ids in (
        (posts, [post.pk for post in [*shared.posts, *own]]),
        (members, [group.pk for group in shared.groups]),
    ):
        assert job.get_many(ids) == job(ids)


def members_of(ids: Sequence[int]) -> dict[int, list[int]]:
    users = CustomUser.objects.order_by("pk")
    return {id: list(users.filter(groups=id).values_list("pk", flat=True)) for id in ids}


def poll_until(end: Event) -> None:
    """Relay until the writers are done, and once more."""
    relay = Relay()
    while not end.wait(0.05):
        relay.poll()
    relay.poll()


def deadlocks() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        return int(cursor.fetchone()[0])
