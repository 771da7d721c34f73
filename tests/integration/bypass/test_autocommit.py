"""Writes without a transaction are judged a line later, and at the latest when the work ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core.signals import request_finished
from django.db import connection, connections, transaction

from myapp.models import Post
from tests.integration.bypass.finding import found
from warmer import bypass, invalidate_for, jobs, tasks
from warmer.bypass.watches import watch_of

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]

ROOT = Path(__file__).resolve().parents[3]
PACKAGE = str(Path(sys.prefix) / "lib/site-packages/other.py")


def test_autocommit__job_invalidated_by_hand_is_a_match(make_post: Any, raising: None) -> None:
    post = make_post()
    Post.objects.update(title="New")
    jobs["posts"].invalidate([post.pk])  # type: ignore[attr-defined]
    assert "for the job popular_posts." in found()
    Post.objects.update(title="New")
    jobs["posts"].invalidate([post.pk])  # type: ignore[attr-defined]
    jobs["popular_posts"].invalidate()  # type: ignore[attr-defined]
    assert found() == ""

    def too_early() -> None:
        with transaction.atomic():
            Post.objects.update(title="New")
            jobs["posts"].invalidate()  # type: ignore[attr-defined]
            jobs["popular_posts"].invalidate()  # type: ignore[attr-defined]

    assert "for the jobs popular_posts, posts." in found(too_early)


def test_autocommit__is_judged_with_the_next_write_after_the_function(make_post: Any, raising: None) -> None:
    make_post()
    said: list[str] = []

    def first_task() -> None:
        Post.objects.update(title="New")
        Group.objects.create(name="a")  # it goes on: the match may come yet

    def next_task() -> None:
        said.append(found(Group.objects.exists))  # a read is not enough
        said.append(found(lambda: Group.objects.create(name="b")))
        connection.close()

    # Called by a package of others, so that each task is the outermost function of the project.
    code = compile("def work(tasks):\n    for task in tasks:\n        task()", PACKAGE, "exec")
    scope: dict[str, Any] = {}
    exec(code, scope)
    worker = Thread(target=scope["work"], args=([first_task, next_task],))
    worker.start()
    worker.join()
    read, write = said
    assert read == ""
    assert "an UPDATE at" in write
    assert "<locals>.first_task, and nothing" in write
    assert list(Group.objects.values_list("name", flat=True)) == ["a"]


def test_autocommit__function_that_never_ends_is_judged_all_the_same(
    make_post: Any, raising: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_post()
    Post.objects.update(title="New")
    Group.objects.create(name="a")
    monkeypatch.setitem(bypass.PATIENCE_SECONDS, "raise", 0.0)
    assert "an UPDATE at" in found(lambda: Group.objects.create(name="b"))


def test_autocommit__same_write_again_is_kept_once(make_post: Any, raising: None) -> None:
    """A loop over many rows is looked through at each of its statements."""
    post = make_post()
    watch = watch_of(connections["default"])
    assert watch is not None
    for _ in range(50):
        Post.objects.update(title="New")
        Post.objects.bulk_update([post], ["title"])  # opens a transaction of its own
    assert len(watch.journal._open) == 2
    invalidate_for(post)
    assert found() == ""
    for _ in range(2):
        Post.objects.update(title="New")
    invalidate_for(post)
    Post.objects.update(title="New")
    assert found().count("an UPDATE at") == 1


def test_forget__inside_a_transaction_is_for_good(make_post: Any, raising: None) -> None:
    make_post()
    with transaction.atomic():
        Post.objects.update(title="New")
        bypass.forget()
    assert found() == ""

    def write() -> None:
        with transaction.atomic():
            for _ in range(2):
                bypass.forget()
                Post.objects.update(title="New")

    assert found(write).count("an UPDATE at") == 1


def test_request__is_judged_at_its_end(make_post: Any, raising: None) -> None:
    make_post()
    Post.objects.update(title="New")
    assert "an UPDATE at" in found(lambda: request_finished.send(None))


def test_task__is_judged_at_its_end(make_post: Any, raising: None) -> None:
    def end(*, is_eager: bool) -> None:
        tasks.upkeep._judge_writes(task=SimpleNamespace(request=SimpleNamespace(is_eager=is_eager)))

    make_post()
    Post.objects.update(title="New")
    end(is_eager=True)  # in process: its caller goes on
    assert "an UPDATE at" in found(lambda: end(is_eager=False))


def test_process__is_judged_at_its_end(tmp_path: Path) -> None:
    script = """
import django; django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
from django.contrib.auth.models import Group
from warmer import warm
warm("groups", name="groups", depends_on=[Group])(lambda: 1)
Group.objects.create(name="a")
Group.objects.update(name="b")
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={
            "DJANGO_ENV": "development",
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "DATABASE_URL": f"sqlite:///{tmp_path / 'db.sqlite3'}",
            "WARMER_DATA_DIR": str(tmp_path),
            "PATH": "",
        },
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "BypassWarning: The table 'auth_group' was changed by an UPDATE at" in done.stderr
    assert done.stderr.count("BypassWarning") == 1
