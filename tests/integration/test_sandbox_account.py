"""What the sandbox's Platform API tells an account, and the ports of its services."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from websockets.sync.client import connect

from fal_sandbox import Catalog, Sandbox

TELLER = "acme/teller/fast"


@pytest.fixture(scope="module")
def running() -> Iterator[Sandbox]:
    with Sandbox(Catalog(), latency="zero") as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running: Sandbox) -> Sandbox:
    running.reset()
    running.respond(TELLER, {"text": "once"}, headers={"X-Fal-Billable-Units": "2.5"}, run_seconds=0.0)
    return running


@pytest.fixture
def api(sandbox: Sandbox) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Key {sandbox.key}"}
    with httpx.Client(base_url=f"{sandbox.url}/api/v1", headers=headers, trust_env=False) as client:
        yield client


def call(api: httpx.Client, sandbox: Sandbox, endpoint_id: str = TELLER, service: str = "queue") -> str:
    answer = api.post(f"{sandbox.url}/{service}/{endpoint_id}", json={"n": 1})
    return str(answer.headers["x-fal-request-id"])


def test_prices(api: httpx.Client, sandbox: Sandbox) -> None:
    sandbox.respond("acme/other")
    query = {"endpoint_id": [TELLER, "acme/other"]}
    prices = api.get("/models/pricing", params=query).json()["prices"]
    assert [price["endpoint_id"] for price in prices] == query["endpoint_id"]
    assert {(price["currency"], price["unit_price"] > 0) for price in prices} == {("USD", True)}
    assert api.get("/models/pricing", params={"endpoint_id": f"{TELLER},acme/other"}).json()["prices"] == prices
    for kind, quantity in (("historical_api_price", "call_quantity"), ("unit_price", "unit_quantity")):
        body = {"estimate_type": kind, "endpoints": {TELLER: {quantity: 3}, "acme/other": {quantity: 1}}}
        estimate = api.post("/models/pricing/estimate", json=body).json()
        assert estimate == {"estimate_type": kind, "total_cost": 4 * prices[0]["unit_price"], "currency": "USD"}


def test_billing_events_of_requests(api: httpx.Client, sandbox: Sandbox) -> None:
    queued, direct = call(api, sandbox), call(api, sandbox, service="run")
    sandbox.respond(TELLER, {"detail": "no"}, status=500, after=0)
    failed = call(api, sandbox)
    sandbox.respond(TELLER, queue_seconds=60)
    waiting = call(api, sandbox)

    def events(**query: Any) -> list[Any]:
        listed: list[Any] = api.get("/models/billing-events", params=query).json()["billing_events"]
        return listed

    assert [event["request_id"] for event in events()] == [queued, direct, failed]
    (event,) = events(request_id=direct)
    assert (event["output_units"], event["endpoint_id"]) == (2.5, TELLER)
    assert event["cost_total"] == pytest.approx(2.5 * event["unit_price"])
    assert event["cost_estimate_nano_usd"] == round(event["cost_total"] * 1e9)
    assert events(request_id=failed)[0]["cost_total"] == 0
    assert events(request_id=waiting) == []
    assert events(request_id=[queued, failed]) == events(request_id=f"{queued},{failed}")
    assert events(endpoint_id="acme/none") == events(start="2999-01-01") == events(end="2001-01-01T00:00:00Z") == []
    first = api.get("/models/billing-events", params={"limit": 2}).json()
    assert first["has_more"]
    second = events(limit=2, cursor=first["next_cursor"])
    assert [event["request_id"] for event in second] == [failed]


def test_requests_by_endpoint(api: httpx.Client, sandbox: Sandbox) -> None:
    good = call(api, sandbox, service="run")
    bad = call(api, sandbox)
    sandbox.respond(TELLER, {"detail": "no"}, status=422, after=0)
    bad = call(api, sandbox)

    def items(**query: Any) -> list[Any]:
        answer = api.get("/models/requests/by-endpoint", params={"endpoint_id": TELLER, **query})
        listed: list[Any] = answer.json()["items"]
        return listed

    assert len(items()) == 3
    assert [item["request_id"] for item in items(status="user_error")] == [bad]
    assert items(status="error") == []
    (item,) = items(request_id=good, expand="payloads")
    assert (item["json_input"], item["json_output"], item["status_code"]) == ({"n": 1}, {"text": "once"}, 200)
    assert "json_input" not in items(request_id=good)[0]
    assert len(items(sort_by="duration")) == 3


def test_files_are_shared_and_signed(api: httpx.Client, sandbox: Sandbox) -> None:
    body = {"file_name": "x.txt", "content_type": "text/plain"}
    place = api.post(f"{sandbox.url}/rest/storage/upload/initiate?storage_type=fal-cdn-v3", json=body).json()
    url = place["file_url"]
    httpx.put(place["upload_url"], content=b"mine", trust_env=False)

    def read(url: str) -> int:
        return httpx.get(url, trust_env=False).status_code

    assert api.get("/storage/files/acl", params={"url": url}).json() == {"default": "allow", "rules": []}
    rules = [{"user": "someone", "decision": "allow"}]
    for decision, status in (("forbid", 403), ("hide", 404)):
        acl = {"default": decision, "rules": rules}
        assert api.put("/storage/files/acl", params={"url": url}, json=acl).json() == acl
        assert read(url) == status
    assert api.get("/storage/files/acl", params={"url": url}).json() == {"default": "hide", "rules": rules}
    link = api.post("/storage/files/sign", params={"url": url}, json={"expiration_seconds": 60}).json()["signed_url"]
    assert read(link) == 200
    assert read(link.replace("x.txt", "y.txt")) == 404
    sandbox.advance(61)
    assert read(link) == 404
    assert api.get("/storage/files/acl", params={"url": url + "x"}).status_code == 404


def test_settings_hold_for_uploads_without_their_own(api: httpx.Client, sandbox: Sandbox) -> None:
    assert api.get("/storage/settings").json() == {"expiration_duration_seconds": None, "initial_acl": None}
    wanted: dict[str, Any] = {"expiration_duration_seconds": 60, "initial_acl": {"default": "forbid", "rules": []}}
    assert api.put("/storage/settings", json=wanted).json() == wanted
    body = {"file_name": "x.txt", "content_type": "text/plain"}
    headers = {"x-fal-object-lifecycle": json.dumps({"expiration_duration_seconds": 90})}
    for own in ({}, headers):
        api.post(f"{sandbox.url}/rest/storage/upload/initiate", json=body, headers=own)
    assert [file.public for file in sandbox.uploads] == ["forbid", "allow"]
    assert sandbox.uploads[0].lifecycle == wanted
    sandbox.reset()
    assert api.get("/storage/settings").json()["initial_acl"] is None


@pytest.mark.parametrize(
    ("method", "path", "options", "status", "type"),
    [
        ("GET", "/models/pricing", {}, 400, "validation_error"),
        ("GET", "/models/pricing?endpoint_id=acme/none", {}, 404, "not_found"),
        ("GET", "/models/pricing?endpoint_id=" + ",".join(51 * ["a/b"]), {}, 400, "validation_error"),
        ("POST", "/models/pricing/estimate", {"json": []}, 400, "validation_error"),
        ("POST", "/models/pricing/estimate", {"content": b"{"}, 400, "validation_error"),
        ("POST", "/models/pricing/estimate", {"json": {"estimate_type": []}}, 400, "validation_error"),
        (
            "POST",
            "/models/pricing/estimate",
            {"json": {"estimate_type": "unit_price", "endpoints": {TELLER: {"unit_quantity": 0}}}},
            400,
            "validation_error",
        ),
        (
            "POST",
            "/models/pricing/estimate",
            {"json": {"estimate_type": "unit_price", "endpoints": {"a/b": {"unit_quantity": 1}}}},
            404,
            "not_found",
        ),
        ("GET", "/models/billing-events?start=yesterday", {}, 400, "validation_error"),
        ("GET", "/models/billing-events?limit=0", {}, 400, "validation_error"),
        ("GET", "/models/requests/by-endpoint", {}, 400, "validation_error"),
        ("GET", f"/models/requests/by-endpoint?endpoint_id={TELLER}&status=odd", {}, 400, "validation_error"),
        ("GET", "/storage/files/acl", {}, 404, "not_found"),
        ("PUT", "/storage/settings", {"json": {"expiration_duration_seconds": "x"}}, 400, "validation_error"),
        ("PUT", "/storage/settings", {"json": 3}, 400, "validation_error"),
        ("GET", "/storage/settings", {"headers": {"authorization": ""}}, 401, "authorization_error"),
    ],
)
def test_errors_have_the_platform_shape(
    api: httpx.Client, method: str, path: str, options: dict[str, Any], status: int, type: str
) -> None:
    response = api.request(method, path, **options)
    assert (response.status_code, response.json()["error"]["type"]) == (status, type), response.text


def test_meta_needs_no_key(api: httpx.Client) -> None:
    response = api.get("/meta", headers={"authorization": "Key no"})
    assert response.json() == {"webhook_ip_ranges": ["127.0.0.0/8"]}


def test_each_service_can_have_a_port_of_its_own() -> None:
    with Sandbox(Catalog(), hosts=True, latency="zero") as sandbox:
        environment = sandbox.environment()
        urls = {name: httpx.URL(url) for name, url in environment.items() if name != "FAL_KEY"}
        assert len({url.port for url in urls.values()}) == len(urls) - 1  # the key set is on the REST service's
        for name, path in {
            "FAL_QUEUE_URL": "/",
            "FAL_RUN_URL": "/",
            "FAL_REALTIME_URL": "/",
            "FAL_API_URL": "/v1",
            "FAL_JWKS_URL": "/.well-known/jwks.json",
        }.items():
            assert urls[name].path == path
        headers = {"authorization": f"Key {sandbox.key}"}
        sandbox.respond(TELLER, {"text": "once"}, realtime_text=True)
        with httpx.Client(headers=headers, trust_env=False) as http:
            job = http.post(f"{environment['FAL_QUEUE_URL']}/{TELLER}", json={}).json()
            assert job["status_url"].startswith(environment["FAL_QUEUE_URL"] + "/acme/teller/requests/")
            assert http.get(job["response_url"]).json() == {"text": "once"}
            assert http.post(f"{environment['FAL_RUN_URL']}/{TELLER}", json={}).json() == {"text": "once"}
            assert http.get(environment["FAL_API_URL"] + "/models").json()["models"] == []
            assert http.get(environment["FAL_SCHEMA_URL"] + "?endpoint_id=x").status_code == 404
            assert len(http.get(environment["FAL_JWKS_URL"]).json()["keys"]) == 1
            token = http.post(environment["FAL_REST_URL"] + "/storage/auth/token", json={}).json()
            assert token["base_url"] == environment["FAL_CDN_URL"]
            bearer = {"authorization": f"Bearer {token['token']}"}
            url = http.post(f"{token['base_url']}/files/upload", content=b"x", headers=bearer).json()["access_url"]
            assert url.startswith(environment["FAL_CDN_URL"])
            assert http.get(url).content == b"x"
            place = http.post(
                environment["FAL_REST_URL"] + "/storage/upload/initiate",
                json={"file_name": "x", "content_type": "text/plain"},
            ).json()
            assert http.put(place["upload_url"], content=b"y").status_code == 200
        for base in ("FAL_REALTIME_URL", "FAL_RUN_URL"):
            address = environment[base].replace("http", "ws")
            with connect(f"{address}/{TELLER}/realtime", additional_headers=headers, proxy=None) as connection:
                connection.send("{}")
                assert connection.recv() == '{"text":"once"}'
        sandbox.fail("nginx-502", TELLER, on="run")
        assert httpx.post(f"{environment['FAL_RUN_URL']}/{TELLER}", json={}, trust_env=False).status_code == 502
