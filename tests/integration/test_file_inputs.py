"""Files in inputs, from the caller's hand to what the endpoint is sent; every case both blocking and async."""

from __future__ import annotations

import asyncio
import copy
import io
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import fal_runtime
from fal_endpoints.fal_ai import flux_dev
from fal_runtime import Client, Endpoint, FileInput, InputModel, MediaFile, OutputModel, Retry, default, errors, storage
from fal_runtime.inputs import build_body
from fal_sandbox import Sandbox
from support import ECHO, Caller, Output

URL = "https://example.com/there.png"


class Picture(OutputModel, MediaFile, kw_only=True):
    url: str


class Layer(InputModel, kw_only=True):
    image_url: FileInput
    name: str = default()


class Input(InputModel, kw_only=True):
    prompt: str = default()
    image_url: FileInput = default()
    mask_url: FileInput | None = default(None)
    image_urls: list[FileInput] = default()
    layers: list[Layer] = default()
    by_name: dict[str, FileInput] = default()
    either: FileInput | list[FileInput] = default()
    settings: dict[str, Any] = default()
    count: int = default(1)


Files = Endpoint[Input, Output]


@pytest.fixture
def files(sandbox: Sandbox) -> Files:
    sandbox.respond(ECHO, {"text": "hello"}, queue_seconds=0.0, run_seconds=0.0)
    return Endpoint(ECHO, Input, Output)


@pytest.fixture
def cat(tmp_path: Path) -> Path:
    path = tmp_path / "cat.png"
    path.write_bytes(b"\x89PNG\r\n a cat")
    return path


def contents(sandbox: Sandbox) -> dict[str, bytes]:
    """What was uploaded, by its URL."""
    return {upload.url: upload.read() for upload in sandbox.uploads}


def uploads(sandbox: Sandbox) -> int:
    return sum(request.path.startswith("/cdn/") for request in sandbox.requests)


@pytest.mark.parametrize("verb", ["run", "submit", "subscribe", "stream"])
def test_files_anywhere_become_urls(
    call: Caller, sandbox: Sandbox, client: Client, files: Files, cat: Path, verb: str
) -> None:
    dog = io.BytesIO(b"a dog")
    with cat.open("rb") as cow:
        given = Input(
            prompt="cat.png",
            image_url=cat,
            mask_url=Image.new("L", (2, 2)),
            image_urls=[b"one", URL, Picture(url=URL + "?2"), io.BytesIO(b"two")],
            layers=[Layer(image_url=dog, name="x.png"), Layer(image_url="data:;base64,AA==")],
            by_name={"a": b"three", "b": URL},
            either=[b"four"],
            settings={"deep": [{"file": b"five", "text": "x.png"}], "cow": cow},
        )
        before = copy.copy(given)
        if verb == "stream":
            if call.mode == "async":
                asyncio.run(_last(files, given, client))
            else:
                files.stream(given, client=client).done()
        else:
            call(files, verb, given, client=client)
    assert given == before
    sent = sandbox.admitted[-1].input
    stored = contents(sandbox)
    assert stored[sent["image_url"]] == cat.read_bytes()
    assert Image.open(io.BytesIO(stored[sent["mask_url"]])).size == (2, 2)
    one, url, picture, two = sent["image_urls"]
    assert (stored[one], url, picture, stored[two]) == (b"one", URL, URL + "?2", b"two")
    assert [stored[sent["layers"][0]["image_url"]], sent["layers"][0]["name"]] == [b"a dog", "x.png"]
    assert sent["layers"][1] == {"image_url": "data:;base64,AA=="}
    assert (stored[sent["by_name"]["a"]], sent["by_name"]["b"]) == (b"three", URL)
    assert stored[sent["either"][0]] == b"four"
    assert stored[sent["settings"]["deep"][0]["file"]] == b"five"
    assert (sent["prompt"], sent["settings"]["deep"][0]["text"]) == ("cat.png", "x.png")
    # The open file has the content of the path, so nothing is sent for it.
    assert sent["settings"]["cow"] == sent["image_url"]
    assert uploads(sandbox) == 8
    assert set(sent) == {"prompt", "image_url", "mask_url", "image_urls", "layers", "by_name", "either", "settings"}


async def _last(files: Files, given: Input, client: Client) -> None:
    await files.stream_async(given, client=client).done()


def test_an_endpoint_without_types_takes_files_as_well(
    call: Caller, sandbox: Sandbox, client: Client, cat: Path
) -> None:
    sandbox.respond(ECHO, {}, queue_seconds=0.0, run_seconds=0.0)
    given: dict[str, Any] = {"image_url": cat, "list": [{"x": (b"y",)}], "text": "cat.png"}
    extra = {"more": io.BytesIO(b"z")}
    call(fal_runtime.endpoint(ECHO), "run", given, client=client, extra=extra)
    assert given["image_url"] is cat
    sent, stored = sandbox.admitted[-1].input, contents(sandbox)
    assert stored[sent["image_url"]] == cat.read_bytes()
    assert stored[sent["list"][0]["x"][0]] == b"y"
    assert stored[sent["more"]] == b"z"
    assert sent["text"] == "cat.png"


def test_an_input_as_a_dict(call: Caller, sandbox: Sandbox, client: Client, files: Files, cat: Path) -> None:
    call(files, "run", {"image_urls": [cat], "layers": [{"image_url": cat}]}, client=client)
    sent = sandbox.admitted[-1].input
    assert contents(sandbox)[sent["image_urls"][0]] == cat.read_bytes()
    assert sent["layers"][0]["image_url"] == sent["image_urls"][0]
    given = Input.from_dict({"image_url": cat, "image_urls": [cat, URL], "layers": [{"image_url": cat}]})
    assert given == Input(image_url=cat, image_urls=[cat, URL], layers=[Layer(image_url=cat)])
    assert Input.from_dict(given.to_dict()) == given


@pytest.mark.parametrize("validate", [True, False])
def test_a_wrong_input_costs_no_upload(call: Caller, sandbox: Sandbox, files: Files, cat: Path, validate: bool) -> None:
    many: Any = "many"
    text: Any = io.StringIO("x")
    wrong = Input(image_url=cat, mask_url=cat.parent / "dog.png", image_urls=[cat.parent, text], count=many)
    with pytest.raises(errors.InputError) as caught:
        call(files, "subscribe", wrong, validate=validate)
    problems = {error.path: error.message for error in caught.value.errors}
    assert problems.pop("mask_url") == f"there is no file {str(cat.parent / 'dog.png')!r}"
    assert problems.pop("image_urls[0]") == f"{str(cat.parent)!r} is a folder; give a file"
    assert problems.pop("image_urls[1]") == "the file does not give bytes; open it with mode 'rb', or give its path"
    assert set(problems) == ({"count"} if validate else set())
    assert sandbox.requests == []


@pytest.mark.parametrize(
    "text",
    ["cat.png", "./cat", "../cat.png", "~/cat.png", "/home/cat", r"C:\cat.png", "c:/cat.png", r"\\server\x", "file:///cat.png",
     "pictures/my cat.jpeg", "example.com/cat.png", "Makefile"],
)  # fmt: skip
def test_a_path_as_text_is_refused_with_a_hint(
    call: Caller, sandbox: Sandbox, files: Files, text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "Makefile").write_text("all:")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(errors.InputError, match=r"looks like a path.*give pathlib.Path\(\.\.\.\)") as caught:
        call(files, "subscribe", Input(prompt=text, layers=[Layer(image_url=text)]))
    assert [(error.path, error.rule) for error in caught.value.errors] == [("layers[0].image_url", "url_parsing")]
    assert sandbox.requests == []
    call(files, "submit", Input(image_url=text), validate=False)
    assert sandbox.admitted[-1].input == {"image_url": text}


@pytest.mark.parametrize(
    "text", [URL, "http://x/y.png", "data:image/png;base64,AA==", "s3://bucket/cat.png", "", "a" * 2000]
)
def test_other_text_is_the_platform_s_to_judge(call: Caller, sandbox: Sandbox, files: Files, text: str) -> None:
    call(files, "submit", Input(image_url=text))
    assert sandbox.admitted[-1].input == {"image_url": text}


def test_the_same_content_is_uploaded_once(
    call: Caller, sandbox: Sandbox, client: Client, files: Files, cat: Path
) -> None:
    twin = cat.with_name("twin.png")
    twin.write_bytes(cat.read_bytes())
    for _ in range(3):
        call(files, "run", Input(image_url=cat, image_urls=[twin, cat.read_bytes()]), client=client)
    assert uploads(sandbox) == 1
    assert len({request.input["image_url"] for request in sandbox.admitted}) == 1
    cat.write_bytes(b"\x89PNG\r\n another")
    os.utime(cat, (1, 1))
    call(files, "run", Input(image_url=cat), client=client)
    assert uploads(sandbox) == 2
    assert contents(sandbox)[sandbox.admitted[-1].input["image_url"]] == b"\x89PNG\r\n another"


def test_what_many_calls_want_at_once_is_uploaded_once(
    sandbox: Sandbox, client: Client, files: Files, cat: Path
) -> None:
    sandbox.fail_next("/cdn/files/upload", status=500, delay_seconds=0.1, times=2)

    async def many() -> None:
        await asyncio.gather(*(files.run_async(Input(image_url=cat), client=client) for _ in range(20)))

    asyncio.run(many())
    threads = [
        threading.Thread(target=files.run, args=(Input(image_url=b"x"),), kwargs={"client": client}) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(sandbox.admitted) == 28
    assert uploads(sandbox) == 2 + 1 + 1
    assert [request.path for request in sandbox.requests].count("/rest/storage/auth/token") == 1


def test_no_call_waits_for_one_that_waits_for_it(
    sandbox: Sandbox, client: Client, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage, "WAIT_FOR_ANOTHER", 0.1)
    sandbox.fail_next("/cdn/files/upload", delay_seconds=1.0)

    async def both() -> None:
        first = asyncio.ensure_future(files.run_async(Input(image_url=b"x"), client=client))
        while not uploads(sandbox):
            await asyncio.sleep(0.01)
        with pytest.raises(errors.TimeoutExpired):
            await files.run_async(Input(image_url=b"x"), client=client, timeout=0.05)
        files.run(Input(image_url=b"x"), client=client)  # holds up the loop that the first one needs
        assert not first.done()
        await first

    asyncio.run(both())
    assert uploads(sandbox) == 2
    assert len(sandbox.admitted) == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_process_does_not_wait_for_its_parent_s_uploads(
    sandbox: Sandbox, client: Client, files: Files
) -> None:
    sandbox.fail_next("/cdn/files/upload", delay_seconds=1.0)
    thread = threading.Thread(target=files.run, args=(Input(image_url=b"x"),), kwargs={"client": client})
    thread.start()
    while not uploads(sandbox):
        time.sleep(0.01)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            files.run(Input(image_url=b"x"), client=client, timeout=10)
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    thread.join()
    assert uploads(sandbox) == 2
    assert len(sandbox.admitted) == 2


def test_files_go_up_together(sandbox: Sandbox, client: Client, files: Files) -> None:
    together = 0
    most = 0

    async def count(request: Any, call_next: Any) -> Any:
        nonlocal together, most
        together += request.url.endswith("/files/upload")
        most = max(most, together)
        try:
            return await call_next(request)
        finally:
            together -= request.url.endswith("/files/upload")

    counting = client.with_options(middleware=[count])
    sandbox.fail_next("/cdn/files/upload", status=500, delay_seconds=0.2, times=5)
    asyncio.run(files.run_async(Input(image_urls=[bytes([n]) for n in range(20)]), client=counting))
    sent = sandbox.admitted[-1].input["image_urls"]
    assert [contents(sandbox)[url] for url in sent] == [bytes([n]) for n in range(20)]
    assert 5 <= most <= 8


def test_an_upload_that_fails_submits_nothing(call: Caller, sandbox: Sandbox, files: Files, cat: Path) -> None:
    sandbox.fail_next("/rest/storage/*", status=403, body={"detail": "User is locked."})
    with pytest.raises(errors.BalanceError) as caught:
        call(files, "subscribe", Input(layers=[Layer(image_url=cat)]))
    assert caught.value.__notes__ == [
        "while cat.png was uploaded for the field layers[0].image_url; nothing was submitted"
    ]
    assert sandbox.admitted == []
    call(files, "subscribe", Input(layers=[Layer(image_url=cat)]))
    assert uploads(sandbox) == 1


def test_bytes_where_no_file_belongs_are_refused(call: Caller, sandbox: Sandbox, files: Files) -> None:
    data: Any = b"x"
    wrong = Input(prompt=data, image_url=b"y", layers=[Layer(image_url=URL, name=data)])
    for given in (wrong, {"prompt": data, "image_url": b"y", "layers": [{"image_url": URL, "name": data}]}):
        with pytest.raises(errors.InputError) as caught:
            call(files, "run", given)
        assert {error.path for error in caught.value.errors} == {"prompt", "layers[0].name"}
        assert {error.message for error in caught.value.errors} == {
            "takes no file, so it cannot be a value of type bytes"
        }
    with pytest.raises(errors.InputError, match=r"prompt: takes no file"):
        call(Endpoint(ECHO, flux_dev.Input, Any), "run", flux_dev.Input(prompt=data))
    assert sandbox.requests == []


def test_uploads_count_towards_the_whole_time(call: Caller, sandbox: Sandbox, files: Files, cat: Path) -> None:
    client = Client(retry=Retry(base=10.0, cap=10.0))
    sandbox.fail_next("/cdn/*", disconnect=True, times=99)
    with pytest.raises(errors.TimeoutExpired):
        call(files, "subscribe", Input(image_url=cat), client=client, timeout=0.3)
    assert sandbox.admitted == []


def test_without_an_uploader_nothing_is_guessed() -> None:
    with pytest.raises(errors.InputError, match="cannot be written as JSON"):
        build_body(Input(image_url=Path("cat.png")), Input, endpoint_id=ECHO)
