"""Files of outputs, fetched from the sandbox over real sockets; every case both blocking and async."""

from __future__ import annotations

import base64
import io
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

import fal_runtime
from fal_endpoints.fal_ai import flux_dev
from fal_runtime import Client, File, MediaFile, OutputModel, Result, downloads, errors
from fal_sandbox import Sandbox
from support import ECHO, Caller


@pytest.fixture
def pictures(sandbox: Sandbox, client: Client) -> Result[flux_dev.Output]:
    """Two pictures of the sandbox's."""
    request = flux_dev.Input(prompt="a cat", image_size="square", output_format="png", num_images=2)
    return flux_dev.with_result.run(request, client=client)


def fetched(sandbox: Sandbox) -> int:
    """How many downloads were asked for."""
    return sum(request.path.startswith("/cdn/") for request in sandbox.requests)


def shown(file: Any) -> dict[str, str]:
    """What a notebook gets of it."""
    bundle: dict[str, str] = file._repr_mimebundle_()
    return bundle


def result(data: Any, **more: Any) -> Result[Any]:
    about: dict[str, Any] = {"request_id": "7", "endpoint_id": "a/b", "headers": {}, "raw": b"", **more}
    return Result(data=data, **about)


def test_a_download_that_breaks_off_is_begun_again(
    call: Caller, sandbox: Sandbox, client: Client, pictures: Result[flux_dev.Output], tmp_path: Path
) -> None:
    picture = pictures.data.images[0]
    whole = call(picture, "read", client=client)
    sandbox.fail_next("/cdn/*", status=200, body=whole[:1000], disconnect=True, times=2)
    assert call(picture, "read", client=client) == whole
    sandbox.fail_next("/cdn/*", status=200, body=whole[:1000], disconnect=True, times=4)
    assert call(picture, "save", tmp_path / "cat.png", client=client).read_bytes() == whole
    assert fetched(sandbox) == 1 + 3 + 5
    sandbox.fail_next("/cdn/*", status=200, body=whole[:1000], disconnect=True, times=5)
    with pytest.raises(errors.NoConnectionError, match=r"the download from 127.0.0.1:\d+ broke off"):
        call(picture, "save", tmp_path / "dog.png", client=client)
    assert [path.name for path in tmp_path.iterdir()] == ["cat.png"]


def test_fewer_bytes_than_announced_are_noticed(tmp_path: Path) -> None:
    answers = [b"half", b"a whole"]

    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-length": "7"}, stream=httpx.ByteStream(answers.pop(0)))

    client = Client(transport=httpx.MockTransport(answer))
    assert File(url="https://example.com/x").read(client=client) == b"a whole"
    assert answers == []


def test_to_pil(call: Caller, client: Client, pictures: Result[flux_dev.Output]) -> None:
    assert call(pictures.data.images[0], "to_pil", client=client).size == (512, 512)


@pytest.mark.parametrize(
    ("file", "name"),
    [
        (File(url="data:text/plain,x", file_name="../../etc/passwd.txt"), "passwd.txt"),
        (File(url="data:text/plain,x", file_name=r"C:\a\b.txt"), "b.txt"),
        (File(url="data:text/plain,x", file_name="..", content_type="image/png"), "file.txt"),
        (File(url="data:image/webp;base64,eA=="), "file.webp"),
        (File(url="data:,x", file_name="a:b?.png"), "a_b_.png"),
        (File(url="data:application/x-none,x", file_name="\0"), "_.bin"),
    ],
)
def test_a_folder_gets_a_name_that_stays_in_it(call: Caller, tmp_path: Path, file: File, name: str) -> None:
    assert call(file, "save", tmp_path) == tmp_path / name
    assert call(file, "save", f"{tmp_path}/new/") == tmp_path / "new" / name
    assert (tmp_path / "new" / name).read_bytes() == b"x"


def test_a_url_s_last_part_is_a_name(call: Caller, sandbox: Sandbox, client: Client, tmp_path: Path) -> None:
    url = fal_runtime.upload(b"x", file_name="a b.wav", client=client)
    path = call(File(url=url + "?signature=/../x"), "save", tmp_path, client=client)
    assert path.name == url.rpartition("/")[2]
    quoted = File(url=f"{sandbox.url}/cdn/..%2F..%2Fx.png?a")
    with pytest.raises(errors.NotFoundError):
        call(quoted, "save", tmp_path, client=client)
    assert list(tmp_path.iterdir()) == [path]


def test_files_at_any_depth(call: Caller, sandbox: Sandbox, client: Client) -> None:
    class Scene(OutputModel, kw_only=True):
        name: str
        clips: list[File]
        extra: dict[str, Any]
        cover: File | None = None

    one, two, three = (File(url=f"https://example.com/{n}.mp4") for n in range(3))
    scene = Scene(name="x", clips=[one, two], cover=one, extra={"a": [{"url": "https://example.com/2.mp4"}, None, 7]})
    assert result([scene, {"more": (one,)}]).files() == [one, two, three]
    assert result(None).files() == result("https://example.com/x").files() == result({"url": "no"}).files() == []
    sandbox.respond(ECHO, {"video": {"url": "https://example.com/v", "content_type": "video/mp4", "file_size": None}})
    untyped = call(fal_runtime.endpoint(ECHO).with_result, "run", {}, client=client)
    assert untyped.files() == [File(url="https://example.com/v", content_type="video/mp4")]


def test_a_result_is_downloaded_at_once(
    call: Caller, sandbox: Sandbox, client: Client, pictures: Result[flux_dev.Output], tmp_path: Path
) -> None:
    paths = call(pictures, "download", tmp_path / "cats", client=client)
    assert paths == [tmp_path / "cats" / f"{pictures.request_id}-{index}.png" for index in range(2)]
    assert [path.read_bytes() for path in paths] == [picture.read(client=client) for picture in pictures.data.images]
    named = call(pictures, "download", tmp_path, name="{endpoint}/{i:03}_{stem}.{ext}", client=client)
    assert named[1].parent == tmp_path / "fal-ai-flux-dev"
    assert named[1].name.startswith("001_")
    before = fetched(sandbox)
    with pytest.raises(errors.ConfigurationError, match=r"several files the same name; put \{i\} into it"):
        call(pictures, "download", tmp_path, name="cat.png", client=client)
    for wrong in ("{index}", "{", "{}", "{i.x}"):
        with pytest.raises(errors.ConfigurationError, match=r"name is a text with \{request_id\}, .* in it"):
            call(pictures, "download", tmp_path, name=wrong, client=client)
    assert fetched(sandbox) == before
    sandbox.fail_next("/cdn/*", status=404)
    with pytest.raises(errors.NotFoundError):
        call(pictures, "download", tmp_path / "none", client=client)
    assert not [path for path in (tmp_path / "none").iterdir() if path.suffix == ".part"]
    assert call(result({}), "download", tmp_path) == []


def test_downloads_go_on_together(
    sandbox: Sandbox, client: Client, pictures: Result[flux_dev.Output], tmp_path: Path
) -> None:
    # Either one waits until the other has begun.
    both = threading.Barrier(2, timeout=10)

    async def wait(request: Any, call_next: Any) -> Any:
        if "/cdn/" in request.url:
            both.wait()
        return await call_next(request)

    assert len(pictures.download(tmp_path, client=client.with_options(middleware=[wait]))) == 2


@pytest.fixture
def default_client(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A notebook asks with the default client."""
    monkeypatch.setenv("FAL_HTTP", "httpx")


@pytest.mark.usefixtures("default_client")
def test_a_notebook_shows_the_picture(sandbox: Sandbox, pictures: Result[flux_dev.Output]) -> None:
    picture = pictures.data.images[0]
    bundle = shown(picture)
    assert set(bundle) == {"text/plain", "image/png"}
    assert Image.open(io.BytesIO(base64.b64decode(bundle["image/png"]))).size == (512, 512)
    assert picture.url in bundle["text/plain"]


@pytest.mark.usefixtures("default_client")
def test_a_notebook_never_fails_and_never_grows(
    sandbox: Sandbox, pictures: Result[flux_dev.Output], monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = pictures.data.images[0]
    element = f'<img src="{picture.url}">'
    before = fetched(sandbox)
    sandbox.fail_next("/cdn/*", status=404)
    assert shown(picture)["text/html"] == element
    sandbox.fail_next("/cdn/*", status=503)
    assert shown(picture)["text/html"] == element
    assert fetched(sandbox) == before + 2
    monkeypatch.setattr(downloads, "SHOWN_BYTES", 1000)
    assert shown(picture)["text/html"] == element
    assert fetched(sandbox) == before + 3
    announced = File(url=picture.url, content_type="image/png", file_size=1001)
    assert shown(announced)["text/html"] == element
    assert fetched(sandbox) == before + 3
    inline = shown(File(url="data:image/png;base64," + "A" * 4000))
    assert set(inline) == {"text/plain"}
    assert len(inline["text/plain"]) == 500


def test_what_else_a_notebook_shows() -> None:
    player = shown(File(url='https://example.com/"x".mp4?a&b'))["text/html"]
    assert player == '<video controls src="https://example.com/&quot;x&quot;.mp4?a&amp;b"></video>'
    sound = File(url="https://example.com/x", content_type="audio/wav; rate=8000")
    assert shown(sound)["text/html"].startswith("<audio controls")
    drawing = shown(File(url="data:image/svg+xml,<svg/>"))["text/html"]
    assert drawing == '<img src="data:image/svg+xml,&lt;svg/&gt;">'
    for file in (File(url="https://example.com/x.zip"), File(url="data:image/png;base64,*"), File(url="")):
        assert set(shown(file)) - {"text/html"} == {"text/plain"}

    class Broken(MediaFile):
        def __repr__(self) -> str:
            return "broken"

    assert shown(Broken()) == {"text/plain": "broken"}
