"""Read environment variables, with errors that name the variable and the expected value."""

from __future__ import annotations

import os

from django.core.exceptions import ImproperlyConfigured

ENVIRONMENTS = ("development", "production", "test")


def environment_name() -> str:
    """Return the settings module that `DJANGO_ENV` selects.

    Raises:
        ImproperlyConfigured: `DJANGO_ENV` is not one of `ENVIRONMENTS`.
    """
    name = os.environ.get("DJANGO_ENV") or "development"
    if name not in ENVIRONMENTS:
        raise ImproperlyConfigured(f"DJANGO_ENV is {name!r}: expected one of {', '.join(ENVIRONMENTS)}.")
    return name


def require(**purposes: str) -> dict[str, str]:
    """Return the named variables, all of which must be set and not empty.

    Args:
        purposes: variable name -> its expected value, shown if it is missing.

    Raises:
        ImproperlyConfigured: names every variable that is missing, not only the first.
    """
    missing = [f"{name} ({purpose})" for name, purpose in purposes.items() if not env(name)]
    if missing:
        raise ImproperlyConfigured(
            "These environment variables must be set in production: " + "; ".join(missing) + "."
        )
    return {name: env(name) for name in purposes}


def env(name: str, default: str = "") -> str:
    """Return an environment variable without surrounding whitespace."""
    return os.environ.get(name, default).strip()


def env_list(name: str) -> list[str]:
    """Return a comma-separated environment variable as a list."""
    return [item.strip() for item in env(name).split(",") if item.strip()]


def env_int(name: str, default: int) -> int:
    """Return an environment variable as an integer.

    Raises:
        ImproperlyConfigured: the variable is not an integer.
    """
    text = env(name) or str(default)
    try:
        return int(text)
    except ValueError:
        raise ImproperlyConfigured(f"{name} is {text!r}: expected an integer.") from None
