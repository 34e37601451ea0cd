"""What inputs and outputs can do beside holding values."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import io
import pickle
import pprint
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import pydantic
import pytest
from msgspec import Meta

from fal_runtime import InputModel, OutputModel, default
from fal_runtime.errors import FieldError, InputError, OutputError
from fal_runtime.inputs import build_body


class Size(InputModel, kw_only=True):
    width: Annotated[int, Meta(gt=0)] = default(512)
    unit: Literal["px"] = default("px", name="the-unit")


class Input(InputModel, kw_only=True):
    prompt: str
    size: Size | Literal["square"] = default("square")
    seed: int = default()
    step: Annotated[float, Meta(extra_json_schema={"multipleOf": 0.05})] = default(0.5)
    tags: Annotated[list[Any], Meta(extra_json_schema={"uniqueItems": True})] = default([])
    note: str | None = default(None)


class Output(OutputModel, kw_only=True):
    text: str
    note: str | None = None


DIFFERENT: list[Any] = [None, False, 0, "", [], {}]
NESTED: dict[str, Any] = {"prompt": "x", "size": {"width": 3, "the-unit": "px"}, "note": None}


def test_dicts_and_inputs_are_the_same_thing() -> None:
    made = Input.from_dict(NESTED)
    assert made == Input(prompt="x", size=Size(width=3, unit="px"), note=None)
    assert made.to_dict() == NESTED
    assert Input.from_dict({"prompt": "x", "size": Size(width=3)}) == Input(prompt="x", size=Size(width=3))
    assert Input(prompt="x").to_dict() == {"prompt": "x"}
    assert build_body(NESTED, Input, endpoint_id="a/b") == msgspec.json.encode(made)


def test_a_dict_keeps_what_is_no_json() -> None:
    file, path = io.BytesIO(b"x"), Path("cat.png")
    values: list[Any] = [file, path, b"bytes", Size(width=1)]
    made = Input(prompt="x", tags=values)
    assert made.to_dict() == {"prompt": "x", "tags": [file, path, b"bytes", {"width": 1}]}


def test_a_dict_is_refused_with_all_its_problems() -> None:
    wrong = {"promt": "x", "size": {"widht": 1}, "seed": None, "step": 0.52, "tags": ["a", "a"], "zzz": 1}
    expected = {
        "promt": "is not a field of Input; did you mean 'prompt'?",
        "zzz": "is not a field of Input",
        "prompt": "is required",
        "size.widht": "is not a field of Size; did you mean 'width'?",
        "seed": "must be an integer, not null",
        "step": "must be a multiple of 0.05, not 0.52",
        "tags": "must not hold anything twice, but [1] is the same as [0]",
    }
    with pytest.raises(InputError) as caught:
        Input.from_dict(wrong)
    assert {error.path: error.message for error in caught.value.errors} == expected
    assert str(caught.value).startswith("the input has 7 problems for test_models.Input\n")
    with pytest.raises(InputError) as caught:
        build_body(wrong, Input, endpoint_id="a/b")
    assert {error.path: error.message for error in caught.value.errors} == expected
    with pytest.raises(InputError, match="cannot be written as JSON"):
        Input.from_dict({"prompt": object()})


def test_extra_sends_what_the_type_does_not_know() -> None:
    body = build_body({"prompt": "x"}, Input, endpoint_id="a/b", extra={"new": 1})
    assert msgspec.json.decode(body) == {"prompt": "x", "new": 1}


@pytest.mark.parametrize("value", [0.05, 0.15, 0.3, 0.1 + 0.2, 1, 100, 1e6, -0.35])
def test_multiples_of_a_fraction_are_taken(value: float) -> None:
    assert Input.from_dict({"prompt": "x", "step": value}).step == value


@pytest.mark.parametrize("value", [0.051, 0.1500001, 0.26, -0.01])
def test_what_is_no_multiple_of_a_fraction_is_refused(value: float) -> None:
    with pytest.raises(InputError, match=r"step: must be a multiple of 0\.05"):
        build_body(Input(prompt="x", step=value), Input, endpoint_id="a/b")


@pytest.mark.parametrize(
    ("items", "same"),
    [
        (["a", "b"], False),
        (["a", "b", "a"], True),
        ([1, True], False),
        ([1, 1.0], True),
        ([{"a": 1, "b": 2}, {"b": 2, "a": 1}], True),
        ([["a"], ["b"], "a"], False),
        (DIFFERENT, False),
    ],
)
def test_items_that_must_differ(items: list[Any], same: bool) -> None:
    def refused() -> bool:
        try:
            Input.from_dict({"prompt": "x", "tags": items})
        except InputError as error:
            return [each.rule for each in error.errors] == ["unique_items"]
        return False

    assert refused() is same


def test_a_whole_number_may_be_written_with_a_point() -> None:
    assert build_body({"prompt": "x", "seed": 5.0}, Input, endpoint_id="a/b") == b'{"prompt":"x","seed":5}'
    assert type(Input.from_dict({"prompt": "x", "seed": 5.0}).seed) is int
    with pytest.raises(InputError, match=r"must be an integer, not 5\.5"):
        Input.from_dict({"prompt": "x", "seed": 5.5})


def test_nulls_of_a_strict_tool_call_stand_for_what_was_not_set() -> None:
    call = {"prompt": "x", "size": {"width": None, "the-unit": "px"}, "seed": None, "step": None, "note": None}
    made = Input.from_dict(call, drop_null=True)
    assert made == Input(prompt="x", size=Size(unit="px"), note=None)
    with pytest.raises(InputError, match="prompt: must be a string, not null"):
        Input.from_dict({"prompt": None}, drop_null=True)


def test_a_copy_with_other_values() -> None:
    first = Input(prompt="x", seed=1)
    second = first.replace(seed=2, note="n")
    assert (first, second) == (Input(prompt="x", seed=1), Input(prompt="x", seed=2, note="n"))
    assert Output(text="a").replace(note="b") == Output(text="a", note="b")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: new(promt="x"), "has no field 'promt'; did you mean 'prompt'? and needs 'prompt'"),
        (lambda: new(prompt="x", zzz=1), "has no field 'zzz'; its fields are prompt, size, seed, step, tags, note"),
        (lambda: new(), "needs 'prompt'"),
        (lambda: new("x"), "takes its fields by name only"),
        (lambda: new(prompt="x").replace(sed=1), "has no field 'sed'; did you mean 'seed'?"),
    ],
)
def test_a_wrong_call_says_what_is_right(call: Any, message: str) -> None:
    with pytest.raises(TypeError) as caught:
        call()
    assert str(caught.value) == f"test_models.Input {message}"


new: Any = Input
"""The same, unknown to a checker."""


def test_the_signature_shows_the_platform_s_defaults() -> None:
    shown = {name: parameter.default for name, parameter in inspect.signature(Input).parameters.items()}
    nothing: Any = inspect.Parameter.empty
    assert shown == {"prompt": nothing, "size": "square", "seed": ..., "step": 0.5, "tags": [], "note": None}


def test_outputs_come_from_dicts_too() -> None:
    assert Output.from_dict({"text": "a", "unknown": 1}) == Output(text="a")
    assert Output.from_dict(Output(text="a").to_dict()) == Output(text="a")
    with pytest.raises(OutputError) as caught:
        Output.from_dict({"text": 1, "note": 2})
    assert [error.path for error in caught.value.errors] == ["text", "note"]


def test_values_are_compared_matched_copied_and_pickled() -> None:
    made = Input(prompt="x", size=Size(width=3))
    for twin in (copy.copy(made), copy.deepcopy(made), pickle.loads(pickle.dumps(made)), made.replace()):  # noqa: S301
        assert twin == made
        assert twin is not made
    match made:
        case Input(prompt="x", size=Size(width=width)):
            assert width == 3
        case _:
            pytest.fail("it does not match")
    frozen = FieldError(path="a", rule="b", message="c")
    assert hash(frozen) == hash(FieldError(path="a", rule="b", message="c"))
    with pytest.raises(TypeError, match="unhashable"):
        hash(made)


def test_dataclasses_and_pprint_know_them() -> None:
    made = Input(prompt="x", size=Size(width=3))
    as_dataclass: Any = made
    assert dataclasses.asdict(as_dataclass) == {"prompt": "x", "size": {"width": 3}}
    assert pprint.pformat(made) == repr(made) == "Input(prompt='x', size=Size(width=3))"


def test_pydantic_reads_and_writes_them() -> None:
    class Order(pydantic.BaseModel):
        inputs: list[Input]
        output: Output | None = None

    made = Input(prompt="x", size=Size(width=3))
    order = Order(inputs=[made], output=Output(text="a"))
    assert order.inputs[0] is made
    assert order.model_dump() == {"inputs": [made.to_dict()], "output": {"text": "a", "note": None}}
    assert Order.model_validate_json(order.model_dump_json()) == order
    with pytest.raises(pydantic.ValidationError) as caught:
        Order.model_validate({"inputs": [{"prompt": "x", "seed": None}, {}, Input(prompt="x", step=0.51)]})
    assert [(error["loc"], error["type"]) for error in caught.value.errors()] == [
        (("inputs", 0, "seed"), "integer_type"),
        (("inputs", 1, "prompt"), "missing"),
        (("inputs", 2, "step"), "multiple_of"),
    ]
    adapter = pydantic.TypeAdapter(Input)
    assert adapter.validate_python(NESTED) == Input.from_dict(NESTED)
    definitions = adapter.json_schema()["$defs"]
    assert definitions["Size"]["properties"]["width"]["exclusiveMinimum"] == 0
