"""The front door: every request is written down here, and faults strike here, before any service sees it."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
import time
from collections.abc import AsyncIterator, Iterator
from email.utils import formatdate
from urllib.parse import parse_qs, quote

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocket

from fal_sandbox.blobs import HELD_BYTES, Blob
from fal_sandbox.control import is_own
from fal_sandbox.faults import Fault
from fal_sandbox.ledger import ReceivedRequest
from fal_sandbox.state import State
from fal_sandbox.tampering import Tampered

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
        scope["path"] = self._path(scope)
        if scope["type"] == "websocket":
            return await self._serve_socket(scope, receive, send)
        if is_own(scope["path"]):
            # The sandbox is spoken to, not the platform.
            return await self._app(scope, receive, send)
        fault = self._state.faults.take(scope["method"], scope["path"])
        if fault is not None and fault.early:
            self._note(scope, Blob())
            await self._state.pulse.pause(fault.delay_seconds)
            return await _strike(fault, scope, receive, send)
        try:
            blob = await self._state.blobs.take(_incoming(receive))
        except _Gone:
            return None
        try:
            self._note(scope, blob)
            scope["state"]["blob"] = blob
            await self._serve(fault, _replay(blob, receive), scope, receive, send)
        finally:
            if scope["state"].get("kept") is not blob:
                self._state.blobs.drop(blob)
        return None

    def _path(self, scope: Scope) -> str:
        """The path with the prefix of its service, which it lacks at a port that only this service has."""
        port = (scope.get("server") or ("", 0))[1]
        prefix = next((prefix for prefix, url in self._state.hosts.items() if url.endswith(f":{port}")), "")
        path: str = prefix + scope["path"]
        if scope["type"] == "websocket" and path.startswith("/run/"):
            # On the platform these two services are one host.
            path = "/realtime" + path.removeprefix("/run")
        return path

    async def _serve(self, fault: Fault | None, replayed: Receive, scope: Scope, receive: Receive, send: Send) -> None:
        if fault is None:
            return await self._app(scope, replayed, send)
        scope["state"]["fault"] = fault
        await self._state.pulse.pause(fault.delay_seconds)
        if fault.replaces:
            if fault.processed:
                await self._app(scope, replayed, _discard)
            return await _strike(fault, scope, receive, send)
        if not fault.alters:
            return await self._app(scope, replayed, send)
        altered = Tampered(fault, send, self._state.pulse, lambda: _drop(scope, reset=fault.reset))
        await self._app(scope, replayed, altered)
        if altered.over:
            await _until_gone(receive)
        return None

    async def _serve_socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        # A refused handshake is an ordinary answer; what happens once it is open is the service's business.
        self._note({**scope, "method": "GET"}, Blob())
        fault = self._state.faults.take("GET", scope["path"])
        if fault is None:
            return await self._app(scope, receive, send)
        scope["state"]["fault"] = fault
        await self._state.pulse.pause(fault.delay_seconds)
        if fault.status is not None:
            refused = WebSocket(scope, receive, send)
            await receive()
            return await refused.send_denial_response(Response(fault.content(), fault.status, _told(fault, scope)))
        return await self._app(scope, receive, send)

    def _note(self, scope: Scope, blob: Blob) -> None:
        """Write a request down."""
        request = ReceivedRequest(
            scope["method"],
            scope["path"],
            parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True),
            _headers(scope),
            blob.read() if blob.size <= HELD_BYTES else blob.read(0, _HEAD_BYTES),
            blob.size,
        )
        self._state.ledger.requests.append(request)


async def _strike(fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
    if fault.status is not None:
        content = fault.content()
        headers = _told(fault, scope)
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
        _drop(scope, reset=fault.reset)
        await _until_gone(receive)


def _told(fault: Fault, scope: Scope) -> dict[str, str]:
    """The headers of a fault's own answer."""
    later = formatdate(time.time() + 1, usegmt=True)
    port = (scope.get("server") or ("", 0))[1]
    # The same server by another name is another origin, and what comes to it is written down as well.
    elsewhere = f"http://localhost:{port}{quote(scope['path'])}"
    told = {"content-type": fault.content_type()}
    for name, value in fault.headers.items():
        told[name.lower()] = value.replace("{later}", later).replace("{elsewhere}", elsewhere)
    return told


def _drop(scope: Scope, *, reset: bool) -> None:
    """End the connection: with what is still to be sent, or at once and with a reset."""
    transport: asyncio.Transport = scope["state"]["transport"]
    if not reset:
        transport.close()
        return
    # Without time to linger a socket is closed by a reset.
    linger = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    transport.abort()


async def _until_gone(receive: Receive) -> None:
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
