"""The official JavaScript client works against the sandbox, changed in nothing but the addresses."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from fal_sandbox import Catalog, Sandbox
from fal_sandbox.catalog import Entry
from kept import kept

PACKAGE = "@fal-ai/client@1.10.1"
PROGRAM = Path(__file__).with_name("client.cjs")
EASEL = "acme/easel/fast"

Play = Callable[[str], Any]


def easel(endpoint_id: str = EASEL, **metadata: Any) -> Entry:
    def body(schema: dict[str, Any]) -> dict[str, Any]:
        return {"content": {"application/json": {"schema": schema}}}

    image = {"type": "object", "required": ["url"], "properties": {"url": {"type": "string"}}}
    made = {"type": "object", "required": ["image"], "properties": {"image": image, "seed": {"type": "integer"}}}
    given = {"type": "object", "required": ["prompt"], "properties": {"prompt": {"type": "string"}}}
    paths = {
        f"/{endpoint_id}": {"post": {"requestBody": body(given)}},
        f"/{endpoint_id}/requests/{{request_id}}": {"get": {"responses": {"200": body(made)}}},
    }
    return Entry(endpoint_id, metadata, {"components": {"schemas": {}}, "paths": paths})


@pytest.fixture(scope="session")
def modules() -> Path:
    """A folder with the client, kept between runs."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("node and npm are needed for the JavaScript client")
    if (
        "--experimental-websocket"
        not in subprocess.run(["node", "--help"], capture_output=True, text=True, check=False).stdout
        and _node_major() < 22
    ):
        pytest.skip("this node has no WebSocket")
    return kept(PACKAGE.replace("/", "-"), _install)


def _install(folder: Path) -> None:
    (folder / "package.json").write_text('{"private": true}')
    command = ["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", PACKAGE]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode != 0:
        pytest.skip(f"npm cannot install {PACKAGE}: {done.stderr.strip()[-300:]}")


def _node_major() -> int:
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    return int(version.removeprefix("v").partition(".")[0])


@pytest.fixture(scope="module")
def running() -> Iterator[Sandbox]:
    catalog = Catalog([easel(stream_url="https://fal.run/acme/easel/fast/stream"), easel("acme/easel/mute")])
    with Sandbox(catalog, queue_seconds=0.2, run_seconds=0.2) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running: Sandbox) -> Sandbox:
    running.reset()
    running.respond("acme/slow", {}, queue_seconds=60)
    return running


@pytest.fixture
def play(sandbox: Sandbox, modules: Path, tmp_path: Path) -> Play:
    """Plays a scenario of the program and gives what it came to."""

    def play(name: str) -> Any:
        environment = {
            **os.environ,
            **sandbox.environment(),
            "CONFORMANCE_MODULES": str(modules),
            "CONFORMANCE_LARGE": str(tmp_path / "large.bin"),
            "NODE_NO_WARNINGS": "1",
        }
        flags = ["--experimental-websocket"] if _node_major() < 22 else []
        command = ["node", *flags, str(PROGRAM), name]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)[name]

    return play


def test_run(play: Play, sandbox: Sandbox) -> None:
    result = play("run")
    assert result["data"]["seed"] == 7
    assert result["requestId"] == sandbox.admitted[0].request_id
    invalid = play("run_invalid")
    assert (invalid["kind"], invalid["status"]) == ("ValidationError", 422)
    assert invalid["body"]["detail"][0]["loc"] == ["body", "prompt"]


def test_queue(play: Play, sandbox: Sandbox) -> None:
    told = play("queue")
    request_id = sandbox.admitted[0].request_id
    assert told["submitted"]["request_id"] == request_id
    assert told["states"][0] == "IN_QUEUE"
    assert told["states"][-1] == "COMPLETED"
    assert told["status"]["logs"]
    assert told["status"]["metrics"]["inference_time"] == pytest.approx(0.2)
    assert told["result"]["requestId"] == request_id
    assert told["result"]["data"]["seed"] == 7
    assert (told["late"]["status"], told["late"]["body"]) == (400, {"status": "ALREADY_COMPLETED"})
    headers = sandbox.requests[0].headers
    assert (headers["x-fal-queue-priority"], headers["x-fal-runner-hint"]) == ("low", "here")


def test_cancel_and_timeouts(play: Play) -> None:
    cancelled = play("cancel")
    assert (cancelled["status"], cancelled["body"]["error_type"]) == (499, "client_cancelled")
    late = play("start_timeout")
    assert (late["status"], late["timeoutType"]) == (504, "user")
    unknown = play("unknown")
    assert (unknown["kind"], unknown["status"]) == ("ApiError", 404)


def test_stream_status(play: Play) -> None:
    told = play("stream_status")
    states = [event["status"] for event in told["events"]]
    assert states == sorted(states, key=["IN_QUEUE", "IN_PROGRESS", "COMPLETED"].index)
    assert len(states) > 1
    assert states[-1] == "COMPLETED" == told["last"]["status"]
    messages = [entry["message"] for event in told["events"] for entry in event["logs"]]
    assert messages
    assert len(messages) == len(set(messages))


@pytest.mark.parametrize("mode", ["polling", "streaming"])
def test_subscribe(play: Play, sandbox: Sandbox, mode: str) -> None:
    told = play(f"subscribe_{mode}")
    assert told["result"]["data"]["seed"] == 7
    states = [update["status"] for update in told["updates"]]
    assert states[-1] == "COMPLETED"
    assert len(states) > 1
    assert told["updates"][-1]["logs"]
    assert told.get("enqueued", sandbox.admitted[0].request_id) == sandbox.admitted[0].request_id
    streams = [request for request in sandbox.requests if request.path.endswith("/status/stream")]
    assert bool(streams) == (mode == "streaming")


def test_subscribe_to_what_fails_and_to_a_workflow(play: Play, sandbox: Sandbox) -> None:
    invalid = play("subscribe_invalid")
    assert (invalid["kind"], invalid["status"]) == ("ValidationError", 422)
    sandbox.respond("workflows/acme/story", {"text": "once"}, after=0)
    assert play("workflow")["data"] == {"text": "once"}


def test_stream(play: Play, sandbox: Sandbox) -> None:
    told = play("stream")
    assert len(told["events"]) > 1
    assert told["done"] == told["events"][-1]
    assert play("stream_with_token") == told["done"]
    assert "authorization" not in sandbox.requests[-1].headers
    sandbox.respond("acme/radio/stream", stream=[b"\x00" * 1000, b"\x01" * 24], stream_type="audio/mpeg", after=0)
    assert play("stream_binary") == {"bytes": 1024}
    assert play("stream_refused")["status"] == 404


def test_realtime(play: Play, sandbox: Sandbox) -> None:
    told = play("realtime")
    assert told["errors"] == []
    assert all(result["image"]["url"].startswith(sandbox.url) for result in told["results"])
    assert [job.input["prompt"] for job in sandbox.admitted] == ["cat 0", "cat 1", "cat 2"]
    assert sandbox.requests[-1].query["max_buffering"] == ["4"]
    wrong = play("realtime_error")
    assert (wrong["status"], wrong["body"]["error"]) == (400, "INTERNAL_ERROR")


def test_uploads(play: Play, sandbox: Sandbox, tmp_path: Path) -> None:
    url = play("upload")
    (small,) = sandbox.uploads
    assert (small.url, small.file_name, small.content_type) == (url, "three.bin", "application/x-three")
    assert small.lifecycle == {"expiration_duration_seconds": 3600, "initial_acl": {"default": "allow"}}
    assert httpx.get(url, trust_env=False).content == b"\x01\x02\x03"

    content = os.urandom(1024) * (91 * 1024)
    (tmp_path / "large.bin").write_bytes(content)
    url = play("upload_multipart")
    parts = [request for request in sandbox.requests if request.method == "PUT" and "/multipart/" in request.path]
    assert len(parts) == 10
    assert sandbox.uploads[1].read() == content
    assert sandbox.uploads[1].url == url

    sandbox.respond("acme/echo", _same, after=0)
    echoed = play("upload_in_input")
    assert httpx.get(echoed["data"]["nested"][0]["file"], trust_env=False).text == "hello"


def _same(value: Any) -> Any:
    return value
