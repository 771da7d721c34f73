"""The terminal: aligned tables, and a progress bar that is only drawn where somebody looks."""

from __future__ import annotations

import os
import shutil
from io import StringIO
from typing import Any

import pytest
from django.core.management.base import OutputWrapper

from warmer.management.terminal import BAR_WIDTH, ProgressBar, table


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal of 60 columns."""
    monkeypatch.setattr(shutil, "get_terminal_size", lambda: os.terminal_size((60, 24)))
    return Terminal()


def test_table__aligns_texts_to_the_left_and_numbers_to_the_right() -> None:
    rows = [["posts", 7, 0.5, "ok"], ["user_profiles", 123456, 1234.567, "incomplete"]]

    assert table(["job", "keys", "seconds", "state"], rows).splitlines() == [
        "job               keys   seconds  state",
        "-------------  -------  --------  ----------",
        "posts                7      0.50  ok",
        "user_profiles  123,456  1,234.57  incomplete",
    ]


def test_table__nothing_is_an_empty_cell() -> None:
    assert table(["job", "keys", "run"], [["posts", None, None], ["more", 12, None]]).splitlines() == [
        "job    keys  run",
        "-----  ----  ---",
        "posts",
        "more     12",
    ]


def test_table__column_of_texts_and_numbers_is_one_of_texts() -> None:
    assert table(["value"], [["text"], [5]]).splitlines() == ["value", "-----", "text", "5"]


def test_table__without_rows() -> None:
    assert table(["job", "keys"], []).splitlines() == ["job  keys", "---  ----"]


def test_table__no_line_ends_in_blanks() -> None:
    lines = table(["a", "wide column"], [["x", "y"], ["long cell", ""]]).splitlines()

    assert lines == [line.rstrip() for line in lines]


def test_table__row_of_another_length() -> None:
    with pytest.raises(ValueError, match="zip"):
        table(["a", "b"], [["only one"], ["x", "y"]])


@pytest.mark.parametrize(
    ("done", "total", "filled"),
    [
        (0, 10, 0),
        (5, 10, BAR_WIDTH // 2),
        (9, 10, 21),
        (10, 10, BAR_WIDTH),
        (11, 10, BAR_WIDTH),
        (5, None, 0),
        (0, 0, 0),
    ],
)
def test_progress_bar__shows_how_far_the_work_is(
    terminal: Terminal, done: int, total: int | None, filled: int
) -> None:
    ProgressBar(OutputWrapper(terminal)).draw(done, total, "posts")

    bar = "#" * filled + "-" * (BAR_WIDTH - filled)
    assert terminal.getvalue() == f"\r\x1b[K[{bar}] posts"


def test_progress_bar__stays_on_one_line(terminal: Terminal) -> None:
    bar = ProgressBar(OutputWrapper(terminal))

    bar.draw(1, 2, "a" * 100)
    bar.draw(2, 2, "b" * 100)

    drawn = terminal.getvalue().split("\r\x1b[K")[1:]
    assert [len(line) for line in drawn] == [59, 59]
    assert "\n" not in terminal.getvalue()


def test_progress_bar__is_seen_at_once(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[str] = []
    monkeypatch.setattr(terminal, "flush", lambda: flushed.append(terminal.getvalue()))
    bar = ProgressBar(OutputWrapper(terminal))

    bar.draw(1, 2, "posts")
    bar.clear()

    assert len(flushed) == 2
    assert flushed[0].endswith("posts")
    assert flushed[1].endswith("\r\x1b[K")


def test_clear__takes_the_line_away_once(terminal: Terminal) -> None:
    bar = ProgressBar(OutputWrapper(terminal))
    bar.draw(1, 2, "posts")
    drawn = terminal.getvalue()

    bar.clear()
    bar.clear()

    assert terminal.getvalue() == drawn + "\r\x1b[K"


def test_clear__of_what_was_not_drawn(terminal: Terminal) -> None:
    ProgressBar(OutputWrapper(terminal)).clear()

    assert terminal.getvalue() == ""


def test_progress_bar__draws_nothing_but_on_a_terminal() -> None:
    stream: Any = StringIO()
    bar = ProgressBar(OutputWrapper(stream))

    bar.draw(1, 2, "posts")
    bar.clear()

    assert stream.getvalue() == ""
