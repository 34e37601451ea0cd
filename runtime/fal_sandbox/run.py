"""The direct run service: one request, one answer. Source: fal docs, synchronous requests."""

from __future__ import annotations

import asyncio

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from fal_sandbox.auth import credentials
from fal_sandbox.bodies import BadBody, json_response, read_json
from fal_sandbox.ledger import AdmittedJob
from fal_sandbox.queue import answer, unauthorized, unknown_application
from fal_sandbox.state import State


class RunService:
    """`/run`, in place of fal.run."""

    def __init__(self, state: State) -> None:
        self._state = state

    def routes(self) -> list[BaseRoute]:
        """The service's routes."""
        return [Route("/{path:path}", self._run, methods=["POST"])]

    async def _run(self, request: Request) -> Response:
        path: str = request.path_params["path"].strip("/")
        if credentials(request, self._state.key) != "valid":
            return unauthorized(path)
        models = self._state.models
        endpoint = models.find(path)
        if endpoint is None:
            return unknown_application(path)
        try:
            value = await read_json(request)
        except BadBody as error:
            return json_response({"detail": error.detail}, 422)
        request_id = self._state.jobs.new_request_id()
        self._state.ledger.admitted.append(AdmittedJob(request_id, str(endpoint), value, "run"))
        outcome = await asyncio.to_thread(models.run, endpoint, value)
        if outcome.status != 422:
            # An input that is refused is refused at once, before any work.
            await self._state.pause(models.run_seconds(endpoint))
        response = answer(outcome)
        response.headers.setdefault("x-fal-request-id", request_id)
        return response
