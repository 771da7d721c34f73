"""The list of audits."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client
from django.utils import timezone

from warmer.models import CacheAudit

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


def test_audits__list(operator: Client) -> None:
    now = timezone.now()
    counts = dict.fromkeys(("wrong", "missing", "no_value", "changed", "failed", "undeclared", "repaired"), 0)
    CacheAudit.objects.create(
        job="posts", trigger="admin", started_at=now, whole=True, sampled=9, right=9, queries=1, **counts
    )
    counts["missing"] = 1_234
    CacheAudit.objects.create(
        job="a_job", trigger="admin", started_at=now, whole=True, sampled=1_235, right=1, queries=1, **counts
    )
    page = operator.get("/admin/warmer/cacheaudit/").content.decode()
    assert "100 %" in page
    assert "9 right" in page
    assert "1 right, 1,234 missing" in page
    assert "a_<wbr>job" in page
    assert "warmer/admin.css" in page


@pytest.mark.parametrize("number", ["999", "x"])
def test_audit__that_is_gone_is_404(operator: Client, log_in: Callable[..., Client], number: str) -> None:
    answer = operator.get(f"/admin/warmer/cacheaudit/{number}/change/")
    assert answer.status_code == 404
    assert operator.post(f"/admin/warmer/cacheaudit/{number}/change/").status_code == 403
    # Who may not see audits is not told which there are.
    assert log_in("view_job").get(f"/admin/warmer/cacheaudit/{number}/change/").status_code == 403
