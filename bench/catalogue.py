"""The benchmarks that there are: for each of them a module `bench.<name>`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One benchmark; its module has `benchmark(rows)`, which is called once Django is set up.

    Attributes:
        rows: how many rows a measurement is about.
        quick_rows: the same with `--quick`.
        unit: what these are.
        peers: the other libraries that take part, by their distributions; they are in .venv-peers.
    """

    name: str
    summary: str
    rows: int
    quick_rows: int
    unit: str = "rows"
    peers: tuple[str, ...] = ()


ENTRIES = (
    Entry(
        name="warm",
        summary="Warming user profiles: a job against a loop of cache.set, set_many, and the limit",
        rows=20_000,
        quick_rows=2_000,
    ),
    Entry(
        name="parts",
        summary="Parts of warming: reading rows, encoding values and writing them, each alone",
        rows=10_000,
        quick_rows=1_000,
    ),
    Entry(
        name="read",
        summary="Reading profiles: job.get against cache.get and the database",
        rows=2_000,
        quick_rows=200,
    ),
    Entry(
        name="effect",
        summary="Counting reads: job.get with and without it, and with keys to watch",
        rows=2_000,
        quick_rows=200,
    ),
    Entry(
        name="save",
        summary="Saving a user: invalidation by a job against a post_save handler with cache.delete",
        rows=500,
        quick_rows=50,
    ),
    Entry(
        name="herd",
        summary="A herd of readers on a cold key: how often it is loaded, and until when the last has it",
        unit="readers",
        rows=200,
        quick_rows=200,
        peers=("django-cacheback",),
    ),
    Entry(
        name="peers",
        summary="Other libraries that can warm: the same profiles, each in its own way",
        rows=10_000,
        quick_rows=1_000,
        peers=("django-cacheback", "django-cacheops", "dogpile.cache"),
    ),
)

CATALOGUE = {entry.name: entry for entry in ENTRIES}
