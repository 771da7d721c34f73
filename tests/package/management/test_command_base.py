"""What the commands share: the check of the caches, arguments, tables and the line of progress."""

import sqlite3
from argparse import ArgumentTypeError
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import pytest

from tests.support.commands import Terminal, execute, program
from tests.support.fixtures import Python
from warmer.management.base import WarmerCommand, number, table

COMMANDS = ["warm_cache", "cache_audit", "cache_stats", "cache_benchmark", "warm_schedule"]


@pytest.mark.parametrize(
    ("command", "args"),
    [
        *[("cache_benchmark", args) for args in ("--count 0", "--size -1", "--count many", "--cache none")],
        *[("cache_stats", args) for args in ("--cache none", "--watch 0.1", "--watch soon")],
    ],
)
def test_argument__that_is_invalid_is_named(command: str, args: str) -> None:
    assert args.split()[0] in execute(command, *args.split()).error


@pytest.mark.django_db
@pytest.mark.parametrize("command", ["cache_benchmark", "cache_stats"])
def test_cache__that_keeps_nothing_is_1(settings: Any, command: str) -> None:
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}}
    done = execute(command)
    assert done.status == 1
    assert "does not keep" in done.error


def errors_of(python: Python, folder: Path, commands: list[str], **settings: Any) -> list[str]:
    """Run commands in a project with other settings; return the errors of those that exit with 1."""
    lines = [f"{name} = {value!r}" for name, value in settings.items()]
    (folder / "other_settings.py").write_text("\n".join(["from config.settings import *", *lines]))
    script = f"""
from django.core.management import execute_from_command_line
for command in {commands}:
    try:
        execute_from_command_line(["manage.py", *command.split()])
    except SystemExit as exit:
        print(command, exit.code)
"""
    done = python(script, DJANGO_SETTINGS_MODULE="other_settings")
    assert [line for line in done.stdout.splitlines() if line.endswith(" 1")] == [f"{each} 1" for each in commands]
    return done.stderr.splitlines()


@pytest.mark.parametrize(
    ("backend", "location", "why"),
    [
        ("django_redis.cache.RedisCach", "redis://x", "InvalidCacheBackendError"),
        ("django_redis.cache.RedisCache", "redi://x", "CACHES['default']['LOCATION'] = 'redi://x'"),
    ],
)
def test_check__unusable_cache_is_one_clear_line(
    python: Python, tmp_path: Path, backend: str, location: str, why: str
) -> None:
    caches = {"default": {"BACKEND": backend, "LOCATION": location}}
    lines = errors_of(python, tmp_path, COMMANDS, CACHES=caches)
    assert len(lines) == len(COMMANDS)
    for part in (f"'default' ({backend})", why, "cache_doctor"):
        assert all(part in line for line in lines)


@pytest.mark.parametrize(("is_old", "missing"), [(False, "no such table"), (True, "no such column")])
def test_database__that_is_not_migrated_is_named_with_what_to_do(
    python: Python, tmp_path: Path, is_old: bool, missing: str
) -> None:
    database = {"ENGINE": "django.db.backends.sqlite3", "NAME": str(tmp_path / "db.sqlite3")}
    if is_old:
        with closing(sqlite3.connect(database["NAME"])) as connection:
            connection.execute("CREATE TABLE warmer_warmingrun (id INTEGER)")
    caches = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    commands = ["warm_cache --inline", "cache_audit", "cache_stats", "warm_triggers --check"]
    found = errors_of(python, tmp_path, commands, CACHES=caches, DATABASES={"default": database})
    lines = [line for line in found if line.startswith("CommandError")]
    assert missing in lines[0]
    assert lines[0].endswith("Have you run 'manage.py migrate'?")
    assert is_old or all(missing in line for line in found if "OperationalError" in line)
    assert "run 'manage.py migrate' first" in lines[3]


def test_help(golden: Callable[..., None], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "110")
    texts = []
    for name in ("warm_cache", "warm_schedule", "warm_triggers", "warm_listen", "cache_audit"):
        with pytest.raises(SystemExit):
            execute(name, "--help")
        shown = capsys.readouterr().out
        texts.append(shown.partition("  --version")[0])
    golden("help_of_commands", "\n".join(texts))


@pytest.mark.parametrize(("text", "value"), [("1", 1), ("1,000", 1000), ("1_000", 1000), (" 7 ", 7)])
def test_number(text: str, value: int) -> None:
    assert number(int, 1, 1_000)(text) == value


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "", "many", "1001"])
def test_number__refused(text: str) -> None:
    with pytest.raises(ArgumentTypeError, match="is not an integer from 1 to 1,000"):
        number(int, 1, 1_000)(text)


def test_table__aligns_numbers_right_and_leaves_none_empty() -> None:
    names = ["job", "keys", "seconds", "state", "mixed"]
    cells = [["posts", 7, 0.5, "ok", 5], ["user_profiles", 123456, None, "incomplete", "text"]]
    assert table([dict(zip(names, each, strict=True)) for each in cells]).splitlines() == [
        "job               keys  seconds  state       mixed",
        "-------------  -------  -------  ----------  -----",
        "posts                7     0.50  ok          5",
        "user_profiles  123,456           incomplete  text",
    ]


def test_progress__stays_on_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    terminal = Terminal()
    command = WarmerCommand(stdout=terminal)
    command.show_progress("a" * 100)
    command.show_progress("")
    assert terminal.getvalue() == f"\r\x1b[K{'a' * 59}\r\x1b[K"


@pytest.mark.usefixtures("redis_client")
@pytest.mark.parametrize(
    ("command", "unbuffered", "status", "error"),
    [
        (["cache_benchmark", "--count", "10"], "", 141, ""),
        (["cache_benchmark", "--count", "10"], "1", 141, ""),
        (["cache_doctor"], "", 1, "CommandError"),  # it found errors: the database is not migrated
    ],
)
def test_output__that_nobody_reads_hides_no_error(
    monkeypatch: pytest.MonkeyPatch, command: list[str], unbuffered: str, status: int, error: str
) -> None:
    """If Python buffers the output, a short one is written only when the command ends."""
    monkeypatch.setenv("PYTHONUNBUFFERED", unbuffered)
    with program(*command) as process:
        cast(Any, process.stdout).close()
        errors = cast(Any, process.stderr).read()
    assert (process.returncode, errors.partition(":")[0]) == (status, error)
    assert "BrokenPipe" not in errors
