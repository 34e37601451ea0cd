"""Webhooks: what is let in, what is refused and why, whose keys are asked for how often, and what is read."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fal_runtime import Client, Endpoint, Retry, errors, webhooks
from fal_runtime.webhooks import RecentSignatures
from support import Caller, Input, Output

OK = {"request_id": "r-1", "gateway_request_id": "g-2", "status": "OK", "payload": {"text": "hello"}}


class Signer:
    """The platform's part, written from its documentation and not with the code under test."""

    def __init__(self) -> None:
        self.key = Ed25519PrivateKey.generate()

    def jwk(self) -> dict[str, str]:
        public = base64.urlsafe_b64encode(self.key.public_key().public_bytes_raw()).decode().rstrip("=")
        return {"kty": "OKP", "crv": "Ed25519", "x": public}

    def headers(self, body: bytes, *, ago: float = 0.0, request_id: str = "r-1") -> dict[str, str]:
        timestamp = str(int(time.time() - ago))
        lines = [request_id, "user-1", timestamp, hashlib.sha256(body).hexdigest()]
        return {
            "X-Fal-Webhook-Request-Id": request_id,
            "X-Fal-Webhook-User-Id": "user-1",
            "X-Fal-Webhook-Timestamp": timestamp,
            "X-Fal-Webhook-Signature": self.key.sign("\n".join(lines).encode()).hex(),
        }


class KeyServer:
    """Publishes a key set, and counts who asks."""

    def __init__(self) -> None:
        self.asked = 0
        self.status = 200
        self.document: Any = {"keys": []}
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked += 1
                assert "authorization" not in self.headers
                body = json.dumps(outer.document).encode()
                self.send_response(outer.status)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/jwks.json"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def signer() -> Signer:
    return Signer()


@pytest.fixture
def server(signer: Signer) -> Iterator[KeyServer]:
    server = KeyServer()
    server.document = {"keys": [{"kty": "RSA", "n": "x"}, Signer().jwk(), signer.jwk()]}
    yield server
    server.close()


@pytest.fixture
def client(server: KeyServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A client without a key: none is needed for webhooks."""
    monkeypatch.delenv("FAL_KEY", raising=False)
    with Client(urls={"jwks": server.url}, retry=Retry(attempts=1)) as client:
        yield client


def verify(call: Caller, headers: Any, body: Any, **options: Any) -> webhooks.WebhookEvent[Any]:
    event: webhooks.WebhookEvent[Any] = call(webhooks, "verify", headers, body, **options)
    return event


SHAPES: dict[str, Callable[[dict[str, str]], Any]] = {
    "a dict": dict,
    "lower case": lambda headers: {name.lower(): value for name, value in headers.items()},
    "pairs": lambda headers: list(headers.items()),
    "ASGI's pairs of bytes": lambda headers: [
        (name.lower().encode(), value.encode()) for name, value in headers.items()
    ],
    "lists of values": lambda headers: {name: [value] for name, value in headers.items()},
    "a WSGI environment": lambda headers: {
        "wsgi.version": (1, 0),
        **{"HTTP_" + name.upper().replace("-", "_"): value for name, value in headers.items()},
    },
    "upper-case signature": lambda headers: {
        name: value.upper() if name.endswith("Signature") else value for name, value in headers.items()
    },
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_true_delivery_is_let_in_whatever_its_headers_look_like(
    call: Caller, signer: Signer, server: KeyServer, client: Client, shape: str
) -> None:
    body = json.dumps(OK).encode()
    event = verify(call, SHAPES[shape](signer.headers(body)), body, client=client)
    assert (event.request_id, event.gateway_request_id, event.status) == ("r-1", "g-2", "OK")
    assert event.output == {"text": "hello"}
    assert (event.error, event.payload_error) == (None, None)
    assert event.raw == body
    assert server.asked == 1


def changed(name: str, value: str | None) -> Callable[[Signer, bytes], tuple[dict[str, str], bytes]]:
    def change(signer: Signer, body: bytes) -> tuple[dict[str, str], bytes]:
        headers = signer.headers(body)
        headers.pop(name)
        return (headers if value is None else {**headers, name: value}), body

    return change


REFUSED: dict[str, tuple[Callable[[Signer, bytes], tuple[Any, bytes]], str, int]] = {
    "no headers": (lambda signer, body: ({}, body), "missing", 0),
    "no request id": (changed("X-Fal-Webhook-Request-Id", None), "missing", 0),
    "no user id": (changed("X-Fal-Webhook-User-Id", None), "missing", 0),
    "no timestamp": (changed("X-Fal-Webhook-Timestamp", None), "missing", 0),
    "no signature": (changed("X-Fal-Webhook-Signature", None), "missing", 0),
    "an empty signature": (changed("X-Fal-Webhook-Signature", " "), "missing", 0),
    "a timestamp in words": (changed("X-Fal-Webhook-Timestamp", "yesterday"), "malformed", 0),
    "a timestamp that is no number": (changed("X-Fal-Webhook-Timestamp", "nan"), "malformed", 0),
    "a signature that is not hexadecimal": (changed("X-Fal-Webhook-Signature", "zz" * 64), "malformed", 0),
    "a signature with other letters": (changed("X-Fal-Webhook-Signature", "é" * 128), "malformed", 0),
    "a short signature": (changed("X-Fal-Webhook-Signature", "ab" * 63), "malformed", 0),
    "too old": (lambda signer, body: (signer.headers(body, ago=310), body), "stale", 0),
    "from the future": (lambda signer, body: (signer.headers(body, ago=-310), body), "stale", 0),
    "another body": (lambda signer, body: (signer.headers(body), body + b" "), "signature", 1),
    "another request": (changed("X-Fal-Webhook-Request-Id", "r-2"), "signature", 1),
    "another user": (changed("X-Fal-Webhook-User-Id", "u-2"), "signature", 1),
    "another key": (lambda signer, body: (Signer().headers(body), body), "signature", 1),
    "another signature": (changed("X-Fal-Webhook-Signature", "00" * 64), "signature", 1),
}


@pytest.mark.parametrize("case", REFUSED)
def test_everything_else_is_refused(call: Caller, signer: Signer, server: KeyServer, client: Client, case: str) -> None:
    forge, reason, asked = REFUSED[case]
    headers, body = forge(signer, json.dumps(OK).encode())
    with pytest.raises(errors.WebhookSignatureError) as caught:
        verify(call, headers, body, client=client)
    assert caught.value.reason == reason
    assert server.asked == asked, "keys are asked for only where a delivery could be true"


def test_the_tolerated_time_can_be_set(call: Caller, signer: Signer, client: Client) -> None:
    body = json.dumps(OK).encode()
    assert verify(call, signer.headers(body, ago=3000), body, client=client, tolerance=4000).request_id == "r-1"
    with pytest.raises(errors.WebhookSignatureError, match=r"signed \d+ s ago, and 5 s are tolerated"):
        verify(call, signer.headers(body, ago=10), body, client=client, tolerance=5)


def test_a_body_that_is_not_the_raw_one_is_named_so(call: Caller, signer: Signer, client: Client) -> None:
    for body in (OK, json.dumps(OK), None):
        with pytest.raises(TypeError, match=r"raw bytes, such as `await request\.body\(\)`, not (dict|str|NoneType)"):
            verify(call, signer.headers(b""), body, client=client)
    with pytest.raises(TypeError, match="headers is a mapping, or a list of pairs"):
        verify(call, "x-fal-webhook-signature", b"", client=client)


def test_keys_are_kept_and_renewed(
    call: Caller, signer: Signer, server: KeyServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    body = json.dumps(OK).encode()
    now = [1_000.0]
    monkeypatch.setattr("fal_runtime.webhooks.time", SimpleNamespace(time=time.time, monotonic=lambda: now[0]))

    def deliver(by: Signer = signer) -> str | None:
        """Why a delivery is refused; `None` if it is let in."""
        now[0] += 0.001
        try:
            verify(call, by.headers(body), body, client=client)
        except errors.WebhookSignatureError as error:
            return error.reason
        return None

    assert [deliver(), deliver(), server.asked] == [None, None, 1]

    new = Signer()
    server.document = {"keys": [new.jwk()]}
    assert [deliver(new), server.asked] == [None, 2], "a signature that fits no key may be by a new one"
    assert [deliver(), server.asked] == ["signature", 3], "the old key has been withdrawn"

    assert {deliver(Signer()) for _ in range(50)} == {"signature"}
    assert server.asked == 10, "forged deliveries do not make the platform be asked without end"
    now[0] += 61
    assert [deliver(Signer()), server.asked] == ["signature", 11]

    now[0] += 13 * 3600
    server.status = 500
    assert [deliver(new), server.asked] == [None, 12], "keys of this morning are good enough if there are no newer ones"
    server.status = 200
    assert [deliver(new), deliver(new), server.asked] == [None, None, 13]

    now[0] += 25 * 3600
    server.status = 503
    with pytest.raises(errors.FalError):
        deliver(new)
    server.status = 200
    assert deliver(new) is None


@pytest.mark.parametrize("document", [{"keys": []}, {}, [], {"keys": [{"x": "AAAA"}, {"x": 7}, 7]}, "no keys"])
def test_a_key_set_without_keys_is_the_platform_s_fault_not_the_delivery_s(
    call: Caller, signer: Signer, server: KeyServer, client: Client, document: Any
) -> None:
    server.document = document
    body = json.dumps(OK).encode()
    with pytest.raises(errors.OutputError, match="holds no ED25519 key"):
        verify(call, signer.headers(body), body, client=client)


def test_keys_can_be_given(call: Caller, signer: Signer, server: KeyServer, client: Client) -> None:
    body = json.dumps(OK).encode()
    keys = {"keys": [signer.jwk()]}
    assert verify(call, signer.headers(body), body, client=client, jwks=keys).request_id == "r-1"
    with pytest.raises(errors.WebhookSignatureError):
        verify(call, Signer().headers(body), body, client=client, jwks=keys)
    assert server.asked == 0


def test_a_replay_is_refused_and_a_repeated_delivery_is_not(call: Caller, signer: Signer, client: Client) -> None:
    body = json.dumps(OK).encode()
    guard = RecentSignatures()
    first = signer.headers(body)
    assert verify(call, first, body, client=client, replay_guard=guard).request_id == "r-1"
    copy = {name: value.upper() if name.endswith("Signature") else value for name, value in first.items()}
    for again in (first, copy):
        with pytest.raises(errors.WebhookSignatureError) as caught:
            verify(call, again, body, client=client, replay_guard=guard)
        assert caught.value.reason == "replay"
    assert verify(call, signer.headers(body, ago=5), body, client=client, replay_guard=guard).request_id == "r-1"


def test_a_forged_delivery_does_not_block_the_true_one(call: Caller, signer: Signer, client: Client) -> None:
    body = json.dumps(OK).encode()
    guard, headers = RecentSignatures(), signer.headers(body)
    with pytest.raises(errors.WebhookSignatureError):
        verify(call, headers, b"forged", client=client, replay_guard=guard)
    assert verify(call, headers, body, client=client, replay_guard=guard).request_id == "r-1"


def test_the_guard_in_memory_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("fal_runtime.webhooks.time", SimpleNamespace(time=time.time, monotonic=lambda: now[0]))
    guard = RecentSignatures()
    assert [guard.first("a", 10), guard.first("b", 30), guard.first("a", 10)] == [True, True, False]
    now[0] = 11.0
    assert [guard.first("a", 10), guard.first("b", 10)] == [True, False]
    assert len(vars(guard)["_ends"]) == 2


def test_a_guard_may_be_async_where_the_call_is(signer: Signer, client: Client) -> None:
    class Shared:
        async def first(self, signature: str, seconds: float) -> bool:
            await asyncio.sleep(0)
            return False

    body = json.dumps(OK).encode()
    with pytest.raises(errors.WebhookSignatureError, match="received before"):
        asyncio.run(webhooks.verify_async(signer.headers(body), body, client=client, replay_guard=Shared()))
    with pytest.raises(TypeError, match="first is a coroutine function"):
        webhooks.verify(signer.headers(body), body, client=client, replay_guard=Shared())


def parse(call: Caller, signer: Signer, client: Client, delivery: Any) -> webhooks.WebhookEvent[Output]:
    body = delivery if isinstance(delivery, bytes) else json.dumps(delivery).encode()
    endpoint: Endpoint[Input, Output] = Endpoint("tests/echo", Input, Output)
    headers = signer.headers(body)
    if call.mode == "blocking":
        return endpoint.parse_webhook(headers, body, client=client)
    return asyncio.run(endpoint.parse_webhook_async(headers, body, client=client))


def test_an_event_is_typed(call: Caller, signer: Signer, client: Client) -> None:
    event = parse(call, signer, client, OK)
    assert event.output == Output(text="hello")
    assert event.warnings == ()


def test_an_output_that_departs_from_its_schema_is_not_lost(call: Caller, signer: Signer, client: Client) -> None:
    event = parse(call, signer, client, {**OK, "payload": {"text": None, "note": "x"}})
    assert event.output is not None
    assert event.output.note == "x"
    assert [warning.path for warning in event.warnings] == ["text"]
    with pytest.raises(errors.OutputError):
        parse(call, signer, client.with_options(strict=True), {**OK, "payload": {"text": None}})


REFUSAL = {"detail": [{"loc": ["body", "prompt"], "msg": "too long", "type": "sequence_too_long"}]}
FAILURES: list[tuple[dict[str, Any], type[errors.FalError], int | None, str]] = [
    ({"payload": REFUSAL, "error": "Invalid status code: 422"}, errors.InputError, 422, "refused the input"),
    ({"payload": {"detail": "gone"}, "error": "Invalid status code: 499"}, errors.RequestCancelledError, 499, "gone"),
    ({"payload": None, "error": "Invalid status code: 500"}, errors.RunnerError, 500, "Invalid status code: 500"),
    ({"payload": {"detail": "boom"}, "error": "the runner broke"}, errors.RunnerError, None, "boom"),
    ({"payload": None}, errors.RunnerError, None, "ended with an error"),
    ({"payload": {"x": 1}, "error": "see https://x.y/z?sig=1"}, errors.RunnerError, None, "see https://x.y/z (request"),
    ({"payload": {"detail": "x", "error_type": "runner_disconnected"}, "error": "x"}, errors.RunnerError, None, "x"),
]


@pytest.mark.parametrize(("fields", "cause", "status", "words"), FAILURES)
def test_a_failure_is_the_error_that_a_call_would_raise(
    call: Caller,
    signer: Signer,
    client: Client,
    fields: dict[str, Any],
    cause: type[errors.FalError],
    status: int | None,
    words: str,
) -> None:
    event = parse(call, signer, client, {"request_id": "r-1", "status": "ERROR", **fields})
    assert (event.status, event.output, type(event.error)) == ("ERROR", None, cause)
    assert event.error is not None
    assert (event.error.status_code, event.error.request_id, event.error.endpoint_id) == (status, "r-1", "tests/echo")
    assert words in str(event.error)


def test_an_output_that_could_not_be_delivered(call: Caller, signer: Signer, client: Client) -> None:
    event = parse(call, signer, client, {**OK, "payload": None, "payload_error": "not serializable"})
    assert (event.status, event.output, event.error, event.warnings) == ("OK", None, None, ())
    assert event.payload_error == "not serializable"


def test_what_the_platform_may_say_some_day(call: Caller, signer: Signer, client: Client) -> None:
    event = parse(call, signer, client, {**OK, "status": "FINE", "more": [1]})
    assert (event.status, event.output) == ("OK", Output(text="hello"))
    event = parse(call, signer, client, {"request_id": "r-1", "status": "BAD", "error": "it broke", "payload": None})
    assert event.status == "ERROR"


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"{", b'{"status":"OK"}', b"\xff"])
def test_a_true_delivery_that_makes_no_sense(call: Caller, signer: Signer, client: Client, body: bytes) -> None:
    with pytest.raises(errors.OutputError) as caught:
        parse(call, signer, client, body)
    assert caught.value.body == body


def test_what_is_missing_without_the_extra_is_named() -> None:
    code = """
import sys
sys.modules["cryptography"] = None
from fal_runtime import webhooks
import time
headers = {f"x-fal-webhook-{name}": "x" for name in ("request-id", "user-id")}
headers |= {"x-fal-webhook-timestamp": str(int(time.time())), "x-fal-webhook-signature": "00" * 64}
try:
    webhooks.verify(headers, b"", jwks={"keys": []})
except ModuleNotFoundError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "webhooks need cryptography; run: pip install 'fal-bindings[webhooks]'"
