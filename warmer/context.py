"""Context for a block: the settings' language and time zone, and whether warmer itself is writing."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar

from django.conf import settings
from django.urls import get_script_prefix, get_urlconf, set_script_prefix, set_urlconf
from django.utils import timezone, translation

is_own_write: ContextVar[bool] = ContextVar("is_own_write", default=False)
"""Whether warmer is writing. Other code, such as `cache_page`, calls the same serializer."""


@contextmanager
def own_write() -> Iterator[None]:
    """Make the serializer raise for unsupported values, so that their keys are reported as failed."""
    outer = is_own_write.set(True)
    try:
        yield
    finally:
        is_own_write.reset(outer)


@contextmanager
def settings_context() -> Iterator[None]:
    """Use the language, time zone and root URLconf of the settings, regardless of what the caller activated.

    A loader's result is cached for everybody, so it must not depend on the first caller.
    """
    prefix, urlconf, forced = get_script_prefix(), get_urlconf(), settings.FORCE_SCRIPT_NAME
    root = "/" if forced is None else forced  # as in `django.setup`
    with ExitStack() as stack:  # setting the same values again would take three times as long
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
