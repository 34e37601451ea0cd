"""The faults that have names, and what each is meant for.

Status codes, headers and bodies are those of the platform where it documents them. Source: fal docs, request errors, model
errors, concurrency limits; both official clients.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from fal_sandbox.endpoints import EndpointId
from fal_sandbox.faults import Fault

_REQUEST = "/queue/{app}/requests/" + 36 * "?"
_NGINX = "<html>\r\n<head><title>{0}</title></head>\r\n<body><center><h1>{0}</h1></center><hr><center>nginx</center></body>\r\n</html>\r\n"
_HTML = {"content-type": "text/html"}


@dataclass(frozen=True, slots=True)
class Scope:
    """Which requests of an endpoint, or of all, something is meant for."""

    method: str | None
    paths: tuple[str, ...]
    """Globs, with `{id}` for the endpoint's whole id and `{app}` for its application's."""


SCOPES: Mapping[str, Scope] = {
    "any": Scope(None, ("/queue/{id}", "/queue/{app}/requests/*", "/run/{id}", "/run/{id}/stream", "/realtime/{id}*")),
    "submit": Scope("POST", ("/queue/{id}",)),
    "call": Scope("POST", ("/queue/{id}", "/run/{id}")),
    "run": Scope("POST", ("/run/{id}",)),
    "status": Scope("GET", (f"{_REQUEST}/status",)),
    "watch": Scope("GET", (f"{_REQUEST}/status", f"{_REQUEST}/status/stream")),
    "events": Scope(None, (f"{_REQUEST}/status/stream", "/run/{id}/stream")),
    "result": Scope("GET", (_REQUEST,)),
    "answer": Scope(None, (_REQUEST, "/run/{id}")),
    "cancel": Scope("PUT", (f"{_REQUEST}/cancel",)),
    "realtime": Scope("GET", ("/realtime/{id}*",)),
    "storage": Scope(None, ("/rest/storage/*", "/cdn/*")),
    "upload": Scope(None, ("/cdn/files/upload*", "*/multipart/*")),
    "part": Scope("PUT", ("*/multipart/*",)),
}
"""By name. `any` of all endpoints is every request there is."""


@dataclass(frozen=True, slots=True)
class NamedFault:
    """One line of the table."""

    scope: str
    """A key of `SCOPES`."""
    meaning: str
    fault: Fault = field(default_factory=Fault)
    unknown_enum: bool = False
    """Whether the field that it changes depends on the endpoint."""


def _error(status: int, detail: Any, error_type: str | None = None, **headers: str) -> Fault:
    body = {"detail": detail, **({"error_type": error_type} if error_type else {})}
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    if error_type:
        told["x-fal-error-type"] = error_type
    return Fault(status=status, body=body, headers=told)


def _nginx(title: str) -> Fault:
    return Fault(status=int(title[:3]), body=_NGINX.format(title), headers=_HTML)


_FIELD_ERROR = {
    "loc": ["body", "prompt"],
    "msg": "The input was refused",
    "type": "content_policy_violation",
    "url": "https://docs.fal.ai/errors#content_policy_violation",
    "input": "",
}

FAULTS: Mapping[str, NamedFault] = {
    # The connection.
    "reset-early": NamedFault(
        "call", "the connection is reset before the body has been read", Fault(early=True, disconnect=True, reset=True)
    ),
    "reset": NamedFault("call", "the connection is reset instead of an answer", Fault(disconnect=True, reset=True)),
    "reset-processed": NamedFault(
        "call",
        "the request is handled, and its answer lost by a reset",
        Fault(processed=True, disconnect=True, reset=True),
    ),
    "close": NamedFault("call", "the connection is closed instead of an answer", Fault(disconnect=True)),
    "close-processed": NamedFault(
        "call", "the request is handled, and its answer lost by a close", Fault(processed=True, disconnect=True)
    ),
    "half-answer": NamedFault("call", "the connection is closed after half of the answer", Fault(cut="half")),
    "slow-first-byte": NamedFault("call", "the answer begins two seconds late", Fault(delay_seconds=2.0)),
    "slow-body": NamedFault(
        "answer", "the answer comes 64 bytes at a time, 20 a second", Fault(piece_bytes=64, pause_seconds=0.05)
    ),
    # What is not the answer.
    "truncated-json": NamedFault("call", "the answer's JSON ends in the middle", Fault(truncate=True)),
    "html": NamedFault(
        "call", "a web page comes instead of JSON", Fault(status=200, body="<!doctype html><p>Hello</p>", headers=_HTML)
    ),
    "redirect": NamedFault(
        "call", "the request is sent on to another origin", Fault(status=307, headers={"location": "{elsewhere}"})
    ),
    # The gateway.
    "rate-limited": NamedFault("call", "429, without saying for how long", _error(429, "Too many requests")),
    "rate-limited-seconds": NamedFault("call", "429 for one second", _error(429, "Too many requests", retry_after="1")),
    "rate-limited-date": NamedFault(
        "call", "429 until a date, which is in one second", _error(429, "Too many requests", retry_after="{later}")
    ),
    "concurrency-limited": NamedFault(
        "run",
        "429 because too many requests of the account are running",
        Fault(
            status=429,
            body={"detail": "Too many concurrent requests", "type": "concurrent_requests_limit"},
            headers={"x-fal-needs-retry": "1"},
        ),
    ),
    "unauthorized": NamedFault("call", "401, as for a wrong key", _error(401, "Authentication is required.")),
    "locked": NamedFault(
        "call", "403, as for an account without balance", _error(403, "User is locked. Reason: Exhausted balance.")
    ),
    "nginx-502": NamedFault("call", "a bad gateway, told by nginx", _nginx("502 Bad Gateway")),
    "nginx-503": NamedFault("call", "no service, told by nginx", _nginx("503 Service Temporarily Unavailable")),
    "nginx-504": NamedFault("call", "a gateway timeout, told by nginx", _nginx("504 Gateway Time-out")),
    "unavailable": NamedFault(
        "call",
        "503 with a request id: it has reached the platform, and no runner",
        _error(
            503,
            "No runner is available",
            "runner_scheduling_failure",
            x_fal_request_id="5e1f7a10-0000-4000-8000-000000000503",
        ),
    ),
    "internal-error": NamedFault("call", "500 of the platform's own", _error(500, "Internal error", "internal_error")),
    "start-timeout": NamedFault(
        "call",
        "504 because the caller's own start timeout is over",
        _error(504, "Request timed out before it started", "request_timeout", x_fal_request_timeout_type="user"),
    ),
    # What comes of a request.
    "unprocessable-list": NamedFault("answer", "422 with a list of errors", _error(422, [_FIELD_ERROR])),
    "unprocessable-text": NamedFault("answer", "422 with a text", _error(422, "The input was refused")),
    "unprocessable-nothing": NamedFault("answer", "422 without a body", Fault(status=422)),
    "runner-disconnected": NamedFault(
        "call",
        "the request is admitted, and completes with an error",
        Fault(
            outcome_status=503,
            outcome_body={"detail": "The runner has disconnected", "error_type": "runner_disconnected"},
        ),
    ),
    "unknown-status": NamedFault(
        "watch", "every status is a word that no one knows", Fault(merge={"status": "ON_HOLD"}, times=None)
    ),
    "unknown-enum": NamedFault(
        "answer", "a field of the output has a value that its schema does not list", unknown_enum=True
    ),
    # Streams.
    "event-cut": NamedFault("events", "a stream ends in the middle of its second event", Fault(cut="event")),
    "character-cut": NamedFault("events", "a stream ends inside a character", Fault(cut="character")),
    "byte-by-byte": NamedFault("events", "a stream comes one byte at a time", Fault(piece_bytes=1)),
    # Websockets.
    "websocket-1000": NamedFault(
        "realtime", "closed in good order after an output", Fault(close_code=1000, after_frames=1)
    ),
    "websocket-1008": NamedFault(
        "realtime", "closed against the rules after an output", Fault(close_code=1008, after_frames=1)
    ),
    "websocket-1011": NamedFault(
        "realtime", "closed by an error after an output", Fault(close_code=1011, after_frames=1)
    ),
    "websocket-reset": NamedFault("realtime", "broken off after an output", Fault(disconnect=True, after_frames=1)),
    "websocket-timeout": NamedFault(
        "realtime",
        "ended for want of inputs after an output",
        Fault(
            frame='{"type":"x-fal-error","error":"TIMEOUT","reason":"no inputs, reconnect when needed!"}',
            close_code=1000,
            after_frames=1,
        ),
    ),
    "websocket-error": NamedFault(
        "realtime",
        "ended by an error of the application after an output",
        Fault(
            frame='{"type":"x-fal-error","error":"INTERNAL_ERROR","reason":"the application has failed"}',
            close_code=1000,
            after_frames=1,
        ),
    ),
    "websocket-unauthorized": NamedFault(
        "realtime",
        "refused at once, as for an expired token",
        Fault(frame='{"status":"error","error":"Unauthorized"}', close_code=1008),
    ),
    # Uploads.
    "expired-token": NamedFault("upload", "401, as for a token that has run out", _error(401, "The token has expired")),
    "part-failure": NamedFault(
        "part",
        "about every second part fails",
        Fault(status=500, body={"detail": "Try again"}, probability=0.5, times=None),
    ),
    "no-etag": NamedFault("part", "the answer to a part has no ETag", Fault(without=("etag",))),
}
"""By name."""


def named(name: str) -> NamedFault:
    """The line of the table with this name.

    Raises:
        ValueError: if there is none; the message lists those that there are.
    """
    if name not in FAULTS:
        raise ValueError(f"there is no fault {name!r}, but: {', '.join(FAULTS)}")
    return FAULTS[name]


def aimed(fault: Fault, scope: str, target: str | None) -> Fault:
    """The fault, meant for an endpoint, for a path (a glob that begins with a slash or a star), or for all.

    Raises:
        ValueError: for a target that is neither, or a scope that does not exist.
    """
    if target is not None and target.startswith(("/", "*")):
        return replace(fault, path=target)
    if scope not in SCOPES:
        raise ValueError(f"there is no scope {scope!r}, but: {', '.join(SCOPES)}")
    if target is None:
        if scope == "any":
            return replace(fault, path="*")
        whole = app = "*"
    else:
        endpoint = EndpointId.parse(target)
        if endpoint is None:
            raise ValueError(f"{target!r} is neither an endpoint's id nor a path that begins with a slash or a star")
        whole, app = str(endpoint), endpoint.app
    method, paths = SCOPES[scope].method, list(SCOPES[scope].paths)
    if whole.endswith("/stream"):
        # Such an endpoint is its own stream.
        paths += [path.removesuffix("/stream") for path in paths if path.endswith("{id}/stream")]
    filled = [path.replace("{id}", whole).replace("{app}", app) for path in paths]
    return replace(fault, path=tuple(filled), method=fault.method or method)
