"""What the Platform API tells an account: prices, what was run and what it cost, and who may read its files.

Source: fal docs, Platform API. The prices are invented and all alike.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from typing import Any, cast

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from fal_sandbox.auth import credentials
from fal_sandbox.bodies import BadBody, json_response, read_json
from fal_sandbox.cdn import signed
from fal_sandbox.jobs import Job
from fal_sandbox.models import Outcome
from fal_sandbox.pages import BadQuery, failure, page, several
from fal_sandbox.state import State
from fal_sandbox.storage import BadUpload, StoredFile, checked_acl, checked_lifecycle

Handler = Callable[[Request], Awaitable[Response]]

UNIT_PRICE = 0.01
"""What a unit of anything costs here, in US dollars."""

_CURRENCY = "USD"
_MAX_EVENTS = 10_000
_MAX_RUNS, _USUAL_RUNS = 100, 50
_MAX_SIGNED_SECONDS = 604_800
_STATUSES = {"success": range(200, 400), "user_error": range(400, 500), "error": range(500, 600)}


class _Missing(Exception):
    """Something that was asked for by name, and is not there."""


class AccountService:
    """A part of `/api/v1`. All of it needs the key but `/meta`."""

    def __init__(self, state: State) -> None:
        self._state = state

    def routes(self) -> list[BaseRoute]:
        """The service's routes."""
        handlers: list[tuple[str, str, Handler]] = [
            ("GET", "/models/pricing", self._pricing),
            ("POST", "/models/pricing/estimate", self._estimate),
            ("GET", "/models/billing-events", self._billing_events),
            ("GET", "/models/requests/by-endpoint", self._requests),
            ("GET", "/storage/files/acl", self._acl),
            ("PUT", "/storage/files/acl", self._set_acl),
            ("POST", "/storage/files/sign", self._sign),
            ("GET", "/storage/settings", self._settings),
            ("PUT", "/storage/settings", self._set_settings),
        ]
        return [
            Route("/meta", self._meta, methods=["GET"]),
            *(Route(path, self._keyed(handler), methods=[method]) for method, path, handler in handlers),
        ]

    def _keyed(self, handler: Handler) -> Handler:
        async def checked(request: Request) -> Response:
            if credentials(request, self._state.key) != "valid":
                return failure(401, "authorization_error", "A valid key is needed")
            try:
                return await handler(request)
            except (BadQuery, BadUpload) as error:
                return failure(400, "validation_error", str(error))
            except BadBody:
                return failure(400, "validation_error", "The body is not JSON")
            except _Missing as error:
                return failure(404, "not_found", str(error))

        return checked

    async def _meta(self, request: Request) -> Response:
        return json_response({"webhook_ip_ranges": ["127.0.0.0/8"]})

    async def _pricing(self, request: Request) -> Response:
        endpoint_ids = several(request.query_params, "endpoint_id")
        if not endpoint_ids:
            raise BadQuery("endpoint_id is needed")
        for endpoint_id in endpoint_ids:
            self._known(endpoint_id)
        prices = [
            {"endpoint_id": endpoint_id, "unit_price": UNIT_PRICE, "unit": "units", "currency": _CURRENCY}
            for endpoint_id in endpoint_ids
        ]
        return json_response({"prices": prices, "next_cursor": None, "has_more": False})

    async def _estimate(self, request: Request) -> Response:
        body = _object(await read_json(request))
        kinds = {"historical_api_price": "call_quantity", "unit_price": "unit_quantity"}
        kind, endpoints = body.get("estimate_type"), body.get("endpoints")
        if not isinstance(kind, str) or kind not in kinds or not isinstance(endpoints, dict) or not endpoints:
            raise BadQuery(f"An estimate has an estimate_type ({', '.join(kinds)}) and endpoints")
        total = 0.0
        for endpoint_id, wanted in cast("dict[str, object]", endpoints).items():
            quantity = _object(wanted).get(kinds[kind])
            if isinstance(quantity, bool) or not isinstance(quantity, int | float) or quantity <= 0:
                raise BadQuery(f"{kinds[kind]} of {endpoint_id} must be a positive number")
            self._known(endpoint_id)
            total += UNIT_PRICE * quantity
        return json_response({"estimate_type": kind, "total_cost": round(total, 9), "currency": _CURRENCY})

    def _known(self, endpoint_id: str) -> None:
        if self._state.models.find(endpoint_id) is None:
            raise _Missing(f"No such endpoint: {endpoint_id}")

    async def _billing_events(self, request: Request) -> Response:
        query = request.query_params
        request_ids = several(query, "request_id")
        done = [
            (job, outcome) for job, outcome in self._done(request) if not request_ids or job.request_id in request_ids
        ]
        shown, rest = page(done, query, _MAX_EVENTS)
        return json_response({"billing_events": [_billing_event(job, outcome) for job, outcome in shown], **rest})

    async def _requests(self, request: Request) -> Response:
        query = request.query_params
        status, order = query.get("status"), query.get("sort_by", "ended_at")
        if not several(query, "endpoint_id"):
            raise BadQuery("endpoint_id is needed")
        if (status is not None and status not in _STATUSES) or order not in ("ended_at", "duration"):
            raise BadQuery("status is success, error or user_error, and sort_by ended_at or duration")
        done = [
            (job, outcome)
            for job, outcome in self._done(request)
            if (status is None or outcome.status in _STATUSES[status])
            and query.get("request_id") in (None, job.request_id)
        ]
        done.sort(key=lambda one: one[0].ends_at - (one[0].starts_at if order == "duration" else 0.0), reverse=True)
        shown, rest = page(done, query, _MAX_RUNS, _USUAL_RUNS)
        payloads = "payloads" in several(query, "expand")
        return json_response({"items": [_run(job, outcome, payloads) for job, outcome in shown], **rest})

    def _done(self, request: Request) -> Iterator[tuple[Job, Outcome]]:
        """What has been run of the endpoints and in the time that the query names, oldest first."""
        query = request.query_params
        endpoint_ids = several(query, "endpoint_id")
        start, end = _moment(query.get("start")), _moment(query.get("end"))
        now = self._state.pulse.now()
        for job in self._state.jobs.all():
            wanted = not endpoint_ids or str(job.endpoint) in endpoint_ids
            timely = (start is None or start <= job.ends_at) and (end is None or job.ends_at < end)
            if wanted and timely and job.state(now) == "COMPLETED":
                yield job, self._state.jobs.outcome(job)

    async def _acl(self, request: Request) -> Response:
        return json_response(_whole_acl(self._file(request).acl))

    async def _set_acl(self, request: Request) -> Response:
        file = self._file(request)
        file.acl = checked_acl(_object(await read_json(request)))
        return json_response(_whole_acl(file.acl))

    async def _sign(self, request: Request) -> Response:
        file, seconds = self._file(request), _object(await read_json(request)).get("expiration_seconds")
        if type(seconds) is not int or not 1 <= seconds <= _MAX_SIGNED_SECONDS:
            raise BadQuery(f"expiration_seconds is an integer from 1 to {_MAX_SIGNED_SECONDS}")
        return json_response({"signed_url": signed(self._state, file.url, seconds)})

    def _file(self, request: Request) -> StoredFile:
        url = request.query_params.get("url", "")
        file = self._state.storage.find(url.removeprefix(self._state.cdn_url("")))
        if file is None:
            raise _Missing("There is no such file")
        return file

    async def _settings(self, request: Request) -> Response:
        kept = self._state.storage.default_lifecycle
        return json_response({name: kept.get(name) for name in ("expiration_duration_seconds", "initial_acl")})

    async def _set_settings(self, request: Request) -> Response:
        self._state.storage.default_lifecycle = checked_lifecycle(_object(await read_json(request)))
        return await self._settings(request)


def _billing_event(job: Job, outcome: Outcome) -> dict[str, Any]:
    units = float(outcome.headers.get("x-fal-billable-units", "1"))
    cost = round(UNIT_PRICE * units, 9)
    return {
        "request_id": job.request_id,
        "endpoint_id": str(job.endpoint),
        "timestamp": _written(job.ends_at),
        "output_units": units,
        "unit_price": UNIT_PRICE,
        "percent_discount": None,
        "cost_subtotal": cost,
        "cost_discount": 0,
        "cost_total": cost,
        "cost_estimate_nano_usd": round(cost * 1e9),
    }


def _run(job: Job, outcome: Outcome, payloads: bool) -> dict[str, Any]:
    told = {
        "request_id": job.request_id,
        "endpoint_id": str(job.endpoint),
        "sent_at": _written(job.sent_at),
        "started_at": _written(job.starts_at),
        "ended_at": _written(job.ends_at),
        "status_code": outcome.status,
        "duration": round(job.ends_at - job.starts_at, 6),
    }
    output = None if isinstance(outcome.body, bytes) else outcome.body
    return {**told, "json_input": job.input, "json_output": output} if payloads else told


def _whole_acl(acl: dict[str, Any]) -> dict[str, Any]:
    return {"default": acl.get("default", "allow"), "rules": acl.get("rules") or []}


def _object(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise BadQuery("An object is expected")
    return cast("dict[str, Any]", value)


def _moment(text: str | None) -> float | None:
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (OverflowError, ValueError) as error:
        raise BadQuery(f"{text[:40]!r} is neither a date nor a moment") from error


def _written(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
