"""The direct service: one request, one answer, at once or as a stream. Source: fal docs, synchronous requests, streaming."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from fal_sandbox.auth import admits
from fal_sandbox.bodies import BadBody, json_response, read_json
from fal_sandbox.endpoints import EndpointId
from fal_sandbox.models import Models, Plan
from fal_sandbox.queue import answer, forced_outcome, unauthorized, unknown_application
from fal_sandbox.state import State
from fal_sandbox.streams import event, streamed

_STREAM = "/stream"
_METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


class RunService:
    """`/run`, in place of fal.run."""

    def __init__(self, state: State) -> None:
        self._state = state

    def routes(self) -> list[BaseRoute]:
        """The service's routes. An application chooses its own methods, so that all are let through."""
        return [Route("/{path:path}", self._run, methods=_METHODS)]

    async def _run(self, request: Request) -> Response:
        path: str = request.path_params["path"].strip("/")
        if not admits(self._state, request, path):
            return unauthorized(path)
        models = self._state.models
        route = find_route(models, path)
        if route is None:
            return unknown_application(path)
        endpoint, streaming = route
        if streaming and not models.streams(endpoint):
            return json_response({"detail": f"Path {_STREAM} not found"}, 404)
        try:
            value = await _input(request)
        except BadBody as error:
            return json_response({"detail": error.detail}, 422)
        jobs = self._state.jobs
        job = jobs.admit_direct(endpoint, value, forced=forced_outcome(request))
        outcome = await asyncio.to_thread(jobs.outcome, job)
        headers = {**outcome.headers, "x-fal-request-id": job.request_id}
        if streaming and outcome.status < 400:
            parts = await asyncio.to_thread(models.stream, job.plan, value, outcome)
            return streamed(self._parts(job.plan, parts), job.plan.programme.stream_type, headers)
        if outcome.status != 422:
            # An input that is refused is refused at once, before any work.
            await self._state.pulse.pause(job.plan.run_seconds)
        response = answer(outcome)
        response.headers.setdefault("x-fal-request-id", job.request_id)
        return response

    async def _parts(self, plan: Plan, parts: Sequence[Any]) -> AsyncIterator[bytes]:
        pause = plan.run_seconds / max(1, len(parts))
        for part in parts:
            await self._state.pulse.pause(pause)
            yield part if isinstance(part, bytes) else event(part)


def find_route(models: Models, path: str) -> tuple[EndpointId, bool] | None:
    """The endpoint that a path leads to, and whether to its stream."""
    if (endpoint := models.find(path)) is not None:
        return endpoint, path.endswith(_STREAM)
    endpoint = models.find(path.removesuffix(_STREAM)) if path.endswith(_STREAM) else None
    return None if endpoint is None else (endpoint, True)


async def _input(request: Request) -> Any:
    """The model's input: the body, or with GET the query. Source: the official JS client's `method` option."""
    if request.method != "GET":
        return await read_json(request)
    return {name: value for name, value in request.query_params.items() if name != "fal_jwt_token"}
