"""The runbook as an admin page, which the site serves itself even if nothing else can be reached."""

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from django.utils.html import escape
from django.utils.safestring import SafeString, mark_safe

# A symbolic link to the page in the documentation; in an installed package, a copy of it.
PAGE = Path(__file__).with_name("runbook.md")
_INLINE = (
    (r"`([^`]+)`", r"<code>\1</code>"),
    (r"\*\*([^*]+)\*\*", r"<strong>\1</strong>"),
    (r"\*([^*]+)\*", r"<em>\1</em>"),
    (r"\[([^\]]+)\]\((#[\w-]+)\)", r'<a href="\2">\1</a>'),
    # The admin does not serve other pages, so show their names instead of links.
    (r"\[([^\]]+)\]\(([^)#]+)[^)]*\)", r"\1 [<code>docs/\2</code>]"),
)


@cache
def html() -> SafeString:
    """Render the runbook. Supports the Markdown that the page uses; tables are shown without their header."""
    text = re.sub(r"^# .*\n|^<!--.*-->\n|^\|.*\n\|-.*\n", "", PAGE.read_text("utf-8"), flags=re.M)
    text = re.sub(r"^##+ (.+)$", _heading, escape(text), flags=re.M)
    return mark_safe("\n".join(_blocks(text)))  # noqa: S308 - escaped above


def _heading(found: re.Match[str]) -> str:
    anchor = re.sub(r"[^\w -]", "", found[1]).lower().replace(" ", "-")
    return f'\n<h2 id="{anchor}">{found[1]}</h2>\n'


def _blocks(text: str) -> Iterator[str]:
    for prose, code in re.findall(r"(.*?)(?:^```\w*\n(.*?)^```$|\Z)", text, flags=re.M | re.S):
        for block in re.split(r"\n\n+|\n(?=- |\|)", prose.strip()):
            row = block.strip("| ").replace(" | ", ": ") if block.startswith("|") else block
            for pattern, replacement in _INLINE:
                row = re.sub(pattern, replacement, row)
            if row:
                yield row if row.startswith("<h2") else f"<p>{row}</p>"
        if code:
            yield f"<pre>{code}</pre>"
