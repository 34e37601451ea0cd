"""The sandbox programmed over HTTP, for tests in other languages: what `Sandbox` offers, under `/sandbox`.

These requests need no key, are not written down, and no fault strikes them.
"""

from __future__ import annotations

import base64
import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar, cast, get_args, get_type_hints

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from fal_sandbox.bodies import BadBody, json_response, parse_json
from fal_sandbox.fault_table import FAULTS
from fal_sandbox.faults import Fault

if TYPE_CHECKING:
    from fal_sandbox.sandbox import Sandbox

PREFIX = "/sandbox"

Operation = Callable[[dict[str, Any]], object]
T = TypeVar("T")


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
            "/respond": lambda given: _call(self._sandbox.respond, given),
            "/fail": self._fail,
            "/reset": lambda given: _call(self._sandbox.reset, given),
            "/clock": lambda given: _call(self._clock, given),
            "/webhooks/request": self._webhook,
            "/webhooks/rotate": lambda given: _call(self._sandbox.rotate_webhook_key, given),
            "/webhooks/redeliver": lambda given: _call(self._sandbox.redeliver, given),
        }
        return [
            *(Route(path, _reading(read), methods=["GET"]) for path, read in reads.items()),
            *(Route(path, _writing(write), methods=["POST"]) for path, write in writes.items()),
        ]

    def _clock(self, advance: float) -> None:
        self._sandbox.advance(advance)

    def _fail(self, given: dict[str, Any]) -> None:
        fault = given.get("fault")
        if isinstance(fault, dict):
            given["fault"] = _call(Fault, cast("dict[str, Any]", fault))
        _call(self._sandbox.fail, given)

    def _webhook(self, given: dict[str, Any]) -> object:
        made = _call(self._sandbox.webhook_request, given)
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
            # Whatever the content type: someone with curl has not given one.
            given: object = parse_json(await request.body() or b"{}")
            if not isinstance(given, dict):
                raise TypeError("the body is a JSON object: the names and values of arguments")
            return json_response(write(cast("dict[str, Any]", given)))
        except BadBody as error:
            return json_response({"detail": error.detail}, 422)
        except (KeyError, TypeError, ValueError) as error:
            # What these say is meant for whoever writes the test.
            return json_response({"detail": str(error.args[0] if error.args else error)}, 422)

    return answer


def _call(function: Callable[..., T], given: Mapping[str, Any]) -> T:
    """Call a function with arguments that came as JSON.

    Raises:
        TypeError: for arguments that it does not take, lacks, or that are of another type. As `function` besides.
    """
    takes, required = _arguments(function)
    if strange := [name for name in given if name not in takes]:
        raise TypeError(f"there is no {strange[0]!r}, but: {', '.join(takes) or 'nothing'}")
    if missing := [name for name in required if name not in given]:
        raise TypeError(f"{missing[0]!r} is missing")
    for name, value in given.items():
        try:
            msgspec.convert(value, takes[name])
        except msgspec.ValidationError as error:
            raise TypeError(f"{name!r}: {error}") from error
    return function(**given)


def _arguments(function: Callable[..., object]) -> tuple[dict[str, Any], list[str]]:
    """The types of the arguments that a function takes, and the names of those that it cannot do without."""
    types: dict[str, Any] = {}
    required: list[str] = []
    hints = get_type_hints(function)
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            (options,) = get_args(hints[name])
            types |= get_type_hints(options)
            continue
        types[name] = hints[name]
        if parameter.default is parameter.empty:
            required.append(name)
    return types, required


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
