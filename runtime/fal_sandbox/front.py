"""The front door: every request is written down here, and faults strike here, before any service sees it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from urllib.parse import parse_qs

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from fal_sandbox.blobs import HELD_BYTES, Blob
from fal_sandbox.faults import Fault
from fal_sandbox.ledger import ReceivedRequest
from fal_sandbox.state import State

_WITHHELD = 1024
"""How many bytes of a cut-off body are announced and never sent."""
_HEAD_BYTES = 4096
"""How much of a large body is written down."""


class _Gone(Exception):
    """The client has left in the middle of its request."""


class Front:
    """The outermost ASGI application."""

    def __init__(self, app: ASGIApp, state: State) -> None:
        self._app = app
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "websocket":
            return await self._serve_socket(scope, receive, send)
        try:
            blob = await self._state.blobs.take(_incoming(receive))
        except _Gone:
            return None
        try:
            await self._serve(blob, scope, receive, send)
        finally:
            if scope["state"].get("kept") is not blob:
                self._state.blobs.drop(blob)
        return None

    async def _serve_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        # A refused handshake is an ordinary answer; what happens once it is open is the service's business.
        fault = self._note({**scope, "method": "GET"}, Blob())
        if fault is None:
            return await self._app(scope, receive, send)
        await self._state.pulse.pause(fault.delay_seconds)
        scope["state"]["fault"] = fault
        if fault.status is not None:
            socket = WebSocket(scope, receive, send)
            await receive()
            return await socket.send_denial_response(
                Response(fault.content(), fault.status, {"content-type": fault.content_type(), **fault.headers})
            )
        return await self._app(scope, receive, send)

    def _note(self, scope: Scope, blob: Blob) -> Fault | None:
        """Write a request down; what goes wrong with it is returned."""
        request = ReceivedRequest(
            scope["method"],
            scope["path"],
            parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True),
            _headers(scope),
            blob.read() if blob.size <= HELD_BYTES else blob.read(0, _HEAD_BYTES),
            blob.size,
        )
        self._state.ledger.requests.append(request)
        return self._state.faults.take(request.method, request.path)

    async def _serve(self, blob: Blob, scope: Scope, receive: Receive, send: Send) -> None:
        scope["state"]["blob"] = blob
        fault = self._note(scope, blob)
        if fault is not None:
            await self._state.pulse.pause(fault.delay_seconds)
            if fault.replaces:
                if fault.processed:
                    await self._app(scope, _replay(blob, receive), _discard)
                return await _strike(fault, scope, receive, send)
        return await self._app(scope, _replay(blob, receive), send)


async def _strike(fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
    if fault.status is not None:
        content = fault.content()
        headers = {
            "content-type": fault.content_type(),
            **{name.lower(): value for name, value in fault.headers.items()},
        }
        headers["content-length"] = str(len(content) + (_WITHHELD if fault.disconnect else 0))
        await send(
            {
                "type": "http.response.start",
                "status": fault.status,
                "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()],
            }
        )
        await send({"type": "http.response.body", "body": content, "more_body": fault.disconnect})
    if fault.disconnect or fault.status is None:
        transport: asyncio.Transport = scope["state"]["transport"]
        transport.close()
        # The server takes a return before the connection is gone for a bug of the application.
        while (await receive())["type"] != "http.disconnect":
            pass


async def _incoming(receive: Receive) -> AsyncIterator[bytes]:
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Gone
        more = message.get("more_body", False)
        yield message.get("body", b"")


def _replay(blob: Blob, receive: Receive) -> Receive:
    chunks: Iterator[bytes] = blob.chunks()
    left = blob.size
    begun = False

    async def replayed() -> Message:
        nonlocal left, begun
        if begun and not left:
            return await receive()
        begun = True
        chunk = next(chunks, b"")
        left -= len(chunk)
        return {"type": "http.request", "body": chunk, "more_body": left > 0}

    return replayed


async def _discard(message: Message) -> None:
    pass


def _headers(scope: Scope) -> dict[str, str]:
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers
