"""Server-sent events out of an answer that is arriving. The parsing is `httpx-sse`'s; source: WHATWG HTML, chapter 9.2."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import msgspec

from fal_runtime.transport import Stream, Unanswered

__all__ = ["Event", "is_event_stream", "server_sent_events"]


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
    import httpx
    from httpx_sse import EventSource

    arrived, tail = False, b""

    async def watched() -> AsyncGenerator[bytes, None]:
        nonlocal arrived, tail
        async with aclosing(stream.chunks(left)) as chunks:
            async for chunk in chunks:
                chunk = chunk if arrived else chunk.removeprefix(b"\xef\xbb\xbf")
                arrived, tail = True, (tail + chunk)[-4:]
                yield chunk

    # Only a vessel for the parser: whatever spoke HTTP, the bytes reach it the same way.
    vessel = httpx.Response(200, headers={"content-type": "text/event-stream"}, content=watched())
    async with aclosing(EventSource(vessel).aiter_sse()) as events:
        async for event in events:
            if event.data:
                yield Event(event.event, event.data.encode())
    # An event ends with an empty line, and a parser has to drop one that does not.
    if not tail.replace(b"\r\n", b"\n").replace(b"\r", b"\n").endswith(b"\n\n") and tail.strip():
        raise Unanswered("it ended in the middle of an event")
