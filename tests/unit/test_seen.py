"""What came by is remembered, in memory that does not grow."""

from __future__ import annotations

from warmer.monitoring.audit.seen import Seen


def test_seen__remembers_what_came_by() -> None:
    seen = Seen()
    assert all(seen.add(str(number)) for number in range(10_000))
    assert not any(seen.add(str(number)) for number in range(10_000))


def test_seen__memory_does_not_grow() -> None:
    seen = Seen()
    before = len(seen._bits)
    for number in range(10_000):
        seen.add(str(number))
    assert len(seen._bits) == before == 2**20
