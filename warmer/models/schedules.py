"""The schedule that code declared."""

from __future__ import annotations

from django.db import models

from warmer.declarations.spec import MAX_NAME_LENGTH


class JobSchedule(models.Model):
    """The interval that code declared when it was last synced: it tells an operator's edit from ours."""

    job = models.CharField(max_length=MAX_NAME_LENGTH, unique=True)
    declared_seconds = models.PositiveIntegerField()

    class Meta:
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.job} every {self.declared_seconds} s"
