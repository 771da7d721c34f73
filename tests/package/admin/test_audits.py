"""The list of audits, and the page of each."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client

from myapp.models import Post
from tests.package.admin.pages import AUDITS, POSTS, act, audit, log, state_of, text_of
from tests.support.waiting import uncaptured
from warmer import jobs
from warmer.models import CacheAudit

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]
MASKS = {r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d": "TIME", r"^\d+ (a_job|posts)": r"N \1", r"([aA]udit) \d+": r"\1 N"}


def test_list__and_page(golden: Callable[..., None], operator: Client) -> None:
    shown = [
        audit(),
        audit(whole=False),
        audit("a_job", sampled=1_240, missing=1_235),
        audit(
            sampled=10,
            right=7,
            wrong=2,
            failed=1,
            repaired=2,
            wrong_keys=[{"key": "post:1", "fields": ["title", "author.name"]}],
            failures=[{"key": "post:<b>", "error": "ValueError: no"}],
            error="The loader broke.",
        ),
    ]
    pages = [AUDITS, *(f"{AUDITS}{each.pk}/change/" for each in shown)]
    texts = [text_of(operator.get(url).content.decode()) for url in pages]
    golden("admin_audits", "\n\n".join(texts), masks=MASKS)


@pytest.mark.parametrize("number", ["999", "x"])
def test_page__that_is_gone_is_404(operator: Client, log_in: Callable[..., Client], number: str) -> None:
    url = f"{AUDITS}{number}/change/"
    assert operator.get(url).status_code == operator.post(url).status_code == 404
    # Users who may not see audits are not told which there are.
    assert log_in("view_job").get(url).status_code == 403


def test_list__filters(operator: Client) -> None:
    wrong, right = audit(wrong=1), audit("popular_posts")
    for query, found in (
        ({"wrong": "yes"}, [wrong]),
        ({"wrong": "no"}, [right]),
        ({"job": "posts"}, [wrong]),
        ({"wrong": "x"}, [right, wrong]),
    ):
        page = operator.get(AUDITS, query).content.decode()
        assert re.findall(rf'href="{AUDITS}(\d+)/', page) == [str(each.pk) for each in found], query


def test_page__links_its_job_and_objects_and_repairs(
    operator: Client, log_in: Callable[..., Client], make_post: Any, settings: Any
) -> None:
    settings.WARMER_AUDIT_SAMPLE = 1
    posts = [make_post(), make_post()]
    jobs["posts"].warm()
    with uncaptured():
        Post.objects.update(title="Behind the back")
    act(operator, "audit posts")
    found = CacheAudit.objects.get()
    url = f"{AUDITS}{found.pk}/change/"
    assert (found.wrong, state_of(operator, "posts")) == (1, "wrong")
    page = operator.get(url).content.decode()
    assert f'<a href="{POSTS}">posts</a>' in page
    assert "/admin/myapp/post/" not in page
    reader = log_in("view_cacheaudit", "view_post", username="otto").get(url).content.decode()
    assert any(f'href="/admin/myapp/post/{post.pk}/change/"' in reader for post in posts)
    assert 'value="repair"' not in reader
    assert f'action="{POSTS}"' in page
    assert 'value="repair"' in page
    act(operator, "repair", "posts", url=POSTS, why="stale")
    again = CacheAudit.objects.latest("pk")
    assert (again.whole, again.wrong, again.repaired, again.trigger) == (True, 2, 2, "admin")
    assert not cache.get_many([f"post:{post.pk}" for post in posts])
    assert log()[-1] == ("olga", "posts", "Requested an audit with repair. Reason: stale")
    assert state_of(operator, "posts") != "wrong"
    assert 'value="repair"' not in operator.get(f"{AUDITS}{again.pk}/change/").content.decode()
