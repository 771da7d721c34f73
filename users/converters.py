"""Convert a row's id in a URL."""

from django.urls.converters import IntConverter


class RowIdConverter(IntConverter):
    """An integer that fits a 64-bit column.

    A longer one matches no row, and SQLite raises `OverflowError` for it: such a URL is a 404, not a 500.
    """

    regex = "[0-9]{1,18}"
