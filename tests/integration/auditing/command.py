"""Call `manage.py cache_audit` in this process."""

from __future__ import annotations

import io

import pytest
from django.core.management import CommandError, call_command


def run(*args: str) -> str:
    """Return what the command prints."""
    out = io.StringIO()
    call_command("cache_audit", *args, stdout=out, stderr=out)
    return out.getvalue()


def failing(*args: str, out: io.StringIO | None = None) -> CommandError:
    """Return the error with which the command ends; what it prints goes to `out`."""
    out = io.StringIO() if out is None else out
    with pytest.raises(CommandError) as caught:
        call_command("cache_audit", *args, stdout=out, stderr=out)
    return caught.value
