"""django-cachalot: every query of the ORM, invalidated by table when it sees a statement that writes."""

from cachalot.api import invalidate

from tests.races.peers.means import Means, title_of
from tests.races.peers.models import Article


class Cachalot(Means):
    def read(self, pk: int) -> str:
        return title_of(pk)

    def invalidate(self, article: Article) -> None:
        invalidate(type(article))
