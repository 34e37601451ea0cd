"""Server-sent events out of an answer that is arriving. Source: WHATWG HTML, chapter 9.2.

The parser works on bytes as they come, whatever library they come by: one for strings, behind a response object of
`httpx`, takes twice as long and a third more memory for each of a thousand jobs that are waited for.
"""

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
    arrived, parser = False, _Parser()
    async with aclosing(stream.chunks(left)) as chunks:
        async for chunk in chunks:
            chunk = chunk if arrived else chunk.removeprefix(b"\xef\xbb\xbf")
            arrived = True
            for event in parser.feed(chunk):
                yield event
    if parser.unfinished:
        raise Unanswered("it ended in the middle of an event")


class _Parser:
    """Takes chunks, which may end anywhere, and gives the events that they complete."""

    def __init__(self) -> None:
        self._text = bytearray()
        self._looked_at = 0
        self._after_cr = False

    @property
    def unfinished(self) -> bool:
        """Whether there is something that no empty line has ended."""
        return bool(self._text.strip(b"\n"))

    def feed(self, chunk: bytes) -> list[Event]:
        if self._after_cr:
            chunk = chunk.removeprefix(b"\n")  # the other half of a line's end
        self._after_cr = chunk.endswith(b"\r") if chunk else self._after_cr
        if b"\r" in chunk:
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        text, events = self._text, list[Event]()
        text += chunk
        while (end := text.find(b"\n\n", self._looked_at)) >= 0:
            event = _read(bytes(text[:end]))
            del text[: end + 2]
            self._looked_at = 0
            if event is not None:
                events.append(event)
        self._looked_at = max(0, len(text) - 1)
        return events


def _read(block: bytes) -> Event | None:
    """Read the lines of an event; `None` if it has no data."""
    name, data = b"", list[bytes]()
    for line in block.split(b"\n"):
        field, _, value = line.partition(b":")
        if field == b"data":
            data.append(value.removeprefix(b" "))
        elif field == b"event":
            name = value.removeprefix(b" ")
    text = b"\n".join(data)
    return Event(name.decode(errors="replace") or "message", text) if text else None
