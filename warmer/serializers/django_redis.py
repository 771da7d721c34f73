"""A serializer for django-redis, which returns values exactly as written, and a compressor.

msgspec encodes many types that MessagePack lacks as something else: a tuple as an array, an enum as its
value, a Decimal as text. So its result is used only if every type in the value is one that it returns
unchanged; otherwise the value is packed again by `Packer`, or rejected.
"""

import logging
import traceback
import zlib
from gc import get_referents
from importlib.util import find_spec
from typing import Any, NoReturn

from django.conf import settings
from django.utils.module_loading import import_string

from warmer.conf import conf
from warmer.context import is_own_write
from warmer.exceptions import UnreadableValue, UnsupportedValue
from warmer.serializers.packing import DECODE, ENCODE, MAX_DEPTH, SCALARS, is_native, pack

# A byte that never begins MessagePack, UTF-8 text or a pickle, nor the output of a compressor or
# django-redis' bare numbers.
MARK = b"\xc1"
# The first byte of everything that `zlib.compress` returns.
ZLIB_MARK = b"x"
# Written in place of a value that is not cached, so that nobody reads the previous one.
NOT_CACHED = MARK * 2
CONTAINERS = frozenset((dict, list))
_NOT_CACHED_TEXT = (
    "Not cached: the value that %s sets, because %s. The serializer of this cache carries plain data only. "
    "Give warmer an alias of its own (WARMER_CACHE), or this cache a FALLBACK_SERIALIZER in its OPTIONS. "
    "Logged once per type."
)

logger = logging.getLogger(__name__)
_logged: set[str] = set()

if find_spec("django_redis"):
    from django_redis.exceptions import ConnectionInterrupted

    class _Unreadable(UnreadableValue, ConnectionInterrupted):  # type: ignore[misc]
        """An error that is a miss with `IGNORE_EXCEPTIONS`, like an unreachable server."""

        connection = None

        def __str__(self) -> str:
            return str(self.args[0])
else:  # pragma: no cover - the test environment has it
    _Unreadable = UnreadableValue  # type: ignore[assignment,misc]


class MsgspecSerializer:
    """Encodes plain data exactly: its types, those of its keys, and every bit of its numbers.

    It supports str, bytes, int, float, bool, None, list, tuple, dict with any keys, set, frozenset, datetime,
    date, time, timedelta, Decimal and UUID, but no subclasses. A datetime keeps its wall time, its fold, and
    its zone if that is a `timezone` or a `ZoneInfo` with a key.

    Anything else that warmer writes is rejected. Values of other code are passed to the serializer in
    `FALLBACK_SERIALIZER`; without one they are not cached, and logged once per type.
    """

    def __init__(self, options: dict[str, Any] | None = None) -> None:
        """Read django-redis' options."""
        options = options or {}
        hides = getattr(settings, "DJANGO_REDIS_IGNORE_EXCEPTIONS", False)
        self._hides_errors: bool = options.get("IGNORE_EXCEPTIONS", hides)
        path = options.get("FALLBACK_SERIALIZER")
        self._fallback: Any = import_string(path)(options=options) if path else None

    def dumps(self, value: Any) -> bytes:
        """Encode a value.

        Raises:
            UnsupportedValue: warmer writes it, and it contains something that would come back changed.
        """
        try:
            # First, because it stops at a value that contains itself.
            encoded = ENCODE(value)
        except Exception:  # noqa: BLE001 - the second look says what it is
            return self._packed(value)
        kind, level = type(value), get_referents(value)
        is_flat = SCALARS.issuperset(map(type, level))  # it saves a quarter of the time for a flat row
        if kind in SCALARS or (kind in CONTAINERS and (is_flat or _is_exact(level))):
            return MARK + encoded
        return self._packed(value)

    def loads(self, value: bytes) -> Any:
        """Decode the result of `dumps`.

        Raises:
            UnreadableValue: it is something else, e.g. written by another serializer, or was not cached;
                django-redis turns this error into a miss.
        """
        if value[:1] != MARK and self._fallback is None:
            _raise_unreadable("it was written by another serializer")
        if value == NOT_CACHED and not self._hides_errors:
            return None  # a serializer has no other way to report a missing value
        try:
            return DECODE(value[1:]) if value[:1] == MARK else self._fallback.loads(value)
        except Exception as error:  # noqa: BLE001 - of damaged data, a serializer raises anything
            _raise_unreadable(f"it is damaged ({type(error).__name__})")

    def _packed(self, value: Any) -> bytes:
        try:
            return MARK + pack(value)
        except UnsupportedValue as error:
            if is_own_write.get():
                raise
            if self._fallback is not None:
                fallen: bytes = self._fallback.dumps(value)
                return fallen
            if error.kind not in _logged:
                _logged.add(error.kind)
                logger.warning(_NOT_CACHED_TEXT, _writer(), error.what)
            return NOT_CACHED


class LongValueCompressor:
    """Compresses long values if that makes them shorter. Reads and is read by django-redis' `ZlibCompressor`.

    Nothing is decompressed to more than `WARMER_MAX_VALUE_BYTES`: a few kilobytes in the cache could fill the
    memory of each process that reads them. So a longer value is rejected if warmer writes it, and stored
    uncompressed if other code does.

    Attributes:
        min_length: the shortest value that is compressed, in bytes; shorter ones would save almost nothing.
        level: zlib's level; above 1 the time doubles to save a few percent of the size.
    """

    min_length = 1024
    level = 1

    def __init__(self, options: dict[str, Any] | None = None) -> None:
        """Accept and ignore django-redis' options."""

    def compress(self, value: bytes) -> bytes:
        """Return the value, compressed if that makes it shorter.

        Raises:
            UnsupportedValue: warmer writes it, and it is longer than `WARMER_MAX_VALUE_BYTES`.
        """
        if len(value) < self.min_length:
            return value
        if len(value) > (limit := conf.MAX_VALUE_BYTES):
            if not is_own_write.get():
                return value
            raise UnsupportedValue(f"It takes {len(value)} bytes, more than WARMER_MAX_VALUE_BYTES ({limit})")
        compressed = zlib.compress(value, self.level)
        return compressed if len(compressed) < len(value) else value

    def decompress(self, value: bytes) -> bytes:
        """Decompress a value. Return other or damaged data unchanged, which the serializer then rejects.

        Raises:
            UnreadableValue: it is longer than `WARMER_MAX_VALUE_BYTES`.
        """
        if value[:1] != ZLIB_MARK:
            return value
        limit, stream = conf.MAX_VALUE_BYTES, zlib.decompressobj()
        try:
            decompressed = stream.decompress(value, limit + 1)
        except zlib.error:
            return value
        if len(decompressed) > limit:
            _raise_unreadable(f"it takes more than WARMER_MAX_VALUE_BYTES ({limit})")
        return decompressed if stream.eof else value


def _is_exact(level: list[Any]) -> bool:
    """Return whether msgspec decodes these items, and everything in them, unchanged.

    Args:
        level: the items of lists, the values of dicts and those of their keys that may not be str.

    CPython's dict knows if all its keys are exactly str. The garbage collector then skips them, and so does
    `get_referents`, so the check costs a type lookup per value, in C.
    """
    for _ in range(MAX_DEPTH):
        if SCALARS.issuperset(map(type, level)):
            return True
        if not CONTAINERS.issuperset(map(type, level)):
            level = [item for item in level if type(item) not in SCALARS and not is_native(item)]
            if not CONTAINERS.issuperset(map(type, level)):
                return False
        level = get_referents(*level)
    return False


def _writer() -> str:
    """Return the line of code that called the cache: the first one outside of cache code."""
    for frame, line in traceback.walk_stack(None):
        module = str(frame.f_globals.get("__name__"))
        if not module.startswith(("warmer.", "django_redis.", "django.core.cache.")):
            return f"{module}, line {line}"
    return "unknown code"


def _raise_unreadable(why: str) -> NoReturn:
    message = f"A cached value cannot be read: {why}."
    # Unless errors are ignored, django-redis raises the cause in place of its own error.
    raise _Unreadable(message) from UnreadableValue(message)
