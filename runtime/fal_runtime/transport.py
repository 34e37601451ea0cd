"""How bytes travel: one small interface that every operation is written against, and its two adapters.

An operation is a coroutine over `IO`. `AsyncIO` awaits it on the running event loop. `BlockingIO` never suspends, so
`drive` runs the very same coroutine to its end in the calling thread. `httpx` is imported with the first request.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Generator, Mapping
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import msgspec

if TYPE_CHECKING:
    import httpx

__all__ = ["IO", "AsyncIO", "BlockingIO", "NotSent", "Request", "Response", "Stream", "Unanswered", "drive", "iterate"]

T = TypeVar("T")


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One HTTP request."""

    method: str
    url: str
    headers: dict[str, str] = {}
    body: bytes | None = None
    timeout: float | None = None
    """Seconds without a byte from the server before the attempt is given up."""
    connect_timeout: float = 10.0
    follow_redirects: bool = False
    """Only for what carries no key: a redirect may lead to another origin."""


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

    def chunks(self) -> AsyncIterator[bytes]: ...
    async def close(self) -> None: ...


class NotSent(Exception):
    """The server was not reached: nothing was sent, so trying again is safe."""


class Unanswered(Exception):
    """Some of the request may have arrived, and no whole answer came back."""


class IO(Protocol):
    """Everything an operation may do to the outside world."""

    async def send(self, request: Request) -> Response:
        """Exchange one request for its whole answer. Raises `NotSent` or `Unanswered`."""
        ...

    async def open(self, request: Request) -> Stream:
        """Send a request and return as soon as the headers of the answer are here. Raises as `send` does."""
        ...

    async def sleep(self, seconds: float) -> None: ...

    async def invoke(self, callback: Callable[..., Any], *args: Any) -> None:
        """Call a caller's function, and await what it returns if that can be awaited."""
        ...

    async def shield(self, operation: Coroutine[Any, Any, T]) -> T:
        """Finish an operation although the caller is being cancelled."""
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

    async def advance() -> T:
        return await anext(source)

    try:
        while True:
            try:
                item = drive(advance())
            except StopAsyncIteration:
                return
            yield item
    finally:
        drive(source.aclose())


def _message(client: httpx.Client | httpx.AsyncClient, request: Request) -> httpx.Request:
    import httpx

    timeout = httpx.Timeout(request.timeout, connect=request.connect_timeout)
    return client.build_request(
        request.method, request.url, headers=request.headers, content=request.body, timeout=timeout
    )


def _failure(error: httpx.RequestError | httpx.InvalidURL) -> Exception:
    """Tell what a failure means for the request: did any of it leave?"""
    import httpx

    before = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol, httpx.InvalidURL)
    name = type(error).__name__
    return NotSent(name) if isinstance(error, before) else Unanswered(name)


def _headers(response: httpx.Response) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


def _options() -> dict[str, Any]:
    import httpx

    limits = httpx.Limits(max_connections=None, max_keepalive_connections=100, keepalive_expiry=30.0)
    return {"limits": limits, "follow_redirects": False}


class _BlockingStream:
    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self.status = response.status_code
        self.headers = _headers(response)

    async def chunks(self) -> AsyncIterator[bytes]:
        import httpx

        try:
            for chunk in self._response.iter_bytes():
                yield chunk
        except httpx.RequestError as error:
            raise _failure(error) from error

    async def close(self) -> None:
        self._response.close()


class BlockingIO:
    """Does everything in the calling thread. Safe to use from many threads."""

    def __init__(self, http_client: httpx.Client | None = None) -> None:
        self._http = http_client
        self._owned = http_client is None
        self._lock = threading.Lock()

    def _client(self) -> httpx.Client:
        with self._lock:
            if self._http is None:
                import httpx

                self._http = httpx.Client(**_options())
                # A pool that nobody closed is closed when its client is forgotten.
                weakref.finalize(self, self._http.close).atexit = False
            return self._http

    async def open(self, request: Request) -> Stream:
        import httpx

        client = self._client()
        try:
            message = _message(client, request)
            response = client.send(message, stream=True, follow_redirects=request.follow_redirects)
        except (httpx.RequestError, httpx.InvalidURL) as error:
            raise _failure(error) from error
        return _BlockingStream(response)

    async def send(self, request: Request) -> Response:
        return await whole(await self.open(request))

    async def sleep(self, seconds: float) -> None:
        time.sleep(seconds)

    async def invoke(self, callback: Callable[..., Any], *args: Any) -> None:
        outcome = callback(*args)
        if hasattr(outcome, "__await__"):
            outcome.close()
            name = getattr(callback, "__name__", "callback")
            raise TypeError(f"{name} is a coroutine function; give a plain function, or call the _async verb")

    async def shield(self, operation: Coroutine[Any, Any, T]) -> T:
        return await operation

    def close(self) -> None:
        if self._http is not None and self._owned:
            self._http.close()
            self._http = None


class _AsyncStream:
    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self.status = response.status_code
        self.headers = _headers(response)

    async def chunks(self) -> AsyncIterator[bytes]:
        import httpx

        try:
            async for chunk in self._response.aiter_bytes():
                yield chunk
        except httpx.RequestError as error:
            raise _failure(error) from error

    async def close(self) -> None:
        await self._response.aclose()


class AsyncIO:
    """Awaits everything on the running event loop, to which its connections belong."""

    def __init__(self, http_client: httpx.AsyncClient | None = None) -> None:
        self._http = http_client
        self._owned = http_client is None
        self._with_loop: AsyncGenerator[None, None] | None = None

    async def _client(self) -> httpx.AsyncClient:
        if self._http is None:
            import httpx

            self._http = http = httpx.AsyncClient(**_options())

            async def close_with_loop() -> AsyncGenerator[None, None]:
                try:
                    yield
                finally:
                    await http.aclose()

            # An event loop finishes its async generators before it closes, so the pool is gone before its loop is.
            self._with_loop = close_with_loop()
            await anext(self._with_loop)
        return self._http

    async def open(self, request: Request) -> Stream:
        import httpx

        client = await self._client()
        try:
            message = _message(client, request)
            response = await client.send(message, stream=True, follow_redirects=request.follow_redirects)
        except (httpx.RequestError, httpx.InvalidURL) as error:
            raise _failure(error) from error
        return _AsyncStream(response)

    async def send(self, request: Request) -> Response:
        return await whole(await self.open(request))

    async def sleep(self, seconds: float) -> None:
        import asyncio

        await asyncio.sleep(seconds)

    async def invoke(self, callback: Callable[..., Any], *args: Any) -> None:
        outcome: Any = callback(*args)
        if hasattr(outcome, "__await__"):
            awaitable: Awaitable[Any] = outcome
            await awaitable

    async def shield(self, operation: Coroutine[Any, Any, T]) -> T:
        import asyncio

        return await asyncio.shield(asyncio.ensure_future(operation))

    async def close(self) -> None:
        if self._with_loop is not None:
            await self._with_loop.aclose()
            self._with_loop, self._http = None, None


async def whole(stream: Stream) -> Response:
    """Read an answer to its end, and close it. Raises `Unanswered` if it breaks off."""
    try:
        body = b"".join([chunk async for chunk in stream.chunks()])
    finally:
        await stream.close()
    return Response(status=stream.status, headers=stream.headers, body=body)


def lower(headers: Mapping[str, str] | None) -> dict[str, str]:
    """Bring header names to one case, so that a caller's header and ours never travel side by side."""
    return {name.lower(): value for name, value in (headers or {}).items()}
