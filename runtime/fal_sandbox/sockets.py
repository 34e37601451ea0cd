"""HTTP over a websocket: requests one after another, each answer framed by a message at its start and its end.

Source: the `fal` package's own client.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from typing import Any

from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from fal_sandbox.auth import credentials
from fal_sandbox.bodies import BadBody, json_response, parse_json
from fal_sandbox.models import Outcome, Plan
from fal_sandbox.queue import answer
from fal_sandbox.run import find_route
from fal_sandbox.state import State
from fal_sandbox.streams import event


class SocketHttpService:
    """`/ws`, in place of ws.fal.run."""

    def __init__(self, state: State) -> None:
        self._state = state

    def routes(self) -> list[BaseRoute]:
        """The service's routes."""
        return [WebSocketRoute("/{path:path}", self._connect)]

    async def _connect(self, socket: WebSocket) -> None:
        path: str = socket.path_params["path"].strip("/")
        if credentials(socket, self._state.key) != "valid":
            return await socket.send_denial_response(json_response({"detail": "Authentication is required."}, 401))
        if find_route(self._state.models, path) is None:
            return await socket.send_denial_response(json_response({"detail": f'Application "{path}" not found'}, 404))
        await socket.accept()
        with contextlib.suppress(WebSocketDisconnect, OSError):
            while True:
                message = await socket.receive()
                if message["type"] == "websocket.disconnect":
                    return None
                await self._answer(socket, path, message.get("text") or message.get("bytes") or b"")

    async def _answer(self, socket: WebSocket, path: str, body: str | bytes) -> None:
        route = find_route(self._state.models, path)
        if route is None:
            await socket.close(1011)
            return
        endpoint, streaming = route
        begun, parts = time.monotonic(), list[Any]()
        jobs, models = self._state.jobs, self._state.models
        plan: Plan | None = None
        try:
            value = parse_json(body)
        except BadBody as error:
            request_id, outcome = jobs.new_request_id(), Outcome.of(422, {"detail": error.detail})
        else:
            job = jobs.admit_direct(endpoint, value)
            request_id, plan = job.request_id, job.plan
            outcome = await asyncio.to_thread(jobs.outcome, job)
            if streaming and outcome.status < 400:
                parts += await asyncio.to_thread(models.stream, plan, value, outcome)
        meta = {"request_id": request_id, "status": outcome.status}
        headers = {
            **outcome.headers,
            "content-type": plan.programme.stream_type if plan and parts else "application/json",
        }
        await socket.send_text(json.dumps({"type": "start", **meta, "headers": headers}))
        first_byte = time.monotonic() - begun
        if not parts:
            await socket.send_bytes(bytes(answer(outcome).body))
        for part in parts:
            await self._state.pulse.pause(plan.run_seconds / len(parts) if plan else 0.0)
            await socket.send_bytes(part if isinstance(part, bytes) else event(part))
        await socket.send_text(json.dumps({"type": "end", **meta, "time_to_first_byte_seconds": first_byte}))
