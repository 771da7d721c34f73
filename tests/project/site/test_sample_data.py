"""`manage.py sample_data`: created once, the same each time, with an account to log in with."""

import stat
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from myapp.models import Comment, Post
from myapp.sample.build import SampleData, build
from myapp.warming import popular_posts, posts
from tests.support.rows import a_user
from users.models import CustomUser, most_active_ids
from users.warming import user_profiles

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def password_file(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    settings.DATA_DIR = tmp_path / "data"
    settings.DEBUG = True
    monkeypatch.delenv("ADMIN_USERNAME", raising=False)
    monkeypatch.delenv("ADMIN_PASSWORD", raising=False)
    return tmp_path / "data" / "admin-password"


def sample_data(**options: Any) -> str:
    out = StringIO()
    call_command("sample_data", stdout=out, **options)
    return out.getvalue()


def columns(data: SampleData) -> Iterator[tuple[Any, ...]]:
    for user in data.users:
        yield user.username, user.email, user.bio, user.activity, user.is_active, user.date_joined
    for post in data.posts:
        yield post.slug, post.title, post.body, post.author.username, post.views, post.published_at
    for comment in data.comments:
        yield comment.post.slug, comment.author.username, comment.body, comment.created_at


def test_build__gives_the_same_rows_each_time_as_the_forms_would_accept() -> None:
    data = build()
    assert list(columns(data)) == list(columns(build()))
    for row in [*data.users, *data.posts, *data.comments]:
        row.clean_fields(exclude=["author", "post"])
    assert len({user.username for user in data.users}) == len({user.email for user in data.users}) == 300
    assert len({post.slug for post in data.posts}) == len({post.body for post in data.posts}) == 200


def test_sample_data__fills_the_site_with_an_account_to_log_in__and_changes_nothing_the_second_time(
    client: Client, password_file: Path
) -> None:
    output = sample_data()

    assert "Added 300 users, 200 posts and" in output
    assert CustomUser.objects.filter(is_active=False, is_superuser=False).count() == 25
    assert Post.objects.count() == 200
    assert Post.objects.filter(published_at__isnull=True).count() > 5
    assert 20 < Post.objects.popular().count() < Post.objects.filter(is_popular=True).count()
    assert Comment.objects.count() > 300
    # No tie at the border: who is among the 100 does not depend on ids.
    activity = [CustomUser.objects.get(pk=pk).activity for pk in most_active_ids(101)]
    assert len(set(activity)) == 101

    password = password_file.read_text().strip()
    assert output.splitlines()[-1] == (f"Log in at /admin/ as admin with the password in {password_file}: {password}")
    assert stat.S_IMODE(password_file.stat().st_mode) == 0o600
    assert client.login(username="admin", password=password)
    assert client.get("/admin/").status_code == 200

    Post.objects.filter(pk=Post.objects.latest("pk").pk).delete()  # and does not bring it back
    admin = CustomUser.objects.get(username="admin")
    admin.set_password("changed by hand")
    admin.save()
    rows = [list(model.objects.order_by("pk").values()) for model in (CustomUser, Post, Comment)]
    assert "already exists" in sample_data()
    assert rows == [list(model.objects.order_by("pk").values()) for model in (CustomUser, Post, Comment)]
    assert client.login(username="admin", password="changed by hand")


@pytest.mark.django_db(transaction=True)
def test_sample_data__outdates_what_is_cached__has_warm_pages_that_cost_no_query(client: Client) -> None:
    assert popular_posts.get() == []
    sample_data()
    assert len(popular_posts.get()) == 10
    for job in (popular_posts, posts, user_profiles):
        job.warm()
    addresses = ["/", *(post.get_absolute_url() for post in Post.objects.popular())]
    with CaptureQueriesContext(connection) as queries:
        statuses = {client.get(address).status_code for address in addresses}
    assert statuses == {200}
    assert len(queries) == 0


def test_sample_data__a_site_that_may_be_live__only_by_force_and_shows_no_password(
    settings: Any, password_file: Path
) -> None:
    settings.DEBUG = False
    with pytest.raises(CommandError, match="sample_data --force"):
        sample_data()
    assert not CustomUser.objects.exists()

    output = sample_data(force=True)
    assert str(password_file) in output
    assert password_file.read_text().strip() not in output


def test_admin_account__takes_name_and_password_from_the_environment(
    client: Client, password_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADMIN_USERNAME", "boss")
    monkeypatch.setenv("ADMIN_PASSWORD", "given-secret")

    output = sample_data()

    assert output.splitlines()[-1] == "Log in at /admin/ as boss with the password in ADMIN_PASSWORD."
    assert "given-secret" not in output
    assert not password_file.exists()
    assert client.login(username="boss", password="given-secret")


def test_admin_account__gets_a_new_password_from_the_environment(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample_data()
    monkeypatch.setenv("ADMIN_PASSWORD", "given-secret")
    sample_data()
    assert client.login(username="admin", password="given-secret")

    # The file's password does not work any more: it is not announced as if it did.
    monkeypatch.delenv("ADMIN_PASSWORD")
    assert "manage.py changepassword admin" in sample_data()


@pytest.mark.parametrize(
    ("name", "message"),
    [("somebody", "not an active superuser"), ("no spaces allowed", "ADMIN_USERNAME 'no spaces allowed'")],
)
def test_admin_account__that_cannot_be(monkeypatch: pytest.MonkeyPatch, name: str, message: str) -> None:
    a_user(username="somebody")
    monkeypatch.setenv("ADMIN_USERNAME", name)
    with pytest.raises(CommandError, match=message):
        sample_data()
    assert not CustomUser.objects.get(username="somebody").is_superuser
