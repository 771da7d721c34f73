"""`manage.py cache_audit`: its words, its exit code, and that no value is shown."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from django.core.cache import cache
from django.core.management import call_command
from django.db import OperationalError

from embedded.redis_server import RedisServer
from tests.integration.auditing.command import failing, run
from tests.integration.waiting import uncaptured
from users.models import CustomUser
from users.warming import user_profiles
from warmer import jobs, warm_many
from warmer.models import CacheAudit
from warmer.tasks import audit_sample

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("own_jobs")]


def test_command__audits_every_job_and_prints_a_table(make_user: Any, make_post: Any) -> None:
    make_post(author=make_user())
    call_command("warm_cache", "--inline", stdout=io.StringIO())
    lines = run().splitlines()
    rows = {line.split()[0]: line.split() for line in lines[2:]}
    assert lines[0].split()[:4] == ["job", "sampled", "right", "wrong"]
    assert set(rows) == set(jobs)
    assert rows["user_profiles"][1:4] == ["1", "1", "0"]
    assert rows["user_profiles"][-2:] == ["100", "%"]
    assert {row.trigger for row in CacheAudit.objects.all()} == {"command"}


def test_command__wrong_is_1_and_names_keys_and_fields(job: Any, source: Any, settings: Any) -> None:
    settings.WARMER_REPORTED_FAILURES = 2
    job.warm()
    for number in (1, 2, 3):
        source[number] = source[number] | {"name": "another"}
    out = io.StringIO()
    error = failing("things", out=out)
    assert (error.returncode, str(error)) == (1, "Wrong: 3 keys of things.")
    assert "things, wrong:\n  thing:1: name\n  thing:2: name\n  and 1 more\n" in out.getvalue()


def test_command__wrong_with_signals_names_triggers(job: Any, source: Any, settings: Any) -> None:
    job.warm()
    source[2] = "another"
    for capture, is_named in (("signals", True), ("triggers", False)):
        settings.WARMER_CAPTURE = capture
        out = io.StringIO()
        failing("things", out=out)
        assert ("WARMER_CAPTURE = 'triggers'" in out.getvalue()) is is_named


def test_command__repaired_is_1_too_and_then_0(job: Any, source: Any) -> None:
    job.warm()
    source[2] = "another"
    out = io.StringIO()
    error = failing("things", "--repair", out=out)
    assert error.returncode == 1
    assert "Invalidated: 1 key" in str(error)
    assert "repaired" in out.getvalue()
    assert cache.get("thing:2") is None
    assert CacheAudit.objects.get().repaired == 1
    run("things", "--repair")


def test_command__missing_is_0(job: Any) -> None:
    assert "missing" in run("things")


def test_command__json_is_all_that_is_printed(job: Any, source: Any) -> None:
    job.warm()
    printed = json.loads(run("things", "--json"))
    assert (printed["status"], printed["jobs"][0]["right"], printed["jobs"][0]["share"]) == (0, 10, "100 %")
    source[2] = {"id": 2, "name": "another"}
    out = io.StringIO()
    error = failing("things", "--json", "--sample", "10", out=out)
    printed = json.loads(out.getvalue())
    (of_job,) = printed["jobs"]
    assert (error.returncode, printed["status"]) == (1, 1)
    assert of_job["wrong_keys"] == [{"key": "thing:2", "fields": ["name"]}]
    assert of_job["right_at_least"] == pytest.approx(0.9)


def test_command__sample_and_seed(job: Any) -> None:
    job.warm()
    out = run("things", "--sample", "5", "--seed", "7")
    assert "'at least' is at 95 % confidence" in out
    assert CacheAudit.objects.get().sampled == 5


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["thing"], "Did you mean things?"),
        (["things", "--seed", "1"], "--seed needs --sample"),
    ],
)
def test_command__usage_is_2(job: Any, args: list[str], message: str) -> None:
    error = failing(*args)
    assert (error.returncode, message in str(error)) == (2, True)
    assert not CacheAudit.objects.exists()


@pytest.mark.parametrize("size", ["0", "-1", "many"])
def test_command__sample_is_refused_by_the_parser(job: Any, size: str) -> None:
    assert "is not a number of keys above 0" in str(failing("things", "--sample", size))


def test_command__cache_down_is_1_with_one_clear_line(redis_server: RedisServer) -> None:
    redis_server.stop()
    out = io.StringIO()
    error = failing(out=out)
    assert (error.returncode, str(error).count("\n"), out.getvalue()) == (1, 0, "")
    assert "The cache 'default' at 127.0.0.1" in str(error)
    assert str(error).endswith("The audit was not finished.")


def test_command__database_down_is_1_with_one_clear_line(any_cache: str) -> None:
    def ids() -> list[int]:
        raise OperationalError("connection to postgres://warmer:secret@db/0 failed\nIs the server running?")

    warm_many("thing:{id}", ids=ids, name="things")(dict)
    error = failing("things")
    assert (error.returncode, str(error).count("\n")) == (1, 0)
    assert str(error).startswith("The database does not serve: OperationalError")
    assert "secret" not in str(error)


def test_command__failed_is_1_and_is_named(any_cache: str) -> None:
    def loader(ids: Sequence[int]) -> Mapping[int, Any]:
        raise ValueError("broken")

    warm_many("thing:{id}", ids=lambda: [1], name="things")(loader)
    out = io.StringIO()
    error = failing("things", out=out)
    assert (error.returncode, str(error)) == (1, "Not judged in full: things.")
    assert "thing:1: ValueError: broken" in out.getvalue()


def test_command__ids_that_cannot_be_found_do_not_stop_the_other_jobs(job: Any) -> None:
    def ids() -> list[int]:
        raise ValueError("no ids")

    warm_many("aaa:{id}", ids=ids, name="aaa")(dict)
    job.warm()
    out = io.StringIO()
    error = failing("aaa", "things", out=out)
    assert error.returncode == 1
    assert "aaa: The ids could not be found: ValueError: no ids" in out.getvalue()
    assert {row.job: (row.right, row.whole) for row in CacheAudit.objects.all()} == {
        "aaa": (0, False),
        "things": (10, True),
    }


def test_command__without_a_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "_jobs", {})
    assert "No job is declared" in run()


def test_command__shows_its_progress_on_a_terminal(job: Any) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out = Terminal()
    call_command("cache_audit", "things", stdout=out)
    assert "things: 4 keys, 0 wrong" in out.getvalue()
    assert "\r" not in run("things")


def test_secrecy__values_are_shown_nowhere(
    make_user: Any, caplog: pytest.LogCaptureFixture, settings: Any
) -> None:
    settings.WARMER_AUDIT_SAMPLE = 100
    user = make_user(first_name="Hunter2Old", bio="Hunter2Old")
    user_profiles.warm()
    with uncaptured():
        CustomUser.objects.filter(pk=user.pk).update(first_name="Hunter2New", bio="Hunter2New")
    out = io.StringIO()
    with caplog.at_level(logging.DEBUG):
        errors = [str(failing(*args, out=out)) for args in (["user_profiles"], ["user_profiles", "--json"])]
        audit_sample()
    rows = json.dumps(list(CacheAudit.objects.values()), default=str)
    shown = "".join([out.getvalue(), *errors, caplog.text, rows])
    assert "first_name" in out.getvalue()
    assert "first_name" in caplog.text
    assert "first_name" in rows
    assert "Hunter2" not in shown
