"""Streams: one request, its outputs as they come. Source of the wire facts: fal docs, "Streaming" page.

Each event is an output, usually a partial one; the last is the final one. The wire has no mark for the last event, so a
stream counts as complete when the server ends it in good order after at least one event.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec

from fal_runtime.client import Channel
from fal_runtime.errors import FalError, RunnerError, StreamTruncated, error_from_response
from fal_runtime.queue import address, make_result, paid_headers
from fal_runtime.result import Result
from fal_runtime.retry import Deadline
from fal_runtime.sse import is_event_stream, server_sent_events
from fal_runtime.transport import Response, Stream, Unanswered, drive, whole
from fal_runtime.values import json_or_none, mapping

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from fal_runtime.lifecycle import Lifecycle

__all__ = ["AsyncEventStream", "EventStream", "open_stream"]

O_co = TypeVar("O_co", covariant=True)
R_co = TypeVar("R_co", covariant=True)

_END = b"[DONE]"
"""What endpoints with OpenAI's protocol send last; it is no event."""


async def open_stream(
    channel: Channel,
    endpoint_id: str,
    output: Any,
    body: bytes,
    *,
    path: str = "/stream",
    hint: str | None = None,
    start_timeout: float | None = None,
    timeout: float | None = None,
    storage: Lifecycle | None = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[Stream, AsyncGenerator[Result[Any], None]]:
    """Send a request; return its answer and the results in it. Raises what `Channel.open` raises."""
    deadline = Deadline(timeout if timeout is not None else channel.client.timeouts.run)
    stream = await channel.open(
        "stream",
        "POST",
        address(channel, "run", endpoint_id, path),
        headers={"accept": "text/event-stream", **paid_headers(start_timeout, hint, storage, headers)},
        body=body,
        deadline=deadline,
        idle=deadline.left() or 86_400.0,
        endpoint_id=endpoint_id,
    )
    return stream, _results(channel, stream, endpoint_id, output, deadline)


async def _results(
    channel: Channel, stream: Stream, endpoint_id: str, output: Any, deadline: Deadline
) -> AsyncGenerator[Result[Any], None]:
    about: dict[str, Any] = {"endpoint_id": endpoint_id, "request_id": stream.headers.get("x-fal-request-id")}
    last: bytes | None = None
    try:
        if is_event_stream(stream):
            async with aclosing(server_sent_events(stream, deadline.left)) as events:
                async for event in events:
                    if event.data == _END:
                        continue
                    last = event.data
                    response = Response(status=stream.status, headers={}, body=last)
                    _refuse(event.name, response, stream, output, about)
                    result = make_result(channel, response, output, **about)
                    yield msgspec.structs.replace(result, headers=stream.headers)
        elif _is_json(stream):
            response = await whole(stream, deadline.left())
            last = response.body
            yield make_result(channel, response, output, **about)
        else:
            while (chunk := await stream.read(deadline.left())) is not None:
                last = chunk
                yield Result(data=chunk, headers=stream.headers, raw=chunk, **about)
    except Unanswered as error:
        raise StreamTruncated(f"the stream broke off ({error})", body=last, **about) from error
    finally:
        await stream.close()
    if last is None:
        raise StreamTruncated("the stream ended without an event", **about)


def _is_json(stream: Stream) -> bool:
    return stream.headers.get("content-type", "").partition(";")[0].strip().lower().endswith("json")


def _refuse(name: str, response: Response, stream: Stream, output: Any, about: dict[str, Any]) -> None:
    """Raise the error that an event stands for: one named so, or an object with the platform's error fields.

    Source: fal docs, "Model Errors", and "Workflow endpoints" for errors that carry the status of a step.
    """
    if name != "error" and b'"error"' not in response.body and b'"detail"' not in response.body:
        return  # without reading every event twice
    fields = mapping(json_or_none(response.body))
    known: Any = getattr(output, "__struct_encode_fields__", ())
    found = [field for field in ("error", "detail") if fields.get(field) and field not in known]
    if name != "error" and not found:
        return
    inner = mapping(fields.get("error"))
    status = inner.get("status")
    body = msgspec.json.encode(inner["body"]) if isinstance(inner.get("body"), dict) else response.body
    error = error_from_response(
        status if isinstance(status, int) and status >= 400 else 500, stream.headers, body, **about
    )
    if type(error) is RunnerError and isinstance(fields.get("message") or fields.get("error"), str):
        error.message = f"the stream reported an error: {fields.get('message') or fields.get('error')}"
    error.status_code = status if isinstance(status, int) else None
    raise error


class _Events(Generic[O_co, R_co]):
    """What both kinds of stream are made of; each operation is a coroutine."""

    def __init__(
        self,
        begin: Callable[[], Awaitable[tuple[Stream, AsyncGenerator[Result[Any], None]]]],
        pick: Callable[[Result[Any]], R_co],
    ) -> None:
        self._begin = begin
        self._pick = pick
        self._answer: Stream | None = None
        self._results: AsyncGenerator[Result[Any], None] | None = None
        self._last: Result[Any] | None = None
        self._over = False

    @property
    def request_id(self) -> str | None:
        """The platform's id of the request; `None` before the first event was asked for."""
        return self._answer.headers.get("x-fal-request-id") if self._answer is not None else None

    @property
    def headers(self) -> dict[str, str]:
        """The answer's HTTP headers, with lower-case names; empty before the first event was asked for."""
        return self._answer.headers if self._answer is not None else {}

    async def _next(self) -> O_co:
        if self._over:
            raise StopAsyncIteration
        try:
            if self._results is None:
                self._answer, self._results = await self._begin()
            self._last = await anext(self._results)
        except BaseException:
            await self._close()
            raise
        data: O_co = self._last.data
        return data

    async def _done(self) -> R_co:
        while not self._over:
            try:
                await self._next()
            except StopAsyncIteration:
                break
        if self._last is None:
            raise FalError("the stream was closed before its first event")
        return self._pick(self._last)

    async def _close(self) -> None:
        self._over = True
        if self._results is not None:
            await self._results.aclose()
        if self._answer is not None:
            await self._answer.close()


class EventStream(_Events[O_co, R_co]):
    """The outputs of a request as they come. Iterate over it, or take the last with `done()`.

    The request is sent when the first event is asked for. Closing the stream, or leaving its `with` statement, closes
    the connection; a direct run ends with it where the endpoint can be cancelled.

    An answer that is no event stream gives its one JSON output, or chunks of `bytes` if it is something else.

    Raises (from iteration and `done()`):
        InputError: if the input is wrong; every problem is listed.
        StreamTruncated: if the stream broke off before its end.
        FalError: the one that an event stands for, and any other; see `fal_runtime.errors`.
    """

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> O_co:
        try:
            return drive(self._next())
        except StopAsyncIteration:
            raise StopIteration from None

    def done(self) -> R_co:
        """Take what is left of the stream and return the last output, which is the final one."""
        return drive(self._done())

    def close(self) -> None:
        """Close the connection."""
        drive(self._close())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


class AsyncEventStream(_Events[O_co, R_co]):
    """The outputs of a request as they come, for `async for` and `async with`; the same as `EventStream`."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> O_co:
        return await self._next()

    async def done(self) -> R_co:
        """Take what is left of the stream and return the last output, which is the final one."""
        return await self._done()

    async def aclose(self) -> None:
        """Close the connection."""
        await self._close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self._close()
