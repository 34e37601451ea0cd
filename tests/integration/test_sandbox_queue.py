"""The sandbox's queue and direct run, over real sockets."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import httpx
import pytest

from fal_sandbox import Catalog, Sandbox
from fal_sandbox.catalog import Entry

EASEL = "acme/easel/fast"
AUTH = {"authorization": "Key sandbox-id:sandbox-secret"}


def document(endpoint_id: str, input: dict[str, Any], output: dict[str, Any]) -> dict[str, Any]:
    """A schema document in the platform's form."""

    def body(schema: dict[str, Any]) -> dict[str, Any]:
        return {"content": {"application/json": {"schema": schema}}}

    reference = "#/components/schemas/"
    return {
        "openapi": "3.0.4",
        "components": {
            "schemas": {
                "In": input,
                "Out": output,
                "Size": {
                    "type": "object",
                    "properties": {name: {"type": "integer", "exclusiveMinimum": 0} for name in ("width", "height")},
                },
            }
        },
        "paths": {
            f"/{endpoint_id}": {"post": {"requestBody": body({"$ref": f"{reference}In"})}},
            f"/{endpoint_id}/requests/{{request_id}}": {
                "get": {"responses": {"200": body({"$ref": f"{reference}Out"})}}
            },
        },
    }


EASEL_INPUT: dict[str, Any] = {
    "type": "object",
    "required": ["prompt", "mode"],
    "properties": {
        "prompt": {"type": "string", "minLength": 2, "maxLength": 20},
        "mode": {"type": "string", "enum": ["draft", "fine"], "default": "draft"},
        "num_images": {"type": "integer", "minimum": 1, "maximum": 4, "default": 1},
        "strength": {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1, "multipleOf": 0.25},
        "seed": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "negative_prompt": {"type": "string", "nullable": True},
        "image_size": {
            "anyOf": [{"$ref": "#/components/schemas/Size"}, {"type": "string", "enum": ["square", "square_hd"]}]
        },
        "loras": {"type": "array", "maxItems": 1, "items": {"$ref": "#/components/schemas/Missing"}},
    },
}
EASEL_OUTPUT: dict[str, Any] = {
    "type": "object",
    "required": ["images", "seed", "prompt"],
    "properties": {
        "images": {
            "type": "array",
            "items": {"type": "object", "required": ["url"], "properties": {"url": {"type": "string"}}},
        },
        "seed": {"type": "integer"},
        "prompt": {"type": "string"},
    },
}


class Clock:
    """A clock that stands still until it is moved on."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def running(clock: Clock) -> Iterator[Sandbox]:
    broken = Entry("acme/broken", {}, {"error": {"code": "expansion_failed", "message": "no"}})
    catalog = Catalog([Entry(EASEL, {}, document(EASEL, EASEL_INPUT, EASEL_OUTPUT)), broken])
    with Sandbox(catalog, queue_seconds=2.0, run_seconds=4.0, clock=clock) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running: Sandbox) -> Sandbox:
    running.reset()
    return running


@pytest.fixture
def http(sandbox: Sandbox) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=sandbox.url, headers=AUTH, trust_env=False) as client:
        yield client


def submit(http: httpx.Client, body: object, **options: Any) -> dict[str, Any]:
    response = http.post(f"/queue/{EASEL}", json=body, **options)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def test_a_job_goes_through_its_states(http: httpx.Client, sandbox: Sandbox, clock: Clock) -> None:
    response = http.post(f"/queue/{EASEL}", json={"prompt": "a cat", "seed": 7, "num_images": 3})
    job = response.json()
    base = f"{sandbox.url}/queue/acme/easel/requests/{job['request_id']}"
    assert response.status_code == 200
    assert response.headers["x-fal-request-id"] == job["request_id"]
    assert job == {
        "request_id": job["request_id"],
        "response_url": base,
        "status_url": f"{base}/status",
        "cancel_url": f"{base}/cancel",
        "status": "IN_QUEUE",
        "queue_position": 0,
    }

    waiting = http.get(job["status_url"])
    assert (waiting.status_code, waiting.json()["status"], waiting.json()["queue_position"]) == (202, "IN_QUEUE", 0)
    assert waiting.json()["logs"] is None
    early = http.get(job["response_url"])
    assert (early.status_code, early.json()) == (400, {"detail": "Request is still in progress"})

    clock.now += 3
    at_work = http.get(job["status_url"], params={"logs": "true"})
    assert (at_work.status_code, at_work.json()["status"]) == (202, "IN_PROGRESS")
    assert "queue_position" not in at_work.json()
    some = at_work.json()["logs"]
    assert set(some[0]) == {"timestamp", "message", "level", "source"}

    clock.now += 3
    done = http.get(job["status_url"] + "/", params={"logs": 1})
    assert (done.status_code, done.json()["status"]) == (200, "COMPLETED")
    assert done.json()["metrics"] == {"inference_time": 4.0}
    assert "error" not in done.json()
    assert done.json()["logs"][: len(some)] == some
    assert len(done.json()["logs"]) > len(some)

    result = http.get(job["response_url"])
    assert result.status_code == 200
    assert result.headers["x-fal-request-id"] == job["request_id"]
    assert result.headers["x-fal-billable-units"] == "3"
    assert result.json()["seed"] == 7
    assert len(result.json()["images"]) == 3
    whole_id = http.get(f"/queue/{EASEL}/requests/{job['request_id']}")
    assert whole_id.json() == result.json()
    assert [admitted.endpoint_id for admitted in sandbox.admitted] == [EASEL]


def test_positions_count_those_ahead(http: httpx.Client) -> None:
    jobs = [submit(http, {"prompt": "a cat"}) for _ in range(3)]
    assert [job["queue_position"] for job in jobs] == [0, 1, 2]
    http.put(jobs[0]["cancel_url"])
    assert http.get(jobs[2]["status_url"]).json()["queue_position"] == 1
    full = http.post(f"/queue/{EASEL}", json={"prompt": "a cat"}, params={"fal_max_queue_length": 1})
    assert full.status_code == 429


def test_cancel_has_four_answers(http: httpx.Client, sandbox: Sandbox, clock: Clock) -> None:
    queued, running = submit(http, {"prompt": "a cat"}), submit(http, {"prompt": "a cat"})
    answer = http.put(queued["cancel_url"])
    assert (answer.status_code, answer.json()) == (200, {"status": "OK"})
    clock.now += 3
    answer = http.put(running["cancel_url"])
    assert (answer.status_code, answer.json()) == (202, {"status": "CANCELLATION_REQUESTED"})
    answer = http.put(running["cancel_url"])
    assert (answer.status_code, answer.json()) == (400, {"status": "ALREADY_COMPLETED"})
    answer = http.put("/queue/acme/easel/requests/nobody/cancel")
    assert (answer.status_code, answer.json()) == (404, {"status": "NOT_FOUND"})
    for job in (queued, running):
        status = http.get(job["status_url"])
        assert (status.status_code, status.json()["status"]) == (200, "COMPLETED")
        assert status.json()["error_type"] == "client_cancelled"
        assert status.json()["error"]
        result = http.get(job["response_url"])
        assert (result.status_code, result.json()["error_type"]) == (499, "client_cancelled")
        assert result.headers["x-fal-error-type"] == "client_cancelled"

    sandbox.respond(EASEL, cancellable=False)
    stubborn = submit(http, {"prompt": "a cat"})
    clock.now += 3
    assert http.put(stubborn["cancel_url"]).status_code == 202
    assert http.get(stubborn["status_url"]).json()["status"] == "IN_PROGRESS"
    clock.now += 9
    assert http.get(stubborn["response_url"]).status_code == 200


def test_a_job_is_found_under_its_own_application_only(http: httpx.Client) -> None:
    job = submit(http, {"prompt": "a cat"})
    for path in (f"acme/other/requests/{job['request_id']}/status", "acme/easel/requests/nobody/status", "requests/x"):
        response = http.get(f"/queue/{path}")
        assert response.status_code in (404, 405), path
    assert http.get("/queue/acme/easel/requests/nobody").json() == {"status": "NOT_FOUND"}


@pytest.mark.parametrize(
    "headers",
    [{}, {"authorization": "Key wrong"}, {"authorization": "Bearer sandbox-id:sandbox-secret"}, {"authorization": "é"}],
)
def test_a_key_is_needed(sandbox: Sandbox, headers: dict[str, str]) -> None:
    raw = {name.encode(): value.encode("latin-1") for name, value in headers.items()}
    with httpx.Client(base_url=sandbox.url, headers=raw, trust_env=False) as http:
        for response in (
            http.post(f"/queue/{EASEL}", json={}),
            http.get("/queue/acme/easel/requests/x/status"),
            http.post(f"/run/{EASEL}", json={}),
        ):
            assert response.status_code == 401
            assert isinstance(response.json()["detail"], str)
    assert sandbox.admitted == []


@pytest.mark.parametrize(
    "path", ["acme/nothing", "acme/broken", "workflows/acme/none", "comfy/acme/none", "acme", "%20/x"]
)
@pytest.mark.parametrize("service", ["queue", "run"])
def test_an_unknown_application_is_refused(http: httpx.Client, service: str, path: str) -> None:
    response = http.post(f"/{service}/{path}", json={})
    assert response.status_code == 404
    assert response.json()["detail"].startswith('Application "')
    assert response.json()["detail"].endswith('" not found')


@pytest.mark.parametrize("endpoint_id", ["workflows/acme/story", "comfy/acme/graph/deep", "acme/private"])
def test_programmed_endpoints_need_no_catalogue(
    http: httpx.Client, sandbox: Sandbox, clock: Clock, endpoint_id: str
) -> None:
    sandbox.respond(endpoint_id, {"answer": 42}, run_seconds=1.0, logs=["one", "two"])
    job = http.post(f"/queue/{endpoint_id}", json={"anything": 1}).json()
    app = "/".join(endpoint_id.split("/")[: 3 if endpoint_id.startswith(("workflows", "comfy")) else 2])
    assert job["status_url"] == f"{sandbox.url}/queue/{app}/requests/{job['request_id']}/status"
    clock.now += 3.5
    status = http.get(job["status_url"], params={"logs": 1}).json()
    assert [entry["message"] for entry in status["logs"]] == ["one", "two"]
    assert http.get(job["response_url"]).json() == {"answer": 42}


def test_programmed_errors_reach_status_and_result(http: httpx.Client, sandbox: Sandbox, clock: Clock) -> None:
    sandbox.respond(EASEL, {"detail": "No runner", "error_type": "runner_scheduling_failure"}, status=503)
    job = submit(http, {})
    clock.now += 10
    status = http.get(job["status_url"])
    assert status.status_code == 200
    assert (status.json()["error"], status.json()["error_type"]) == ("No runner", "runner_scheduling_failure")
    result = http.get(job["response_url"])
    assert (result.status_code, result.headers["x-fal-error-type"]) == (503, "runner_scheduling_failure")


def test_every_problem_of_an_input_is_told_when_it_runs(http: httpx.Client, clock: Clock) -> None:
    wrong = {
        "prompt": "x",
        "mode": "bold",
        "num_images": 9,
        "strength": 1,
        "seed": "seven",
        "negative_prompt": 3,
        "image_size": {"width": 0, "height": "tall"},
        "loras": [1, 2],
    }
    job = submit(http, wrong)
    clock.now += 10
    assert http.get(job["status_url"]).json()["error"] == "Invalid status code: 422"
    result = http.get(job["response_url"])
    assert result.status_code == 422
    assert result.headers["x-fal-billable-units"] == "0"
    told = {tuple(error["loc"]): (error["type"], error.get("ctx")) for error in result.json()["detail"]}
    assert told == {
        ("body", "prompt"): ("sequence_too_short", {"min_length": 2}),
        ("body", "mode"): ("literal_error", {"expected": "'draft' or 'fine'"}),
        ("body", "num_images"): ("less_than_equal", {"le": 4}),
        ("body", "strength"): ("less_than", {"lt": 1}),
        ("body", "seed"): ("int_type", None),
        ("body", "negative_prompt"): ("string_type", None),
        ("body", "image_size", "width"): ("greater_than", {"gt": 0}),
        ("body", "image_size", "height"): ("int_type", None),
        ("body", "loras"): ("sequence_too_long", {"max_length": 1}),
    }
    for error in result.json()["detail"]:
        assert set(error) >= {"loc", "msg", "type", "url", "input"}
        assert error["url"] == f"https://docs.fal.ai/errors#{error['type']}"


def test_direct_run_refuses_at_once(http: httpx.Client, sandbox: Sandbox) -> None:
    # The clock stands still: what waits for a run has no answer.
    response = http.post(f"/run/{EASEL}", json={"image_size": "huge"})
    assert response.status_code == 422
    assert [(error["loc"], error["type"]) for error in response.json()["detail"]] == [
        (["body", "prompt"], "missing"),
        (["body", "image_size"], "literal_error"),
    ]
    assert response.headers["x-fal-request-id"] == sandbox.admitted[0].request_id


def test_direct_run_answers_the_output(http: httpx.Client, sandbox: Sandbox) -> None:
    sandbox.respond(EASEL, run_seconds=0.01)
    first, second = (http.post(f"/run/{EASEL}", json={"prompt": "a cat", "num_images": 2}) for _ in range(2))
    assert first.status_code == 200
    assert first.json() == second.json()
    assert first.headers["x-fal-request-id"] != second.headers["x-fal-request-id"]
    assert first.headers["x-fal-billable-units"] == "2"


def test_a_start_timeout_ends_a_job_that_waits_too_long(http: httpx.Client, clock: Clock) -> None:
    job = submit(http, {"prompt": "a cat"}, headers={"X-Fal-Request-Timeout": "9", "X-Fal-Request-Start-Timeout": "1"})
    clock.now += 1
    assert http.get(job["status_url"]).json()["error_type"] == "request_timeout"
    result = http.get(job["response_url"])
    assert (result.status_code, result.headers["x-fal-request-timeout-type"]) == (504, "user")
    for bad in ("soon", "0", "nan"):
        refused = http.post(f"/queue/{EASEL}", json={}, headers={"X-Fal-Request-Timeout": bad})
        assert (refused.status_code, refused.json()["error_type"]) == (400, "bad_request")


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff\xfe\x00", b"NaN", b'{"prompt": 1e999}', b"[" * 100_000, b'{"prompt": ' + b"9" * 5000 + b"}"],
)
@pytest.mark.parametrize("service", ["queue", "run"])
def test_what_is_not_json_is_refused(http: httpx.Client, sandbox: Sandbox, service: str, body: bytes) -> None:
    response = http.post(f"/{service}/{EASEL}", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 422
    assert response.json()["detail"][0]["type"] == "json_invalid"
    assert sandbox.admitted == []


@pytest.mark.parametrize(
    "value", ["[]", "3", "null", '"text"', '{"prompt": "\\ud800\\ud800"}', '{"prompt": {"a": []}}']
)
def test_odd_json_is_never_a_server_error(http: httpx.Client, sandbox: Sandbox, value: str) -> None:
    sandbox.respond(EASEL, run_seconds=0)
    for service in ("queue", "run"):
        response = http.post(f"/{service}/{EASEL}", content=value, headers={"content-type": "application/json"})
        assert response.status_code in (200, 422), response.text
        json.loads(response.content)


def test_another_content_type_is_text(http: httpx.Client) -> None:
    response = http.post(f"/run/{EASEL}", content='{"prompt": "a cat"}', headers={"content-type": "text/plain"})
    assert response.status_code == 422
    assert response.json()["detail"][0]["loc"] == ["body"]


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"])
@pytest.mark.parametrize(
    "path",
    ["/queue", "/queue/", "/queue//", "/queue/requests/", "/queue/%2e%2e/x", "/queue/a/b/requests//status", "/run",
     "/queue/a/b/requests/x/y/z", "/rest/x", "/cdn/files/../x", "/cdn/files/%00", "/api/v1", "/queue/%ff%fe/x", "/x?=&&%"],
)  # fmt: skip
def test_odd_paths_are_never_a_server_error(http: httpx.Client, method: str, path: str) -> None:
    assert 400 <= http.request(method, path).status_code < 500


def test_requests_are_written_down(http: httpx.Client, sandbox: Sandbox) -> None:
    submit(http, {"prompt": "a cat"}, params={"fal_webhook": "https://example.com/a"}, headers={"X-Tag": "1"})
    (request,) = sandbox.requests
    assert (request.method, request.path) == ("POST", f"/queue/{EASEL}")
    assert request.query == {"fal_webhook": ["https://example.com/a"]}
    assert request.headers["x-tag"] == "1"
    assert request.json() == {"prompt": "a cat"}
    assert sandbox.admitted[0].input == {"prompt": "a cat"}
    sandbox.reset()
    assert (sandbox.requests, sandbox.admitted) == ([], [])


def test_faults_strike_the_next_matching_requests(http: httpx.Client, sandbox: Sandbox) -> None:
    nginx = "<html><center>nginx</center></html>"
    sandbox.fail_next(
        "/queue/*", method="POST", times=2, status=429, headers={"Retry-After": "1"}, body={"detail": "x"}
    )
    sandbox.fail_next("*/status", status=502, body=nginx, headers={"Content-Type": "text/html"})
    assert http.get("/api/v1/models").status_code == 200
    assert http.get("/queue/a/b/requests/x/status").text == nginx
    for _ in range(2):
        limited = http.post(f"/queue/{EASEL}", json={})
        assert (limited.status_code, limited.headers["retry-after"], limited.json()) == (429, "1", {"detail": "x"})
    assert sandbox.admitted == []
    submit(http, {})
    assert len(sandbox.requests) == 5


def test_a_connection_can_close_without_an_answer(http: httpx.Client, sandbox: Sandbox) -> None:
    sandbox.fail_next("/queue/*", disconnect=True)
    with pytest.raises(httpx.RemoteProtocolError):
        submit(http, {})
    assert sandbox.admitted == []
    sandbox.fail_next("/queue/*", processed=True, disconnect=True)
    with pytest.raises(httpx.RemoteProtocolError):
        submit(http, {})
    assert len(sandbox.admitted) == 1
    sandbox.fail_next("/queue/*", status=200, body='{"request_id": "', disconnect=True)
    with pytest.raises(httpx.RemoteProtocolError, match="peer closed connection"):
        submit(http, {})
    submit(http, {})


def test_an_answer_can_come_late(http: httpx.Client, sandbox: Sandbox) -> None:
    sandbox.fail_next("/queue/*", delay_seconds=5)
    with pytest.raises(httpx.ReadTimeout):
        submit(http, {}, timeout=0.1)


def test_many_at_once(http: httpx.Client, sandbox: Sandbox) -> None:
    inputs: list[dict[str, Any]] = [{"prompt": f"cat {number}"} for number in range(200)]
    with ThreadPoolExecutor(16) as pool:
        jobs = list(pool.map(partial(submit, http), inputs))
    assert len({job["request_id"] for job in jobs}) == 200
    assert len(sandbox.admitted) == 200


def test_real_time_passes(http: httpx.Client) -> None:
    catalog = Catalog([Entry(EASEL, {}, document(EASEL, EASEL_INPUT, EASEL_OUTPUT))])
    with Sandbox(catalog) as sandbox:
        job = http.post(f"{sandbox.url}/queue/{EASEL}", json={"prompt": "a cat"}).json()
        end = time.monotonic() + 10
        while http.get(job["status_url"]).status_code == 202 and time.monotonic() < end:
            time.sleep(0.02)
        assert http.get(job["response_url"]).status_code == 200


def test_it_starts_stops_and_starts_again() -> None:
    sandbox = Sandbox(Catalog(), key="my:key")
    with pytest.raises(RuntimeError, match="not running"):
        _ = sandbox.url
    for _ in range(2):
        with sandbox:
            assert sandbox.start() is sandbox
            assert sandbox.url.startswith("http://127.0.0.1:")
            environment = sandbox.environment()
            assert environment["FAL_QUEUE_URL"] == f"{sandbox.url}/queue"
            assert environment["FAL_KEY"] == "my:key"
            assert httpx.get(environment["FAL_API_URL"] + "/models", trust_env=False).status_code == 200
            url = sandbox.url
        sandbox.stop()
        with pytest.raises(httpx.ConnectError):
            httpx.get(url, trust_env=False)


def test_stopping_does_not_wait_for_slow_answers() -> None:
    with Sandbox(Catalog()) as sandbox, ThreadPoolExecutor(1) as pool:
        sandbox.fail_next(delay_seconds=60)
        answer = pool.submit(httpx.get, f"{sandbox.url}/nowhere", trust_env=False, timeout=30)
        while not sandbox.requests:
            time.sleep(0.01)
        # A stop that waited for the whole minute would be too late for the client.
        sandbox.stop()
        assert answer.result().status_code == 404


def test_the_foreground_ends_with_ctrl_c() -> None:
    program = """
import os, signal, threading
from fal_sandbox import Catalog, Sandbox
def start(url):
    print(url, flush=True)
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
Sandbox(Catalog()).serve(start)
print("ended")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    url, last = done.stdout.split()
    assert url.startswith("http://127.0.0.1:")
    assert last == "ended"


def test_importing_is_cheap() -> None:
    program = "import sys, fal_sandbox; print({'starlette', 'uvicorn', 'PIL', 'jsonschema'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "set()"
