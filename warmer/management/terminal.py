"""Draw on a terminal: a table, a progress bar that stays on one line, and a log that a reader can take in."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from django.core.management.base import OutputWrapper

BAR_WIDTH = 24


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Return rows as aligned text: numbers to the right, thousands grouped, an empty cell for None."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(header, *cells, strict=True)]
    right = [
        all(isinstance(row[at], int | float) or row[at] is None for row in rows) for at in range(len(header))
    ]

    def line(texts: Sequence[str]) -> str:
        pieces = [
            text.rjust(width) if to_right else text.ljust(width)
            for text, width, to_right in zip(texts, widths, right, strict=True)
        ]
        return "  ".join(pieces).rstrip()

    rule = "  ".join("-" * width for width in widths)
    return "\n".join([line(header), rule, *map(line, cells)])


class ProgressBar:
    """One line that is drawn again and again; on anything but a terminal, nothing."""

    def __init__(self, stream: OutputWrapper) -> None:
        self._stream = stream
        self._drawn = False
        self._is_terminal = bool(stream.isatty())

    def draw(self, done: int, total: int | None, text: str) -> None:
        """Show how far the work is; `total` None: not known yet."""
        if not self._is_terminal:
            return
        filled = min(BAR_WIDTH, BAR_WIDTH * done // total) if total else 0
        bar = "#" * filled + "-" * (BAR_WIDTH - filled)
        width = shutil.get_terminal_size().columns - 1
        self._stream.write("\r\x1b[K" + f"[{bar}] {text}"[:width], ending="")
        self._stream.flush()
        self._drawn = True

    def clear(self) -> None:
        """Take the line away, so that the next output begins on a clean one."""
        if self._drawn:
            self._stream.write("\r\x1b[K", ending="")
            self._stream.flush()
            self._drawn = False


@contextmanager
def without_tracebacks(name: str) -> Iterator[None]:
    """Have what is logged under a name during a block be lines, without the traceback of an error."""
    logger = logging.getLogger(name)
    logger.addFilter(_drop_traceback)
    try:
        yield
    finally:
        logger.removeFilter(_drop_traceback)


def _drop_traceback(record: logging.LogRecord) -> bool:
    record.exc_info = None
    return True


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
