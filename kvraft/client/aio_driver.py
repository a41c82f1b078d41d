"""Drives a machine of the client by the event loop of asyncio."""

import asyncio
from collections.abc import Callable

from kvraft.client import driving
from kvraft.client.link import Link, Machine


class _Connection(asyncio.Protocol):
    """The connection for one link; once the machine asks for another link, its events are ignored."""

    def __init__(self, driver: "Driver", link: Link) -> None:
        self._driver = driver
        self._link = link

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport), "a TCP connection reads and writes"
        self._driver.made(transport, self._link)

    def data_received(self, data: bytes) -> None:
        self._driver.received(data, self._link)

    def connection_lost(self, exc: Exception | None) -> None:
        self._driver.lost(self._link)


class Driver(driving.Driver):
    """Drives a machine by the running loop."""

    def __init__(self, machine: Machine, changed: Callable[[], None]) -> None:
        self.loop = asyncio.get_running_loop()
        super().__init__(machine, changed, self.loop.time, self.loop.call_soon, self.loop.call_at)

    def _connect(self, link: Link) -> "asyncio.Task[None]":
        return self.loop.create_task(self._try(link))

    async def _try(self, link: Link) -> None:
        try:
            await self.loop.create_connection(lambda: _Connection(self, link), *link.address)
        except OSError:
            self.lost(link)

    def _abort(self, transport: asyncio.Transport) -> None:
        if not self.loop.is_closed():  # its end has ended the connection
            transport.abort()

    def _pause(self, transport: asyncio.Transport, *, is_paused: bool) -> None:
        if not transport.is_closing():
            transport.pause_reading() if is_paused else transport.resume_reading()
