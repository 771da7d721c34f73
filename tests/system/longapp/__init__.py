"""A job with the longest name, and no place in it to break a line."""

LONG_NAME = "along" * 20
