"""The runtime against the sandbox, over real sockets; every case both blocking and async."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

import fal_runtime
from fal_runtime import Client, Completed, Endpoint, InProgress, Queued, Retry, errors, queue, transport
from fal_runtime.transport import Request, Stream
from fal_sandbox import Sandbox
from support import ECHO, Caller, Input, Output, nothing_left_open

Echo = Endpoint[Input, Output]


def test_subscribe(call: Caller, echo: Echo, sandbox: Sandbox) -> None:
    sandbox.respond(ECHO, {"text": "hello"}, queue_seconds=0.6, run_seconds=0.3, logs=["one", "two"])
    ids: list[str] = []
    events: list[Any] = []
    output = call(echo, "subscribe", Input(prompt="x"), logs=True, on_enqueue=ids.append, on_queue_update=events.append)
    assert output == Output(text="hello")
    assert ids == [sandbox.admitted[0].request_id]
    assert [type(event) for event in events if not isinstance(event, InProgress)] == [Queued, Completed]
    assert [line.message for event in events for line in event.logs] == ["one", "two"]
    assert events[-1].metrics["inference_time"] > 0
    assert sandbox.admitted[0].input == {"prompt": "x"}
    assert sandbox.admitted[0].endpoint_id == ECHO


def test_run(call: Caller, echo: Echo, sandbox: Sandbox) -> None:
    assert call(echo, "run", Input(prompt="x", count=1)) == Output(text="hello")
    assert [(job.service, job.input) for job in sandbox.admitted] == [("run", {"prompt": "x", "count": 1})]


def test_a_result_says_what_the_platform_said(call: Caller, echo: Echo) -> None:
    result = call(echo.with_result, "subscribe", Input(prompt="x"), logs=True)
    assert result.data == Output(text="hello")
    assert result.endpoint_id == ECHO
    assert result.metrics["inference_time"] > 0
    assert [line.message for line in result.logs] == ["one", "two"]
    assert result.warnings == ()
    assert b"hello" in result.raw
    direct = call(echo.with_result, "run", Input(prompt="x"))
    assert direct.request_id == direct.headers["x-fal-request-id"]
    assert isinstance(direct.billable_units, float)


def test_a_handle_lives_on_the_platform(call: Caller, echo: Echo, sandbox: Sandbox) -> None:
    sandbox.respond(ECHO, {"text": "hello"}, queue_seconds=0.5, run_seconds=0.1, logs=["one"])
    handle = call(echo, "submit", Input(prompt="x"))
    assert isinstance(call(handle, "status"), Queued)
    again = echo.handle(handle.request_id)
    events = call.list(again, "events", logs=True)
    assert isinstance(events[-1], Completed)
    assert call(again, "result") == Output(text="hello")
    assert call(handle, "result") == Output(text="hello")
    assert [line.message for line in call(handle, "status", logs=True).logs] == ["one"]
    assert call(handle, "status").logs == ()
    assert call(handle, "cancel") == "ALREADY_COMPLETED"
    assert call(echo.handle("00000000-0000-0000-0000-000000000000"), "cancel") == "NOT_FOUND"
    with pytest.raises(errors.NotFoundError):
        call(echo.handle("00000000-0000-0000-0000-000000000000"), "status")
    assert len(sandbox.admitted) == 1
    assert {request.path.rpartition("/requests")[0] for request in sandbox.requests if request.method != "POST"} == {
        "/queue/tests/echo"
    }


@pytest.mark.parametrize("id_", ["workflows/me/flow", "comfy/me/flow"])
def test_ids_in_a_namespace(call: Caller, sandbox: Sandbox, id_: str) -> None:
    sandbox.respond(id_, {"text": "flow"})
    untyped = fal_runtime.endpoint(id_)
    handle = call(untyped, "submit", {"prompt": "x"})
    assert call(untyped.handle(handle.request_id), "result") == {"text": "flow"}


def test_cancelling_in_the_queue_and_while_it_runs(call: Caller, echo: Echo, sandbox: Sandbox) -> None:
    sandbox.respond(ECHO, {"text": "late"}, queue_seconds=30.0)
    handle = call(echo, "submit", Input(prompt="x"))
    assert call(handle, "cancel") == "OK"
    with pytest.raises(errors.RequestCancelledError) as caught:
        call(handle, "result")
    assert caught.value.request_id == handle.request_id
    sandbox.respond(ECHO, {"text": "late"}, queue_seconds=0.0, run_seconds=30.0)
    assert call(call(echo, "submit", Input(prompt="x")), "cancel") == "CANCELLATION_REQUESTED"


def test_options_become_what_the_platform_reads(call: Caller, echo: Echo, sandbox: Sandbox) -> None:
    call(
        echo,
        "submit",
        Input(prompt="x"),
        webhook_url="https://example.com/hook?a=b&c",
        priority="low",
        hint="h",
        start_timeout=30,
        headers={"X-Fal-Queue-Priority": "normal", "X-Mine": "1"},
        extra={"more": [1]},
    )
    request = sandbox.requests[-1]
    assert request.query == {"fal_webhook": ["https://example.com/hook?a=b&c"]}
    sent = {name: request.headers[name] for name in request.headers if name.startswith("x-")}
    assert sent == {
        "x-fal-queue-priority": "low",
        "x-fal-runner-hint": "h",
        "x-fal-request-start-timeout": "30",
        "x-fal-request-timeout": "30",
        "x-mine": "1",
    }
    assert request.json() == {"prompt": "x", "more": [1]}
    assert request.headers["authorization"] == f"Key {sandbox.key}"


def test_a_run_and_a_subscription_take_the_options_that_concern_them(
    call: Caller, echo: Echo, sandbox: Sandbox
) -> None:
    common: dict[str, Any] = {"hint": "h", "start_timeout": 0.5, "headers": {"X-Mine": "1"}}
    sent = {"x-fal-runner-hint": "h", "x-fal-request-start-timeout": "0.5", "x-mine": "1"}
    call(echo, "run", Input(prompt="x"), **common)
    request = sandbox.requests[-1]
    assert {name: request.headers[name] for name in request.headers if name.startswith("x-")} == sent
    webhook = "http://127.0.0.1:9/hook"
    call(echo, "subscribe", Input(prompt="x"), webhook_url=webhook, priority="low", **common)
    request = next(each for each in sandbox.requests if each.path == f"/queue/{ECHO}")
    assert request.query == {"fal_webhook": [webhook]}
    assert {name: request.headers[name] for name in request.headers if name.startswith("x-")} == {
        **sent,
        "x-fal-queue-priority": "low",
    }


PLATFORM_HEADERS = {
    "x-fal-store-io": "0",
    "x-fal-no-retry": "1",
    "x-fal-retry-config": '{"timeout": {"retries": 2}}',
    "x-app-fal-disable-fallback": "true",
    "x-fal-tags": "team=art,job=7",
}
"""Source: fal docs, "Platform Headers" and "Request tags"."""


@pytest.mark.parametrize("verb", ["run", "submit", "subscribe"])
def test_what_the_platform_reads_from_headers_can_be_said(
    call: Caller, echo: Echo, sandbox: Sandbox, verb: str
) -> None:
    call(echo, verb, Input(prompt="x"), headers={name.title(): value for name, value in PLATFORM_HEADERS.items()})
    headers = next(request for request in sandbox.requests if request.method == "POST").headers
    assert {name: headers[name] for name in headers if name.startswith("x-")} == PLATFORM_HEADERS


def test_a_wrong_input_is_refused_before_a_byte_is_sent(call: Caller, echo: Echo, sandbox: Sandbox) -> None:
    wrong = Input(prompt="x", count="many")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    for verb in ("run", "submit", "subscribe"):
        with pytest.raises(errors.InputError) as caught:
            call(echo, verb, wrong)
        assert [(error.path, error.rule) for error in caught.value.errors] == [("count", "integer_type")]
    assert sandbox.requests == []


def test_the_endpoint_may_refuse_too(call: Caller, sandbox: Sandbox) -> None:
    untyped = fal_runtime.endpoint("fal-ai/flux/dev")
    with pytest.raises(errors.InputError) as caught:
        call(untyped, "subscribe", {"prompt": "x", "num_images": 9, "guidance_scale": 0})
    assert {error.path for error in caught.value.errors} == {"num_images", "guidance_scale"}
    assert caught.value.status_code == 422


def test_a_caller_may_choose_to_risk_paying_twice(call: Caller, echo: Echo, sandbox: Sandbox) -> None:
    client = Client(retry=Retry(base=0.01, resubmit_unknown=True))
    sandbox.fail_next(f"*/{ECHO}", method="POST", processed=True, disconnect=True)
    call(echo, "submit", Input(prompt="x"), client=client)
    assert len(sandbox.admitted) == 2
    client.close()


def test_leaving_subscribe_cancels(call: Caller, echo: Echo, sandbox: Sandbox) -> None:
    sandbox.respond(ECHO, {"text": "late"}, queue_seconds=0.0, run_seconds=30.0)

    def fail(event: object) -> None:
        raise ValueError("mine")

    with pytest.raises(errors.TimeoutExpired, match=r"not done within 0\.3 s") as timed_out:
        call(echo, "subscribe", Input(prompt="x"), timeout=0.3)
    assert isinstance(timed_out.value, TimeoutError)
    assert timed_out.value.clock == "total"
    with pytest.raises(errors.TimeoutExpired) as ran:
        call(echo, "subscribe", Input(prompt="x"), run_timeout=0.2)
    assert ran.value.clock == "run"
    with pytest.raises(ValueError, match="mine") as failed:
        call(echo, "subscribe", Input(prompt="x"), on_queue_update=fail)
    with pytest.raises(KeyboardInterrupt) as interrupted:
        call(echo, "subscribe", Input(prompt="x"), on_enqueue=_interrupt)
    sandbox.respond(ECHO, {"text": "late"}, queue_seconds=30.0)
    with pytest.raises(errors.StartTimeout) as not_started:
        call(echo, "subscribe", Input(prompt="x"), start_timeout=0.2)
    assert not_started.value.clock == "start"
    cancelled = [request.path for request in sandbox.requests if request.path.endswith("/cancel")]
    # The platform itself ends what does not start in time; the client may try to, if it is quicker.
    left, refused = sandbox.admitted[:-1], sandbox.admitted[-1]
    assert cancelled[: len(left)] == [f"/queue/tests/echo/requests/{job.request_id}/cancel" for job in left]
    assert not_started.value.request_id == refused.request_id
    for caught in (timed_out, ran, failed, interrupted):
        assert "answered CANCELLATION_REQUESTED" in caught.value.__notes__[0]


def _interrupt(request_id: str) -> None:
    raise KeyboardInterrupt


def test_a_cancellation_that_fails_does_not_hide_why_the_request_was_left(
    call: Caller, echo: Echo, sandbox: Sandbox
) -> None:
    left: list[str] = []

    def key() -> str:
        if left:
            raise OSError("the vault is sealed")
        return sandbox.key

    def leave(request_id: str) -> None:
        left.append(request_id)
        raise ValueError("mine")

    with Client(key=key) as client, pytest.raises(ValueError, match="mine") as caught:
        call(echo, "subscribe", Input(prompt="x"), on_enqueue=leave, client=client)
    assert caught.value.__notes__ == [f"request {left[0]} could not be cancelled and may still be running: OSError"]


def test_a_cancelled_task_cancels_its_request(echo: Echo, sandbox: Sandbox) -> None:
    sandbox.respond(ECHO, {"text": "late"}, run_seconds=30.0)

    async def main() -> None:
        task = asyncio.create_task(echo.subscribe_async(Input(prompt="x")))
        while not sandbox.admitted:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert [request.method for request in sandbox.requests if request.path.endswith("/cancel")] == ["PUT"]


def test_async_callbacks_are_awaited_and_blocking_verbs_refuse_them(echo: Echo, sandbox: Sandbox) -> None:
    seen: list[str] = []

    async def later(request_id: str) -> None:
        await asyncio.sleep(0)
        seen.append(request_id)

    asyncio.run(echo.subscribe_async(Input(prompt="x"), on_enqueue=later))
    assert seen == [sandbox.admitted[0].request_id]
    with pytest.raises(TypeError, match="later is a coroutine function"):
        echo.subscribe(Input(prompt="x"), on_enqueue=later)


@pytest.mark.parametrize(
    ("answer", "output", "paths"),
    [
        ({"text": None}, {"text": None, "note": None}, ["text"]),
        ({"note": 3, "text": "t"}, {"text": "t", "note": 3}, ["note"]),
        ({}, {"text": None, "note": None}, ["text"]),
        ([1], [1], [""]),
    ],
)
def test_a_paid_result_is_never_lost_over_a_field(
    call: Caller,
    echo: Echo,
    sandbox: Sandbox,
    caplog: pytest.LogCaptureFixture,
    answer: Any,
    output: Any,
    paths: list[str],
) -> None:
    sandbox.respond(ECHO, answer)
    result = call(echo.with_result, "run", Input(prompt="x"))
    data = (
        {name: getattr(result.data, name) for name in ("text", "note")}
        if isinstance(result.data, Output)
        else result.data
    )
    assert data == output
    assert [warning.path for warning in result.warnings] == paths
    with pytest.raises(errors.OutputError) as caught:
        call(echo, "run", Input(prompt="x"), client=Client(strict=True))
    assert caught.value.body == result.raw


def test_a_request_that_ended_with_an_error_raises_it(call: Caller, echo: Echo, sandbox: Sandbox) -> None:
    sandbox.respond(
        ECHO,
        {"detail": [{"loc": ["body", "image_url"], "msg": "gone", "type": "file_download_error"}]},
        status=422,
        headers={"x-fal-billable-units": "0"},
    )
    with pytest.raises(errors.FileDownloadError) as caught:
        call(echo, "subscribe", Input(prompt="x"))
    assert caught.value.request_id == sandbox.admitted[0].request_id
    assert caught.value.billable_units == 0.0
    assert caught.value.errors[0].path == "image_url"


def test_a_status_says_what_went_wrong(call: Caller, echo: Echo, sandbox: Sandbox) -> None:
    sandbox.respond(ECHO, {"detail": "no", "error_type": "runner_disconnected"}, status=503, after=0)
    handle = call(echo, "submit", Input(prompt="x"))
    status = call(handle, "status")
    assert isinstance(status, Completed)
    assert (status.error_type, bool(status.error)) == ("runner_disconnected", True)
    with pytest.raises(errors.RunnerError) as caught:
        call(handle, "result")
    assert caught.value.error_type == "runner_disconnected"


@pytest.mark.parametrize(
    ("body", "cause"),
    [
        ({"status": "FAILED", "error": "it broke"}, "it broke"),
        ({"status": "NEW_WORD"}, "NEW_WORD"),
    ],
)
def test_an_unknown_status_ends_the_waiting(call: Caller, echo: Echo, sandbox: Sandbox, body: Any, cause: str) -> None:
    sandbox.respond(ECHO, {"text": "hello"}, queue_seconds=0.0, run_seconds=0.0)
    sandbox.fail_next("*/status*", status=200, body=body, times=9)
    with pytest.raises(errors.FalError, match=cause) as caught:
        call(echo, "subscribe", Input(prompt="x"))
    assert caught.value.body is None or b"hello" in caught.value.body or b"progress" in caught.value.body


def test_urls_of_a_foreign_origin_are_not_followed(call: Caller, echo: Echo, sandbox: Sandbox, client: Client) -> None:
    with Sandbox() as other:
        urls = {f"{name}_url": f"{other.url}/queue/tests/echo/requests/1" for name in ("status", "response", "cancel")}
        sandbox.fail_next(f"/queue/{ECHO}", status=200, body={"request_id": "1", **urls})
        with pytest.raises(errors.NotFoundError):
            call(echo, "subscribe", Input(prompt="x"), client=client)
        assert other.requests == []


def test_addresses_of_the_answer_are_followed_to_the_letter(call: Caller, echo: Echo, sandbox: Sandbox) -> None:
    base = f"{sandbox.environment()['FAL_QUEUE_URL']}/elsewhere"
    urls = {f"{name}_url": f"{base}/{name}" for name in ("status", "response", "cancel")}
    sandbox.fail_next(f"*/{ECHO}", method="POST", status=200, body={"request_id": "1", **urls})
    handle = call(echo, "submit", Input(prompt="x"))
    sandbox.fail_next("*/elsewhere/status", status=200, body={"status": "IN_PROGRESS"})
    assert isinstance(call(handle, "status"), InProgress)
    sandbox.fail_next("*/elsewhere/status/stream*", status=404)
    sandbox.fail_next("*/elsewhere/status", status=200, body={"status": "COMPLETED"})
    sandbox.fail_next("*/elsewhere/response", status=200, body={"text": "hello"})
    assert call(handle, "result") == Output(text="hello")
    sandbox.fail_next("*/elsewhere/cancel", status=202, body={"status": "CANCELLATION_REQUESTED"})
    assert call(handle, "cancel") == "CANCELLATION_REQUESTED"


def test_many_threads_and_loops_share_a_client(echo: Echo, sandbox: Sandbox, client: Client) -> None:
    outputs: list[Output] = []

    def work() -> None:
        outputs.append(echo.subscribe(Input(prompt="x"), client=client))

        async def several() -> None:
            outputs.extend(
                await asyncio.gather(*(echo.subscribe_async(Input(prompt="x"), client=client) for _ in range(5)))
            )

        asyncio.run(several())

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outputs == [Output(text="hello")] * 36
    assert len(sandbox.admitted) == 36


@pytest.fixture
def unraisable() -> Iterator[None]:
    yield
    gc.collect()  # pools that die with their loop must do it without a word; warnings are errors here


@pytest.mark.usefixtures("unraisable")
def test_pools_die_quietly_with_their_loop(echo: Echo) -> None:
    for _ in range(3):
        assert asyncio.run(echo.run_async(Input(prompt="x"))) == Output(text="hello")
    gc.collect()


def test_an_http_client_of_ones_own_is_used_and_left_open(echo: Echo, sandbox: Sandbox) -> None:
    with httpx.Client(headers={"x-mine": "1"}) as own, Client(http_client=own) as client:
        echo.run(Input(prompt="x"), client=client)
        client.close()
        assert not own.is_closed
    assert sandbox.requests[-1].headers["x-mine"] == "1"


def test_nothing_is_logged_unless_asked_and_never_a_secret(
    echo: Echo, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "fal_runtime")
    sandbox.fail_next(f"*/{ECHO}", status=429)
    echo.submit(Input(prompt="private"), client=Client(retry=Retry(base=0.01)), webhook_url="https://x/?token=abc")
    text = caplog.text
    assert "trying again" in text
    assert all(secret not in text for secret in ("private", "sandbox-secret", "token"))


def test_files_of_an_output(call: Caller, sandbox: Sandbox, client: Client, tmp_path: Path) -> None:
    from PIL import Image

    from fal_endpoints.fal_ai import flux_dev

    output = flux_dev.run(flux_dev.Input(prompt="a cat", image_size="square", output_format="png"), client=client)
    picture = output.images[0]
    path = call(picture, "save", tmp_path / "new" / "cat.png")
    assert path == tmp_path / "new" / "cat.png"
    assert path.read_bytes() == call(picture, "read")
    with Image.open(path) as image:
        assert (image.format, image.size) == ("PNG", (512, 512))
    assert picture.to_pil().size == (512, 512)
    named = call(picture, "save", tmp_path)
    assert named.parent == tmp_path
    assert named.suffix == ".png"
    downloads = [request for request in sandbox.requests if request.path.startswith("/cdn/")]
    assert all("authorization" not in request.headers for request in downloads)


def test_an_interrupted_download_leaves_nothing(call: Caller, sandbox: Sandbox, client: Client, tmp_path: Path) -> None:
    from fal_endpoints.fal_ai import flux_dev

    picture = flux_dev.run(flux_dev.Input(prompt="a cat"), client=client).images[0]
    target = tmp_path / "cat.png"
    target.write_bytes(b"the old one")
    sandbox.fail_next("/cdn/*", status=200, body="half", disconnect=True, times=5)
    with pytest.raises(errors.NoConnectionError):
        call(picture, "save", target, client=client)
    assert [path.name for path in tmp_path.iterdir()] == ["cat.png"]
    assert target.read_bytes() == b"the old one"
    sandbox.fail_next("/cdn/*", status=500, body="half", disconnect=True, times=5)
    with pytest.raises(errors.NoConnectionError):
        call(picture, "read", client=client)
    sandbox.fail_next("/cdn/*", status=404)
    with pytest.raises(errors.NotFoundError):
        call(picture, "save", target, client=client)
    sandbox.fail_next("/cdn/*", status=503, times=2)
    assert call(picture, "save", target, client=client).stat().st_size > 1000


def test_data_uris_are_files_too(call: Caller, tmp_path: Path) -> None:
    from fal_endpoints.fal_ai import flux_dev

    picture = flux_dev.Image(url="data:text/plain;base64,aGVsbG8=", width=1, height=1)
    assert call(picture, "read") == b"hello"
    assert call(picture, "save", tmp_path / "x.txt").read_bytes() == b"hello"
    broken = flux_dev.Image(url="data:text/plain;base64,*", width=1, height=1)
    with pytest.raises(errors.OutputError, match="not valid base64"):
        call(broken, "read")


def test_without_a_key_the_message_says_what_to_do(
    call: Caller, echo: Echo, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FAL_KEY")
    with pytest.raises(errors.MissingCredentialsError, match="set FAL_KEY"):
        call(echo, "run", Input(prompt="x"))
    assert sandbox.requests == []


def test_a_subscription_needs_three_requests_and_no_polling(call: Caller, echo: Echo, sandbox: Sandbox) -> None:
    sandbox.respond(ECHO, {"text": "hello"}, queue_seconds=0.3, run_seconds=0.9, logs=["one", "two", "three"])
    events: list[Any] = []
    call(echo, "subscribe", Input(prompt="x"), logs=True, on_queue_update=events.append)
    assert [line.message for event in events for line in event.logs] == ["one", "two", "three"]
    assert [request.path.rpartition("/")[2] for request in sandbox.requests][:2] == ["deep", "stream"]
    assert len(sandbox.requests) == 3


@pytest.mark.parametrize(
    ("limit", "requests"),
    [
        pytest.param("_QUIET_AFTER", 4, id="is opened once more and no oftener"),
        pytest.param("_DEAF_AFTER", 3, id="may be silent for longer once it had begun"),
    ],
)
def test_a_silent_stream(
    call: Caller, echo: Echo, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, limit: str, requests: int
) -> None:
    monkeypatch.setattr(queue, limit, 0.2)
    sandbox.respond(ECHO, {"text": "hello"}, queue_seconds=0.0, run_seconds=1.5, logs=[])
    assert call(echo, "subscribe", Input(prompt="x")) == Output(text="hello")
    assert len(sandbox.requests) == requests


def test_a_stream_that_something_holds_back_is_given_up_for_asking(
    call: Caller, echo: Echo, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queue, "_DEAF_AFTER", 0.2)
    sandbox.fail_next("*/status/stream", delay_seconds=5.0)
    sandbox.respond(ECHO, {"text": "hello"}, queue_seconds=0.0, run_seconds=0.3)
    assert call(echo, "subscribe", Input(prompt="x")) == Output(text="hello")
    assert sum(request.path.endswith("/status/stream") for request in sandbox.requests) == 1
    assert any(request.path.endswith("/status") for request in sandbox.requests)


def test_a_thousand_at_once_leave_nothing_behind(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox.respond(ECHO, {"text": "hello"}, queue_seconds=0.5, run_seconds=1.0)
    endpoint: Echo = Endpoint(ECHO, Input, Output)

    async def main() -> list[Output]:
        async with Client() as client:
            calls = (endpoint.subscribe_async(Input(prompt=str(n)), client=client) for n in range(1000))
            return await asyncio.gather(*calls)

    with nothing_left_open():
        outputs = asyncio.run(main())
    assert outputs == [Output(text="hello")] * 1000
    assert len(sandbox.admitted) == 1000


@pytest.mark.parametrize("http", ["httpx", "pyreqwest"])
def test_submissions_that_begin_together_take_turns_and_runs_do_not(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, http: str
) -> None:
    monkeypatch.setenv("FAL_HTTP", http)
    sandbox.respond(ECHO, {"text": "hello"})
    endpoint: Echo = Endpoint(ECHO, Input, Output)
    under_way: dict[str, list[int]] = {"queue": [0, 0], "run": [0, 0]}
    """Requests of each service that are on their way, and the most there have been."""
    all_run = asyncio.Barrier(100)

    async def watch(request: Request, call_next: Any) -> Any:
        service = "run" if "/run/" in request.url else "queue"
        count = under_way[service]
        count[0] += 1
        count[1] = max(count)
        if service == "run":
            await all_run.wait()
        answer = await call_next(request)
        count[0] -= 1
        return answer

    async def main() -> None:
        async with asyncio.timeout(60), Client(middleware=[watch]) as client:
            given = Input(prompt="x")
            await asyncio.gather(*(endpoint.submit_async(given, client=client) for _ in range(200)))
            await asyncio.gather(*(endpoint.run_async(given, client=client) for _ in range(100)))

    with nothing_left_open():
        asyncio.run(main())
    assert under_way == {"queue": [0, 64], "run": [0, 100]}
    assert len(sandbox.admitted) == 300


def test_those_that_are_not_answered_hold_up_no_others_and_who_leaves_before_its_turn_sends_nothing(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    sandbox.respond(ECHO, {"text": "hello"})
    endpoint: Echo = Endpoint(ECHO, Input, Output)
    answered = asyncio.Event()
    waiting: list[Request] = []

    async def hold(request: Request, call_next: Any) -> Any:
        waiting.append(request)
        await answered.wait()
        return await call_next(request)

    async def main() -> None:
        async with asyncio.timeout(60), Client(middleware=[hold]) as client:
            given = Input(prompt="x")
            jobs = [asyncio.create_task(endpoint.submit_async(given, client=client)) for _ in range(90)]
            leaving = [asyncio.create_task(endpoint.subscribe_async(given, client=client)) for _ in range(10)]
            while len(waiting) < 64:
                await asyncio.sleep(0)
            for task in leaving:
                task.cancel()
            while len(waiting) < 90:
                await asyncio.sleep(0.01)
            answered.set()
            handles = await asyncio.gather(*jobs)
            assert {handle.request_id for handle in handles} == {job.request_id for job in sandbox.admitted}
            await asyncio.wait(leaving)
            assert all(task.cancelled() for task in leaving)

    monkeypatch.setattr(transport, "_TURN_WITHIN", 0.2)
    with nothing_left_open():
        asyncio.run(main())
    assert len(sandbox.admitted) == len(sandbox.requests) == 90


@pytest.mark.parametrize("http", ["httpx", "pyreqwest"])
def test_a_loop_that_ends_cancels_every_request_although_it_cancels_that_as_well(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, http: str
) -> None:
    monkeypatch.setenv("FAL_HTTP", http)
    sandbox.respond(ECHO, {"text": "late"}, run_seconds=600.0)
    endpoint: Echo = Endpoint(ECHO, Input, Output)

    def count(method: str, end: str) -> int:
        return len({each.path for each in sandbox.requests if each.method == method and each.path.endswith(end)})

    async def main() -> None:
        jobs = [asyncio.create_task(endpoint.subscribe_async(Input(prompt="x"))) for _ in range(100)]
        while count("GET", "/status/stream") < 100:
            await asyncio.sleep(0.01)
        for job in jobs:
            job.cancel()
        for _ in range(5):  # they begin to cancel their requests, and then the loop ends
            await asyncio.sleep(0)

    asyncio.run(main())
    assert len(sandbox.admitted) == count("PUT", "/cancel") == 100


def test_middleware_sees_every_attempt(call: Caller, echo: Echo, sandbox: Sandbox) -> None:
    seen: list[tuple[str, int]] = []

    async def watch(request: Any, call_next: Any) -> Any:
        changed = msgspec.structs.replace(request, headers={**request.headers, "x-trace": "7"})
        answer = await call_next(changed)
        seen.append((request.method, answer.status))
        return answer

    sandbox.fail_next(f"*/{ECHO}", method="POST", status=429)
    with Client(middleware=[watch], retry=Retry(base=0.01)) as client:
        call(echo, "subscribe", Input(prompt="x"), client=client)
    assert seen == [("POST", 429), ("POST", 200), ("GET", 200), ("GET", 200)]
    assert {request.headers["x-trace"] for request in sandbox.requests} == {"7"}


def test_a_middleware_that_gives_no_answer_is_named(call: Caller, echo: Echo) -> None:
    async def forgetful(request: Request, call_next: Any) -> None:
        await call_next(request)

    with (
        Client(middleware=[forgetful]) as client,
        pytest.raises(TypeError, match=r"forgetful returned .* NoneType; return"),
    ):
        call(echo, "run", Input(prompt="x"), client=client)


def test_a_proxy_is_told_where_to_go_and_adds_the_key(
    call: Caller, echo: Echo, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FAL_KEY")
    for name in ("FAL_KEY_ID", "FAL_KEY_SECRET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("FAL_HOME_DIR", "nowhere")
    answer = {"request_id": "1"}
    sandbox.fail_next("/my/proxy", method="POST", status=200, body=answer)
    with Client(proxy_url=f"{sandbox.url}/my/proxy") as client:
        assert call(echo, "submit", Input(prompt="x"), client=client, webhook_url="https://a.example").request_id == "1"
    target = sandbox.environment()["FAL_QUEUE_URL"]
    request = sandbox.requests[-1]
    assert request.headers["x-fal-target-url"] == f"{target}/{ECHO}?fal_webhook=https%3A%2F%2Fa.example"
    assert "authorization" not in request.headers


def test_with_options_shares_the_connections(call: Caller, echo: Echo, sandbox: Sandbox) -> None:
    with Client(headers={"x-a": "1"}) as client:
        other = client.with_options(headers={"x-b": "2"}, strict=True)
        assert other.blocking().io is client.blocking().io
        assert (other.strict, client.strict) == (True, False)
        call(echo, "run", Input(prompt="x"), client=other)
    assert (sandbox.requests[-1].headers.get("x-a"), sandbox.requests[-1].headers["x-b"]) == (None, "2")


def test_options_of_the_queue_and_of_storage(call: Caller, echo: Echo, sandbox: Sandbox) -> None:
    lifecycle = fal_runtime.Lifecycle(expires_in="1d", access="forbid", rules={"me": "allow"})
    call(echo, "submit", Input(prompt="x"), max_queue_length=3, storage=lifecycle)
    assert sandbox.requests[-1].query == {"fal_max_queue_length": ["3"]}
    assert msgspec.json.decode(sandbox.requests[-1].headers["x-fal-object-lifecycle-preference"]) == {
        "expiration_duration_seconds": 86400,
        "initial_acl": {"default": "forbid", "rules": [{"user": "me", "decision": "allow"}]},
    }
    with pytest.raises(errors.ConfigurationError, match="'normal' or 'low', not 'high'"):
        call(echo, "submit", Input(prompt="x"), priority="high")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_client_works_in_a_forked_process(call: Caller, echo: Echo, sandbox: Sandbox) -> None:
    client = Client()
    call(echo, "run", Input(prompt="x"), client=client)
    child = os.fork()
    if child == 0:
        try:
            output = call(echo, "run", Input(prompt="child"), client=client)
            os._exit(0 if output == Output(text="hello") else 1)
        finally:
            os._exit(2)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert call(echo, "run", Input(prompt="x"), client=client) == Output(text="hello")
    client.close()


def test_one_client_serves_many_threads(echo: Echo, sandbox: Sandbox) -> None:
    sandbox.respond(ECHO, {"text": "hello"}, run_seconds=0.01)
    with Client() as client, ThreadPoolExecutor(16) as pool:
        waiting = [pool.submit(echo.run, Input(prompt="x"), client=client) for _ in range(64)]
        outputs = [each.result() for each in waiting]
    assert outputs == [Output(text="hello")] * 64


def test_a_path_inside_an_app_and_another_method(call: Caller, sandbox: Sandbox) -> None:
    sandbox.respond("tests/echo/deep/variant", {"text": "hello"}, run_seconds=0.0, queue_seconds=0.0)
    endpoint: Echo = Endpoint(ECHO, Input, Output)
    hello = Output(text="hello")
    assert call(endpoint, "run", Input(prompt="a b", count=2), path="/variant", method="GET") == hello
    assert sandbox.admitted[-1].input == {"prompt": "a b", "count": "2"}
    assert call(endpoint, "run", Input(prompt="x"), path="variant", method="PUT") == hello
    assert call(endpoint, "subscribe", Input(prompt="x"), path="variant") == hello
    assert {request.path.partition("/deep")[2] for request in sandbox.requests if "/deep" in request.path} == {
        "/variant"
    }


@pytest.mark.parametrize("http", ["httpx", "pyreqwest"])
def test_a_program_ends_in_good_order(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, http: str) -> None:
    """A thread of the library's own, caught by the interpreter's end, would end the process with a signal."""
    monkeypatch.setenv("FAL_HTTP", http)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    sandbox.respond(ECHO, {"text": "hello"}, run_seconds=0.0, queue_seconds=0.0)
    program = (
        "import asyncio, fal_runtime\n"
        "async def main():\n"
        f"    call = fal_runtime.endpoint({ECHO!r}).run_async\n"
        "    return await asyncio.gather(*(call({'prompt': str(n)}) for n in range(6)))\n"
        "print(len(asyncio.run(main())))\n"
    )

    def run() -> tuple[int, str]:
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    with ThreadPoolExecutor(4) as pool:
        outcomes = [each.result() for each in [pool.submit(run) for _ in range(12)]]
    assert outcomes == [(0, "6\n")] * 12


@pytest.mark.parametrize("http", ["httpx", "pyreqwest"])
@pytest.mark.parametrize("how", ["send", "open", "read"])
def test_a_cancellation_is_heard_although_the_answer_is_just_there(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, http: str, how: str
) -> None:
    monkeypatch.setenv("FAL_HTTP", http)
    sandbox.respond(ECHO, {"text": "x" * 100_000})
    if how == "read":
        sandbox.fail_next("/run/*", piece_bytes=10_000, pause_seconds=0.1)
    body, headers = b'{"prompt": "x"}', {"authorization": f"Key {sandbox.key}", "content-type": "application/json"}
    request = Request(method="POST", url=f"{sandbox.url}/run/{ECHO}", headers=headers, body=body)

    async def read(stream: Stream) -> None:
        while await stream.read() is not None:
            pass

    async def main() -> None:
        async with Client() as client:
            io = client.running().io
            stream = await io.open(request) if how == "read" else None
            task = asyncio.create_task(read(stream) if stream is not None else getattr(io, how)(request))
            while stream is None and not sandbox.admitted:
                await asyncio.sleep(0)
            await asyncio.sleep(0)
            time.sleep(0.3)  # the answer arrives, and the event loop does not see it before the cancellation
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            if stream is not None:
                await stream.close()

    with nothing_left_open():
        asyncio.run(main())
