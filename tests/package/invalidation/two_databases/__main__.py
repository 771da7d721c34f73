"""Changes in two databases: `python -m tests.package.invalidation.two_databases` fails if one is not as it must be."""

from typing import Any

import django

django.setup()

from django.core.cache import cache  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import transaction  # noqa: E402
from django.utils import timezone  # noqa: E402

from myapp.models import Post  # noqa: E402
from users.models import CustomUser  # noqa: E402
from warmer import warm_many  # noqa: E402
from warmer.invalidation import records  # noqa: E402

DATABASES = ("default", "second")


def titles(ids: list[int]) -> dict[int, str]:
    """Load the titles of posts, each from the database that has it."""
    found: dict[int, str] = {}
    for using in DATABASES:
        found |= dict(Post.objects.using(using).filter(pk__in=ids).values_list("pk", "title"))
    return found


job: Any = warm_many("title:{id}", ids=list, name="titles", depends_on={Post: "id"})(titles)


def make(id: int, using: str) -> Post:
    user, _ = CustomUser.objects.using(using).get_or_create(username="ada", email="ada@example.org")
    return Post.objects.using(using).create(
        pk=id, title="old", slug=f"post-{id}", author=user, published_at=timezone.now()
    )


def waiting() -> list[int]:
    """Return of how many posts changes wait, by database."""
    found = [records.read(using=using, above=0) for using in DATABASES]
    return [len([each for each in of_one if each.source == "myapp_post"]) for of_one in found]


def rename(post: Post, title: str) -> None:
    post.title = title
    post.save(using=post._state.db)


def cached(*posts: Post) -> list[Any]:
    return [cache.get(job.key(post.pk)) for post in posts]


def change_the_second_in_a_transaction() -> None:
    post = make(1, "second")
    job.get(1)
    with transaction.atomic(using="second"):
        rename(post, "new")
        assert cached(post) == ["old"]  # for others, until the commit
        assert (job.get(1), waiting()) == ("new", [0, 1])
    assert (cached(post), job.get(1), waiting()) == ([None], "new", [0, 0])


def change_the_second_amid_a_transaction_of_the_first() -> None:
    post, other = make(2, "second"), make(3, "default")
    job.get_many([2, 3])
    with transaction.atomic():
        rename(other, "never")
        rename(post, "new")
        assert cached(post) == [None]  # it was committed at once, and waits for no other transaction
        assert job.get(2) == "new"
        transaction.set_rollback(True)
    assert cached(post, other) == [None, "old"]
    assert job.get(3) == "old"


def roll_back_one_of_two_nested_transactions() -> None:
    post, other = make(4, "second"), make(5, "default")
    job.get_many([4, 5])
    with transaction.atomic(using="second"):
        rename(post, "new")
        with transaction.atomic():
            rename(other, "never")
            transaction.set_rollback(True)
        assert cached(other) == ["old"]
    assert (cached(post), job.get(5)) == ([None], "old")


if __name__ == "__main__":
    for using in DATABASES:
        call_command("migrate", database=using, verbosity=0)
    change_the_second_in_a_transaction()
    change_the_second_amid_a_transaction_of_the_first()
    roll_back_one_of_two_nested_transactions()
