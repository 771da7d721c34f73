"""Bypasses in the tests of a project: inside a test's own transaction, and with `no_bypass`."""

from __future__ import annotations

import unittest
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import transaction
from django.test import TestCase, TransactionTestCase

from myapp.models import Post
from tests.integration.bypass.finding import found
from warmer import BypassError, bypass, invalidate_for, jobs, warm
from warmer.testing import no_bypass

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


@pytest.mark.django_db(transaction=False)
def test_test_case__transaction_of_the_project_is_judged_at_its_end(make_post: Any, raising: None) -> None:
    post = make_post()

    def write() -> None:
        with transaction.atomic():
            Post.objects.update(title="New")

    assert "an UPDATE at" in found(write)
    with transaction.atomic():
        Post.objects.update(title="New")
        invalidate_for(post)
    Post.objects.bulk_update([post], ["title"])
    with transaction.atomic():
        Group.objects.create(name="a")
    invalidate_for(post)
    assert found() == ""


@pytest.mark.django_db(transaction=False)
def test_test_case__writes_outside_of_a_transaction_are_found_by_a_check(
    make_post: Any, raising: None
) -> None:
    make_post()
    Post.objects.update(title="New")
    assert "an UPDATE at" in found()


def test_no_bypass__raises_at_its_end_and_leaves_nothing(make_post: Any) -> None:
    make_post()
    with pytest.raises(BypassError), no_bypass():
        Post.objects.update(title="New")
    with no_bypass():
        pass
    assert bypass.mode() == "off"
    with pytest.raises(ZeroDivisionError), no_bypass():
        Post.objects.update(title="New")
        _ = 1 / 0
    with no_bypass():
        pass


@pytest.mark.parametrize("base", [TestCase, TransactionTestCase])
def test_no_bypass__in_a_test_case_of_django(base: Any) -> None:
    class Own(base):  # type: ignore[misc]
        def setUp(self) -> None:
            warm("groups", name="groups", depends_on=[Group])(lambda: 1)
            self.enterContext(no_bypass())

        def tearDown(self) -> None:
            jobs.unregister("groups")

        def test_right(self) -> None:
            Group.objects.create(name="a").delete()

        def test_wrong(self) -> None:
            Group.objects.create(name="a")
            Group.objects.update(name="b")

    outcome = unittest.TestResult()
    unittest.TestSuite([Own("test_right"), Own("test_wrong")]).run(outcome)
    ((failed, trace),) = outcome.errors
    assert failed.id().endswith("test_wrong")
    assert "BypassError: The table 'auth_group' was changed by an UPDATE" in trace
