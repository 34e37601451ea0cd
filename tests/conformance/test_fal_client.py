"""The official Python client works against the sandbox, changed in nothing but the addresses."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest

from fal_sandbox import Catalog, Sandbox
from fal_sandbox.catalog import Entry

fal_client: Any = import_module("fal_client")
client_module: Any = import_module("fal_client.client")

EASEL = "acme/easel/fast"
ARGUMENTS = {"prompt": "a cat", "seed": 7}


def easel() -> Entry:
    def body(schema: dict[str, Any]) -> dict[str, Any]:
        return {"content": {"application/json": {"schema": schema}}}

    image = {"type": "object", "required": ["url"], "properties": {"url": {"type": "string"}}}
    output = {
        "type": "object",
        "required": ["image", "seed"],
        "properties": {"image": image, "seed": {"type": "integer"}},
    }
    accepted = {"type": "object", "required": ["prompt"], "properties": {"prompt": {"type": "string"}}}
    paths = {
        f"/{EASEL}": {"post": {"requestBody": body(accepted)}},
        f"/{EASEL}/requests/{{request_id}}": {"get": {"responses": {"200": body(output)}}},
    }
    return Entry(EASEL, {}, {"components": {"schemas": {}}, "paths": paths})


@pytest.fixture(scope="module")
def running() -> Iterator[Sandbox]:
    with Sandbox(Catalog([easel()]), queue_seconds=0.4, run_seconds=0.4) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Sandbox:
    running.reset()
    environment = running.environment()
    monkeypatch.setenv("FAL_KEY", environment["FAL_KEY"])
    # The client takes hosts from its environment, but always puts https before them.
    monkeypatch.setattr(client_module, "RUN_URL_FORMAT", environment["FAL_RUN_URL"] + "/")
    monkeypatch.setattr(client_module, "QUEUE_URL_FORMAT", environment["FAL_QUEUE_URL"] + "/")
    return running


def check(result: dict[str, Any]) -> None:
    assert result["seed"] == 7
    assert result["image"]["url"].startswith("http://127.0.0.1:")


def test_sync(sandbox: Sandbox) -> None:
    client = fal_client.SyncClient()
    try:
        check(client.run(EASEL, ARGUMENTS))

        handle = client.submit(EASEL, ARGUMENTS, priority="low", hint="here", start_timeout=30)
        assert isinstance(handle.status(), fal_client.Queued)
        states: list[Any] = [type(status) for status in handle.iter_events(with_logs=True, interval=0.02)]
        assert states[-1] is fal_client.Completed
        assert fal_client.InProgress in states
        check(handle.get())
        check(client.result(EASEL, handle.request_id))
        completed = client.status(EASEL, handle.request_id, with_logs=True)
        assert completed.metrics["inference_time"] == pytest.approx(0.4)
        assert [entry["message"] for entry in completed.logs][-1] == "Done"
        with pytest.raises(fal_client.FalClientHTTPError) as refused:
            client.cancel(EASEL, handle.request_id)
        assert refused.value.status_code == 400

        enqueued: list[str] = []
        updates: list[Any] = []
        result = client.subscribe(
            EASEL, ARGUMENTS, with_logs=True, on_enqueue=enqueued.append, on_queue_update=updates.append
        )
        check(result)
        assert enqueued == [sandbox.admitted[-1].request_id]
        assert isinstance(updates[-1], fal_client.Completed)
    finally:
        client._client.close()


def test_sync_cancels_and_fails(sandbox: Sandbox) -> None:
    client = fal_client.SyncClient()
    try:
        handle = client.submit(EASEL, ARGUMENTS)
        handle.cancel()
        with pytest.raises(fal_client.FalClientHTTPError) as cancelled:
            handle.get()
        assert (cancelled.value.status_code, cancelled.value.error_type) == (499, "client_cancelled")
        assert client.get_handle(EASEL, handle.request_id).status().error_type == "client_cancelled"

        with pytest.raises(fal_client.FalClientHTTPError) as invalid:
            client.subscribe(EASEL, {"prompt": 3})
        assert invalid.value.status_code == 422
        assert "string_type" in str(invalid.value)

        with pytest.raises(fal_client.FalClientHTTPError) as unknown:
            client.submit("acme/nothing", {})
        assert unknown.value.status_code == 404

        sandbox.fail_next("/queue/*", method="POST", times=2, status=429, body={"detail": "slow down"})
        admitted = len(sandbox.admitted)
        client.submit(EASEL, ARGUMENTS)
        assert len(sandbox.admitted) == admitted + 1
    finally:
        client._client.close()


def test_async(sandbox: Sandbox) -> None:
    async def use() -> None:
        client = fal_client.AsyncClient()
        http = await client._client
        try:
            check(await client.run(EASEL, ARGUMENTS))
            handle = await client.submit(EASEL, ARGUMENTS)
            assert isinstance(await handle.status(with_logs=True), fal_client.Queued)
            check(await handle.get())
            check(await client.result(EASEL, handle.request_id))
            assert isinstance(await client.status(EASEL, handle.request_id), fal_client.Completed)

            updates: list[Any] = []
            check(await client.subscribe(EASEL, ARGUMENTS, with_logs=True, on_queue_update=updates.append))
            assert isinstance(updates[-1], fal_client.Completed)

            doomed = await client.submit(EASEL, ARGUMENTS)
            await client.cancel(EASEL, doomed.request_id)
            with pytest.raises(fal_client.FalClientHTTPError) as cancelled:
                await doomed.get()
            assert cancelled.value.error_type == "client_cancelled"
        finally:
            await http.aclose()

    asyncio.run(use())
    assert len(sandbox.admitted) == 4


def test_workflows(sandbox: Sandbox) -> None:
    sandbox.respond("workflows/acme/story", {"text": "once"})
    client = fal_client.SyncClient()
    try:
        handle = client.submit("workflows/acme/story", {})
        assert client.result("workflows/acme/story", handle.request_id) == {"text": "once"}
    finally:
        client._client.close()
