"""An ASGI service that takes the sandbox's webhooks: signed as the platform's are, delivered again, forged, replayed."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn

from fal_runtime import configure, errors
from fal_sandbox import Sandbox

APP = Path(__file__).with_name("webhook_app") / "app.py"
FLUX = "fal-ai/flux/dev"
OUTPUT: dict[str, Any] = {"images": [{"url": "https://example.com/cat.png"}], "prompt": "a cat"}


@pytest.fixture
def service(sandbox: Sandbox) -> Any:
    spec = spec_from_file_location("webhook_app", APP)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def url(service: Any) -> Iterator[str]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        server = uvicorn.Server(uvicorn.Config(service.app, log_level="error", lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        until(lambda: server.started)
        yield f"http://127.0.0.1:{port}"
        server.should_exit = True
        thread.join()


def until(true: Callable[[], Any]) -> None:
    """Wait for something that happens in another thread."""
    for _ in range(1000):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen")


def order(url: str) -> str:
    answer = httpx.post(f"{url}/pictures", params={"prompt": "a cat"})
    assert answer.status_code == 200, answer.text
    return str(answer.json())


def test_a_result_arrives_by_itself(service: Any, url: str, sandbox: Sandbox) -> None:
    request_id = order(url)
    until(lambda: request_id in service.pictures)
    assert len(service.pictures[request_id]) == 1
    assert httpx.get(service.pictures[request_id][0]).status_code == 200
    until(lambda: sandbox.deliveries)
    assert [delivery.status_code for delivery in sandbox.deliveries] == [204]
    assert [request.path for request in sandbox.requests].count("/rest/.well-known/jwks.json") == 1


def test_a_failure_arrives_too(service: Any, url: str, sandbox: Sandbox) -> None:
    sandbox.respond(FLUX, {"detail": "it broke"}, status=500)
    request_id = order(url)
    until(lambda: request_id in service.failures)
    failure = service.failures[request_id]
    assert isinstance(failure, errors.RunnerError)
    assert (failure.request_id, failure.endpoint_id) == (request_id, FLUX)
    assert "it broke" in str(failure)


def test_a_new_key_is_found(service: Any, url: str, sandbox: Sandbox) -> None:
    first = order(url)
    until(lambda: first in service.pictures)
    sandbox.rotate_webhook_key(keep=False)
    second = order(url)
    until(lambda: second in service.pictures)


def test_what_is_forged_stale_or_overheard_is_refused(service: Any, url: str, sandbox: Sandbox) -> None:
    hook = f"{url}/fal-webhook"
    true = sandbox.webhook_request(OUTPUT, request_id="r-1")
    assert httpx.post(hook, content=true.body + b" ", headers=true.headers).text == "signature"
    assert service.pictures == {}
    assert httpx.post(hook, content=true.body, headers=true.headers).status_code == 204
    assert list(service.pictures) == ["r-1"]
    assert httpx.post(hook, content=true.body, headers=true.headers).text == "replay"
    old = sandbox.webhook_request(OUTPUT, request_id="r-2", timestamp=int(time.time()) - 1000)
    assert httpx.post(hook, content=old.body, headers=old.headers).text == "stale"
    assert httpx.post(hook, content=true.body).text == "missing"
    assert list(service.pictures) == ["r-1"]


def test_without_keys_the_platform_is_asked_to_come_again(
    service: Any, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAL_JWKS_URL", f"{url}/nothing")
    configure()
    signed = {f"x-fal-webhook-{name}": "x" for name in ("request-id", "user-id")}
    signed |= {"x-fal-webhook-timestamp": str(int(time.time())), "x-fal-webhook-signature": "00" * 64}
    assert httpx.post(f"{url}/fal-webhook", content=b"{}", headers=signed).status_code == 503
    assert service.pictures == {}
