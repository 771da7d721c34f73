"""What is seen of changes in two databases, as JSON: `python -m tests.package.invalidation.two_databases`."""

import json
import sqlite3
from contextlib import closing
from typing import Any

import django

django.setup()

from django.core.cache import cache  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connections, transaction  # noqa: E402
from django.db.models.signals import pre_delete  # noqa: E402
from django.utils import timezone  # noqa: E402

from myapp.models import Post  # noqa: E402
from users.models import CustomUser  # noqa: E402
from warmer import warm_many  # noqa: E402
from warmer.invalidation import records  # noqa: E402

DATABASES = ("default", "second")
Seen = dict[str, Any]


def titles(ids: list[int]) -> dict[int, list[str]]:
    """Load the titles of a post of both databases; of one that is in one, that one."""
    found: dict[int, list[str]] = {}
    for using in DATABASES:
        for id, title in Post.objects.using(using).filter(pk__in=ids).values_list("pk", "title"):
            found.setdefault(id, []).append(title)
    return found


job: Any = warm_many("title:{id}", ids=list, name="titles", depends_on={Post: "id"})(titles)


def make(id: int, using: str) -> Post:
    user, _ = CustomUser.objects.using(using).get_or_create(username="ada", email="ada@example.org")
    return Post.objects.using(using).create(
        pk=id, title="old", slug=f"post-{id}", author=user, published_at=timezone.now()
    )


def kept() -> list[int]:
    waiting = [records.read(using=using, above=0) for using in DATABASES]
    return [len([each for each in found if each.source == "myapp_post"]) for found in waiting]


def rename(post: Post, title: str) -> None:
    post.title = title
    post.save(using=post._state.db)


def listeners() -> Seen:
    """Save in one database, then in both: triggers may record the one and not the other."""
    seen = {}
    for using in DATABASES:
        make(8, using)
        seen[using] = pre_delete.has_listeners(Post)
    return seen


def commit_of_its_own() -> Seen:
    """Change the second database in a transaction, while none is open in the first."""
    post = make(1, "second")
    job.get(1)
    with transaction.atomic(using="second"):
        rename(post, "new")
        seen = {"cached inside": cache.get("title:1"), "read inside": job.get(1), "kept inside": kept()}
    return {**seen, "cached after": cache.get("title:1"), "read after": job.get(1), "kept after": kept()}


def other_transaction() -> Seen:
    """Change the second database while a transaction is open in the first, which rolls back."""
    post, other = make(2, "second"), make(3, "default")
    job.get_many([2, 3])
    with transaction.atomic():
        rename(other, "never")
        rename(post, "new")
        seen = {"cached inside": cache.get("title:2"), "read inside": job.get(2)}
        transaction.set_rollback(True)
    return {**seen, "cached after": cache.get("title:2"), "other": cache.get("title:3"), "read": job.get(3)}


def both_at_once() -> Seen:
    """Roll one of two nested transactions back; what is changed in the other stands."""
    post, other = make(4, "second"), make(5, "default")
    job.get_many([4, 5])
    with transaction.atomic(using="second"):
        rename(post, "new")
        with transaction.atomic():
            rename(other, "never")
            transaction.set_rollback(True)
        seen = {"rolled back": cache.get("title:5")}
    return {**seen, "committed": cache.get("title:4"), "read": job.get(5)}


def added_without_triggers() -> Seen:
    """Change a database that is added at run time, and that no trigger watches."""
    make(6, "second")
    second = connections.settings["second"]
    connections.settings["third"] = third = second | {"NAME": f"{second['NAME']}.third"}
    with closing(sqlite3.connect(second["NAME"])) as old, closing(sqlite3.connect(third["NAME"])) as new:
        old.backup(new)
        for (name,) in new.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            new.execute(f"DROP TRIGGER {name}")
    job.get(6)
    rename(Post.objects.using("third").get(pk=6), "new")
    return {"cached after": cache.get("title:6")}


if __name__ == "__main__":
    for using in DATABASES:
        call_command("migrate", database=using, verbosity=0)
    told = [listeners, commit_of_its_own, other_transaction, both_at_once, added_without_triggers]
    print(json.dumps({each.__name__: each() for each in told}))
