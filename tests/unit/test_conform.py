"""The list of all problems, and what is built in spite of them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta

from fal_runtime import InputModel, OutputModel, default
from fal_runtime.conform import conform
from fal_runtime.errors import InputError
from fal_runtime.inputs import build_body


class Size(InputModel, kw_only=True):
    width: Annotated[int, Meta(gt=0, le=14142)] = default(512)
    height: Annotated[int, Meta(gt=0, le=14142)] = default(512)


class Lora(InputModel, kw_only=True):
    path: Annotated[str, Meta(min_length=1)]
    scale: Annotated[float, Meta(ge=0, le=4)] = default(1.0)


class Input(InputModel, kw_only=True):
    prompt: Annotated[str, Meta(max_length=10)]
    num_images: Annotated[int, Meta(ge=1, le=4)] = default(1)
    guidance: Annotated[float, Meta(ge=1, lt=20)] = default(3.5)
    image_size: Size | Literal["square", "portrait_4_3"] = default("square")
    loras: Annotated[list[Lora], Meta(max_length=2)] = default([])
    seed: int | None = default(None)
    sync_mode: bool = default(False)
    count: Literal[1024, 2048] = default(1024)
    tag: Annotated[str, Meta(pattern="^[a-z]+$")] = default("x")
    pair: tuple[float, float] | None = default(None)
    free: dict[str, int] = default({})
    step: Annotated[int, Meta(multiple_of=8)] = default(8)


NOTHING: list[dict[str, Any]] = [{}]
EMPTY: dict[str, Any] = {}


def problems_of(value: Any) -> dict[str, str]:
    return {problem.path: problem.rule for problem in conform(value, Input)[1]}


def message_for(field: str, value: Any) -> str:
    (problem,) = conform({"prompt": "x", field: value}, Input)[1]
    return str(problem)


@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ({}, {"prompt": "missing"}),
        ({"prompt": 3}, {"prompt": "string_type"}),
        ({"prompt": None}, {"prompt": "string_type"}),
        ({"prompt": "x" * 11}, {"prompt": "sequence_too_long"}),
        ({"prompt": "x", "num_images": 0}, {"num_images": "greater_than_equal"}),
        ({"prompt": "x", "num_images": 5}, {"num_images": "less_than_equal"}),
        ({"prompt": "x", "num_images": True}, {"num_images": "integer_type"}),
        ({"prompt": "x", "num_images": 1.5}, {"num_images": "integer_type"}),
        ({"prompt": "x", "guidance": 20}, {"guidance": "less_than"}),
        ({"prompt": "x", "image_size": {"width": 0}}, {"image_size.width": "greater_than"}),
        ({"prompt": "x", "image_size": "squar"}, {"image_size": "literal_error"}),
        ({"prompt": "x", "image_size": 3}, {"image_size": "union_type"}),
        (
            {"prompt": "x", "loras": [{"path": "a"}, {"scale": 9}]},
            {"loras[1].path": "missing", "loras[1].scale": "less_than_equal"},
        ),
        ({"prompt": "x", "loras": [{"path": "a"}] * 3}, {"loras": "sequence_too_long"}),
        ({"prompt": "x", "loras": [{"path": ""}]}, {"loras[0].path": "sequence_too_short"}),
        ({"prompt": "x", "loras": "no"}, {"loras": "list_type"}),
        ({"prompt": "x", "sync_mode": 1}, {"sync_mode": "boolean_type"}),
        ({"prompt": "x", "count": "1024"}, {"count": "literal_error"}),
        ({"prompt": "x", "tag": "A1"}, {"tag": "string_pattern_mismatch"}),
        ({"prompt": "x", "pair": [1.0]}, {"pair": "length"}),
        ({"prompt": "x", "pair": [1.0, "b"]}, {"pair[1]": "number_type"}),
        ({"prompt": "x", "free": {"a": "b"}}, {"free.a": "integer_type"}),
        ({"prompt": "x", "step": 9}, {"step": "multiple_of"}),
        ([], {"": "object_type"}),
    ],
)
def test_each_broken_rule_is_named_with_its_field(value: Any, rule: dict[str, str]) -> None:
    assert problems_of(value) == rule
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(value, Input)


def test_all_problems_are_listed_at_once() -> None:
    value: dict[str, Any] = {"num_images": 9, "image_size": {"width": -1, "height": 0}, "loras": [{}], "seed": "x"}
    assert set(problems_of(value)) == {
        "prompt",
        "num_images",
        "image_size.width",
        "image_size.height",
        "loras[0].path",
        "seed",
    }


@pytest.mark.parametrize(
    "value",
    [
        {"prompt": "x"},
        {"prompt": "x", "seed": None, "pair": [1, 2.5], "guidance": 3},
        {"prompt": "x", "image_size": {"width": 8}, "loras": [{"path": "a", "scale": 2}], "free": {"a": 1}},
        {"prompt": "x", "image_size": "square", "count": 1024},
    ],
)
def test_what_is_right_has_no_problem_and_is_built_as_msgspec_builds_it(value: Any) -> None:
    built, problems = conform(value, Input)
    assert problems == ()
    assert built == msgspec.convert(value, Input)


@pytest.mark.parametrize(
    ("field", "value", "text"),
    [
        ("num_images", 9, "num_images: must be at most 4, not 9"),
        ("guidance", 20.5, "guidance: must be below 20, not 20.5"),
        ("image_size", "squar", "image_size: must be one of 'portrait_4_3', 'square'; did you mean 'square'?"),
        ("sync_mode", 1, "sync_mode: must be a boolean, not 1"),
        ("seed", "secret words", "seed: must be an integer or null, not a string of 12 characters"),
        ("loras", NOTHING * 3, None),
    ],
)
def test_messages_say_what_is_allowed_and_hold_no_text_of_the_input(field: str, value: Any, text: str | None) -> None:
    if text is None:
        assert len(conform({"prompt": "x", field: value}, Input)[1]) == 4
    else:
        assert message_for(field, value) == text


class Picture(OutputModel, kw_only=True):
    url: str
    width: int | None = None


class Output(OutputModel, kw_only=True):
    images: list[Picture]
    seed: int
    timings: dict[str, float]
    kind: Literal["a", "b"] = "a"


@pytest.mark.parametrize(
    ("answer", "built", "paths"),
    [
        (
            {"images": [{"url": "u", "width": "12"}], "seed": None, "timings": EMPTY, "kind": "c"},
            {"images": [{"url": "u", "width": "12"}], "seed": None, "timings": EMPTY, "kind": "c"},
            {"images[0].width", "seed", "kind"},
        ),
        (EMPTY, {"images": [*EMPTY], "seed": None, "timings": EMPTY, "kind": "a"}, {"images", "seed", "timings"}),
        (
            {"images": None, "seed": 1, "timings": None},
            {"images": [*EMPTY], "seed": 1, "timings": EMPTY, "kind": "a"},
            {"images", "timings"},
        ),
        (
            {"images": [EMPTY, "odd"], "seed": 2**70, "timings": {"a": 1}},
            {"images": [{"url": None, "width": None}, "odd"], "seed": 2**70, "timings": {"a": 1.0}, "kind": "a"},
            {"images[0].url", "images[1]"},
        ),
    ],
)
def test_an_output_is_built_as_well_as_it_can_be(answer: Any, built: Any, paths: set[str]) -> None:
    output, problems = conform(answer, Output)
    assert isinstance(output, Output)
    assert msgspec.to_builtins(output) == built
    assert {problem.path for problem in problems} == paths


def test_only_what_was_set_is_sent() -> None:
    assert build_body(Input(prompt="x"), Input, endpoint_id="a/b") == b'{"prompt":"x"}'
    explicit = Input(prompt="x", num_images=1, seed=None, image_size="square")
    sent = msgspec.json.decode(build_body(explicit, Input, endpoint_id="a/b"))
    assert sent == {"prompt": "x", "num_images": 1, "seed": None, "image_size": "square"}


def test_an_input_is_refused_with_all_its_problems() -> None:
    wrong = Input(prompt="x" * 99, num_images=9, guidance=float("nan"))
    with pytest.raises(InputError) as caught:
        build_body(wrong, Input, endpoint_id="fal-ai/some/model")
    assert {error.path for error in caught.value.errors} == {"prompt", "num_images", "guidance"}
    assert str(caught.value).splitlines()[0] == "fal-ai/some/model: the input has 3 problems; nothing was sent"
    assert "xxx" not in str(caught.value)


def test_extra_fields_go_along_unchecked_and_checks_can_be_turned_off() -> None:
    body = build_body(Input(prompt="x"), Input, endpoint_id="a/b", extra={"new": 1, "prompt": "y"})
    assert msgspec.json.decode(body) == {"prompt": "y", "new": 1}
    unchecked = build_body(Input(prompt="x", num_images=9), Input, endpoint_id="a/b", validate=False)
    assert msgspec.json.decode(unchecked) == {"prompt": "x", "num_images": 9}


def test_the_wrong_type_is_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"must be test_conform\.Input or a dict, not test_conform\.Lora$"):
        build_body(Lora(path="x"), Input, endpoint_id="fal-ai/some/model")
    with pytest.raises(InputError, match="cannot be written as JSON"):
        build_body({"x": object()}, dict, endpoint_id="a/b")
