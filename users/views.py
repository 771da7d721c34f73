"""The public profile. It reads only through the cache: when it is warm, it costs no query."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from users.warming import user_profiles


@require_safe
def profile(request: HttpRequest, user_id: int) -> HttpResponse:
    """Show a user's public profile.

    The cached value contains the email address, which this public page must not show.
    """
    person = user_profiles.get(user_id)
    if person is None:
        raise Http404("There is no such user, or they are no longer active.")
    return render(request, "users/profile.html", {"person": person})
