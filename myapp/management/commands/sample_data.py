"""Fill the site with sample users, posts and comments, and create the admin account, once."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import transaction

from myapp.models import Comment, Post
from myapp.sample.admin_account import AdminAccount, ensure_admin_account
from myapp.sample.build import SampleData, build
from users.models import CustomUser
from warmer import invalidate_for

ROWS_PER_INSERT = 500


class Command(BaseCommand):
    """Create the sample data where there is none; a second run changes nothing."""

    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        """Add `--force`."""
        parser.add_argument(
            "--force", action="store_true", help="Run although DEBUG is False, as in production."
        )

    def handle(self, *args: Any, **options: Any) -> None:
        """Create the missing rows, and print how to log in."""
        if not settings.DEBUG and not options["force"]:
            raise CommandError(
                "DEBUG is False, so this may be a live site. To add sample users and posts anyway: "
                "manage.py sample_data --force"
            )
        data = build()
        if is_present(data):
            self.stdout.write("The sample data already exists: nothing was added.")
        else:
            create(data)
            self.stdout.write(
                f"Added {len(data.users)} users, {len(data.posts)} posts and {len(data.comments)} comments."
            )
        self.stdout.write(log_in_line(ensure_admin_account(), show=settings.DEBUG))


def is_present(data: SampleData) -> bool:
    """Return whether any of the rows exists, so that rows deleted by hand are not created again."""
    return (
        CustomUser.objects.filter(username__in=[user.username for user in data.users]).exists()
        or Post.objects.filter(slug__in=[post.slug for post in data.posts]).exists()
    )


@transaction.atomic
def create(data: SampleData) -> None:
    """Save all the rows, or none.

    `bulk_create` sends no signals, so invalidate explicitly: the cache may hold values of an earlier
    database, whose rows had the same ids.
    """
    CustomUser.objects.bulk_create(data.users, ROWS_PER_INSERT)
    Post.objects.bulk_create(data.posts, ROWS_PER_INSERT)
    Comment.objects.bulk_create(data.comments, ROWS_PER_INSERT)
    invalidate_for(data.users)
    invalidate_for(data.posts)
    invalidate_for(data.comments)


def log_in_line(account: AdminAccount, *, show: bool) -> str:
    """Return how to log in; a generated password only if `show` is true."""
    line = f"Log in at /admin/ as {account.username} with the password "
    if account.from_environment:
        return f"{line}in ADMIN_PASSWORD."
    if account.generated is None:
        return f"{line}that was set for it. To change it: manage.py changepassword {account.username}"
    return f"{line}in {account.file}" + (f": {account.generated}" if show else ".")
