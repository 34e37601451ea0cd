"""Realtime connections: one websocket, many inputs, an output for each.

Source: fal docs, real-time models; both official clients; the server in the `fal` package.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections import deque
from collections.abc import Iterator
from typing import Any, cast

import msgspec
from starlette.routing import BaseRoute, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from fal_sandbox.auth import admits
from fal_sandbox.bodies import json_response
from fal_sandbox.endpoints import EndpointId
from fal_sandbox.faults import Fault
from fal_sandbox.models import Outcome, Plan
from fal_sandbox.state import State

_MAX_BUFFERING = 60
_MAX_SECONDS = 0.05
"""How long an output takes at most unless a test says otherwise: these models are made to be quick."""


class RealtimeService:
    """`/realtime`, in place of the websockets of fal.run."""

    def __init__(self, state: State) -> None:
        self._state = state

    def routes(self) -> list[BaseRoute]:
        """The service's routes."""
        return [WebSocketRoute("/{path:path}", self._connect)]

    async def _connect(self, socket: WebSocket) -> None:
        path: str = socket.path_params["path"].strip("/")
        fault: Fault | None = socket.scope["state"].get("fault")
        if not admits(self._state, socket, path):
            await socket.accept()
            # The gateway's refusal comes as a message. Source: the official JS client.
            await _send_json(socket, {"status": "error", "error": "Unauthorized"})
            return await socket.close(1008)
        endpoint = self._find(path)
        if endpoint is None:
            answer = json_response({"detail": f'Application "{path}" not found'}, 404)
            return await socket.send_denial_response(answer)
        buffering = _buffering(socket.query_params.get("max_buffering"))
        if buffering is None:
            answer = json_response({"detail": f"max_buffering is from 1 to {_MAX_BUFFERING}"}, 400)
            return await socket.send_denial_response(answer)
        await socket.accept()
        if "x-app-fal-upload-policy" in socket.headers:
            return await socket.close(1011)
        with contextlib.suppress(WebSocketDisconnect, OSError):
            await _Session(self._state, socket, endpoint, buffering, fault).serve()
        return None

    def _find(self, path: str) -> EndpointId | None:
        """The endpoint whose path inside the application this is: `/realtime` mostly, or none."""
        return self._state.models.find(path) or self._state.models.find(path.rpartition("/")[0])


class _Failed(Exception):
    """The session is over; the text is the reason that the client is told."""


class _Session:
    """One connection: what has come in waits in a buffer, the oldest giving way when it is full."""

    def __init__(
        self, state: State, socket: WebSocket, endpoint: EndpointId, buffering: int, fault: Fault | None
    ) -> None:
        self._state = state
        self._socket = socket
        self._endpoint = endpoint
        self._fault = fault
        self._inputs: deque[Any] = deque(maxlen=buffering or None)
        self._came = asyncio.Event()
        self._answered = 0
        self._busy = False
        self._last = state.pulse.now()
        script = state.models.peek(endpoint)
        self._text = script.realtime_text
        self._script: Iterator[Any] = iter(script.realtime or ())
        timeout = script.session_timeout
        self._timeout = state.settings.session_timeout if timeout is None else timeout

    async def serve(self) -> None:
        """Answer until the client leaves, is silent for too long, or something goes wrong."""
        if await self._struck():  # before anything is taken in
            return
        tasks = [asyncio.create_task(work) for work in (self._read(), self._work(), self._watch())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            ended = next(task for task in tasks if task in done)
            ended.result()
            if ended is tasks[2]:
                await self._fail("TIMEOUT", "no inputs, reconnect when needed!")
        except _Failed as error:
            await self._fail("INTERNAL_ERROR", str(error))
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _read(self) -> None:
        """Take in until the client leaves."""
        while True:
            message = await self._socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            self._inputs.append(self._decoded(message))
            self._last = self._state.pulse.now()
            self._came.set()

    def _decoded(self, message: Any) -> Any:
        try:
            if message.get("bytes") is not None:
                return msgspec.msgpack.decode(message["bytes"], type=dict[str, Any])
            if self._text:
                return msgspec.json.decode(message["text"], type=dict[str, Any])
        except (msgspec.MsgspecError, RecursionError, ValueError) as error:
            raise _Failed(str(error)) from error
        raise _Failed("the input is not a binary frame")

    async def _work(self) -> None:
        while True:
            if not self._inputs:
                self._came.clear()
                await self._came.wait()
            self._busy = True
            value = self._inputs.popleft()
            await self._answer(value)
            self._answered += 1
            if await self._struck():
                return
            self._last = self._state.pulse.now()
            self._busy = False

    async def _answer(self, value: object) -> None:
        try:
            # What only msgpack can say is to the model what JSON says in its place: bytes are base64 text.
            plain = msgspec.to_builtins(value, str_keys=True)
        except (TypeError, ValueError, RecursionError) as error:
            raise _Failed(str(error)) from error
        job = self._state.jobs.admit_direct(self._endpoint, plain, service="realtime")
        plan = job.plan
        outcome = await asyncio.to_thread(self._state.jobs.outcome, job)
        if outcome.status >= 400:
            raise _Failed(_reason(outcome))
        seconds = _seconds(plan)
        await self._state.pulse.pause(seconds)
        output = next(self._script, outcome.body)
        if isinstance(output, str):
            await self._socket.send_text(output)
        elif isinstance(output, bytes):
            await self._socket.send_bytes(output)
        elif self._text:
            await _send_json(self._socket, output)
        else:
            await self._socket.send_bytes(msgspec.msgpack.encode(output))
        await _send_json(self._socket, {"type": "x-fal-message", "action": "timings", "timing": seconds})

    async def _struck(self) -> bool:
        """Let a fault happen once its time has come; whether that was the end."""
        fault = self._fault
        if fault is None or self._answered < fault.after_frames:
            return False
        if fault.frame is not None:
            await self._socket.send_text(fault.frame)
        if fault.disconnect:
            await asyncio.sleep(0)
            self._socket.scope["state"]["transport"].abort()
            return True
        if fault.close_code is None:
            return False
        await self._socket.close(fault.close_code)
        return True

    async def _watch(self) -> None:
        """Wait until nothing has come for too long."""
        pulse = self._state.pulse
        while True:
            due, now = self._last + self._timeout, pulse.now()
            if now >= due and not self._busy and not self._inputs:
                return
            if pulse.stopping:
                # The server closes the connection itself.
                await asyncio.Event().wait()
            await pulse.change(due if due > now else now + _MAX_SECONDS)

    async def _fail(self, code: str, reason: str) -> None:
        await _send_json(self._socket, {"type": "x-fal-error", "error": code, "reason": reason})
        await self._socket.close()


def _buffering(text: str | None) -> int | None:
    """How many inputs may wait, 0 for any number; None if the text is no such number."""
    if text is None:
        return 0
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 4 else 0
    return number if 1 <= number <= _MAX_BUFFERING else None


def _seconds(plan: Plan) -> float:
    return plan.run_seconds if plan.programme.run_seconds is not None else min(plan.run_seconds, _MAX_SECONDS)


def _reason(outcome: Outcome) -> str:
    body: object = outcome.body
    detail: object = cast("dict[str, object]", body).get("detail") if isinstance(body, dict) else None
    if isinstance(detail, list):
        errors = cast("list[dict[str, Any]]", detail)
        return "; ".join(f"{'.'.join(map(str, error['loc'][1:]))}: {error['msg']}" for error in errors)
    return str(detail or outcome.error)


async def _send_json(socket: WebSocket, value: object) -> None:
    await socket.send_text(json.dumps(value, separators=(",", ":")))
