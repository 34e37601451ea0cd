"""How bytes travel: one small interface that every operation is written against, and its two adapters.

An operation is a coroutine over `IO`. `AsyncIO` awaits it on the running event loop. `BlockingIO` never suspends, so
`drive` runs the very same coroutine to its end in the calling thread. What speaks HTTP is behind `Http`: `httpx`, or
`pyreqwest` where that is installed. Either is imported with the first request.
"""

from __future__ import annotations

import threading
import time
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Coroutine,
    Generator,
    Mapping,
    Sequence,
)
from typing import Any, Generic, Protocol, TypeVar

import msgspec

__all__ = [
    "IO",
    "AsyncIO",
    "BlockingIO",
    "Body",
    "Http",
    "NotSent",
    "Request",
    "Response",
    "Share",
    "Shares",
    "Stream",
    "Unanswered",
    "drive",
    "iterate",
    "lower",
    "whole",
]

C = TypeVar("C")
T = TypeVar("T")


class Body(Protocol):
    """The content of a request that is not held in memory. It can be read more than once, so it can be sent again."""

    size: int
    """In bytes."""

    def chunks(self) -> AsyncGenerator[bytes, None]:
        """The content from its start, piece by piece. It holds nothing that would have to be closed."""
        ...


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One HTTP request."""

    method: str
    url: str
    headers: dict[str, str] = {}
    body: bytes | Body | None = None
    timeout: float | None = None
    """Seconds without a byte from the server before the attempt is given up."""
    quiet: float | None = None
    """The same once the answer has begun. Default: `timeout`."""
    total: float | None = None
    """Seconds for the whole exchange, from connecting to the answer's last byte."""
    connect_timeout: float = 10.0
    follow_redirects: bool = False
    """Only for what carries no key: a redirect may lead to another origin."""

    @property
    def patience(self) -> float | None:
        """The shorter of `timeout` and `total`."""
        if self.timeout is None or self.total is None:
            return self.total if self.timeout is None else self.timeout
        return min(self.timeout, self.total)

    @property
    def silence(self) -> float | None:
        """Seconds that an answer which has begun may be silent."""
        return self.timeout if self.quiet is None else self.quiet


class Response(msgspec.Struct, frozen=True, kw_only=True):
    """One HTTP answer, whole."""

    status: int
    headers: dict[str, str]
    """With lower-case names."""
    body: bytes = b""


class Stream(Protocol):
    """One HTTP answer, arriving."""

    status: int
    headers: dict[str, str]

    async def read(self, wait: float | None = None) -> bytes | None:
        """The next piece of the content as it arrives; `None` at its end.

        Args:
            wait: How many seconds it may take. Default: as long as the request says.

        Raises:
            Unanswered: if it breaks off, or nothing comes in time.
        """
        ...

    async def close(self) -> None: ...


class NotSent(Exception):
    """The server was not reached: nothing was sent, so trying again is safe."""


class Unanswered(Exception):
    """Some of the request may have arrived, and no whole answer came back."""


class Http(Protocol):
    """What speaks HTTP."""

    async def send(self, request: Request) -> Response:
        """Exchange one request for its whole answer. Raises `NotSent` or `Unanswered`."""
        ...

    async def open(self, request: Request) -> Stream:
        """Send a request and return as soon as the headers of the answer are here. Raises as `send` does."""
        ...

    async def close(self) -> None: ...


class Share(Generic[C]):
    """A client and the number of requests that it has in flight."""

    __slots__ = ("busy", "client")

    def __init__(self, client: C) -> None:
        self.client = client
        self.busy = 0


class Shares(Generic[C]):
    """As many clients as there are requests in flight for, or the one that the caller keeps and closes.

    Args:
        given: The caller's.
        make: Makes one of our own.
        most: How many requests one of our own has in flight.
    """

    def __init__(self, given: C | None, make: Callable[[], C], most: int) -> None:
        self.own = given is None
        self._make = make
        self._most = most
        self._shares: list[Share[C]] = [] if given is None else [Share(given)]
        self._lock = threading.Lock()

    def take(self) -> Share[C]:
        """A client for one more request."""
        with self._lock:
            for share in self._shares:
                if share.busy < self._most or not self.own:
                    break
            else:
                share = Share(self._make())
                self._shares.append(share)
            share.busy += 1
            return share

    def give(self, share: Share[C]) -> None:
        """The request is over."""
        with self._lock:
            share.busy -= 1

    def drop(self) -> list[C]:
        """Our own clients, to be closed; the next request gets a new one."""
        with self._lock:
            dropped = [share.client for share in self._shares] if self.own else []
            self._shares = [] if self.own else self._shares
            return dropped


class IO(Http, Protocol):
    """Everything an operation may do to the outside world."""

    async def sleep(self, seconds: float) -> None: ...

    async def turn(self) -> Callable[[], None]:
        """Wait, but not for long, until few requests are on their way. What is returned is called when this one is not."""
        ...

    async def invoke(self, callback: Callable[..., Any], *args: Any) -> Any:
        """Call a caller's function, await what it returns if that can be awaited, and return the outcome."""
        ...

    async def shield(self, operation: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Finish an operation, which does no harm twice, although the caller is being cancelled."""
        ...

    async def guard(
        self, operation: Coroutine[Any, Any, T], undo: Callable[[T], Coroutine[Any, Any, str]], seconds: float
    ) -> T:
        """Do something that must not be left half done.

        If the caller is cancelled meanwhile, wait up to `seconds` for the operation's end, undo what it did, add what
        `undo` says to the exception, and let the exception go on.
        """
        ...

    async def gather(self, operations: Sequence[Callable[[], Coroutine[Any, Any, T]]], limit: int) -> list[T]:
        """Do several things at once, `limit` at a time; the results are in the order of the operations.

        The first failure ends the rest and is raised.
        """
        ...


def drive(operation: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never suspends, such as any operation over `BlockingIO`."""
    try:
        operation.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    operation.close()
    raise RuntimeError("a blocking operation tried to wait on an event loop")


def iterate(source: AsyncGenerator[T, None]) -> Generator[T, None, None]:
    """Iterate over an async generator that never suspends; leaving the loop early closes it."""

    try:
        while True:
            try:
                item = drive(_advance(source))
            except StopAsyncIteration:
                return
            yield item
    finally:
        drive(source.aclose())


class BlockingIO:
    """Does everything in the calling thread. Safe to use from many threads."""

    def __init__(self, http: Http) -> None:
        self.send = http.send
        self.open = http.open
        self.close = http.close

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    async def turn(self) -> Callable[[], None]:
        return _nothing  # there are as many at once as the caller has threads

    async def invoke(self, callback: Callable[..., Any], *args: Any) -> Any:
        outcome = callback(*args)
        if hasattr(outcome, "__await__"):
            outcome.close()
            name = getattr(callback, "__name__", "callback")
            raise TypeError(f"{name} is a coroutine function; give a plain function, or call the _async verb")
        return outcome

    async def shield(self, operation: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return await operation()

    async def guard(
        self, operation: Coroutine[Any, Any, T], undo: Callable[[T], Coroutine[Any, Any, str]], seconds: float
    ) -> T:
        try:
            return await operation
        except KeyboardInterrupt as error:  # it has ended the operation, so there is nothing to wait for
            error.add_note("interrupted on the way: what was asked for may have happened all the same")
            raise

    async def gather(self, operations: Sequence[Callable[[], Coroutine[Any, Any, T]]], limit: int) -> list[T]:
        if len(operations) < 2 or limit < 2:
            return [await operation() for operation in operations]
        from concurrent.futures import ThreadPoolExecutor

        def one(operation: Callable[[], Coroutine[Any, Any, T]]) -> T:
            return drive(operation())

        executor = ThreadPoolExecutor(min(limit, len(operations)), "fal-runtime")
        try:
            return list(executor.map(one, operations))
        finally:
            executor.shutdown(wait=True, cancel_futures=True)


def _nothing() -> None:
    pass


_AT_ONCE = 64
"""How many requests that take turns are on their way together. More would each open a connection, and none is faster."""
_TURN_WITHIN = 1.0
"""Seconds that one waits at most, so that a server which does not answer some holds up no others."""


class AsyncIO:
    """Awaits everything on the running event loop, to which its connections belong."""

    def __init__(self, http: Http) -> None:
        import asyncio

        self._http = http
        self._places = asyncio.Semaphore(_AT_ONCE)
        self._waiting: set[Any] = set()
        """The tasks that wait for their turn: nothing of what they are to send has left."""
        self._with_loop: AsyncGenerator[None, None] | None = None
        self.send = http.send
        self.open = http.open

    def attach(self) -> None:
        """Let the connections end with the running loop."""

        async def close_with_loop() -> AsyncGenerator[None, None]:
            try:
                yield
            finally:
                await self._http.close()

        # An event loop finishes its async generators before it closes, so the pool is gone before its loop is.
        self._with_loop = close_with_loop()
        drive(_advance(self._with_loop))

    async def close(self) -> None:
        if self._with_loop is not None:
            await self._with_loop.aclose()
            self._with_loop = None

    async def sleep(self, seconds: float) -> None:
        import asyncio

        await asyncio.sleep(seconds)

    async def turn(self) -> Callable[[], None]:
        import asyncio

        task = asyncio.current_task()
        self._waiting.add(task)
        try:
            async with asyncio.timeout(_TURN_WITHIN if self._places.locked() else None):
                await self._places.acquire()
        except TimeoutError:
            return _nothing
        finally:
            self._waiting.discard(task)
        return self._places.release

    async def invoke(self, callback: Callable[..., Any], *args: Any) -> Any:
        outcome: Any = callback(*args)
        if hasattr(outcome, "__await__"):
            awaitable: Awaitable[Any] = outcome
            return await awaitable
        return outcome

    async def shield(self, operation: Callable[[], Coroutine[Any, Any, T]]) -> T:
        import asyncio

        async def again() -> T:
            try:
                return await operation()
            except asyncio.CancelledError:  # by the event loop, which is ending, and waits for what it has cancelled
                return await operation()

        return await asyncio.shield(asyncio.ensure_future(again()))

    async def guard(
        self, operation: Coroutine[Any, Any, T], undo: Callable[[T], Coroutine[Any, Any, str]], seconds: float
    ) -> T:
        import asyncio

        async def unwind() -> str | None:
            if task in self._waiting:
                task.cancel()
            await asyncio.wait({task}, timeout=seconds)
            if not task.done():
                task.cancel()
                return None
            return None if task.cancelled() or task.exception() else await undo(task.result())

        task = asyncio.ensure_future(operation)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError as error:
            note = await self.shield(unwind)
            if note:
                error.add_note(note)
            raise

    async def gather(self, operations: Sequence[Callable[[], Coroutine[Any, Any, T]]], limit: int) -> list[T]:
        import asyncio

        places = asyncio.Semaphore(limit)

        async def one(operation: Callable[[], Coroutine[Any, Any, T]]) -> T:
            async with places:
                return await operation()

        tasks = [asyncio.ensure_future(one(operation)) for operation in operations]
        try:
            return await asyncio.gather(*tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise


async def _advance(source: AsyncGenerator[T, None]) -> T:
    return await anext(source)


async def whole(stream: Stream, seconds: float | None = None) -> Response:
    """Read an answer to its end, and close it. Raises `Unanswered` if it breaks off or takes longer than `seconds`."""
    end = None if seconds is None else time.monotonic() + seconds
    parts: list[bytes] = []
    try:
        while (chunk := await stream.read()) is not None:
            parts.append(chunk)
            if end is not None and time.monotonic() > end:
                raise Unanswered("the answer took too long")
    finally:
        await stream.close()
    return Response(status=stream.status, headers=stream.headers, body=b"".join(parts))


def lower(headers: Mapping[str, str] | None) -> dict[str, str]:
    """Bring header names to one case, so that a caller's header and ours never travel side by side."""
    return {name.lower(): value for name, value in (headers or {}).items()}
