"""The HTTP server: uvicorn on a real socket, in a thread of its own."""

from __future__ import annotations

import asyncio
import socket
import threading

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol


class Server:
    """Serves an ASGI application on an open listening socket until `stop`."""

    def __init__(self, app: ASGIApp, listener: socket.socket) -> None:
        config = uvicorn.Config(
            app, http=_Protocol, ws="none", lifespan="off", log_config=None, access_log=False, server_header=False
        )
        self._uvicorn = _Uvicorn(config)
        self._thread = threading.Thread(target=self._uvicorn.run, args=([listener],), name="fal-sandbox", daemon=True)

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
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            await super().startup(sockets)
        finally:
            self.ready.set()


class _Protocol(H11Protocol):
    """Lets the application reach its connection: a fault closes it without an answer, for which ASGI has no word."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.app_state = {**self.app_state, "transport": transport}
