"""HTTP by `pyreqwest`, for speed: taken by itself where the extra `[fast]` is installed, unless `FAL_HTTP=httpx`."""

from __future__ import annotations

import atexit
import queue
import sys
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from pyreqwest.client import Client, ClientBuilder, SyncClient, SyncClientBuilder
from pyreqwest.exceptions import DetailedPyreqwestError, PyreqwestError
from pyreqwest.request import StreamRequest
from pyreqwest.response import BaseResponse
from pyreqwest.response import Response as AsyncResponse

from fal_runtime.transport import NotSent, Request, Response, Stream, Unanswered

if TYPE_CHECKING:
    from fal_runtime.http_httpx import AsyncHttpx, BlockingHttpx

__all__ = ["AsyncPyreqwest", "BlockingPyreqwest"]

T = TypeVar("T")

_CONNECTING = "client error (Connect)"
"""The cause of every failure to connect. The exceptions' own classes also cover requests that were sent."""


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


@contextmanager
def _classified() -> Generator[None, None, None]:
    """Tell what a failure means for the request: did any of it leave?"""
    try:
        yield
    except PyreqwestError as error:
        raise _meaning(error) from error


def _meaning(error: PyreqwestError) -> NotSent | Unanswered:
    if not isinstance(error, DetailedPyreqwestError):
        return Unanswered(type(error).__name__)
    causes = [cause["message"] for cause in (error.details or {}).get("causes") or ()]
    text = causes[-1] if causes else type(error).__name__
    return NotSent(text) if _CONNECTING in causes else Unanswered(text)


def _configured(builder: Any, request: Request) -> Any:
    builder = builder.follow_redirects(request.follow_redirects).referer(False)
    builder = builder.connect_timeout(timedelta(seconds=request.connect_timeout))
    builder = builder.tcp_keepalive(timedelta(seconds=30)).pool_idle_timeout(timedelta(seconds=30))
    return builder if request.timeout is None else builder.read_timeout(timedelta(seconds=request.timeout))


def _key(request: Request) -> tuple[float, float | None, bool]:
    """What is set for a whole client: requests that agree in it share one."""
    return request.connect_timeout, request.timeout, request.follow_redirects


def _built(client: Any, request: Request) -> Any:
    try:
        builder = client.request(request.method, request.url).headers(request.headers)
    except ValueError as error:  # only here: once it is sent, a value that cannot be read says nothing about sending
        raise NotSent(type(error).__name__) from error
    if request.total is not None:
        builder = builder.timeout(timedelta(seconds=request.total))
    return builder if request.body is None else builder.body_bytes(request.body)


def _streams_its_body(request: Request) -> bool:
    """Whether the body is read while it is sent: `pyreqwest` would take the time of that for the server's silence."""
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
            client = self._clients[key] = _configured(SyncClientBuilder(), request).build()
        return client

    def close(self) -> None:
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    def send(self, request: Request) -> Response:
        with _classified():
            response = _built(self.get(request), request).build().send()
            body = response.bytes().to_bytes()
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
    def __init__(self, request: StreamRequest, response: AsyncResponse) -> None:
        self._request = request
        self._response = response
        self._open = True
        self.status = response.status
        self.headers = _headers(response)

    async def chunks(self, left: Callable[[], float | None] | None = None) -> AsyncGenerator[bytes, None]:
        import asyncio

        reader = self._response.body_reader
        with _classified():
            while True:
                try:
                    async with asyncio.timeout(left() if left is not None else None):
                        chunk = await _cancellable(reader.read_chunk())
                except TimeoutError as error:
                    if isinstance(error, PyreqwestError):
                        raise
                    raise Unanswered("nothing came in time") from error
                if chunk is None:
                    return
                yield chunk.to_bytes()

    async def close(self) -> None:
        if self._open:
            self._open = False
            await self._request.__aexit__(None, None, None)


class AsyncPyreqwest:
    """`Http` on the running event loop. Bodies that are read while they are sent go by `httpx`."""

    def __init__(self) -> None:
        self._clients: dict[Any, Client] = {}
        self._httpx: AsyncHttpx | None = None

    @property
    def _uploads(self) -> AsyncHttpx:
        if self._httpx is None:
            from fal_runtime.http_httpx import AsyncHttpx

            self._httpx = AsyncHttpx()
        return self._httpx

    def _client(self, request: Request) -> Client:
        key = _key(request)
        client = self._clients.get(key)
        if client is None:
            client = self._clients[key] = _configured(ClientBuilder(), request).build()
        return client

    async def send(self, request: Request) -> Response:
        if _streams_its_body(request):
            return await self._uploads.send(request)
        try:
            response = await _cancellable(_built(self._client(request), request).build().send())
            body = await _cancellable(response.bytes())
        except PyreqwestError as error:
            raise _meaning(error) from error
        return Response(status=response.status, headers=_headers(response), body=body.to_bytes())

    async def open(self, request: Request) -> Stream:
        with _classified():
            # Without a buffer of its own an answer is handed over as soon as its headers are here.
            streamed = _built(self._client(request), request).streamed_read_buffer_limit(0).build_streamed()
            response = await _cancellable(streamed.__aenter__(), lambda: streamed.__aexit__(None, None, None))
        return _AsyncStream(streamed, response)

    async def close(self) -> None:
        clients, self._clients = self._clients, {}
        for client in clients.values():
            await client.close()
        if self._httpx is not None:
            await self._httpx.close()
