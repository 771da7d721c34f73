"""A proxy in front of a Redis server: far away, or an address that leads elsewhere after a failover."""

import asyncio
from asyncio import StreamReader, StreamWriter
from contextlib import closing, suppress
from threading import Event, Thread
from typing import Self

from embedded.ports import LOOPBACK
from embedded.redis_server import RedisServer


class Proxy:
    """A proxy for Redis: `with Proxy(server, seconds=0.06) as proxy: ... proxy.url ...`."""

    def __init__(self, server: RedisServer, *, seconds: float = 0) -> None:
        self.server = server  # new connections lead here; it may be replaced
        self.port = 0
        self.url = ""
        self._seconds = seconds
        self._listens = Event()
        self._thread = Thread(target=lambda: asyncio.run(self._serve()))

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._listens.wait(timeout=60)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()

    async def _serve(self) -> None:
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        listener = await asyncio.start_server(self._carry, LOOPBACK, 0)
        self.port = listener.sockets[0].getsockname()[1]
        self.url = f"redis://{LOOPBACK}:{self.port}/0"
        self._listens.set()
        await self._ended.wait()
        listener.close()

    async def _carry(self, asks: StreamReader, answers: StreamWriter) -> None:
        # The proxy ends before its clients do; a server is killed, or refuses.
        with suppress(asyncio.CancelledError, ConnectionError), closing(answers):
            there, back = await asyncio.open_connection(LOOPBACK, self.server.port)
            await asyncio.gather(_pass_on(asks, back, late=0), _pass_on(there, answers, late=self._seconds))


async def _pass_on(source: StreamReader, target: StreamWriter, *, late: float) -> None:
    try:
        while data := await source.read(2**16):
            await asyncio.sleep(late)
            target.write(data)
            await target.drain()
    finally:
        target.close()
