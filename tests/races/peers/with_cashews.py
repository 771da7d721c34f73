"""cashews: a cached coroutine; the key, or a tag, is deleted."""

import asyncio
from collections.abc import Coroutine
from threading import Thread
from typing import Any

from asgiref.sync import sync_to_async
from cashews import Cache

from tests.races.peers.means import Means, title_of
from tests.races.peers.models import Article

KEY = "title:{pk}"


async def load(pk: int) -> str:
    # In a thread of its own: the loop goes on while the database is read.
    return await sync_to_async(title_of, thread_sensitive=False)(pk)


class Plain(Means):
    knows_models = False

    def __init__(self, redis_url: str) -> None:
        super().__init__(redis_url)
        self.loop = asyncio.new_event_loop()
        Thread(target=self.loop.run_forever, daemon=True).start()
        self.cache = Cache()
        self.cache.setup(redis_url, suppress=False)
        self.title: Any = self.decorated()

    def decorated(self) -> Any:
        return self.cache(ttl="1h", key=KEY)(load)

    def read(self, pk: int) -> str:
        title: str = self.wait(self.title(pk=pk))
        return title

    def invalidate(self, article: Article) -> None:
        self.wait(self.cache.delete(KEY.format(pk=article.pk)))

    def wait(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout=60)


class Locked(Plain):
    def decorated(self) -> Any:
        return self.cache(ttl="1h", key=KEY, lock=True)(load)


class Early(Plain):
    def decorated(self) -> Any:
        return self.cache.early(ttl="1h", early_ttl="30m", key=KEY)(load)

    def invalidate(self, article: Article) -> None:
        # It puts a version before the key that it is given.
        self.wait(self.cache.delete_match(f"*{KEY.format(pk=article.pk)}"))


class Tagged(Plain):
    def decorated(self) -> Any:
        return self.cache(ttl="1h", key=KEY, tags=["article:{pk}"])(load)

    def invalidate(self, article: Article) -> None:
        self.wait(self.cache.delete_tags(f"article:{article.pk}"))


class InTransaction(Plain):
    def decorated(self) -> Any:
        return self.cache.transaction()(super().decorated())

    def invalidate(self, article: Article) -> None:
        async def delete() -> None:
            async with self.cache.transaction():
                await self.cache.delete(KEY.format(pk=article.pk))

        self.wait(delete())
