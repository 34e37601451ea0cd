"""HTTP by `pyreqwest`, for speed: taken by itself where the extra `[fast]` is installed, unless `FAL_HTTP=httpx`."""

from __future__ import annotations

import atexit
import os
import queue
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from fal_runtime.transport import NotSent, Request, Response, Shares, Stream, Unanswered

if TYPE_CHECKING:
    from fal_runtime.http_httpx import AsyncHttpx, BlockingHttpx


@contextmanager
def _environment(name: str, value: str) -> Generator[None, None, None]:
    """Set a variable that is read while something is loaded, if it is not set."""
    if name in os.environ:
        yield
        return
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]


# The allocator inside `pyreqwest` (mimalloc) would take huge pages, and use little of many of them.
with _environment("MIMALLOC_ARENA_EAGER_COMMIT", "0"):
    from pyreqwest.client import Client, ClientBuilder, SyncClient, SyncClientBuilder
    from pyreqwest.exceptions import DetailedPyreqwestError, PyreqwestError
    from pyreqwest.request import StreamRequest
    from pyreqwest.response import BaseResponse
    from pyreqwest.response import Response as AsyncResponse

__all__ = ["AsyncPyreqwest", "BlockingPyreqwest"]

T = TypeVar("T")

_CONNECTING = "client error (Connect)"
"""The cause of every failure to connect. The exceptions' own classes also cover requests that were sent."""
_NO_HTTP2 = "connection error detected"
"""How the cause begins if what a server says is no HTTP/2."""


@atexit.register
def _let_go() -> None:
    """Give the library's own thread the time to leave Python before the interpreter ends under it.

    It wakes an event loop by calling into Python, and would be caught on its way back: that ends the process with a
    signal after everything is done. Such a thread has a frame of Python's, and none of Python's thread objects.
    """
    end = time.monotonic() + 1.0
    time.sleep(0.01)
    while time.monotonic() < end:
        ours = {thread.ident for thread in threading.enumerate() if thread.name[:5] != "Dummy"}
        if not sys._current_frames().keys() - ours:  # pyright: ignore[reportPrivateUsage]
            return
        time.sleep(0.001)


def _meaning(error: PyreqwestError) -> NotSent | Unanswered:
    """What a failure means for the request: did any of it leave?"""
    if not isinstance(error, DetailedPyreqwestError):
        return Unanswered(type(error).__name__)
    causes = [cause["message"] for cause in (error.details or {}).get("causes") or ()]
    text = causes[-1] if causes else type(error).__name__
    return NotSent(text) if _CONNECTING in causes else Unanswered(text)


_SILENCE = timedelta(seconds=30)
"""After which a connection in use is asked whether the other side is still there, and one that is not in use is closed."""


_SHARE = 90
"""How many requests one client has in flight. They share a connection if the server speaks HTTP/2, and there, most servers
let those after the hundredth wait."""
_UNREAD = 2 * 2**20
"""Bytes of each of them that may have come and not been read. All together may have as many times that, so that answers
which nobody reads for a while hold up no others."""


def _key(request: Request) -> tuple[float, bool]:
    """What is set for a whole client: requests that agree in it share one."""
    return request.connect_timeout, request.follow_redirects


def _configured(builder: Any, connect_timeout: float, follow_redirects: bool) -> Any:
    builder = builder.follow_redirects(follow_redirects).referer(False)
    builder = builder.connect_timeout(timedelta(seconds=connect_timeout))
    return builder.tcp_keepalive(_SILENCE).pool_idle_timeout(_SILENCE)


def _client(connect_timeout: float, follow_redirects: bool, known: bool | None) -> Client:
    """A client that speaks HTTP/2 if the server does, or that need not ask, or (`None`) that speaks HTTP/1.1."""
    builder: ClientBuilder = _configured(ClientBuilder(), connect_timeout, follow_redirects)
    if known is None:
        return builder.build()
    builder = builder.http2_keep_alive_interval(_SILENCE).http2_keep_alive_timeout(_SILENCE)
    builder = builder.http2_initial_stream_window_size(_UNREAD).http2_initial_connection_window_size(_SHARE * _UNREAD)
    return (builder.http2_prior_knowledge() if known else builder.http2(True)).build()


def _origin(request: Request) -> str:
    return request.url[: request.url.find("/", 8)]


def _built(client: Any, request: Request, seconds: float | None) -> Any:
    try:
        builder = client.request(request.method, request.url).headers(request.headers)
    except ValueError as error:  # only here: once it is sent, a value that cannot be read says nothing about sending
        raise NotSent(type(error).__name__) from error
    if seconds is not None:
        builder = builder.timeout(timedelta(seconds=seconds))
    return builder if request.body is None else builder.body_bytes(request.body)


def _streams_its_body(request: Request) -> bool:
    """Whether the body is read while it is sent: `httpx` limits the time for each piece of it, and costs no more here."""
    return request.body is not None and not isinstance(request.body, bytes)


def _headers(response: BaseResponse) -> dict[str, str]:
    """An answer's headers; one whose value is no text is left out, for the answer may have been paid for."""
    try:
        return dict(response.headers.items())
    except ValueError:
        found: dict[str, str] = {}
        for name in response.headers:
            with suppress(ValueError):
                found[name] = response.get_header(name) or ""
        return found


class _Worker:
    """A thread with a client of its own, for the main thread.

    A call into `pyreqwest` does not hear Ctrl-C. A thread that waits for another one does, and closing the client then
    ends the call and its connection.
    """

    def __init__(self) -> None:
        self.clients = _Clients()
        self._orders: queue.SimpleQueue[Callable[[], Any] | None] = queue.SimpleQueue()
        self._outcomes: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="fal-runtime", daemon=True).start()

    def _work(self) -> None:
        while (order := self._orders.get()) is not None:
            try:
                self._outcomes.put((order(), None))
            except BaseException as error:  # it is raised where it was ordered
                self._outcomes.put((None, error))

    def do(self, order: Callable[[], Any]) -> Any:
        self._orders.put(order)
        result, error = self._outcomes.get()
        if error is not None:
            raise error
        return result

    def dismiss(self) -> None:
        """End the thread, and what it is doing."""
        self.clients.close()
        self._orders.put(None)


class _Clients:
    """Blocking clients by their settings."""

    def __init__(self) -> None:
        self._clients: dict[Any, SyncClient] = {}

    def get(self, request: Request) -> SyncClient:
        key = _key(request)
        client = self._clients.get(key)
        if client is None:
            client = self._clients[key] = _configured(SyncClientBuilder(), *key).build()
        return client

    def close(self) -> None:
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    def send(self, request: Request) -> Response:
        try:
            response = _built(self.get(request), request, request.patience).build().send()
            body = response.bytes().to_bytes()
        except PyreqwestError as error:
            raise _meaning(error) from error
        return Response(status=response.status, headers=_headers(response), body=body)


class BlockingPyreqwest:
    """`Http` in the calling thread. What is read as it arrives, or as it is sent, goes by `httpx`: it hears Ctrl-C."""

    def __init__(self) -> None:
        self._clients = _Clients()
        self._httpx: BlockingHttpx | None = None
        self._lock = threading.Lock()
        self._worker: _Worker | None = None

    @property
    def _streams(self) -> BlockingHttpx:
        """What is imported with the first stream only, for that takes longer than many calls."""
        with self._lock:
            if self._httpx is None:
                from fal_runtime.http_httpx import BlockingHttpx

                self._httpx = BlockingHttpx()
            return self._httpx

    async def open(self, request: Request) -> Stream:
        return await self._streams.open(request)

    async def send(self, request: Request) -> Response:
        if _streams_its_body(request):
            return await self._streams.send(request)
        if threading.current_thread() is not threading.main_thread():
            return self._clients.send(request)
        worker, self._worker = self._worker or _Worker(), None
        try:
            response: Response = worker.do(lambda: worker.clients.send(request))
        except (NotSent, Unanswered):
            self._worker = worker
            raise
        except BaseException:
            worker.dismiss()
            raise
        self._worker = worker
        return response

    async def close(self) -> None:
        if self._worker is not None:
            self._worker.dismiss()
            self._worker = None
        self._clients.close()
        if self._httpx is not None:
            await self._httpx.close()


async def _cancellable(waiting: Awaitable[T], undo: Callable[[], Awaitable[Any]] | None = None) -> T:
    """Wait for something of `pyreqwest`, which takes no notice of being cancelled if its outcome is just there.

    Args:
        waiting: What to wait for.
        undo: Does away with the outcome in that case.
    """
    import asyncio

    task = asyncio.current_task()
    asked = task.cancelling() if task is not None else 0
    outcome = await waiting
    if task is not None and task.cancelling() > asked:
        if undo is not None:
            await undo()
        raise asyncio.CancelledError
    return outcome


class _AsyncStream:
    def __init__(
        self, request: StreamRequest, response: AsyncResponse, idle: float | None, over: Callable[[], None]
    ) -> None:
        self._request = request
        self._reader = response.body_reader
        self._idle = idle
        self._over = over
        self._open = True
        self.status = response.status
        self.headers = _headers(response)

    async def read(self, wait: float | None = None) -> bytes | None:
        import asyncio

        try:
            async with asyncio.timeout(self._idle if wait is None else wait):
                chunk = await _cancellable(self._reader.read_chunk())
        except PyreqwestError as error:
            raise _meaning(error) from error
        except TimeoutError as error:
            raise Unanswered("nothing came in time") from error
        return None if chunk is None else chunk.to_bytes()

    async def close(self) -> None:
        if self._open:
            self._open = False
            try:
                await self._request.__aexit__(None, None, None)
            finally:
                self._over()


class AsyncPyreqwest:
    """`Http` on the running event loop. Bodies that are read while they are sent go by `httpx`.

    Over TLS it speaks HTTP/2 with servers that do, so that a thousand jobs are waited for over a dozen connections. A stream
    of outputs has a connection of its own.
    """

    def __init__(self) -> None:
        import asyncio

        self._asyncio = asyncio
        self._clients: dict[Any, Shares[Client]] = {}
        self._http2: set[str] = set()
        self._httpx: AsyncHttpx | None = None

    @property
    def _uploads(self) -> AsyncHttpx:
        if self._httpx is None:
            from fal_runtime.http_httpx import AsyncHttpx

            self._httpx = AsyncHttpx()
        return self._httpx

    def _shares(self, request: Request, *, alone: bool = False) -> Shares[Client]:
        # Connections that may turn out to be of either kind are opened one for each request, and most thrown away then.
        known = bool(self._http2) and not request.follow_redirects and _origin(request) in self._http2
        key = *_key(request), None if alone else known
        shares = self._clients.get(key)
        if shares is None:
            shares = self._clients[key] = Shares(None, partial(_client, *key), _SHARE)
        return shares

    def _learn(self, request: Request, response: AsyncResponse) -> bool:
        """Keep in mind that a server speaks HTTP/2, and say whether it did."""
        spoken = request.url.startswith("https:") and response.version == "HTTP/2.0"
        if spoken:
            self._http2.add(_origin(request))
        return spoken

    def _failed(self, request: Request, error: PyreqwestError) -> NotSent | Unanswered:
        """What a failure means. A server that cannot be reached, or not be understood, may have unlearnt HTTP/2."""
        meaning = _meaning(error)
        if isinstance(meaning, NotSent) or str(meaning).startswith(_NO_HTTP2):
            self._http2.discard(_origin(request))
        return meaning

    async def send(self, request: Request) -> Response:
        if _streams_its_body(request):
            return await self._uploads.send(request)
        # What `_cancellable` does for each of the two, at less than half of its cost.
        task = self._asyncio.current_task()
        asked = task.cancelling() if task is not None else 0
        shares = self._shares(request)
        share = shares.take()
        try:
            response = await _built(share.client, request, request.patience).build().send()
            if task is not None and task.cancelling() > asked:
                raise self._asyncio.CancelledError
            body = await response.bytes()
        except PyreqwestError as error:
            raise self._failed(request, error) from error
        finally:
            shares.give(share)
        http2 = self._learn(request, response)
        if task is not None and task.cancelling() > asked:
            raise self._asyncio.CancelledError
        answer = Response(status=response.status, headers=_headers(response), body=body.to_bytes())
        # A stream that is reset without an error, as some gateways do when they lose their server, ends like any other.
        if http2 and request.method != "HEAD":
            size = str(len(answer.body))
            if answer.headers.get("content-length", size) != size:
                raise Unanswered("the answer was cut off")
        return answer

    async def open(self, request: Request) -> Stream:
        # A stream that is reset without an error, as some gateways do, would end as if it were whole: HTTP/1.1 shows that.
        # What was paid for must not end so; the status of a job is asked for again, and a file has a length.
        shares = self._shares(request, alone=request.method != "GET")
        share = shares.take()
        try:
            # Without a buffer of its own an answer is handed over as soon as its headers are here.
            streamed = _built(share.client, request, request.total).streamed_read_buffer_limit(0).build_streamed()
            async with self._asyncio.timeout(request.timeout):
                response = await _cancellable(streamed.__aenter__(), lambda: streamed.__aexit__(None, None, None))
        except BaseException as error:
            shares.give(share)
            if isinstance(error, PyreqwestError):
                raise self._failed(request, error) from error
            if isinstance(error, TimeoutError):
                raise Unanswered("nothing came in time") from error
            raise
        self._learn(request, response)
        return _AsyncStream(streamed, response, request.silence, partial(shares.give, share))

    async def close(self) -> None:
        all_shares, self._clients = self._clients, {}
        for shares in all_shares.values():
            for client in shares.drop():
                await client.close()
        if self._httpx is not None:
            await self._httpx.close()
