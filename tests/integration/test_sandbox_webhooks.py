"""The sandbox's webhooks: signed, delivered again until they are taken, and to this machine only."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from fal_sandbox import Catalog, Sandbox
from support import Output

TELLER = "acme/teller"


class Receiver(ThreadingHTTPServer):
    """A handler of webhooks that answers as it is told."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.answers: list[int] = []

    @property
    def url(self) -> str:
        return f"http://localhost:{self.server_port}/hook?a=1"


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        receiver = self.server
        assert isinstance(receiver, Receiver)
        body = self.rfile.read(int(self.headers["content-length"]))
        receiver.received.append(({name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(receiver.answers.pop(0) if receiver.answers else 200)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def running() -> Iterator[Sandbox]:
    with Sandbox(Catalog(), webhook_retry_seconds=0.01) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running: Sandbox) -> Sandbox:
    running.reset()
    return running


def submit(sandbox: Sandbox, url: str) -> str:
    headers = {"authorization": f"Key {sandbox.key}"}
    query = {"fal_webhook": url}
    response = httpx.post(f"{sandbox.url}/queue/{TELLER}", params=query, json={}, headers=headers, trust_env=False)
    return str(response.json()["request_id"])


def eventually(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


def verify(sandbox: Sandbox, headers: Mapping[str, str], body: bytes) -> bool:
    """Verify as the documentation says, with nothing of ours."""
    names = ("request-id", "user-id", "timestamp")
    parts = [headers[f"x-fal-webhook-{name}"] for name in names]
    message = "\n".join([*parts, hashlib.sha256(body).hexdigest()]).encode()
    signature = bytes.fromhex(headers["x-fal-webhook-signature"])
    for key in httpx.get(sandbox.environment()["FAL_JWKS_URL"], trust_env=False).json()["keys"]:
        public = Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(key["x"] + "="))
        try:
            public.verify(signature, message)
        except InvalidSignature:
            continue
        return True
    return False


def test_a_webhook_is_signed_and_tells_the_output(sandbox: Sandbox, receiver: Receiver) -> None:
    sandbox.respond(TELLER, {"text": "ón"}, after=0.01)
    request_id = submit(sandbox, receiver.url)
    eventually(lambda: len(sandbox.deliveries) == 1)
    ((headers, body),) = receiver.received
    assert json.loads(body) == {
        "request_id": request_id,
        "gateway_request_id": request_id,
        "status": "OK",
        "payload": {"text": "ón"},
    }
    assert headers["content-type"] == "application/json"
    assert headers["x-fal-webhook-request-id"] == request_id
    assert abs(int(headers["x-fal-webhook-timestamp"]) - time.time()) < 60
    assert verify(sandbox, headers, body)
    assert not verify(sandbox, headers, body + b" ")
    (delivery,) = sandbox.deliveries
    assert (delivery.attempt, delivery.status_code, delivery.error) == (1, 200, None)


def test_errors_and_what_is_not_json_are_told(sandbox: Sandbox, receiver: Receiver) -> None:
    sandbox.respond(TELLER, {"detail": [{"loc": ["body"]}]}, status=422, after=0, times=1)
    sandbox.respond(TELLER, b"\x00\x01", after=0)
    submit(sandbox, receiver.url)
    eventually(lambda: len(receiver.received) == 1)
    submit(sandbox, receiver.url)
    eventually(lambda: len(receiver.received) == 2)
    failed, odd = (json.loads(body) for _, body in receiver.received)
    assert (failed["status"], failed["error"]) == ("ERROR", "Invalid status code: 422")
    assert failed["payload"] == {"detail": [{"loc": ["body"]}]}
    assert (odd["status"], odd["payload"]) == ("OK", None)
    assert odd["payload_error"]


def test_it_is_delivered_until_it_is_taken(sandbox: Sandbox, receiver: Receiver) -> None:
    sandbox.respond(TELLER, {}, after=0)
    receiver.answers = [500, 404, 429, 204]
    request_id = submit(sandbox, receiver.url)
    eventually(lambda: len(sandbox.deliveries) == 4)
    assert [(one.attempt, one.status_code) for one in sandbox.deliveries] == [(1, 500), (2, 404), (3, 429), (4, 204)]
    assert {body for _, body in receiver.received} == {receiver.received[0][1]}
    sandbox.redeliver(request_id)
    eventually(lambda: len(receiver.received) == 5)
    assert receiver.received[4][1] == receiver.received[0][1]
    with pytest.raises(KeyError):
        sandbox.redeliver("nobody")


def test_it_gives_up_at_redirects_and_when_the_result_is_gone(receiver: Receiver) -> None:
    with Sandbox(Catalog(), webhook_retry_seconds=60) as sandbox:
        sandbox.respond(TELLER, {}, after=0)
        receiver.answers = [302, 500, 500]
        submit(sandbox, receiver.url)
        eventually(lambda: len(sandbox.deliveries) == 1)
        submit(sandbox, receiver.url)
        eventually(lambda: len(sandbox.deliveries) == 2)
        sandbox.advance(61)
        eventually(lambda: len(sandbox.deliveries) == 3)
        sandbox.advance(3600)
        sandbox.advance(3600)
        submit(sandbox, receiver.url)
        eventually(lambda: len(sandbox.deliveries) == 4)
    assert [one.status_code for one in sandbox.deliveries] == [302, 500, 500, 200]


@pytest.mark.parametrize(
    "url", ["http://192.0.2.1/hook", "http://example.com/", "nonsense", "http://[", "", "file:///x"]
)
def test_nothing_leaves_this_machine(sandbox: Sandbox, url: str) -> None:
    sandbox.respond(TELLER, {}, after=0)
    submit(sandbox, url)
    eventually(lambda: len(sandbox.deliveries) == 1)
    assert (sandbox.deliveries[0].status_code, sandbox.deliveries[0].attempt) == (None, 1)
    assert "this machine" in (sandbox.deliveries[0].error or "")


def test_no_one_is_there_at_first(sandbox: Sandbox) -> None:
    sandbox.respond(TELLER, {}, after=0)
    submit(sandbox, "http://127.0.0.1:9/hook")
    eventually(lambda: len(sandbox.deliveries) >= 2)
    assert "ConnectError" in (sandbox.deliveries[0].error or "")


def test_cancelled_jobs_tell_of_it(sandbox: Sandbox, receiver: Receiver) -> None:
    sandbox.respond(TELLER, {}, queue_seconds=60)
    request_id = submit(sandbox, receiver.url)
    headers = {"authorization": f"Key {sandbox.key}"}
    url = f"{sandbox.url}/queue/{TELLER}/requests/{request_id}/cancel"
    assert httpx.put(url, headers=headers, trust_env=False).status_code == 200
    eventually(lambda: len(receiver.received) == 1)
    assert json.loads(receiver.received[0][1])["error"] == "Request was cancelled"


def test_keys_can_be_changed(sandbox: Sandbox) -> None:
    old = sandbox.webhook_request({"text": "x"})
    sandbox.rotate_webhook_key()
    new = sandbox.webhook_request({"text": "x"})
    assert verify(sandbox, old.headers, old.body)
    assert verify(sandbox, new.headers, new.body)
    sandbox.rotate_webhook_key(keep=False)
    assert not verify(sandbox, new.headers, new.body)
    sandbox.reset()
    assert verify(sandbox, old.headers, old.body)


def test_webhooks_can_be_made_for_a_handler(sandbox: Sandbox) -> None:
    made = sandbox.webhook_request(Output(text="x"), request_id="r1", user_id="u1", timestamp=1_700_000_000)
    assert json.loads(made.body)["payload"] == {"text": "x", "note": None}
    assert made.headers["x-fal-webhook-user-id"] == "u1"
    assert made.headers["x-fal-webhook-timestamp"] == "1700000000"
    assert verify(sandbox, made.headers, made.body)
    broken = json.loads(sandbox.webhook_request(payload_error="too large").body)
    assert (broken["payload"], broken["payload_error"]) == (None, "too large")
    failed = json.loads(sandbox.webhook_request({"detail": "no"}, status=500).body)
    assert (failed["status"], failed["error"]) == ("ERROR", "no")
    assert verify(sandbox, sandbox.sign_webhook(b'{"request_id": "r2"}'), b'{"request_id": "r2"}')
