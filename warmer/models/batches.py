"""The batches of a run."""

from __future__ import annotations

from django.db import models

from warmer.models.runs import WarmingRun


class WarmingBatch(models.Model):
    """A batch of a run. Once it was counted, its row keeps a second delivery from counting again."""

    run = models.ForeignKey(WarmingRun, on_delete=models.CASCADE, related_name="batches")
    number = models.PositiveIntegerField()
    ids = models.JSONField(null=True, help_text="What a worker is to load; null once it was counted.")
    worker = models.CharField(max_length=255, blank=True)
    recorded_at = models.DateTimeField(null=True, help_text="When it was counted.")
    successor = models.PositiveIntegerField(
        null=True, help_text="The first of the batches that are sent for next, should it not have been done."
    )
    successors = models.PositiveSmallIntegerField(default=0, help_text="How many these are.")

    class Meta:
        default_permissions = ()
        constraints = [models.UniqueConstraint(fields=["run", "number"], name="warmer_batch_counted_once")]

    def __str__(self) -> str:
        return f"batch {self.number} of run {self.run_id}"
