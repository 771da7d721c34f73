"""The Lua scripts of the fence, each atomic and one round trip."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import NoScriptError


@dataclass(frozen=True, kw_only=True)
class Script:
    """A Lua script that the server keeps by its digest."""

    text: bytes

    @cached_property
    def sha(self) -> str:
        """What the server calls it."""
        return hashlib.sha1(self.text, usedforsecurity=False).hexdigest()

    def __call__(self, *, keys: Sequence[str], args: Sequence[Any], client: Redis) -> Any:
        """Run it and return its answer.

        A server that does not know it (restarted, or its scripts flushed) is sent the text to run. redis-py's
        own `Script` sends it to be kept, then asks for it by its digest: that fails if the server forgets it
        in between.
        """
        try:
            return client.evalsha(self.sha, len(keys), *keys, *args)
        except NoScriptError:
            return client.eval(self.text, len(keys), *keys, *args)  # type: ignore[arg-type]


def _script(name: str) -> Script:
    parts = (Path(__file__).with_name(f"{part}.lua").read_bytes() for part in ("fence", name))
    return Script(text=b"".join(parts))


TOKEN = _script("token")
CLAIM = _script("claim")
WRITE = _script("write")
INVALIDATE = _script("invalidate")
OVERTAKEN = _script("overtaken")
FRESH = _script("fresh")
TURN = _script("turn")
