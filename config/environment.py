"""Read the process's environment, with errors that name the variable and what it should hold."""

from __future__ import annotations

import os

from django.core.exceptions import ImproperlyConfigured

ENVIRONMENTS = ("development", "production", "test")


def environment_name() -> str:
    """Return which settings module `DJANGO_ENV` asks for.

    Raises:
        ImproperlyConfigured: `DJANGO_ENV` is none of `ENVIRONMENTS`.
    """
    name = os.environ.get("DJANGO_ENV") or "development"
    if name not in ENVIRONMENTS:
        raise ImproperlyConfigured(f"DJANGO_ENV is {name!r}: expected one of {', '.join(ENVIRONMENTS)}.")
    return name


def require(**purposes: str) -> dict[str, str]:
    """Return the named variables, all of which must be set and not empty.

    Args:
        purposes: variable name -> what to put there, shown when it is missing.

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
    """Return an environment variable without surrounding blanks."""
    return os.environ.get(name, default).strip()


def env_list(name: str) -> list[str]:
    """Return a comma-separated environment variable as a list."""
    return [item.strip() for item in env(name).split(",") if item.strip()]


def env_int(name: str, default: int) -> int:
    """Return an environment variable as a whole number.

    Raises:
        ImproperlyConfigured: the variable holds something else.
    """
    text = env(name) or str(default)
    try:
        return int(text)
    except ValueError:
        raise ImproperlyConfigured(f"{name} is {text!r}: expected a whole number.") from None
