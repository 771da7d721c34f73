"""The site shows old values: what is seen then, and that the page's fixes help."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import Client

from tests.project.operations.page import Page
from tests.project.operations.terminal import CacheAt, doctor, logged, manage
from tests.support.scraping import scrape
from tests.support.waiting import without_triggers
from users.models import CustomUser
from warmer import invalidate_for, tasks

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def no_triggers() -> Iterator[None]:
    """The database has lost them."""
    with without_triggers():
        yield


def rename(name: str) -> None:
    """Change a row by SQL, of which Django sends no signal."""
    with connection.cursor() as cursor:
        cursor.execute("UPDATE users_customuser SET last_name = %s WHERE id = 42", [name])


def shown_name() -> str:
    body = Client().get("/users/42/").content.decode()
    (name,) = (name for name in ("Ada Old", "Ada New") if name in body)
    return name


def test_stale(
    page: Page,
    warm_cache_at: CacheAt,
    caplog: pytest.LogCaptureFixture,
    settings: Any,
    operator: Client,
    no_triggers: None,
) -> None:
    warm_cache_at()
    rename("New")
    assert shown_name() == "Ada Old"
    page.shows("stale-audit", manage("cache_audit"))
    settings.WARMER_AUDIT_SAMPLE = 500
    caplog.clear()
    tasks.audit_job("user_profiles", "schedule")
    page.shows("stale-log", logged(caplog.records, "warmer.tasks"))
    assert scrape()("audit_keys", job="user_profiles", outcome="wrong") == 1
    assert "1 wrong" in operator.get("/admin/warmer/").content.decode()

    page.shows("stale-repair", page.manage("cache_audit user_profiles --repair"))
    assert shown_name() == "Ada New"
    assert "CommandError" not in manage("cache_audit")


def test_stale__database_has_lost_its_triggers(page: Page, warm_cache_at: CacheAt, no_triggers: None) -> None:
    warm_cache_at()
    rename("New")
    assert shown_name() == "Ada Old"
    page.shows("stale-doctor", doctor("capture"))
    page.manage("warm_triggers")
    assert shown_name() == "Ada New"  # what was missed is invalidated, too
    rename("Old")
    assert shown_name() == "Ada Old"


def test_stale__told_is_not_stale(warm_cache_at: CacheAt, no_triggers: None) -> None:
    """The cure that the page gives for the code."""
    warm_cache_at()
    with transaction.atomic():
        rename("New")
        invalidate_for(CustomUser.objects.filter(pk=42))
    assert shown_name() == "Ada New"
