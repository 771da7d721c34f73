"""What a sample post is composed of."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Title:
    """A post's title, with the words that the opening paragraph calls its subject by."""

    text: str
    subject: str


@dataclass(frozen=True, kw_only=True)
class Topic:
    """Titles and paragraphs that go together in any choice that keeps their order."""

    titles: tuple[Title, ...]
    openings: tuple[str, ...]  # each with a place for {subject}
    middles: tuple[str, ...]
    endings: tuple[str, ...]


def titles(text: str) -> tuple[Title, ...]:
    """Read titles written one a line as `Title | subject`."""
    pairs = [line.split("|") for line in text.strip().splitlines()]
    return tuple(Title(text=title.strip(), subject=subject.strip()) for title, subject in pairs)


def paragraphs(text: str) -> tuple[str, ...]:
    """Read paragraphs with an empty line between them; where a line ends means nothing."""
    return tuple(" ".join(paragraph.split()) for paragraph in text.strip().split("\n\n"))
