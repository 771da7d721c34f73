"""django-cacheops: querysets or functions, invalidated by its own signal handlers."""

from cacheops import cached_as, invalidate_obj

from tests.races.peers.means import Means, title_of
from tests.races.peers.models import Article


class Querysets(Means):
    def read(self, pk: int) -> str:
        return Article.objects.get(pk=pk).title

    def invalidate(self, article: Article) -> None:
        invalidate_obj(article)

    def change_by_hand(self, name: str, article: Article, title: str) -> None:
        if name == "update()":
            Article.objects.filter(pk=article.pk).invalidated_update(title=title)
        else:
            super().change_by_hand(name, article, title)


class CachedAs(Querysets):
    keep_fresh = False

    def read(self, pk: int) -> str:
        sample = Article.objects.filter(pk=pk)
        title: str = cached_as(sample, keep_fresh=self.keep_fresh)(title_of)(pk)
        return title


class KeptFresh(CachedAs):
    keep_fresh = True
