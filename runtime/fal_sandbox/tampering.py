"""An answer on its way out, changed as a fault wants it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, cast

from starlette.types import Message, Send

from fal_sandbox.faults import Fault
from fal_sandbox.pulse import Pulse

_EVENT_END = b"\n\n"
_DATA = b"data: "


class Tampered:
    """Takes the place of `send`.

    Args:
        fault: what to change.
        send: sends for good.
        pulse: waits.
        drop: ends the connection.
    """

    def __init__(self, fault: Fault, send: Send, pulse: Pulse, drop: Callable[[], None]) -> None:
        self._fault = fault
        self._send = send
        self._pulse = pulse
        self._drop = drop
        self._start: Message = {}
        self._held = b""
        self._sent = b""
        self.over = False
        """Whether the connection has been ended."""

    async def __call__(self, message: Message) -> None:
        """Send one message of the answer, or what becomes of it."""
        if message["type"] == "http.response.start":
            kept = [(name, value) for name, value in message["headers"] if name.decode() not in self._fault.without]
            self._start = {**message, "headers": kept}
            if self._streams:
                await self._send(self._start)
            return None
        if self.over:
            return None
        body, more = message.get("body", b""), message.get("more_body", False)
        if self._streams:
            return await self._pass(self._merged_event(body), more)
        # A whole answer is held back until it is complete, since its length may change.
        self._held += body
        if not more:
            await self._whole(self._held)
        return None

    @property
    def _streams(self) -> bool:
        return not any(name == b"content-length" for name, _ in self._start["headers"])

    async def _whole(self, body: bytes) -> None:
        if self._fault.merge is not None:
            body = self._merged(body)
        if self._fault.truncate:
            body = body[: len(body) // 2]
        rest = [(name, value) for name, value in self._start["headers"] if name != b"content-length"]
        await self._send({**self._start, "headers": [*rest, (b"content-length", str(len(body)).encode())]})
        if self._fault.cut == "half":
            await self._pieces(body[: len(body) // 2], more=True)
            self._end()
        else:
            await self._pass(body, more=False)

    async def _pass(self, body: bytes, more: bool) -> None:
        keep = self._kept(body)
        if keep is None:
            await self._pieces(body, more)
            return
        await self._pieces(body[:keep], more=True)
        self._end()

    def _kept(self, body: bytes) -> int | None:
        """How much of the next bytes is sent before the cut; None if it does not come yet."""
        before, self._sent = self._sent, self._sent + body
        if self._fault.cut == "character":
            return next((index + 1 for index, byte in enumerate(body) if byte >= 0xC0), None)
        if self._fault.cut == "event":
            end = self._sent.find(_EVENT_END)
            second = self._sent[end + 2 :] if end >= 0 else b""
            return end + 2 + len(second) // 2 - len(before) if second.strip() else None
        if self._fault.cut == "half" and before:
            return 0
        return None

    async def _pieces(self, body: bytes, more: bool) -> None:
        size = self._fault.piece_bytes or max(1, len(body))
        for start in range(0, len(body), size):
            await self._pulse.pause(self._fault.pause_seconds)
            await self._send({"type": "http.response.body", "body": body[start : start + size], "more_body": True})
        if not more:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    def _end(self) -> None:
        self.over = True
        self._drop()

    def _merged(self, body: bytes) -> bytes:
        try:
            value: Any = json.loads(body)
        except ValueError:
            return body
        if not isinstance(value, dict):
            return body
        return json.dumps({**cast("dict[str, Any]", value), **(self._fault.merge or {})}).encode()

    def _merged_event(self, body: bytes) -> bytes:
        if self._fault.merge is None or not (body.startswith(_DATA) and body.endswith(_EVENT_END)):
            return body
        return _DATA + self._merged(body[len(_DATA) :]) + _EVENT_END
