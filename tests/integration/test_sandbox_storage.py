"""The sandbox's storage: tokens, the ways to upload, downloads and who may have them."""

from __future__ import annotations

import hashlib
import json
import resource
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from fal_sandbox import Catalog, Sandbox

KIB = 1024
LIFECYCLE: dict[str, Any] = {"expiration_duration_seconds": 3600, "initial_acl": {"default": "allow", "rules": []}}


@pytest.fixture(scope="module")
def running() -> Iterator[Sandbox]:
    with Sandbox(Catalog()) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running: Sandbox) -> Sandbox:
    running.reset()
    return running


@pytest.fixture
def rest(sandbox: Sandbox) -> Iterator[httpx.Client]:
    """Asks with the key."""
    headers = {"authorization": f"Key {sandbox.key}"}
    with httpx.Client(base_url=f"{sandbox.url}/rest", headers=headers, trust_env=False) as client:
        yield client


@pytest.fixture
def open_http() -> Iterator[httpx.Client]:
    """Asks with neither key nor token."""
    with httpx.Client(trust_env=False) as client:
        yield client


@pytest.fixture
def cdn(sandbox: Sandbox, rest: httpx.Client) -> Iterator[httpx.Client]:
    """Asks with a token of the CDN's."""
    token = rest.post("/storage/auth/token?storage_type=fal-cdn-v3", json={}).json()
    headers = {"authorization": f"{token['token_type']} {token['token']}", "accept-encoding": "identity"}
    with httpx.Client(base_url=token["base_url"], headers=headers, trust_env=False) as client:
        yield client


def initiate(rest: httpx.Client, path: str = "initiate", kind: str | None = "fal-cdn-v3", **options: Any) -> Any:
    query = {} if kind is None else {"storage_type": kind}
    body = {"file_name": "a cat.png", "content_type": "image/png"}
    answer = rest.post(f"/storage/upload/{path}", params=query, json=body, **options)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_the_cdn_gives_tokens_that_run_out(sandbox: Sandbox, rest: httpx.Client, cdn: httpx.Client) -> None:
    token = rest.post("/storage/auth/token?storage_type=fal-cdn-v3", json={}).json()
    assert set(token) == {"token", "token_type", "base_url", "expires_at"}
    left = datetime.fromisoformat(token["expires_at"]) - datetime.now(UTC)
    assert timedelta(hours=23) < left < timedelta(hours=25)
    assert cdn.post("/files/upload", content=b"x").status_code == 200
    for authorization in (f"Key {sandbox.key}", "Bearer nonsense", "Bearer a.b.c", ""):
        assert cdn.post("/files/upload", content=b"x", headers={"authorization": authorization}).status_code == 401
    sandbox.advance(86_401)
    assert cdn.post("/files/upload", content=b"x").status_code == 401
    assert rest.post("/storage/auth/token", json={}, headers={"authorization": "Key no"}).status_code == 401


def test_a_direct_upload(sandbox: Sandbox, cdn: httpx.Client, open_http: httpx.Client) -> None:
    headers = {
        "content-type": "image/png",
        "x-fal-file-name": "a cat.png",
        "x-fal-object-lifecycle": json.dumps(LIFECYCLE),
    }
    url = cdn.post("/files/upload", content=b"not really", headers=headers).json()["access_url"]
    assert url.startswith(f"{sandbox.url}/cdn/files/b/")
    assert url.endswith("_a_cat.png")
    (file,) = sandbox.uploads
    assert (file.url, file.file_name, file.content_type, file.size) == (url, "a cat.png", "image/png", 10)
    assert (file.lifecycle, file.read()) == (LIFECYCLE, b"not really")
    fetched = open_http.get(url)
    assert (fetched.content, fetched.headers["content-type"]) == (b"not really", "image/png")
    sandbox.advance(3601)
    assert open_http.get(url).status_code == 404


@pytest.mark.parametrize("kind", ["fal-cdn-v3", "gcs", None])
def test_an_initiated_upload(sandbox: Sandbox, rest: httpx.Client, open_http: httpx.Client, kind: str | None) -> None:
    place = initiate(rest, kind=kind, headers={"x-fal-object-lifecycle-preference": json.dumps(LIFECYCLE)})
    assert open_http.get(place["file_url"]).status_code == 404
    assert not sandbox.uploads[0].complete
    assert open_http.put(place["file_url"], content=b"x").status_code == 401
    put = open_http.put(place["upload_url"], content=b"\x89PNG", headers={"content-type": "image/png"})
    assert put.status_code == 200
    assert open_http.get(place["file_url"]).content == b"\x89PNG"
    assert sandbox.uploads[0].lifecycle == LIFECYCLE
    sandbox.advance(3700)
    assert open_http.put(place["upload_url"], content=b"x").status_code == 401


def test_a_multipart_upload_to_the_cdn(sandbox: Sandbox, cdn: httpx.Client, open_http: httpx.Client) -> None:
    begun = cdn.post(
        "/files/upload/multipart", headers={"content-type": "video/mp4", "x-fal-file-name": "a.mp4"}
    ).json()
    url = f"{begun['access_url']}/multipart/{begun['uploadId']}"
    contents = {1: b"a" * 300 * KIB, 2: b"b" * 300 * KIB, 3: b"c" * 10}
    etags: dict[int, str] = {}
    for number in (3, 1, 2):
        response = cdn.put(f"{url}/{number}", content=contents[number], headers={"content-type": "video/mp4"})
        etags[number] = response.headers["etag"]
        assert etags[number].strip('"') == hashlib.md5(contents[number], usedforsecurity=False).hexdigest()
    compressed = cdn.put(f"{url}/2", content=b"B", headers={"accept-encoding": "gzip"})
    assert "etag" not in compressed.headers
    etags[2] = cdn.put(f"{url}/2", content=b"bb").headers["etag"]
    parts = [{"partNumber": number, "etag": etag} for number, etag in etags.items()]
    assert open_http.post(f"{url}/complete", json={"parts": parts}).status_code == 401
    assert not sandbox.uploads[0].complete
    assert cdn.post(f"{url}/complete", json={"parts": parts}).status_code == 200
    whole = contents[1] + b"bb" + contents[3]
    assert sandbox.uploads[0].read() == whole
    assert open_http.get(begun["access_url"]).content == whole
    assert cdn.post(f"{url}/complete", json={"parts": parts}).status_code == 404


def test_a_multipart_upload_by_signed_urls(sandbox: Sandbox, rest: httpx.Client, open_http: httpx.Client) -> None:
    place = initiate(rest, "initiate-multipart")
    base, _, query = place["upload_url"].partition("?")
    listed = [open_http.put(f"{base}/{number}?{query}", content=b"%d" % number).json() for number in (1, 2)]
    assert set(listed[0]) == {"partNumber", "etag"}
    assert open_http.put(f"{base}/3", content=b"x").status_code == 401
    assert open_http.post(f"{base}/complete?{query}", json={"parts": listed}).status_code == 200
    assert open_http.get(place["file_url"]).content == b"12"
    assert sandbox.uploads[0].file_name == "a cat.png"


def test_a_multipart_upload_to_google(rest: httpx.Client, open_http: httpx.Client) -> None:
    place = initiate(rest, "initiate-multipart", "gcs")
    parts: list[dict[str, Any]] = []
    for number in (1, 2):
        target = rest.post(f"{place['upload_url']}/{number}").json()["upload_url"]
        etag = open_http.put(target, content=b"%d" % number).headers["etag"]
        parts.append({"part_number": number, "etag": etag.strip('"')})
    assert rest.post(f"{place['upload_url']}/complete", json={"parts": parts}).status_code == 200
    assert open_http.get(place["file_url"]).content == b"12"


@pytest.mark.parametrize(
    "listed",
    [
        "none",
        {},
        {"parts": []},
        {"parts": [1]},
        {"parts": [{"partNumber": 1, "etag": "x"}]},
        {"parts": [{"partNumber": 7}]},
    ],
)
def test_an_upload_is_not_completed_with_parts_that_are_not_there(cdn: httpx.Client, listed: Any) -> None:
    begun = cdn.post("/files/upload/multipart").json()
    url = f"{begun['access_url']}/multipart/{begun['uploadId']}"
    cdn.put(f"{url}/1", content=b"x")
    assert cdn.post(f"{url}/complete", json=listed).status_code == 400
    assert cdn.put(f"{url}/0", content=b"x").status_code == 400
    assert cdn.put(f"{url}x/1", content=b"x").status_code == 404
    assert cdn.put(f"{url}/one", content=b"x").status_code in (404, 405)


@pytest.mark.parametrize(
    ("wanted", "status", "content"),
    [
        ("bytes=0-3", 206, b"0123"),
        ("bytes=6-", 206, b"6789"),
        ("bytes=-2", 206, b"89"),
        ("bytes=8-99", 206, b"89"),
        ("bytes=10-", 416, b""),
        ("bytes=-", 200, b"0123456789"),
        ("lines=1-2", 200, b"0123456789"),
    ],
)
def test_a_download_may_be_of_a_part(
    cdn: httpx.Client, open_http: httpx.Client, wanted: str, status: int, content: bytes
) -> None:
    url = cdn.post("/files/upload", content=b"0123456789").json()["access_url"]
    part = open_http.get(url, headers={"range": wanted})
    assert (part.status_code, part.content) == (status, content)
    if status == 206:
        first = b"0123456789".index(content)
        assert part.headers["content-range"] == f"bytes {first}-{first + len(content) - 1}/10"
    assert open_http.head(url).headers["content-length"] == "10"


@pytest.mark.parametrize(("decision", "status"), [("allow", 200), ("forbid", 403), ("hide", 404)])
def test_access_is_as_decided(cdn: httpx.Client, open_http: httpx.Client, decision: str, status: int) -> None:
    lifecycle = json.dumps({"initial_acl": {"default": decision}})
    url = cdn.post("/files/upload", content=b"x", headers={"x-fal-object-lifecycle": lifecycle}).json()["access_url"]
    assert open_http.get(url).status_code == status


@pytest.mark.parametrize(
    "lifecycle",
    ["", "{", "[]", "[" * 9999, '{"expiration_duration_seconds": 0}', '{"expiration_duration_seconds": true}',
     '{"initial_acl": 3}', '{"initial_acl": {"default": []}}', '{"initial_acl": {"rules": [1]}}'],
)  # fmt: skip
def test_a_lifecycle_that_is_none_is_refused(sandbox: Sandbox, cdn: httpx.Client, lifecycle: str) -> None:
    response = cdn.post("/files/upload", content=b"x", headers={"x-fal-object-lifecycle": lifecycle})
    assert response.status_code == 400
    assert sandbox.uploads == []


@pytest.mark.parametrize("body", [[], {}, {"file_name": 1, "content_type": "x"}, {"file_name": "x"}, None, "x"])
def test_an_upload_needs_a_name_and_a_type(rest: httpx.Client, body: Any) -> None:
    for path in ("initiate", "initiate-multipart"):
        assert rest.post(f"/storage/upload/{path}", json=body).status_code in (400, 422)
    other = rest.post("/storage/upload/initiate?storage_type=tape", json={"file_name": "x", "content_type": "x"})
    assert other.status_code == 400


def test_app_tokens(sandbox: Sandbox, rest: httpx.Client, open_http: httpx.Client) -> None:
    sandbox.respond("acme/teller/fast", {"text": "hello"}, stream=[{"text": "h"}], after=0)
    body = {"allowed_apps": ["teller"], "token_expiration": 100}
    token = rest.post("/tokens/", json=body).json()
    moved = rest.post("/tokens", json=body)
    assert (moved.status_code, moved.headers["location"]) == (307, f"{sandbox.url}/rest/tokens/")
    whole = {"allowed_apps": ["acme/teller/fast/stream"], "duration": 50}
    second = rest.post("/tokens/realtime", json=whole).json()["token"]
    third = rest.post("/tokens/realtime", json={"app": "acme/teller", "duration": 50}).json()["token"]
    url = f"{sandbox.url}/run/acme/teller/fast/stream"

    def status(token: str, url: str = url) -> int:
        return open_http.post(url, params={"fal_jwt_token": token}, json={}).status_code

    assert [status(token), status(second), status(third)] == [200, 200, 200]
    assert status(token, f"{sandbox.url}/run/acme/other") == 401
    assert status("nonsense") == status(token + "x") == status("..") == 401
    sandbox.advance(60)
    assert [status(token), status(second)] == [200, 401]
    refused: list[Any] = [
        {},
        {"allowed_apps": []},
        {"allowed_apps": [1]},
        {"allowed_apps": ["x"], "token_expiration": 0},
    ]
    for wrong in refused:
        assert rest.post("/tokens/", json=wrong).status_code == 422
    assert rest.post("/tokens/", json=body, headers={"authorization": "Key no"}).status_code == 401


def test_a_large_upload_is_not_held_in_memory(sandbox: Sandbox, cdn: httpx.Client, open_http: httpx.Client) -> None:
    def peak() -> int:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else KIB)

    cdn.post("/files/upload", content=b"x")
    before = peak()
    size, piece = 192 * KIB * KIB, b"\x01" * (KIB * KIB)
    url = cdn.post("/files/upload", content=(piece for _ in range(192)), timeout=60).json()["access_url"]
    received = 0
    with open_http.stream("GET", url) as response:
        for chunk in response.iter_bytes():
            received += len(chunk)
    assert received == size == sandbox.uploads[1].size == sandbox.requests[-2].size
    assert len(sandbox.requests[-2].body) == 4 * KIB
    assert peak() - before < 64 * KIB * KIB
    with pytest.raises(ValueError, match="only the first"):
        sandbox.requests[-2].json()


def test_an_upload_that_breaks_off_is_none(sandbox: Sandbox, cdn: httpx.Client) -> None:
    def broken() -> Iterator[bytes]:
        yield b"x" * 600 * KIB
        raise RuntimeError("the file is gone")

    with pytest.raises(RuntimeError, match="gone"):
        cdn.post("/files/upload", content=broken())
    assert cdn.post("/files/upload", content=b"whole").status_code == 200
    assert [file.size for file in sandbox.uploads] == [5]
