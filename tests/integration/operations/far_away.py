"""A server at the end of a slow way: every answer comes late, and nothing else is wrong."""

from __future__ import annotations

import asyncio
from asyncio import StreamReader, StreamWriter
from threading import Event, Thread
from types import TracebackType

from embedded.redis_server import RedisServer

HOST = "127.0.0.1"


class FarAway:
    """A proxy before a server: `with FarAway(server, seconds=0.06) as url: ...`.

    Args:
        seconds: by how much each answer is late.
    """

    def __init__(self, server: RedisServer, *, seconds: float) -> None:
        self._server = server
        self._seconds = seconds
        self._listens = Event()
        self._thread = Thread(target=lambda: asyncio.run(self._serve()))
        self._url = ""

    def __enter__(self) -> str:
        self._thread.start()
        assert self._listens.wait(timeout=20)
        return self._url

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        listener = await asyncio.start_server(self._carry, HOST, 0)
        self._url = f"redis://{HOST}:{listener.sockets[0].getsockname()[1]}/0"
        self._listens.set()
        await self._ended.wait()
        listener.close()

    async def _carry(self, asks: StreamReader, answers: StreamWriter) -> None:
        there, back = await asyncio.open_connection(HOST, self._server.port)
        await asyncio.gather(_pass_on(asks, back, late=0), _pass_on(there, answers, late=self._seconds))


async def _pass_on(source: StreamReader, target: StreamWriter, *, late: float) -> None:
    try:
        while data := await source.read(2**16):
            await asyncio.sleep(late)
            target.write(data)
            await target.drain()
    finally:
        target.close()
