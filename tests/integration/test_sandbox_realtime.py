"""The sandbox's websockets: realtime connections, and HTTP over one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, ConnectionClosedOK, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from fal_sandbox import Catalog, Sandbox
from fal_sandbox.catalog import Entry

msgpack: Any = import_module("msgpack")

BRUSH = "acme/brush/fast"
OTHER = "acme/plain"


def brush() -> Entry:
    def body(schema: dict[str, Any]) -> dict[str, Any]:
        return {"content": {"application/json": {"schema": schema}}}

    given = {"type": "object", "required": ["prompt"], "properties": {"prompt": {"type": "string"}}}
    image = {"type": "object", "required": ["url"], "properties": {"url": {"type": "string"}}}
    made = {"type": "object", "required": ["image"], "properties": {"image": image, "prompt": {"type": "string"}}}
    paths = {
        f"/{BRUSH}": {"post": {"requestBody": body(given)}},
        f"/{BRUSH}/requests/{{request_id}}": {"get": {"responses": {"200": body(made)}}},
    }
    return Entry(BRUSH, {}, {"components": {"schemas": {}}, "paths": paths})


@pytest.fixture(scope="module")
def running() -> Iterator[Sandbox]:
    with Sandbox(Catalog([brush()]), run_seconds=0.0) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running: Sandbox) -> Sandbox:
    running.reset()
    return running


def opened(
    sandbox: Sandbox, path: str = f"{BRUSH}/realtime", query: str = "", key: str | None = None
) -> ClientConnection:
    url = sandbox.environment()["FAL_REALTIME_URL"]
    headers = {"authorization": f"Key {sandbox.key if key is None else key}"}
    return connect(f"{url}/{path}{query}", additional_headers=headers, proxy=None)


def ask(connection: ClientConnection, value: object) -> Any:
    connection.send(msgpack.packb(value))
    answer = connection.recv(timeout=20)
    assert isinstance(answer, bytes), answer
    timing = json.loads(connection.recv(timeout=20))
    assert (timing["type"], timing["action"]) == ("x-fal-message", "timings")
    assert timing["timing"] >= 0
    return msgpack.unpackb(answer)


def error(connection: ClientConnection) -> tuple[str, str, int]:
    """The error frame that comes next, and the code that the connection is then closed with."""
    frame = json.loads(connection.recv(timeout=20))
    assert frame["type"] == "x-fal-error"
    with pytest.raises(ConnectionClosed) as closed:
        connection.recv(timeout=20)
    assert closed.value.rcvd is not None
    return frame["error"], frame["reason"], closed.value.rcvd.code


@pytest.mark.parametrize("path", [f"{BRUSH}/realtime", f"{BRUSH}/ws", BRUSH])
def test_every_input_has_an_output(sandbox: Sandbox, path: str) -> None:
    with opened(sandbox, path) as connection:
        for prompt in ("a cat", "a dög"):
            output = ask(connection, {"prompt": prompt, "extra": {1: b"bytes"}})
            assert output["prompt"] == prompt
            assert httpx.get(output["image"]["url"], trust_env=False).headers["content-type"] == "image/png"
    jobs = sandbox.admitted
    assert [(job.endpoint_id, job.service, job.input["prompt"]) for job in jobs] == [
        (BRUSH, "realtime", "a cat"),
        (BRUSH, "realtime", "a dög"),
    ]
    assert sandbox.requests[0].path == f"/realtime/{path}"


def test_tokens_open_a_connection_until_they_run_out(sandbox: Sandbox) -> None:
    headers = {"authorization": f"Key {sandbox.key}"}
    body = {"allowed_apps": ["brush"], "token_expiration": 60}
    token = httpx.post(f"{sandbox.url}/rest/tokens/", json=body, headers=headers, trust_env=False).json()
    with opened(sandbox, query=f"?fal_jwt_token={token}&max_buffering=2", key="") as connection:
        ask(connection, {"prompt": "a cat"})
    sandbox.advance(61)
    for query in (f"?fal_jwt_token={token}", "?fal_jwt_token=x", ""):
        with opened(sandbox, query=query, key="wrong") as connection:
            assert json.loads(connection.recv()) == {"status": "error", "error": "Unauthorized"}
            with pytest.raises(ConnectionClosed):
                connection.recv()
    assert len(sandbox.admitted) == 1


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        ("acme/nothing/realtime", "", 404),
        ("", "", 404),
        (f"{BRUSH}/realtime", "?max_buffering=0", 400),
        (f"{BRUSH}/realtime", "?max_buffering=61", 400),
        (f"{BRUSH}/realtime", "?max_buffering=%C2%B2", 400),
    ],
)
def test_what_cannot_be_connected_is_refused(sandbox: Sandbox, path: str, query: str, status: int) -> None:
    with pytest.raises(InvalidStatus) as refused:
        opened(sandbox, path, query)
    assert refused.value.response.status_code == status
    assert json.loads(refused.value.response.body or b"")["detail"]


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (msgpack.packb({"prompt": 3}), "prompt: Input should be a valid string"),
        (msgpack.packb([1]), "array"),
        (b"\xc1", ""),
        (b"", ""),
        (b"\x81\xa1a" + b"\x91" * 100_000, ""),
        (msgpack.packb({"prompt": msgpack.ExtType(5, b"x")}), ""),
        ('{"prompt": "text"}', "binary"),
    ],
)
def test_a_bad_input_ends_the_connection(sandbox: Sandbox, frame: Any, reason: str) -> None:
    with opened(sandbox) as connection:
        connection.send(frame)
        code, told, closed = error(connection)
        assert (code, closed) == ("INTERNAL_ERROR", 1000)
        assert reason in told


def test_silence_ends_the_connection(sandbox: Sandbox) -> None:
    with opened(sandbox) as connection:
        ask(connection, {"prompt": "a cat"})
        sandbox.advance(59)
        ask(connection, {"prompt": "a cat"})
        sandbox.advance(61)
        code, _, closed = error(connection)
        assert (code, closed) == ("TIMEOUT", 1000)
    sandbox.respond(OTHER, {}, session_timeout=0.05)
    with opened(sandbox, OTHER) as connection:
        assert error(connection)[0] == "TIMEOUT"


def test_a_full_buffer_drops_the_oldest(sandbox: Sandbox) -> None:
    def number_of(value: Any) -> Any:
        return {"n": value["n"]}

    sandbox.respond(OTHER, number_of, run_seconds=0.3)
    with opened(sandbox, OTHER, "?max_buffering=1") as connection:
        for number in range(9):
            connection.send(msgpack.packb({"n": number}))
        told = [msgpack.unpackb(connection.recv(timeout=20))["n"]]
        while told[-1] != 8:
            connection.recv(timeout=20)
            told.append(msgpack.unpackb(connection.recv(timeout=20))["n"])
    assert len(told) < 9
    assert told == sorted(told)


def test_outputs_are_programmable(sandbox: Sandbox) -> None:
    frame = '{"type":"x-fal-error","error":"STRANGE","reason":"made up"}'
    sandbox.respond(OTHER, {"n": 0}, realtime=[{"n": 1}, b"\x00", frame], run_seconds=0)
    with opened(sandbox, OTHER) as connection:
        assert ask(connection, {}) == {"n": 1}
        assert ask(connection, {}) == 0
        connection.send(msgpack.packb({}))
        assert connection.recv() == frame
        connection.recv()
        assert ask(connection, {}) == {"n": 0}
    sandbox.respond(OTHER, {"n": 0}, realtime_text=True, run_seconds=0)
    with opened(sandbox, OTHER) as connection:
        connection.send('{"prompt": "a cat"}')
        assert connection.recv() == '{"n":0}'
    sandbox.respond(OTHER, {"detail": "no more memory"}, status=500)
    with opened(sandbox, OTHER) as connection:
        connection.send(msgpack.packb({}))
        assert error(connection) == ("INTERNAL_ERROR", "no more memory", 1000)


@pytest.mark.parametrize("code", [1000, 1008, 1011])
def test_connections_can_close_in_the_middle(sandbox: Sandbox, code: int) -> None:
    sandbox.fail_next("/realtime/*", close_code=code, after_frames=2)
    with opened(sandbox) as connection:
        ask(connection, {"prompt": "a cat"})
        ask(connection, {"prompt": "a cat"})
        with pytest.raises(ConnectionClosed) as closed:
            connection.recv()
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, isinstance(closed.value, ConnectionClosedOK)) == (code, code == 1000)
    with opened(sandbox) as connection:
        ask(connection, {"prompt": "a cat"})


def test_connections_can_break_and_fail_to_open(sandbox: Sandbox) -> None:
    sandbox.fail_next("/realtime/*", disconnect=True, after_frames=1)
    with opened(sandbox) as connection:
        ask(connection, {"prompt": "a cat"})
        with pytest.raises(ConnectionClosed) as closed:
            connection.recv()
        assert closed.value.rcvd is None
    sandbox.fail_next("/realtime/*", frame="hello", close_code=1011)
    with opened(sandbox) as connection:
        assert connection.recv() == "hello"
    sandbox.fail_next("/realtime/*", status=503, body={"detail": "no runner"})
    with pytest.raises(InvalidStatus) as refused:
        opened(sandbox)
    assert refused.value.response.status_code == 503


def test_a_handshake_with_an_upload_policy_is_closed(sandbox: Sandbox) -> None:
    url = f"{sandbox.environment()['FAL_REALTIME_URL']}/{BRUSH}/realtime"
    headers = {"authorization": f"Key {sandbox.key}", "x-app-fal-upload-policy": "{}"}
    with connect(url, additional_headers=headers, proxy=None) as connection:
        with pytest.raises(ConnectionClosed) as closed:
            connection.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1011


def test_http_over_a_websocket(sandbox: Sandbox) -> None:
    sandbox.respond(OTHER, {"n": 0}, stream=[{"n": 1}], run_seconds=0)
    base, headers = sandbox.url.replace("http", "ws") + "/ws", {"authorization": f"Key {sandbox.key}"}

    def exchange(connection: ClientConnection, body: str) -> tuple[int, bytes]:
        connection.send(body)
        start, content = json.loads(connection.recv()), b""
        while isinstance(part := connection.recv(), bytes):
            content += part
        end = json.loads(part)
        assert (start["type"], end["type"], start["request_id"]) == ("start", "end", end["request_id"])
        return start["status"], content

    with connect(f"{base}/{OTHER}", additional_headers=headers, proxy=None) as connection:
        assert [exchange(connection, "{}") for _ in range(2)] == [(200, b'{"n":0}')] * 2
        assert exchange(connection, "{")[0] == exchange(connection, "[]")[0] == 422
    with connect(f"{base}/{OTHER}/stream", additional_headers=headers, proxy=None) as connection:
        assert exchange(connection, "{}") == (200, b'data: {"n":1}\n\ndata: {"n":0}\n\n')
    for path, key, status in ((OTHER, "wrong", 401), ("acme/nothing", sandbox.key, 404)):
        with pytest.raises(InvalidStatus) as refused:
            connect(f"{base}/{path}", additional_headers={"authorization": f"Key {key}"}, proxy=None)
        assert refused.value.response.status_code == status
