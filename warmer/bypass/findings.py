"""What is found: a write that nothing matches."""

from __future__ import annotations

from dataclasses import dataclass

from warmer.bypass.origins import Origin
from warmer.spec import JobSpec

FIX = (
    "Use warmer.querysets.WarmingQuerySet in the model's managers (and name one in Meta.base_manager_name), "
    "or call warmer.invalidate_for(...) after it, in the same transaction."
)


@dataclass(frozen=True, kw_only=True)
class Bypass:
    """A write that nothing matches."""

    table: str
    verb: str
    origin: Origin
    jobs: tuple[JobSpec, ...]

    def __str__(self) -> str:
        names = ", ".join(spec.name for spec in self.jobs)
        verb = {"INSERT": "an INSERT", "UPDATE": "an UPDATE"}.get(self.verb, f"a {self.verb}")
        return (
            f"The table {self.table!r} was changed by {verb} at {self.origin}, and nothing was invalidated "
            f"for the job{'s' if len(self.jobs) > 1 else ''} {names}. {FIX}"
        )
