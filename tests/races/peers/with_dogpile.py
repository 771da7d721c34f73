"""dogpile.cache: a cached function; the key, or the whole region, is invalidated."""

from dogpile.cache import make_region

from tests.races.peers.means import Means, title_of
from tests.races.peers.models import Article


class OfTheKey(Means):
    knows_models = False

    def __init__(self, redis_url: str) -> None:
        super().__init__(redis_url)
        self.region = make_region().configure(
            "dogpile.cache.redis",
            expiration_time=3600,
            arguments={"url": redis_url, "distributed_lock": True, "thread_local_lock": False},
        )
        self.title = self.region.cache_on_arguments()(title_of)

    def read(self, pk: int) -> str:
        title: str = self.title(pk)
        return title

    def invalidate(self, article: Article) -> None:
        self.title.invalidate(article.pk)


class OfTheRegion(OfTheKey):
    def invalidate(self, article: Article) -> None:
        self.region.invalidate()
