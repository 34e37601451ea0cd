"""A real application, made with the `fal` package, answers plain requests and our runtime; the sandbox answers alike."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import httpx
import pytest
from httpx_sse import connect_sse
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from fal_runtime import Client, Endpoint, errors
from fal_sandbox import Catalog, Sandbox
from kept import kept
from support import Caller, Input, Output

msgpack: Any = import_module("msgpack")

PACKAGES = ("fal==1.83.0", "uvicorn>=0.34")
PROGRAM = Path(__file__).with_name("real_app.py")
STORY = "acme/story"
KEY = "any:key"


@pytest.fixture(scope="session")
def fal_python() -> Path:
    """A Python with the `fal` package, whose pins do not go together with ours; kept between runs."""
    folder = kept(f"{PACKAGES[0]}-py{sys.version_info.major}.{sys.version_info.minor}", _install)
    return _python(folder)


def _install(folder: Path) -> None:
    uv = [sys.executable, "-m", "uv"]
    for command in (
        [*uv, "venv", "--quiet", "--clear", "--relocatable", "--python", sys.executable, str(folder)],
        [*uv, "pip", "install", "--quiet", "--python", str(_python(folder)), *PACKAGES],
    ):
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        if done.returncode != 0:
            pytest.skip(f"{PACKAGES[0]} cannot be installed: {done.stderr.strip()[-300:]}")


def _python(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


@pytest.fixture(scope="module")
def origin(fal_python: Path) -> Iterator[str]:
    """Where the application is served, without a scheme."""
    command = [str(fal_python), str(PROGRAM), f"/{STORY}"]
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "FAL_KEY")}
    with tempfile.TemporaryFile("w+") as said:
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True, env=environment)
        try:
            assert server.stdout is not None
            port = server.stdout.readline().strip()
            if not port:
                server.wait(timeout=30)
                said.seek(0)
                pytest.fail(f"the application does not start: {said.read()[-2000:]}")
            yield f"127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(timeout=30)
            if server.stdout is not None:
                server.stdout.close()


@pytest.fixture(params=["real", "sandbox"])
def address(request: pytest.FixtureRequest) -> Iterator[str]:
    """The application, and then the sandbox in its place: what holds for one must hold for the other."""
    if request.param == "real":
        yield request.getfixturevalue("origin")
        return
    with Sandbox(Catalog(), key=KEY, hosts=True, latency="zero", session_timeout=0.5) as sandbox:
        sandbox.respond(STORY, _told, stream=[{"text": "la"}, {"text": "lala"}, {"text": "lalala"}])
        yield sandbox.environment()["FAL_RUN_URL"].removeprefix("http://")


def _told(value: Any) -> Any:
    return {"text": value["prompt"] * value.get("count", 1)}


@pytest.fixture
def client(address: str) -> Iterator[Client]:
    urls = {"run": f"http://{address}", "realtime": f"ws://{address}"}
    with Client(key=KEY, urls=urls) as client:
        yield client


def test_plain_requests(address: str) -> None:
    url, headers = f"http://{address}/{STORY}", {"authorization": f"Key {KEY}"}
    with httpx.Client(headers=headers, trust_env=False) as http:
        assert http.post(url, json={"prompt": "la", "count": 2}).json() == {"text": "lala"}
        assert http.post(url, json=[]).status_code == 422
        with connect_sse(http, "POST", f"{url}/stream", json={"prompt": "la", "count": 3}) as source:
            told = [json.loads(event.data) for event in source.iter_sse()]
    assert [one["text"] for one in told[:3]] == ["la", "lala", "lalala"]
    with connect(f"ws://{address}/{STORY}/realtime", additional_headers=headers, proxy=None) as socket:
        socket.send(msgpack.packb({"prompt": "la", "count": 2}))
        assert msgpack.unpackb(socket.recv()) == {"text": "lala"}
        last = json.loads(socket.recv())
        if last["type"] == "x-fal-message":
            # An application tells timings only if it wants to.
            assert last["action"] == "timings"
            last = json.loads(socket.recv())
        assert (last["type"], last["error"]) == ("x-fal-error", "TIMEOUT")
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1000
    with connect(f"ws://{address}/{STORY}/realtime", additional_headers=headers, proxy=None) as socket:
        socket.send("text")
        broken = json.loads(socket.recv())
        assert (broken["type"], broken["error"]) == ("x-fal-error", "INTERNAL_ERROR")


def test_the_runtime_runs_it(call: Caller, client: Client) -> None:
    story: Endpoint[Input, Output] = Endpoint(STORY, Input, Output)
    assert call(story, "run", Input(prompt="la", count=2), client=client) == Output(text="lala")


def test_the_runtime_streams_it(call: Caller, client: Client) -> None:
    story: Endpoint[Input, Output] = Endpoint(STORY, Input, Output)
    texts = [event.text for event in call(story, "stream", Input(prompt="la", count=3), client=client)]
    assert texts[:3] == ["la", "lala", "lalala"]


def test_the_runtime_talks_to_it(client: Client) -> None:
    story: Endpoint[Input, Output] = Endpoint(STORY, Input, Output)
    with story.realtime(key_in_header=True, client=client) as connection:
        connection.send(Input(prompt="la", count=2))
        assert connection.recv() == Output(text="lala")
        connection.send(Input(prompt="lo"))
        assert connection.recv() == Output(text="lo")


def test_the_runtime_tells_of_its_errors(call: Caller, client: Client) -> None:
    story: Endpoint[Input, Output] = Endpoint(STORY, Input, Output)
    with pytest.raises(errors.FalError) as refused:
        call(story, "run", Input(prompt="x"), client=client, extra={"prompt": {}}, validate=False)
    assert refused.value.status_code in (422, 500)
