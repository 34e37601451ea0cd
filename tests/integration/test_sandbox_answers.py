"""The sandbox's answers: valid for every endpoint of the catalogue, repeatable, with files that open."""

from __future__ import annotations

import io
import json
import re
import struct
import wave
import zipfile
from collections.abc import Iterator
from importlib import import_module
from typing import Any

import av
import httpx
import pytest
from PIL import Image

from fal_sandbox import Catalog, Sandbox, default_catalog_path
from fal_sandbox.answers import Answer
from fal_sandbox.catalog import Entry
from fal_sandbox.files import FileStore
from fal_sandbox.schemas import Contract
from fal_sandbox.wishes import PRESETS

STUDIO = "acme/studio"
FILE: dict[str, Any] = {
    "type": "object",
    "required": ["url"],
    "properties": {
        "url": {"type": "string"},
        "content_type": {"type": "string"},
        "file_name": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "file_size": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "width": {"type": "integer"},
        "height": {"type": "integer"},
        "file_data": {"type": "string", "format": "binary"},
    },
}
OUTPUT: dict[str, Any] = {
    "type": "object",
    "required": ["images", "seed", "prompt", "timings", "has_nsfw_concepts"],
    "properties": {
        "images": {"type": "array", "items": {"$ref": "#/components/schemas/File"}},
        "seed": {"type": "integer"},
        "prompt": {"type": "string"},
        "timings": {"type": "object", "additionalProperties": {"type": "number"}},
        "has_nsfw_concepts": {"type": "array", "items": {"type": "boolean"}},
        **{name: {"$ref": "#/components/schemas/File"} for name in (
            "video", "audio", "model_glb", "model_obj", "stl", "body_ply", "output_zip", "config_file", "lora_file",
            "fbx", "vector", "notes",
        )},
        "error": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "debug_file": {"$ref": "#/components/schemas/File"},
    },
}  # fmt: skip
INPUT: dict[str, Any] = {
    "type": "object",
    "properties": {
        "prompt": {"type": "string"},
        "image_size": {"default": "landscape_4_3"},
        "output_format": {"type": "string", "enum": ["jpeg", "png", "webp"], "default": "jpeg"},
    },
}


def studio() -> Entry:
    def body(schema: dict[str, Any]) -> dict[str, Any]:
        return {"content": {"application/json": {"schema": schema}}}

    paths = {
        f"/{STUDIO}": {"post": {"requestBody": body(INPUT)}},
        f"/{STUDIO}/requests/{{request_id}}": {"get": {"responses": {"200": body(OUTPUT)}}},
    }
    return Entry(STUDIO, {}, {"components": {"schemas": {"File": FILE}}, "paths": paths})


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    with Sandbox(Catalog([studio()]), run_seconds=0) as sandbox:
        key = {"authorization": f"Key {sandbox.key}"}
        with httpx.Client(base_url=sandbox.url, headers=key, trust_env=False, timeout=30) as client:
            yield client


def run(http: httpx.Client, **input: Any) -> dict[str, Any]:
    response = http.post(f"/run/{STUDIO}", json=input)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def download(http: httpx.Client, file: dict[str, Any]) -> bytes:
    response = http.get(file["url"], headers={"authorization": ""})
    assert response.status_code == 200
    assert response.headers["content-type"] == file["content_type"]
    assert file["url"].endswith(file["file_name"])
    if "file_size" in file:
        assert len(response.content) == file["file_size"]
    return response.content


def test_the_same_input_has_the_same_answer(http: httpx.Client) -> None:
    assert run(http, prompt="a cat") == run(http, prompt="a cat")
    assert run(http, prompt="a cat")["seed"] != run(http, prompt="a dog")["seed"]


def test_the_input_is_echoed(http: httpx.Client) -> None:
    out = run(http, prompt="a cat", seed=2**63, num_images=3)
    assert (out["prompt"], out["seed"]) == ("a cat", 2**63)
    assert len(out["images"]) == 3
    assert len({image["url"] for image in out["images"]}) == 3
    assert out["has_nsfw_concepts"] == [False] * 3
    assert out["timings"]["inference"] >= 0
    assert out.get("error") is None
    assert "debug_file" not in out


@pytest.mark.parametrize(
    ("input", "size"),
    [
        *(({"image_size": preset}, size) for preset, size in PRESETS.items()),
        ({"image_size": {"width": 640, "height": 200}}, (640, 200)),
        ({"image_size": {"width": 1, "height": 9}}, (1, 9)),
        ({"image_size": {"width": 99_999, "height": 16}}, (4096, 16)),
        ({}, (1024, 768)),
        ({"image_size": 7, "aspect_ratio": "16:9"}, (1024, 576)),
        ({"image_size": "1536x1024"}, (1536, 1024)),
        ({"image_size": "auto_2K", "aspect_ratio": "16:9"}, (2048, 1152)),
        ({"image_size": 7, "resolution": "720p", "aspect_ratio": "16:9"}, (1280, 720)),
        ({"image_size": 7, "resolution": "1 MP"}, (1000, 1000)),
        ({"image_size": 7, "aspect_ratio": "0:0"}, (1024, 1024)),
    ],
)
def test_pictures_have_the_size_asked_for(http: httpx.Client, input: dict[str, Any], size: tuple[int, int]) -> None:
    (image,) = run(http, prompt="a cat", **input)["images"]
    assert (image["width"], image["height"]) == size
    with Image.open(io.BytesIO(download(http, image))) as picture:
        assert picture.size == size
        assert picture.format == "JPEG"


@pytest.mark.parametrize(("format", "kind"), [("png", "PNG"), ("jpeg", "JPEG"), ("webp", "WEBP")])
@pytest.mark.parametrize("prompt", ["", "a naïve café — 猫", "word " * 400, "x" * 2000])
def test_pictures_have_the_format_asked_for(http: httpx.Client, format: str, kind: str, prompt: str) -> None:
    (image,) = run(http, prompt=prompt, output_format=format, image_size="square")["images"]
    assert image["content_type"] == f"image/{format}"
    with Image.open(io.BytesIO(download(http, image))) as picture:
        picture.load()
        assert picture.format == kind
        colours = picture.convert("RGB").getcolors(picture.width * picture.height)
        assert colours is not None
        assert len(colours) > 50


def test_a_prompt_that_is_half_a_sign_can_be_drawn(http: httpx.Client) -> None:
    body = b'{"prompt": "\\ud83d cat"}'
    response = http.post(f"/run/{STUDIO}", content=body, headers={"content-type": "application/json"})
    with Image.open(io.BytesIO(download(http, response.json()["images"][0]))) as picture:
        picture.load()


def test_sync_mode_puts_media_into_the_answer(http: httpx.Client) -> None:
    (image,) = run(http, prompt="a cat", sync_mode=True, image_size="square")["images"]
    assert image["url"].startswith("data:image/jpeg;base64,")


def test_a_video_plays(http: httpx.Client) -> None:
    video = run(http, prompt="a cat", image_size="square", duration="2s")["video"]
    assert video["content_type"] == "video/mp4"
    with av.open(io.BytesIO(download(http, video)), "r") as film:
        picture, sound = film.streams.video[0], film.streams.audio[0]
        assert (picture.codec_context.name, sound.codec_context.name) == ("h264", "aac")
        assert (picture.width, picture.height) == (video["width"], video["height"]) == (512, 512)
        assert film.duration == 2 * av.time_base
        frames = [bytes(frame.planes[0]) for frame in film.decode(picture)]
    assert len(frames) == 24
    assert frames[0] != frames[12]


@pytest.mark.parametrize("format", ["mp4", "VP9 (.webm)", "mov_proresks", "mkv_h264", "GIF (.gif)"])
def test_a_video_has_the_format_asked_for(http: httpx.Client, format: str) -> None:
    kind = next(kind for kind in ("mp4", "webm", "mov", "mkv", "gif") if kind in format)
    size = {"width": 64, "height": 48}
    video = run(http, prompt="a cat", image_size=size, output_container_and_codec=format)["video"]
    assert video["file_name"].endswith(f".{kind}")
    with av.open(io.BytesIO(download(http, video)), "r") as film:
        assert kind.replace("mkv", "matroska") in film.format.name
        shapes = {(frame.width, frame.height) for frame in film.decode(video=0)}
    assert shapes == {(64, 48)} == {(video["width"], video["height"])}


@pytest.mark.parametrize(
    ("format", "kind", "codec"),
    [
        ("wav", "wav", "pcm_s16le"),
        ("mp3_44100_128", "mp3", "mp3float"),
        ("flac", "flac", "flac"),
        ("opus_48000_32", "opus", "opus"),
        ("ogg", "ogg", "opus"),
        ("m4a", "m4a", "aac"),
        ("aac", "aac", "aac"),
    ],
)
def test_a_sound_has_the_format_asked_for(http: httpx.Client, format: str, kind: str, codec: str) -> None:
    sound = run(http, text="hello", audio_format=format, duration_seconds=1.5)["audio"]
    assert sound["file_name"].endswith(f".{kind}")
    with av.open(io.BytesIO(download(http, sound)), "r") as file:
        assert file.streams.audio[0].codec_context.name.removesuffix("float") == codec.removesuffix("float")
        frames = list(file.decode(audio=0))
    seconds = sum(frame.samples for frame in frames) / frames[0].sample_rate
    assert seconds == pytest.approx(1.5, abs=0.2)
    assert max(max(map(abs, memoryview(frame.planes[0]).cast("B"))) for frame in frames) > 0


def test_a_long_sound_has_the_length_it_says(http: httpx.Client) -> None:
    sound = run(http, text="hello", music_length_ms=600_000)["audio"]
    with wave.open(io.BytesIO(download(http, sound))) as file:
        assert file.getnframes() / file.getframerate() == 10


@pytest.mark.parametrize("name", ["model_glb", "model_obj", "stl", "body_ply"])
def test_a_mesh_loads(http: httpx.Client, name: str) -> None:
    content = io.BytesIO(download(http, run(http, prompt="a cat")[name]))
    scene: Any = import_module("trimesh").load_scene(content, file_type=name.rpartition("_")[2])
    (mesh,) = scene.geometry.values()
    assert mesh.faces.shape == (4, 3)
    assert mesh.is_watertight


def test_other_files_are_what_they_say(http: httpx.Client) -> None:
    out = run(http, prompt="a cat")
    names = ("output_zip", "config_file", "lora_file", "vector", "notes")
    content = {name: download(http, out[name]) for name in names}
    with zipfile.ZipFile(io.BytesIO(content["output_zip"])) as archive:
        assert archive.testzip() is None
    assert isinstance(json.loads(content["config_file"]), dict)
    header = struct.unpack_from("<Q", content["lora_file"])[0]
    assert json.loads(content["lora_file"][8 : 8 + header])["weight"]["shape"] == [2, 2]
    assert content["vector"].startswith(b"<svg")
    assert out["fbx"]["content_type"] == "application/octet-stream"
    assert b"a cat" in content["notes"]
    assert http.get("/cdn/files/unknown.png").status_code == 404


def test_an_answer_in_the_making_leads_up_to_the_answer() -> None:
    entry, files = studio(), FileStore()
    contract = Contract(entry.endpoint_id, entry.openapi)

    def stage(progress: float) -> dict[str, Any]:
        made = Answer(contract, "", {"prompt": "a cat"}, files, "x/{}".format, progress=progress).make()
        assert judged(entry, made) == []
        out: dict[str, Any] = made
        return out

    half, whole = stage(0.5), stage(1.0)
    assert half["seed"] == whole["seed"]
    assert half["images"][0]["url"] != whole["images"][0]["url"]
    colours: list[int] = []
    for out in (half, whole):
        spec = files.get(out["images"][0]["url"].removeprefix("x/"))
        assert spec is not None
        with Image.open(io.BytesIO(files.content(spec))) as picture:
            colours.append(len(picture.convert("RGB").getcolors(picture.width * picture.height) or ()))
    assert colours[0] < colours[1]


def catalogue() -> list[Entry]:
    path = default_catalog_path()
    return [entry for entry in Catalog.read(path) if entry.callable] if path is not None else []


def test_every_endpoint_of_the_catalogue_has_a_valid_answer() -> None:
    entries = catalogue()
    if not entries:
        pytest.skip("there is no catalogue in generated/schemas")
    wrong: list[str] = []
    for entry in entries:
        contract = Contract(entry.endpoint_id, entry.openapi)
        for given in ({}, {"prompt": "a cat", "num_images": 2, "seed": 5, "image_size": "square"}):
            answers = [
                Answer(contract, str(entry.metadata.get("category")), given, FileStore(), "https://x/{}".format).make()
                for _ in range(2)
            ]
            if answers[0] != answers[1]:
                wrong.append(f"{entry.endpoint_id}: not repeatable")
            wrong += [f"{entry.endpoint_id}: {problem}" for problem in judged(entry, answers[0])]
    assert wrong == []


def judged(entry: Entry, value: object) -> list[str]:
    """What jsonschema says of an answer, by the document as it was published; a dangling reference allows anything."""
    components = dict(entry.openapi["components"]["schemas"])
    for name in re.findall(r'#/components/schemas/([^"]+)"', json.dumps(entry.openapi)):
        components.setdefault(name, {})
    path = entry.openapi["paths"][f"/{entry.endpoint_id}/requests/{{request_id}}"]
    schema = path["get"]["responses"]["200"]["content"]["application/json"]["schema"]
    validator: Any = import_module("jsonschema").Draft202012Validator({**schema, "components": {"schemas": components}})
    return [f"{error.json_path} {error.message[:200]}" for error in validator.iter_errors(value)]
