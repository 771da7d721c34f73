"""How a row's id is written in an address."""

from django.urls.converters import IntConverter


class RowIdConverter(IntConverter):
    """A whole number that fits a 64-bit column.

    A longer one names no row, and SQLite raises `OverflowError` where it should find nothing:
    such an address is a 404, not a 500.
    """

    regex = "[0-9]{1,18}"
