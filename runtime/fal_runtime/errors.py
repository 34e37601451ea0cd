"""Every error the bindings raise, by what a caller would do about it.

    FalError
    ├── ConfigurationError              a setting is missing or wrong; nothing was sent
    │   ├── MissingCredentialsError     no key was found
    │   └── EndpointRemovedError        the endpoint is no longer on the platform
    ├── InputError                      the input is wrong, by our check (nothing was sent) or by the endpoint's
    │   ├── ContentPolicyError          the content was refused by the endpoint's checker
    │   └── FileDownloadError           the endpoint could not fetch or read a file named in the input
    ├── OutputError                     the answer is not what the schema says (strict), or cannot be read at all
    ├── NoConnectionError               no answer: the network failed, and what was asked was safe to give up
    │   ├── SubmissionUnknownError      the request left, the answer never came: it may be running and billed
    │   │   └── SubmissionTimeout       the same, because the call's own clock ran out (also a `TimeoutExpired`)
    │   └── StreamTruncated             a stream broke off before its last event
    ├── UploadInterrupted               an upload in parts broke off; a later call can send the rest
    ├── RealtimeError                   a realtime app reported an error, or its connection broke off
    │   └── RealtimeClosed              a realtime session ended in good order
    ├── WebhookSignatureError           a webhook is not to be trusted, or no longer
    ├── TimeoutExpired                  one of the caller's clocks ran out (also a `TimeoutError`)
    │   └── StartTimeout                the request did not start in time
    └── ServiceError                    the platform answered with an error
        ├── AuthenticationError         401: the key is not valid
        ├── PermissionDeniedError       403: the key may not do this
        │   └── BalanceError            403: the account is locked or out of balance
        ├── NotFoundError               404: no such endpoint or request
        ├── RateLimitError              429: too many requests at once
        ├── RunnerError                 the machine that ran the request failed; often worth another try
        └── RequestCancelledError       the request was cancelled

`str(error)` is short and holds neither the key, nor the input, nor the query part of a URL.
Sources of the wire facts: fal docs, "Model Errors" and "Retries and Error Handling" pages.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from fal_runtime.values import json_or_none, mapping, sequence

if TYPE_CHECKING:
    from fal_runtime.storage import UploadState

__all__ = [
    "AuthenticationError",
    "BalanceError",
    "ConfigurationError",
    "ContentPolicyError",
    "EndpointRemovedError",
    "FalError",
    "FieldError",
    "FileDownloadError",
    "InputError",
    "MissingCredentialsError",
    "NoConnectionError",
    "NotFoundError",
    "OutputError",
    "PermissionDeniedError",
    "RateLimitError",
    "RealtimeClosed",
    "RealtimeError",
    "RequestCancelledError",
    "RunnerError",
    "ServiceError",
    "StartTimeout",
    "StreamTruncated",
    "SubmissionTimeout",
    "SubmissionUnknownError",
    "TimeoutExpired",
    "UploadInterrupted",
    "WebhookSignatureError",
    "error_from_response",
]


class FieldError(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong with one field."""

    path: str
    """Where, in the caller's own names: `image_size.width`, `loras[0].scale`. Empty for the whole value."""
    rule: str
    """Which rule, by the platform's name for it: `missing`, `less_than_equal`, `literal_error`, ..."""
    message: str
    """What is wrong and what is allowed, in a sentence."""
    given: Any = None
    """The value that was given. It is not part of any message."""
    allowed: tuple[Any, ...] = ()
    """The allowed values, where the rule is a list of them."""

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class FalError(Exception):
    """Base of all errors of these bindings.

    Attributes:
        message: What happened, in a short sentence.
        endpoint_id: The endpoint, `fal-ai/flux/dev`, where there is one.
        request_id: The platform's id of the request, where one is known.
        status_code: The HTTP status, where the platform answered.
        error_type: The platform's machine-readable name of the error, such as `runner_disconnected`.
        retryable: Whether the same call may succeed later; `None` if nothing tells.
        billable_units: What the platform says was billed, in the endpoint's own unit; `None` if it did not say.
        errors: What is wrong, field by field, where that is known.
        body: The raw answer, so that nothing that was paid for is lost. Not part of any message.
    """

    retryable: bool | None = None

    def __init__(
        self,
        message: str,
        *,
        endpoint_id: str | None = None,
        request_id: str | None = None,
        status_code: int | None = None,
        error_type: str | None = None,
        retryable: bool | None = None,
        billable_units: float | None = None,
        errors: tuple[FieldError, ...] = (),
        body: bytes | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.endpoint_id = endpoint_id
        self.request_id = request_id
        self.status_code = status_code
        self.error_type = error_type
        if retryable is not None:
            self.retryable = retryable
        self.billable_units = billable_units
        self.errors = errors
        self.body = body

    def __str__(self) -> str:
        where = f"{self.endpoint_id}: " if self.endpoint_id else ""
        about = [f"HTTP {self.status_code}"] if self.status_code else []
        if self.request_id:
            about.append(f"request {self.request_id}")
        lines = [f"{where}{self.message}" + (f" ({', '.join(about)})" if about else "")]
        lines += [f"  {error}" for error in self.errors]
        return "\n".join(lines)


class ConfigurationError(FalError):
    """A setting is missing or wrong. Nothing was sent."""

    retryable = False


class MissingCredentialsError(ConfigurationError):
    """No key was found."""


class EndpointRemovedError(ConfigurationError):
    """The endpoint is no longer on the platform. The message says since when, and what is like it."""


class InputError(FalError):
    """The input is wrong. `errors` lists every problem; `status_code` is `None` if nothing was sent."""

    retryable = False


class ContentPolicyError(InputError):
    """The endpoint's checker refused the content."""


class FileDownloadError(InputError):
    """The endpoint could not fetch or read a file that the input names."""


class OutputError(FalError):
    """The answer departs from the schema and `strict` was set, or it cannot be read. `body` holds it."""

    retryable = False


class NoConnectionError(FalError):
    """No answer came over the network. What was asked can be asked again."""

    retryable = True


class SubmissionUnknownError(NoConnectionError):
    """The request left and its answer never came, so it may be running and billed.

    It was not sent again, for that could be paid twice. To reconcile, look the endpoint's latest requests up in the
    dashboard or with the Platform API (`GET /models/requests/by-endpoint`) before you send it once more.

    Attributes:
        sent_at: When it was given up, in seconds since the epoch; the request started shortly before.
        input_sha256: SHA-256 of the JSON that was sent, to tell it from others in a log of your own.
    """

    retryable = False
    sent_at: float | None = None
    input_sha256: str | None = None


class StreamTruncated(NoConnectionError):
    """A stream broke off before its last event. What it started may have been billed, so it is not started again."""

    retryable = False


class UploadInterrupted(FalError):
    """An upload in parts broke off, for the reason that is its cause. What arrived is kept for some time.

    Attributes:
        state: How far it came: `upload(..., resume=error.state)` sends the rest. It can be written as JSON by msgspec.
    """

    state: UploadState | None = None


class TimeoutExpired(FalError, TimeoutError):
    """One of the caller's clocks ran out. `clock` names it: `total`, `start` or `run`."""

    retryable = True
    clock = "total"


class SubmissionTimeout(SubmissionUnknownError, TimeoutExpired):
    """The call's own clock ran out after the request had left: it may be running and billed."""

    retryable = False


class StartTimeout(TimeoutExpired):
    """The request did not start within `start_timeout`."""

    clock = "start"


class RealtimeError(FalError):
    """A realtime app reported an error, or the connection to it broke off.

    Attributes:
        code: The app's word for it, such as `INTERNAL_ERROR`; `CONNECTION_LOST` if the connection broke off.
        reason: What the app or the server says about it.
        close_code: The websocket's close code, where it was closed; 1006 if it was cut.
        unanswered: How many inputs, at most, had been sent and not been answered. They may have been worked on and
            billed, so they are not sent again.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        reason: str = "",
        close_code: int | None = None,
        unanswered: int = 0,
        **about: Any,
    ) -> None:
        super().__init__(message, **about)
        self.code = code
        self.reason = reason
        self.close_code = close_code
        self.unanswered = unanswered


class RealtimeClosed(RealtimeError):
    """A realtime session ended in good order: after some idle time, at a stream's end, or by `close`.

    Unless the connection itself was closed, the next `send` opens a new session. Iteration ends here without an error.
    """


class WebhookSignatureError(FalError):
    """A webhook is not to be trusted.

    Attributes:
        reason: `missing` (a header), `malformed` (a header), `stale` (its timestamp), `signature`, or `replay`.
    """

    retryable = False

    def __init__(self, message: str, *, reason: str = "", **about: Any) -> None:
        super().__init__(message, **about)
        self.reason = reason


class ServiceError(FalError):
    """The platform answered with an error."""


class AuthenticationError(ServiceError):
    """The key is not valid."""

    retryable = False


class PermissionDeniedError(ServiceError):
    """The key may not do this."""

    retryable = False


class BalanceError(PermissionDeniedError):
    """The account is locked or out of balance."""


class NotFoundError(ServiceError):
    """No such endpoint or request."""

    retryable = False


class RateLimitError(ServiceError):
    """Too many requests at once."""

    retryable = True


class RunnerError(ServiceError):
    """The machine that ran the request failed."""

    retryable = True


class RequestCancelledError(ServiceError):
    """The request was cancelled."""

    retryable = False


_BY_TYPE: dict[str, type[FalError]] = {
    "content_policy_violation": ContentPolicyError,
    "file_download_error": FileDownloadError,
    "image_load_error": FileDownloadError,
    "client_cancelled": RequestCancelledError,
    "client_disconnected": RequestCancelledError,
    "startup_timeout": RunnerError,
    "request_timeout": RunnerError,
    "generation_timeout": RunnerError,
    "internal_error": RunnerError,
    "internal_server_error": RunnerError,
    "downstream_service_error": RunnerError,
    "downstream_service_unavailable": RunnerError,
    "concurrent_requests_limit": RateLimitError,
}

_BY_STATUS: dict[int, type[FalError]] = {
    401: AuthenticationError,
    403: PermissionDeniedError,
    404: NotFoundError,
    422: InputError,
    429: RateLimitError,
    499: RequestCancelledError,
}


def _field_errors(detail: Any) -> tuple[FieldError, ...]:
    """Read the platform's `detail` list; entries of other shapes are kept as text."""
    found: list[FieldError] = []
    for entry in sequence(detail):
        fields = mapping(entry)
        if not fields:
            found.append(FieldError(path="", rule="error", message=_redact(str(entry))))
            continue
        path = ""
        for step in sequence(fields.get("loc")):
            if step != "body" or path:
                path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else str(step)
        found.append(
            FieldError(
                path=path,
                rule=str(fields.get("type", "error")),
                message=_redact(str(fields.get("msg", "not accepted"))),
                given=fields.get("input"),
                allowed=tuple(sequence(mapping(fields.get("ctx")).get("expected"))),
            )
        )
    return tuple(found)


def _yes_or_no(headers: Mapping[str, str]) -> bool | None:
    """Read whether to retry, from any of the header's spellings."""
    for name in ("x-fal-retryable", "x-fal-needs-retry"):
        value = headers.get(name, "").strip().lower()
        if value in ("true", "1", "yes"):
            return True
        if value in ("false", "0", "no"):
            return False
    return None


def billable_units(headers: Mapping[str, str]) -> float | None:
    """Read what was billed, in the endpoint's own unit. Source: fal docs, "Platform Headers"."""
    try:
        return float(headers["x-fal-billable-units"])
    except (KeyError, ValueError):
        return None


def error_from_response(
    status_code: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    endpoint_id: str | None = None,
    request_id: str | None = None,
) -> FalError:
    """Make the error that an answer stands for.

    Args:
        status_code: The HTTP status.
        headers: The answer's headers, with lower-case names.
        body: The raw answer, of whatever shape.
        endpoint_id: The endpoint that was called.
        request_id: The request's id, if it is known already.
    """
    answer = json_or_none(body)
    fields = mapping(answer)
    nested = mapping(fields.get("error"))  # the Platform API wraps its errors once more
    detail: Any = fields.get("detail") or nested.get("message")
    errors = _field_errors(detail)
    types = [error.rule for error in errors]
    error_type = fields.get("error_type") or fields.get("type") or headers.get("x-fal-error-type") or nested.get("type")
    error_type = str(error_type) if error_type else (types[0] if len(types) == 1 else None)

    cause: type[FalError] | None = None
    for name in (error_type, *types):
        cause = cause or _BY_TYPE.get(name or "")
        if cause is None and name and name.startswith("runner_"):
            cause = RunnerError
    if status_code == 504 and headers.get("x-fal-request-timeout-type") == "user":
        cause = StartTimeout
    elif status_code == 403 and isinstance(detail, str) and detail.startswith("User is locked"):
        cause = BalanceError
    if cause is None:
        cause = _BY_STATUS.get(status_code) or (RunnerError if status_code >= 500 else ServiceError)

    if cause is StartTimeout:
        message = "the request did not start within start_timeout"
    elif isinstance(detail, str) and detail:
        message = _redact(detail)
    elif errors:
        message = "the endpoint refused the input"
    elif answer is None and body.strip():
        message = "the answer is not JSON"
    elif isinstance(fields.get("status"), str):
        message = f"the platform answered {fields['status']}"
    else:
        message = f"the platform answered {status_code} without a reason"
    return cause(
        message,
        endpoint_id=endpoint_id,
        request_id=request_id or headers.get("x-fal-request-id"),
        status_code=status_code,
        error_type=error_type,
        retryable=_yes_or_no(headers),
        billable_units=billable_units(headers),
        errors=errors,
        body=body,
    )


def _redact(text: str, limit: int = 300) -> str:
    """Shorten server text, and cut the query off every URL in it: signed URLs are as good as a key."""
    words = [word.partition("?")[0] if "://" in word else word for word in text.split()]
    words = ["data:..." if "data:" in word and ";base64" in word else word for word in words]
    line = " ".join(words)
    return line if len(line) <= limit else line[: limit - 1] + "…"
