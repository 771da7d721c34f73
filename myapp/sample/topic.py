"""The parts of a sample post."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Title:
    """A post's title, and the name of its subject in the opening paragraph."""

    text: str
    subject: str


@dataclass(frozen=True, kw_only=True)
class Topic:
    """Titles and paragraphs that can be combined freely, in this order."""

    titles: tuple[Title, ...]
    openings: tuple[str, ...]  # each contains {subject}
    middles: tuple[str, ...]
    endings: tuple[str, ...]


def titles(text: str) -> tuple[Title, ...]:
    """Parse titles, one per line: `Title | subject`."""
    pairs = [line.split("|") for line in text.strip().splitlines()]
    return tuple(Title(text=title.strip(), subject=subject.strip()) for title, subject in pairs)


def paragraphs(text: str) -> tuple[str, ...]:
    """Parse paragraphs that are separated by empty lines; other line breaks do not matter."""
    return tuple(" ".join(paragraph.split()) for paragraph in text.strip().split("\n\n"))
