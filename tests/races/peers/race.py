"""The trial of one way of using one library: in every order of steps, is what is cached right at the end?"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.db import connection
from django.db.backends.signals import connection_created
from redis import Redis

from tests.races.peers.means import CHANGES, TABLE, Means, another_program
from tests.races.peers.models import Article

RIGHT, STALE = "right", "stale"
PK = 1
PATIENCE_SECONDS = 60


class Trial:
    """One library, one row and an empty cache for every step."""

    def __init__(self, means: Means, server: Redis) -> None:
        self._means = means
        self._server = server
        self._after_select: Callable[[], object] | None = None
        connection_created.connect(self._watch)
        connection.close()
        server.flushdb()
        Article.objects.create(pk=PK)

    def run(self) -> dict[str, dict[str, str]]:
        """Return the verdicts: `alone` and in a `race`, for each kind of change.

        `alone` is with nothing done by hand. In the race, what is not noticed is invalidated by hand.
        """
        self._must_cache()
        alone = {name: self._alone(name) for name in CHANGES}
        race = {name: self._race(name, by_hand=alone[name] == STALE) for name in CHANGES}
        return {"alone": alone, "race": race}

    def _must_cache(self) -> None:
        """Make sure that there is something to be wrong about: a change by others is not seen at once."""
        article = self._begin()
        assert self._read() == "old"
        another_program(article, "new")
        assert self._read() == "old", "it does not cache here, so its verdicts would say nothing"

    def _alone(self, name: str) -> str:
        article = self._begin()
        assert self._read() == "old"
        CHANGES[name](article, "new")
        self._means.catch_up()
        verdict = self._verdict()
        if verdict == STALE:
            article = self._begin()
            assert self._read() == "old"
            self._means.change_by_hand(name, article, "new")
            assert self._verdict() == RIGHT, f"{name}: not even when it is invalidated by hand"
        return verdict

    def _race(self, name: str, *, by_hand: bool) -> str:
        """A reader selects; a writer commits and invalidates; the reader stores; another reader comes."""
        article = self._begin()

        def change() -> None:
            if by_hand:
                self._means.change_by_hand(name, article, "new")
            else:
                CHANGES[name](article, "new")
            self._means.catch_up()
            connection.close()

        self._after_select = change
        self._read()
        assert self._after_select is None, "the reader did not select"
        return self._verdict()

    def _begin(self) -> Article:
        """Empty the cache; return the row as a writer has it, loaded some time before."""
        another_program(Article(pk=PK), "old")
        self._means.catch_up()
        article = Article.objects.get(pk=PK)
        self._server.flushdb()
        return article

    def _read(self) -> str:
        return self._means.read(PK)

    def _verdict(self) -> str:
        title = self._read()
        assert title in ("old", "new")
        return RIGHT if title == "new" else STALE

    def _watch(self, connection: Any, **_kwargs: object) -> None:
        connection.execute_wrappers.append(self._step_in)

    def _step_in(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        result = execute(sql, params, many, context)
        if self._after_select and sql.startswith("SELECT") and TABLE in sql:
            step, self._after_select = self._after_select, None
            # A writer that waits for the reader ends with a time-out: this order cannot be.
            ThreadPoolExecutor(1).submit(step).result(PATIENCE_SECONDS)
        return result
