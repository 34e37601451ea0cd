"""Server-sent events out of an answer that is arriving. The parsing is `httpx-sse`'s; source: WHATWG HTML, chapter 9.2."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING

from fal_runtime.transport import Stream, Unanswered

if TYPE_CHECKING:
    from httpx_sse import ServerSentEvent

__all__ = ["is_event_stream", "server_sent_events"]


def is_event_stream(stream: Stream) -> bool:
    """Whether an answer says that it consists of server-sent events."""
    return stream.headers.get("content-type", "").partition(";")[0].strip().lower() == "text/event-stream"


async def server_sent_events(
    stream: Stream, left: Callable[[], float | None] | None = None
) -> AsyncGenerator[ServerSentEvent, None]:
    """The events as they arrive, without empty ones. Closing the generator leaves the stream open.

    Args:
        stream: The answer.
        left: Says before each wait how many seconds it may take.

    Raises:
        Unanswered: if the connection breaks, ends in the middle of an event, or nothing comes in time.
    """
    import httpx
    from httpx_sse import EventSource

    tail = b""

    async def watched() -> AsyncGenerator[bytes, None]:
        nonlocal tail
        async for chunk in stream.chunks(left):
            tail = (tail + chunk)[-4:]
            yield chunk

    # Only a vessel for the parser: whatever spoke HTTP, the bytes reach it the same way.
    vessel = httpx.Response(200, headers={"content-type": "text/event-stream"}, content=watched())
    async with aclosing(EventSource(vessel).aiter_sse()) as events:
        async for event in events:
            if event.data:
                yield event
    # An event ends with an empty line, and a parser has to drop one that does not.
    if tail.replace(b"\r\n", b"\n").replace(b"\r", b"\n")[-2:] not in (b"\n\n", b"\n", b""):
        raise Unanswered("it ended in the middle of an event")
