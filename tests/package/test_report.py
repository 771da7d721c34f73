"""Reports: outcomes counted and added up, and errors told in one safe line."""

import string
from collections import Counter

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from warmer.report import MAX_ERROR_LENGTH, Failure, Outcome, Report, describe, masked, masked_address

COUNTS = ("written", "skipped", "superseded", "no_value", "failed", "batches", "queries", "seconds")

# Whole seconds: sums of floats depend on their order in the last digit.
reports = st.builds(
    Report,
    job=st.just("things"),
    failures=st.lists(st.builds(Failure, key=st.text(max_size=5), error=st.just("no")), max_size=3).map(tuple),
    **{name: st.integers(0, 10**9) for name in COUNTS},
)
# What a URL may hold in its user information without an escape; the rest is written as %41.
passwords = st.text(string.ascii_letters + string.digits + "-._~!$&'()*+,;=:%", min_size=8, max_size=40)


@given(outcomes=st.dictionaries(st.text(max_size=3), st.sampled_from(Outcome)))
def test_of__counts_every_key_once(outcomes: dict[str, Outcome]) -> None:
    report = Report.of("things", outcomes, {}, queries=3)
    counted = Counter(outcomes.values())
    assert {outcome: getattr(report, outcome) for outcome in Outcome} == {
        outcome: counted[outcome] for outcome in Outcome
    }
    assert (report.keys, report.queries) == (len(outcomes), 3)
    assert report.ok is (counted[Outcome.FAILED] == 0)


def test_failures__are_all_counted_and_the_first_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("warmer.report.MAX_FAILURES", 3)
    one = Report.of("things", dict.fromkeys("ab", Outcome.FAILED), dict.fromkeys("ab", "no"))
    other = Report.of("things", dict.fromkeys("cdef", Outcome.FAILED), dict.fromkeys("cdef", "no"))
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
        (ValueError("me@example.org, https://example.org/"), "ValueError: me@example.org, https://example.org/"),
    ],
)
def test_describe__is_one_line_without_logins(error: Exception, line: str) -> None:
    assert describe(error) == line


# Each holds the secret `hunter2`.
MASKED = [
    ("redis://:hunter2@host:6379/0", "redis://***@host:6379/0"),
    ("cache=redis://:hunter2@host", "cache=redis://***@host"),
    (":hunter2@cache:6379/0", "***@cache:6379/0"),
    ("site:hunter2@db:5432/site", "***@db:5432/site"),
    ("redis//:hunter2@cache", "***@cache"),
    ("redis:/:hunter2@cache:6379/0", "***@cache:6379/0"),
    ("redis://cache:6379:hunter2", "redis://cache:6379:***"),
    ("redis://u:hun@hunter2@host", "redis://***@host"),
    ("redis://u:hun/hunter2@host", "redis://***@host"),
    ("password=hunter2", "password=***"),
    ("FATAL: PGPASSWORD=hunter2 is wrong", "FATAL: PGPASSWORD=*** is wrong"),
    ("dsn host=db passwd='hunter2 too' dbname=site", "dsn host=db passwd=*** dbname=site"),
    ("PASSWD = hunter2", "PASSWD = ***"),
    ("secret=hunter2", "secret=***"),
    ("AWS_SECRET_ACCESS_KEY=hunter2", "AWS_SECRET_ACCESS_KEY=***"),
    ("token=hunter2", "token=***"),
    ("https://example.org/rows?token=hunter2", "https://example.org/rows?token=***"),
    ("api_key=hunter2", "api_key=***"),
    ("apikey: hunter2", "apikey: ***"),
    ("X-Api-Key: hunter2", "X-Api-Key: ***"),
    ("{'password': 'hunter2', 'user': 'ada'}", "{'password': ***, 'user': 'ada'}"),
    ('{"accessToken": "hunter2"}', '{"accessToken": ***}'),
    ("{'password': 'it\\'s hunter2'}", "{'password': ***}"),
    ("password='hunter2 cut off", "password=***"),
    ("Authorization: Bearer hunter2", "Authorization: Bearer ***"),
    ("Authorization: Basic hunter2", "Authorization: Basic ***"),
    ("{'Authorization': 'Token hunter2'}", "{'Authorization': 'Token ***"),
    ("curl sent bearer hunter2 and got 401", "curl sent bearer *** and got 401"),
    ("Port could not be cast to integer value as 'hunter2'", "Port could not be cast to integer value as ***"),
]
# What must be read in full: these hold no secret.
NOT_MASKED = [
    "me@example.org, https://example.org/",
    "Error 111 connecting to redis-sentinel://h1:26379,h2:26379/m: refused, at 12:30:45.123",
    "redis://[::1]:6379/0 and postgres://db:5432: both are away",
    "WRONGPASS invalid username-password pair or user is disabled",
    "InvalidTokenError: Signature has expired",
    "at ['password'] it holds a Promise",
    "No token for the batch",
    "KeyError: 'secret'",
]


@pytest.mark.parametrize(("text", "shown"), MASKED)
def test_masked__shows_no_secret(text: str, shown: str) -> None:
    assert masked(text) == shown
    assert describe(ValueError(f"It failed: {text}")) == f"ValueError: It failed: {shown}"


@pytest.mark.parametrize("text", NOT_MASKED)
def test_masked__leaves_what_is_no_secret(text: str) -> None:
    assert masked(text) == text


@given(
    secret=passwords,
    template=st.sampled_from([text.replace("hunter2", "{}") for text, _ in MASKED]),
    before=st.text(" \n\t(,;abc", max_size=30).map(lambda text: f"{text} "),
    after=st.text(" \n\t", min_size=1, max_size=3).map(lambda blank: f"{blank}and so on"),
)
def test_describe__never_shows_a_planted_secret(secret: str, template: str, before: str, after: str) -> None:
    planted = f"S3CR{secret}T"
    if "'" in template:
        planted = planted.replace("'", "-")  # the quotes around it end where it says
    said = describe(OSError(before + template.replace("{}", planted) + after))
    assert "S3CR" not in said
    assert planted not in said


@given(
    text=st.sampled_from(
        ["redis://:{}@h/0", "{}", ":{}@h", "u:{}@h/0", "redis://h:6379:{}", "redis//:{}@h", "redis:{}@h"]
        + ["redis://h/0?password={}", "redis://{}@h", "redis://h:{}", "{}@redis://h", "redis://u:{}@[::1/0"]
    ),
    secret=st.text(string.printable.replace("@", ""), min_size=5, max_size=30),
)
def test_masked_address__shows_nothing_of_a_secret(text: str, secret: str) -> None:
    assume("://" not in secret or not text.startswith("{}"))  # else it is an address, and shows its scheme
    shown = masked_address(text.replace("{}", f"S3{secret}CR"))
    assert "S3" not in shown
    assert "CR" not in shown


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("redis://:secret@host/0", "redis://***@host/0"),
        ("redis://:se@cret@host/0", "redis://***@host/0"),
        ("redis://host/0?password=secret", "redis://host/0"),
        ("unix://:secret@/run/redis.sock?db=1", "unix://***@/run/redis.sock"),
        ("redis-sentinel://:secret@h1:1,[::1]:2/m/1", "redis-sentinel://***@h1:1,[::1]:2/m/1"),
        ("redis://host:6379/0", "redis://host:6379/0"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock"),
        ("postgres://ada:secret@//cloudsql/a:b:c/site", "postgres://***@//cloudsql/a:b:c/site"),
        ("postgres://ada:secret@%2Fcloudsql%2Fa/site", "postgres://***@%2Fcloudsql%2Fa/site"),
        ("redis://:sec/ret@host", "redis://***"),
        ("redis://:secret@[::1", "redis://***"),
        ("host:6379", "***"),
        ("", ""),
    ],
)
def test_masked_address__shows_where_it_leads(address: str, shown: str) -> None:
    assert masked_address(address) == shown


@given(text=st.text() | st.text(" \n\tab", min_size=MAX_ERROR_LENGTH - 20, max_size=MAX_ERROR_LENGTH * 2))
def test_describe__is_bounded(text: str) -> None:
    line = describe(ValueError(text))
    assert len(line) <= MAX_ERROR_LENGTH
    assert line.splitlines() == [line]
