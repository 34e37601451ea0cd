"""Waiting for something to happen in the sandbox, without looking every few milliseconds whether it has."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable

Clock = Callable[[], float]
"""Seconds since the epoch."""

_BLIND_SECONDS = 0.02
"""How long to wait at most by a clock of the caller's own, which does not say when it is moved on."""

_LONGEST_SECONDS = 3600.0
"""No timer runs longer, since loops have their limits; whoever waits then just looks in vain."""


class Pulse:
    """The sandbox's time, and the one place where its services wait: for a moment, or for a change made elsewhere.

    Args:
        clock: tells the time that jobs go by.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._blind = clock is not time.time
        self._ahead = 0.0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiters: set[asyncio.Future[None]] = set()
        self._stopping = True

    def now(self) -> float:
        """The time on the sandbox's clock."""
        return self._clock() + self._ahead

    def advance(self, seconds: float) -> None:
        """Move the clock on, so that all that would happen in this time has happened."""
        self._ahead += seconds
        self.beat()

    @property
    def stopping(self) -> bool:
        """Whether the sandbox stops, so that no one should wait any longer."""
        return self._stopping

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Let the services, which all run on this loop, wait."""
        self._loop = loop
        self._stopping = False

    def stop(self) -> None:
        """End every wait, now and until `start`."""
        self._stopping = True
        self.beat()
        self._loop = None

    def beat(self) -> None:
        """Wake all who wait, because something has changed. From any thread."""
        # On the loop, whoever has looked before the change has begun to wait by then, so that no beat is missed.
        self.call(self._wake)

    def call(self, work: Callable[[], object]) -> None:
        """Do something on the loop, from any thread."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(work)

    async def change(self, moment: float | None = None) -> None:
        """Wait for the next beat, or until this moment on the sandbox's clock; maybe less, so look again."""
        seconds = math.inf if moment is None else max(0.0, moment - self.now())
        await self._wait(min(seconds, _BLIND_SECONDS if self._blind else _LONGEST_SECONDS))

    async def until(self, moment: float) -> None:
        """Wait until this moment on the sandbox's clock."""
        while not self._stopping and self.now() < moment:
            await self.change(moment)

    async def pause(self, seconds: float) -> None:
        """Wait so long in real time, but not beyond the sandbox's end: no slow answer may hold up its stop."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while not self._stopping and (left := end - loop.time()) > 0:
            await self._wait(min(left, _LONGEST_SECONDS))

    async def _wait(self, seconds: float) -> None:
        if self._stopping:
            return
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[None] = loop.create_future()
        self._waiters.add(waiter)
        timer = loop.call_later(seconds, _settle, waiter)
        try:
            await waiter
        finally:
            self._waiters.discard(waiter)
            timer.cancel()

    def _wake(self) -> None:
        for waiter in self._waiters:
            _settle(waiter)


def _settle(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
