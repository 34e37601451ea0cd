"""Each answer becomes the error that a caller would handle, short and without secrets."""

from __future__ import annotations

import pickle
import re
from typing import Any

import msgspec
import pytest

from fal_runtime import errors
from fal_runtime.errors import FalError, error_from_response

Entry = dict[str, Any]


def answer(status: int, body: Any, headers: dict[str, str] | None = None) -> FalError:
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return error_from_response(status, headers or {}, raw, endpoint_id="fal-ai/x", request_id="r-1")


def detail(type_: str, **more: Any) -> dict[str, list[Entry]]:
    return {"detail": [{"loc": ["body", "image_url"], "msg": "not good", "type": type_, **more}]}


@pytest.mark.parametrize(
    ("status", "body", "headers", "cause"),
    [
        (401, {"detail": "Cannot access application"}, {}, errors.AuthenticationError),
        (403, {"detail": "no"}, {}, errors.PermissionDeniedError),
        (403, {"detail": "User is locked. Reason: Exhausted balance."}, {}, errors.BalanceError),
        (404, {"detail": 'Application "x" not found'}, {}, errors.NotFoundError),
        (404, {"status": "NOT_FOUND"}, {}, errors.NotFoundError),
        (404, b"null", {}, errors.NotFoundError),
        (422, detail("missing"), {}, errors.InputError),
        (422, {"detail": "a string"}, {}, errors.InputError),
        (422, {"detail": ["plain"]}, {}, errors.InputError),
        (422, b"", {}, errors.InputError),
        (422, detail("content_policy_violation"), {}, errors.ContentPolicyError),
        (422, detail("file_download_error"), {}, errors.FileDownloadError),
        (422, detail("image_load_error"), {}, errors.FileDownloadError),
        (429, {"detail": "slow down"}, {}, errors.RateLimitError),
        (429, {"type": "concurrent_requests_limit"}, {}, errors.RateLimitError),
        (499, {"detail": "cancelled", "error_type": "client_cancelled"}, {}, errors.RequestCancelledError),
        (500, {"detail": "Internal Server Error"}, {}, errors.RunnerError),
        (503, {"detail": "x", "error_type": "runner_disconnected"}, {}, errors.RunnerError),
        (504, {"detail": "x"}, {"x-fal-error-type": "startup_timeout"}, errors.RunnerError),
        (504, {"detail": "x"}, {"x-fal-request-timeout-type": "user"}, errors.StartTimeout),
        (502, b"<html><center>nginx</center></html>", {}, errors.RunnerError),
        (400, {"detail": "odd"}, {}, errors.ServiceError),
        (404, {"error": {"type": "not_found", "message": "no such endpoint"}}, {}, errors.NotFoundError),
    ],
)
def test_the_cause(status: int, body: Any, headers: dict[str, str], cause: type[FalError]) -> None:
    error = answer(status, body, headers)
    assert type(error) is cause
    assert (error.status_code, error.endpoint_id, error.request_id) == (status, "fal-ai/x", "r-1")
    assert str(error).startswith("fal-ai/x: ")


def test_fields_are_told_in_the_callers_names() -> None:
    body = {
        "detail": [
            {
                "loc": ["body", "loras", 1, "scale"],
                "msg": "too big",
                "type": "less_than_equal",
                "ctx": {"le": 4},
                "input": 9,
            },
            {"loc": ["body"], "msg": "general", "type": "value_error"},
            {"loc": ["body", "size"], "msg": "one of", "type": "one_of", "ctx": {"expected": ["a", "b"]}},
        ]
    }
    error = answer(422, body)
    assert [(field.path, field.rule) for field in error.errors] == [
        ("loras[1].scale", "less_than_equal"),
        ("", "value_error"),
        ("size", "one_of"),
    ]
    assert error.errors[0].given == 9
    assert error.errors[2].allowed == ("a", "b")


@pytest.mark.parametrize(
    ("headers", "retryable"),
    [
        ({"x-fal-retryable": "true"}, True),
        ({"x-fal-needs-retry": "1"}, True),
        ({"x-fal-retryable": "false"}, False),
        ({"x-fal-needs-retry": "0"}, False),
        ({}, None),
    ],
)
def test_retryable_is_read_from_every_spelling(headers: dict[str, str], retryable: bool | None) -> None:
    assert answer(400, {"detail": "x"}, headers).retryable is retryable


def test_messages_are_short_and_hold_no_secret() -> None:
    url = "https://host/file.png?X-Signature=abcdef"
    error = answer(
        422,
        {"detail": [{"loc": ["body"], "msg": f"cannot fetch {url} " + "x" * 900, "type": "t", "input": "my prompt"}]},
    )
    assert "abcdef" not in str(error)
    assert "https://host/file.png" in str(error)
    assert "my prompt" not in str(error)
    assert len(str(error)) < 500
    picture = answer(422, {"detail": "bad data:image/png;base64,AAAABBBB here"})
    assert "AAAABBBB" not in str(picture)


def test_billing_is_never_guessed() -> None:
    assert answer(422, {}, {"x-fal-billable-units": "0"}).billable_units == 0.0
    assert answer(422, {}).billable_units is None


def test_the_tree_at_the_top_is_the_tree_of_the_classes() -> None:
    drawn = re.findall(r"[├└]── (\w+)", errors.__doc__ or "")
    classes = [name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, FalError)]
    assert sorted(drawn) == sorted(set(classes) - {"FalError"})
    assert set(classes) <= set(errors.__all__)


def test_every_error_travels_between_processes() -> None:
    for name in sorted(set(errors.__all__) - {"FieldError", "error_from_response"}):
        error: FalError = getattr(errors, name)("what happened", endpoint_id="fal-ai/x", status_code=500)
        wrong = errors.FieldError(path="prompt", rule="missing", message="is required")
        error.errors, error.retryable = (wrong,), True
        if isinstance(error, errors.RealtimeError):
            error.code = "INTERNAL_ERROR"
        again = pickle.loads(pickle.dumps(error))  # noqa: S301
        assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))
