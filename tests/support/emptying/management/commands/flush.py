"""`flush`: leave what `migrate` left."""

from typing import Any

from django.core.management.commands import flush

from tests.support import initial_rows


class Command(flush.Command):
    """Leave the rows that `migrate` left.

    Django's command deletes these too, and sends `post_migrate` to have content types, permissions and the
    schedule made anew, which took longer than most tests.
    """

    def handle(self, **options: Any) -> None:
        if not initial_rows.restore(options["database"]):
            super().handle(**options)
