"""A service that takes the sandbox's webhooks: signed as the platform's are, delivered again, forged, replayed."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from fal_sandbox import Sandbox
from support import PROJECTS, program_environment

FLUX = "fal-ai/flux/dev"
OUTPUT: dict[str, Any] = {"images": [{"url": "https://example.com/cat.png"}], "prompt": "a cat"}


@contextmanager
def served(folder: Path, **environment: str) -> Generator[str]:
    """The service in a process of its own; its address."""
    command = [sys.executable, "-m", "uvicorn", "app:app", "--app-dir", str(PROJECTS / "webhook_app"), "--port", "0"]
    env = {**program_environment(), "PICTURES_DB": str(folder / "pictures.sqlite"), **environment}
    with (folder / "log").open("w+") as log:
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=log, stderr=subprocess.STDOUT)
        try:
            address: list[str] = []

            def started() -> bool:
                assert process.poll() is None, (folder / "log").read_text()
                address[:] = re.findall(r"running on (http://\S+)", (folder / "log").read_text())
                return bool(address)

            until(started)
            yield address[0]
        finally:
            process.terminate()
            process.wait(timeout=60)


@pytest.fixture
def url(sandbox: Sandbox, tmp_path: Path) -> Generator[str]:
    with served(tmp_path) as address:
        yield address


def until(true: Callable[[], Any]) -> None:
    """Wait for something that happens in another process or thread."""
    for _ in range(6000):
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen")


def order(url: str) -> str:
    answer = httpx.post(f"{url}/pictures", json={"prompt": "a cat"})
    assert answer.status_code == 202, answer.text
    assert answer.json()["state"] == "waiting"
    return str(answer.json()["request_id"])


def stands(url: str, request_id: str) -> dict[str, Any]:
    answer: dict[str, Any] = httpx.get(f"{url}/pictures/{request_id}").json()
    return answer


def ended(url: str, request_id: str) -> dict[str, Any]:
    until(lambda: stands(url, request_id)["state"] != "waiting")
    return stands(url, request_id)


def test_a_result_arrives_by_itself_and_outlives_the_service(url: str, sandbox: Sandbox, tmp_path: Path) -> None:
    request_id = order(url)
    picture = ended(url, request_id)
    assert (picture["state"], picture["error"]) == ("done", None)
    assert httpx.get(picture["urls"][0]).headers["content-type"] == "image/jpeg"
    until(lambda: sandbox.deliveries)
    assert [delivery.status_code for delivery in sandbox.deliveries] == [200]
    assert [request.path for request in sandbox.requests].count("/rest/.well-known/jwks.json") == 1
    with served(tmp_path) as another:
        assert stands(another, request_id) == picture
    assert httpx.get(f"{url}/pictures/none").status_code == 404


def test_what_is_delivered_again_is_known(url: str, sandbox: Sandbox) -> None:
    request_id = order(url)
    picture = ended(url, request_id)
    until(lambda: sandbox.deliveries)
    sandbox.redeliver(request_id)
    until(lambda: len(sandbox.deliveries) == 2)
    other = sandbox.webhook_request(OUTPUT, request_id=request_id)
    assert httpx.post(f"{url}/fal-webhook", content=other.body, headers=other.headers).text == "known"
    assert stands(url, request_id) == picture


def test_a_delivery_may_come_before_the_order_is_noted(url: str, sandbox: Sandbox) -> None:
    early = sandbox.webhook_request(OUTPUT, request_id="r-0")
    assert httpx.post(f"{url}/fal-webhook", content=early.body, headers=early.headers).text == "stored"
    assert stands(url, "r-0")["urls"] == ["https://example.com/cat.png"]


def test_a_failure_arrives_too(url: str, sandbox: Sandbox) -> None:
    sandbox.respond(FLUX, {"detail": "it broke"}, status=500)
    request_id = order(url)
    picture = ended(url, request_id)
    assert (picture["state"], picture["urls"]) == ("failed", [])
    assert "it broke" in picture["error"]
    assert request_id in picture["error"]


def test_a_wrong_order_is_refused_by_its_field(url: str, sandbox: Sandbox) -> None:
    answer = httpx.post(f"{url}/pictures", json={"prompt": "a cat", "num_images": 9})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "num_images"]
    assert sandbox.admitted == []


def test_a_new_key_is_found(url: str, sandbox: Sandbox) -> None:
    assert ended(url, order(url))["state"] == "done"
    sandbox.rotate_webhook_key(keep=False)
    assert ended(url, order(url))["state"] == "done"


def test_what_is_forged_stale_or_overheard_is_refused(url: str, sandbox: Sandbox) -> None:
    hook = f"{url}/fal-webhook"
    true = sandbox.webhook_request(OUTPUT, request_id="r-1")
    assert httpx.post(hook, content=true.body + b" ", headers=true.headers).text == "signature"
    assert httpx.get(f"{url}/pictures/r-1").status_code == 404
    assert httpx.post(hook, content=true.body, headers=true.headers).text == "stored"
    assert httpx.post(hook, content=true.body, headers=true.headers).text == "replay"
    old = sandbox.webhook_request(OUTPUT, request_id="r-2", timestamp=int(time.time()) - 1000)
    assert httpx.post(hook, content=old.body, headers=old.headers).text == "stale"
    assert httpx.post(hook, content=true.body).text == "missing"
    assert httpx.get(f"{url}/pictures/r-2").status_code == 404


def test_without_keys_the_platform_is_asked_to_come_again(sandbox: Sandbox, tmp_path: Path) -> None:
    with served(tmp_path, FAL_JWKS_URL=f"{sandbox.url}/rest/nothing") as url:
        made = sandbox.webhook_request(OUTPUT, request_id="r-1")
        assert httpx.post(f"{url}/fal-webhook", content=made.body, headers=made.headers).status_code == 503
        assert httpx.get(f"{url}/pictures/r-1").status_code == 404
