"""The verdicts as a table in Markdown, and the page around it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tests.races.peers.catalogue import Peer

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

PAGE = """# The race of a reader with a writer: other libraries, and warmer

Made by `script/peers --docs`. Do not edit it by hand. With {versions}.

{table}

**Race.** A reader finds the key cold and selects the row. Before it stores what it has read, a writer
changes the row, commits, and invalidates by the means that the library's documentation gives. Then the
reader stores. Another reader comes: `right` when it gets the new value, `stale` when it gets the old one,
which then stays until its timeout. The writer steps in at the same place for all: after the reader's
`SELECT` has run. `race on other changes` is `update()`, `bulk_update()`, raw SQL and another program, each
invalidated by hand where the library does not notice it.

**Alone** is without a race: the value is cached, the change is made, and nothing is done by hand. `stale`
means that the library does not notice such a change, `by hand` that it has no way to. `another program` is
a plain connection to the database, without Django.

What the words leave out:

- One process, one row, autocommit, a real {server}, a SQLite file in WAL mode, and django-redis where a
  library goes through Django's cache. Each way was first seen to serve a cached value, so no verdict is of
  a library that does not cache; and each change that is not noticed was seen to become `right` without a
  race when it is invalidated by hand, so no verdict comes of a wrong call.
- A forced interleaving says that a library can lose the race, not how often: the window is from the select
  to the store, and grows with the time that a loader takes.
- `by hand`: cacheback, dogpile.cache and cashews cache functions and know nothing of models. Here a
  `post_save` handler tells them of `save()`; after any other change the caller has to invalidate.
- cacheops documents `invalidated_update()` for `update()`, and `invalidate_obj()` for what it does not see:
  those are its invalidations by hand. Its `keep_fresh` is there for exactly this race.
- The locks of dogpile.cache and of cashews keep two readers from loading at once; a writer takes neither.
  cashews' transactions order the writes to a key; what was read from a database before is still written.
- warmer learns of changes by Django's signals, or by triggers in the database (see
  [guarantees](guarantees.md)). After what sends no signal, call `invalidate_for`. Triggers also record what
  another program changes. A worker applies that within a second; here it is asked to after each change. The
  guarantee is for Redis; on other caches it is weaker.
- What is stale heals when its timeout ends. With a short one, many sites can live with that; the default is
  none in django-cachalot.
"""


@dataclass(frozen=True, kw_only=True)
class Row:
    """What was found out about one way of using one library."""

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
            *(
                verdict if name == "save()" or self.knows_models else BY_HAND
                for name, verdict in self.alone.items()
            ),
        ]


def table(rows: Sequence[Row]) -> str:
    lines = [HEAD, ["---"] * len(HEAD), *(row.cells() for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def page(rows: Sequence[Row], *, server: str, versions: str) -> str:
    return PAGE.format(
        table=table(rows),
        server=server,
        versions=versions,
    )
