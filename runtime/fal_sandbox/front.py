"""The front door: every request is written down here, and faults strike here, before any service sees it."""

from __future__ import annotations

import asyncio
from urllib.parse import parse_qs

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fal_sandbox.faults import Fault
from fal_sandbox.ledger import ReceivedRequest
from fal_sandbox.state import State

_WITHHELD = 1024
"""How many bytes of a cut-off body are announced and never sent."""


class Front:
    """The outermost ASGI application."""

    def __init__(self, app: ASGIApp, state: State) -> None:
        self._app = app
        self._state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        body = await _read(receive)
        request = ReceivedRequest(
            scope["method"],
            scope["path"],
            parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True),
            _headers(scope),
            body,
        )
        self._state.ledger.requests.append(request)
        fault = self._state.faults.take(request.method, request.path)
        if fault is None:
            return await self._app(scope, _replay(body, receive), send)
        await self._state.pulse.pause(fault.delay_seconds)
        if not fault.replaces:
            return await self._app(scope, _replay(body, receive), send)
        if fault.processed:
            await self._app(scope, _replay(body, receive), _discard)
        await _strike(fault, scope, receive, send)
        return None


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


async def _read(receive: Receive) -> bytes:
    chunks: list[bytes] = []
    while True:
        message = await receive()
        chunks.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(chunks)


def _replay(body: bytes, receive: Receive) -> Receive:
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return messages.pop() if messages else await receive()

    return replayed


async def _discard(message: Message) -> None:
    pass


def _headers(scope: Scope) -> dict[str, str]:
    headers: dict[str, str] = {}
    for raw_name, raw_value in scope["headers"]:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers
