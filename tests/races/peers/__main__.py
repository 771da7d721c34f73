"""Try every library: `script/peers`. The verdicts are a table in Markdown, with a page around it."""

import argparse
import json
import sqlite3
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.core.management import call_command
from redis import Redis

from embedded.redis_server import RedisServer

QUERYSETS = {"peers.article": {"ops": {"get", "fetch"}, "timeout": 3600}}
# Functions only: a queryset that is cached inside a cached function would be another race.
FUNCTIONS = {"peers.article": {"timeout": 3600}}


@dataclass(frozen=True, kw_only=True)
class Peer:
    """One way of using one library."""

    distribution: str
    way: str
    means: str  # the class in `tests.races.peers` that does so, as `module.Class`
    apps: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)  # with `{redis}` for the server's address


def peer(distribution: str, way: str, means: str, **settings: Any) -> Peer:
    """Return a peer whose module here, and whose app if it has one, are named after its distribution."""
    name = distribution.removeprefix("django-").partition(".")[0]
    apps = () if name in ("cashews", "dogpile") else (name,)
    return Peer(distribution=distribution, way=way, means=f"with_{name}.{means}", apps=apps, settings=settings)


def cacheops(way: str, means: str, cached: Mapping[str, Any], *, insideout: bool = False) -> Peer:
    settings = {"CACHEOPS_REDIS": "{redis}", "CACHEOPS": cached, "CACHEOPS_INSIDEOUT": insideout}
    return peer("django-cacheops", way, means, **settings)


PEERS = (
    peer("django-cacheback", "`Job`, `delete` in a signal handler", "Deleting"),
    peer("django-cacheback", "`Job`, `invalidate` in a signal handler", "Invalidating"),
    cacheops("cached querysets", "Querysets", QUERYSETS),
    cacheops("cached querysets, `CACHEOPS_INSIDEOUT`", "Querysets", QUERYSETS, insideout=True),
    cacheops("`@cached_as`", "CachedAs", FUNCTIONS),
    cacheops("`@cached_as(keep_fresh=True)`", "KeptFresh", FUNCTIONS),
    cacheops("`@cached_as(keep_fresh=True)`, `CACHEOPS_INSIDEOUT`", "KeptFresh", FUNCTIONS, insideout=True),
    peer("django-cachalot", "every query, as it comes", "Cachalot"),
    peer("dogpile.cache", "`cache_on_arguments`, `invalidate` of the key", "OfTheKey"),
    peer("dogpile.cache", "`cache_on_arguments`, `region.invalidate`", "OfTheRegion"),
    peer("cashews", "`@cache`, `delete`", "Plain"),
    peer("cashews", "`@cache(lock=True)`, `delete`", "Locked"),
    peer("cashews", "`@cache.early`, `delete`", "Early"),
    peer("cashews", "`@cache(tags=...)`, `delete_tags`", "Tagged"),
    peer("cashews", "`@cache` in `cache.transaction()`, `delete`", "InTransaction"),
    peer("warmer", "`@warm_many`, changes captured by signals", "Warmer", WARMER_CAPTURE="signals"),
    peer("warmer", "`@warm_many`, changes captured by triggers", "Warmer", WARMER_CAPTURE="triggers"),
)

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs" / "peers.md"


BY_HAND = "by hand"
HEAD = (
    "library",
    "version",
    "used as",
    "race on `save()`",
    "race on other changes",
    "alone: `save()`",
    "alone: `update()`",
    "alone: `bulk_update()`",
    "alone: raw SQL",
    "alone: another program",
)

PAGE = """# Other libraries: who loses the race between a reader and a writer

Made by `script/peers --docs`. Do not edit it by hand. With {versions}.

{table}

**Race.** A reader finds the key cold and selects the row. Before it stores the value, a writer changes the
row, commits, and invalidates in the way that the library documents. Then the reader stores. The table shows
what the next reader gets: `right` is the new value, `stale` the old one, which then stays until its timeout.
The writer always steps in at the same point, after the reader's `SELECT` has run. `race on other changes`
covers `update()`, `bulk_update()`, raw SQL and another program, each invalidated by hand if the library does
not notice it.

**Alone** is without a race: the value is cached, the row is changed, and nothing is done by hand. `stale`
means that the library does not notice such a change, `by hand` that it has no way to. `another program` is
a plain connection to the database, without Django.

Notes:

- The set-up is one process, one row, autocommit, a real {server}, a SQLite file in WAL mode, and
  django-redis where a library uses Django's cache. Before each verdict, the test checks that the library
  serves a cached value. It also checks that every change that is not noticed becomes `right` when it is
  invalidated by hand without a race. So no verdict is about a library that does not cache, or about a wrong
  call.
- A forced interleaving shows that a library can lose the race, not how often. The window is from the select
  to the store, and grows with the time that a loader takes.
- `by hand`: cacheback, dogpile.cache and cashews cache functions and know nothing about models. Here a
  `post_save` handler tells them about `save()`; after any other change the caller has to invalidate.
- cacheops documents `invalidated_update()` for `update()`, and `invalidate_obj()` for changes that it does
  not see. The test uses these as its invalidations by hand. Its `keep_fresh` exists for exactly this race.
- The locks of dogpile.cache and cashews keep two readers from loading at once, but a writer takes neither.
  cashews' transactions order the writes to a key, but still write values read from a database before.
- warmer captures changes by Django's signals, or by triggers in the database (see
  [guarantees](guarantees.md)). After a change that sends no signal, call `invalidate_for`. Triggers also
  record the changes of other programs. A worker applies these within a second; the test triggers this after
  each change. The guarantee applies to Redis; on other caches it is weaker.
- Stale values disappear at their timeout. With a short timeout, many sites can accept them; the default of
  django-cachalot is no timeout.
"""


@dataclass(frozen=True, kw_only=True)
class Row:
    """The verdicts about one way of using one library."""

    peer: Peer
    version: str
    knows_models: bool
    alone: dict[str, str]
    race: dict[str, str]

    def cells(self) -> list[str]:
        others = {name: verdict for name, verdict in self.race.items() if name != "save()"}
        same = len(set(others.values())) == 1
        return [
            self.peer.distribution,
            self.version,
            self.peer.way,
            self.race["save()"],
            next(iter(others.values())) if same else ", ".join(f"{n}: {v}" for n, v in others.items()),
            *(verdict if name == "save()" or self.knows_models else BY_HAND for name, verdict in self.alone.items()),
        ]


def table(rows: Sequence[Row]) -> str:
    lines = [HEAD, ["---"] * len(HEAD), *(row.cells() for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def page(rows: Sequence[Row], *, server: str, versions: str) -> str:
    return PAGE.format(table=table(rows), server=server, versions=versions)


def main(arguments: list[str]) -> int:
    """Try the libraries that are asked for; return the exit code."""
    parser = argparse.ArgumentParser(prog="script/peers", description="Race other libraries and warmer.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="libraries, e.g. cashews (default: all)")
    parser.add_argument("--docs", action="store_true", help="write docs/peers.md; needs all libraries")
    parser.add_argument("--one", nargs=2, metavar=("NUMBER", "REDIS"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.one:
        return _try_here(PEERS[int(options.one[0])], options.one[1])
    chosen = [peer for peer in PEERS if not options.names or peer.distribution in options.names]
    if not chosen or (options.docs and len(chosen) < len(PEERS)):
        parser.error("--docs is for all libraries; a name is one of " + ", ".join(_names()))
    with RedisServer() as server:
        rows = [_try_in_a_process(peer, server) for peer in chosen]
        print(table(rows))
        if options.docs:
            DOCS.write_text(page(rows, server=server.version(), versions=_versions(server)))
    return 0


def _try_in_a_process(peer: Peer, server: RedisServer) -> Row:
    command = [sys.executable, "-m", "tests.races.peers", "--one", str(PEERS.index(peer)), server.url()]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{peer.distribution}, {peer.way}: the trial itself failed, see above.")
    return Row(peer=peer, version=_version(peer), **json.loads(done.stdout.splitlines()[-1]))


def _try_here(peer: Peer, redis_url: str) -> int:
    with tempfile.TemporaryDirectory(prefix="warmer-peers-") as folder:
        print(json.dumps(_try_one(peer, redis_url, Path(folder))))
    return 0


def _try_one(peer: Peer, redis_url: str, folder: Path) -> dict[str, Any]:
    """Set Django up for a library, and return its verdicts."""
    given = {
        name: value.replace("{redis}", redis_url) if isinstance(value, str) else value
        for name, value in peer.settings.items()
    }
    settings.configure(**_settings(peer, redis_url, folder) | given)
    django.setup()
    # They import models, which are there only now, and declare what `migrate` installs triggers for.
    trial = import_module("tests.races.peers.race").Trial
    module, _, name = peer.means.partition(".")
    kind = getattr(import_module(f"tests.races.peers.{module}"), name)
    call_command("migrate", run_syncdb=True, verbosity=0)
    means = kind(redis_url)
    with Redis.from_url(redis_url) as server:
        return {"knows_models": means.knows_models, **trial(means, server).run()}


def _settings(peer: Peer, redis_url: str, folder: Path) -> dict[str, Any]:
    return {
        "INSTALLED_APPS": ["django.contrib.auth", "django.contrib.contenttypes", *peer.apps, "tests.races.peers"],
        "DATABASES": {
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": folder / "db.sqlite3",
                "OPTIONS": {"init_command": "PRAGMA journal_mode=WAL;", "timeout": 20},
            }
        },
        "CACHES": {"default": {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": redis_url}},
        "DEFAULT_AUTO_FIELD": "django.db.models.BigAutoField",
        "USE_TZ": True,
    }


def _version(peer: Peer) -> str:
    if peer.distribution == "warmer":  # from the folder, not installed
        return str(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"])
    return version(peer.distribution)


def _versions(server: RedisServer) -> str:
    python = ".".join(map(str, sys.version_info[:3]))
    installed = [f"{name} {version(name)}" for name in ("Django", "redis", "django-redis")]
    return ", ".join([f"Python {python}", server.version(), f"SQLite {sqlite3.sqlite_version}", *installed])


def _names() -> list[str]:
    return sorted({peer.distribution for peer in PEERS})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
