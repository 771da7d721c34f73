"""The one row that all read and write."""

from django.db import models


class Article(models.Model):
    """What is cached is its title."""

    title = models.CharField(max_length=100)

    class Meta:
        app_label = "peers"

    def __str__(self) -> str:
        return self.title
