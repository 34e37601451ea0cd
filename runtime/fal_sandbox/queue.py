"""The queue service: submit, status, status stream, result, cancel. Source: fal docs, queue reference."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from fal_sandbox.auth import credentials
from fal_sandbox.bodies import BadBody, json_response, read_json
from fal_sandbox.faults import Fault
from fal_sandbox.jobs import Job
from fal_sandbox.models import Outcome
from fal_sandbox.state import State
from fal_sandbox.streams import event, streamed

_MIN_START_TIMEOUT = 0.1
_LOGS_ON = frozenset({"1", "true", "1.0"})
_POSITION_SECONDS = 0.1
"""How long a stream waits at least before it tells of a new position and nothing else."""


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
        if not mark:
            return json_response({"detail": "Method Not Allowed"}, 405)
        handlers = {
            "": ("GET", self._result),
            "status": ("GET", self._status),
            "status/stream": ("GET", self._status_stream),
            "cancel": ("PUT", self._cancel),
        }
        if action not in handlers:
            return json_response({"detail": "Not Found"}, 404)
        method, handler = handlers[action]
        if request.method != method:
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
        if limit.isdecimal() and self._state.jobs.waiting(endpoint) > int(limit[:9]):
            return json_response({"detail": "The queue of this endpoint is too long"}, 429)
        try:
            value = await read_json(request)
        except BadBody as error:
            return json_response({"detail": error.detail}, 422)
        job = self._state.jobs.admit(
            endpoint,
            value,
            start_timeout=start_timeout,
            low=request.headers.get("x-fal-queue-priority", "").lower() == "low",
            webhook_url=request.query_params.get("fal_webhook"),
            forced=forced_outcome(request),
        )
        if job.webhook_url is not None:
            self._state.spawn(self._state.webhooks.follow(job))
        accepted = {**self._urls(job), "status": "IN_QUEUE", "queue_position": self._state.jobs.position(job)}
        return json_response(accepted, headers={"x-fal-request-id": job.request_id})

    async def _status(self, request: Request, job: Job) -> Response:
        now = self._state.pulse.now()
        body = await self._status_body(job, now)
        if _wants_logs(request):
            # A poll shows a window that moves on, not all since the beginning. Source: the `fal` package's own client.
            body["logs"] = job.logs(min(now, job.ends_at) - self._state.settings.log_window, now)
        return json_response(body, 200 if body["status"] == "COMPLETED" else 202)

    async def _status_stream(self, request: Request, job: Job) -> Response:
        return streamed(self._events(job, _wants_logs(request)))

    async def _events(self, job: Job, logs: bool) -> AsyncIterator[bytes]:
        """The status whenever it changes, each time with the log lines that are new. Source: the official JS client."""
        jobs, pulse = self._state.jobs, self._state.pulse
        told: tuple[str, int] | None = None
        told_at, logged_until = -math.inf, -math.inf
        prepared = False
        while not pulse.stopping:
            now = pulse.now()
            status = (job.state(now), jobs.position(job))
            new = job.logs(logged_until, now) if logs else []
            quiet_until = told_at + _POSITION_SECONDS if told is not None and told[0] == status[0] else -math.inf
            if new or (status != told and now >= quiet_until):
                body = await self._status_body(job, now)
                told, told_at, logged_until = status, now, now
                yield event({**body, "logs": new if logs else None})
                if status[0] == "COMPLETED":
                    return
            elif status[0] == "IN_PROGRESS" and not prepared:
                # Ahead of time, so that the end can be told of the moment it comes.
                await asyncio.to_thread(jobs.outcome, job)
                prepared = True
            else:
                # Only here, right after a look that found nothing: what happens during any other wait is seen by a look.
                change = jobs.next_change(job, now, logs=logs)
                await pulse.change(change if status == told else min(change, quiet_until))

    async def _status_body(self, job: Job, now: float) -> dict[str, Any]:
        state = job.state(now)
        body: dict[str, Any] = {"status": state, **self._urls(job), "logs": None}
        if state == "IN_QUEUE":
            body["queue_position"] = self._state.jobs.position(job)
        if state == "COMPLETED":
            outcome = await self._outcome(job)
            body["metrics"] = {"inference_time": round(job.ends_at - job.starts_at, 6)}
            if outcome.error is not None:
                body["error"] = outcome.error
            if outcome.error_type is not None:
                body["error_type"] = outcome.error_type
        return body

    async def _outcome(self, job: Job) -> Outcome:
        known = job.forced or job.outcome
        return known if known is not None else await asyncio.to_thread(self._state.jobs.outcome, job)

    async def _result(self, request: Request, job: Job) -> Response:
        now = self._state.pulse.now()
        if job.state(now) != "COMPLETED":
            return json_response({"detail": "Request is still in progress"}, 400)
        response = answer(await self._outcome(job))
        if now >= self._state.jobs.kept_until(job, len(response.body)):
            return json_response({"detail": "The result of this request is no longer kept"}, 404)
        return response

    async def _cancel(self, request: Request, job: Job) -> Response:
        state = job.state(self._state.pulse.now())
        if state == "COMPLETED":
            return json_response({"status": "ALREADY_COMPLETED"}, 400)
        if state == "IN_QUEUE":
            self._state.jobs.cancel(job)
            return json_response({"status": "OK"})
        if job.plan.programme.cancellable:
            self._state.jobs.cancel(job)
        return json_response({"status": "CANCELLATION_REQUESTED"}, 202)

    def _urls(self, job: Job) -> dict[str, str]:
        base = f"{self._state.service_url('queue')}/{job.endpoint.app}/requests/{job.request_id}"
        return {
            "request_id": job.request_id,
            "response_url": base,
            "status_url": f"{base}/status",
            "cancel_url": f"{base}/cancel",
        }


def answer(outcome: Outcome) -> Response:
    """A model's answer, as it gave it: bytes as they are, anything else as JSON."""
    headers = {"x-fal-served-from": "sandbox", **outcome.headers}
    if isinstance(outcome.body, bytes):
        return Response(outcome.body, outcome.status, {"content-type": "application/octet-stream", **headers})
    return json_response(outcome.body, outcome.status, headers)


def forced_outcome(request: Request) -> Outcome | None:
    """What a fault lets the request come to."""
    fault: Fault | None = getattr(request.state, "fault", None)
    if fault is None or fault.outcome_status is None:
        return None
    return Outcome.of(fault.outcome_status, fault.outcome_body)


def unauthorized(path: str) -> Response:
    """The gateway's refusal of a missing or wrong key."""
    return json_response({"detail": f'Cannot access application "{path}". Authentication is required.'}, 401)


def unknown_application(path: str) -> Response:
    """The gateway's answer for an endpoint that does not exist."""
    return json_response({"detail": f'Application "{path}" not found'}, 404)


def _wants_logs(request: Request) -> bool:
    return request.query_params.get("logs", "").lower() in _LOGS_ON


def _start_timeout(request: Request) -> float | None:
    text = request.headers.get("x-fal-request-start-timeout", request.headers.get("x-fal-request-timeout"))
    if text is None:
        return None
    seconds = float(text)
    if not math.isfinite(seconds) or seconds <= _MIN_START_TIMEOUT:
        raise ValueError(text)
    return seconds
