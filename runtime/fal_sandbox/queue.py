"""The queue service: submit, status, result, cancel. Source: fal docs, queue reference."""

from __future__ import annotations

import asyncio
import math
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from fal_sandbox.auth import credentials
from fal_sandbox.bodies import BadBody, json_response, read_json
from fal_sandbox.jobs import Job
from fal_sandbox.models import Outcome
from fal_sandbox.state import State

_MIN_START_TIMEOUT = 0.1
_LOGS_ON = frozenset({"1", "true", "1.0"})


class QueueService:
    """`/queue`, in place of queue.fal.run."""

    def __init__(self, state: State) -> None:
        self._state = state

    def routes(self) -> list[BaseRoute]:
        """The service's routes. Endpoint ids hold any number of slashes, so that paths are taken apart here."""
        return [Route("/{path:path}", self._dispatch, methods=["GET", "POST", "PUT"])]

    async def _dispatch(self, request: Request) -> Response:
        path: str = request.path_params["path"].strip("/")
        if credentials(request, self._state.key) != "valid":
            return unauthorized(path)
        app, mark, tail = path.rpartition("/requests/")
        request_id, _, action = tail.partition("/")
        if request.method == "POST" and not mark:
            return await self._submit(request, path)
        handlers = {("GET", ""): self._result, ("GET", "status"): self._status, ("PUT", "cancel"): self._cancel}
        if not mark or action not in ("", "status", "cancel"):
            return json_response({"detail": "Method Not Allowed" if not mark else "Not Found"}, 404 if mark else 405)
        handler = handlers.get((request.method, action))
        if handler is None:
            return json_response({"detail": "Method Not Allowed"}, 405)
        job = self._state.jobs.find(app, request_id)
        if job is None:
            return json_response({"status": "NOT_FOUND"}, 404)
        response = await handler(request, job)
        response.headers.setdefault("x-fal-request-id", job.request_id)
        return response

    async def _submit(self, request: Request, path: str) -> Response:
        endpoint = self._state.models.find(path)
        if endpoint is None:
            return unknown_application(path)
        try:
            start_timeout = _start_timeout(request)
        except ValueError:
            body = {"detail": "The start timeout must be a number of seconds above 0.1", "error_type": "bad_request"}
            return answer(Outcome.of(400, body))
        limit = request.query_params.get("fal_max_queue_length", "")
        if limit.isdecimal() and len(self._state.jobs.waiting(endpoint)) > int(limit[:9]):
            return json_response({"detail": "The queue of this endpoint is too long"}, 429)
        try:
            value = await read_json(request)
        except BadBody as error:
            return json_response({"detail": error.detail}, 422)
        job = self._state.jobs.admit(endpoint, value, start_timeout)
        accepted = {**self._urls(job), "status": "IN_QUEUE", "queue_position": self._state.jobs.position(job)}
        return json_response(accepted, headers={"x-fal-request-id": job.request_id})

    async def _status(self, request: Request, job: Job) -> Response:
        now = self._state.jobs.clock()
        state = job.state(now)
        body: dict[str, Any] = {"status": state, **self._urls(job), "logs": None}
        if request.query_params.get("logs", "").lower() in _LOGS_ON:
            body["logs"] = job.logs(now)
        if state == "IN_QUEUE":
            body["queue_position"] = self._state.jobs.position(job)
        if state == "COMPLETED":
            outcome = await asyncio.to_thread(self._state.jobs.outcome, job)
            body["metrics"] = {"inference_time": round(job.ends_at - job.starts_at, 6)}
            if outcome.error is not None:
                body["error"] = outcome.error
            if outcome.error_type is not None:
                body["error_type"] = outcome.error_type
        return json_response(body, 200 if state == "COMPLETED" else 202)

    async def _result(self, request: Request, job: Job) -> Response:
        if job.state(self._state.jobs.clock()) != "COMPLETED":
            return json_response({"detail": "Request is still in progress"}, 400)
        return answer(await asyncio.to_thread(self._state.jobs.outcome, job))

    async def _cancel(self, request: Request, job: Job) -> Response:
        state = job.state(self._state.jobs.clock())
        if state == "COMPLETED":
            return json_response({"status": "ALREADY_COMPLETED"}, 400)
        if state == "IN_QUEUE":
            self._state.jobs.cancel(job)
            return json_response({"status": "OK"})
        if job.cancellable:
            self._state.jobs.cancel(job)
        return json_response({"status": "CANCELLATION_REQUESTED"}, 202)

    def _urls(self, job: Job) -> dict[str, str]:
        base = f"{self._state.url}/queue/{job.endpoint.app}/requests/{job.request_id}"
        return {
            "request_id": job.request_id,
            "response_url": base,
            "status_url": f"{base}/status",
            "cancel_url": f"{base}/cancel",
        }


def answer(outcome: Outcome) -> Response:
    """A model's answer, as it gave it."""
    return json_response(outcome.body, outcome.status, outcome.headers)


def unauthorized(path: str) -> Response:
    """The gateway's refusal of a missing or wrong key."""
    return json_response({"detail": f'Cannot access application "{path}". Authentication is required.'}, 401)


def unknown_application(path: str) -> Response:
    """The gateway's answer for an endpoint that does not exist."""
    return json_response({"detail": f'Application "{path}" not found'}, 404)


def _start_timeout(request: Request) -> float | None:
    text = request.headers.get("x-fal-request-start-timeout", request.headers.get("x-fal-request-timeout"))
    if text is None:
        return None
    seconds = float(text)
    if not math.isfinite(seconds) or seconds <= _MIN_START_TIMEOUT:
        raise ValueError(text)
    return seconds
