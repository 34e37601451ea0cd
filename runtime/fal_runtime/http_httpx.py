"""HTTP by `httpx`, the default: any client, transport or proxy setting of its world can be used."""

from __future__ import annotations

import socket
import threading
import weakref
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.request import getproxies

import httpx

from fal_runtime.transport import Body, NotSent, Request, Response, Stream, Unanswered, iterate, whole

__all__ = ["AsyncHttpx", "BlockingHttpx"]

_BEFORE_SENDING = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.InvalidURL,
)


@contextmanager
def _classified() -> Generator[None, None, None]:
    """Tell what a failure means for the request: did any of it leave?"""
    try:
        yield
    except (httpx.RequestError, httpx.InvalidURL) as error:
        name = type(error).__name__
        raise (NotSent(name) if isinstance(error, _BEFORE_SENDING) else Unanswered(name)) from error


def _keepalive() -> list[tuple[int, int, int]]:
    """Let the system find out that the other side is gone while a quiet status stream is waited for."""
    options = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):
            options.append((socket.IPPROTO_TCP, getattr(socket, name), value))
    return options


def _settings(transport: Callable[..., Any]) -> dict[str, Any]:
    """The settings of an own client. Proxies from the environment work only with the transports it makes by itself."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=100, keepalive_expiry=30.0)
    if getproxies():
        return {"limits": limits}
    return {"transport": transport(limits=limits, socket_options=_keepalive())}


def _message(owned: bool, client: httpx.Client | httpx.AsyncClient, request: Request) -> httpx.Request:
    """Build the request. Only a caller's own client has headers, cookies or a base URL to be merged in."""
    waits = [seconds for seconds in (request.timeout, request.total) if seconds is not None]
    wait = min(waits, default=None)
    connect = request.connect_timeout if wait is None else min(wait, request.connect_timeout)
    timeout = {"connect": connect, "read": wait, "write": wait, "pool": wait}
    build = httpx.Request if owned else client.build_request
    extensions, body = {"timeout": timeout}, request.body
    if body is None or isinstance(body, bytes):
        return build(request.method, request.url, headers=request.headers, content=body, extensions=extensions)
    headers = {**request.headers, "content-length": str(body.size)}
    message = build(request.method, request.url, headers=headers, extensions=extensions)
    message.stream = _Upload(body)
    return message


class _Upload(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that is read while it is sent."""

    def __init__(self, body: Body) -> None:
        self._body = body

    def __iter__(self) -> Generator[bytes, None, None]:
        yield from iterate(self._body.chunks())

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._body.chunks():
            yield chunk


class _Stream:
    def __init__(self, response: httpx.Response, request: Request) -> None:
        self._response = response
        self._idle = request.timeout
        self.status = response.status_code
        self.headers = {name.lower(): value for name, value in response.headers.items()}


class _BlockingStream(_Stream):
    async def chunks(self, left: Callable[[], float | None] | None = None) -> AsyncGenerator[bytes, None]:
        with _classified():
            arriving = self._response.iter_bytes()
            while (chunk := self._next(arriving, left() if left is not None else None)) is not None:
                yield chunk

    def _next(self, arriving: Iterator[bytes], wait: float | None) -> bytes | None:
        if wait is None or (self._idle is not None and wait > self._idle - 0.05):
            return next(arriving, None)
        # A read's own limit was fixed when the request was sent; a shorter one has to come from outside the thread.
        watchdog = threading.Timer(wait, self._hang_up)
        watchdog.daemon = True
        watchdog.start()
        try:
            return next(arriving, None)
        finally:
            watchdog.cancel()

    def _hang_up(self) -> None:
        network = self._response.extensions.get("network_stream")
        with suppress(AttributeError, OSError):
            network.get_extra_info("socket").shutdown(socket.SHUT_RDWR)  # type: ignore[union-attr]

    async def close(self) -> None:
        self._response.close()


class _AsyncStream(_Stream):
    async def chunks(self, left: Callable[[], float | None] | None = None) -> AsyncGenerator[bytes, None]:
        import asyncio

        with _classified():
            arriving = self._response.aiter_bytes()
            while True:
                try:
                    async with asyncio.timeout(left() if left is not None else None):
                        chunk = await anext(arriving, None)
                except TimeoutError as error:
                    raise Unanswered("nothing came in time") from error
                if chunk is None:
                    return
                yield chunk

    async def close(self) -> None:
        await self._response.aclose()


class BlockingHttpx:
    """`Http` in the calling thread, by an own `httpx.Client` or by one that the caller keeps and closes."""

    def __init__(self, client: httpx.Client | None = None) -> None:
        self._client = client
        self._owned = client is None
        self._lock = threading.Lock()

    def _use(self) -> httpx.Client:
        with self._lock:
            if self._client is None:
                self._client = httpx.Client(**_settings(httpx.HTTPTransport))
                # A pool that nobody closed is closed when its client is forgotten.
                weakref.finalize(self, self._client.close).atexit = False
            return self._client

    async def open(self, request: Request) -> Stream:
        client = self._use()
        with _classified():
            message = _message(self._owned, client, request)
            response = client.send(message, stream=True, follow_redirects=request.follow_redirects)
        return _BlockingStream(response, request)

    async def send(self, request: Request) -> Response:
        return await whole(await self.open(request), request.total)

    async def close(self) -> None:
        if self._client is not None and self._owned:
            self._client.close()
            self._client = None


class AsyncHttpx:
    """`Http` on the running event loop, by an own `httpx.AsyncClient` or by one that the caller keeps and closes."""

    def __init__(self, client: httpx.AsyncClient | None = None) -> None:
        self._client = client
        self._owned = client is None

    def _use(self) -> httpx.AsyncClient:
        if self._client is None:
            self._client = httpx.AsyncClient(**_settings(httpx.AsyncHTTPTransport))
        return self._client

    async def open(self, request: Request) -> Stream:
        client = self._use()
        with _classified():
            message = _message(self._owned, client, request)
            response = await client.send(message, stream=True, follow_redirects=request.follow_redirects)
        return _AsyncStream(response, request)

    async def send(self, request: Request) -> Response:
        return await whole(await self.open(request), request.total)

    async def close(self) -> None:
        if self._client is not None and self._owned:
            await self._client.aclose()
            self._client = None
