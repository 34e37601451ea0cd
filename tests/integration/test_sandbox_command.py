"""`fal-bindings sandbox`, as someone runs it in a terminal."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from fal_sandbox import Sandbox

COMMAND = [sys.executable, "-m", "fal_codegen", "sandbox"]
ENDPOINT = (
    '{"endpoint_id": "me/mine", "metadata": {"category": "text-to-image"},'
    ' "openapi": {"components": {"schemas": {}}, "paths": {}}}'
)


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    """A small catalogue, which is read in no time."""
    path = tmp_path / "catalogue.json"
    path.write_text(ENDPOINT)
    return path


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("FAL_")}
    return {**kept, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


@contextmanager
def running(
    *options: str | Path, env: Mapping[str, str] | None = None
) -> Generator[tuple[subprocess.Popen[str], dict[str, str]], None, None]:
    """A sandbox in a process of its own, and the environment that it tells its users to set."""
    environment = {**_environment(), **(env or {})}
    command = [*COMMAND, *map(str, options)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            assert process.stdout is not None
            told: dict[str, str] = {}
            for line in process.stdout:
                if line.startswith("export "):
                    name, _, value = line.removeprefix("export ").strip().partition("=")
                    told[name] = value
                if "Ctrl-C" in line:
                    break
            yield process, told
        finally:
            if process.poll() is None:
                process.kill()


def interrupted(process: subprocess.Popen[str], by: signal.Signals = signal.SIGINT) -> tuple[int, str]:
    """How a process ends that is sent Ctrl-C, and what it says on standard error."""
    process.send_signal(by)
    _, complaints = process.communicate(timeout=30)
    return process.returncode, complaints


def refused(*options: str | Path) -> str:
    """What a command says that does not start."""
    command = [*COMMAND, *map(str, options)]
    done = subprocess.run(command, capture_output=True, text=True, env=_environment(), check=False, timeout=60)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    return done.stderr


def test_it_serves_until_ctrl_c(catalog: Path) -> None:
    with running("--port", "0", "--catalog", catalog, "--latency", "zero") as (process, told):
        key = {"authorization": f"Key {told['FAL_KEY']}"}
        answer = httpx.post(f"{told['FAL_RUN_URL']}/me/mine", json={}, headers=key, trust_env=False)
        assert answer.status_code == 200
        host, port = told["FAL_RUN_URL"].removeprefix("http://").removesuffix("/run").split(":")
        assert host == "127.0.0.1"
        assert interrupted(process) == (0, "")
        with pytest.raises(ConnectionRefusedError), socket.create_connection((host, int(port)), timeout=5):
            pass


def test_each_service_can_have_its_own_port(catalog: Path) -> None:
    with running("--port", "0", "--catalog", catalog, "--hosts", "--latency", "zero") as (process, told):
        queue, direct = httpx.URL(told["FAL_QUEUE_URL"]), httpx.URL(told["FAL_RUN_URL"])
        assert (queue.path, direct.path) == ("/", "/")
        assert queue.port != direct.port
        key = {"authorization": f"Key {told['FAL_KEY']}"}
        assert httpx.post(direct.join("/me/mine"), json={}, headers=key, trust_env=False).status_code == 200
        assert interrupted(process) == (0, "")


def test_ctrl_c_does_not_wait_for_slow_models(catalog: Path) -> None:
    with running("--port", "0", "--catalog", catalog, "--latency", "1000000") as (process, told):
        address = told["FAL_RUN_URL"].removeprefix("http://").removesuffix("/run").split(":")
        with socket.create_connection((address[0], int(address[1])), timeout=30) as open_request:
            head = f"POST /run/me/mine HTTP/1.1\r\nhost: x\r\nauthorization: Key {told['FAL_KEY']}\r\n"
            open_request.sendall(f"{head}content-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}".encode())
            waiting = httpx.get(f"{told['FAL_API_URL']}/models", headers={}, trust_env=False)
            assert waiting.status_code == 200
            assert interrupted(process) == (0, "")


def test_a_polite_end_is_one_in_good_order(catalog: Path, tmp_path: Path) -> None:
    cassette, key = tmp_path / "session.json", "11112222-live:aaaabbbbccccdddd"
    with Sandbox(catalog, key=key) as live, running("--port", "0", "--record", cassette, env=live.environment()) as one:
        assert interrupted(one[0], signal.SIGTERM) == (0, "")
    assert cassette.exists()


def test_other_machines_are_let_in_only_when_told(catalog: Path) -> None:
    with running("--port", "0", "--catalog", catalog, "--host", "0.0.0.0") as (process, told):
        assert told["FAL_RUN_URL"].startswith("http://127.0.0.1:")
        code, complaints = interrupted(process)
        assert (code, complaints.strip()) == (0, "Other machines can reach it, too: it listens on 0.0.0.0.")


def test_a_port_in_use_is_named(catalog: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        told = refused("--port", port, "--catalog", catalog)
        assert f"cannot listen on port {port} of 127.0.0.1" in told
        assert "--port 0 takes a free one" in told
    elsewhere = refused("--host", "192.0.2.1", "--port", "0", "--catalog", catalog)
    assert "cannot listen on port 0 of 192.0.2.1" in elsewhere
    assert "--port 0" not in elsewhere


@pytest.mark.parametrize("latency", ["slow", "-1", "nan", "inf"])
def test_a_latency_that_is_none_is_named(catalog: Path, latency: str) -> None:
    assert "'zero', 'fast', 'realistic' or a factor" in refused(f"--latency={latency}", "--catalog", catalog)


def test_a_catalogue_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "catalogue.json").write_text("[]")
    assert "catalogue.json is neither a catalogue entry nor a page of them" in refused("--catalog", tmp_path)
    assert "does not exist" in refused("--catalog", tmp_path / "nowhere")


def test_a_session_is_recorded_and_replayed(catalog: Path, tmp_path: Path) -> None:
    cassette, key = tmp_path / "session.json", "11112222-live:aaaabbbbccccdddd"

    def ask(told: dict[str, str]) -> int:
        headers = {"authorization": f"Key {told['FAL_KEY']}"}
        return httpx.post(f"{told['FAL_RUN_URL']}/me/mine", json={"a": 1}, headers=headers, trust_env=False).status_code

    with Sandbox(catalog, key=key) as live, running("--port", "0", "--record", cassette, env=live.environment()) as one:
        assert ask(one[1]) == 200
        assert interrupted(one[0]) == (0, "")
        assert len(live.admitted) == 1
    assert key not in cassette.read_text()
    with running("--port", "0", "--replay", cassette) as (process, told):
        assert (ask(told), ask(told)) == (200, 400)
        code, complaints = interrupted(process)
        assert code == 1
        assert complaints.startswith(f"Error: {cassette} has no answer to POST https://fal.run/me/mine for the second")


def test_a_session_is_not_recorded_without_a_key(tmp_path: Path) -> None:
    assert "recording needs the platform's key" in refused("--port", "0", "--record", tmp_path / "a.json")
    assert "exclude each other" in refused("--record", tmp_path / "a.json", "--replay", tmp_path / "a.json")
    assert "there is no cassette" in refused("--port", "0", "--replay", tmp_path / "a.json")
