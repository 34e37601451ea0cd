"""The sandbox's faults by name: each does what its line in the table says, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from importlib import import_module
from typing import Any

import httpx
import pytest
from httpx_sse import connect_sse
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from fal_runtime import Endpoint
from fal_sandbox import FAULTS, SCOPES, Catalog, Fault, Sandbox
from fal_sandbox.catalog import Entry
from support import Input, Output

msgpack: Any = import_module("msgpack")

TELLER = "acme/teller/fast"
OUTPUT = {"text": "once upón a time there was a teller"}
CHOOSER = "acme/chooser"


def chooser() -> Entry:
    """An endpoint whose output has a field with listed values."""

    def body(schema: dict[str, Any]) -> dict[str, Any]:
        return {"content": {"application/json": {"schema": schema}}}

    kind = {"anyOf": [{"type": "string", "enum": ["a", "b"]}, {"type": "null"}]}
    made = {"type": "object", "properties": {"text": {"type": "string"}, "kind": kind}}
    paths = {
        f"/{CHOOSER}": {"post": {"requestBody": body({"type": "object"})}},
        f"/{CHOOSER}/requests/{{request_id}}": {"get": {"responses": {"200": body(made)}}},
    }
    return Entry(CHOOSER, {}, {"components": {"schemas": {}}, "paths": paths})


@pytest.fixture(scope="module")
def running() -> Iterator[Sandbox]:
    with Sandbox(Catalog([chooser()]), latency="zero") as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running: Sandbox) -> Sandbox:
    running.reset()
    running.respond(TELLER, OUTPUT, stream=[OUTPUT, OUTPUT], after=0)
    return running


@pytest.fixture
def http(sandbox: Sandbox) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Key {sandbox.key}"}
    with httpx.Client(base_url=sandbox.url, headers=headers, trust_env=False, timeout=20) as client:
        yield client


def run(http: httpx.Client, endpoint_id: str = TELLER, **options: Any) -> httpx.Response:
    return http.post(f"/run/{endpoint_id}", json={}, **options)


def submit(http: httpx.Client, endpoint_id: str = TELLER) -> httpx.Response:
    return http.post(f"/queue/{endpoint_id}", json={})


def test_every_fault_has_a_scope_and_a_meaning() -> None:
    for name, line in FAULTS.items():
        assert line.scope in SCOPES, name
        assert line.meaning, name


@pytest.mark.parametrize(
    ("name", "error", "admitted"),
    [
        # The client may notice when it writes or when it reads.
        ("reset-early", httpx.TransportError, 0),
        ("reset", httpx.ReadError, 0),
        ("reset-processed", httpx.ReadError, 1),
        ("close", httpx.RemoteProtocolError, 0),
        ("close-processed", httpx.RemoteProtocolError, 1),
        ("half-answer", httpx.RemoteProtocolError, 1),
    ],
)
@pytest.mark.parametrize("send", [run, submit])
def test_connections_break(
    sandbox: Sandbox, http: httpx.Client, name: str, error: type[Exception], admitted: int, send: Callable[..., Any]
) -> None:
    sandbox.fail(name, TELLER)
    with pytest.raises(error):
        send(http)
    assert (len(sandbox.admitted), len(sandbox.requests)) == (admitted, 1)
    assert send(http).status_code == 200


def test_a_reset_before_the_body_does_not_wait_for_it(sandbox: Sandbox) -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield b" " * 65_536

    sandbox.fail("reset-early", "/rest/*")
    with pytest.raises(httpx.TransportError):
        httpx.post(f"{sandbox.url}/rest/tokens/", content=endless(), trust_env=False, timeout=20)
    assert sandbox.requests[0].size == 0


@pytest.mark.parametrize(
    ("name", "status", "told"),
    [
        ("html", 200, {"content-type": "text/html"}),
        ("rate-limited", 429, {}),
        ("rate-limited-seconds", 429, {"retry-after": "1"}),
        ("concurrency-limited", 429, {"x-fal-needs-retry": "1"}),
        ("unauthorized", 401, {}),
        ("locked", 403, {}),
        ("nginx-502", 502, {"content-type": "text/html"}),
        ("nginx-503", 503, {"content-type": "text/html"}),
        ("nginx-504", 504, {"content-type": "text/html"}),
        ("unavailable", 503, {"x-fal-error-type": "runner_scheduling_failure"}),
        ("internal-error", 500, {"x-fal-error-type": "internal_error"}),
        ("start-timeout", 504, {"x-fal-request-timeout-type": "user"}),
        ("unprocessable-list", 422, {}),
        ("unprocessable-text", 422, {}),
        ("unprocessable-nothing", 422, {"content-length": "0"}),
    ],
)
def test_answers_that_are_refusals(
    sandbox: Sandbox, http: httpx.Client, name: str, status: int, told: dict[str, str]
) -> None:
    sandbox.fail(name, TELLER)
    response = run(http)
    assert response.status_code == status
    assert {header: response.headers[header] for header in told} == told
    assert ("retry-after" in response.headers) == ("retry-after" in told)
    assert (b"nginx" in response.content) == name.startswith("nginx")
    assert ("x-fal-request-id" in response.headers) == (name == "unavailable")
    assert sandbox.admitted == []
    assert run(http).json() == OUTPUT


def test_a_date_to_come_back_at(sandbox: Sandbox, http: httpx.Client) -> None:
    sandbox.fail("rate-limited-date")
    response = submit(http)
    wait = parsedate_to_datetime(response.headers["retry-after"]) - parsedate_to_datetime(response.headers["date"])
    assert 0 <= wait.total_seconds() <= 3


def test_a_redirect_leads_to_another_origin(sandbox: Sandbox, http: httpx.Client) -> None:
    sandbox.fail("redirect")
    response = submit(http)
    location = httpx.URL(response.headers["location"])
    assert (response.status_code, location.path) == (307, f"/queue/{TELLER}")
    assert location.host != httpx.URL(sandbox.url).host
    assert http.post(location, json={}).status_code == 200
    assert sandbox.requests[-1].headers["host"] == f"localhost:{location.port}"


def test_answers_that_are_damaged(sandbox: Sandbox, http: httpx.Client) -> None:
    sandbox.fail("truncated-json")
    response = run(http)
    assert response.status_code == 200
    with pytest.raises(ValueError, match=r"JSON|Unterminated|Expecting"):
        response.json()
    assert json.dumps(OUTPUT, separators=(",", ":")).startswith(response.text)
    sandbox.fail("slow-body", TELLER, pause_seconds=0.001)
    assert run(http).json() == OUTPUT
    sandbox.fail("slow-first-byte", delay_seconds=5)
    with pytest.raises(httpx.ReadTimeout):
        run(http, timeout=0.1)


def test_a_fault_is_for_the_requests_of_its_scope(sandbox: Sandbox, http: httpx.Client) -> None:
    sandbox.respond("acme/other", {}, after=0)
    sandbox.fail("nginx-502", TELLER, on="status", times=2)
    job = submit(http).json()
    other = submit(http, "acme/other").json()
    assert http.get(other["status_url"]).status_code == 200
    assert http.get(job["response_url"]).status_code == 200
    assert [http.get(job["status_url"]).status_code for _ in range(3)] == [502, 502, 200]
    requests: dict[str, Callable[[], httpx.Response]] = {
        "result": lambda: http.get(job["response_url"]),
        "cancel": lambda: http.put(job["cancel_url"]),
        "submit": lambda: submit(http),
        "run": lambda: run(http),
    }
    for name, request in requests.items():
        sandbox.fail("internal-error", TELLER, on=name)
        assert (request().status_code, request().status_code != 500) == (500, True), name
    endpoint: Endpoint[Input, Output] = Endpoint(TELLER, Input, Output)
    sandbox.fail(Fault(status=418), endpoint)
    assert submit(http, "acme/other").status_code == 200
    assert submit(http).status_code == 418
    sandbox.fail(Fault(status=418))
    assert http.get("/api/v1/models").status_code == 418


def test_what_does_not_exist_is_said(sandbox: Sandbox) -> None:
    with pytest.raises(ValueError, match=r"there is no fault 'nginx', but: .*nginx-502"):
        sandbox.fail("nginx")
    with pytest.raises(ValueError, match=r"there is no scope 'poll', but: .*status"):
        sandbox.fail("nginx-502", on="poll")
    with pytest.raises(ValueError, match="neither an endpoint's id nor a path"):
        sandbox.fail("nginx-502", "nothing")
    with pytest.raises(TypeError, match="no endpoint"):
        sandbox.fail("nginx-502", 3)
    with pytest.raises(ValueError, match="listed values"):
        sandbox.fail("unknown-enum", TELLER)


def test_a_request_completes_with_an_error(sandbox: Sandbox, http: httpx.Client) -> None:
    sandbox.fail("runner-disconnected", TELLER, times=2)
    job = submit(http).json()
    status = http.get(job["status_url"]).json()
    assert (status["status"], status["error_type"]) == ("COMPLETED", "runner_disconnected")
    assert http.get(job["response_url"]).status_code == 503
    assert run(http).status_code == 503
    assert len(sandbox.admitted) == 2
    assert run(http).status_code == 200


def test_words_that_no_one_knows(sandbox: Sandbox, http: httpx.Client) -> None:
    sandbox.fail("unknown-status", TELLER)
    job = submit(http).json()
    assert http.get(job["status_url"]).json()["status"] == "ON_HOLD"
    with connect_sse(http, "GET", job["status_url"] + "/stream") as source:
        assert [json.loads(event.data)["status"] for event in source.iter_sse()] == ["ON_HOLD"]
    sandbox.fail("unknown-enum", CHOOSER)
    assert run(http, CHOOSER).json()["kind"] == "a-value-of-the-future"
    assert run(http, CHOOSER).json()["kind"] in ("a", "b", None)
    sandbox.fail("unknown-enum", TELLER, merge={"text": None})
    assert run(http).json() == {"text": None}


def raw_stream(http: httpx.Client) -> list[bytes]:
    chunks: list[bytes] = []
    with http.stream("POST", f"/run/{TELLER}/stream", json={}) as response:
        assert response.status_code == 200
        with pytest.raises(httpx.RemoteProtocolError):
            chunks.extend(response.iter_raw())
    return chunks


def test_streams_break_in_the_middle(sandbox: Sandbox, http: httpx.Client) -> None:
    event = b'data: {"text":"once up\xc3\xb3n a time there was a teller"}\n\n'
    sandbox.fail("event-cut", TELLER)
    assert b"".join(raw_stream(http)) == event + event[: len(event) // 2]
    sandbox.fail("character-cut", TELLER)
    assert b"".join(raw_stream(http)) == event[: event.index(b"\xc3") + 1]
    sandbox.fail("byte-by-byte", TELLER)
    with http.stream("POST", f"/run/{TELLER}/stream", json={}) as response:
        assert b"".join(response.iter_raw()) == 3 * event
    sandbox.fail("event-cut", TELLER)
    sandbox.respond(TELLER, OUTPUT, queue_seconds=0.05, run_seconds=0.05)
    job = submit(http).json()
    with http.stream("GET", job["status_url"] + "/stream") as response, pytest.raises(httpx.RemoteProtocolError):
        for _ in response.iter_raw():
            pass


@pytest.mark.parametrize(
    ("name", "frames", "code"),
    [
        ("websocket-1000", 0, 1000),
        ("websocket-1008", 0, 1008),
        ("websocket-1011", 0, 1011),
        ("websocket-reset", 0, None),
        ("websocket-timeout", 1, 1000),
        ("websocket-error", 1, 1000),
        ("websocket-unauthorized", 1, 1008),
    ],
)
def test_websockets_end(sandbox: Sandbox, name: str, frames: int, code: int | None) -> None:
    sandbox.fail(name, TELLER)
    headers = {"authorization": f"Key {sandbox.key}"}
    url = f"{sandbox.environment()['FAL_REALTIME_URL']}/{TELLER}/realtime"
    with connect(url, additional_headers=headers, proxy=None) as connection:
        if FAULTS[name].fault.after_frames:
            connection.send(msgpack.packb({}))
            assert msgpack.unpackb(connection.recv()) == OUTPUT
            assert json.loads(connection.recv())["type"] == "x-fal-message"
        last = [json.loads(connection.recv()) for _ in range(frames)]
        with pytest.raises(ConnectionClosed) as closed:
            connection.recv()
    received = closed.value.rcvd
    assert (None if received is None else received.code) == code
    assert all(frame.get("type") == "x-fal-error" or frame.get("error") == "Unauthorized" for frame in last)


def test_uploads_fail(sandbox: Sandbox, http: httpx.Client) -> None:
    token = http.post("/rest/storage/auth/token", json={}).json()["token"]
    headers = {"authorization": f"Bearer {token}", "accept-encoding": "identity"}
    with httpx.Client(base_url=f"{sandbox.url}/cdn", headers=headers, trust_env=False) as cdn:
        sandbox.fail("expired-token")
        assert [cdn.post("/files/upload", content=b"x").status_code for _ in range(2)] == [401, 200]
        begun = cdn.post("/files/upload/multipart").json()
        part = f"{begun['access_url']}/multipart/{begun['uploadId']}"
        sandbox.fail("no-etag")
        assert ["etag" in cdn.put(f"{part}/1", content=b"x").headers for _ in range(2)] == [False, True]
        sandbox.fail("part-failure")
        statuses = [cdn.put(f"{part}/1", content=b"x").status_code for _ in range(40)]
        assert 5 < statuses.count(500) < 35
        assert statuses.count(200) == 40 - statuses.count(500)


def test_everything_can_be_done_over_http(sandbox: Sandbox, http: httpx.Client) -> None:
    def control(path: str, **given: Any) -> Any:
        response = httpx.post(f"{sandbox.url}/sandbox/{path}", json=given, trust_env=False)
        assert response.status_code == 200, response.text
        return response.json()

    def listed(path: str) -> Any:
        return httpx.get(f"{sandbox.url}/sandbox/{path}", trust_env=False).json()

    control("respond", endpoint="acme/far", output={"text": "away"}, after=3600, stream=[{"n": 1}])
    control("fail", fault="nginx-502", target="acme/far", on="submit", times=1)
    control("fail", fault={"status": 418}, target="/rest/*")
    control("fail", fault="unavailable")
    assert [submit(http, "acme/far").status_code for _ in range(2)] == [502, 503]
    assert http.post("/rest/tokens/").status_code == 418
    job = submit(http, "acme/far").json()
    assert http.get(job["status_url"]).json()["status"] == "IN_PROGRESS"
    control("clock", advance=3601)
    assert http.get(job["response_url"]).json() == {"text": "away"}
    assert [one["path"] for one in listed("requests")] == [request.path for request in sandbox.requests]
    assert listed("requests")[0]["body"] == "{}"
    assert listed("admitted") == [
        {"request_id": job["request_id"], "endpoint_id": "acme/far", "input": {}, "service": "queue"}
    ]
    assert listed("environment") == sandbox.environment()
    assert {one["name"] for one in listed("faults")} == set(FAULTS)
    made = control("webhooks/request", output={"text": "x"})
    assert json.loads(made["body"])["payload"] == {"text": "x"}
    control("webhooks/rotate", keep=False)
    assert listed("uploads") == listed("deliveries") == []
    # Without a content type, as curl sends it.
    assert httpx.post(f"{sandbox.url}/sandbox/reset", content=b"{}", trust_env=False).status_code == 200
    assert (sandbox.requests, sandbox.admitted) == ([], [])


@pytest.mark.parametrize(
    ("path", "given", "complaint"),
    [
        ("respond", b'{"output": 1}', "'endpoint' is missing"),
        (
            "respond",
            b'{"endpoint": "a/b", "outputs": 1}',
            "there is no 'outputs', but: endpoint, output, status, headers",
        ),
        ("respond", b'{"endpoint": "a/b", "run_seconds": "long"}', "'run_seconds': Expected `float | null`, got `str`"),
        ("respond", b'{"endpoint": "a/b", "status": 42}', "status is 42; a status is from 200 to 599"),
        ("respond", b'{"endpoint": "a/b", "status": 204}', "no body goes with that"),
        ("respond", b'{"endpoint": "a/b", "headers": {"a b": "c"}}', "'a b' is no name of a header"),
        ("respond", b'{"endpoint": "a/b", "headers": {"a": "b\\nc"}}', "the header a cannot be"),
        ("respond", b'{"endpoint": "a"}', "'a' is no endpoint's id; ids look like"),
        ("respond", b'{"endpoint": 5}', "5 is no endpoint; give an id"),
        ("respond", b"[1]", "the body is a JSON object"),
        ("fail", b"{}", "'fault' is missing"),
        ("fail", b'{"fault": "nothing"}', "there is no fault 'nothing', but: reset-early, "),
        ("fail", b'{"fault": "nginx-502", "on": "x"}', "there is no scope 'x', but: any, submit"),
        ("fail", b'{"fault": "nginx-502", "twice": 1}', "there is no 'twice', but: fault, target, on, method, times"),
        ("fail", b'{"fault": {"stats": 418}}', "there is no 'stats', but: path, method, times"),
        ("fail", b'{"fault": {"status": "418"}}', "'status': Expected `int | null`, got `str`"),
        ("fail", b'{"fault": {"times": 0}}', "times is 0; it counts requests"),
        ("fail", b'{"fault": {"probability": 2}}', "probability is 2; it is from 0 to 1"),
        ("fail", b"{", "json_invalid"),
        ("clock", b"{}", "'advance' is missing"),
        ("clock", b'{"advance": "1"}', "'advance': Expected `float`, got `str`"),
        ("clock", b'{"advance": -1}', "the clock cannot be moved by -1 seconds"),
        ("reset", b'{"all": true}', "there is no 'all', but: nothing"),
        ("webhooks/redeliver", b'{"request_id": "x"}', "no job x with a webhook"),
        ("webhooks/request", b'{"outputs": 1}', "there is no 'outputs', but: output, status"),
        ("webhooks/rotate", b'{"keep": 1}', "'keep': Expected `bool`, got `int`"),
    ],
)
def test_what_cannot_be_done_over_http_is_named(sandbox: Sandbox, path: str, given: bytes, complaint: str) -> None:
    response = httpx.post(f"{sandbox.url}/sandbox/{path}", content=given, trust_env=False)
    assert response.status_code == 422
    assert complaint in str(response.json()["detail"])
