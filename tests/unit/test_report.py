"""Reports: outcomes counted and added up, and errors told in one safe line."""

from __future__ import annotations

import json
import string
from collections import Counter
from dataclasses import FrozenInstanceError, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmer.report import MAX_ERROR_LENGTH, Failure, Outcome, Report, describe

COUNTS = ("written", "skipped", "superseded", "no_value", "failed", "batches", "queries", "seconds")

failures = st.builds(Failure, key=st.text(max_size=5), error=st.text(max_size=5))
# Whole seconds: sums of floats depend on their order in the last digit.
reports = st.builds(
    Report,
    job=st.just("things"),
    failures=st.lists(failures, max_size=3).map(tuple),
    **{name: st.integers(0, 10**9) for name in COUNTS},
)
# What a URL may hold in its user information without an escape; the rest is written as %41.
passwords = st.text(string.ascii_letters + string.digits + "-._~!$&'()*+,;=:%", min_size=8, max_size=40)


def test_report__is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        Report(job="things").written = 1  # type: ignore[misc]


def test_of__counts_each_outcome() -> None:
    report = Report.of(
        "things",
        {
            "a": Outcome.WRITTEN,
            "b": Outcome.WRITTEN,
            "c": Outcome.SKIPPED,
            "d": Outcome.SUPERSEDED,
            "e": Outcome.NO_VALUE,
            "f": Outcome.FAILED,
        },
        errors={"f": "ValueError: no"},
        queries=3,
    ).timed(0.5)

    assert report == Report(
        job="things",
        written=2,
        skipped=1,
        superseded=1,
        no_value=1,
        failed=1,
        batches=1,
        queries=3,
        seconds=0.5,
        failures=(Failure(key="f", error="ValueError: no"),),
    )


@given(outcomes=st.dictionaries(st.text(max_size=3), st.sampled_from(Outcome)))
def test_of__speaks_of_every_key_once(outcomes: dict[str, Outcome]) -> None:
    report = Report.of("things", outcomes)

    assert report.keys == len(outcomes)
    counted = Counter(outcomes.values())
    assert {outcome: getattr(report, outcome) for outcome in Outcome} == {
        outcome: counted[outcome] for outcome in Outcome
    }
    assert report.ok is (counted[Outcome.FAILED] == 0)


def test_of__names_the_first_failures_and_counts_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("warmer.report.MAX_FAILURES", 2)
    outcomes = dict.fromkeys("abc", Outcome.FAILED)

    report = Report.of("things", outcomes, errors=dict.fromkeys("abc", "no"))

    assert report.failed == 3
    assert report.failures == (Failure(key="a", error="no"), Failure(key="b", error="no"))


def test_ok__a_fenced_or_absent_key_has_not_failed() -> None:
    assert Report(job="things", superseded=1, no_value=1).ok
    assert not Report(job="things", written=9, failed=1).ok


@given(one=reports, other=reports)
def test_add__sums_every_count(one: Report, other: Report) -> None:
    both = one + other

    for name in COUNTS:
        assert getattr(both, name) == getattr(one, name) + getattr(other, name)
    assert both.keys == one.keys + other.keys
    assert both.failures == one.failures + other.failures
    assert both.job == "things"


@given(one=reports, two=reports, three=reports)
def test_add__is_associative(one: Report, two: Report, three: Report) -> None:
    assert (one + two) + three == one + (two + three)


@given(report=reports)
def test_add__nothing(report: Report) -> None:
    assert report + Report(job="things") == report
    assert Report(job="things") + report == report


def test_add__keeps_the_first_failures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("warmer.report.MAX_FAILURES", 3)
    one = Report(job="things", failures=tuple(Failure(key=key, error="no") for key in "ab"))
    other = Report(job="things", failures=tuple(Failure(key=key, error="no") for key in "cd"))

    assert [failure.key for failure in (one + other).failures] == ["a", "b", "c"]


def test_timed__changes_the_seconds_alone() -> None:
    report = Report(job="things", written=2, batches=1, queries=1, seconds=9.0)

    assert report.timed(1.5) == replace(report, seconds=1.5)
    assert report.seconds == 9.0


def test_as_dict__is_plain_data() -> None:
    report = Report(job="things", written=2, failed=1, failures=(Failure(key="a", error="no"),))

    assert json.loads(json.dumps(report.as_dict())) == {
        "job": "things",
        "written": 2,
        "skipped": 0,
        "superseded": 0,
        "no_value": 0,
        "failed": 1,
        "batches": 0,
        "queries": 0,
        "seconds": 0.0,
        "load_seconds": 0.0,
        "encode_seconds": 0.0,
        "write_seconds": 0.0,
        "wait_seconds": 0.0,
        "failures": [{"key": "a", "error": "no"}],
    }


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("no such row"), "ValueError: no such row"),
        (ValueError("It failed."), "ValueError: It failed"),
        (ValueError("first\n  second\tthird"), "ValueError: first second third"),
        (ValueError(), "ValueError"),
        (ValueError("  "), "ValueError"),
        (KeyError("id"), "KeyError: 'id'"),
    ],
)
def test_describe__is_one_line(error: Exception, line: str) -> None:
    assert describe(error) == line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("redis://:secret@host:6379/0 is away", "redis://***@host:6379/0 is away"),
        ("redis://user:secret@host/0", "redis://***@host/0"),
        ("redis+socket://:secret@/run/redis.sock", "redis+socket://***@/run/redis.sock"),
        ("one redis://:a@h1/0, two rediss://:b@h2/0", "one redis://***@h1/0, two rediss://***@h2/0"),
        ("redis://host:6379/0", "redis://host:6379/0"),
        (
            "write to me@example.org, see https://example.org/",
            "write to me@example.org, see https://example.org/",
        ),
    ],
)
def test_describe__hides_the_login_of_a_url(text: str, shown: str) -> None:
    assert describe(ValueError(text)) == f"ValueError: {shown}"


@pytest.mark.parametrize("password", ["se@cret", "se/cret", "@/secret"])
def test_describe__hides_a_password_that_is_not_escaped(password: str) -> None:
    # Such an address cannot be used, so it is sure to be in an error.
    assert "cret" not in describe(ValueError(f"cannot connect to redis://user:{password}@host:6379/0"))


@given(
    password=passwords,
    scheme=st.sampled_from(["redis", "rediss", "unix", "redis-sentinel", "postgres", "sqla+pg"]),
    around=st.sampled_from(["{}", "Error 111 connecting to {}. Connection refused.", "'{}'\n({})"]),
)
def test_describe__never_shows_a_password(password: str, scheme: str, around: str) -> None:
    url = f"{scheme}://someone:{password}@example.org:6379/0"
    shown = f"{scheme}://***@example.org:6379/0"

    line = describe(OSError(around.replace("{}", url)))

    # Exactly this: a password may be a part of what is shown besides, as "redis-se" is of a scheme.
    assert line == "OSError: " + " ".join(around.replace("{}", shown).split()).rstrip(".")


@given(text=st.text() | st.text(" \n\tab", min_size=MAX_ERROR_LENGTH - 20, max_size=MAX_ERROR_LENGTH * 2))
def test_describe__is_bounded(text: str) -> None:
    line = describe(ValueError(text))

    assert len(line) <= MAX_ERROR_LENGTH == 500
    assert line.splitlines() == [line]
    assert line.startswith("ValueError")
