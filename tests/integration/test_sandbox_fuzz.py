"""Whatever is sent to the sandbox is answered, and by no server error: neither a traceback nor a hang."""

from __future__ import annotations

import json
import logging
import socket
from collections.abc import Iterator
from importlib import import_module
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from fal_sandbox import Catalog, Sandbox
from fal_sandbox.catalog import Entry

msgpack: Any = import_module("msgpack")

STUDIO = "acme/studio/fast"

FUZZED = settings(
    max_examples=120, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
NAMES = ("prompt", "mode", "seed", "images", "image_size", "strength", "nested")
INPUTS = st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=4), JSON, max_size=6)
SEGMENTS = (
    "queue", "run", "realtime", "ws", "rest", "cdn", "api", "v1", "schema", "sandbox", "acme", "studio", "fast", "stream",
    "requests", "status", "cancel", "tokens", "realtime", "storage", "auth", "token", "upload", "initiate", "multipart",
    "initiate-multipart", "complete", "files", "b", "gcs", "models", "pricing", "estimate", "billing-events", "by-endpoint",
    "acl", "sign", "settings", "openapi.json", "thumbnails", "workflows", "comfy", "1", "0", "99999999999999999999",
    ".", "..", "", " ", "%00", "é", "\ud800", "a" * 300,
)  # fmt: skip
PLACES = (
    f"/queue/{STUDIO}", "/queue/acme/studio/requests/x", "/queue/acme/studio/requests/x/status/stream", f"/run/{STUDIO}",
    f"/run/{STUDIO}/stream", "/rest/tokens/", "/rest/storage/upload/multipart/x", "/rest/storage/upload/initiate",
    "/cdn/files", "/cdn/files/b/x/y", "/cdn/files/b/x/y/multipart/z", "/cdn/gcs/x/y", "/cdn/thumbnails", "/api/v1/models",
    "/api/v1/models/pricing", "/api/v1/models/billing-events", "/api/v1/models/requests/by-endpoint",
    "/api/v1/storage/files/acl", "/schema/openapi.json", "/sandbox/requests", "/sandbox/fail", "",
)  # fmt: skip


def _path(place: str, segments: list[str]) -> str:
    parts = [quote(segment, safe="%", errors="surrogatepass") for segment in segments]
    return "/".join([place, *parts]) or "/"


PATHS = st.builds(_path, st.sampled_from(PLACES), st.lists(st.sampled_from(SEGMENTS) | st.text(max_size=5), max_size=4))
HEADERS = st.dictionaries(
    st.sampled_from(
        ("content-type", "accept", "accept-encoding", "range", "if-none-match", "x-fal-request-timeout", "x-fal-file-name",
         "x-fal-request-start-timeout", "x-fal-queue-priority", "x-fal-object-lifecycle", "x-fal-store-io", "expect-ct",
         "x-app-fal-upload-policy", "authorization", "sec-websocket-key", "upgrade", "x-fal-tags")
    ),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40).map(str.strip)
    | st.sampled_from(("bytes=0-", "bytes=9-1", "nan", "-1", "1e999", "{}", '{"initial_acl":1}', "Key", "Bearer x.y.z")),
    max_size=4,
)  # fmt: skip
QUERIES = st.dictionaries(
    st.sampled_from(
        ("logs", "fal_webhook", "fal_max_queue_length", "fal_jwt_token", "max_buffering", "storage_type", "endpoint_id",
         "limit", "cursor", "expand", "start", "end", "request_id", "url", "status", "X-Fal-Expires", "X-Fal-Signature")
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
    | st.sampled_from((STUDIO, "1", "-1", "99999999999999999999", "fal-cdn-v3", "2020-01-01", "0001-01-01", "NaN")),
    max_size=4,
)  # fmt: skip


def studio() -> Entry:
    def body(schema: dict[str, Any]) -> dict[str, Any]:
        return {"content": {"application/json": {"schema": schema}}}

    size = {"type": "object", "properties": {"width": {"type": "integer", "minimum": 1}, "height": {"type": "integer"}}}
    properties = {
        "prompt": {"type": "string", "maxLength": 20},
        "mode": {"type": "string", "enum": ["draft", "fine"], "default": "draft"},
        "seed": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "strength": {"type": "number", "multipleOf": 0.25, "exclusiveMaximum": 4},
        "image_size": {"anyOf": [size, {"type": "string", "enum": ["square"]}]},
        "images": {"type": "array", "maxItems": 3, "uniqueItems": True, "items": {"type": "string"}},
        "nested": {"type": "object", "additionalProperties": {"type": "number"}},
    }
    image = {"type": "object", "required": ["url"], "properties": {"url": {"type": "string"}}}
    made = {"type": "object", "properties": {"image": image, "seed": {"type": "integer"}, "prompt": {"type": "string"}}}
    paths = {
        f"/{STUDIO}": {"post": {"requestBody": body({"type": "object", "properties": properties})}},
        f"/{STUDIO}/requests/{{request_id}}": {"get": {"responses": {"200": body(made)}}},
    }
    metadata = {"stream_url": f"https://fal.run/{STUDIO}/stream"}
    return Entry(STUDIO, metadata, {"components": {"schemas": {}}, "paths": paths})


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(Catalog([studio()]), latency="zero") as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def http(sandbox: Sandbox) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Key {sandbox.key}"}
    with httpx.Client(base_url=sandbox.url, headers=headers, trust_env=False, timeout=20) as client:
        yield client


@pytest.fixture
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """The server has nothing to complain of: a traceback would be in its log."""
    caplog.set_level(logging.ERROR, "uvicorn.error")
    yield
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


@FUZZED
@given(
    method=st.sampled_from(("GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "BREW")),
    path=PATHS,
    query=QUERIES,
    headers=HEADERS,
    body=st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()),
)
def test_any_request_is_answered(
    http: httpx.Client, quiet: None, method: str, path: str, query: dict[str, str], headers: dict[str, str], body: bytes
) -> None:
    url = httpx.URL(http.base_url, raw_path=path.encode(), params=None).copy_merge_params(query)
    response = http.request(method, url, headers=headers, content=body)
    assert response.status_code < 500, response.text


@FUZZED
@given(
    place=st.sampled_from(
        ("/rest/tokens/", "/rest/tokens/realtime", "/rest/storage/auth/token", "/rest/storage/upload/initiate",
         "/rest/storage/upload/initiate-multipart", "/api/v1/models/pricing/estimate", "/api/v1/storage/settings",
         "/api/v1/storage/files/sign", "/api/v1/storage/files/acl", "/sandbox/respond", "/sandbox/fail", "/sandbox/clock",
         "/sandbox/webhooks/request", "/sandbox/webhooks/rotate", "/sandbox/webhooks/redeliver")
    ),
    body=st.dictionaries(
        st.sampled_from(
            ("allowed_apps", "app", "token_expiration", "duration", "file_name", "content_type", "estimate_type", "endpoints",
             "expiration_duration_seconds", "initial_acl", "expiration_seconds", "default", "rules", "fault", "target",
             "endpoint", "output", "status", "headers", "request_id", "timestamp", "user_id", "keep", "on")
        ),
        JSON | st.sampled_from(("unit_price", STUDIO, "allow", "forbid", "nginx-502", "/nowhere", -1, 60)),
        max_size=5,
    ),
    method=st.sampled_from(("POST", "PUT")),
)  # fmt: skip
def test_any_object_is_answered(
    http: httpx.Client, sandbox: Sandbox, quiet: None, place: str, body: dict[str, Any], method: str
) -> None:
    sandbox.reset()
    response = http.request(method, place, content=json.dumps(body), headers={"content-type": "application/json"})
    assert response.status_code < 500, response.text
    sandbox.reset()


@FUZZED
@given(value=INPUTS, service=st.sampled_from(("queue", "run", "stream")))
def test_any_input_is_judged(http: httpx.Client, quiet: None, value: dict[str, Any], service: str) -> None:
    path = {"queue": f"/queue/{STUDIO}", "run": f"/run/{STUDIO}", "stream": f"/run/{STUDIO}/stream"}[service]
    response = http.post(path, content=json.dumps(value), headers={"content-type": "application/json"})
    assert response.status_code in (200, 422), response.text
    if service == "queue" and response.status_code == 200:
        job = response.json()
        assert http.get(job["status_url"], params={"logs": 1}).json()["status"] == "COMPLETED"
        assert http.get(job["response_url"]).status_code in (200, 422)


def _request(head: bytes, body: bytes) -> bytes:
    return head + b"\r\n\r\n" + body


@FUZZED
@given(
    garbage=st.binary(min_size=1, max_size=80)
    | st.builds(
        _request,
        st.sampled_from(
            (b"GET / HTTP/1.1\r\nhost: x", b"GET * HTTP/1.1\r\nhost: x", b"POST /queue/a/b HTTP/1.1\r\ncontent-length: -1",
             b"GET http://[ HTTP/1.1\r\nhost: x", b"POST /run/a/b HTTP/1.1\r\ntransfer-encoding: chunked",
             b"CONNECT x:1 HTTP/1.1", b"GET /realtime/a HTTP/1.1\r\nupgrade: websocket\r\nconnection: upgrade",
             b"GET /%ff%00?%zz HTTP/1.0", b"GET /x HTTP/9.9", b"POST /rest/tokens/ HTTP/1.1\r\ncontent-length: 5")
        ),
        st.binary(max_size=30),
    )
)  # fmt: skip
def test_any_bytes_are_survived(http: httpx.Client, sandbox: Sandbox, quiet: None, garbage: bytes) -> None:
    host, port = sandbox.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(garbage)
        connection.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while chunk := connection.recv(4096):
                answer += chunk
        except ConnectionResetError:
            pass
    assert not answer.startswith(b"HTTP/1.1 5"), answer
    assert http.get("/api/v1/meta").status_code == 200


@FUZZED
@given(
    frames=st.lists(
        st.binary(max_size=30) | st.text(max_size=20) | INPUTS.map(lambda value: _packed(value)), min_size=1, max_size=4
    ),
    path=st.sampled_from((f"realtime/{STUDIO}/realtime", f"ws/{STUDIO}", f"ws/{STUDIO}/stream", f"realtime/{STUDIO}")),
    query=QUERIES,
)
def test_any_frame_is_survived(
    sandbox: Sandbox, quiet: None, frames: list[str | bytes], path: str, query: dict[str, str]
) -> None:
    query = {name: value for name, value in query.items() if name == "max_buffering"}
    url = str(httpx.URL(sandbox.url.replace("http", "ws", 1) + f"/{path}", params=query))
    ended = 1000
    try:
        with connect(url, additional_headers={"authorization": f"Key {sandbox.key}"}, proxy=None) as connection:
            for frame in frames:
                connection.send(frame)
                connection.recv(timeout=20)
    except ConnectionClosed as closed:
        ended = closed.rcvd.code if closed.rcvd is not None else 1006
    except InvalidStatus as refused:
        ended = refused.response.status_code
    assert ended in (1000, 1007, 400, 404)


def _packed(value: dict[str, Any]) -> bytes:
    try:
        packed: bytes = msgpack.packb(value)
    except (OverflowError, ValueError):
        return b"\xc1"
    return packed
