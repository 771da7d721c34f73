"""The bypass detector: notices a write past the signals that no invalidation matches.

`queryset.update()`, `bulk_create()` and raw SQL send no signals. Where nobody calls `invalidate_for`, what is
cached stays wrong until its timeout, and nothing tells. So every INSERT, UPDATE and DELETE of a table that a
job depends on is noted, and so is what was recorded to be invalidated. What is left unmatched when its
transaction ends is a bypass: `WARMER_BYPASS` says what happens then.

What matches a statement:
- one that Django makes for `save()`, `delete()` or a many-to-many field, or a `WarmingQuerySet` makes, by
  what was recorded for its table (not for `save()` and `delete()` of rows of a many-to-many's own table, for
  which there are no signals);
- any other, by `invalidate_for` of whatever concerns the same job: its rows are not compared. A save of
  another row is no match;
- before or after it inside a transaction; after it outside, where `job.invalidate()` will do as well.

When is it judged: before the commit of the transaction that the project opened. Without one, or in one that
Django opens for a single call, the match may come a line later: so when the function of the project that did
it has ended and the connection writes again, at the end of the request or of the Celery task, by `check()`,
and at the end of the process.

What is not seen: writes of other programs, of database triggers and cascades, of stored procedures, and
`COPY`.
"""

from warmer.bypass.detector import (
    check,
    follow_settings,
    forget,
    on_connection,
    on_record,
    on_request_finished,
    on_setting,
)
from warmer.bypass.events import PATIENCE_SECONDS
from warmer.bypass.modes import mode

__all__ = [
    "PATIENCE_SECONDS",
    "check",
    "follow_settings",
    "forget",
    "mode",
    "on_connection",
    "on_record",
    "on_request_finished",
    "on_setting",
]
