"""The application's tests. The sandbox serves the project's own schemas; it needs no key and no network."""

from __future__ import annotations

import pytest

from acme.fal.acme import upscaler
from acme.fal.fal_ai import flux_dev
from acme.poster import enlarged, poster
from fal_runtime import errors
from fal_sandbox import Sandbox, example


def test_a_poster_is_made_and_enlarged(fal_sandbox: Sandbox) -> None:
    fal_sandbox.respond(upscaler, upscaler.Output(url="https://acme.example/large.png"))
    picture = poster("the sea")
    assert enlarged(picture) == "https://acme.example/large.png"
    first, second = fal_sandbox.admitted
    assert first.input == {"prompt": "a poster of the sea", "num_images": 2}
    assert second.input == {"prompt": picture.url, "size": {"width": 2 * picture.width}}


def test_what_the_endpoint_answers_can_be_told(fal_sandbox: Sandbox) -> None:
    picture = example(flux_dev.Image).replace(width=77)
    fal_sandbox.respond(flux_dev, example(flux_dev.Output).replace(images=[picture]))
    assert poster("the sea").width == 77


def test_a_refused_subject_is_an_error_with_a_name(fal_sandbox: Sandbox) -> None:
    fal_sandbox.fail("unprocessable-list", flux_dev)
    with pytest.raises(errors.ContentPolicyError):
        poster("something bad")
