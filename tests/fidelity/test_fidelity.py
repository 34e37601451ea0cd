"""Each generated `Input` takes what its schema allows, unchanged, and refuses what breaks a rule, by the rule's name.

All endpoints take some ten seconds, so all of them are measured each time.
"""

from __future__ import annotations

import types
from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta

from fal_endpoints.fal_ai import flux_dev
from fal_runtime import InputModel, default

from .measure import endpoints, exceptions, input_of, measure
from .oracle import Oracle

SHARDS = 16


@pytest.mark.parametrize("shard", range(SHARDS))
def test_every_type_is_faithful_but_for_the_listed_exceptions(shard: int) -> None:
    unfaithful: dict[str, list[str]] = {}
    for endpoint_id, module in list(endpoints().items())[shard::SHARDS]:
        measured = measure(Oracle(endpoint_id), input_of(module))
        assert measured.valid > 0, endpoint_id
        if measured.failures:
            unfaithful[endpoint_id] = measured.failures
    listed = {endpoint_id for endpoint_id in list(endpoints())[shard::SHARDS] if endpoint_id in exceptions()}
    new = {endpoint_id: failures[:3] for endpoint_id, failures in unfaithful.items() if endpoint_id not in listed}
    assert new == {}, "a type departs from its schema: mend it, or list it in exceptions.json with the reason"
    assert listed - unfaithful.keys() == set(), "these are faithful now: take them out of exceptions.json"


def test_each_exception_is_an_endpoint_and_has_a_reason() -> None:
    assert exceptions().keys() <= endpoints().keys()
    assert all(len(reason) > 20 for reason in exceptions().values())


class Same(InputModel, kw_only=True):
    prompt: str
    image_size: (
        flux_dev.ImageSize
        | Literal["square_hd", "square", "portrait_4_3", "portrait_16_9", "landscape_4_3", "landscape_16_9"]
    ) = default("landscape_4_3")
    num_inference_steps: Annotated[int, Meta(ge=1, le=50)] = default(28)
    seed: int | None = default(None)
    guidance_scale: Annotated[float, Meta(ge=1.0, le=20.0)] = default(3.5)
    sync_mode: bool = default(False)
    num_images: Annotated[int, Meta(ge=1, le=4)] = default(1)
    enable_safety_checker: bool = default(True)
    output_format: Literal["jpeg", "png"] = default("jpeg")
    acceleration: Literal["none", "regular", "high"] = default("none")


def test_the_measure_accepts_a_type_that_is_right() -> None:
    measured = measure(Oracle("fal-ai/flux/dev"), Same)
    assert measured.failures == []
    assert measured.accepted == measured.valid > 50
    assert measured.refused == measured.invalid
    assert measured.invalid.keys() == {
        "type",
        "required",
        "enum",
        "minimum",
        "maximum",
        "exclusiveMinimum",
    }


@pytest.mark.parametrize(
    ("name", "type_", "value"),
    [
        pytest.param("num_images", Annotated[int, Meta(ge=1)], default(1), id="a bound is missing"),
        pytest.param("num_images", Annotated[int, Meta(ge=1, le=3)], default(1), id="a bound is tighter"),
        pytest.param("sync_mode", bool | None, default(None), id="null is taken"),
        pytest.param("seed", int, default(), id="null is not taken"),
        pytest.param("prompt", str, default(), id="nothing is required"),
        pytest.param("sync_mode", bool, msgspec.NODEFAULT, id="more is required"),
        pytest.param("output_format", Literal["jpeg"], default(), id="a word is missing"),
        pytest.param("output_format", str, default(), id="any word is taken"),
        pytest.param("image_size", flux_dev.ImageSize, default(), id="a branch is missing"),
        pytest.param("sync_mode", bool, default(name="sync"), id="a name is wrong"),
    ],
)
def test_the_measure_finds_a_type_that_is_wrong(name: str, type_: Any, value: Any) -> None:
    body = {"__annotations__": {name: type_}, name: value}
    wrong = types.new_class("Wrong", (Same,), {"kw_only": True}, lambda namespace: namespace.update(body))
    failures = measure(Oracle("fal-ai/flux/dev"), wrong).failures
    assert failures
    assert all(name in failure for failure in failures)


def test_the_oracle_knows_the_document_alone() -> None:
    oracle = Oracle("fal-ai/flux/dev")
    assert oracle.accepts({"prompt": "a cat", "image_size": {"width": 8}, "unknown": 1})
    assert not oracle.accepts({"prompt": "a cat", "image_size": {"width": 0}})
    assert oracle.broken_rules({"num_images": 9}) == {(("prompt",), "required"), (("num_images",), "maximum")}
