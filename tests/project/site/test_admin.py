"""The admin of posts, comments and users: what an edit changes on the site, and what lists cost."""

from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from myapp.models import Post
from tests.support.rows import a_comment, a_post, a_user
from users.models import CustomUser

pytestmark = pytest.mark.django_db(transaction=True)


def address_of(kind: str, row: Any) -> str:
    """Return the address of an admin page: of a list, or of a row's form."""
    return reverse(
        f"admin:{row._meta.app_label}_{row._meta.model_name}_{kind}", args=[row.pk] if kind == "change" else []
    )


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
    address = address_of("change", row)
    data = form_of(client.get(address)) | changes
    response = client.post(address, {name: value for name, value in data.items() if value is not None})
    errors = response.context and response.context["adminform"].form.errors
    assert response.status_code == 302, errors


def test_edit__shows_on_the_site(admin_client: Client, client: Client) -> None:
    comment = a_comment(a_post(title="Before", is_popular=True), body="Said before")
    post, author = comment.post, comment.author
    addresses = ("/", post.get_absolute_url(), author.get_absolute_url())

    def pages() -> list[str]:
        return [client.get(address).content.decode() for address in addresses]

    front, page, _ = pages()
    assert "Before" in front
    assert "Before" in page
    assert "Said before" in page

    edit(admin_client, post, title="After", **{"comments-0-body": "Said after"})
    edit(admin_client, author, bio="Newly written.")

    front, page, profile = pages()
    assert "After" in front
    assert "After" in page
    assert "Said after" in page
    assert "efore" not in front + page
    assert "Newly written." in profile


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


def run_action(client: Client, action: str, *chosen: Post, **sent: Any) -> None:
    sent |= {"action": action, "_selected_action": [post.pk for post in chosen]}
    assert client.post(reverse("admin:myapp_post_changelist"), sent).status_code == 302


def test_actions__publish_withdraw_and_delete__show_on_the_site_at_once(admin_client: Client, client: Client) -> None:
    draft, published = a_post(published_at=None, is_popular=True), a_post()

    def is_shown() -> bool:
        listed = draft.title in client.get("/").content.decode()
        assert client.get(draft.get_absolute_url()).status_code == (200 if listed else 404)
        return listed

    assert not is_shown()
    run_action(admin_client, "publish", draft, published)
    assert is_shown()
    assert Post.objects.get(pk=published.pk).published_at == published.published_at

    run_action(admin_client, "withdraw", draft)
    assert not is_shown()

    run_action(admin_client, "publish", draft)
    assert is_shown()
    run_action(admin_client, "delete_selected", draft, post="yes")
    assert not is_shown()
    assert not Post.objects.filter(pk=draft.pk).exists()


def test_view_on_site__is_offered_for_what_is_on_the_site(admin_client: Client) -> None:
    for row, offered in [
        (a_post(), True),
        (a_post(published_at=None), False),
        (a_user(), True),
        (a_user(is_active=False), False),
    ]:
        page = admin_client.get(address_of("change", row)).content.decode()
        assert (f'href="{row.get_absolute_url()}"' in page) is offered


def cost(client: Client, address: str) -> int:
    """Return the queries of a page for which everything that is read once has been read."""
    client.get(address)
    with CaptureQueriesContext(connection) as queries:
        assert client.get(address).status_code == 200
    return len(queries)


def test_pages__cost_the_same_for_more_rows(admin_client: Client) -> None:
    comment = a_comment(a_post())
    rows = (comment, comment.post, comment.author)
    addresses = [address_of("changelist", row) + search for row in rows for search in ("", "?q=o")]
    addresses.append(address_of("change", comment.post))
    few = {address: cost(admin_client, address) for address in addresses}
    for _ in range(8):
        a_comment(a_post())
        a_comment(comment.post)
    assert {address: cost(admin_client, address) for address in addresses} == few
