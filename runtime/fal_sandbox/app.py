"""The ASGI application: one service under each prefix, the front door before them all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Mount, Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from fal_sandbox.bodies import json_response
from fal_sandbox.cdn import CdnService
from fal_sandbox.control import PREFIX, ControlService, is_own
from fal_sandbox.front import Front
from fal_sandbox.platform import PlatformService, SchemaService
from fal_sandbox.queue import QueueService
from fal_sandbox.realtime import RealtimeService
from fal_sandbox.rest import RestService
from fal_sandbox.run import RunService
from fal_sandbox.sockets import SocketHttpService
from fal_sandbox.state import State
from fal_sandbox.webpage import WebPage

if TYPE_CHECKING:
    from fal_sandbox.sandbox import Sandbox


class _Service(Protocol):
    def __init__(self, state: State) -> None: ...

    def routes(self) -> list[BaseRoute]: ...


_SERVICES: dict[str, type[_Service]] = {
    "/queue": QueueService,
    "/run": RunService,
    "/realtime": RealtimeService,
    "/ws": SocketHttpService,
    "/rest": RestService,
    "/cdn": CdnService,
    "/api/v1": PlatformService,
    "/schema": SchemaService,
}


def build(state: State, sandbox: Sandbox) -> ASGIApp:
    """The application that serves this state, and can be programmed as the sandbox can."""
    mounted = {prefix: service(state).routes() for prefix, service in _SERVICES.items()}
    page = WebPage(state)
    mounted[PREFIX] = [*page.routes(), *ControlService(sandbox).routes()]
    # A path with a stray slash would be answered by a redirect, which no service of the platform does.
    routes = [Mount(prefix, Router(routes, redirect_slashes=False)) for prefix, routes in mounted.items()]
    app = Starlette(
        routes=[Route("/", page.front_page, methods=["GET"]), *routes], exception_handlers={HTTPException: _http_error}
    )
    app.router.redirect_slashes = False

    async def answering(scope: Scope, receive: Receive, send: Send) -> None:
        # While a cassette is recorded or replayed, it stands in the services' place; the sandbox can still be controlled.
        tape = None if is_own(scope["path"]) else state.tape
        await (tape or app)(scope, receive, send)

    return Front(answering, state)


async def _http_error(request: Request, error: Exception) -> Response:
    status, detail = (error.status_code, error.detail) if isinstance(error, HTTPException) else (500, "")
    return json_response({"detail": detail}, status)
