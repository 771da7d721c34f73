"""django-cacheback: a `Job`, told of changes by `delete` or `invalidate` in a signal handler."""

from cacheback.base import Job
from celery import Celery

from tests.races.peers.means import Means, title_of
from tests.races.peers.models import Article

# What `invalidate` asks of a worker is done at once.
app = Celery("peers", set_as_current=True)
app.conf.task_always_eager = True


class Title(Job):
    def fetch(self, pk: int) -> str:
        return title_of(pk)


class Deleting(Means):
    knows_models = False

    def read(self, pk: int) -> str:
        title: str = Title().get(pk)
        return title

    def invalidate(self, article: Article) -> None:
        Title().delete(article.pk)


class Invalidating(Deleting):
    def invalidate(self, article: Article) -> None:
        Title().invalidate(article.pk)
