"""Uploads against the sandbox, over real sockets; every case both blocking and async."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
import random
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image

import fal_runtime
from fal_runtime import Client, File, Lifecycle, Retry, UploadState, errors, storage
from fal_sandbox import Sandbox
from support import Caller

KIB = 1024
MIB = 1024 * KIB

TOKEN = ("POST", "/rest/storage/auth/token")
WHOLE = ("POST", "/cdn/files/upload")
INITIATE = ("POST", "/rest/storage/upload/initiate")
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(200))


def seen(sandbox: Sandbox) -> list[tuple[str, str]]:
    """The requests so far: methods and paths."""
    return [(request.method, request.path) for request in sandbox.requests]


def steps(sandbox: Sandbox) -> list[str]:
    """What happened to the parts of an upload: their numbers, and `complete`."""
    return [request.path.rpartition("/")[2] for request in sandbox.requests if "/multipart/" in request.path]


def noting(told: list[int]) -> Callable[[int, int], None]:
    """Notes how much has been sent, whenever that is told."""

    def on_progress(sent: int, total: int) -> None:
        assert sent <= total
        told.append(sent)

    return on_progress


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts begin early, so that a test need not send much."""
    monkeypatch.setattr(storage, "MULTIPART_ABOVE", 64 * KIB)
    monkeypatch.setattr(storage, "PART_SIZE", 32 * KIB)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A file of eight and a bit small parts."""
    path = tmp_path / "large one.mp4"
    path.write_bytes(random.Random(1).randbytes(8 * 32 * KIB + 100))
    return path


@pytest.fixture
def pipe() -> int:
    """The end of a pipe to read from, with something in it."""
    reading, writing = os.pipe()
    os.write(writing, b"through a pipe")
    os.close(writing)
    return reading


def test_each_kind_of_source(call: Caller, sandbox: Sandbox, client: Client, tmp_path: Path, pipe: int) -> None:
    path = tmp_path / "a cat é.webp"
    path.write_bytes(b"RIFF....WEBPVP8 ")
    buffer = io.BytesIO(b"skipped" + PNG)
    buffer.seek(7)
    picture = Image.new("RGBA", (3, 2), (1, 2, 3, 4))
    array = np.zeros((4, 5, 3), np.uint8)
    with path.open("rb") as file, os.fdopen(pipe, "rb") as piped:
        sources: list[Any] = [path, str(path), file, PNG, bytearray(PNG), buffer, picture, array, piped, b""]
        urls = [call(fal_runtime, "upload", source, client=client) for source in sources]
        assert (buffer.tell(), file.tell()) == (7, 0)
    assert [upload.url for upload in sandbox.uploads] == urls
    named = [(upload.file_name, upload.content_type) for upload in sandbox.uploads]
    assert named[:3] == [("a cat _.webp", "image/webp")] * 3
    assert named[3:8] == [("upload.png", "image/png")] * 5
    assert named[8][1] == named[9][1] == "application/octet-stream"
    contents = [upload.read() for upload in sandbox.uploads]
    assert contents[:3] == [path.read_bytes()] * 3
    assert contents[3:6] == [PNG] * 3
    assert Image.open(io.BytesIO(contents[6])).getpixel((0, 0)) == (1, 2, 3, 4)
    assert Image.open(io.BytesIO(contents[7])).size == (5, 4)
    assert contents[8:] == [b"through a pipe", b""]
    assert seen(sandbox) == [TOKEN] + [WHOLE] * len(sources)


def test_a_photograph_stays_a_jpeg_with_its_right_side_up(call: Caller, sandbox: Sandbox, client: Client) -> None:
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 20)).save(file, "JPEG", exif=exif)
    call(fal_runtime, "upload", Image.open(file), client=client)
    call(fal_runtime, "upload", Image.new("CMYK", (2, 2)), client=client)
    photograph, painting = sandbox.uploads
    assert (photograph.content_type, painting.content_type) == ("image/jpeg", "image/png")
    assert Image.open(io.BytesIO(photograph.read())).getexif()[0x0112] == 6


def test_a_name_a_type_a_lifecycle(call: Caller, sandbox: Sandbox, client: Client) -> None:
    lifecycle = Lifecycle(expires_in="1d", access="forbid", rules={"ada": "allow"})
    call(fal_runtime, "upload", b"x", client=client, file_name="x.bin", content_type="model/x", lifecycle=lifecycle)
    (upload,) = sandbox.uploads
    assert (upload.file_name, upload.content_type) == ("x.bin", "model/x")
    assert upload.lifecycle == {
        "expiration_duration_seconds": 86_400,
        "initial_acl": {"default": "forbid", "rules": [{"user": "ada", "decision": "allow"}]},
    }
    sent = sandbox.requests[-1].headers
    assert sent["x-fal-object-lifecycle"] == sent["x-fal-object-lifecycle-preference"] == lifecycle.to_json()


def test_progress(call: Caller, sandbox: Sandbox, client: Client) -> None:
    told: list[tuple[int, int]] = []

    def on_progress(sent: int, total: int) -> None:
        told.append((sent, total))

    async def on_progress_async(sent: int, total: int) -> None:
        await asyncio.sleep(0)
        told.append((sent, total))

    callback = on_progress if call.mode == "blocking" else on_progress_async
    call(fal_runtime, "upload", bytes(600 * KIB), client=client, on_progress=callback)
    assert told == [(sent * KIB, 600 * KIB) for sent in (0, 256, 512, 600)]

    def refuse(sent: int, total: int) -> None:
        raise ZeroDivisionError("enough")

    with pytest.raises(ZeroDivisionError, match="enough"):
        call(fal_runtime, "upload", bytes(600 * KIB), client=client, on_progress=refuse)


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("repository", ["cdn", "rest"])
def test_parts(call: Caller, sandbox: Sandbox, client: Client, large: Path, repository: Any) -> None:
    told: list[int] = []
    lifecycle = Lifecycle(expires_in=60)
    options: dict[str, Any] = {"repository": repository, "lifecycle": lifecycle, "client": client}
    url = call(fal_runtime, "upload", large, on_progress=noting(told), **options)
    (upload,) = sandbox.uploads
    assert (upload.url, upload.file_name, upload.content_type) == (url, "large one.mp4", "video/mp4")
    assert upload.read() == large.read_bytes()
    assert upload.lifecycle == {"expiration_duration_seconds": 60}
    assert sorted(steps(sandbox)) == sorted([*map(str, range(1, 10)), "complete"])
    assert told == sorted(set(told))
    assert (told[0], told[-1]) == (0, large.stat().st_size)
    for request in sandbox.requests:
        assert sandbox.key not in request.headers.get("authorization", "") or request.path.startswith("/rest/")
        assert request.method != "PUT" or request.headers["accept-encoding"] == "identity"


@pytest.mark.usefixtures("small_parts")
def test_a_part_that_fails_is_sent_again_alone(call: Caller, sandbox: Sandbox, client: Client, large: Path) -> None:
    sandbox.fail_next("*/multipart/*/3", method="PUT", status=500)
    sandbox.fail_next("*/multipart/*/5", method="PUT", disconnect=True, times=2)
    sandbox.fail_next("*/multipart/*/7", method="PUT", processed=True, disconnect=True)
    sandbox.fail_next("*/complete", status=502, body="<html>")
    call(fal_runtime, "upload", large, client=client)
    assert sandbox.uploads[0].read() == large.read_bytes()
    counts = {number: steps(sandbox).count(number) for number in steps(sandbox)}
    wanted = {"1": 1, "2": 1, "3": 2, "4": 1, "5": 3, "6": 1, "7": 2, "8": 1, "9": 1, "complete": 2}
    assert counts == wanted
    assert len(sandbox.uploads) == 1


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("repository", ["cdn", "rest"])
def test_a_lost_last_answer_loses_no_file(
    call: Caller, sandbox: Sandbox, client: Client, large: Path, repository: Any
) -> None:
    sandbox.fail_next("*/complete", processed=True, disconnect=True)
    url = call(fal_runtime, "upload", large, client=client, repository=repository)
    assert (sandbox.uploads[0].url, sandbox.uploads[0].read()) == (url, large.read_bytes())
    assert [request.method for request in sandbox.requests][-3:] == ["POST", "POST", "HEAD"]
    sandbox.fail_next("*/complete", status=404, body={"detail": "Not Found"})
    with pytest.raises(errors.UploadInterrupted, match="9 of 9 parts arrived") as caught:
        call(fal_runtime, "upload", large, client=client, repository=repository)
    assert caught.value.__notes__ == ["while large one.mp4 was uploaded"]
    assert call(fal_runtime, "upload", large, client=client, resume=caught.value.state) == sandbox.uploads[1].url
    assert sandbox.uploads[1].read() == large.read_bytes()


@pytest.mark.usefixtures("small_parts")
def test_an_upload_that_broke_off_goes_on(call: Caller, sandbox: Sandbox, client: Client, large: Path) -> None:
    sandbox.fail_next("*/multipart/*/4", method="PUT", disconnect=True, times=5)
    with pytest.raises(errors.UploadInterrupted, match=r"large one.mp4: . of 9 parts arrived") as caught:
        call(fal_runtime, "upload", large, client=client)
    assert isinstance(caught.value.__cause__, errors.NoConnectionError)
    assert caught.value.retryable is True
    state = caught.value.state
    assert state is not None
    arrived = set(state.etags)
    assert arrived
    assert 4 not in arrived
    assert f"{len(arrived)} of 9" in repr(state)
    before = len(sandbox.requests)
    told: list[int] = []
    later = msgspec.json.decode(msgspec.json.encode(state), type=UploadState)
    url = call(fal_runtime, "upload", large, resume=later, client=client, on_progress=noting(told))
    assert sandbox.uploads[0].url == url
    assert sandbox.uploads[0].read() == large.read_bytes()
    again = steps(sandbox)[len([r for r in sandbox.requests[:before] if "/multipart/" in r.path]) :]
    assert sorted(again) == sorted([*(str(n) for n in range(1, 10) if n not in arrived), "complete"])
    assert told[0] >= len(arrived - {9}) * 32 * KIB


@pytest.mark.usefixtures("small_parts")
def test_only_the_same_file_goes_on(call: Caller, sandbox: Sandbox, client: Client, large: Path) -> None:
    sandbox.fail_next("*/multipart/*/4", method="PUT", status=500, times=5)
    with pytest.raises(errors.UploadInterrupted) as caught:
        call(fal_runtime, "upload", large, client=client)
    assert caught.value.status_code == 500
    os.utime(large, (1, 1))
    before = len(sandbox.requests)
    with pytest.raises(errors.InputError, match=r"large one.mp4 is not the file .* was changed"):
        call(fal_runtime, "upload", large, client=client, resume=caught.value.state)
    assert len(sandbox.requests) == before


@pytest.mark.usefixtures("small_parts")
def test_no_etag(call: Caller, sandbox: Sandbox, client: Client, large: Path) -> None:
    sandbox.fail_next("*/multipart/*/2", method="PUT", status=200, body="")
    with pytest.raises(errors.UploadInterrupted, match="took part 2 without giving it an ETag; does a proxy"):
        call(fal_runtime, "upload", large, client=client)
    etag = hashlib.md5(large.read_bytes()[32 * KIB : 64 * KIB], usedforsecurity=False).hexdigest()
    sandbox.fail_next("*/multipart/*/2", method="PUT", processed=True, status=200, body={"partNumber": 2, "etag": etag})
    call(fal_runtime, "upload", large, client=client)
    assert sandbox.uploads[-1].read() == large.read_bytes()


@pytest.mark.parametrize(("size", "parts"), [(64 * MIB, 0), (96 * MIB, 10)])
def test_constant_memory(call: Caller, sandbox: Sandbox, client: Client, tmp_path: Path, size: int, parts: int) -> None:
    path = tmp_path / "large.bin"
    with path.open("wb") as file:
        file.truncate(size)
    call(fal_runtime, "upload", b"warm", client=client)
    tracemalloc.start()
    try:
        call(fal_runtime, "upload", path, client=client)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sorted(map(int, steps(sandbox)[:-1])) == list(range(1, parts + 1))
    assert sandbox.uploads[-1].size == size
    assert peak < 16 * MIB  # of this process, so with what the sandbox holds


def test_the_token_is_used_until_it_is_about_to_end(call: Caller, sandbox: Sandbox, client: Client) -> None:
    call(fal_runtime, "upload", b"1", client=client)
    call(fal_runtime, "upload", b"2", client=client)
    assert seen(sandbox) == [TOKEN, WHOLE, WHOLE]
    sandbox.advance(86_400 + 1)  # for the sandbox it has ended, for the client not yet
    call(fal_runtime, "upload", b"3", client=client)
    assert seen(sandbox)[3:] == [WHOLE, TOKEN, WHOLE]
    answer = {"token": "t", "token_type": "Bearer", "base_url": "http://x", "expires_at": datetime.now(UTC).isoformat()}
    other = client.with_options(headers={"x-a": "b"})
    call(fal_runtime, "upload", b"4", client=other)
    assert seen(sandbox)[6:] == [WHOLE]
    fresh = client.with_options(key=sandbox.key)
    sandbox.fail_next(TOKEN[1], status=200, body=answer)
    sandbox.fail_next(WHOLE[1], status=200, body={"access_url": "u"})
    call(fal_runtime, "upload", b"5", client=fresh)
    call(fal_runtime, "upload", b"6", client=fresh)
    assert seen(sandbox)[7:] == [TOKEN, WHOLE, TOKEN, WHOLE]


def test_when_the_cdn_fails_the_next_repository_is_tried(call: Caller, sandbox: Sandbox, caplog: Any) -> None:
    client = Client(retry=Retry(attempts=1))
    sandbox.fail_next("/cdn/files/upload", status=503)
    url = call(fal_runtime, "upload", PNG, client=client)
    assert seen(sandbox)[:3] == [TOKEN, WHOLE, INITIATE]
    assert sandbox.requests[2].query == {"storage_type": ["fal-cdn-v3"]}
    assert sandbox.requests[2].json() == {"file_name": "upload.png", "content_type": "image/png"}
    assert "authorization" not in sandbox.requests[3].headers
    assert (sandbox.uploads[-1].url, sandbox.uploads[-1].read()) == (url, PNG)
    assert "so 'rest' is next" in caplog.text
    sandbox.fail_next("/cdn/files/upload", status=503)
    sandbox.fail_next("/rest/storage/upload/initiate", status=500)
    call(fal_runtime, "upload", PNG, client=client)
    assert [request.query for request in sandbox.requests][-2] == {"storage_type": ["gcs"]}
    sandbox.fail_next("/cdn/*", status=503, times=3)
    with pytest.raises(errors.FalError) as caught:
        call(fal_runtime, "upload", PNG, client=client)
    assert caught.value.status_code == 503
    sandbox.fail_next("/cdn/files/upload", status=503)
    with pytest.raises(errors.FalError):
        call(fal_runtime, "upload", PNG, client=client, repository="cdn")


def test_a_locked_account_is_no_reason_to_try_elsewhere(call: Caller, sandbox: Sandbox, client: Client) -> None:
    detail = {"detail": "User is locked. Reason: Exhausted balance."}
    sandbox.fail_next("/rest/storage/*", status=403, body=detail)
    with pytest.raises(errors.BalanceError, match="locked"):
        call(fal_runtime, "upload", b"x", client=client)
    sandbox.fail_next("/rest/storage/*", status=403, body=detail)
    with pytest.raises(errors.BalanceError, match="locked"):
        call(fal_runtime, "upload", b"x", client=client, repository="gcs")
    assert seen(sandbox) == [TOKEN, INITIATE]


def test_nothing_tells_the_token(call: Caller, sandbox: Sandbox, client: Client, caplog: Any) -> None:
    caplog.set_level("DEBUG", "fal_runtime")
    call(fal_runtime, "upload", b"x", client=client)
    token = sandbox.requests[-1].headers["authorization"].partition(" ")[2]
    sandbox.fail_next("/cdn/files/upload", status=403, body={"detail": "no"}, times=1)
    with pytest.raises(errors.ServiceError) as caught:
        call(fal_runtime, "upload", b"x", client=client, repository="cdn")
    assert not isinstance(caught.value, errors.PermissionDeniedError)  # which would be about the key
    sandbox.fail_next(TOKEN[1], status=200, body={"token": "secret", "expires_at": "never"})
    with pytest.raises(errors.OutputError) as unread:
        call(fal_runtime, "upload", b"x", client=client.with_options(key=sandbox.key), repository="cdn")
    assert unread.value.body is None
    for text in (caplog.text, repr(caught.value), str(caught.value), repr(unread.value), repr(client)):
        assert token not in text
        assert "secret" not in text
        assert sandbox.key not in text


@pytest.mark.parametrize(
    ("source", "error", "text"),
    [
        ("https://example.com/cat.png", errors.InputError, "is a URL already"),
        ("data:image/png;base64,AAAA", errors.InputError, "is a URL already"),
        ("/nowhere/cat.png", FileNotFoundError, "cat.png"),
        (io.StringIO("text"), errors.InputError, "open it with mode 'rb'"),
        (7, errors.InputError, "not a value of type int"),
        (File(url="https://example.com/cat.png"), errors.InputError, "an output with a URL already"),
        (None, errors.InputError, "not a value of type NoneType"),
        (np.zeros((2, 2), np.float32), errors.InputError, "an array of float32 is no picture"),
    ],
)
def test_what_cannot_be_uploaded(call: Caller, client: Client, source: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call(fal_runtime, "upload", source, client=client)


def test_a_closed_file_and_a_wrong_repository(call: Caller, sandbox: Sandbox, client: Client, tmp_path: Path) -> None:
    closed = io.BytesIO(b"x")
    closed.close()
    with pytest.raises(errors.InputError, match="the file is closed"):
        call(fal_runtime, "upload", closed, client=client)
    with pytest.raises(errors.ConfigurationError, match="repository is one of cdn, rest, gcs, not 'fal'"):
        call(fal_runtime, "upload", b"x", client=client, repository="fal")
    assert sandbox.requests == []


def test_a_file_that_shrinks_meanwhile(call: Caller, sandbox: Sandbox, client: Client, tmp_path: Path) -> None:
    path = tmp_path / "log.txt"
    path.write_bytes(bytes(600 * KIB))

    def cut(sent: int, total: int) -> None:
        os.truncate(path, 300 * KIB)

    with pytest.raises(errors.InputError, match=r"log.txt became shorter while it was read"):
        call(fal_runtime, "upload", path, client=client, on_progress=cut)
    assert seen(sandbox) == [TOKEN]


def test_a_deadline(call: Caller, sandbox: Sandbox, client: Client) -> None:
    sandbox.fail_next("/cdn/*", status=503, headers={"retry-after": "30"}, times=9)
    with pytest.raises(errors.FalError) as caught:
        call(fal_runtime, "upload", b"x", client=client.with_options(retry=Retry(cap=60)), timeout=0.5)
    assert caught.value.status_code == 503


def test_data_uri(tmp_path: Path) -> None:
    path = tmp_path / "a.svg"
    path.write_text("<svg/>")
    assert fal_runtime.data_uri(path) == "data:image/svg+xml;base64,PHN2Zy8+"
    assert fal_runtime.data_uri(b"abc", content_type="text/plain; charset=utf-8") == (
        "data:text/plain;charset=utf-8;base64,YWJj"
    )
    assert fal_runtime.data_uri(Image.new("L", (1, 1))).startswith("data:image/png;base64,iVBOR")
