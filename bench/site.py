"""The project, set up as in production, with its own servers, in this process and in others."""

import os
import platform
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib import import_module
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import django
from django.core.management import call_command
from django.db import connection

from bench.measure import Row
from embedded.postgres_server import PostgresServer
from embedded.redis_server import RedisServer

# Like a cache in production: it may evict, and writes nothing to disk.
CACHE_OPTIONS = {"maxmemory": "4gb", "maxmemory-policy": "allkeys-lru"}
# The names of the numbers that SQLite returns.
SYNCHRONOUS = ("off", "normal", "full", "extra")
PROCESS = "peak MiB of the process"


class Site(ExitStack):
    """The servers of a benchmark; a stack that closes everything that the benchmark enters."""

    redis: RedisServer  # the cache
    folder: Path  # a temporary one
    databases: dict[str, str]  # the version of each database that the benchmark uses, by its name

    def cpu(self) -> float:
        """Return the seconds of processor time that the cache server used so far."""
        with self.redis.client() as client:
            used = client.info("cpu")
        return float(used["used_cpu_user"]) + float(used["used_cpu_sys"])


@contextmanager
def running_site(database: str = "sqlite") -> Iterator[Site]:
    """Set up Django, once per process, with an empty cache, and a new database that skips the disk."""
    with Site() as site:
        site.folder = Path(site.enter_context(TemporaryDirectory(prefix="warmer-bench-")))
        site.redis = site.enter_context(RedisServer(options=CACHE_OPTIONS))
        url = f"sqlite:///{site.folder / 'db.sqlite3'}"
        if database == "postgresql":
            url = site.enter_context(PostgresServer()).create_database("bench")
        os.environ |= {
            "DJANGO_SETTINGS_MODULE": "bench.settings",
            "DJANGO_ENV": "production",
            "SECRET_KEY": "only-for-benchmarks-" + "0123456789" * 4,
            "ALLOWED_HOSTS": "localhost",
            "DATABASE_URL": url,
            "REDIS_URL": site.redis.url(0),
            "CELERY_BROKER_URL": site.redis.url(1),
        }
        django.setup()
        create_tables()
        site.databases = database_version()
        site.callback(connection.close)
        # At the end of the process the server no longer answers.
        site.callback(import_module("warmer.filling.read_counters").flush)
        yield site


def create_tables() -> None:
    call_command("migrate", run_syncdb=True, verbosity=0)


def database_version() -> dict[str, str]:
    """Return the version of the database by its name, and whether its commits wait for the disk."""
    if connection.vendor == "postgresql":
        names = ("server_version", "fsync", "synchronous_commit")
        release, fsync, commit = (_answer(f"SHOW {name}") for name in names)
        return {"PostgreSQL": f"{release.split()[0]} (fsync={fsync}, synchronous_commit={commit})"}
    journal, number = (_answer(f"PRAGMA {name}") for name in ("journal_mode", "synchronous"))
    synchronous = SYNCHRONOUS[int(number)]
    return {"SQLite": f"{sqlite3.sqlite_version} (journal_mode={journal}, synchronous={synchronous})"}


def _answer(sql: str) -> str:
    with connection.cursor() as cursor:
        cursor.execute(sql)
        return str(cursor.fetchone()[0])


def machine() -> str:
    """Return the processor, its cores, and its load."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    cpu = next(iter(models), platform.processor() or platform.machine())
    return f"{cpu}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"


def versions(site: Site, peers: Iterable[str] = ()) -> str:
    """Return the versions of the software, with the packages of other libraries."""
    names = ("Django", "redis-py", "hiredis", "django-redis", *peers)
    found = {name: version("redis" if name == "redis-py" else name) for name in names}
    software = {"Python": platform.python_version(), **found, **site.databases}
    return ", ".join([site.redis.version(), *(f"{name} {number}" for name, number in software.items())])


class Worker(ExitStack):
    """A process with Django set up, which calls functions on request.

    It is needed for libraries that patch Django when imported, for readers in several processes, and for the
    peak memory of one run.
    """

    def __init__(self, **environment: str) -> None:
        super().__init__()
        self.cpu = 0.0  # seconds of the processor that it and its PostgreSQL session took for the calls
        spawn = get_context("spawn")
        self._pool = self.enter_context(
            ProcessPoolExecutor(1, mp_context=spawn, initializer=_begin, initargs=(environment,))
        )
        self._process = self.tell(os.getpid)

    def row(self, function: Callable[..., Any], *args: Any, **more: Any) -> Row:
        """Return a row whose work is to call a function there."""
        return Row(run=partial(self.ask, function, *args), cpu=lambda: self.cpu, **more)

    def tell(self, function: Callable[..., Any], *args: Any) -> Future[Any]:
        """Begin to call a function there; `answer` waits for its result."""
        return self._pool.submit(_measured, function, *args)

    def answer(self, future: Future[Any]) -> Any:
        """Return what the function returned, or raise what it raised."""
        result, cpu = future.result()
        self.cpu += cpu
        return result

    def ask(self, function: Callable[..., Any], *args: Any) -> Any:
        return self.answer(self.tell(function, *args))

    def peaks(self) -> dict[str, float]:
        process, _ = self._process.result()
        return {PROCESS: peak(process)}


def peak(process: int) -> float:
    """Return the peak memory of a process so far, in MiB (Linux; 0 elsewhere)."""
    status = Path(f"/proc/{process}/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return sum(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


def _begin(environment: dict[str, str]) -> None:
    os.environ |= environment
    django.setup()


def _measured(function: Callable[..., Any], *args: Any) -> tuple[Any, float]:
    began = _cpu()
    return function(*args), _cpu() - began


def _cpu() -> float:
    seconds = time.process_time()
    if connection.vendor == "postgresql" and connection.connection is not None:
        times = Path(f"/proc/{connection.connection.info.backend_pid}/schedstat")
        seconds += int(times.read_text().split()[0]) / 1e9 if times.exists() else 0.0
    return seconds
