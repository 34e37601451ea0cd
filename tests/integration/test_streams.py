"""Streams against the sandbox, over real sockets; every case both blocking and async."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

import fal_runtime
from fal_endpoints.fal_ai import flux_lora_stream
from fal_runtime import Client, Endpoint, errors
from fal_sandbox import Sandbox
from support import ECHO, Caller, Input, Output, nothing_left_open

Echo = Endpoint[Input, Output]
PARTS: list[Any] = [{"text": "h"}, {"text": "hel"}]


@pytest.fixture
def teller(sandbox: Sandbox) -> Echo:
    sandbox.respond(ECHO, {"text": "hello"}, stream=PARTS, run_seconds=0.05)
    return Endpoint(ECHO, Input, Output)


def test_each_event_is_an_output_and_the_last_is_final(
    call: Caller, teller: Echo, sandbox: Sandbox, client: Client
) -> None:
    texts = [event.text for event in call(teller, "stream", Input(prompt="x"), client=client)]
    assert texts == ["h", "hel", "hello"]
    assert call.done(teller, "stream", Input(prompt="x"), client=client) == Output(text="hello")
    result = call.done(teller.with_result, "stream", Input(prompt="x"), client=client)
    assert (result.data, result.request_id) == (Output(text="hello"), sandbox.admitted[2].request_id)
    assert [request.path for request in sandbox.requests] == [f"/run/{ECHO}/stream"] * 3
    assert [job.input for job in sandbox.admitted] == [{"prompt": "x"}] * 3


def test_an_endpoint_of_the_catalogue(call: Caller, sandbox: Sandbox, client: Client) -> None:
    given = flux_lora_stream.Input(prompt="a cat")
    outputs = list(call(flux_lora_stream.endpoint, "stream", given, client=client))
    assert len(outputs) > 1
    assert all(isinstance(output, flux_lora_stream.Output) for output in outputs)
    assert [request.path for request in sandbox.requests] == ["/run/fal-ai/flux-lora/stream"]


def test_a_stream_of_bytes(call: Caller, sandbox: Sandbox, client: Client) -> None:
    sandbox.respond(ECHO, stream=[b"\x00" * 1000, b"\x01" * 24], stream_type="audio/mpeg", run_seconds=0.0)
    chunks = call(fal_runtime.endpoint(ECHO), "stream", {"prompt": "x"}, client=client)
    assert b"".join(chunks) == b"\x00" * 1000 + b"\x01" * 24
    assert call.done(fal_runtime.endpoint(ECHO), "stream", {"prompt": "x"}, client=client).endswith(b"\x01")


def test_its_options(call: Caller, teller: Echo, sandbox: Sandbox, client: Client) -> None:
    sandbox.respond(f"{ECHO}/slowly", {"text": "hello"}, stream=PARTS, run_seconds=0.0)
    lifecycle = fal_runtime.Lifecycle(expires_in=60)
    options: dict[str, Any] = {"hint": "h", "start_timeout": 0.5, "storage": lifecycle, "headers": {"X-Mine": "1"}}
    call.done(teller, "stream", Input(prompt="x"), path="slowly", client=client, extra={"more": 1}, **options)
    request = sandbox.requests[-1]
    assert request.path == f"/run/{ECHO}/slowly"
    assert request.json() == {"prompt": "x", "more": 1}
    sent = {name: request.headers[name] for name in request.headers if name.startswith("x-")}
    assert sent == {
        "x-fal-request-start-timeout": "0.5",
        "x-fal-runner-hint": "h",
        "x-fal-object-lifecycle-preference": lifecycle.to_json(),
        "x-mine": "1",
    }


def test_leaving_it_closes_the_connection(teller: Echo, sandbox: Sandbox) -> None:
    sandbox.respond(ECHO, {"text": "late"}, stream=[{"text": str(number)} for number in range(100)], run_seconds=90.0)
    with nothing_left_open(), Client() as client:
        with teller.stream(Input(prompt="x"), client=client, timeout=5) as stream:
            assert stream.request_id is None
            assert next(stream).text == "0"
            assert stream.request_id == sandbox.admitted[0].request_id
        assert list(stream) == []
        assert stream.done().text == "0"

    async def main() -> None:
        async with Client() as client, teller.stream_async(Input(prompt="x"), client=client, timeout=5) as stream:
            async for event in stream:
                assert event.text == "0"
                break

    with nothing_left_open():
        asyncio.run(main())


def test_a_wrong_input_opens_no_stream(call: Caller, teller: Echo, sandbox: Sandbox, client: Client) -> None:
    with pytest.raises(errors.InputError, match="count"):
        call.done(teller, "stream", {"prompt": "x", "count": "many"}, client=client)
    assert sandbox.requests == []
