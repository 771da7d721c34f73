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
        rounds: how many rounds count, when nothing else is said.
        database: "sqlite", "postgresql" where several processes write at once, or "both".
        peers: the other libraries that take part, by their distributions; they are in .venv-peers.
    """

    name: str
    summary: str
    rows: int
    quick_rows: int
    unit: str = "rows"
    rounds: int = 9
    database: str = "sqlite"
    peers: tuple[str, ...] = ()


ENTRIES = (
    Entry(
        name="warm",
        summary="Warming user profiles: a job against a loop of cache.set, set_many, and the limit",
        rows=100_000,
        quick_rows=10_000,
        rounds=5,
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
        summary="Saving users: triggers and signals against a post_save handler with cache.delete",
        rows=500,
        quick_rows=50,
        database="both",
    ),
    Entry(
        name="refresh",
        summary="A refresh with nothing to do: runs when all keys are fresh, against a full one",
        rows=100_000,
        quick_rows=2_000,
    ),
    Entry(
        name="fanout",
        summary="Fan-out: batches on Celery workers, against the same in one process",
        unit="keys",
        rows=60_000,
        quick_rows=2_000,
        rounds=5,
        database="postgresql",
    ),
    Entry(
        name="scale",
        summary="Scale: jobs of a hundredth, a tenth and all of so many keys, their time and memory",
        unit="keys",
        rows=1_000_000,
        quick_rows=100_000,
        rounds=3,
        database="postgresql",
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
