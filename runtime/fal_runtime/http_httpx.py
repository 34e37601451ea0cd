"""HTTP by `httpx`, the default: any client, transport or proxy setting of its world can be used."""

from __future__ import annotations

import functools
import os
import socket
import ssl
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import suppress
from typing import Any
from urllib.request import getproxies

import httpx

from fal_runtime.transport import Body, NotSent, Request, Response, Shares, Stream, Unanswered, iterate, whole

__all__ = ["AsyncHttpx", "BlockingHttpx"]

_BEFORE_SENDING = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpx.InvalidURL,
)
_FAILURES = httpx.RequestError, httpx.InvalidURL


def _meaning(error: Exception) -> NotSent | Unanswered:
    """What a failure means for the request: did any of it leave?"""
    name = type(error).__name__
    return NotSent(name) if isinstance(error, _BEFORE_SENDING) else Unanswered(name)


def _keepalive() -> list[tuple[int, int, int]]:
    """Let the system find out that the other side is gone while a quiet status stream is waited for."""
    options = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1), (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)]
    for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, name):
            options.append((socket.IPPROTO_TCP, getattr(socket, name), value))
    return options


@functools.cache
def _authorities(file: str | None, folder: str | None) -> ssl.SSLContext:
    """What certificates are held against: made once for each setting, for reading them takes longer than a request."""
    return httpx.create_ssl_context()


def _tls() -> ssl.SSLContext:
    return _authorities(os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))


def _settings(transport: Callable[..., Any]) -> dict[str, Any]:
    """The settings of an own client. Proxies from the environment work only with the transports it makes by itself."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=30.0)
    if getproxies():
        return {"limits": limits, "verify": _tls()}
    return {"transport": transport(limits=limits, verify=_tls(), socket_options=_keepalive())}


_SHARE = 16
"""How many requests one client has in flight: what its pool does for each grows with all of them."""


@functools.lru_cache(maxsize=128)
def _url(text: str) -> httpx.URL:
    """A URL in its parts: the same endpoints are called again and again, and reading a URL takes a tenth of a call."""
    return httpx.URL(text)


def _message(owned: bool, client: httpx.Client | httpx.AsyncClient, request: Request) -> httpx.Request:
    """Build the request. Only a caller's own client has headers, cookies or a base URL to be merged in."""
    wait = request.patience
    connect = request.connect_timeout if wait is None else min(wait, request.connect_timeout)
    timeout = {"connect": connect, "read": wait, "write": wait, "pool": wait}
    build, url = (httpx.Request, _url(request.url)) if owned else (client.build_request, request.url)
    extensions, body = {"timeout": timeout}, request.body
    if body is None or isinstance(body, bytes):
        return build(request.method, url, headers=request.headers, content=body, extensions=extensions)
    headers = {**request.headers, "content-length": str(body.size)}
    message = build(request.method, url, headers=headers, extensions=extensions)
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


def _headers(response: httpx.Response) -> dict[str, str]:
    """By lower-case names. `httpx` has them as bytes, and finds out about their encoding at every look."""
    headers: dict[str, str] = {}
    for raw_name, raw in response.headers.raw:
        name, value = _text(raw_name).lower(), _text(raw)
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


class _Stream:
    def __init__(self, response: httpx.Response, request: Request, over: Callable[[], None]) -> None:
        self._response = response
        self._idle = request.silence
        response.request.extensions["timeout"]["read"] = self._idle  # which is looked at again when the body is read
        self._over: Callable[[], None] | None = over
        self.status = response.status_code
        self.headers = _headers(response)

    def _end(self) -> None:
        over, self._over = self._over, None
        if over is not None:
            over()


class _BlockingStream(_Stream):
    @functools.cached_property
    def _arriving(self) -> Iterator[bytes]:
        return self._response.iter_bytes()

    async def read(self, wait: float | None = None) -> bytes | None:
        try:
            if wait is None or (self._idle is not None and wait > self._idle - 0.05):
                return next(self._arriving, None)
            # A read's own limit was fixed when the request was sent; a shorter one has to come from outside the thread.
            watchdog = threading.Timer(wait, self._hang_up)
            watchdog.daemon = True
            watchdog.start()
            try:
                return next(self._arriving, None)
            finally:
                watchdog.cancel()
        except _FAILURES as error:
            raise _meaning(error) from error

    def _hang_up(self) -> None:
        network = self._response.extensions.get("network_stream")
        with suppress(AttributeError, OSError):
            network.get_extra_info("socket").shutdown(socket.SHUT_RDWR)  # type: ignore[union-attr]

    async def close(self) -> None:
        self._response.close()
        self._end()


class _AsyncStream(_Stream):
    @functools.cached_property
    def _arriving(self) -> AsyncIterator[bytes]:
        return self._response.aiter_bytes()

    async def read(self, wait: float | None = None) -> bytes | None:
        import asyncio

        try:
            async with asyncio.timeout(wait):
                return await anext(self._arriving, None)
        except _FAILURES as error:
            raise _meaning(error) from error
        except TimeoutError as error:
            raise Unanswered("nothing came in time") from error

    async def close(self) -> None:
        await self._response.aclose()
        self._end()


class BlockingHttpx:
    """`Http` in the calling thread, by `httpx.Client`s of our own or by one that the caller keeps and closes."""

    def __init__(self, client: httpx.Client | None = None) -> None:
        self._shares = Shares[httpx.Client](client, self._client, _SHARE)

    def _client(self) -> httpx.Client:
        client = httpx.Client(**_settings(httpx.HTTPTransport))
        # A pool that nobody closed is closed when it is forgotten.
        weakref.finalize(self, client.close).atexit = False
        return client

    async def open(self, request: Request) -> Stream:
        share = self._shares.take()
        try:
            message = _message(self._shares.own, share.client, request)
            response = share.client.send(message, stream=True, follow_redirects=request.follow_redirects)
        except BaseException as error:
            self._shares.give(share)
            if isinstance(error, _FAILURES):
                raise _meaning(error) from error
            raise
        return _BlockingStream(response, request, lambda: self._shares.give(share))

    async def send(self, request: Request) -> Response:
        return await whole(await self.open(request), request.total)

    async def close(self) -> None:
        for client in self._shares.drop():
            client.close()


class AsyncHttpx:
    """`Http` on the running event loop, by `httpx.AsyncClient`s of our own or by one that the caller keeps and closes."""

    def __init__(self, client: httpx.AsyncClient | None = None) -> None:
        self._shares = Shares[httpx.AsyncClient](
            client, lambda: httpx.AsyncClient(**_settings(httpx.AsyncHTTPTransport)), _SHARE
        )

    async def open(self, request: Request) -> Stream:
        share = self._shares.take()
        try:
            message = _message(self._shares.own, share.client, request)
            response = await share.client.send(message, stream=True, follow_redirects=request.follow_redirects)
        except BaseException as error:
            self._shares.give(share)
            if isinstance(error, _FAILURES):
                raise _meaning(error) from error
            raise
        return _AsyncStream(response, request, lambda: self._shares.give(share))

    async def send(self, request: Request) -> Response:
        import asyncio

        # The same as `whole(await self.open(request))`, in half the steps. httpx's own limits, which know whether
        # anything was sent, come first; this one is for answers that trickle.
        patience = None if request.total is None else request.total + 0.1
        share = self._shares.take()
        try:
            message = _message(self._shares.own, share.client, request)
            async with asyncio.timeout(patience):
                response = await share.client.send(message, follow_redirects=request.follow_redirects)
        except _FAILURES as error:
            raise _meaning(error) from error
        except TimeoutError as error:
            raise Unanswered("the answer took too long") from error
        finally:
            self._shares.give(share)
        return Response(status=response.status_code, headers=_headers(response), body=response.content)

    async def close(self) -> None:
        for client in self._shares.drop():
            await client.aclose()
