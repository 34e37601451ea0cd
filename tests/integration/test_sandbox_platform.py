"""The sandbox's Platform API, schema URL and catalogue, over real sockets."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from fal_sandbox import Catalog, CatalogError, Sandbox
from fal_sandbox.catalog import Entry

REQUIRED = {
    "display_name", "category", "description", "status", "tags", "updated_at", "is_favorited", "thumbnail_url",
    "model_url", "date", "highlighted", "pinned",
}  # fmt: skip


def entry(number: int) -> Entry:
    metadata = {
        "display_name": f"Model {number}",
        "category": "text-to-image" if number % 2 else "vision",
        "status": "deprecated" if number == 7 else "active",
        "tags": ["seventh"] if number == 7 else [],
        "date": "2025-04-01T18:10:42.284Z",
    }
    openapi: dict[str, Any] = {"openapi": "3.0.4", "paths": {}}
    if number == 3:
        openapi = {"error": {"code": "expansion_failed", "message": "Failed"}}
    return Entry(f"acme/model/{number:03}", metadata, openapi)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox(Catalog(entry(number) for number in range(230))) as running:
        yield running


@pytest.fixture
def http(sandbox: Sandbox) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=sandbox.url, trust_env=False) as client:
        yield client


def ids(response: httpx.Response) -> list[str]:
    assert response.status_code == 200, response.text
    return [model["endpoint_id"] for model in response.json()["models"]]


@pytest.mark.parametrize(("query", "pages"), [({}, 2), ({"limit": 100}, 3), ({"expand": "openapi-3.0"}, 5)])
def test_pages_cover_the_catalogue(http: httpx.Client, query: dict[str, str | int], pages: int) -> None:
    seen: list[str] = []
    cursor: str | None = None
    for _ in range(pages):
        response = http.get("/api/v1/models", params={**query, **({"cursor": cursor} if cursor else {})})
        seen += ids(response)
        cursor = response.json()["next_cursor"]
        assert response.json()["has_more"] is (cursor is not None)
    assert cursor is None
    assert seen == [entry(number).endpoint_id for number in range(230)]


def test_required_metadata_is_filled_in(http: httpx.Client, sandbox: Sandbox) -> None:
    (model,) = http.get("/api/v1/models", params={"endpoint_id": "acme/model/001"}).json()["models"]
    assert set(model) == {"endpoint_id", "metadata"}
    assert set(model["metadata"]) >= REQUIRED
    assert model["metadata"]["updated_at"] == model["metadata"]["date"]
    assert model["metadata"]["model_url"] == "https://fal.run/acme/model/001"
    picture = http.get(model["metadata"]["thumbnail_url"])
    assert (picture.status_code, picture.headers["content-type"]) == (200, "image/png")
    assert http.get("/cdn/thumbnails/acme/nothing.png").status_code == 404


def test_filters(http: httpx.Client) -> None:
    assert len(ids(http.get("/api/v1/models", params={"category": "vision"}))) == 115
    assert ids(http.get("/api/v1/models", params={"status": "deprecated"})) == ["acme/model/007"]
    assert ids(http.get("/api/v1/models", params={"q": "MODEL seventh"})) == ["acme/model/007"]
    assert ids(http.get("/api/v1/models", params={"q": "no such thing"})) == []
    named = {"endpoint_id": ["acme/model/009", "acme/model/002"], "expand": "openapi-3.0"}
    assert ids(http.get("/api/v1/models", params=named)) == named["endpoint_id"]


def test_a_failed_expansion_is_listed_as_such(http: httpx.Client) -> None:
    query = {"endpoint_id": "acme/model/003", "expand": "openapi-3.0"}
    (model,) = http.get("/api/v1/models", params=query).json()["models"]
    assert model["openapi"]["error"]["code"] == "expansion_failed"
    assert http.get("/schema/openapi.json", params={"endpoint_id": "acme/model/003"}).status_code == 404


@pytest.mark.parametrize(
    ("query", "status", "type"),
    [
        ("endpoint_id=acme/none", 404, "not_found"),
        ("limit=0", 400, "validation_error"),
        ("limit=ten", 400, "validation_error"),
        ("limit=%C2%B2", 400, "validation_error"),
        ("limit=" + "9" * 5000, 400, "validation_error"),
        ("cursor=nonsense!", 400, "validation_error"),
        ("cursor=%00", 400, "validation_error"),
        ("cursor=LTE%3D", 400, "validation_error"),
        ("cursor=%C3%A9", 400, "validation_error"),
        ("expand=everything", 400, "validation_error"),
        ("status=asleep", 400, "validation_error"),
        ("&".join(["endpoint_id=acme/model/001"] * 51), 400, "validation_error"),
    ],
)
def test_errors_have_the_platform_shape(http: httpx.Client, query: str, status: int, type: str) -> None:
    response = http.get(f"/api/v1/models?{query}")
    assert response.status_code == status
    assert response.json()["error"]["type"] == type
    assert response.json()["error"]["message"]


def test_a_wrong_key_and_an_unknown_operation(http: httpx.Client) -> None:
    refused = http.get("/api/v1/models", headers={"authorization": "Key wrong"})
    assert (refused.status_code, refused.json()["error"]["type"]) == (401, "authorization_error")
    unknown = http.post("/api/v1/nothing/here")
    assert (unknown.status_code, unknown.json()["error"]["type"]) == (404, "not_found")


def test_the_schema_url(http: httpx.Client, sandbox: Sandbox) -> None:
    url = sandbox.environment()["FAL_SCHEMA_URL"]
    response = http.get(url, params={"endpoint_id": "acme/model/001"})
    assert (response.status_code, response.json()) == (200, entry(1).openapi)
    tag = {"if-none-match": response.headers["etag"]}
    assert http.get(url, params={"endpoint_id": "acme/model/001"}, headers=tag).status_code == 304
    for query in ({"endpoint_id": "acme/none"}, {}):
        unknown = http.get(url, params=query)
        assert (unknown.status_code, unknown.json()) == (404, None)


def test_catalogues_are_read_from_entries_and_pages(tmp_path: Path) -> None:
    def plain(number: int) -> dict[str, Any]:
        made = entry(number)
        return {"endpoint_id": made.endpoint_id, "metadata": made.metadata, "openapi": made.openapi}

    (tmp_path / "acme" / "deep").mkdir(parents=True)
    (tmp_path / "page.json").write_text(json.dumps({"models": [plain(2), plain(1)]}))
    (tmp_path / "acme" / "deep" / "one.json").write_text(json.dumps(plain(3)))
    (tmp_path / "endpoints.lock").write_text("not a catalogue file")
    assert [one.endpoint_id for one in Catalog.read(tmp_path)] == [entry(number).endpoint_id for number in (1, 2, 3)]
    assert len(Catalog.read(tmp_path / "page.json")) == 2
    with pytest.raises(FileNotFoundError):
        Catalog.read(tmp_path / "nowhere")
    for text in ("{", "[]", "{}", '{"models": 3}', '{"models": [1]}', '{"endpoint_id": "a/b", "openapi": 1}'):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(CatalogError, match=r"bad\.json"):
            Catalog.read(tmp_path)
