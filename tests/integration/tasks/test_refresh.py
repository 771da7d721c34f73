"""Changes that ask for a refresh."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.cache import cache
from django.db import transaction

from warmer import runs, warm
from warmer.models import State, Trigger, WarmingRun
from warmer.tasks import request_refresh, request_run

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


@pytest.mark.usefixtures("on_a_broker")
def test_refresh__changes_share_one_queued_run(make_post: Any) -> None:
    warm("fresh", name="fresh", depends_on=["myapp.Post"], on_change="refresh")(lambda: 1)
    with transaction.atomic():
        make_post()
        make_post()
    make_post()
    run = WarmingRun.objects.get(job="fresh")
    assert (run.trigger, run.state, run.only_missing) == ("change", State.QUEUED, True)


def test_refresh__warms_what_the_change_made_cold(make_post: Any) -> None:
    warm("fresh", name="fresh", depends_on=["myapp.Post"], on_change="refresh")(lambda: "new")
    cache.set("fresh", "old")
    make_post()
    assert cache.get("fresh") == "new"


@pytest.mark.usefixtures("on_a_broker")
def test_refresh__change_during_a_run_is_followed_by_another(job: Any) -> None:
    started = runs.start(request_run("t", Trigger.SCHEDULE).run.pk)
    assert started is not None
    request_refresh(job.spec)
    assert WarmingRun.objects.count() == 1
    runs.expect(started, batches=0, report=started.report)
    first, second = WarmingRun.objects.order_by("id")
    assert (first.state, second.state, second.trigger) == (State.COMPLETE, State.QUEUED, "change")
