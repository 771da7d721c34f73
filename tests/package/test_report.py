"""Reports: outcomes counted and added up, and errors told in one safe line."""

from __future__ import annotations

import json
import string
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmer.report import MAX_ERROR_LENGTH, Failure, Outcome, Report, describe

COUNTS = ("written", "skipped", "superseded", "no_value", "failed", "batches", "queries", "seconds")

# Whole seconds: sums of floats depend on their order in the last digit.
reports = st.builds(
    Report,
    job=st.just("things"),
    failures=st.lists(st.builds(Failure, key=st.text(max_size=5), error=st.just("no")), max_size=3).map(
        tuple
    ),
    **{name: st.integers(0, 10**9) for name in COUNTS},
)
# What a URL may hold in its user information without an escape; the rest is written as %41.
passwords = st.text(string.ascii_letters + string.digits + "-._~!$&'()*+,;=:%", min_size=8, max_size=40)


@given(outcomes=st.dictionaries(st.text(max_size=3), st.sampled_from(Outcome)))
def test_of__counts_every_key_once(outcomes: dict[str, Outcome]) -> None:
    report = Report.of("things", outcomes, queries=3)
    counted = Counter(outcomes.values())
    assert {outcome: getattr(report, outcome) for outcome in Outcome} == {
        outcome: counted[outcome] for outcome in Outcome
    }
    assert (report.keys, report.batches, report.queries) == (len(outcomes), 1, 3)
    assert report.ok is (counted[Outcome.FAILED] == 0)


def test_failures__are_all_counted_and_the_first_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("warmer.report.MAX_FAILURES", 3)
    one = Report.of("things", dict.fromkeys("ab", Outcome.FAILED), errors=dict.fromkeys("ab", "no"))
    other = Report.of("things", dict.fromkeys("cdef", Outcome.FAILED), errors=dict.fromkeys("cdef", "no"))
    both = one + other
    assert (other.failed, len(other.failures)) == (4, 3)
    assert (both.failed, both.failures) == (6, tuple(Failure(key=key, error="no") for key in "abc"))


@given(one=reports, two=reports, three=reports)
def test_add__sums_every_count_in_any_order(one: Report, two: Report, three: Report) -> None:
    both = one + two
    assert {name: getattr(both, name) for name in COUNTS} == {
        name: getattr(one, name) + getattr(two, name) for name in COUNTS
    }
    assert both.failures == one.failures + two.failures
    assert both + three == one + (two + three)
    assert one + Report(job="things") == Report(job="things") + one == one


def test_as_dict__is_plain_data() -> None:
    report = Report(job="things", written=2, failed=1, failures=(Failure(key="a", error="no"),)).timed(0.5)
    data = json.loads(json.dumps(report.as_dict()))
    assert data == data | {"job": "things", "written": 2, "skipped": 0, "failed": 1, "seconds": 0.5}
    assert data["failures"] == [{"key": "a", "error": "no"}]


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("It failed."), "ValueError: It failed"),
        (ValueError("first\n  second\tthird"), "ValueError: first second third"),
        (ValueError("  "), "ValueError"),
        (KeyError("id"), "KeyError: 'id'"),
        (ValueError("redis://:secret@host:6379/0 is away"), "ValueError: redis://***@host:6379/0 is away"),
        (ValueError("redis+socket://:secret@/run/r"), "ValueError: redis+socket://***@/run/r"),
        (ValueError("redis://:a@h1/0, rediss://:b@h2/0"), "ValueError: redis://***@h1/0, rediss://***@h2/0"),
        (
            ValueError("me@example.org, https://example.org/"),
            "ValueError: me@example.org, https://example.org/",
        ),
    ],
)
def test_describe__is_one_line_without_logins(error: Exception, line: str) -> None:
    assert describe(error) == line


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
    # Exactly this: a password may be a part of what is shown besides, as "redis-se" is of a scheme.
    expected = "OSError: " + " ".join(around.replace("{}", shown).split()).rstrip(".")
    assert describe(OSError(around.replace("{}", url))) == expected


@given(text=st.text() | st.text(" \n\tab", min_size=MAX_ERROR_LENGTH - 20, max_size=MAX_ERROR_LENGTH * 2))
def test_describe__is_bounded(text: str) -> None:
    line = describe(ValueError(text))
    assert len(line) <= MAX_ERROR_LENGTH
    assert line.splitlines() == [line]
