"""The runbook as a page of the admin: the site serves it itself, also when nothing else can be reached."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from django.utils.html import escape, format_html
from django.utils.safestring import SafeString, mark_safe

# A link to the page of the documentation; in an installed package, a copy of it.
PAGE = Path(__file__).with_name("runbook.md")
_INLINE = (
    (r"`([^`]+)`", r"<code>\1</code>"),
    (r"\*\*([^*]+)\*\*", r"<strong>\1</strong>"),
    (r"\*([^*]+)\*", r"<em>\1</em>"),
    (r"\[([^\]]+)\]\((#[\w-]+)\)", r'<a href="\2">\1</a>'),
    (r"\[([^\]]+)\]\([^)]+\)", r"\1"),  # other pages are not here
)


@dataclass(frozen=True, kw_only=True)
class Section:
    """A section of the runbook.

    Attributes:
        anchor: as in the links to it.
        blocks: its paragraphs and commands, as HTML.
    """

    title: str
    anchor: str
    blocks: tuple[SafeString, ...]


@cache
def sections() -> tuple[Section, ...]:
    """Return the runbook. Of Markdown, it knows what the page uses."""
    text = re.sub(r"^<!--.*-->\n", "", PAGE.read_text(), flags=re.M)
    _, *parts = re.split(r"^#+ (.+)\n", text, flags=re.M)
    return tuple(
        Section(
            title=title,
            anchor=re.sub(r"[^\w -]", "", title).lower().replace(" ", "-"),
            blocks=tuple(_blocks(content)),
        )
        for title, content in zip(parts[::2], parts[1::2], strict=True)
    )


def _blocks(text: str) -> Iterator[SafeString]:
    for prose, code in re.findall(r"(.*?)(?:^```\w*\n(.*?)^```$|\Z)", text, flags=re.M | re.S):
        for paragraph in re.split(r"\n\n+|\n(?=- |\|)", prose.strip()):
            if paragraph and not paragraph.startswith("|--"):
                row = paragraph.strip("| ").replace(" | ", ": ")
                yield format_html("<p>{}</p>", _inline(row if paragraph[0] == "|" else paragraph))
        if code:
            yield format_html("<pre>{}</pre>", code)


def _inline(text: str) -> SafeString:
    html = str(escape(text))
    for pattern, replacement in _INLINE:
        html = re.sub(pattern, replacement, html)
    return mark_safe(html)  # noqa: S308 - escaped above
