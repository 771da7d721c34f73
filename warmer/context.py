"""What holds while a block runs: the settings' language and time zone; and that warmer itself writes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar

from django.conf import settings
from django.urls import get_script_prefix, get_urlconf, set_script_prefix, set_urlconf
from django.utils import timezone, translation

is_own_write: ContextVar[bool] = ContextVar("is_own_write", default=False)
"""Whether warmer writes values of its jobs. Other code, such as `cache_page`, calls the same serializer."""


@contextmanager
def own_write() -> Iterator[None]:
    """Make the serializer raise for a value that it cannot carry, so that its key is reported as failed."""
    outer = is_own_write.set(True)
    try:
        yield
    finally:
        is_own_write.reset(outer)


@contextmanager
def settings_context() -> Iterator[None]:
    """Use the language, the time zone and the root of URLs of the settings, whatever the caller activated.

    What a loader returns is cached for everybody, so it must not depend on who asked first.
    """
    prefix, urlconf, forced = get_script_prefix(), get_urlconf(), settings.FORCE_SCRIPT_NAME
    root = "/" if forced is None else forced  # as `django.setup` sets it
    with ExitStack() as stack:  # to set what is set already would take three times as long
        if prefix != root:
            set_script_prefix(root)
            stack.callback(set_script_prefix, prefix)
        if urlconf is not None:
            set_urlconf(None)
            stack.callback(set_urlconf, urlconf)
        if translation.get_language() != settings.LANGUAGE_CODE:
            stack.enter_context(translation.override(settings.LANGUAGE_CODE))
        if timezone.get_current_timezone() != timezone.get_default_timezone():
            stack.enter_context(timezone.override(None))
        yield
