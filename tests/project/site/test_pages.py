"""The pages: what they show, what they cost, and that they follow a change at once."""

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from myapp.warming import popular_posts
from tests.support.rows import PUBLISHED, a_comment, a_post, a_user
from users.warming import user_profiles

# Reads of what a transaction changed bypass the cache until it commits: here every save commits.
pytestmark = pytest.mark.django_db(transaction=True)

NumQueries = Callable[[int], Any]


def text_of(client: Client, address: str) -> str:
    response = client.get(address)
    assert response.status_code == 200
    return response.content.decode()


def test_front_page__shows_the_ten_popular_posts_by_views__costs_no_query_when_warm__follows_a_new_name(
    client: Client, django_assert_num_queries: NumQueries
) -> None:
    assert "No post is popular yet" in text_of(client, "/")
    author = a_user(first_name="Grace", last_name="Hopper")
    a_post(title="Not marked", views=99999)
    a_post(title="A draft", views=99999, is_popular=True, published_at=None)
    a_post(title="Read most", views=12345, is_popular=True, author=author)
    for views in range(12):
        a_post(title=f"With {views:02} views", views=views, is_popular=True)
    popular_posts.warm()
    user_profiles.warm()

    with django_assert_num_queries(0):
        page = text_of(client, "/")

    assert [f"With {views:02} views" in page for views in range(12)] == [False] * 3 + [True] * 9
    assert page.index("Read most") < page.index("With 11 views") < page.index("With 03 views")
    assert "12,345 views" in page
    assert f'<a href="/users/{author.pk}/">Grace Hopper</a>' in page
    assert "Not marked" not in page
    assert "A draft" not in page
    assert 'href="/admin/"' in page

    author.last_name = "Renamed"
    author.save()
    assert "Grace Renamed" in text_of(client, "/")


def test_post__shows_paragraphs_and_comments_in_order(client: Client) -> None:
    post = a_post(title="Bread & salt", body="One <b>.\n\nTwo.")
    second = a_comment(post, body="Later")
    first = a_comment(post, body="Earlier", created_at=post.published_at)

    page = text_of(client, post.get_absolute_url())

    assert "<h1>Bread &amp; salt</h1>" in page
    assert "<p>One &lt;b&gt;.</p>" in page
    assert "<p>Two.</p>" in page
    assert "2 comments" in page
    assert page.index(f'id="comment-{first.pk}"') < page.index(f'id="comment-{second.pk}"')
    assert '<time datetime="2026-03-04T05:06:00+00:00">4 March 2026</time>' in page


def test_post__is_cached_when_read_though_it_is_not_popular__and_follows_its_comments(
    client: Client, django_assert_num_queries: NumQueries
) -> None:
    old, new = a_post(), a_post()
    assert "No comments yet" in text_of(client, old.get_absolute_url())
    comment = a_comment(old, body="Here I am")
    for queries in (3, 0):  # the post, its comments, who wrote them
        with django_assert_num_queries(queries):
            assert "Here I am" in text_of(client, old.get_absolute_url())
    assert "Here I am" not in text_of(client, new.get_absolute_url())

    comment.post = new
    comment.save()
    assert "Here I am" not in text_of(client, old.get_absolute_url())
    assert "Here I am" in text_of(client, new.get_absolute_url())

    comment.author.delete()
    assert "No comments yet" in text_of(client, new.get_absolute_url())
    comment = a_comment(new, body="Once more")
    assert "Once more" in text_of(client, new.get_absolute_url())
    comment.delete()
    assert "No comments yet" in text_of(client, new.get_absolute_url())


def test_post__names_no_inactive_author(client: Client) -> None:
    author = a_user(first_name="Gone", last_name="Away", is_active=False)
    post = a_post(author=author)
    a_comment(post, author=author)

    page = text_of(client, post.get_absolute_url())

    assert page.count("a former member") == 2
    assert "Gone" not in page
    assert f"/users/{author.pk}/" not in page


def test_post__redirects_to_its_slug__a_draft_is_not_found(client: Client) -> None:
    post = a_post(slug="before", published_at=None)
    before = post.get_absolute_url()
    assert client.get(before).status_code == 404
    post.published_at = PUBLISHED
    post.save()
    text_of(client, before)
    assert client.get(reverse("myapp:post", args=[post.pk, "wrong"]))["Location"] == before

    post.slug = "after"
    post.save()

    response = client.get(before)
    assert (response.status_code, response["Location"]) == (302, f"/posts/{post.pk}/after/")
    text_of(client, post.get_absolute_url())


def test_not_found__has_the_sites_look(client: Client) -> None:
    for address in (
        "/posts/987654/anything/",
        "/users/999999999999999999/",  # the longest id that an address may have
        "/users/99999999999999999999999999/",  # more than a column holds
        "/no/such/page/",
    ):
        response = client.get(address)
        assert response.status_code == 404
        assert "<h1>Not found</h1>" in response.content.decode()
        assert "The Common Room" in response.content.decode()


def test_profile__shows_the_person_but_no_email_address__until_inactive(
    client: Client, django_assert_num_queries: NumQueries
) -> None:
    names = {"first_name": "Grace", "last_name": "Hopper", "username": "grace"}
    user = a_user(**names, bio="Found the moth.", location="Arlington", activity=1234)
    user_profiles.warm()
    with django_assert_num_queries(0):
        page = text_of(client, user.get_absolute_url())
    for shown in ("Grace Hopper", "@grace", "Found the moth.", "Arlington", "1,234 actions"):
        assert shown in page
    assert user.email not in page

    user.is_active = False
    user.save()
    assert client.get(user.get_absolute_url()).status_code == 404


def test_pages__answer_reads_only(client: Client) -> None:
    for address in ("/", "/users/1/", "/posts/1/slug/"):
        assert client.post(address).status_code == 405
