"""What is found: a write that nothing matches."""

from __future__ import annotations

from dataclasses import dataclass

from warmer.bypass.events import Write
from warmer.registry import Concern
from warmer.spec import JobSpec

FIX = (
    "Use warmer.querysets.WarmingQuerySet in the model's managers (and name one in Meta.base_manager_name), "
    "or call warmer.invalidate_for(...) after it, in the same transaction."
)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A write, and its concerns that nothing matches."""

    write: Write
    concerns: tuple[Concern, ...]

    @property
    def jobs(self) -> list[JobSpec]:
        """The jobs for which nothing was invalidated."""
        return list(dict.fromkeys(concern.spec for concern in self.concerns))

    def __str__(self) -> str:
        names = [spec.name for spec in self.jobs]
        verb = {"INSERT": "an INSERT", "UPDATE": "an UPDATE"}.get(self.write.verb, f"a {self.write.verb}")
        return (
            f"The table {self.write.table!r} was changed by {verb} at {self.write.origin}, and nothing was "
            f"invalidated for the job{'s' if len(names) > 1 else ''} {', '.join(names)}. {FIX}"
        )
