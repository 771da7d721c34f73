"""Effectiveness: which share of a job's warm keys is read before they expire, so which is worth warming.

A panel of the declared keys is drawn at random, and readers watch it for as long as a key lives: each
process notes which of them it sees read, and how many reads of them miss. Then the panel is closed, and the
next one drawn. Watching costs a reader one lookup in a set, and the cache what the readers saw for the first
time, with the counts.
"""

from __future__ import annotations

import random
import secrets
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from warmer.conf import conf
from warmer.declarations.spec import JobSpec
from warmer.filling.read_counters import FLUSH_SECONDS
from warmer.models import JobObservation
from warmer.stores import Tallies

# Of a job whose keys live longer, what is not read in a day counts as not read.
LONGEST = timedelta(days=1)
# Until every process has heard of a panel, and again until each has told what it saw.
DELAY = timedelta(seconds=2 * FLUSH_SECONDS)
# So long after its end a panel can still be closed, when the observations are late.
PATIENCE = timedelta(hours=1)


def follow(
    spec: JobSpec,
    row: JobObservation,
    *,
    tallies: Tallies,
    standing: str,
    keys: Sequence[str],
    cached: Collection[str],
    now: datetime,
) -> None:
    """Close a job's panel when it is over, and draw the next one.

    Args:
        row: the job's observation, which keeps the panel and what became of the last one.
        standing: the panel that the cache has readers watch.
        keys: some of the declared keys, drawn at random.
        cached: those of them that are cached.
    """
    if conf.EFFECTIVENESS_SAMPLE <= 0:
        if row.panel:
            tallies.end_panel(row.panel)
        row.panel, row.panel_drawn_at, row.panel_ends_at = "", None, None
        return
    if row.panel and row.panel_ends_at is not None and now >= row.panel_ends_at:
        _close(row, tallies)
    elif row.panel != standing:  # the cache has lost it, and what was seen of it
        row.panel = ""
    if not row.panel and cached:
        _draw(spec, row, tallies=tallies, keys=keys, cached=cached, now=now)


def _close(row: JobObservation, tallies: Tallies) -> None:
    result = tallies.end_panel(row.panel)
    if result is not None:
        row.watched, row.watched_read, row.watched_misses = result.warm, result.read, result.misses
        row.watched_share = row.panel_share
        row.watched_from, row.watched_until = row.panel_drawn_at, row.panel_ends_at
    row.panel = ""


def _draw(
    spec: JobSpec,
    row: JobObservation,
    *,
    tallies: Tallies,
    keys: Sequence[str],
    cached: Collection[str],
    now: datetime,
) -> None:
    drawn = random.sample(keys, min(conf.EFFECTIVENESS_SAMPLE, len(keys)))
    warm = [key for key in drawn if key in cached]
    if not warm:
        return
    watched = min(spec.timeout, LONGEST) + DELAY
    row.panel, row.panel_share = secrets.token_hex(8), len(drawn) / max(row.declared, len(drawn))
    row.panel_drawn_at, row.panel_ends_at = now, now + watched
    tallies.draw_panel(row.panel, drawn, warm, seconds=(watched + PATIENCE).total_seconds())
