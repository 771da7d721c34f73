"""The front page and posts. They read only through the cache: when it is warm, they cost no query."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_safe

from myapp.warming import popular_posts, posts
from users.warming import user_profiles


@require_safe
def front_page(request: HttpRequest) -> HttpResponse:
    """Show the popular posts."""
    return render(request, "myapp/front_page.html", {"posts": with_authors(popular_posts.get())})


@require_safe
def post(request: HttpRequest, post_id: int, slug: str) -> HttpResponse:
    """Show a post with its comments. It is found by id; an outdated slug redirects to the current one."""
    found = posts.get(post_id)
    if found is None:
        raise Http404("There is no such post, or it is not published.")
    if slug != found["slug"]:
        # Not permanent: browsers remember that forever, and a slug that is changed back would loop.
        return redirect("myapp:post", post_id, found["slug"])
    # One read for everyone named on the page.
    shown, *comments = with_authors([found, *found["comments"]])
    return render(request, "myapp/post.html", {"post": shown, "comments": comments})


def with_authors(items: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return copies of the items with their author's profile as `author`.

    It is None if the author is inactive. All profiles that are not cached, including those of inactive
    authors, cost one query together.
    """
    listed = list(items)
    profiles = user_profiles.get_many(sorted({item["author_id"] for item in listed}))
    return [{**item, "author": profiles.get(item["author_id"])} for item in listed]
