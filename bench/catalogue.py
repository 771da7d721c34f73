"""The benchmarks: each is a function `name(rows, site)` in a module, which returns tables."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A benchmark.

    Attributes:
        module: where its function is.
        rows: the number of rows of a measurement; a tenth of them with `--quick`.
        unit: the name of these rows.
        rounds: the number of measured rounds.
        warm_up: whether an unmeasured round comes first; useless if each row starts new processes.
        shows: whether figures are operations a second, or the time of one.
        database: of the site, see `bench.site`.
        peers: the packages of other libraries, which are in .venv-peers.
    """

    module: str
    summary: str
    rows: int
    unit: str = "rows"
    rounds: int = 9
    warm_up: bool = True
    shows: Literal["rate", "time"] = "time"
    database: str = "sqlite"
    peers: tuple[str, ...] = ()


WARM = "Warming user profiles: a job against a loop of cache.set, set_many, and the limit"
PARTS = "Parts of warming: reading rows, encoding values and writing them, each alone"
READ = "Reading profiles: job.get against cache.get and the database"
SAVE = "Saving users: triggers and signals against a post_save handler with cache.delete"
REFRESH = "A refresh with nothing to do: runs when all keys are fresh, against a full one"
FANOUT = "Fan-out: batches on Celery workers, against the same in one process"
SCALE = "Scale: jobs of a hundredth, a tenth and all of so many keys, their time and memory"
HERD = "A herd of readers on a cold key: how often it is loaded, and until when the last has it"
OUTAGE = "An outage of the cache: reads, pages and saves while it refuses, and while it hangs"
PEERS = "Other libraries that can warm: the same profiles, each in its own way"
SUITE = "A project's tests: without warmer, with it, and with jobs that depend on what they write"
CLUSTER = "Redis Cluster: writes under the fences of its slots, against a pipeline of SET"
LIBRARIES = ("django-cacheback", "django-cacheops", "dogpile.cache")

BENCHMARKS = {
    "warm": Benchmark(module="profiles", summary=WARM, rows=100_000, rounds=5, shows="rate"),
    "parts": Benchmark(module="profiles", summary=PARTS, rows=10_000),
    "read": Benchmark(module="profiles", summary=READ, rows=2_000),
    "save": Benchmark(module="save", summary=SAVE, rows=500),
    "suite": Benchmark(module="suite", summary=SUITE, rows=300, unit="tests", rounds=5),
    "refresh": Benchmark(module="profiles", summary=REFRESH, rows=100_000),
    "fanout": Benchmark(
        module="workers", summary=FANOUT, rows=60_000, unit="keys", rounds=5, database="postgresql"
    ),
    "scale": Benchmark(
        module="workers",
        summary=SCALE,
        rows=1_000_000,
        unit="keys",
        rounds=3,
        warm_up=False,
        database="postgresql",
    ),
    "herd": Benchmark(module="herd", summary=HERD, rows=200, unit="readers", peers=LIBRARIES[:1]),
    "outage": Benchmark(module="outage", summary=OUTAGE, rows=10_000, rounds=3, warm_up=False),
    "cluster": Benchmark(module="cluster", summary=CLUSTER, rows=10_000, unit="keys"),
    "peers": Benchmark(module="peers", summary=PEERS, rows=10_000, shows="rate", peers=LIBRARIES),
}
