"""The admin of posts, comments and users: what an edit changes on the site, and what lists cost."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from myapp.models import Post
from tests.site.rows import a_comment, a_post, a_user
from users.models import CustomUser

pytestmark = pytest.mark.django_db(transaction=True)


def form_of(response: Any) -> dict[str, Any]:
    """Return what a browser would send of an admin form that was not touched."""
    admin_form = response.context["adminform"].form
    formsets = [inline.formset for inline in response.context["inline_admin_formsets"]]
    forms = [admin_form, *(formset.management_form for formset in formsets)]
    forms += [form for formset in formsets for form in formset.forms]
    data: dict[str, Any] = {}
    for form in forms:
        for field in form:
            value = field.value()
            widget = field.field.widget
            if hasattr(widget, "decompress"):
                for number, part in enumerate(widget.decompress(value)):
                    data[f"{field.html_name}_{number}"] = "" if part is None else str(part)
            elif value is not None and value is not False:
                data[field.html_name] = value
    return data


def edit(client: Client, row: Any, **changes: Any) -> None:
    """Change a row in its admin form and save."""
    address = reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=[row.pk])
    data = form_of(client.get(address)) | changes
    response = client.post(address, {name: value for name, value in data.items() if value is not None})
    errors = response.context and response.context["adminform"].form.errors
    assert response.status_code == 302, errors


def test_edit_of_a_post__shows_on_its_page_and_the_front_page(admin_client: Client, client: Client) -> None:
    post = a_post(title="Before", is_popular=True)
    a_comment(post)
    for address in ("/", post.get_absolute_url()):
        assert "Before" in client.get(address).content.decode()

    edit(admin_client, post, title="After")

    for address in ("/", post.get_absolute_url()):
        page = client.get(address).content.decode()
        assert "After" in page
        assert "Before" not in page


def test_edit_of_a_comment_in_its_post__shows_on_the_page(admin_client: Client, client: Client) -> None:
    comment = a_comment(a_post(), body="Before")
    address = comment.post.get_absolute_url()
    assert "Before" in client.get(address).content.decode()

    edit(admin_client, comment.post, **{"comments-0-body": "After"})

    assert "After" in client.get(address).content.decode()


def test_edit_of_a_user__shows_on_the_profile(admin_client: Client, client: Client) -> None:
    user = a_user()
    client.get(user.get_absolute_url())

    edit(admin_client, user, bio="Newly written.")

    assert "Newly written." in client.get(user.get_absolute_url()).content.decode()


def test_future_publication__is_refused(admin_client: Client) -> None:
    post = a_post(published_at=None)

    with pytest.raises(AssertionError, match="in the future"):
        edit(admin_client, post, published_at_0="2999-01-01", published_at_1="00:00:00")


def test_add_user__asks_for_the_email_address(admin_client: Client) -> None:
    sent = {"username": "new", "usable_password": "false", "first_name": "New", "last_name": "Person"}
    address = reverse("admin:users_customuser_add")

    refused = admin_client.post(address, sent)
    added = admin_client.post(address, sent | {"email": "new@example.org"})

    assert "email" in refused.context["adminform"].form.errors
    assert added.status_code == 302
    assert CustomUser.objects.get(username="new").email == "new@example.org"


def run_action(client: Client, action: str, *chosen: Post) -> None:
    sent = {"action": action, "_selected_action": [post.pk for post in chosen], "post": "yes"}
    assert client.post(reverse("admin:myapp_post_changelist"), sent).status_code == 302


def test_publish__puts_drafts_on_the_site_and_keeps_other_dates(admin_client: Client, client: Client) -> None:
    draft, published = a_post(published_at=None, is_popular=True), a_post()
    assert draft.title not in client.get("/").content.decode()

    run_action(admin_client, "publish", draft, published)

    assert draft.title in client.get("/").content.decode()
    assert client.get(draft.get_absolute_url()).status_code == 200
    assert Post.objects.get(pk=published.pk).published_at == published.published_at


@pytest.mark.parametrize("action", ["withdraw", "delete_selected"])
def test_withdraw__takes_a_post_off_the_site_at_once(
    admin_client: Client, client: Client, action: str
) -> None:
    post = a_post(is_popular=True)
    assert post.title in client.get("/").content.decode()
    assert client.get(post.get_absolute_url()).status_code == 200

    run_action(admin_client, action, post)

    assert post.title not in client.get("/").content.decode()
    assert client.get(post.get_absolute_url()).status_code == 404


def test_view_on_site__is_offered_for_what_is_on_the_site(admin_client: Client) -> None:
    for row, offered in [
        (a_post(), True),
        (a_post(published_at=None), False),
        (a_user(), True),
        (a_user(is_active=False), False),
    ]:
        name = f"admin:{row._meta.app_label}_{row._meta.model_name}_change"
        page = admin_client.get(reverse(name, args=[row.pk])).content.decode()
        assert (f'href="{row.get_absolute_url()}"' in page) is offered


def cost(client: Client, address: str) -> int:
    """Return the queries of a page for which everything that is read once has been read."""
    client.get(address)
    with CaptureQueriesContext(connection) as queries:
        assert client.get(address).status_code == 200
    return len(queries)


def test_pages__cost_the_same_for_more_rows(admin_client: Client) -> None:
    post = a_post()
    a_comment(post)
    lists = [
        reverse(f"admin:{name}_changelist") for name in ("myapp_post", "myapp_comment", "users_customuser")
    ]
    addresses = [f"{address}{search}" for address in lists for search in ("", "?q=o")]
    addresses.append(reverse("admin:myapp_post_change", args=[post.pk]))
    few = {address: cost(admin_client, address) for address in addresses}

    for _ in range(8):
        a_comment(a_post())
        a_comment(post)

    assert {address: cost(admin_client, address) for address in addresses} == few


@pytest.mark.parametrize("field", ["author", "post"])
def test_autocomplete__answers_for_comments(admin_client: Client, field: str) -> None:
    post = a_post(title="Findable")
    term = {"author": post.author.username, "post": "Findable"}[field]

    response = admin_client.get(
        reverse("admin:autocomplete"),
        {"app_label": "myapp", "model_name": "comment", "field_name": field, "term": term},
    )

    expected = {"author": post.author_id, "post": post.pk}[field]
    assert [result["id"] for result in response.json()["results"]] == [str(expected)]
