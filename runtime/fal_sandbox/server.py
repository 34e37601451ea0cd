"""The HTTP server: uvicorn on a real socket, in a thread of its own."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import uvicorn
from starlette.types import ASGIApp

if TYPE_CHECKING:
    from uvicorn.protocols.http.h11_impl import H11Protocol as HttpProtocol
else:
    try:
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol as HttpProtocol
    except ModuleNotFoundError:
        from uvicorn.protocols.http.h11_impl import H11Protocol as HttpProtocol


_BACKLOG = 2048
_MAX_FRAME = 64 * 2**20


class Server:
    """Serves an ASGI application on open listening sockets until `stop`.

    Args:
        app: the application.
        listeners: the sockets.
        on_start: told the loop that everything runs on, before the first request.
    """

    def __init__(
        self, app: ASGIApp, listeners: list[socket.socket], on_start: Callable[[asyncio.AbstractEventLoop], None]
    ) -> None:
        config = uvicorn.Config(
            app,
            http=_Protocol,
            ws="websockets-sansio",
            ws_max_size=_MAX_FRAME,
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            backlog=_BACKLOG,
        )
        self._uvicorn = _Uvicorn(config, on_start)
        self._thread = threading.Thread(target=self._uvicorn.run, args=(listeners,), name="fal-sandbox", daemon=True)

    def start(self) -> None:
        """Start, and return when requests are answered."""
        self._thread.start()
        self._uvicorn.ready.wait()

    def wait(self, timeout: float) -> bool:
        """Wait at most so many seconds for the end; whether it has come."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def stop(self) -> None:
        """Finish what is being answered, close every connection and the socket."""
        self._uvicorn.should_exit = True
        self._thread.join()


class _Uvicorn(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, on_start: Callable[[asyncio.AbstractEventLoop], None]) -> None:
        super().__init__(config)
        self._on_start = on_start
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            self._on_start(asyncio.get_running_loop())
            await super().startup(sockets)
        finally:
            self.ready.set()


class _Protocol(HttpProtocol):
    """Lets the application reach its connection: a fault closes it without an answer, for which ASGI has no word."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}
