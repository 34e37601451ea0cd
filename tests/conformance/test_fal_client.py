"""The official Python client works against the sandbox, changed in nothing but the addresses."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import pytest

from fal_sandbox import Catalog, Sandbox
from fal_sandbox.catalog import Entry

fal_client: Any = import_module("fal_client")
msgpack: Any = import_module("msgpack")
client_module: Any = import_module("fal_client.client")

EASEL = "acme/easel/fast"
ARGUMENTS = {"prompt": "a cat", "seed": 7}
MIB = 2**20


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
    monkeypatch.setattr(client_module, "REALTIME_URL_FORMAT", environment["FAL_REALTIME_URL"] + "/")
    # And these it has only as constants.
    monkeypatch.setattr(client_module, "REST_URL", environment["FAL_REST_URL"])
    monkeypatch.setattr(client_module, "CDN_URL", environment["FAL_CDN_URL"])
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


def test_streams(sandbox: Sandbox) -> None:
    sandbox.respond(EASEL, {"n": 2}, stream=[{"n": 0}, {"n": 1}], after=0.01)
    client = fal_client.SyncClient()
    try:
        assert list(client.stream(EASEL, ARGUMENTS)) == [{"n": 0}, {"n": 1}, {"n": 2}]
    finally:
        client._client.close()

    async def use() -> None:
        client = fal_client.AsyncClient()
        http = await client._client
        try:
            assert [event async for event in client.stream(EASEL, ARGUMENTS)] == [{"n": 0}, {"n": 1}, {"n": 2}]
        finally:
            await http.aclose()

    asyncio.run(use())


@pytest.mark.parametrize("by_token", [True, False])
def test_realtime(sandbox: Sandbox, by_token: bool) -> None:
    client = fal_client.SyncClient()
    try:
        with client.realtime(EASEL, use_jwt=by_token, max_buffering=3) as connection:
            connection.send(ARGUMENTS)
            check(connection.recv())
            connection.send({"prompt": 3})
            with pytest.raises(client_module.RealtimeError) as failed:
                connection.recv()
            assert failed.value.error == "INTERNAL_ERROR"
        with client.ws_connect(EASEL, use_jwt=by_token, path="/realtime") as raw:
            raw.send(msgpack.packb(ARGUMENTS))
            assert isinstance(raw.recv(), bytes)
    finally:
        client._client.close()

    async def use() -> None:
        client = fal_client.AsyncClient()
        http = await client._client
        try:
            async with client.realtime(EASEL, use_jwt=by_token) as connection:
                await connection.send(ARGUMENTS)
                check(await connection.recv())
        finally:
            await http.aclose()

    asyncio.run(use())
    handshakes = [request for request in sandbox.requests if request.path.startswith("/realtime/")]
    assert all(("authorization" in request.headers) != by_token for request in handshakes)
    assert [job.service for job in sandbox.admitted] == ["realtime"] * 4


@pytest.fixture
def unclosed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Closes what the client makes for the CDN and leaves open."""
    made: list[httpx.Client] = []

    class Client(httpx.Client):
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            made.append(self)

    monkeypatch.setattr(client_module.httpx, "Client", Client)
    yield
    for client in made:
        client.close()


LIFECYCLE: Any = fal_client.StorageSettings(expires_in="1h", initial_acl=fal_client.StorageACL(default="allow"))


@pytest.mark.usefixtures("unclosed")
def test_uploads(sandbox: Sandbox, tmp_path: Path) -> None:
    small, large = tmp_path / "small.png", tmp_path / "large.bin"
    small.write_bytes(b"\x89PNG small")
    with large.open("wb") as file:
        file.truncate(100 * MIB + 3)
    client = fal_client.SyncClient()
    try:
        urls = [
            client.upload(b"bytes", "text/plain", "a.txt", lifecycle=LIFECYCLE),
            client.upload_file(small),
            client.upload(b"fallback", "text/plain", "b.txt", repository="fal"),
            client.upload_file(large),
        ]
    finally:
        client._client.close()
    check_uploads(sandbox, urls)


def test_uploads_async(sandbox: Sandbox, tmp_path: Path) -> None:
    small, large = tmp_path / "small.png", tmp_path / "large.bin"
    small.write_bytes(b"\x89PNG small")
    with large.open("wb") as file:
        file.truncate(100 * MIB + 3)

    async def use() -> list[str]:
        client = fal_client.AsyncClient()
        http = await client._client
        try:
            return [
                await client.upload(b"bytes", "text/plain", "a.txt", lifecycle=LIFECYCLE),
                await client.upload_file(small),
                await client.upload(b"fallback", "text/plain", "b.txt", repository="fal"),
                await client.upload_file(large),
            ]
        finally:
            await http.aclose()

    check_uploads(sandbox, asyncio.run(use()))


def check_uploads(sandbox: Sandbox, urls: list[str]) -> None:
    assert [file.url for file in sandbox.uploads] == urls
    assert [file.size for file in sandbox.uploads] == [5, 10, 8, 100 * MIB + 3]
    assert [file.content_type for file in sandbox.uploads[:3]] == ["text/plain", "image/png", "text/plain"]
    assert sandbox.uploads[0].lifecycle["expiration_duration_seconds"] == 3600
    assert httpx.get(urls[1], trust_env=False).content == b"\x89PNG small"
    parts = [request for request in sandbox.requests if request.method == "PUT" and "/multipart/" in request.path]
    assert len(parts) == 11


@pytest.mark.usefixtures("unclosed")
def test_it_falls_back_when_the_cdn_fails(sandbox: Sandbox) -> None:
    sandbox.fail("internal-error", "/cdn/files/upload")
    client = fal_client.SyncClient()
    try:
        url = client.upload(b"bytes", "text/plain", "a.txt", fallback_repository="fal")
    finally:
        client._client.close()
    assert [file.url for file in sandbox.uploads] == [url]
    assert "/gcs/" in url
