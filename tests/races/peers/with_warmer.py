"""warmer: a job over the titles."""

from collections.abc import Sequence

from tests.races.peers.means import Means
from tests.races.peers.models import Article
from warmer import invalidate_for, warm_many
from warmer.invalidation import Relay


@warm_many("title:{id}", ids=list, depends_on={Article: "id"})
def titles(ids: Sequence[int]) -> dict[int, str]:
    return dict(Article.objects.filter(pk__in=ids).values_list("pk", "title"))


class Warmer(Means):
    relay = Relay()

    def read(self, pk: int) -> str:
        title: str = titles.get(pk)
        return title

    def catch_up(self) -> None:
        self.relay.poll()

    def invalidate(self, article: Article) -> None:
        invalidate_for(article)
