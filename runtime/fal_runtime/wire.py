"""How a websocket to an endpoint is opened: where, and with what right. Source of the wire facts: fal docs, "Real-time
models" page, and the official clients.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Literal, TypedDict
from urllib.parse import urlencode, urlsplit

import msgspec

from fal_runtime.client import Channel, Client, blocking, running, successful
from fal_runtime.errors import FalError, NoConnectionError, OutputError, error_from_response
from fal_runtime.options import check
from fal_runtime.queue import EndpointId
from fal_runtime.retry import Deadline
from fal_runtime.sockets import Crew, Refused, Socket, Tasks, Threads
from fal_runtime.transport import NotSent, drive
from fal_runtime.values import json_or_none, mapping

if TYPE_CHECKING:
    from websockets.asyncio.client import ClientConnection as AsyncSocket
    from websockets.sync.client import ClientConnection as BlockingSocket

__all__ = ["OPEN_WITHIN", "Wire", "WireOptions", "websocket", "websocket_async"]

OPEN_WITHIN = 90.0
"""Seconds for opening a connection, new attempts included: a runner may have to start. The official clients' value."""


class WireOptions(TypedDict, total=False):
    """The options that concern how a websocket is opened."""

    client: Client
    """The client to use. Default: the one of `configure`, or one made from the environment."""
    path: str
    """The path of the endpoint's route. Default: `/realtime`, or none for `websocket`. An id that ends with it is not made
    longer."""
    max_buffering: int
    """How many inputs the server keeps waiting, 1 to 60; it drops older ones. Default: the server's."""
    key_in_header: bool
    """Send the key itself with the handshake, in place of a short-lived token. Default: False."""
    token_provider: Callable[[str], str | Awaitable[str]]
    """Called with the endpoint's id and path for a token. Default: one is fetched from the platform with the key."""
    token_expiration: int
    """For how many seconds a token is good; it is renewed before. Default: 120."""
    token_endpoint: Literal["/tokens/", "/tokens/realtime"]
    """Who gives the token: for the whole application (default), or for the endpoint's one path."""


class Wire:
    """How one endpoint's sockets are opened: where, and with what right."""

    def __init__(self, channel: Channel, crew: Crew, endpoint_id: str, path: str, options: WireOptions) -> None:
        id_ = EndpointId(endpoint_id)
        path = f"/{path.strip('/')}" if path.strip("/") else ""
        self.app = id_.text if id_.text.endswith(path) else id_.text + path
        self._channel = channel
        self._crew = crew
        self._alias = id_.app.rpartition("/")[2]
        self._about: dict[str, Any] = {"endpoint_id": endpoint_id}
        self._in_header = options.get("key_in_header", False)
        self._provider = options.get("token_provider")
        self._scope = options.get("token_endpoint", "/tokens/")
        self.seconds = options.get("token_expiration", 120)
        self._buffering = options.get("max_buffering")
        self._lock = crew.lock()
        self._token: str | None = None
        self._fetched = 0.0

    def renewal(self) -> float | None:
        """Seconds until the token is to be renewed, at nine tenths of its life; `None` if there is none."""
        if self._token is None:
            return None
        return self._fetched + 0.9 * self.seconds - time.monotonic()

    def forget(self) -> None:
        """Have the next socket opened with a new token."""
        self._token = None

    async def renew(self, deadline: Deadline | None = None) -> str:
        """Fetch a token. Raises what `Channel.call` raises, and the error that a refusal stands for."""
        asked = time.monotonic()
        if self._provider is not None:
            token = await self._channel.io.invoke(self._provider, self.app)
        else:
            allowed: dict[str, Any] = {"allowed_apps": [self._alias], "token_expiration": self.seconds}
            if self._scope == "/tokens/realtime":
                allowed = {"allowed_apps": [self.app], "duration": self.seconds}
            url, body = self._channel.client.urls["rest"] + self._scope, msgspec.json.encode(allowed)
            call = self._channel.call("read", "POST", url, body=body, deadline=deadline, **self._about)
            token = _token(successful(await call, **self._about).body)
        if not isinstance(token, str) or not token:
            source = "token_provider" if self._provider is not None else "the platform"
            raise OutputError(f"{source} gave no token", **self._about)
        self._token, self._fetched = token, asked
        return token

    async def dial(self, deadline: Deadline) -> Socket:
        """Open a socket; once more with a new token if an older one is refused.

        Raises:
            NoConnectionError: if the server cannot be reached.
            AuthenticationError, ServiceError: if it refuses.
        """
        known = not self._in_header and (self.renewal() or 0.0) > 0.0
        try:
            return await self._dial(deadline)
        except FalError as error:
            if error.status_code not in (401, 403):
                raise
            self.forget()
            if not known:
                raise
        return await self._dial(deadline)

    async def _dial(self, deadline: Deadline) -> Socket:
        client = self._channel.client
        headers, query = dict(client.headers), dict[str, Any]()
        if self._in_header:
            headers["authorization"] = client.authorization() or ""
        else:
            async with self._lock:
                valid = (self.renewal() or 0.0) > 0.0
                query["fal_jwt_token"] = self._token if valid else await self.renew(deadline)
        if self._buffering is not None:
            query["max_buffering"] = self._buffering
        base = client.urls["realtime"]
        base = base.replace("http", "ws", 1) if base.startswith("http") else base
        url = f"{base}/{self.app}" + (f"?{urlencode(query)}" if query else "")
        try:
            return await self._crew.connect(url, headers, deadline.within(client.timeouts.attempt))
        except NotSent as error:
            text = f"no websocket could be opened at {urlsplit(base).netloc} ({error})"
            raise NoConnectionError(text, **self._about) from error.__cause__
        except Refused as error:
            answer = error.response
            raise error_from_response(answer.status, answer.headers, answer.body, **self._about) from None


def _token(body: bytes) -> Any:
    """Read a token, as the platform and proxies in front of it write it."""
    answer = json_or_none(body)
    fields = mapping(answer)
    return answer if isinstance(answer, str) else fields.get("token") or fields.get("detail")


async def _raw(channel: Channel, crew: Crew, endpoint_id: str, options: WireOptions) -> Any:
    check(options, WireOptions, endpoint_id=endpoint_id)
    given: Any = {name: option for name, option in options.items() if option is not None}
    socket: Any = await Wire(channel, crew, endpoint_id, given.get("path", ""), given).dial(Deadline(OPEN_WITHIN))
    return socket.raw


def websocket(endpoint_id: str, options: WireOptions) -> BlockingSocket:
    """Open a websocket of the library's own kind. Raises what `Wire.dial` does."""
    raw: BlockingSocket = drive(_raw(blocking(options.get("client")), Threads(), endpoint_id, options))
    return raw


async def websocket_async(endpoint_id: str, options: WireOptions) -> AsyncSocket:
    """Open a websocket of the library's own kind, as `websocket` does."""
    raw: AsyncSocket = await _raw(running(options.get("client")), Tasks(), endpoint_id, options)
    return raw
