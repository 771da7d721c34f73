"""What happens with a bypass: what `WARMER_BYPASS` says."""

from __future__ import annotations

from typing import Literal, get_args

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from warmer.conf import conf

Mode = Literal["off", "warn", "raise", "invalidate"]
MODES: tuple[Mode, ...] = get_args(Mode)


def mode() -> Mode:
    """Return what `WARMER_BYPASS` says.

    Raises:
        ImproperlyConfigured: it is none of the four.
    """
    said = conf.BYPASS or ("warn" if settings.DEBUG else "off")
    if said not in MODES:
        raise ImproperlyConfigured(
            f"WARMER_BYPASS = {said!r}: expected one of {', '.join(map(repr, MODES))}."
        )
    return said
