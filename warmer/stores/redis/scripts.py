"""The Lua scripts of the fence, each atomic and one round trip."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from redis import Redis
from redis.exceptions import NoScriptError

HAS_HIREDIS = find_spec("hiredis") is not None
if HAS_HIREDIS:
    from hiredis import pack_command


@dataclass(frozen=True, kw_only=True)
class Script:
    """A Lua script that the server keeps by its digest."""

    text: bytes

    @cached_property
    def sha(self) -> str:
        """What the server calls it."""
        return hashlib.sha1(self.text, usedforsecurity=False).hexdigest()

    def __call__(self, *, keys: Sequence[str], args: Sequence[Any], client: Redis) -> Any:
        """Run it and return its answer, with the retries that the client's connections make.

        This is what `client.evalsha` does, less what redis-py measures around it, which is an eighth of the
        time of a call on one machine.

        A server that does not know the script (restarted, or its scripts flushed) is sent the text to run.
        redis-py's own `Script` sends it to be kept, then asks for it by its digest: that fails if the server
        forgets it in between.
        """
        pool: Any = client.connection_pool
        connection = pool.get_connection()

        def ask() -> Any:
            self.send(connection, keys, args)
            return connection.read_response()

        try:
            return connection.retry.call_with_retry(ask, lambda _error: connection.disconnect())
        except NoScriptError:
            pass
        finally:
            pool.release(connection)
        return client.eval(self.text, len(keys), *keys, *args)  # type: ignore[arg-type]

    def send(self, connection: Any, keys: Sequence[str], args: Sequence[Any]) -> None:
        """Send the call on a connection, and do not wait; keys and arguments are text, bytes and numbers."""
        command = ("EVALSHA", self.sha, len(keys), *keys, *args)
        if HAS_HIREDIS:  # what redis-py does, but for a look at each part whether it is something else
            connection.send_packed_command([pack_command(command)])
        else:  # pragma: no cover - the test environment has it
            connection.send_command(*command)


def _script(name: str) -> Script:
    parts = (Path(__file__).with_name(f"{part}.lua").read_bytes() for part in ("fence", name))
    return Script(text=b"".join(parts))


TOKEN = _script("token")
CLAIM = _script("claim")
WRITE = _script("write")
INVALIDATE = _script("invalidate")
OVERTAKEN = _script("overtaken")
FRESH = _script("fresh")
PACE = _script("pace")
