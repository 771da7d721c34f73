"""Management commands as a shell sees them."""

from __future__ import annotations

import io

from django.core.management import CommandError, call_command


def ended(name: str, *args: str) -> tuple[int, str]:
    """Run a command; return its exit status, and everything that was printed."""
    out = io.StringIO()
    try:
        call_command(name, *args, stdout=out, stderr=out)
    except CommandError as error:
        return error.returncode, f"{out.getvalue()}{error}"
    return 0, out.getvalue()
