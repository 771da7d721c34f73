"""Frames of the stack: to whose code each of them belongs."""

from __future__ import annotations

import os
import re
import sys
import sysconfig
from collections.abc import Iterator
from functools import cache
from types import FrameType
from typing import Literal

import django

Role = Literal["project", "library", "inner", "machinery", "exempt"]


def _folder(path: str) -> str:
    return os.path.join(path, "")


DJANGO = _folder(os.path.dirname(django.__file__))
OURS = _folder(os.path.dirname(os.path.dirname(__file__)))
MODELS = _folder(os.path.join(DJANGO, "db", "models"))
_LIBRARIES = tuple({_folder(sysconfig.get_path(name)) for name in ("purelib", "platlib")})
_SITE = re.compile(r"[\\/](?:site|dist)-packages[\\/]")
_STANDARD = tuple({_folder(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")})
QUERYSETS = os.path.join(OURS, "querysets.py")

# What sends signals for the rows that it writes, or records them itself.
_MACHINERY = {
    os.path.join(MODELS, "base.py"): "save_base",
    os.path.join(MODELS, "deletion.py"): "Collector.delete",
    os.path.join(MODELS, "fields", "related_descriptors.py"): "ManyRelatedManager",
    QUERYSETS: "",
}
# What a deploy warms again after it, and what empties a test's database.
_EXEMPT = tuple(
    os.path.join(DJANGO, *parts)
    for parts in (
        ("db", "migrations", ""),
        ("db", "backends", "base", "creation.py"),
        ("core", "management", "commands", "migrate.py"),
        ("core", "management", "commands", "flush.py"),
    )
)


def stack() -> Iterator[FrameType]:
    """Yield the frames of the caller's stack, the innermost first."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        yield frame
        frame = frame.f_back


def role_of(frame: FrameType) -> Role:
    """Say to whose code a frame belongs."""
    role = _role_of_file(frame.f_code.co_filename)
    if role == "machinery" and _MACHINERY[frame.f_code.co_filename] not in frame.f_code.co_qualname:
        return "inner"
    return role


@cache
def _role_of_file(path: str) -> Role:
    if path in _MACHINERY:
        return "machinery"
    if path.startswith(_EXEMPT):
        return "exempt"
    if path.startswith((DJANGO, OURS, "<frozen", "<string>")):
        return "inner"
    if path.startswith(_LIBRARIES) or _SITE.search(path):
        return "library"
    return "inner" if path.startswith(_STANDARD) else "project"
