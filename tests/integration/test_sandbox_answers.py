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

import httpx
import pytest
from PIL import Image

from fal_sandbox import Catalog, Sandbox, default_catalog_path
from fal_sandbox.answers import PRESETS, Answer
from fal_sandbox.catalog import Entry
from fal_sandbox.files import FileStore
from fal_sandbox.schemas import Contract

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


def test_other_files_are_what_they_say(http: httpx.Client) -> None:
    out = run(http, prompt="a cat")
    files = [name for name, value in out.items() if "url" in str(value) and name != "images"]
    content = {name: download(http, out[name]) for name in files}
    with Image.open(io.BytesIO(content["video"])) as animation:
        assert (animation.format, getattr(animation, "n_frames", 1)) == ("GIF", 10)
        assert out["video"]["content_type"] == "image/gif"
        assert animation.size == (out["video"]["width"], out["video"]["height"])
    with wave.open(io.BytesIO(content["audio"])) as sound:
        assert sound.getnframes() == sound.getframerate() == 16_000
    magic, version, length = struct.unpack_from("<4sII", content["model_glb"])
    assert (magic, version, length) == (b"glTF", 2, len(content["model_glb"]))
    size = struct.unpack_from("<I", content["model_glb"], 12)[0]
    scene = json.loads(content["model_glb"][20 : 20 + size])
    assert scene["buffers"][0]["byteLength"] == length - 28 - size
    assert content["model_obj"].startswith(b"v ")
    assert len(content["stl"]) == 84 + 50 * struct.unpack_from("<I", content["stl"], 80)[0]
    assert content["body_ply"].startswith(b"ply\n")
    with zipfile.ZipFile(io.BytesIO(content["output_zip"])) as archive:
        assert archive.testzip() is None
    assert isinstance(json.loads(content["config_file"]), dict)
    header = struct.unpack_from("<Q", content["lora_file"])[0]
    assert json.loads(content["lora_file"][8 : 8 + header])["weight"]["shape"] == [2, 2]
    assert content["vector"].startswith(b"<svg")
    assert out["fbx"]["content_type"] == "application/octet-stream"
    assert b"a cat" in content["notes"]
    assert http.get("/cdn/files/unknown.png").status_code == 404


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
