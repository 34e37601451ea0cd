"""What a network and the platform can do to a call, row by row; every row blocking and async, over both libraries.

Each row says what goes wrong, what the caller gets, and how many requests the server admitted: never more than one for
a verb that costs money. After each, nothing is left open and no message holds the key, the input or a signed query.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import pytest

import fal_runtime
from fal_runtime import Client, Endpoint, Retry, Timeouts, errors, storage
from fal_sandbox import Sandbox
from support import ECHO, Caller, Input, Output, nothing_left_open

SECRET = "a private prompt"
SIGNED = "https://files.example/a.png?X-Signature=topsecret"
NGINX = {"body": "<html><center>nginx</center></html>", "headers": {"content-type": "text/html"}}
REQUEST_ID = {"x-fal-request-id": "0123"}
SSE = {"content-type": "text/event-stream"}
RUNNING = 'data: {"status": "IN_PROGRESS", "request_id": "1"}\n\n'


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that goes wrong."""

    faults: tuple[dict[str, Any], ...] = ()
    """What `Sandbox.fail_next` is told."""
    answer: dict[str, Any] = {}
    """What `Sandbox.respond` is told instead of a proper answer."""
    raises: type[errors.FalError] | None = None
    message: str = ""
    """What the error's text contains."""
    admitted: int = 1
    posts: int = 1
    """How many requests to run something arrived."""
    check: Callable[[Any], object] = id
    """Something that holds for the error, or for the `Result` if there is none."""
    retry: Retry = Retry(base=0.01, cap=0.05)
    timeouts: Timeouts = Timeouts()


def _is(**expected: Any) -> Callable[[Any], object]:
    def check(outcome: Any) -> None:
        assert {name: getattr(outcome, name) for name in expected} == expected

    return check


def _fields(*expected: tuple[str, str]) -> Callable[[Any], object]:
    def check(error: Any) -> None:
        assert [(each.path, each.rule) for each in error.errors] == list(expected)

    return check


def _date(seconds: float) -> str:
    from email.utils import formatdate

    return formatdate(time.time() + seconds, usegmt=True)


PAID: dict[str, Row] = {
    "reset or closed before an answer": Row(
        faults=({"disconnect": True},), raises=errors.SubmissionUnknownError, admitted=0, message="was not sent again"
    ),
    "closed after it was admitted": Row(
        faults=({"processed": True, "disconnect": True},),
        raises=errors.SubmissionUnknownError,
        check=lambda error: _reconcilable(error),
    ),
    "half an answer": Row(
        faults=({"processed": True, "status": 200, "body": '{"te', "disconnect": True},),
        raises=errors.SubmissionUnknownError,
    ),
    "an answer that is too late": Row(
        faults=({"delay_seconds": 0.8},),
        raises=errors.SubmissionTimeout,
        timeouts=Timeouts(attempt=0.3, run=0.3, total=0.3),
        check=lambda error: _is_timeout(error),
    ),
    "429, then room": Row(faults=({"status": 429},), posts=2),
    "429 with seconds to wait": Row(faults=({"status": 429, "headers": {"retry-after": "0"}},), posts=2),
    "429 with a date to wait for": Row(faults=({"status": 429, "headers": {"retry-after": _date(-5)}},), posts=2),
    "429 for ever": Row(
        faults=({"status": 429, "times": 99},),
        raises=errors.RateLimitError,
        admitted=0,
        posts=5,
        check=_is(retryable=True),
    ),
    "429 with a wait beyond the deadline": Row(
        faults=({"status": 429, "headers": {"retry-after": "3600"}, "times": 99},),
        raises=errors.RateLimitError,
        admitted=0,
        posts=1,
        retry=Retry(cap=4000),
        timeouts=Timeouts(run=1.0, total=1.0),
    ),
    "too many at once, by type": Row(
        faults=({"status": 429, "body": {"detail": "busy", "type": "concurrent_requests_limit"}, "times": 99},),
        raises=errors.RateLimitError,
        admitted=0,
        posts=5,
        check=_is(error_type="concurrent_requests_limit"),
    ),
    "502 of a gateway": Row(
        faults=({"status": 502, **NGINX},), raises=errors.SubmissionUnknownError, admitted=0, check=_is(status_code=502)
    ),
    "502 of the platform": Row(
        faults=(
            {"status": 502, "headers": REQUEST_ID, "body": {"detail": "x", "error_type": "runner_incomplete_response"}},
        ),
        raises=errors.RunnerError,
        admitted=0,
        check=_is(request_id="0123", error_type="runner_incomplete_response"),
    ),
    "503 of a gateway, before admission": Row(faults=({"status": 503, **NGINX},), posts=2),
    "503 of the platform": Row(
        faults=({"status": 503, "headers": REQUEST_ID, "body": {"detail": "x", "error_type": "runner_disconnected"}},),
        raises=errors.RunnerError,
        admitted=0,
    ),
    "504 of a gateway": Row(faults=({"status": 504, **NGINX},), raises=errors.SubmissionUnknownError, admitted=0),
    "504 since it did not start in time": Row(
        faults=({"status": 504, "headers": {"x-fal-request-timeout-type": "user", **REQUEST_ID}},),
        raises=errors.StartTimeout,
        admitted=0,
        check=_is(clock="start"),
    ),
    "504 of the same kind from a gateway": Row(
        faults=({"status": 504, "headers": {"x-fal-request-timeout-type": "user"}, "times": 9},),
        raises=errors.StartTimeout,
        admitted=0,
    ),
    "500 of a gateway": Row(faults=({"status": 500, **NGINX},), raises=errors.SubmissionUnknownError, admitted=0),
    "408 of a gateway": Row(faults=({"status": 408},), raises=errors.SubmissionUnknownError, admitted=0),
    "401": Row(faults=({"status": 401, "body": {"detail": "no"}},), raises=errors.AuthenticationError, admitted=0),
    "403": Row(faults=({"status": 403, "body": {"detail": "no"}},), raises=errors.PermissionDeniedError, admitted=0),
    "403 of a locked account": Row(
        faults=({"status": 403, "body": {"detail": "User is locked. Reason: Exhausted balance."}},),
        raises=errors.BalanceError,
        admitted=0,
    ),
    "404": Row(
        faults=({"status": 404, "body": {"detail": 'Application "x" not found'}},),
        raises=errors.NotFoundError,
        admitted=0,
    ),
    "400 for a header": Row(
        faults=({"status": 400, "body": {"detail": "bad timeout", "error_type": "bad_request"}},),
        raises=errors.ServiceError,
        admitted=0,
        check=_is(error_type="bad_request"),
    ),
    "422 with a list": Row(
        faults=(
            {"status": 422, "body": {"detail": [{"loc": ["body", "prompt"], "msg": "no", "type": "value_error"}]}},
        ),
        raises=errors.InputError,
        admitted=0,
        check=_fields(("prompt", "value_error")),
    ),
    "422 with a text": Row(
        faults=({"status": 422, "body": {"detail": "not like this"}},),
        raises=errors.InputError,
        admitted=0,
        message="not like this",
    ),
    "422 with nothing": Row(faults=({"status": 422},), raises=errors.InputError, admitted=0),
    "422 with a list of texts": Row(
        faults=({"status": 422, "body": {"detail": ["one", "two"]}},),
        raises=errors.InputError,
        admitted=0,
        check=_fields(("", "error"), ("", "error")),
    ),
    "an error that repeats a signed address": Row(
        faults=({"status": 422, "body": {"detail": f"cannot load {SIGNED}"}},),
        raises=errors.InputError,
        admitted=0,
        message="cannot load https://files.example/a.png",
    ),
    "an error that repeats the input": Row(
        faults=(
            {
                "status": 422,
                "body": {"detail": [{"loc": ["body", "prompt"], "msg": "no", "type": "value_error", "input": SECRET}]},
            },
        ),
        raises=errors.InputError,
        admitted=0,
    ),
    "422 whose text is no UTF-8": Row(
        faults=({"status": 422, "body": b'{"detail": "caf\xe9"}'},),
        raises=errors.InputError,
        admitted=0,
        message="not JSON",
    ),
    "422 that is nested without end": Row(
        faults=({"status": 422, "body": '{"detail":' + "[" * 100_000},),
        raises=errors.InputError,
        admitted=0,
        message="not JSON",
    ),
    "a refusal of the content": Row(
        faults=(
            {
                "status": 422,
                "headers": {**REQUEST_ID, "x-fal-retryable": "false", "x-fal-billable-units": "0"},
                "body": {"detail": [{"loc": ["body", "prompt"], "msg": "no", "type": "content_policy_violation"}]},
            },
        ),
        raises=errors.ContentPolicyError,
        admitted=0,
        check=_is(retryable=False, billable_units=0.0, error_type="content_policy_violation"),
    ),
    "a file that cannot be fetched": Row(
        faults=(
            {
                "status": 422,
                "body": {"detail": [{"loc": ["body", "image_url"], "msg": "no", "type": "file_download_error"}]},
            },
        ),
        raises=errors.FileDownloadError,
        admitted=0,
        check=_fields(("image_url", "file_download_error")),
    ),
    "an error type that nobody knows": Row(
        faults=({"status": 418, "body": {"detail": "x", "error_type": "teapot"}},),
        raises=errors.ServiceError,
        admitted=0,
        check=_is(error_type="teapot", status_code=418),
    ),
    "a redirect to another origin": Row(
        faults=({"status": 307, "headers": {"location": "ELSEWHERE"}},),
        raises=errors.ServiceError,
        admitted=0,
        check=_is(status_code=307),
    ),
}

SUBMITTED: dict[str, Row] = {
    "an answer that is no UTF-8": Row(
        faults=({"processed": True, "status": 200, "body": b'{"request_id": "\xe9"}'},),
        raises=errors.SubmissionUnknownError,
        message="probably running",
    ),
    "HTML in place of the answer": Row(
        faults=({"processed": True, "status": 200, **NGINX},),
        raises=errors.SubmissionUnknownError,
        message="probably running",
    ),
    "an empty answer": Row(faults=({"processed": True, "status": 200},), raises=errors.SubmissionUnknownError),
    "truncated JSON": Row(
        faults=({"processed": True, "status": 200, "body": '{"request_id": "a'},), raises=errors.SubmissionUnknownError
    ),
}

RUN: dict[str, Row] = {
    "HTML in place of the output": Row(
        faults=({"processed": True, "status": 200, **NGINX},),
        raises=errors.OutputError,
        check=lambda error: _kept(error, b"nginx"),
    ),
    "truncated JSON": Row(
        faults=({"processed": True, "status": 200, "body": '{"text": "hel'},),
        raises=errors.OutputError,
        check=lambda error: _kept(error, b"hel"),
    ),
    "an output that is no UTF-8": Row(
        faults=({"processed": True, "status": 200, "body": b'{"text": "\xe9"}'},),
        raises=errors.OutputError,
        check=lambda error: _kept(error, b"\xe9"),
    ),
    "an output that is nested without end": Row(
        faults=({"processed": True, "status": 200, "body": '{"text":' + "[" * 100_000},),
        raises=errors.OutputError,
        check=lambda error: _kept(error, b"[[["),
    ),
    "a null where the schema has none": Row(
        answer={"output": {"text": None}}, check=lambda result: _warned(result, "text")
    ),
    "a field of another kind": Row(
        answer={"output": {"text": "x", "note": 5}}, check=lambda result: _warned(result, "note")
    ),
    "500 of the model": Row(
        answer={"status": 500, "output": {"detail": "Internal Server Error"}},
        raises=errors.RunnerError,
        check=_is(retryable=True),
    ),
    "500 of the model that says not to retry": Row(
        answer={"status": 500, "output": {"detail": "x"}, "headers": {"X-Fal-Needs-Retry": "0"}},
        raises=errors.RunnerError,
        check=_is(retryable=False),
    ),
    "499": Row(
        answer={"status": 499, "output": {"detail": "gone", "error_type": "client_disconnected"}},
        raises=errors.RequestCancelledError,
    ),
}

SUBSCRIBED: dict[str, Row] = {
    "no status stream": Row(faults=({"path": "*/stream", "status": 404, "times": 9},)),
    "a status stream that is HTML": Row(faults=({"path": "*/stream", "status": 200, **NGINX},)),
    "a status stream that is closed at once": Row(faults=({"path": "*/stream", "disconnect": True},)),
    "a status stream that ends without an event": Row(
        faults=({"path": "*/stream", "status": 200, "headers": SSE, "body": ""},)
    ),
    "a status stream that is cut in an event": Row(
        faults=(
            {"path": "*/stream", "status": 200, "headers": SSE, "body": RUNNING + 'data: {"sta', "disconnect": True},
        )
    ),
    "a status stream that is cut in a character": Row(
        faults=(
            {
                "path": "*/stream",
                "status": 200,
                "headers": SSE,
                "body": (RUNNING + 'data: {"status": "é').encode()[:-1],
                "disconnect": True,
            },
        )
    ),
    "a status stream that ends before the job": Row(
        faults=({"path": "*/stream", "status": 200, "headers": SSE, "body": RUNNING, "times": 2},)
    ),
    "a status stream of other things": Row(
        faults=({"path": "*/stream", "status": 200, "headers": SSE, "body": "data: [1]\n\ndata: x\n\n"},)
    ),
    "a status stream that reports an error of its own": Row(
        faults=({"path": "*/stream", "status": 200, "headers": SSE, "body": 'event: error\ndata: {"detail": "x"}\n\n'},)
    ),
    "a status stream without permission": Row(
        faults=({"path": "*/stream", "status": 401, "body": {"detail": "no"}},),
        raises=errors.AuthenticationError,
        check=lambda error: _cancelled(error),
    ),
    "a cancellation whose answer is cut off": Row(
        faults=(
            {"path": "*/stream", "status": 401, "body": {"detail": "no"}},
            {"path": "*/cancel", "method": "PUT", "processed": True, "status": 202, "body": '{"sta'},
        ),
        raises=errors.AuthenticationError,
        check=lambda error: _cancelled(error),
    ),
    "status is no UTF-8": Row(
        faults=({"path": "*/stream", "status": 404}, {"path": "*/status", "status": 200, "body": b'{"status": "\xe9'}),
        raises=errors.OutputError,
        check=lambda error: _cancelled(error),
    ),
    "status answers 500": Row(
        faults=({"path": "*/stream", "status": 500}, {"path": "*/status", "status": 500, "times": 2}),
    ),
    "status is closed without an answer": Row(
        faults=({"path": "*/stream", "disconnect": True}, {"path": "*/status", "disconnect": True, "times": 3}),
    ),
    "status is 502 of a gateway": Row(
        faults=({"path": "*/stream", "status": 502, **NGINX}, {"path": "*/status", "status": 502, **NGINX}),
    ),
    "status is HTML": Row(
        faults=({"path": "*/stream", "status": 404}, {"path": "*/status", "status": 200, **NGINX}),
        raises=errors.OutputError,
        check=lambda error: _cancelled(error),
    ),
    "a status that nobody knows": Row(
        faults=({"path": "*/stream", "status": 404}, {"path": "*/status", "status": 200, "body": {"status": "FAILED"}}),
        raises=errors.FalError,
    ),
    "an unknown status in the stream": Row(
        faults=({"path": "*/stream", "status": 200, "headers": SSE, "body": 'data: {"status": "PAUSED"}\n\n'},),
        raises=errors.FalError,
    ),
    "completed with an error": Row(
        answer={"status": 503, "output": {"detail": "x", "error_type": "runner_connection_error"}},
        raises=errors.RunnerError,
        check=_is(error_type="runner_connection_error", retryable=True),
    ),
    "a result of 422 with a list": Row(
        answer={"status": 422, "output": {"detail": [{"loc": ["body", "prompt"], "msg": "no", "type": "one_of"}]}},
        raises=errors.InputError,
        check=_fields(("prompt", "one_of")),
    ),
    "a result of 422 with a text": Row(answer={"status": 422, "output": {"detail": "no"}}, raises=errors.InputError),
    "a result of 422 with nothing": Row(answer={"status": 422, "output": None}, raises=errors.InputError),
    "a result that is cut off once": Row(
        faults=(
            {"path": "*/requests/*", "method": "GET", "skip": "stream", "status": 200, "body": "{", "disconnect": True},
        )
    ),
    "a result behind a gateway's 503": Row(
        faults=({"path": "*/requests/*", "method": "GET", "skip": "stream", "status": 503, **NGINX},)
    ),
    "a result behind a gateway's 429": Row(
        faults=(
            {"path": "*/requests/*", "method": "GET", "skip": "stream", "status": 429, "headers": {"retry-after": "0"}},
        )
    ),
    "a result that is HTML": Row(
        faults=({"path": "*/requests/*", "method": "GET", "skip": "stream", "status": 200, **NGINX},),
        raises=errors.OutputError,
        check=lambda error: _kept(error, b"nginx"),
    ),
    "a result with a null": Row(answer={"output": {"text": None}}, check=lambda result: _warned(result, "text")),
}

STREAMED: dict[str, Row] = {
    "an error event": Row(
        faults=(
            {"status": 200, "headers": SSE, "body": 'data: {"text": "a"}\n\nevent: error\ndata: {"message": "x"}\n\n'},
        ),
        raises=errors.RunnerError,
        admitted=0,
    ),
    "an error in place of an output": Row(
        faults=({"status": 200, "headers": SSE, "body": 'data: {"error": "out of memory"}\n\n'},),
        raises=errors.RunnerError,
        admitted=0,
        message="out of memory",
    ),
    "a detail in place of an output": Row(
        faults=(
            {
                "status": 200,
                "headers": SSE,
                "body": 'data: {"detail": [{"loc": ["body"], "msg": "no", "type": "content_policy_violation"}]}\n\n',
            },
        ),
        raises=errors.ContentPolicyError,
        admitted=0,
    ),
    "an error of a workflow's step": Row(
        faults=(
            {
                "status": 200,
                "headers": SSE,
                "body": 'data: {"type": "error", "node_id": "n", "message": "m", '
                '"error": {"status": 422, "body": {"detail": "no"}}}\n\n',
            },
        ),
        raises=errors.InputError,
        admitted=0,
        check=_is(status_code=422),
    ),
    "a stream that is cut in an event": Row(
        faults=({"status": 200, "headers": SSE, "body": 'data: {"text": "a"}\n\ndata: {"tex', "disconnect": True},),
        raises=errors.StreamTruncated,
        admitted=0,
        check=lambda error: _kept(error, b'"a"'),
    ),
    "a stream that ends in the middle of an event": Row(
        faults=({"status": 200, "headers": SSE, "body": 'data: {"text": "a"}\n\ndata: {"tex'},),
        raises=errors.StreamTruncated,
        admitted=0,
    ),
    "a stream that is cut in a character": Row(
        faults=({"status": 200, "headers": SSE, "body": 'data: {"text": "é'.encode()[:-1], "disconnect": True},),
        raises=errors.StreamTruncated,
        admitted=0,
    ),
    "a stream without an event": Row(
        faults=({"status": 200, "headers": SSE, "body": ": nothing\n\n"},), raises=errors.StreamTruncated, admitted=0
    ),
    "an event that is not JSON": Row(
        faults=({"status": 200, "headers": SSE, "body": "data: {oops\n\n"},), raises=errors.OutputError, admitted=0
    ),
    "the end mark of other protocols": Row(
        faults=({"status": 200, "headers": SSE, "body": 'data: {"text": "hello"}\n\ndata: [DONE]\n\n'},), admitted=0
    ),
    "carriage returns and comments": Row(
        faults=({"status": 200, "headers": SSE, "body": ': hi\r\ndata: {"text":\r\ndata:  "hello"}\r\n\r\n'},),
        admitted=0,
    ),
    "an answer that is no stream": Row(
        faults=({"status": 200, "headers": {"content-type": "application/json"}, "body": '{"text": "hello"}'},),
        admitted=0,
    ),
    "a null in an event": Row(
        faults=({"status": 200, "headers": SSE, "body": 'data: {"text": null}\n\n'},),
        admitted=0,
        check=lambda result: _warned(result, "text"),
    ),
}

TABLE = [
    *(("submit", name, row) for name, row in {**PAID, **SUBMITTED}.items()),
    *(("run", name, row) for name, row in {**PAID, **RUN}.items()),
    *(("stream", name, row) for name, row in {**PAID, **STREAMED}.items() if name != "half an answer"),
    *(("subscribe", name, row) for name, row in SUBSCRIBED.items()),
]


def _reconcilable(error: errors.SubmissionUnknownError) -> None:
    import hashlib

    assert error.input_sha256 == hashlib.sha256(msgspec.json.encode({"prompt": SECRET})).hexdigest()
    assert error.sent_at is not None
    assert abs(error.sent_at - time.time()) < 60


def _is_timeout(error: Exception) -> None:
    assert isinstance(error, errors.SubmissionUnknownError)
    assert isinstance(error, TimeoutError)


def _kept(error: errors.FalError, part: bytes) -> None:
    assert error.body is not None
    assert part in error.body


def _warned(result: Any, path: str) -> None:
    assert [warning.path for warning in result.warnings] == [path]
    assert result.raw


def _cancelled(error: errors.FalError) -> None:
    assert any("cancelling it answered" in note for note in error.__notes__)


@contextmanager
def _serving(serve: Callable[[socket.socket], object]) -> Generator[str]:
    """The address of a server that does one thing with each connection, and then closes it."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def listen() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    serve(connection)

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.fixture
def elsewhere() -> Iterator[tuple[str, list[bytes]]]:
    """Another origin, and what arrived there."""
    arrived: list[bytes] = []
    with _serving(lambda connection: arrived.append(connection.recv(65536))) as url:
        yield f"{url}/steal", arrived


def _endpoint() -> Endpoint[Input, Output]:
    return Endpoint(ECHO, Input, Output)


def _perform(call: Caller, verb: str, client: Client) -> Any:
    """Call a verb, and give its `Result`."""
    endpoint = _endpoint()
    if verb == "stream":
        return call.done(endpoint.with_result, "stream", Input(prompt=SECRET), client=client)
    outcome = call(endpoint.with_result, verb, Input(prompt=SECRET), client=client)
    return None if verb == "submit" else outcome


@pytest.mark.parametrize(("verb", "row"), [pytest.param(verb, row, id=f"{verb}: {name}") for verb, name, row in TABLE])
def test_fault(call: Caller, sandbox: Sandbox, elsewhere: tuple[str, list[bytes]], verb: str, row: Row) -> None:
    place, arrived = elsewhere
    answer: dict[str, Any] = {"output": {"text": "hello"}, "run_seconds": 0.05, "queue_seconds": 0.0, **row.answer}
    sandbox.respond(ECHO, **answer)
    target = f"*/{ECHO}/stream" if verb == "stream" else f"*/{ECHO}"
    for fault in row.faults:
        told: dict[str, Any] = {"path": target, "method": "GET" if "path" in fault else "POST", **fault}
        headers = {name: value.replace("ELSEWHERE", place) for name, value in told.get("headers", {}).items()}
        told["headers"] = headers
        if told.pop("skip", None):
            told["path"] = "*/requests/????????-????-????-????-????????????"
        sandbox.fail_next(**told)

    with nothing_left_open():
        client = Client(retry=row.retry, timeouts=row.timeouts)
        outcome: Any
        if row.raises is None:
            outcome = _perform(call, verb, client)
            assert outcome is None or outcome.data == Output(text="hello") or outcome.warnings
        else:
            with pytest.raises(row.raises) as caught:
                _perform(call, verb, client)
            outcome = caught.value
            assert type(outcome) is row.raises or row.raises is errors.FalError
            texts = [str(outcome), repr(outcome), *getattr(outcome, "__notes__", [])]
            assert row.message in texts[0]
            assert outcome.endpoint_id == ECHO
            for text in texts:
                assert not any(secret in text for secret in (SECRET, sandbox.key, "sandbox-secret", "topsecret"))
        call.close(client)

    if "delay_seconds" in str(row.faults):
        end = time.monotonic() + 5
        while len(sandbox.admitted) < row.admitted and time.monotonic() < end:
            time.sleep(0.02)
    posts = [request for request in sandbox.requests if request.method == "POST"]
    assert (len(sandbox.admitted), len(posts)) == (row.admitted, row.posts)
    assert len(sandbox.admitted) <= 1
    assert arrived == []
    row.check(outcome)


class Trouble(msgspec.Struct, frozen=True, kw_only=True):
    """Something that goes wrong with a connection or an upload."""

    faults: tuple[dict[str, Any], ...]
    raises: type[errors.FalError] | None = None
    message: str = ""
    check: Callable[[Any], object] = id
    options: dict[str, Any] = {}
    retry: Retry = Retry(base=0.01, cap=0.05)


def _struck(sandbox: Sandbox, trouble: Trouble, place: str, path: str) -> None:
    for fault in trouble.faults:
        told: dict[str, Any] = {"path": path, **fault}
        for name in ("headers", "merge"):
            if name in told:
                told[name] = {key: str(value).replace("ELSEWHERE", place) for key, value in told[name].items()}
        sandbox.fail_next(**told)


def _held(sandbox: Sandbox, trouble: Trouble, act: Callable[[], Any]) -> None:
    """Hold what the trouble leads to, and that it tells no secret."""
    if trouble.raises is None:
        trouble.check(act())
        return
    with pytest.raises(trouble.raises) as caught:
        act()
    error = caught.value
    assert type(error) is trouble.raises
    texts = [str(error), repr(error), *getattr(error, "__notes__", [])]
    assert trouble.message in texts[0]
    tokens = [request.headers.get("authorization", "").partition(" ")[2] for request in sandbox.requests]
    tokens += [token for request in sandbox.requests for token in request.query.get("fal_jwt_token", [])]
    for text in texts:
        assert not any(secret in text for secret in (SECRET, "topsecret", *filter(None, tokens)))
    trouble.check(error)


AFTER_ONE: dict[str, Any] = {"after_frames": 1}
CONNECTIONS: dict[str, tuple[Trouble, int]] = {
    "closed in good order, 1000": (
        Trouble(faults=({**AFTER_ONE, "close_code": 1000},), raises=errors.RealtimeClosed, check=_is(close_code=1000)),
        1,
    ),
    "closed by a rule, 1008": (
        Trouble(faults=({**AFTER_ONE, "close_code": 1008},), raises=errors.RealtimeError, check=_is(close_code=1008)),
        1,
    ),
    "closed by a failure, 1011": (
        Trouble(
            faults=({**AFTER_ONE, "close_code": 1011},),
            raises=errors.RealtimeError,
            check=_is(close_code=1011, code="CONNECTION_LOST", unanswered=0),
        ),
        1,
    ),
    "cut": (
        Trouble(faults=({**AFTER_ONE, "disconnect": True},), raises=errors.RealtimeError, check=_is(close_code=1006)),
        1,
    ),
    "an error of the app": (
        Trouble(
            faults=(
                {
                    **AFTER_ONE,
                    "frame": '{"type": "x-fal-error", "error": "INTERNAL_ERROR", "reason": "out of memory"}',
                    "close_code": 1011,
                },
            ),
            raises=errors.RealtimeError,
            message="out of memory",
            check=_is(code="INTERNAL_ERROR"),
        ),
        1,
    ),
    "a token that is refused": (
        Trouble(faults=({"status": 401, "body": {"detail": "no"}, "times": 9},), raises=errors.AuthenticationError),
        0,
    ),
    "no permission for a token": (
        Trouble(
            faults=({"path": "/rest/tokens/*", "status": 403, "body": {"detail": "no"}},),
            raises=errors.PermissionDeniedError,
        ),
        0,
    ),
    "a token that is HTML": (
        Trouble(faults=({"path": "/rest/tokens/*", "status": 200, **NGINX},), raises=errors.OutputError),
        0,
    ),
    "no such app": (Trouble(faults=({"status": 404, "body": {"detail": "no"}},), raises=errors.NotFoundError), 0),
    "a gateway's 503 for ever": (
        Trouble(faults=({"status": 503, **NGINX, "times": 99},), raises=errors.RunnerError, check=_is(status_code=503)),
        0,
    ),
    "a gateway's 503 once": (Trouble(faults=({"status": 503, **NGINX},)), 2),
    "cut as soon as it is open": (
        Trouble(faults=({"disconnect": True},), raises=errors.RealtimeError, check=_is(close_code=1006, unanswered=1)),
        0,
    ),
}


@pytest.mark.parametrize("name", CONNECTIONS)
def test_a_connection_s_fault(call: Caller, sandbox: Sandbox, name: str) -> None:
    trouble, admitted = CONNECTIONS[name]
    sandbox.respond(ECHO, {"text": "hello"}, run_seconds=0.0)
    _struck(sandbox, trouble, "", "/realtime/*")

    sends = 2 if trouble.raises is None else 1

    def blocking() -> None:
        with Client(retry=trouble.retry) as client, _endpoint().realtime(client=client) as connection:
            for _ in range(sends):
                connection.send(Input(prompt=SECRET))
            for _ in range(2):
                assert connection.recv(10) == Output(text="hello")

    async def running() -> None:
        async with Client(retry=trouble.retry) as client, _endpoint().realtime_async(client=client) as connection:
            for _ in range(sends):
                await connection.send(Input(prompt=SECRET))
            for _ in range(2):
                assert await connection.recv(10) == Output(text="hello")

    with nothing_left_open():
        _held(sandbox, trouble, blocking if call.mode == "blocking" else lambda: asyncio.run(running()))
    assert len(sandbox.admitted) == admitted


def test_a_token_that_has_ended_is_refused_and_then_replaced(sandbox: Sandbox) -> None:
    sandbox.respond(ECHO, {"text": "hello"}, run_seconds=0.0, session_timeout=0.05)

    async def main() -> None:
        async with Client() as client, _endpoint().realtime_async(client=client) as connection:
            for _ in range(2):
                await connection.send(Input(prompt="x"))
                assert [output async for output in connection] == [Output(text="hello")]
                sandbox.advance(3600)
                await connection.send(Input(prompt=SECRET))
                with pytest.raises(errors.AuthenticationError, match="Unauthorized") as caught:
                    await connection.recv(10)
                assert SECRET not in str(caught.value)

    with nothing_left_open():
        asyncio.run(main())
    assert [request.path for request in sandbox.requests].count("/rest/tokens/") == 2
    assert [job.input for job in sandbox.admitted] == [{"prompt": "x"}] * 2


PART = {"path": "*/multipart/*", "method": "PUT"}
UPLOADS: dict[str, tuple[Trouble, int]] = {
    "parts that fail at random": (
        Trouble(
            faults=({**PART, "status": 500, "probability": 0.5, "times": None},), retry=Retry(attempts=20, base=0.001)
        ),
        1,
    ),
    "parts that are cut at random": (
        Trouble(
            faults=({**PART, "disconnect": True, "probability": 0.5, "times": None},),
            retry=Retry(attempts=20, base=0.001),
        ),
        1,
    ),
    "a part that always fails": (
        Trouble(
            faults=({**PART, "path": "*/multipart/*/2", "status": 503, "times": None},),
            raises=errors.UploadInterrupted,
            message="of 4 parts arrived",
            check=_is(status_code=503),
        ),
        0,
    ),
    "a part without an ETag": (
        Trouble(
            faults=({**PART, "path": "*/multipart/*/2", "without": ["etag"], "merge": {"etag": ""}},),
            raises=errors.UploadInterrupted,
            message="took part 2 without giving it an ETag",
        ),
        0,
    ),
    "a part that is sent elsewhere": (
        Trouble(
            faults=({**PART, "status": 307, "headers": {"location": "ELSEWHERE"}, "times": 9},),
            raises=errors.UploadInterrupted,
        ),
        0,
    ),
    "parts that belong elsewhere": (
        Trouble(
            faults=({"path": "/cdn/files/upload/multipart", "merge": {"access_url": "ELSEWHERE"}},),
            raises=errors.OutputError,
            message="not safe for a token",
            options={"repository": "cdn"},
        ),
        0,
    ),
    "a start that is sent elsewhere": (
        Trouble(
            faults=({"path": "/cdn/files/upload/multipart", "status": 307, "headers": {"location": "ELSEWHERE"}},),
            raises=errors.ServiceError,
            options={"repository": "cdn"},
        ),
        0,
    ),
    "a token that has ended": (
        Trouble(faults=({**PART, "path": "*/multipart/*/3", "status": 401, "body": {"detail": "Token has expired"}},)),
        1,
    ),
    "a token that is HTML": (
        Trouble(
            faults=({"path": "/rest/storage/auth/token", "status": 200, **NGINX},),
            options={"repository": "cdn"},
            raises=errors.OutputError,
        ),
        0,
    ),
    "no permission to upload": (
        Trouble(
            faults=({"path": "/rest/storage/auth/token", "status": 403, "body": {"detail": "no"}},),
            raises=errors.PermissionDeniedError,
        ),
        0,
    ),
    "an end whose answer is lost": (
        Trouble(faults=({"path": "*/complete", "processed": True, "disconnect": True},)),
        1,
    ),
    "an end that always fails": (
        Trouble(
            faults=({"path": "*/complete", "status": 500, "body": {"detail": f"at {SIGNED}"}, "times": 99},),
            raises=errors.UploadInterrupted,
            message="4 of 4 parts arrived",
        ),
        0,
    ),
}


@pytest.mark.parametrize("name", UPLOADS)
def test_an_upload_s_fault(
    call: Caller, sandbox: Sandbox, elsewhere: tuple[str, list[bytes]], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    trouble, arrived = UPLOADS[name]
    monkeypatch.setattr(storage, "MULTIPART_ABOVE", 1000)
    monkeypatch.setattr(storage, "PART_SIZE", 1000)
    place, stolen = elsewhere
    _struck(sandbox, trouble, place, "*")
    content = (SECRET * 250)[:3500].encode()
    with nothing_left_open():
        client = Client(retry=trouble.retry)
        _held(sandbox, trouble, lambda: call(fal_runtime, "upload", content, client=client, **trouble.options))
        call.close(client)
    assert [upload.read() for upload in sandbox.uploads if upload.complete] == [content] * arrived
    assert stolen == []
    assert sandbox.admitted == []


def _refused() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


@pytest.mark.parametrize("verb", ["submit", "run", "stream"])
@pytest.mark.fal_network("nowhere.invalid")
@pytest.mark.parametrize("where", ["refused", "no such host", "no TLS"])
def test_a_server_that_cannot_be_reached(call: Caller, sandbox: Sandbox, verb: str, where: str) -> None:
    url = {
        "refused": _refused(),
        "no such host": "http://nowhere.invalid",
        "no TLS": sandbox.url.replace("http", "https"),
    }
    client = Client(urls={"queue": url[where], "run": url[where]}, retry=Retry(attempts=3, base=0.01))
    with nothing_left_open():
        with pytest.raises(errors.NoConnectionError, match="could not be reached") as caught:
            _perform(call, verb, client)
        call.close(client)
    assert type(caught.value) is errors.NoConnectionError
    assert caught.value.retryable
    assert sandbox.admitted == []


@pytest.mark.parametrize("verb", ["submit", "run", "stream"])
@pytest.mark.parametrize("when", ["before the request was read", "after it was read", "in the headers", "in the body"])
def test_a_connection_that_is_reset(call: Caller, sandbox: Sandbox, verb: str, when: str) -> None:
    connections: list[int] = []

    def behave(connection: socket.socket) -> None:
        connections.append(1)
        if when != "before the request was read":
            while b'"prompt"' not in connection.recv(65536):
                pass
        if when == "in the headers":
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-ty")
        if when == "in the body":
            connection.sendall(b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{"te')
        # Lingering for no time at all turns closing into a reset.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with _serving(behave) as url, nothing_left_open():
        client = Client(urls={"queue": url, "run": url}, retry=Retry(base=0.01))
        with pytest.raises(errors.NoConnectionError) as caught:
            _perform(call, verb, client)
        call.close(client)
    # A reset this early may be noticed while the connection is made, and then nothing was sent.
    if when != "before the request was read":
        assert isinstance(caught.value, (errors.SubmissionUnknownError, errors.StreamTruncated))
        assert len(connections) == 1


def test_addresses_on_another_origin_are_not_followed(
    call: Caller, sandbox: Sandbox, client: Client, elsewhere: tuple[str, list[bytes]]
) -> None:
    place, arrived = elsewhere
    sandbox.respond(ECHO, {"text": "hello"}, run_seconds=0.0)
    request_id = call(_endpoint(), "submit", Input(prompt="x"), client=client).request_id
    urls = {name: f"{place}/{name}" for name in ("status_url", "response_url", "cancel_url")}
    sandbox.fail_next(f"*/{ECHO}", method="POST", status=200, body={"request_id": request_id, **urls})
    output = call(_endpoint(), "subscribe", Input(prompt="x"), client=client)
    assert output == Output(text="hello")
    assert arrived == []


def test_the_table_is_as_long_as_it_should_be() -> None:
    assert len({name for _, name, _ in TABLE}) >= 60


def test_a_backup_is_tried_once_when_a_service_is_out_of_reach(
    call: Caller, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fal_runtime import settings

    primary, backup = _refused(), f"{sandbox.url}/queue"
    monkeypatch.setitem(settings.BACKUPS, primary, backup)
    sandbox.respond(ECHO, {"text": "hello"}, run_seconds=0.0)
    client = Client(urls={"queue": primary}, retry=Retry(attempts=1))
    assert call(_endpoint(), "subscribe", Input(prompt="x"), client=client) == Output(text="hello")
    assert len(sandbox.admitted) == 1
    monkeypatch.setitem(settings.BACKUPS, primary, _refused())
    with pytest.raises(errors.NoConnectionError) as caught:
        call(_endpoint(), "submit", Input(prompt="x"), client=client)
    assert primary.removeprefix("http://") in str(caught.value)
    sandbox.fail_next("/queue/*", disconnect=True)
    monkeypatch.setitem(settings.BACKUPS, primary, backup)
    with pytest.raises(errors.SubmissionUnknownError):
        call(_endpoint(), "submit", Input(prompt="x"), client=client)
    call.close(client)


def test_a_cancelled_task_cancels_even_what_was_just_being_submitted(sandbox: Sandbox) -> None:
    sandbox.respond(ECHO, {"text": "late"}, run_seconds=30.0)
    sandbox.fail_next(f"*/{ECHO}", method="POST", delay_seconds=0.3)

    async def main() -> BaseException:
        task = asyncio.create_task(_endpoint().subscribe_async(Input(prompt="x")))
        while not sandbox.requests:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError) as caught:
            await task
        return caught.value

    error = asyncio.run(main())
    assert "cancelling it answered" in error.__notes__[0]
    assert [request.method for request in sandbox.requests] == ["POST", "PUT"]


def test_a_header_that_is_no_text_costs_no_result_and_no_second_run(call: Caller, sandbox: Sandbox) -> None:
    posts: list[int] = []
    answer = (
        b"HTTP/1.1 200 OK\r\nx-odd: caf\xe9\r\nx-fal-request-id: 7\r\ncontent-length: 16\r\n\r\n" + b'{"text":"hello"}'
    )

    def serve(connection: socket.socket) -> None:
        posts.append(1)
        while b'"prompt"' not in connection.recv(65536):
            pass
        connection.sendall(answer)

    with _serving(serve) as url:
        client = Client(urls={"run": url}, retry=Retry(base=0.01))
        result = _perform(call, "run", client)
        call.close(client)
    assert (result.data, result.request_id) == (Output(text="hello"), "7")
    assert len(posts) == 1
