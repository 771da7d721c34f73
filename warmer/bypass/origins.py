"""Where in the code a statement comes from."""

from __future__ import annotations

import os
from dataclasses import dataclass
from types import FrameType
from typing import Any

from django.db.models import Model, QuerySet
from django.db.models.deletion import Collector

from warmer.bypass.frames import QUERYSETS, role_of, stack
from warmer.bypass.statements import table_key


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where in the code a statement comes from.

    Attributes:
        path: the file of the innermost frame that belongs to the project.
        line: its line.
        function: its function.
        told: whether Django's own way of saving and deleting, or ours, made the statement: it says so.
        model: the model whose rows it saved, or whose `WarmingQuerySet` it is; None where it is neither.
        exempt: whether a migration or a flush did.
        work: the outermost function of the project that was running, to be compared with a later stack.
    """

    path: str
    line: int
    function: str
    told: bool
    model: type[Model] | None
    exempt: bool
    work: tuple[int, int]

    def __str__(self) -> str:
        path = os.path.relpath(self.path) if os.path.isabs(self.path) else self.path
        return f"{self.path if path.startswith('..') else path}:{self.line}, in {self.function}"


def origin(table: str) -> Origin:
    """Look at the stack of the caller, who writes to a table."""
    told = decided = exempt = False
    model: type[Model] | None = None
    place: FrameType | None = None
    library: FrameType | None = None
    work: FrameType | None = None
    for frame in stack():
        role = role_of(frame)
        if role == "project":
            decided = True
            place = place or frame
            if work is None or frame.f_globals.get("__name__") != "__main__":
                work = frame
        elif role == "library":
            library = library or frame
        elif role == "exempt":
            exempt = True
        elif role == "machinery" and _is_silent(frame):
            continue  # what called it may tell, as a many-to-many field does
        elif role == "machinery" and (not decided or _is_queryset_of(frame, table)):
            told = decided = True
            model = model or _model_of(frame)
    place = place or library
    return Origin(
        path=place.f_code.co_filename if place else "<unknown>",
        line=(place.f_lineno or 0) if place else 0,
        function=place.f_code.co_qualname if place else "<unknown>",
        told=told,
        model=model,
        exempt=exempt,
        work=_identity(work) if work else (0, 0),
    )


def is_running(work: tuple[int, int]) -> bool:
    """Say whether the function in which a statement was made is still running in this thread."""
    return work in map(_identity, stack())


def _is_queryset_of(frame: FrameType, table: str) -> bool:
    """Say whether a frame is a method of a `WarmingQuerySet` of the table.

    It calls the methods of the project's querysets that come after it, so these do not decide.
    """
    if frame.f_code.co_filename != QUERYSETS:
        return False
    model = getattr(frame.f_locals.get("self"), "model", None)
    return model is not None and table in {
        table_key(each._meta.db_table) for each in (model, *model._meta.get_parent_list())
    }


def _model_of(frame: FrameType) -> type[Model] | None:
    subject = frame.f_locals.get("self")
    if isinstance(subject, Model):
        return type(subject)
    return subject.model if frame.f_code.co_filename == QUERYSETS and isinstance(subject, QuerySet) else None


def _is_silent(frame: FrameType) -> bool:
    """Say whether a frame saves or deletes rows of a table that Django made: it sends no signals for them."""
    subject = frame.f_locals.get("self")
    model: Any = type(subject)
    if isinstance(subject, Collector):
        model = subject.origin.model if isinstance(subject.origin, QuerySet) else type(subject.origin)
    return issubclass(model, Model) and bool(model._meta.auto_created)


def _identity(frame: FrameType) -> tuple[int, int]:
    return id(frame), id(frame.f_code)
