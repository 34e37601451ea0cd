"""Server-sent events are read as `httpx-sse` reads them, wherever the chunks end."""

from __future__ import annotations

import httpx
import pytest
from httpx_sse import EventSource
from hypothesis import given
from hypothesis import strategies as st

from fal_runtime.sse import Event, server_sent_events
from fal_runtime.transport import Unanswered, drive

PIECES = st.sampled_from(
    ["data", "event", "id", ":", ": ", " ", "x", "{}", "ü", "\n", "\r", "\r\n", "\n\n", "\r\n\r\n", "data: a\n\n"]
)


class Answer:
    """A stream that comes in given pieces."""

    status = 200

    def __init__(self, chunks: list[bytes]) -> None:
        self.headers: dict[str, str] = {}
        self._chunks = iter(chunks)

    async def read(self, wait: float | None = None) -> bytes | None:
        return next(self._chunks, None)

    async def close(self) -> None: ...


def read(chunks: list[bytes]) -> tuple[list[Event], bool]:
    """The events, and whether the stream ended between two of them."""
    events: list[Event] = []

    async def collect() -> None:
        async for event in server_sent_events(Answer(chunks)):
            events.append(event)  # noqa: PERF401 - what came before a failure counts

    try:
        drive(collect())
    except Unanswered:
        return events, False
    return events, True


def expected(text: str) -> list[Event]:
    source = EventSource(httpx.Response(200, headers={"content-type": "text/event-stream"}, text=text))
    return [Event(event.event, event.data.encode()) for event in source.iter_sse() if event.data]


@given(st.lists(PIECES, max_size=40).map("".join), st.lists(st.integers(1, 9), max_size=20))
def test_events_are_those_of_another_parser(text: str, sizes: list[int]) -> None:
    body, chunks = text.encode(), list[bytes]()
    for size in sizes:
        chunks.append(body[:size])
        body = body[size:]
    events, _ = read([*chunks, body])
    assert events == expected(text)


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_an_event_comes_with_its_last_byte(end: str) -> None:
    text = f"event: a{end}data: 1{end}data:2{end}{end}".encode()
    assert read([text]) == ([Event("a", b"1\n2")], True)
    assert read([bytes([byte]) for byte in text]) == ([Event("a", b"1\n2")], True)
    assert read([text[: -len(end)]]) == ([], False)
    assert read([b"\xef\xbb\xbf" + text, b": a comment" + 2 * end.encode(), text]) == ([Event("a", b"1\n2")] * 2, True)
