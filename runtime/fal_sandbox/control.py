"""The sandbox programmed over HTTP, for tests in other languages: what `Sandbox` offers, under `/sandbox`.

These requests need no key, are not written down, and no fault strikes them.
"""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, cast

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from fal_sandbox.bodies import BadBody, json_response, read_json
from fal_sandbox.fault_table import FAULTS
from fal_sandbox.faults import Fault

if TYPE_CHECKING:
    from fal_sandbox.sandbox import Sandbox

PREFIX = "/sandbox"

Operation = Callable[[dict[str, Any]], object]


def is_own(path: str) -> bool:
    """Whether a request with this path is for the sandbox itself, and none that the platform would get."""
    return path == "/" or path.startswith(f"{PREFIX}/")


class ControlService:
    """`/sandbox`: each operation takes an object of the same names as the method's arguments."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    def routes(self) -> list[BaseRoute]:
        """The service's routes."""
        reads: dict[str, Callable[[], object]] = {
            "/requests": lambda: [_request(one) for one in self._sandbox.requests],
            "/admitted": lambda: [_plain(asdict(one)) for one in self._sandbox.admitted],
            "/uploads": self._uploads,
            "/deliveries": lambda: [_plain(asdict(one)) for one in self._sandbox.deliveries],
            "/environment": self._sandbox.environment,
            "/faults": lambda: [
                {"name": name, "scope": one.scope, "meaning": one.meaning} for name, one in FAULTS.items()
            ],
        }
        writes: dict[str, Operation] = {
            "/respond": lambda given: self._sandbox.respond(**given),
            "/fail": self._fail,
            "/reset": lambda given: self._sandbox.reset(**given),
            "/clock": lambda given: self._sandbox.advance(given.pop("advance"), **given),
            "/webhooks/request": self._webhook,
            "/webhooks/rotate": lambda given: self._sandbox.rotate_webhook_key(**given),
            "/webhooks/redeliver": lambda given: self._sandbox.redeliver(**given),
        }
        return [
            *(Route(path, _reading(read), methods=["GET"]) for path, read in reads.items()),
            *(Route(path, _writing(write), methods=["POST"]) for path, write in writes.items()),
        ]

    def _fail(self, given: dict[str, Any]) -> None:
        fault, target = given.pop("fault"), given.pop("target", None)
        if isinstance(fault, dict):
            fault = Fault(**cast("dict[str, Any]", fault))
        self._sandbox.fail(fault, target, **given)

    def _webhook(self, given: dict[str, Any]) -> object:
        made = self._sandbox.webhook_request(**given)
        return {"headers": made.headers, "body": made.body.decode()}

    def _uploads(self) -> object:
        names = ("url", "file_name", "content_type", "size", "complete", "created_at", "lifecycle", "acl")
        return [{name: getattr(file, name) for name in names} for file in self._sandbox.uploads]


def _reading(read: Callable[[], object]) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        return json_response(read())

    return answer


def _writing(write: Operation) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        try:
            given: object = await read_json(request) if await request.body() else {}
            if not isinstance(given, dict):
                raise TypeError("an object is expected")
            return json_response(write(cast("dict[str, Any]", given)))
        except BadBody as error:
            return json_response({"detail": error.detail}, 422)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            # What these say is meant for whoever writes the test.
            return json_response({"detail": f"{type(error).__name__}: {error}"}, 422)

    return answer


def _request(received: Any) -> object:
    body: bytes = received.body
    told = {name: getattr(received, name) for name in ("method", "path", "query", "headers", "size")}
    return {**told, "body": body.decode("utf-8", "replace"), "body_base64": base64.b64encode(body).decode()}


def _plain(value: object) -> object:
    """The value with bytes as text, which JSON has not."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in cast("Mapping[object, object]", value).items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in cast("list[object]", value)]
    return value
