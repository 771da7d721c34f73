"""The Lua scripts of the fence, each atomic and one round trip."""

from __future__ import annotations

from pathlib import Path

from redis.commands.core import Script


def _script(name: str) -> Script:
    # Bound to no client: each call names its own. redis-py sends the script again to a server that
    # does not know it (restarted, or its scripts flushed).
    text = b"".join(Path(__file__).with_name(f"{part}.lua").read_bytes() for part in ("fence", name))
    return Script(None, text)  # type: ignore[arg-type]


TOKEN = _script("token")
CLAIM = _script("claim")
WRITE = _script("write")
INVALIDATE = _script("invalidate")
OVERTAKEN = _script("overtaken")
FRESH = _script("fresh")
TURN = _script("turn")
