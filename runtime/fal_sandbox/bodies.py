"""JSON in and out, so that nothing a client sends can break an answer."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NoReturn

from starlette.requests import Request
from starlette.responses import Response

from fal_sandbox.storage import BadUpload
from fal_sandbox.validation import field_error

Handler = Callable[[Request], Awaitable[Response]]


class BadBody(Exception):
    """A request body that is not JSON; `detail` says where, as FastAPI does."""

    def __init__(self, position: int, reason: str) -> None:
        super().__init__(reason)
        self.detail = [field_error("json_invalid", "JSON decode error", (position,), {}, {"error": reason})]


async def read_json(request: Request) -> Any:
    """The request's JSON value. A body that says that it is something else is the text itself, as FastAPI has it.

    Raises:
        BadBody: if it is not JSON, or holds numbers or nesting that JSON cannot carry on.
    """
    raw = await request.body()
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        return raw.decode("utf-8", "replace")
    return parse_json(raw)


def parse_json(raw: bytes | str) -> Any:
    """A JSON value.

    Raises:
        BadBody: if it is none, or holds numbers or nesting that JSON cannot carry on.
    """
    try:
        return json.loads(raw, parse_float=_finite, parse_constant=_refuse)
    except json.JSONDecodeError as error:
        raise BadBody(error.pos, error.msg) from error
    except (ValueError, RecursionError) as error:
        raise BadBody(0, str(error)) from error


def json_response(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer with a JSON body; ASCII only, because a JSON string may hold what UTF-8 cannot."""
    return Response(
        json.dumps(body, separators=(",", ":")), status, headers=dict(headers or {}), media_type="application/json"
    )


def cacheable(request: Request, response: Response) -> Response:
    """An answer with an ETag, or that the client has it already."""
    tag = f'"{hashlib.sha256(response.body).hexdigest()[:32]}"'
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers={"etag": tag})
    response.headers["etag"] = tag
    return response


def guarded(handler: Handler, admitted: Callable[[Request], bool], refusal: str) -> Handler:
    """A handler that answers only those who are admitted, and says what is wrong with a body or an upload.

    Args:
        handler: what answers.
        admitted: judges a request.
        refusal: what the others are told.
    """

    async def checked(request: Request) -> Response:
        if not admitted(request):
            return json_response({"detail": refusal}, 401)
        try:
            return await handler(request)
        except BadBody as error:
            return json_response({"detail": error.detail}, 422)
        except BadUpload as error:
            return json_response({"detail": str(error)}, 400)

    return checked


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"number out of range: {text[:40]}")
    return value


def _refuse(text: str) -> NoReturn:
    raise ValueError(f"{text} is not JSON")
