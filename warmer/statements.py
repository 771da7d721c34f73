"""SQL statements that write: to which tables, and from where in the code.

Nothing here understands SQL: the beginning of a statement tells what it does, and to what.
"""

from __future__ import annotations

import os
import re
import sys
import sysconfig
from dataclasses import dataclass
from functools import cache
from types import FrameType
from typing import Any, Literal

import django

# A comment that a tool puts before a statement, a name, and nothing that comes after it.
BEGINNING = 1_000
# Of a statement that begins with WITH, or of several in one.
SEVERAL = 20_000

_NAME = r'(?:[\w$]+|"(?:[^"]|"")+"|`[^`]+`|\[[^\]]+\])'
_TABLE = rf"(?P<table>{_NAME}(?:\s*\.\s*{_NAME})*)"
_WRITE = rf"""
    (?: INSERT \s+ (?:(?:OR\s+\w+|IGNORE|LOW_PRIORITY|HIGH_PRIORITY|DELAYED) \s+)* (?:INTO\s+)?
      | REPLACE \s+ (?:(?:LOW_PRIORITY|DELAYED) \s+)? (?:INTO\s+)?
      | MERGE \s+ INTO \s+ (?:ONLY\s+)?
      | (?<!FOR\ ) UPDATE \s+ (?:(?:OR\s+\w+|ONLY|IGNORE|LOW_PRIORITY) \s+)*
      | DELETE \s+ (?:(?:LOW_PRIORITY|QUICK|IGNORE) \s+)* (?:{_NAME}\s+)? FROM \s+ (?:ONLY\s+)?
    ) {_TABLE}
"""
_FLAGS = re.IGNORECASE | re.VERBOSE
_SPACE = r"(?:\s|/\*.*?\*/|--[^\n]*\n|\()*"
_FIRST = re.compile(rf"(?s:{_SPACE}) (?P<verb>INSERT|REPLACE|MERGE|UPDATE|DELETE|WITH)\b", _FLAGS)
_ONE = re.compile(_WRITE, _FLAGS)
_ANY = re.compile(rf"\b{_WRITE}", _FLAGS)
_PART = re.compile(_NAME)


@dataclass(frozen=True, kw_only=True)
class Statement:
    """A statement that writes.

    Attributes:
        verb: its first word.
        tables: what it writes to, as `table_key` writes them.
    """

    verb: str
    tables: tuple[str, ...]


def parse(sql: Any) -> Statement | None:
    """Return what a statement writes to; None when it does not write, or nobody could say what."""
    if not isinstance(sql, str):
        return None
    first = _FIRST.match(sql, 0, BEGINNING)
    if first is None:
        return None
    verb = first["verb"].upper()
    start = first.start("verb")
    if verb == "WITH" or ";" in sql[:SEVERAL]:
        every = _ANY.finditer(sql, start, SEVERAL)
        tables = tuple(dict.fromkeys(table_key(each["table"]) for each in every))
    else:
        one = _ONE.match(sql, start, start + BEGINNING)
        tables = () if one is None else (table_key(one["table"]),)
    return Statement(verb=verb, tables=tables) if tables else None


def table_key(name: str) -> str:
    """Return a table's name without schema, quotes and case."""
    *_, last = _PART.findall(name)
    return str(last).strip('"`[]').lower()


Role = Literal["project", "library", "inner", "machinery", "exempt"]


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where in the code a statement comes from.

    Attributes:
        path: the file of the innermost frame that belongs to the project.
        line: its line.
        function: its function.
        told: whether Django's own way of saving and deleting, or ours, made the statement: it says so.
        exempt: whether a migration or a flush did.
        work: the outermost function of the project that was running, to be compared with a later stack.
    """

    path: str
    line: int
    function: str
    told: bool
    exempt: bool
    work: tuple[int, int]

    def __str__(self) -> str:
        path = os.path.relpath(self.path) if os.path.isabs(self.path) else self.path
        return f"{self.path if path.startswith('..') else path}:{self.line}, in {self.function}"


def origin(table: str) -> Origin:
    """Look at the stack of the caller, who writes to a table."""
    told = decided = exempt = False
    place: FrameType | None = None
    library: FrameType | None = None
    work: FrameType | None = None
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        role = _role(frame)
        if role == "project":
            decided = True
            place = place or frame
            if work is None or frame.f_globals.get("__name__") != "__main__":
                work = frame
        elif role == "library":
            library = library or frame
        elif role == "exempt":
            exempt = True
        elif role == "machinery" and (not decided or _is_queryset_of(frame, table)):
            told = decided = True
        frame = frame.f_back
    place = place or library
    return Origin(
        path=place.f_code.co_filename if place else "<unknown>",
        line=(place.f_lineno or 0) if place else 0,
        function=place.f_code.co_qualname if place else "<unknown>",
        told=told,
        exempt=exempt,
        work=_identity(work) if work else (0, 0),
    )


def is_running(work: tuple[int, int]) -> bool:
    """Say whether the function in which a statement was made is still running in this thread."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if id(frame) == work[0] and _identity(frame) == work:
            return True
        frame = frame.f_back
    return False


@dataclass(frozen=True, kw_only=True)
class Ending:
    """A block of `transaction.atomic` that is being left.

    Attributes:
        block: the block.
        by_django: whether a single call of Django, or of ours, opened it for itself.
    """

    block: Any
    by_django: bool


def ending_block() -> Ending | None:
    """Return the block that the caller's stack is leaving."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_filename == _TRANSACTION and frame.f_code.co_name == "__exit__":
            caller = frame.f_back
            while caller is not None and caller.f_code.co_filename == _CONTEXTLIB:
                caller = caller.f_back
            by_django = caller is not None and caller.f_code.co_filename.startswith(_CALLS_OF_ITS_OWN)
            return Ending(block=frame.f_locals["self"], by_django=by_django)
        frame = frame.f_back
    return None


def _is_queryset_of(frame: FrameType, table: str) -> bool:
    """Say whether a frame is a method of a `WarmingQuerySet` of the table.

    It calls the methods of the project's querysets that come after it, so these do not decide.
    """
    if frame.f_code.co_filename != _QUERYSETS:
        return False
    model = getattr(frame.f_locals.get("self"), "model", None)
    return model is not None and table in {
        table_key(each._meta.db_table) for each in (model, *model._meta.get_parent_list())
    }


def _identity(frame: FrameType) -> tuple[int, int]:
    return id(frame), id(frame.f_code)


def _folder(path: str) -> str:
    return os.path.join(path, "")


_DJANGO = _folder(os.path.dirname(django.__file__))
_OURS = _folder(os.path.dirname(__file__))
_MODELS = _folder(os.path.join(_DJANGO, "db", "models"))
_CALLS_OF_ITS_OWN = (_MODELS, os.path.join(_DJANGO, "contrib", "contenttypes", "fields.py"), _OURS)
_TRANSACTION = os.path.join(_DJANGO, "db", "transaction.py")
_CONTEXTLIB = str(sys.modules["contextlib"].__file__)
_LIBRARIES = tuple({_folder(sysconfig.get_path(name)) for name in ("purelib", "platlib")})
_SITE = re.compile(r"[\\/](?:site|dist)-packages[\\/]")
_STANDARD = tuple({_folder(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")})

_QUERYSETS = os.path.join(_OURS, "querysets.py")

# What sends signals for the rows that it writes, or records them itself.
_MACHINERY = {
    os.path.join(_MODELS, "base.py"): "save_base",
    os.path.join(_MODELS, "deletion.py"): "Collector.delete",
    os.path.join(_MODELS, "fields", "related_descriptors.py"): "ManyRelatedManager",
    _QUERYSETS: "",
}
# What a deploy warms again after it, and what empties a test's database.
_EXEMPT = tuple(
    os.path.join(_DJANGO, *parts)
    for parts in (
        ("db", "migrations", ""),
        ("db", "backends", "base", "creation.py"),
        ("core", "management", "commands", "migrate.py"),
        ("core", "management", "commands", "flush.py"),
    )
)


def _role(frame: FrameType) -> Role:
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
    if path.startswith((_DJANGO, _OURS, "<frozen", "<string>")):
        return "inner"
    if path.startswith(_LIBRARIES) or _SITE.search(path):
        return "library"
    return "inner" if path.startswith(_STANDARD) else "project"
