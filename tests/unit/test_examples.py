"""Examples of generated types: valid for every endpoint, repeatable, with files that open."""

from __future__ import annotations

import io
from importlib import import_module
from typing import Annotated, Any

import msgspec
import pytest
from PIL import Image
from pydantic import Field

from fal_endpoints.fal_ai import flux_dev, kling_video_v2_6_pro_image_to_video
from fal_runtime.conform import conform
from fal_runtime.pydantic_models import OutputModel
from fal_sandbox import Sandbox, example
from support import Input, Output, endpoint_modules

EVERY = 40
"""Of so many endpoints one is looked at, unless all of them are asked for."""


def test_every_endpoint_has_valid_examples(pytestconfig: pytest.Config) -> None:
    names = endpoint_modules(pytestconfig, EVERY)
    assert names
    wrong: list[str] = []
    for name in names:
        module: Any = import_module(f"fal_endpoints.{name}")
        for type_ in (module.Input, module.Output):
            made = example(type_)
            body = msgspec.json.encode(made)
            if body != msgspec.json.encode(example(type_)):
                wrong.append(f"{name}: not repeatable")
            _, problems = conform(msgspec.json.decode(body), type_)
            wrong += [f"{name}: {problem}" for problem in problems]
    assert wrong == []


def test_an_example_has_files_that_open() -> None:
    output = example(flux_dev.Output)
    first, *_ = output.images
    assert first.to_pil().size == (first.width, first.height)
    assert len(output.has_nsfw_concepts) == len(output.images)


def test_another_seed_makes_another_example() -> None:
    assert example(flux_dev.Output, seed=1) == example(flux_dev.Output, seed=1)
    assert example(flux_dev.Output, seed=1).seed != example(flux_dev.Output, seed=2).seed


def test_an_input_says_no_more_than_it_must() -> None:
    assert set(example(flux_dev.Input).to_dict()) == {"prompt"}
    given = example(kling_video_v2_6_pro_image_to_video.Input)
    assert set(given.to_dict()) == {"prompt", "start_image_url"}
    assert str(given.start_image_url).startswith("data:image/png;base64,")


def test_own_types_have_examples_too() -> None:
    assert example(Input).prompt
    assert isinstance(example(Output).text, str)


def test_pydantic_models_have_examples_too() -> None:
    class Picture(OutputModel):
        url: str
        width: int
        height: int

    class Pictures(OutputModel):
        images: list[Picture] = Field(min_length=2)
        seed: Annotated[int, Field(le=5)]

    made = example(Pictures)
    assert made == example(Pictures)
    assert made.seed <= 5
    assert {image.url.partition(",")[0] for image in made.images} == {"data:image/png;base64"}
    assert {(image.width, image.height) for image in made.images} == {(256, 256)}


@pytest.mark.parametrize("wrong", [flux_dev, 3, "flux_dev"])
def test_what_is_no_type_has_no_example(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"example takes a generated type such as flux_dev\.Output"):
        example(wrong)


def test_a_sandbox_serves_the_files_of_its_examples(sandbox: Sandbox) -> None:
    image, *_ = sandbox.example(flux_dev.Output).images
    assert image.url.startswith(sandbox.url)
    with Image.open(io.BytesIO(image.read())) as picture:
        assert picture.size == (image.width, image.height)


def test_a_sandbox_that_is_not_running_has_no_links_to_give() -> None:
    with pytest.raises(RuntimeError, match="not running"):
        Sandbox().example(flux_dev.Output)
