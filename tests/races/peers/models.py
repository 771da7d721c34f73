"""The one row that all read and write."""

from django.conf import settings
from django.db import models

if settings.PEERS_WARMING_MANAGER:
    from warmer.querysets import WarmingManager as ArticleManager
else:
    from django.db.models import Manager as ArticleManager


class Article(models.Model):
    """What is cached is its title."""

    title = models.CharField(max_length=100)

    objects = ArticleManager()

    class Meta:
        app_label = "peers"

    def __str__(self) -> str:
        return self.title
