"""A FastAPI service whose bodies and answers are generated types: what it takes, gives, refuses and documents."""

from __future__ import annotations

import asyncio
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import httpx
import pytest

from fal_runtime.values import mapping, sequence
from fal_sandbox import Sandbox

APP = Path(__file__).with_name("fastapi_app") / "app.py"


@pytest.fixture(scope="module")
def app() -> Any:
    spec = spec_from_file_location("fastapi_app", APP)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.app


def ask(app: Any, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    async def send() -> tuple[int, Any]:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            answer = await client.request(method, path, json=body)
            return answer.status_code, answer.json()

    return asyncio.run(send())


def test_a_body_is_sent_on_and_the_output_comes_back(app: Any, sandbox: Sandbox) -> None:
    status, answer = ask(app, "POST", "/pictures", {"prompt": "a cat", "image_size": {"width": 64, "height": 64}})
    assert status == 200, answer
    assert answer["images"][0]["url"].startswith("http")
    assert answer["images"][0].keys() == {"url", "width", "height", "content_type"}


def test_generated_types_are_fields_of_pydantic_models(app: Any, sandbox: Sandbox) -> None:
    body = {"customer": "Ada", "picture": {"prompt": "a cat"}, "loras": [{"path": "a/b", "scale": 1}]}
    status, answer = ask(app, "POST", "/orders", body)
    assert status == 200, answer
    assert answer["customer"] == "Ada"
    assert len(answer["images"]) == 1


def test_only_what_was_set_is_given_back(app: Any) -> None:
    body: dict[str, Any] = {"prompt": "a cat", "image_size": {"width": 64}, "seed": None}
    assert ask(app, "POST", "/echo", body) == (200, body)
    assert ask(app, "POST", "/echo") == (200, None)


def test_every_problem_is_refused_at_its_place(app: Any) -> None:
    body = {"promt": "a cat", "image_size": {"width": 0}, "num_images": 9}
    status, answer = ask(app, "POST", "/pictures", body)
    assert status == 422
    assert [(tuple(each["loc"]), each["type"], each["msg"]) for each in answer["detail"]] == [
        (("body", "promt"), "extra_forbidden", "is not a field of Input; did you mean 'prompt'?"),
        (("body", "prompt"), "missing", "is required"),
        (("body", "image_size", "width"), "greater_than", "must be above 0, not 0"),
        (("body", "num_images"), "less_than_equal", "must be at most 4, not 9"),
    ]
    status, answer = ask(
        app, "POST", "/orders", {"customer": "Ada", "picture": 7, "loras": [{"path": "a", "scale": 9}]}
    )
    assert status == 422
    assert [tuple(each["loc"]) for each in answer["detail"]] == [("body", "picture"), ("body", "loras", 0, "scale")]


def test_the_documentation_has_every_field_and_bound_once(app: Any) -> None:
    _, document = ask(app, "GET", "/openapi.json")
    schemas: dict[str, Any] = document["components"]["schemas"]
    body = document["paths"]["/pictures"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    fields = schemas[body["$ref"].rpartition("/")[2]]
    assert fields["required"] == ["prompt"]
    assert fields["additionalProperties"] is False
    properties: dict[str, Any] = fields["properties"]
    steps = properties["num_inference_steps"]
    assert (steps["type"], steps["minimum"], steps["maximum"], steps["default"]) == ("integer", 1, 50, 28)
    assert steps["description"].startswith("How many denoising steps to run.")
    assert set(properties["output_format"]["enum"]) == {"jpeg", "png"}
    assert properties["image_size"]["anyOf"][-1] == {"$ref": "#/components/schemas/ImageSize"}
    assert schemas["ImageSize"]["properties"]["width"]["maximum"] == 14142
    order = schemas["Order"]["properties"]
    assert order["picture"]["$ref"] == body["$ref"]
    assert order["loras"]["items"] == {"$ref": "#/components/schemas/LoraWeight"}
    answer = document["paths"]["/pictures"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert schemas[answer["$ref"].rpartition("/")[2]]["properties"]["images"]["items"]["$ref"].endswith("/Image")
    assert not dangling(document, document)


def dangling(node: Any, document: Any) -> list[str]:
    """The references that lead nowhere."""
    found = [ref for item in (*sequence(node), *mapping(node).values()) for ref in dangling(item, document)]
    ref = mapping(node).get("$ref")
    if isinstance(ref, str) and ref.rpartition("/")[2] not in document["components"]["schemas"]:
        found.append(ref)
    return found
