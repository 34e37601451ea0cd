"""The sandbox's streams: the status of a job as it changes, and outputs as they are made."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from httpx_sse import connect_sse

from fal_runtime import Endpoint
from fal_sandbox import Catalog, Sandbox
from fal_sandbox.catalog import Entry
from support import Input, Output

TELLER = "acme/teller"
PAINTER = "acme/painter/fast"


def painter() -> Entry:
    """An endpoint of the catalogue that streams, as its metadata say."""

    def body(schema: dict[str, Any]) -> dict[str, Any]:
        return {"content": {"application/json": {"schema": schema}}}

    given = {"type": "object", "required": ["prompt"], "properties": {"prompt": {"type": "string"}}}
    image = {"type": "object", "required": ["url"], "properties": {"url": {"type": "string"}}}
    made = {"type": "object", "required": ["image"], "properties": {"image": image}}
    paths = {
        f"/{PAINTER}": {"post": {"requestBody": body(given)}},
        f"/{PAINTER}/requests/{{request_id}}": {"get": {"responses": {"200": body(made)}}},
    }
    metadata = {"stream_url": f"https://fal.run/{PAINTER}/stream"}
    return Entry(PAINTER, metadata, {"components": {"schemas": {}}, "paths": paths})


@pytest.fixture(scope="module")
def running() -> Iterator[Sandbox]:
    mute = Entry("acme/mute", {}, {**painter().openapi})
    with Sandbox(Catalog([painter(), mute]), queue_seconds=0.02, run_seconds=0.02) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running: Sandbox) -> Sandbox:
    running.reset()
    return running


@pytest.fixture
def http(sandbox: Sandbox) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Key {sandbox.key}"}
    with httpx.Client(base_url=sandbox.url, headers=headers, trust_env=False, timeout=20) as client:
        yield client


def submit(http: httpx.Client, endpoint_id: str = TELLER, **options: Any) -> dict[str, Any]:
    response = http.post(f"/queue/{endpoint_id}", json={}, **options)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def events(http: httpx.Client, method: str, url: str, **options: Any) -> list[Any]:
    with connect_sse(http, method, url, **options) as source:
        return [json.loads(one.data) for one in source.iter_sse()]


def test_a_status_stream_tells_every_change_and_each_log_once(http: httpx.Client, sandbox: Sandbox) -> None:
    sandbox.respond(TELLER, {}, queue_seconds=100, run_seconds=300, logs=["one", "two", "three"])
    job = submit(http)
    with connect_sse(http, "GET", job["status_url"] + "/stream", params={"logs": 1}) as source:
        stream = (json.loads(one.data) for one in source.iter_sse())
        told = [next(stream)]
        for _ in range(4):
            sandbox.advance(100.5)
            told.append(next(stream))
        assert list(stream) == []
    states = [one["status"] for one in told]
    assert states == ["IN_QUEUE", "IN_PROGRESS", "IN_PROGRESS", "IN_PROGRESS", "COMPLETED"]
    assert told[0]["queue_position"] == 0
    assert [[entry["message"] for entry in one["logs"]] for one in told] == [[], ["one"], ["two"], ["three"], []]
    assert told[-1]["metrics"] == {"inference_time": pytest.approx(300)}
    assert {one["request_id"] for one in told} == {job["request_id"]}


def test_a_status_stream_without_logs_is_short(http: httpx.Client, sandbox: Sandbox) -> None:
    sandbox.respond(TELLER, {"detail": "broken"}, status=500, queue_seconds=0.05, run_seconds=0.2, logs=["one", "two"])
    told = events(http, "GET", submit(http)["status_url"] + "/stream")
    assert [one["status"] for one in told[-2:]] == ["IN_PROGRESS", "COMPLETED"]
    assert len(told) <= 3
    assert {one["logs"] for one in told} == {None}
    assert told[-1]["error"] == "broken"


def test_a_status_stream_of_a_completed_job_has_one_event(http: httpx.Client, sandbox: Sandbox) -> None:
    sandbox.respond(TELLER, {}, after=0, logs=["one", "two"])
    job = submit(http)
    (only,) = events(http, "GET", job["status_url"] + "/stream", params={"logs": "true"})
    assert [entry["message"] for entry in only["logs"]] == ["one", "two"]
    unknown = http.get(f"/queue/{TELLER}/requests/nobody/status/stream")
    assert (unknown.status_code, unknown.json()) == (404, {"status": "NOT_FOUND"})


def test_a_status_stream_tells_of_positions_and_cancellation(http: httpx.Client, sandbox: Sandbox) -> None:
    sandbox.respond(TELLER, {}, queue_seconds=60)
    ahead, job = submit(http), submit(http)
    with connect_sse(http, "GET", job["status_url"] + "/stream") as source:
        told = (json.loads(one.data) for one in source.iter_sse())
        assert next(told)["queue_position"] == 1
        http.put(ahead["cancel_url"])
        assert next(told)["queue_position"] == 0
        http.put(job["cancel_url"])
        last = next(told)
        assert (last["status"], last["error_type"]) == ("COMPLETED", "client_cancelled")
        assert list(told) == []


def test_low_priority_waits_behind_all_others(http: httpx.Client, sandbox: Sandbox) -> None:
    sandbox.respond(TELLER, {}, queue_seconds=60)
    low = {"X-Fal-Queue-Priority": "low"}
    jobs = [submit(http, headers=low), submit(http), submit(http, headers=low), submit(http)]
    assert [http.get(job["status_url"]).json()["queue_position"] for job in jobs] == [2, 0, 3, 1]


def test_polled_logs_are_a_window_that_moves(http: httpx.Client) -> None:
    lines = [f"line {number}" for number in range(10)]
    with Sandbox(Catalog(), log_window=3) as sandbox:
        sandbox.respond(TELLER, {}, queue_seconds=0, run_seconds=10, logs=lines)
        job = http.post(f"{sandbox.url}/queue/{TELLER}", json={}).json()

        def seen() -> list[str]:
            logs = http.get(job["status_url"], params={"logs": 1}).json()["logs"]
            return [entry["message"] for entry in logs]

        assert seen() == lines[:1]
        sandbox.advance(5.5)
        assert seen() == lines[3:6]
        sandbox.advance(100)
        assert seen() == lines[8:]


@pytest.mark.parametrize(("size", "kept"), [(100, 3600), (10_000, 360)])
def test_results_are_kept_for_a_while(http: httpx.Client, sandbox: Sandbox, size: int, kept: int) -> None:
    sandbox.respond(TELLER, {"text": "x" * size}, after=0)
    job = submit(http)
    sandbox.advance(kept - 5)
    assert http.get(job["response_url"]).status_code == 200
    sandbox.advance(10)
    assert http.get(job["response_url"]).status_code == 404
    assert http.get(job["status_url"]).json()["status"] == "COMPLETED"


def test_a_programmed_stream_ends_with_the_output(http: httpx.Client, sandbox: Sandbox) -> None:
    sandbox.respond(TELLER, {"text": "once upon"}, stream=[{"text": "on"}, {"text": "ón\ud800"}], run_seconds=0.01)
    with connect_sse(http, "POST", f"/run/{TELLER}/stream", json={}) as source:
        assert source.response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert source.response.headers["x-fal-request-id"] == sandbox.admitted[0].request_id
        assert source.response.headers["x-fal-billable-units"] == "1"
        told = [json.loads(one.data) for one in source.iter_sse()]
    assert told == [{"text": "on"}, {"text": "ón\ud800"}, {"text": "once upon"}]
    assert [job.endpoint_id for job in sandbox.admitted] == [TELLER]

    sandbox.respond(TELLER, stream=[1, 2], run_seconds=0)
    assert events(http, "POST", f"/run/{TELLER}/stream", json={}) == [1, 2]
    assert http.post(f"/run/{TELLER}", json={}).json() == 2


def test_raw_parts_and_other_kinds_of_stream(http: httpx.Client, sandbox: Sandbox) -> None:
    sandbox.respond(TELLER, stream=[b": hello\n\n", b"data: 1\n\n", b"data: [DONE]\n\n"], run_seconds=0)
    assert http.post(f"/run/{TELLER}/stream", json={}).text == ": hello\n\ndata: 1\n\ndata: [DONE]\n\n"
    sandbox.respond(
        TELLER, {"text": "no event"}, stream=[b"\x00\xff", b"\x01"], stream_type="audio/mpeg", run_seconds=0
    )
    response = http.post(f"/run/{TELLER}/stream", json={})
    assert (response.headers["content-type"], response.content) == ("audio/mpeg", b"\x00\xff\x01")
    with pytest.raises(TypeError, match="audio/mpeg"):
        sandbox.respond(TELLER, stream=[{}], stream_type="audio/mpeg")


def test_endpoints_of_the_catalogue_stream_drafts(http: httpx.Client) -> None:
    told = events(http, "POST", f"/run/{PAINTER}/stream", json={"prompt": "a cat"})
    assert len({one["image"]["url"] for one in told}) == len(told) == 4
    assert told[-1] == http.post(f"/run/{PAINTER}", json={"prompt": "a cat"}).json()
    assert {http.get(one["image"]["url"]).headers["content-type"] for one in told} == {"image/png"}
    refused = http.post(f"/run/{PAINTER}/stream", json={})
    assert (refused.status_code, refused.json()["detail"][0]["type"]) == (422, "missing")


def test_ids_that_end_in_stream_and_endpoints_that_do_not(http: httpx.Client, sandbox: Sandbox) -> None:
    sandbox.respond("acme/radio/stream", stream=[1, 2], run_seconds=0)
    assert events(http, "POST", "/run/acme/radio/stream", json={}) == [1, 2]
    none = http.post("/run/acme/mute/stream", json={"prompt": "x"})
    assert (none.status_code, none.json()) == (404, {"detail": "Path /stream not found"})
    assert http.post("/run/acme/nothing/stream", json={}).status_code == 404
    assert [job.endpoint_id for job in sandbox.admitted] == ["acme/radio/stream"]


def test_a_stream_that_is_left_ends(http: httpx.Client, sandbox: Sandbox) -> None:
    sandbox.respond(TELLER, stream=[{"n": number} for number in range(3)], run_seconds=90)
    with http.stream("POST", f"/run/{TELLER}/stream", json={}) as response:
        assert response.status_code == 200
    sandbox.respond(TELLER, {}, run_seconds=60, queue_seconds=0)
    job = submit(http)
    with http.stream("GET", job["status_url"] + "/stream") as response:
        assert next(response.iter_lines()).startswith("data: ")


def _twice(value: Any) -> Any:
    return {"text": 2 * value["text"]}


def test_answers_may_be_typed_made_of_the_input_or_for_a_while(http: httpx.Client, sandbox: Sandbox) -> None:
    endpoint: Endpoint[Input, Output] = Endpoint("acme/typed", Input, Output)
    targets: list[object] = ["acme/typed", endpoint, SimpleNamespace(endpoint=endpoint)]
    for number, target in enumerate(targets):
        sandbox.respond(target, Output(text=str(number)), after=0)
        assert http.post("/run/acme/typed", json={}).json()["text"] == str(number)
    sandbox.respond(TELLER, _twice, after=0)
    assert http.post(f"/run/{TELLER}", json={"text": "ab"}).json() == {"text": "abab"}
    assert http.get(f"/run/{TELLER}", params={"text": "cd"}).json() == {"text": "cdcd"}
    sandbox.respond(TELLER, {"detail": "No runner"}, status=503, times=2, after=0)
    assert [http.post(f"/run/{TELLER}", json={"text": "x"}).status_code for _ in range(3)] == [503, 503, 200]
    with pytest.raises(TypeError, match="no endpoint"):
        sandbox.respond(3)
    with pytest.raises(ValueError, match="times is 0"):
        sandbox.respond(TELLER, times=0)


def test_a_programme_holds_for_what_is_admitted_under_it(http: httpx.Client, sandbox: Sandbox) -> None:
    sandbox.respond(TELLER, {"text": "first"}, after=0)
    job = submit(http)
    sandbox.respond(TELLER, {"text": "second"})
    assert http.get(job["response_url"]).json() == {"text": "first"}


def test_every_service_has_its_variable(sandbox: Sandbox) -> None:
    environment = sandbox.environment()
    address = sandbox.url.removeprefix("http://")
    assert environment["FAL_REALTIME_URL"] == f"ws://{address}/realtime"
    assert environment["FAL_REST_URL"] == f"http://{address}/rest"
    assert environment["FAL_JWKS_URL"] == f"http://{address}/rest/.well-known/jwks.json"
