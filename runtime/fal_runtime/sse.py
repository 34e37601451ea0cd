"""Server-sent events out of an answer that is arriving. The parsing is `httpx-sse`'s; source: WHATWG HTML, chapter 9.2."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import TYPE_CHECKING

import msgspec

from fal_runtime.transport import Stream, Unanswered

if TYPE_CHECKING:
    import httpx
    from httpx_sse import ServerSentEvent

__all__ = ["Event", "is_event_stream", "server_sent_events"]

_EMPTY_LINES = (b"\n\n", b"\r\r", b"\n\r")
"""How a line that is empty, and so the end of an event, shows. Of `\r\n\r\n`, the last byte may stay for the next."""


class Event(msgspec.Struct, frozen=True):
    """One event. Its id and its retry time, which say how to open a stream again, are not kept."""

    name: str
    data: bytes


def is_event_stream(stream: Stream) -> bool:
    """Whether an answer says that it consists of server-sent events."""
    return stream.headers.get("content-type", "").partition(";")[0].strip().lower() == "text/event-stream"


async def server_sent_events(
    stream: Stream, left: Callable[[], float | None] | None = None
) -> AsyncGenerator[Event, None]:
    """The events as they arrive, without empty ones. Closing the generator leaves the stream open.

    Args:
        stream: The answer.
        left: Says before each wait how many seconds it may take.

    Raises:
        Unanswered: if the connection breaks, ends in the middle of an event, or nothing comes in time.
    """
    parts: list[bytes] = []
    last: bytes | None = None
    while (chunk := await stream.read(left() if left is not None else None)) is not None:
        if last is None:
            chunk, last = chunk.removeprefix(b"\xef\xbb\xbf"), b""
        at = max(map((last + chunk).rfind, _EMPTY_LINES))
        if at < 0:
            parts.append(chunk)
            last = chunk[-1:] or last
            continue
        end = at + 2 - len(last)
        block, parts, last = b"".join([*parts, chunk[:end]]), [chunk[end:]], chunk[-1:]
        for event in _parsed(block):
            if event.data:
                yield Event(event.event, event.data.encode())
    if b"".join(parts).strip():
        raise Unanswered("it ended in the middle of an event")


def _parsed(block: bytes) -> Iterator[ServerSentEvent]:
    """The events in a text that ends with one. Whoever waits for the next one holds no parser meanwhile."""
    from httpx_sse import EventSource

    return EventSource(_vessel()(block)).iter_sse()


@functools.cache
def _vessel() -> Callable[[bytes], httpx.Response]:
    """What the parser takes bytes from, whatever it was that spoke HTTP."""
    import httpx

    headers = httpx.Headers({"content-type": "text/event-stream"})

    class Vessel(httpx.Response):
        def __init__(self, block: bytes) -> None:  # without all that a real answer has, which costs more than parsing
            self.headers = headers
            self._block = block

        def iter_text(self, chunk_size: int | None = None) -> Iterator[str]:
            yield self._block.decode(errors="replace")

    return Vessel
