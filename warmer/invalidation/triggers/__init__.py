"""Capture by database triggers: what is installed, what is missing, and how to install and remove it."""

from warmer.invalidation.triggers.install import (
    VENDORS,
    Problem,
    catch_up,
    databases,
    forget_installed,
    install,
    installed,
    on_migrated,
    on_migrating,
    problems,
    prune,
    remove,
    script,
)

__all__ = [
    "VENDORS",
    "Problem",
    "catch_up",
    "databases",
    "forget_installed",
    "install",
    "installed",
    "on_migrated",
    "on_migrating",
    "problems",
    "prune",
    "remove",
    "script",
]
